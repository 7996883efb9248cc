#include "op/op_case.h"
#include "op/sum_squares/sum_squares.h"

static const ls_case_in in_one[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {7, 5}}, .fill = LS_FILL_NORMAL, .b = 1}};
static const ls_case_in in_scalar[] = {
    {.dtype = LS_DTYPE_F32, .shape = {0, {0}}, .fill = LS_FILL_CONSTANT, .a = 3}};
static const ls_case_in in_odd[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {100003}}, .fill = LS_FILL_NORMAL, .b = 1}};
static const ls_case_in in_big[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {2048, 2048}}, .fill = LS_FILL_NORMAL, .b = 1}};
/* Larger than the caches. */
static const ls_case_in in_dram[] = {
    {.dtype = LS_DTYPE_F32, .shape = {2, {8192, 8192}}, .fill = LS_FILL_NORMAL, .b = 1}};
static const ls_case_in in_huge[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {33}}, .fill = LS_FILL_NORMAL, .b = 1e30}};

/* The second of four pieces of 2,000 elements dealt in eight chunks of 256. */
static const ls_case_in in_piece[] = {
    {.dtype = LS_DTYPE_F32, .shape = {1, {512}}, .fill = LS_FILL_NORMAL, .b = 1}};
static const ls_case_in in_none[] = {{.dtype = LS_DTYPE_F32, .shape = {2, {0, 3}}}};

static const ls_sum_squares_attr of_35 = {35, 1, 1}, of_1 = {1, 1, 1}, of_33 = {33, 1, 1},
                                 odd_1 = {100003, 1, 1}, odd_2 = {100003, 2, 1},
                                 odd_64 = {100003, 64, 1}, of_4m = {4194304, 1, 1},
                                 of_64m = {67108864, 1, 1}, few = {35, 8, 1}, piece = {2000, 8, 4},
                                 none = {0, 2, 1};

#define ROW(n, a, x) .name = n, .attr = &a, .n_in = 1, .in = x, .tolerance = 1e-12, .grad_step = -1
static const ls_op_case cases[] = {
    {ROW("one", of_35, in_one)},
    {ROW("scalar", of_1, in_scalar)},
    {ROW("odd", odd_1, in_odd)},
    {ROW("odd_2", odd_2, in_odd)},
    {ROW("odd_64", odd_64, in_odd)},
    {ROW("few", few, in_one)},
    {ROW("piece", piece, in_piece)},
    {ROW("none", none, in_none)},
    {ROW("big", of_4m, in_big), .bench = 1},
    {ROW("dram", of_64m, in_dram), .bench = 1},
    {ROW("huge", of_33, in_huge)},
};

LS_CASE_LIST(sum_squares, cases);
