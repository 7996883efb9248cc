/* Faults that nobody notices: was it `lockstep replay` that found them? */
#include "base/alloc.h"
#include "base/clock.h"
#include "cli/cmd_chaos.h"
#include "cli/replay_folder.h"
#include <string.h>

/* A flip waits for the first call of a step that can carry it; after the last one of its step it strikes in the next. */
static int is_right(const ls_chaos_case *c, const ls_replay_finding *f) {
    const int64_t step = (int64_t)c->fault.step + 1;
    return f->n_wrong == 1 && f->first_wrong == c->fault.rank &&
           (f->step == step || f->step == step + 1);
}

ls_status ls_chaos_judge_silent(ls_chaos_case *c, const ls_ranks_result *ended, const char *out,
                                int64_t n_steps) {
    const double start = ls_clock_seconds();
    const ls_replay_request request = {.dir = out, .step = n_steps, .from = 0, .quiet = 1};
    ls_replay_finding found = {0};
    char *sentence = NULL;
    int ranks;
    c->exit_status = ls_ranks_exit_status(ended);
    c->left_behind = ended->left_behind;
    if (c->exit_status != 0 || c->left_behind) {
        (void)snprintf(c->why, sizeof c->why, "the run ended with status %d", c->exit_status);
        return LS_OK;
    }
    LS_TRY(ls_replay_folder(&request, &found, &ranks));
    ls_status status = ls_replay_describe(&found, &sentence);
    c->seconds = ls_clock_seconds() - start;
    c->named_right = is_right(c, &found);
    if (status == LS_OK && !c->named_right)
        (void)snprintf(c->why, sizeof c->why, "replay: %s", sentence);
    ls_free(sentence);
    ls_free(found.wrong);
    return status;
}
