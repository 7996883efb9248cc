/* What the cases of the collectives share. The harness runs them with one rank alone; tests/ranks/test_collectives.c has more ranks. */
#ifndef LS_OP_COLLECTIVE_CASE_H
#define LS_OP_COLLECTIVE_CASE_H
#include "op/collective.h"
#include "op/op_case.h"

/* One member; designated members may follow. */
#define ALONE(n_lanes, n_tensors, ...) \
    .size = 1, .lanes = n_lanes, .n = n_tensors, .counts = {__VA_ARGS__}
#define NO_ENDS .from = -1, .to = -1

#define F32(...) \
    { .dtype = LS_DTYPE_F32, .shape = {__VA_ARGS__}, .fill = LS_FILL_NORMAL, .no_grad = 1 }
#define I32(...) \
    { .dtype = LS_DTYPE_I32, .shape = {__VA_ARGS__}, .fill = LS_FILL_INTEGER, .a = -99, .b = 99 }
/* The bits must be equal. */
#define CASE(case_name, a, x, n) \
    { .name = case_name, .attr = &a, .n_in = n, .in = x, .tolerance = 1e-30, .grad_step = -1 }

#endif
