/* lockstep bench: what this machine can do at best, kept as a profile for `plan`; with --plan, how near the nodes of a configuration
 * come to it. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/fs.h"
#include "base/log.h"
#include "cli/cmd_bench.h"
#include "cli/progress.h"
#include "lockstep/comm.h"

static void show_progress(void *user, int done, int total, const char *what) {
    ls_progress *p = user;
    p->options.n_total = total > done ? total : done + 1;
    ls_progress_update(p, done, 0, "%s", what);
}

static void stamp(ls_machine *m) {
    const time_t now = (time_t)(ls_clock_unix_ms() / 1000);
    struct tm utc;
    if (!gmtime_r(&now, &utc)) return;
    (void)strftime(m->measured, sizeof m->measured, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

ls_status ls_cli_load_machine(const char *path, ls_machine *out) {
    return path ? ls_machine_read(path, out) : ls_machine_load(out);
}

/* "" = nowhere. */
static ls_status store(const ls_machine *m, const char *path) {
    return *path ? ls_machine_write(m, path) : LS_OK;
}

static ls_status report_json(const ls_cmd_call *call, const ls_machine *m, const char *path) {
    json_t *root = NULL;
    LS_TRY(ls_machine_to_json(m, &root));
    json_t *stored = *path ? json_string(path) : json_null();
    if (json_object_set_new(root, "stored", stored)) {
        json_decref(root);
        root = NULL;
    }
    return ls_cli_print_json(call, root);
}

static ls_status report(const ls_cmd_call *call, const ls_machine *m, const char *path,
                        void (*print)(const ls_machine *, ls_text *)) {
    ls_text text = {0};
    if (call->json) return report_json(call, m, path);
    print(m, &text);
    const ls_status status = text.status;
    if (status == LS_OK) {
        (void)fputs(text.data ? text.data : "", call->out);
        if (*path)
            (void)fprintf(call->out, "profile: %s\n", path);
        else
            (void)fprintf(call->out, "profile: not stored\n");
    }
    ls_text_deinit(&text);
    return status;
}

/* Where the profile goes: --out, nowhere, or the user's cache folder. Free with ls_free. */
static ls_status choose_path(const ls_bench_options *o, int threads, char **out) {
    if (o->out || o->no_store) {
        *out = ls_strdup(o->out ? o->out : "");
        return *out ? LS_OK : LS_ERR_NO_MEMORY;
    }
    return ls_machine_default_path(threads, out);
}

/* Half a CPU of other work shows in every figure of all threads. */
static void warn_of_load(void) {
    double load = 0;
    if (getloadavg(&load, 1) == 1 && load > 0.5)
        ls_log(LS_LOG_WARN,
               "the load average is %.1f: other work makes the figures too low; a profile of a "
               "quiet machine predicts better",
               load);
}

static ls_status bench_machine(const ls_cmd_call *call, ls_meter *meter, ls_machine *m) {
    const ls_bench_options *o = call->options;
    char *path = NULL;
    LS_TRY(choose_path(o, 0, &path));
    ls_machine_describe(m);
    warn_of_load();
    m->quick = o->quick;
    stamp(m);
    ls_status status = LS_OK;
    if (o->disk) {
        meter->total++;
        status = ls_measure_disk(meter, o->disk, m);
    }
    if (status == LS_OK) status = ls_measure_machine(meter, m);
    if (call->quiet == 0) ls_progress_end(meter->options.user);
    if (status == LS_OK) status = store(m, path);
    if (status == LS_OK) status = report(call, m, path, ls_bench_print_machine);
    ls_free(path);
    return status;
}

/* --- as one of several ranks ------------------------------------------------------------------------------------------ */

/* The rows of `from` in place of those of the same transport and number of ranks. */
static ls_status merge_exchange(ls_machine *into, const ls_machine *from) {
    const ls_machine_exchange *like = &from->exchange[0];
    int n = 0;
    for (int i = 0; i < into->n_exchange; i++) {
        const ls_machine_exchange *e = &into->exchange[i];
        if (strcmp(e->transport, like->transport) == 0 && e->ranks == like->ranks &&
            e->hosts == like->hosts)
            continue;
        into->exchange[n++] = *e;
    }
    if (n + from->n_exchange > LS_MACHINE_MAX_EXCHANGE)
        return LS_FAIL(LS_ERR_INVALID,
                       "the profile already has collectives of %d sizes, and no room for more; "
                       "`lockstep bench` begins a new one",
                       into->n_exchange);
    memcpy(into->exchange + n, from->exchange, sizeof *from->exchange * (size_t)from->n_exchange);
    into->n_exchange = n + from->n_exchange;
    return LS_OK;
}

/* A rank may use a part of the machine only: the profile is the whole machine's. */
static ls_status add_to_profile(const ls_bench_options *o, const ls_machine *measured,
                                char **path_out) {
    LS_TRY(choose_path(o, (int)sysconf(_SC_NPROCESSORS_ONLN), path_out));
    char *path = *path_out;
    if (!*path) return LS_OK;
    if (!ls_path_exists(path)) {
        ls_log(LS_LOG_WARN,
               "the collectives are not stored: there is no profile %s to add them to; run "
               "`lockstep bench` alone first",
               path);
        *path = '\0';
        return LS_OK;
    }
    ls_machine *m = ls_alloc(sizeof *m);
    if (!m) return LS_ERR_NO_MEMORY;
    ls_status status = ls_machine_read(path, m);
    if (status == LS_OK) status = merge_exchange(m, measured);
    if (status == LS_OK) status = ls_machine_write(m, path);
    ls_free(m);
    return status;
}

static ls_status bench_ranks(const ls_cmd_call *call, ls_meter *meter, ls_comm *comm,
                             ls_machine *m) {
    const ls_bench_options *o = call->options;
    char *path = NULL;
    meter->total = 3;
    ls_machine_describe(m);
    stamp(m);
    LS_TRY(ls_measure_exchange(meter, comm, m));
    ls_status status = LS_OK;
    if (ls_comm_rank(comm) == 0) {
        ls_progress_end(meter->options.user);
        status = add_to_profile(o, m, &path);
        if (status == LS_OK) status = report(call, m, path, ls_bench_print_exchange);
        ls_free(path);
    }
    return ls_comm_agree(comm, "store the profile", status);
}

/* --- the verb --------------------------------------------------------------------------------------------------------- */

static ls_status check_options(const ls_cmd_call *call) {
    const ls_bench_options *o = call->options;
    if (o->out && o->no_store)
        return LS_FAIL(LS_ERR_INVALID, "bench: --out %s and --no-store exclude each other", o->out);
    if (o->plan && (o->out || o->disk || o->no_store))
        return LS_FAIL(LS_ERR_INVALID,
                       "bench: --plan times nodes and stores nothing; --out, --disk and --no-store "
                       "do not go with it");
    if (o->machine && !o->plan)
        return LS_FAIL(LS_ERR_INVALID, "bench: --machine names the roofs for --plan CONFIG");
    return LS_OK;
}

static ls_status bench(const ls_cmd_call *call, ls_meter *meter) {
    const ls_bench_options *o = call->options;
    ls_comm *comm = NULL;
    LS_TRY(ls_comm_open(&(ls_comm_options){.quiet = 1}, &comm));
    const int n_ranks = ls_comm_size(comm);
    ls_machine *m = ls_alloc(sizeof *m);
    ls_status status = ls_comm_agree(comm, "memory for bench", m ? LS_OK : LS_ERR_NO_MEMORY);
    /* `lockstep run` gives every rank its share of the threads. */
    if (status == LS_OK && !o->plan && n_ranks == 1 && call->n_assignments > 0)
        status = LS_FAIL(LS_ERR_INVALID,
                         "bench: '%s' changes a configuration, but none is named; use --plan "
                         "CONFIG",
                         call->assignments[0]);
    else if (status == LS_OK && o->plan && n_ranks > 1)
        status = LS_FAIL(
            LS_ERR_INVALID,
            "bench --plan times the nodes of one rank; start it alone, not as %d ranks", n_ranks);
    else if (status == LS_OK)
        status = o->plan       ? ls_bench_plan(call, meter)
                 : n_ranks > 1 ? bench_ranks(call, meter, comm, m)
                               : bench_machine(call, meter, m);
    ls_free(m);
    ls_comm_close(comm);
    return status;
}

static ls_status run_bench(const ls_cmd_call *call) {
    const ls_bench_options *o = call->options;
    LS_TRY(check_options(call));
    ls_progress progress;
    ls_progress_init(&progress,
                     &(ls_progress_options){.label = "bench", .quiet = call->quiet, .live = -1});
    const ls_measure_options options = {o->quick, show_progress, &progress};
    ls_meter meter;
    ls_status status = ls_meter_init(&meter, &options);
    if (status == LS_OK) status = bench(call, &meter);
    if (status != LS_OK) ls_progress_end(&progress);
    ls_meter_deinit(&meter);
    return status;
}

#define TEXT_OPTION(member, stands, words)                                                    \
    {                                                                                         \
        .name = #member, .type = LS_CLI_STRING, .offset = offsetof(ls_bench_options, member), \
        .value = stands, .help = words                                                        \
    }
static const ls_cli_option options[] = {
    {.name = "quick",
     .letter = 'Q',
     .type = LS_CLI_FLAG,
     .offset = offsetof(ls_bench_options, quick),
     .help = "fewer and shorter runs on smaller arrays: some three seconds"},
    TEXT_OPTION(out, "FILE", "store the profile there, not in the user's cache folder"),
    {.name = "no-store",
     .type = LS_CLI_FLAG,
     .offset = offsetof(ls_bench_options, no_store),
     .help = "only print"},
    TEXT_OPTION(disk, "FOLDER", "also time a file of 256 MiB there: written, synced, read back"),
    TEXT_OPTION(plan, "CONFIG", "time every distinct node of that run's plan against its roof"),
    TEXT_OPTION(machine, "FILE", "with --plan: take the roofs from this profile"),
    {0},
};

static const ls_cli_argument arguments[] = {
    {"KEY=VALUE", "with --plan: overrides a key of CONFIG"},
    {0},
};

const ls_cmd ls_cmd_bench = {
    .usage = "[KEY=VALUE...]",
    .about =
        "Measures what this machine can do: multiply-adds of each type by each instruction it has "
        "(from registers, L2, L3), reading\n"
        "and writing L2, L3 and memory, handing work to all threads, collectives between ranks "
        "that are threads, and how near the\n"
        "kernels of small models come to that. Each figure is the median of several runs on "
        "random data; the table shows half of\n"
        "(most - least) beside it. The profile is kept in the user's cache folder; `lockstep "
        "plan` predicts times from it.\n"
        "\n"
        "With --plan CONFIG: one step of that run is made node by node; every distinct node is "
        "timed alone, on the values that the\n"
        "step gives it, and held against its roof (the longer of its flops and its bytes). "
        "Checkpoints are neither read nor written.\n"
        "\n"
        "As several ranks (lockstep run -n 2 -- bench, mpirun -n 2 lockstep bench) it measures "
        "the collectives between them and\n"
        "adds them to the stored profile.",
    .arguments = arguments,
    .max_args = 0,
    .takes_config = 1,
    .has_json = 1,
    .options = options,
    .options_bytes = sizeof(ls_bench_options),
    .run = run_bench,
};
