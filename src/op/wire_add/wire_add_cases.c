#include "op/op_case.h"
#include "op/wire_add/wire_add.h"

static const ls_wire_add_attr f32 = {LS_WIRE_F32}, bf16 = {LS_WIRE_BF16}, int8 = {LS_WIRE_INT8};

#define X(s, d, ...) \
    { .dtype = LS_DTYPE_F32, .shape = {__VA_ARGS__}, .fill = LS_FILL_NORMAL, .a = s, .b = d }
static const ls_case_in scalar[] = {X(0, 1, 0, {0}), X(0, 1, 0, {0})};
static const ls_case_in odd[] = {X(0, 1, 2, {7, 37}), X(0, 1, 2, {7, 37})};
static const ls_case_in one[] = {X(0, 1, 1, {95})};
static const ls_case_in none[] = {X(0, 1, 1, {0}), X(0, 1, 1, {0})};
static const ls_case_in wide[] = {X(0, 1e30, 1, {40001}), X(1, 1e-30, 1, {40001})};
static const ls_case_in tiny[] = {X(0, 1e-38, 1, {4097}), X(0, 1e-40, 1, {4097})};
static const ls_case_in huge[] = {X(0, 2e38, 1, {1000}), X(0, 2e38, 1, {1000})};
static const ls_case_in large[] = {X(0, 1, 1, {4194304}), X(0, 1, 1, {4194304})};

/* The tolerance is of no use: the bits must be equal. */
#define ROW(n, w, x, k) \
    { .name = n "_" #w, .attr = &w, .n_in = k, .in = x, .tolerance = 1e-30, .grad_step = -1 }
#define ROWS(w)                                                                              \
    ROW("scalar", w, scalar, 2), ROW("odd", w, odd, 2), ROW("one", w, one, 1),               \
        ROW("none", w, none, 2), ROW("wide", w, wide, 2), ROW("wide_one", w, wide, 1),       \
        ROW("tiny", w, tiny, 2), ROW("huge", w, huge, 2), {                                  \
        .name = "large_" #w, .attr = &w, .n_in = 2, .in = large, .grad_step = -1, .bench = 1 \
    }
static const ls_op_case cases[] = {ROWS(f32), ROWS(bf16), ROWS(int8)};
LS_CASE_LIST(wire_add, cases);
