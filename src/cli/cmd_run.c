/* lockstep run: the ranks of a run on this host. */
#include "cli/cmd_run.h"
#include "cli/cmd_run_hosts.h"
#include "cli/cmd_run_recover.h"
#include "lockstep/comm.h"
#include <string.h>
#include <unistd.h>

typedef struct run_options {
    int64_t ranks, threads, restarts, stuck;
    int no_recover;
    const char *name, *transport;
    const char *hosts, *agent, *launcher, *launcher_args; /* across hosts */
    double wait_seconds, launch_seconds, missing_seconds;
} run_options;

/* When a rank has failed: for what the others have to say; without another attempt also for what they have to save. */
static const double grace_seconds = 5, recover_grace_seconds = 2.5;
static const double first_pause_seconds = 0.1, longest_pause_seconds = 30;

static void print_line(void *user, int rank, const char *line) {
    const ls_ranks_options *options = user;
    if (options->size == 1)
        (void)fprintf(stderr, "%s\n", line);
    else
        (void)fprintf(stderr, "rank %d: %s\n", rank, line);
}

static void tell_line(const char *line) {
    (void)fprintf(stderr, "lockstep: %s\n", line);
}

/* The ranks have said why; this says which one it was and how it ended. */
static ls_status tell_end(const ls_cmd_call *call, const ls_ranks_result *result) {
    if (result->culprit < 0) return LS_OK;
    char text[512];
    ls_ranks_describe(&result->ends[result->culprit], result->culprit, text, sizeof text);
    *call->exit_status = ls_ranks_exit_status(result);
    if (*call->exit_status == LS_RANKS_AGAIN) {
        tell_line("ended by SIGTERM; status 75 says that the run can go on");
        return LS_OK;
    }
    return LS_FAIL(LS_ERR_COMM, "%s", text);
}

static ls_status tell_recovery(const ls_cmd_call *call, const ls_recover_result *result) {
    const run_options *o = call->options;
    const ls_status status = tell_end(call, result->last);
    if (result->why != LS_RECOVER_STUCK && result->why != LS_RECOVER_LIMIT) return status;
    char line[160];
    (void)snprintf(line, sizeof line, "giving up; the last %lld of %lld attempts:",
                   (long long)(result->n_records < LS_RECOVER_RECORDS ? result->n_records
                                                                      : LS_RECOVER_RECORDS),
                   (long long)result->n_records);
    tell_line(line);
    ls_recover_tell_records(result, tell_line);
    if (result->why == LS_RECOVER_LIMIT)
        return ls_error_prefix(status, "run: %lld restarts (--restarts %lld)",
                               (long long)result->n_restarts, (long long)o->restarts);
    return ls_error_prefix(status, "run: %lld attempts in a row made no new step (--stuck %lld)",
                           (long long)result->n_stuck, (long long)o->stuck);
}

static ls_status run_recovering(const ls_cmd_call *call, const ls_ranks_recovery *recovery,
                                const ls_ranks_options *ranks) {
    const run_options *o = call->options;
    ls_recover_options options = {.ranks = *ranks,
                                  .has_keeper = recovery->copies > 0,
                                  .out = recovery->out,
                                  .first = recovery->first,
                                  .most_restarts = o->restarts,
                                  .most_stuck = o->stuck,
                                  .pause = first_pause_seconds,
                                  .longest_pause = longest_pause_seconds,
                                  .tell = tell_line};
    options.ranks.grace_seconds = recover_grace_seconds;
    ls_recover_result *result = NULL;
    LS_TRY(ls_recover_run(&options, &result));
    const ls_status status = tell_recovery(call, result);
    ls_recover_result_destroy(result);
    return status;
}

static ls_status run_once(const ls_cmd_call *call, const ls_ranks_options *options) {
    ls_ranks_result *result = NULL;
    LS_TRY(ls_ranks_supervise(options, &result));
    const ls_status status = tell_end(call, result);
    ls_free(result);
    return status;
}

static ls_status run_processes(const ls_cmd_call *call, ls_ranks_words *words,
                               const ls_ranks_recovery *recovery) {
    const run_options *o = call->options;
    char name[64];
    (void)snprintf(name, sizeof name, "%s%s%s", words->words[0], words->n_words > 1 ? " " : "",
                   words->n_words > 1 ? words->words[1] : "");
    const int recovers = recovery->is_run && !o->no_recover;
    if (recovers && recovery->copies > 1)
        return LS_FAIL(
            LS_ERR_CONFIG,
            "run: recover.copies = %lld: a second copy needs another host (--hosts FILE); "
            "on one there is recover.copies=1",
            (long long)recovery->copies);
    if (recovers && recovery->adds_copies) words->words[words->n_words++] = "recover.copies=1";
    ls_ranks_options options = {.size = (int)o->ranks,
                                .name = o->name ? o->name : name,
                                .words = words->words,
                                .n_words = words->n_words,
                                .grace_seconds = grace_seconds,
                                .output = STDOUT_FILENO,
                                .line = print_line};
    const ls_ranks_options *self = &options;
    options.user = (void *)self;
    return recovers ? run_recovering(call, recovery, &options) : run_once(call, &options);
}

static ls_status run_ranks(const ls_cmd_call *call, const ls_cli_path *path,
                           const ls_cmd_call *verb) {
    const run_options *o = call->options;
    ls_ranks_recovery recovery;
    ls_ranks_words words = {0};
    LS_TRY(ls_ranks_plan_recovery(path, verb, &recovery));
    LS_TRY(ls_ranks_make_words(call, path, (int)o->ranks, o->threads, &words));
    ls_status status;
    if (strcmp(o->transport, ls_transport_names[LS_TRANSPORT_THREADS]) == 0) {
        ls_cli_path verb_path;
        ls_cli_parsed parsed;
        status = ls_ranks_check_words("run", words.words, words.n_words, &verb_path, &parsed);
        if (status == LS_OK) {
            parsed.call.exit_status = call->exit_status;
            status = ls_ranks_threads((int)o->ranks, &verb_path, &parsed.call);
            ls_cli_parsed_deinit(&parsed);
        }
    } else {
        status = run_processes(call, &words, &recovery);
    }
    ls_free(words.words);
    return status;
}

static ls_status run_hosts(const ls_cmd_call *call) {
    const run_options *o = call->options;
    if (o->no_recover || o->name)
        return LS_FAIL(LS_ERR_INVALID, "run: --hosts goes without %s",
                       o->no_recover ? "--no-recover: mpirun starts ranks once" : "--name");
    const ls_hosts_options hosts = {.file = o->hosts,
                                    .agent = o->agent,
                                    .launcher = o->launcher,
                                    .launcher_args = o->launcher_args,
                                    .most = o->ranks,
                                    .threads = o->threads,
                                    .restarts = o->restarts,
                                    .stuck = o->stuck,
                                    .wait_seconds = o->wait_seconds,
                                    .launch_seconds = o->launch_seconds,
                                    .missing_seconds = o->missing_seconds,
                                    .output = STDOUT_FILENO};
    return ls_hosts_run(call, &hosts);
}

static ls_status run_run(const ls_cmd_call *call) {
    const run_options *o = call->options;
    if (o->hosts) return run_hosts(call);
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
    const ls_cmd_call asked_help = {0};
    const ls_status status =
        run_ranks(call, &path, parsed.common->help ? &asked_help : &parsed.call);
    ls_cli_parsed_deinit(&parsed);
    return status;
}

#define FIELD(member) offsetof(run_options, member)
static const ls_cli_option options[] = {
    {"ranks", 'n', LS_CLI_INT, FIELD(ranks), "R", "how many ranks; with --hosts the most", 1, 4096},
    {"threads", 't', LS_CLI_INT, FIELD(threads), "T",
     "compute threads of each rank (a rank's share of the CPUs)", 1, 1024},
    {"name", 0, LS_CLI_STRING, FIELD(name), "NAME", "what `lockstep top` calls the run", 0, 0},
    {"transport", 0, LS_CLI_STRING, FIELD(transport), "KIND",
     "shm: a process each, on shared memory; threads: threads of one process (shm)", 0, 0},
    {"no-recover", 0, LS_CLI_FLAG, FIELD(no_recover), NULL,
     "end with the first rank that dies, instead of starting the ranks again", 0, 0},
    {"restarts", 0, LS_CLI_INT, FIELD(restarts), "N", "most restarts in all (1000)", 0, 1e9},
    {"stuck", 0, LS_CLI_INT, FIELD(stuck), "N",
     "attempts in a row without a new step after which the run gives up (5)", 1, 1e9},
    {"hosts", 0, LS_CLI_STRING, FIELD(hosts), "FILE",
     "an elastic run across the hosts of FILE, lines HOST [slots=N]; read again when it changes", 0,
     0},
    {"agent", 0, LS_CLI_STRING, FIELD(agent), "COMMAND",
     "with --hosts: starts a command on a host, as COMMAND HOST WORDS... (ssh)", 0, 0},
    {"launcher", 0, LS_CLI_STRING, FIELD(launcher), "MPI",
     "with --hosts: openmpi or mpich (whose mpirun is found)", 0, 0},
    {"launcher-args", 0, LS_CLI_STRING, FIELD(launcher_args), "WORDS",
     "with --hosts: more words for mpirun, such as the network's interface", 0, 0},
    {"wait", 0, LS_CLI_FLOAT, FIELD(wait_seconds), "SECONDS",
     "with --hosts: how long to wait while no host can be used (600)", 0, 1e9},
    {"launch-wait", 0, LS_CLI_FLOAT, FIELD(launch_seconds), "SECONDS",
     "with --hosts: an mpirun without any rank for so long is ended (180)", 0.1, 1e9},
    {"missing-wait", 0, LS_CLI_FLOAT, FIELD(missing_seconds), "SECONDS",
     "with --hosts: an mpirun with fewer ranks than it should have for so long is ended (30)", 0.1,
     1e9},
    {0},
};
/* Options that are nothing by themselves. */
static const ls_cli_company company[] = {
    {"agent", "hosts"},
    {"launcher", "hosts"},
    {"launcher-args", "hosts"},
    {"wait", "hosts"},
    {"launch-wait", "hosts"},
    {"missing-wait", "hosts"},
    {0},
};
static const run_options defaults = {.transport = "shm",
                                     .restarts = 1000,
                                     .stuck = 5,
                                     .wait_seconds = 600,
                                     .launch_seconds = LS_HOSTS_LAUNCH_SECONDS,
                                     .missing_seconds = LS_HOSTS_MISSING_SECONDS};

static const ls_cli_argument arguments[] = {
    {"VERB", "train or resume, as a rule"},
    {"ARGS", "its arguments and options"},
    {0},
};

const ls_cmd ls_cmd_run = {
    .usage = "-n R | --hosts FILE -- VERB ARGS...",
    .about =
        "Starts R ranks of this program on this host, each on its share of the CPUs, and waits "
        "for them. Rank 0's standard\n"
        "output is the run's; lines on standard error begin with `rank K: `. SIGINT and "
        "SIGTERM are passed on.\n"
        "When a rank of train or resume dies, or stands still, all are started again from the last "
        "step that every rank committed:\n"
        "this process holds their memory (recover.copies=1 is added to the words unless they say "
        "recover.copies themselves; 0 goes\n"
        "on from the newest checkpoint). An attempt without a new step is followed by a pause, "
        "from "
        "0.1 s up to 30 s. What would\n"
        "come again (configuration, data, a number that is not finite) is not tried again. "
        "docs/recovery.md says more.\n"
        "The exit status is 0 only when every rank's is, 75 when SIGTERM ended a run that can go "
        "on, "
        "otherwise that of the rank\n"
        "that failed first (128 + N for signal N), which the last line names. With more ranks than "
        "CPUs each computes on one\n"
        "thread.\n"
        "No MPI is needed; `mpirun -n R lockstep train CONFIG` does the same through MPI.\n"
        "With --hosts a keeper on each host of FILE holds the memory, an MPI's mpirun starts as "
        "many "
        "ranks as the living hosts\n"
        "allow (a power of two up to lanes and -n, in equal blocks), and again when a host is lost "
        "or comes; the bits stay the\n"
        "same. recover.copies=2 is added with two hosts or more, so that none of them is missed.",
    .arguments = arguments,
    .min_args = 1,
    .max_args = -1,
    .options = options,
    .company = company,
    .options_bytes = sizeof(run_options),
    .defaults = &defaults,
    .run = run_run,
};
