#include "op/collective_case.h"

static const ls_collective_attr two = {ALONE(1, 2, 253, 65), NO_ENDS},
                                large = {ALONE(4, 1, 100003), NO_ENDS};
static const ls_case_in x_two[] = {F32(2, {11, 23}), I32(1, {65})}, x_large[] = {F32(1, {100003})};
static const ls_case_in wait_two[] = {F32(1, {256}), I32(1, {128}), F32(2, {11, 23}), I32(1, {65})};
static const ls_case_in wait_large[] = {F32(1, {100096}), F32(1, {100003})};

static const ls_op_case start_cases[] = {CASE("two", two, x_two, 2),
                                         CASE("large", large, x_large, 1)};
LS_CASE_LIST(all_to_all_start, start_cases);

static const ls_op_case wait_cases[] = {CASE("two", two, wait_two, 4),
                                        CASE("large", large, wait_large, 2)};
LS_CASE_LIST(all_to_all_wait, wait_cases);
