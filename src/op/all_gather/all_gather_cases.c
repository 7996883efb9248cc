#include "op/collective_case.h"

static const ls_collective_attr two = {ALONE(1, 2, 253, 65), NO_ENDS},
                                in_place = {ALONE(1, 2, 253, 65), .in_place = 1, NO_ENDS},
                                numbers = {ALONE(1, 1, 5), .unit = 1, NO_ENDS},
                                none = {ALONE(1, 1, 0), NO_ENDS};
static const ls_case_in x_two[] = {F32(1, {256}), I32(1, {128})};
static const ls_case_in x_whole[] = {F32(2, {11, 23}), I32(1, {65})};
static const ls_case_in x_five[] = {F32(1, {5})}, x_none[] = {F32(1, {0})};
static const ls_case_in wait_two[] = {F32(1, {253}), I32(1, {65}), F32(1, {256}), I32(1, {128})};
static const ls_case_in wait_whole[] = {F32(2, {11, 23}), I32(1, {65}), F32(2, {11, 23}),
                                        I32(1, {65})};
static const ls_case_in wait_five[] = {F32(1, {5}), F32(1, {5})},
                        wait_none[] = {F32(1, {0}), F32(1, {0})};

static const ls_op_case start_cases[] = {
    CASE("two", two, x_two, 2), CASE("in_place", in_place, x_whole, 2),
    CASE("numbers", numbers, x_five, 1), CASE("none", none, x_none, 1)};
LS_CASE_LIST(all_gather_start, start_cases);

static const ls_op_case wait_cases[] = {
    CASE("two", two, wait_two, 4), CASE("in_place", in_place, wait_whole, 4),
    CASE("numbers", numbers, wait_five, 2), CASE("none", none, wait_none, 2)};
LS_CASE_LIST(all_gather_wait, wait_cases);
