#include "op/collective_case.h"

static const ls_collective_attr two = {ALONE(1, 2, 253, 65), .from = 0, .to = 0},
                                none = {ALONE(1, 1, 0), .from = 0, .to = 0};
static const ls_case_in x_two[] = {F32(2, {11, 23}), I32(1, {65})}, x_none[] = {F32(1, {0})};

static const ls_op_case start_cases[] = {CASE("two", two, x_two, 2), CASE("none", none, x_none, 1)};
LS_CASE_LIST(send, start_cases);
