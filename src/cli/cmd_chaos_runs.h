/* What the campaigns of lockstep chaos share: an undisturbed run, then runs of the same words until so many blows were counted, and the
 * verdict. Local. */
#ifndef LS_CLI_CMD_CHAOS_RUNS_H
#define LS_CLI_CMD_CHAOS_RUNS_H
#include "cli/cmd_chaos_tell.h"
#include "cli/cmd_run.h"

enum { LS_CHAOS_PATH = 512 };

/* What a campaign says of its own. */
typedef struct ls_chaos_campaign {
    const char *one, *many, *struck; /* "kill", "kills", "kills" */
    int digits;                      /* of seconds in text */
    /* The undisturbed run, which leaves its hash in .clean_hash; one that is struck, which ends with ls_chaos_runs_end_round. */
    ls_status (*run_clean)(void *user);
    ls_status (*run_round)(void *user);
    /* More of the report: a JSON object's keys, a line of text. */
    json_t *(*make_more)(const void *user);
    void (*print_more)(const void *user, FILE *out);
    /* LS_OK, or what else is wrong, after everything was recovered; NULL = nothing can be. */
    ls_status (*judge)(const void *user);
    ls_chaos_table table; /* without counts */
} ls_chaos_campaign;

typedef struct ls_chaos_runs {
    const ls_cmd_call *call;
    const char *folder; /* of everything */
    int64_t n_wanted;   /* blows */
    /* The run at hand. */
    const char **words;
    int n_words;
    char out[LS_CHAOS_PATH], out_word[LS_CHAOS_PATH + 8];
    int output; /* memory for what rank 0 prints */
    char hash[LS_CHAOS_HASH];
    int64_t n_pending; /* blows whose run has not ended */
    /* All runs. */
    char clean_hash[LS_CHAOS_HASH];
    int64_t n_kills, n_recovered, n_lost, n_rounds, n_equal;
    ls_chaos_pauses pauses;
    json_t *rows; /* with --json */
} ls_chaos_runs;

/* After .call, .folder, .n_wanted and .output = -1; room for so many words. Closed with ls_chaos_runs_close, also when this fails. */
ls_status ls_chaos_runs_open(ls_chaos_runs *self, int n_words);
void ls_chaos_runs_close(ls_chaos_runs *self);

/* An empty folder of that name for the run at hand: .out, .out_word. */
ls_status ls_chaos_runs_begin_folder(ls_chaos_runs *self, const char *name);
/* Takes the hash that the run printed; of the undisturbed one it is what the others must print. */
ls_status ls_chaos_runs_end_clean(ls_chaos_runs *self);
ls_status ls_chaos_runs_end_round(ls_chaos_runs *self);
void ls_chaos_runs_add_row(ls_chaos_runs *self, json_t *row);

/* All of it, with the report; `counts` as in ls_chaos_table. LS_OK when every blow was recovered from, no step was lost and every hash is
 * that of the undisturbed run. */
ls_status ls_chaos_runs_campaign(ls_chaos_runs *self, const ls_chaos_campaign *campaign,
                                 const int64_t *counts, void *user);

#endif
