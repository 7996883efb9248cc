/* The words that become a rank's command line. */
#include "base/config.h"
#include "base/thread.h"
#include "cli/cmd_run.h"
#include "cli/run_options.h"
#include <string.h>

static ls_status check_verb(const char *who, const ls_cli_path *path) {
    static const char *const refused[] = {"run", "chaos", "top", "help"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (strcmp(path->name, refused[i]) == 0)
            return LS_FAIL(LS_ERR_INVALID,
                           "%s: '%s' is no verb for ranks; train and resume are the usual ones",
                           who, path->name);
    return LS_OK;
}

static ls_status check_config(const ls_cli_path *path, const ls_cmd_call *verb) {
    ls_train_config config;
    ls_config *values = NULL;
    if (strcmp(path->name, "train") != 0) return LS_OK;
    LS_TRY(ls_cli_load_config(verb, &config, &values));
    ls_config_destroy(values);
    return LS_OK;
}

ls_status ls_ranks_check_words(const char *who, const char *const *words, int n_words,
                               ls_cli_path *path_out, ls_cli_parsed *parsed_out) {
    int n_used;
    LS_TRY(ls_cli_find(words, n_words, path_out, &n_used));
    LS_TRY(check_verb(who, path_out));
    if (path_out->cmd->actions)
        return LS_FAIL(LS_ERR_INVALID, "%s: an action is missing after '%s'", who, path_out->name);
    /* The last word of the verb stands where main has the program's name. */
    char **argv = ls_alloc((size_t)(n_words - n_used + 2) * sizeof *argv);
    if (!argv) return LS_ERR_NO_MEMORY;
    for (int i = n_used - 1; i < n_words; i++) argv[i - n_used + 1] = (char *)words[i];
    ls_status status = ls_cli_parse(path_out, n_words - n_used + 1, argv, parsed_out);
    ls_free(argv);
    LS_TRY(status);
    if (!parsed_out->common->help) status = check_config(path_out, &parsed_out->call);
    if (status != LS_OK) ls_cli_parsed_deinit(parsed_out);
    return status;
}

static ls_status plan_train(const ls_cmd_call *verb, ls_ranks_recovery *out) {
    ls_train_config config;
    ls_config *values = NULL;
    LS_TRY(ls_cli_load_config(verb, &config, &values));
    out->copies = config.copies;
    out->adds_copies = strcmp(ls_config_origin(values, "recover.copies"), "default") == 0;
    (void)snprintf(out->out, sizeof out->out, "%s", config.out);
    ls_config_destroy(values);
    return LS_OK;
}

static int says_copies(const ls_cmd_call *verb) {
    for (int i = 0; i < verb->n_assignments; i++)
        if (strncmp(verb->assignments[i], "recover.copies=", 15) == 0) return 1;
    return 0;
}

/* A checkpoint does not tell whether its run's recover.copies = 0 was a wish or the default. */
static ls_status plan_resume(const ls_cmd_call *verb, ls_ranks_recovery *out) {
    ls_cli_checkpoint checkpoint;
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_cli_open_checkpoint(verb->args[0], verb, &checkpoint));
    out->copies = checkpoint.config.copies;
    out->adds_copies = out->copies == 0 && !says_copies(verb);
    (void)snprintf(out->out, sizeof out->out, "%s", checkpoint.config.out);
    const ls_status status = ls_ckpt_open(checkpoint.path, &ckpt);
    if (status == LS_OK) out->first = ls_ckpt_step(ckpt);
    ls_ckpt_close(ckpt);
    ls_cli_close_checkpoint(&checkpoint);
    return status;
}

ls_status ls_ranks_plan_recovery(const ls_cli_path *path, const ls_cmd_call *verb,
                                 ls_ranks_recovery *out) {
    *out = (ls_ranks_recovery){.first = -1};
    const int trains = strcmp(path->name, "train") == 0,
              resumes = strcmp(path->name, "resume") == 0;
    if (!trains && !resumes) return LS_OK;
    LS_TRY(trains ? plan_train(verb, out) : plan_resume(verb, out));
    out->is_run = 1;
    if (out->adds_copies) out->copies = 1;
    return LS_OK;
}

static int says_threads(const ls_cmd_call *call) {
    for (int i = 0; i < call->n_args; i++)
        if (strncmp(call->args[i], "threads=", 8) == 0) return 1;
    return 0;
}

ls_status ls_ranks_make_words(const ls_cmd_call *call, const ls_cli_path *path, int size,
                              int64_t threads, ls_ranks_words *out) {
    if (threads > 0 && !path->cmd->takes_config)
        return LS_FAIL(LS_ERR_INVALID, "run: --threads: %s takes no KEY=VALUE, so no threads",
                       path->name);
    /* More ranks than CPUs: a second thread of each could only be in the way. */
    if (threads == 0 && size > ls_cpu_count() && path->cmd->takes_config && !says_threads(call))
        threads = 1;
    out->words = ls_alloc((size_t)(call->n_args + 3) * sizeof *out->words);
    if (!out->words) return LS_ERR_NO_MEMORY;
    memcpy(out->words, call->args, (size_t)call->n_args * sizeof *out->words);
    out->n_words = call->n_args;
    if (threads == 0) return LS_OK;
    (void)snprintf(out->threads, sizeof out->threads, "threads=%lld", (long long)threads);
    out->words[out->n_words++] = out->threads;
    return LS_OK;
}
