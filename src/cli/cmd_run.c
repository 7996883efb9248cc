/* lockstep run: the ranks of a run on this host. */
#include "cli/cmd_run.h"
#include "cli/cmd_run_supervise.h"
#include "lockstep/comm.h"
#include <string.h>
#include <unistd.h>

typedef struct run_options {
    int64_t ranks, threads;
    const char *name, *transport;
} run_options;

static const double grace_seconds = 5;

static void print_line(void *user, int rank, const char *line) {
    const ls_ranks_options *options = user;
    if (options->size == 1)
        (void)fprintf(stderr, "%s\n", line);
    else
        (void)fprintf(stderr, "rank %d: %s\n", rank, line);
}

/* The ranks have said why; this says which one it was and how it ended. */
static ls_status tell_end(const ls_cmd_call *call, const ls_ranks_result *result) {
    if (result->culprit < 0) return LS_OK;
    char text[512];
    ls_ranks_describe(&result->ends[result->culprit], result->culprit, text, sizeof text);
    *call->exit_status = ls_ranks_exit_status(result);
    return LS_FAIL(LS_ERR_COMM, "%s", text);
}

static ls_status run_processes(const ls_cmd_call *call, const ls_ranks_words *words) {
    const run_options *o = call->options;
    char name[64];
    (void)snprintf(name, sizeof name, "%s%s%s", words->words[0], words->n_words > 1 ? " " : "",
                   words->n_words > 1 ? words->words[1] : "");
    ls_ranks_options options = {.size = (int)o->ranks,
                                .name = o->name ? o->name : name,
                                .words = words->words,
                                .n_words = words->n_words,
                                .grace_seconds = grace_seconds,
                                .output = STDOUT_FILENO,
                                .line = print_line};
    options.user = &options;
    ls_ranks_result *result = NULL;
    LS_TRY(ls_ranks_supervise(&options, &result));
    const ls_status status = tell_end(call, result);
    ls_free(result);
    return status;
}

static ls_status run_ranks(const ls_cmd_call *call, const ls_cli_path *path) {
    const run_options *o = call->options;
    ls_ranks_words words = {0};
    LS_TRY(ls_ranks_make_words(call, path, (int)o->ranks, o->threads, &words));
    ls_status status;
    if (strcmp(o->transport, ls_transport_names[LS_TRANSPORT_THREADS]) == 0) {
        ls_cli_path verb_path;
        ls_cli_parsed parsed;
        status = ls_ranks_check_words("run", words.words, words.n_words, &verb_path, &parsed);
        if (status == LS_OK) {
            status = ls_ranks_threads((int)o->ranks, &verb_path, &parsed.call);
            ls_cli_parsed_deinit(&parsed);
        }
    } else {
        status = run_processes(call, &words);
    }
    ls_free(words.words);
    return status;
}

static ls_status run_run(const ls_cmd_call *call) {
    const run_options *o = call->options;
    if (o->ranks == 0)
        return LS_FAIL(LS_ERR_INVALID, "run: -n says how many ranks; `lockstep run -n 2 -- train "
                                       "CONFIG` starts two");
    if (strcmp(o->transport, ls_transport_names[LS_TRANSPORT_SHM]) != 0 &&
        strcmp(o->transport, ls_transport_names[LS_TRANSPORT_THREADS]) != 0)
        return LS_FAIL(LS_ERR_INVALID,
                       "run: --transport '%s': shm (processes) and threads (of one process) work; "
                       "for mpi start the ranks with mpirun or srun",
                       o->transport);
    ls_cli_path path;
    ls_cli_parsed parsed;
    LS_TRY(ls_ranks_check_words("run", call->args, call->n_args, &path, &parsed));
    ls_cli_parsed_deinit(&parsed);
    return run_ranks(call, &path);
}

#define FIELD(member) offsetof(run_options, member)
static const ls_cli_option options[] = {
    {"ranks", 'n', LS_CLI_INT, FIELD(ranks), "R", "how many ranks", 1, 4096},
    {"threads", 't', LS_CLI_INT, FIELD(threads), "T",
     "compute threads of each rank (a rank's share of the CPUs)", 1, 1024},
    {"name", 0, LS_CLI_STRING, FIELD(name), "NAME", "what `lockstep top` calls the run", 0, 0},
    {"transport", 0, LS_CLI_STRING, FIELD(transport), "KIND",
     "shm: a process each, on shared memory; threads: threads of one process (shm)", 0, 0},
    {0},
};
static const run_options defaults = {.transport = "shm"};

static const ls_cli_argument arguments[] = {
    {"VERB", "train or resume, as a rule"},
    {"ARGS", "its arguments and options"},
    {0},
};

const ls_cmd ls_cmd_run = {
    .usage = "-n R -- VERB ARGS...",
    .about =
        "Starts R ranks of this program on this host, each on its share of the CPUs, and waits "
        "for them. Rank 0's standard\n"
        "output is the run's; lines on standard error begin with `rank K: `. SIGINT and "
        "SIGTERM are passed on.\n"
        "When a rank fails the others say so within two seconds and end; what is left five "
        "seconds later is killed. The exit\n"
        "status is 0 only when every rank's is, otherwise that of the rank that failed first "
        "(128 + N for signal N), which\n"
        "the last line names. With more ranks than CPUs each computes on one thread.\n"
        "No MPI is needed; `mpirun -n R lockstep train CONFIG` does the same through MPI.",
    .arguments = arguments,
    .min_args = 1,
    .max_args = -1,
    .options = options,
    .options_bytes = sizeof(run_options),
    .defaults = &defaults,
    .run = run_run,
};
