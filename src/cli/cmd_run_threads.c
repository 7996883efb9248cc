/* Ranks as threads of this process, over ls_comm_hub: for tests and for ThreadSanitizer. */
#include "base/thread.h"
#include "cli/cmd_run.h"
#include "cli/run_options.h"
#include "lockstep/comm.h"
#include <string.h>

typedef struct thread_ranks {
    const ls_cmd_call *verb;
    int resumes;
    ls_comm_hub *hub;
} thread_ranks;

static ls_status train_rank(const thread_ranks *ranks, ls_comm *comm) {
    ls_train_config config;
    ls_config *values = NULL;
    LS_TRY(ls_cli_load_config(ranks->verb, &config, &values));
    const ls_status status = ls_cli_train_on(ranks->verb, &config, values, NULL, comm);
    ls_config_destroy(values);
    return status;
}

static ls_status resume_rank(const thread_ranks *ranks, ls_comm *comm) {
    ls_cli_checkpoint checkpoint;
    LS_TRY(ls_cli_open_checkpoint(ranks->verb->args[0], ranks->verb, &checkpoint));
    const ls_status status =
        ls_cli_train_on(ranks->verb, &checkpoint.config, checkpoint.values, checkpoint.path, comm);
    ls_cli_close_checkpoint(&checkpoint);
    return status;
}

static ls_status run_rank(void *user, int64_t rank, int worker) {
    const thread_ranks *ranks = user;
    (void)worker;
    ls_comm *comm = ls_comm_hub_rank(ranks->hub, (int)rank);
    const ls_status status = ranks->resumes ? resume_rank(ranks, comm) : train_rank(ranks, comm);
    if (status == LS_OK) return LS_OK;
    (void)fprintf(stderr, "rank %d: lockstep: error: %s\n", (int)rank, ls_error_message());
    if (status != LS_ERR_COMM) ls_comm_abort(comm, ls_error_message());
    return status;
}

/* What all ranks' comms are told; each reads the whole configuration once more for itself. */
static ls_status read_comm_options(const thread_ranks *ranks, ls_comm_options *out) {
    if (ranks->resumes) return LS_OK;
    ls_train_config config;
    ls_config *values = NULL;
    LS_TRY(ls_cli_load_config(ranks->verb, &config, &values));
    out->late_seconds = config.late_seconds;
    ls_config_destroy(values);
    return LS_OK;
}

ls_status ls_ranks_threads(int size, const ls_cli_path *path, const ls_cmd_call *verb) {
    thread_ranks ranks = {.verb = verb, .resumes = strcmp(path->name, "resume") == 0};
    if (!ranks.resumes && strcmp(path->name, "train") != 0)
        return LS_FAIL(LS_ERR_INVALID,
                       "run: --transport threads runs train and resume, found '%s'; shm runs any "
                       "verb",
                       path->name);
    ls_comm_options options = {.quiet = verb->quiet};
    LS_TRY(read_comm_options(&ranks, &options));
    ls_pool *pool = NULL;
    ls_status status = ls_comm_hub_create(size, &options, &ranks.hub);
    if (status == LS_OK) status = ls_pool_create(size, -1, &pool);
    /* As many threads as tasks: no rank waits for another one's thread. */
    if (status == LS_OK) status = ls_pool_run(pool, size, run_rank, &ranks);
    ls_pool_destroy(pool);
    ls_comm_hub_destroy(ranks.hub);
    return status;
}
