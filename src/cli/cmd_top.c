/* lockstep top: what the ranks on this host are doing. */
#include "cli/cli.h"
#include "comm/board.h"
#include "comm/job.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct top_options {
    int once;
} top_options;

static const int refresh_ms = 1000;

typedef struct job_table {
    pid_t pid;
    double age_seconds; /* of the process that keeps the board */
    int size;
    char name[64];
    ls_rank_report *rows;
} job_table;

/* A straggler has come later than the others' first by a tenth of the time they all waited, and by a second at least. */
static const double straggler_seconds = 1, straggler_share = 0.1;

static int find_straggler(const job_table *job) {
    int most = -1;
    double waited = 0;
    for (int i = 0; i < job->size; i++) {
        waited += job->rows[i].wait_seconds;
        if (job->rows[i].lag_seconds < straggler_seconds) continue;
        if (most < 0 || job->rows[i].lag_seconds > job->rows[most].lag_seconds) most = i;
    }
    return most >= 0 && job->rows[most].lag_seconds > straggler_share * waited ? most : -1;
}

/* How long a process has been there. /proc tells clock ticks since boot. */
static double process_age(pid_t pid) {
    struct timespec now;
    const double born = (double)ls_process_born(pid) / (double)sysconf(_SC_CLK_TCK);
    if (born <= 0 || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - born;
}

static double waited_percent(const job_table *job, const ls_rank_report *row) {
    const double percent = job->age_seconds > 0 ? 100 * row->wait_seconds / job->age_seconds : 0;
    return percent < 100 ? percent : 100;
}

static ls_status read_job(pid_t pid, job_table *out) {
    ls_job *job = NULL;
    LS_TRY(ls_job_attach(pid, &job));
    job_table table = {.pid = pid, .age_seconds = process_age(pid), .size = ls_job_size(job)};
    (void)snprintf(table.name, sizeof table.name, "%s", ls_job_name(job));
    table.rows = ls_alloc((size_t)table.size * sizeof *table.rows);
    for (int rank = 0; table.rows && rank < table.size; rank++)
        ls_job_report(job, rank, &table.rows[rank]);
    ls_job_destroy(job);
    if (!table.rows) return LS_ERR_NO_MEMORY;
    *out = table;
    return LS_OK;
}

static json_t *row_json(const job_table *job, const ls_rank_report *row, int is_straggler) {
    return json_pack("{s:i,s:i,s:s,s:s,s:I,s:I,s:s,s:s,s:f,s:f,s:f,s:f,s:b,s:s}", "rank", row->rank,
                     "pid", (int)row->pid, "host", row->host, "state",
                     ls_rank_state_names[row->state], "step", (json_int_t)row->step, "calls",
                     (json_int_t)row->n_calls, "op", row->op, "scope", row->scope, "idle_seconds",
                     row->idle_seconds, "wait_seconds", row->wait_seconds, "waited_percent",
                     waited_percent(job, row), "lag_seconds", row->lag_seconds, "straggler",
                     is_straggler, "message", row->message);
}

static json_t *job_json(const job_table *job) {
    const int straggler = find_straggler(job);
    json_t *rows = json_array();
    for (int i = 0; rows && i < job->size; i++)
        if (json_array_append_new(rows, row_json(job, &job->rows[i], i == straggler)) != 0) {
            json_decref(rows);
            return NULL;
        }
    return json_pack("{s:i,s:s,s:f,s:i,s:o}", "pid", (int)job->pid, "name", job->name,
                     "age_seconds", job->age_seconds, "size", job->size, "ranks", rows);
}

static void print_row(const job_table *job, const ls_rank_report *row, int is_straggler,
                      ls_text *text) {
    const char *words = *row->message ? row->message : row->op;
    const char *scope = *row->message ? "" : row->scope;
    ls_text_append(text, "%6d  %-16.16s %8d  %-8s %8llu  %6.1f s  %5.1f %%  %6.2f s  %s%s%s%s\n",
                   row->rank, row->host, (int)row->pid, ls_rank_state_names[row->state],
                   (unsigned long long)row->step, row->idle_seconds, waited_percent(job, row),
                   row->lag_seconds, words, *scope ? " in " : "", scope,
                   is_straggler ? "  <- straggler" : "");
}

static void print_job(const job_table *job, ls_text *text) {
    const int straggler = find_straggler(job);
    ls_text_append(text, "%s: %d ranks, pid %d, %.0f s old\n", job->name, job->size, (int)job->pid,
                   job->age_seconds);
    ls_text_append(text, "%6s  %-16s %8s  %-8s %8s  %8s  %7s  %8s  %s\n", "rank", "host", "pid",
                   "state", "step", "idle", "waited", "lag", "last collective");
    for (int i = 0; i < job->size; i++) print_row(job, &job->rows[i], i == straggler, text);
}

/* A job that ends between being listed and being read is not there: no error, unless it was asked for by pid. */
static ls_status add_job(pid_t pid, int was_named, ls_text *text, json_t *all) {
    job_table job;
    const ls_status status = read_job(pid, &job);
    if (status == LS_ERR_NOT_FOUND && was_named)
        return LS_FAIL(status,
                       "top: process %d is no `lockstep run` of yours on this host; without a "
                       "number every job is shown",
                       (int)pid);
    if (status != LS_OK) return was_named || status == LS_ERR_NO_MEMORY ? status : LS_OK;
    int failed = 0;
    if (all)
        failed = json_array_append_new(all, job_json(&job)) != 0;
    else
        print_job(&job, text);
    ls_free(job.rows);
    return failed ? LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while building the JSON answer")
                  : LS_OK;
}

/* One look at all jobs, or at the one named. */
static ls_status look(const ls_cmd_call *call, ls_text *text, json_t *all) {
    pid_t *pids = NULL;
    int n = 0;
    if (call->n_args) {
        char *end;
        const long pid = strtol(call->args[0], &end, 10);
        if (*end || end == call->args[0] || pid < 1 || pid > INT32_MAX)
            return LS_FAIL(LS_ERR_INVALID,
                           "top: '%s' is no process number; without one every job "
                           "of this host is shown",
                           call->args[0]);
        return add_job((pid_t)pid, 1, text, all);
    }
    LS_TRY(ls_job_list(&pids, &n));
    ls_status status = LS_OK;
    for (int i = 0; status == LS_OK && i < n; i++) {
        if (!all && i) ls_text_append(text, "\n");
        status = add_job(pids[i], 0, text, all);
    }
    if (!all && n == 0)
        ls_text_append(text, "no job of yours runs on this host; `lockstep run -n 2 -- train "
                             "CONFIG` starts one\n");
    ls_free(pids);
    return status;
}

static ls_status print_json_look(const ls_cmd_call *call) {
    json_t *all = json_array();
    if (!all) return ls_cli_print_json(call, NULL);
    const ls_status status = look(call, NULL, all);
    if (status == LS_OK) return ls_cli_print_json(call, all);
    json_decref(all);
    return status;
}

static ls_status print_look(const ls_cmd_call *call, int is_live) {
    ls_text text = {0};
    ls_status status = look(call, &text, NULL);
    if (status == LS_OK) status = text.status;
    if (status == LS_OK) {
        /* \033[H\033[J: to the top left, and clear. */
        if (is_live) (void)fputs("\033[H\033[J", call->out);
        (void)fputs(text.data ? text.data : "", call->out);
        (void)fflush(call->out);
    }
    ls_text_deinit(&text);
    return status;
}

static ls_status run_top(const ls_cmd_call *call) {
    const top_options *o = call->options;
    if (call->json) return print_json_look(call);
    const int is_live = !o->once && isatty(fileno(call->out));
    for (;;) {
        LS_TRY(print_look(call, is_live));
        if (!is_live) return LS_OK;
        (void)poll(NULL, 0, refresh_ms);
    }
}

static const ls_cli_option options[] = {
    {"once", '1', LS_CLI_FLAG, offsetof(top_options, once), NULL, "print one table and end", 0, 0},
    {0},
};

static const ls_cli_argument arguments[] = {
    {"PID", "of the job: its `lockstep run`; without it every job of this user on this host"},
    {0},
};

const ls_cmd ls_cmd_top = {
    .usage = "[PID]",
    .about = "Shows what each rank on this host is doing, once a second on a terminal until "
             "Ctrl-C, once elsewhere: its state, the\n"
             "step and the collective it last started, how long ago that was (idle), its share of "
             "the time spent waiting for others\n"
             "(waited), and how much later than the first it arrived, in all (lag). The rank that "
             "keeps the others waiting is\n"
             "marked: it is the one that waits least and lags most.",
    .arguments = arguments,
    .max_args = 1,
    .has_json = 1,
    .options = options,
    .options_bytes = sizeof(top_options),
    .run = run_top,
};
