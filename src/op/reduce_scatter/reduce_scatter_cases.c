#include "op/collective_case.h"

static const ls_collective_attr f32 = {ALONE(1, 2, 253, 65), NO_ENDS},
                                bf16 = {ALONE(4, 2, 253, 65), .wire = LS_WIRE_BF16, NO_ENDS},
                                int8 = {ALONE(1, 2, 253, 65), .wire = LS_WIRE_INT8, .ticket = 255,
                                        NO_ENDS},
                                none = {ALONE(1, 1, 0), NO_ENDS},
                                odd = {ALONE(1, 1, 100003), .wire = LS_WIRE_INT8, NO_ENDS},
                                in_place = {ALONE(1, 2, 253, 65), .in_place = 1,
                                            .wire = LS_WIRE_BF16, NO_ENDS},
                                large = {ALONE(1, 1, 4194304), .wire = LS_WIRE_BF16, NO_ENDS};
static const ls_case_in x_two[] = {F32(2, {11, 23}), F32(1, {65})};
static const ls_case_in x_none[] = {F32(2, {0, 3})};
static const ls_case_in x_odd[] = {F32(1, {100003})};
static const ls_case_in wait_two[] = {F32(1, {256}), F32(1, {128}), F32(2, {11, 23}), F32(1, {65})};
static const ls_case_in wait_four[] = {F32(1, {256}), F32(1, {256}), F32(2, {11, 23}),
                                       F32(1, {65})};
static const ls_case_in wait_none[] = {F32(1, {0}), F32(2, {0, 3})};
static const ls_case_in wait_odd[] = {F32(1, {100032}), F32(1, {100003})};
static const ls_case_in wait_large[] = {F32(1, {4194304}), F32(1, {4194304})};
static const ls_case_in wait_in_place[] = {F32(2, {11, 23}), F32(1, {65}), F32(2, {11, 23}),
                                           F32(1, {65})};

static const ls_op_case start_cases[] = {
    CASE("f32", f32, x_two, 2), CASE("int8", int8, x_two, 2), CASE("none", none, x_none, 1),
    CASE("in_place", in_place, x_two, 2), CASE("odd", odd, x_odd, 1)};
LS_CASE_LIST(reduce_scatter_start, start_cases);

static const ls_op_case wait_cases[] = {
    CASE("f32", f32, wait_two, 4),
    CASE("bf16", bf16, wait_four, 4),
    CASE("int8", int8, wait_two, 4),
    CASE("none", none, wait_none, 2),
    CASE("in_place", in_place, wait_in_place, 4),
    CASE("odd", odd, wait_odd, 2),
    {.name = "large", .attr = &large, .n_in = 2, .in = wait_large, .grad_step = -1, .bench = 1}};
LS_CASE_LIST(reduce_scatter_wait, wait_cases);
