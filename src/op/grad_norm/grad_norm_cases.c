#include "op/grad_norm/grad_norm.h"
#include "op/op_case.h"

static const ls_case_in in_one[] = {
    {.dtype = LS_DTYPE_F64, .shape = {0, {0}}, .fill = LS_FILL_CONSTANT, .a = 9}};
static const ls_case_in in_many[] = {
    {.dtype = LS_DTYPE_F64, .shape = {0, {0}}, .fill = LS_FILL_UNIFORM, .a = 0, .b = 5},
    {.dtype = LS_DTYPE_F64, .shape = {0, {0}}, .fill = LS_FILL_CONSTANT, .a = 3},
    {.dtype = LS_DTYPE_F64, .shape = {0, {0}}, .fill = LS_FILL_UNIFORM, .a = 0, .b = 1e30},
};

static const ls_case_in in_vectors[] = {
    {.dtype = LS_DTYPE_F64, .shape = {1, {8}}, .fill = LS_FILL_UNIFORM, .a = 0, .b = 5},
    {.dtype = LS_DTYPE_F64, .shape = {0, {0}}, .fill = LS_FILL_CONSTANT, .a = 3},
    {.dtype = LS_DTYPE_F64, .shape = {1, {0}}},
    {.dtype = LS_DTYPE_F64, .shape = {1, {5}}, .fill = LS_FILL_UNIFORM, .a = 0, .b = 1e3},
};

static const ls_op_case cases[] = {
    {.name = "one", .n_in = 1, .in = in_one, .tolerance = 2e-7, .grad_step = -1},
    {.name = "many", .n_in = 3, .in = in_many, .tolerance = 2e-7, .grad_step = -1},
    {.name = "vectors", .n_in = 4, .in = in_vectors, .tolerance = 2e-7, .grad_step = -1},
};

LS_CASE_LIST(grad_norm, cases);
