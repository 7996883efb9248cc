/* Times of a plan from a machine's profile, for `lockstep plan`. Local. */
#ifndef LS_CLI_PLAN_PREDICTION_H
#define LS_CLI_PLAN_PREDICTION_H
#include "base/json.h"
#include "lockstep/train.h"
#include <stdio.h>

typedef struct ls_plan_times {
    const ls_train_config *config;
    const ls_plan *plan;
    const char
        *machine; /* file of the profile that was asked for; NULL: the stored one of this machine */
    double save_bytes; /* that the rank writes which writes most */
} ls_plan_times;

/* Text after the plan's: a table, or a sentence on why there is none. A profile that was asked for and cannot be used is an error; the
 * stored one is passed over with a sentence. */
ls_status ls_plan_times_print(const ls_plan_times *times, FILE *out);
/* Adds "prediction" (null without a profile) and, without one, "prediction_missing" to a plan's JSON. */
ls_status ls_plan_times_json(const ls_plan_times *times, json_t *root);

#endif
