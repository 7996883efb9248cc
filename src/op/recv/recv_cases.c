#include "op/collective_case.h"

static const ls_collective_attr two = {ALONE(1, 2, 253, 65), .from = 0, .to = 0},
                                none = {ALONE(1, 1, 0), .from = 0, .to = 0};
static const ls_case_in wait_two[] = {F32(2, {11, 23}), I32(1, {65}), F32(2, {11, 23}),
                                      I32(1, {65})};
static const ls_case_in wait_none[] = {F32(1, {0}), F32(1, {0})};

static const ls_op_case wait_cases[] = {CASE("two", two, wait_two, 4),
                                        CASE("none", none, wait_none, 2)};
LS_CASE_LIST(recv, wait_cases);
