/* lockstep run --hosts: attempt after attempt, each on the hosts that are there. */
#include "cli/cmd_run_hosts.h"
#include "base/clock.h"
#include "base/config.h"
#include "cli/cmd_run_hosts_control.h"
#include "cli/run_options.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const double first_pause_seconds = 0.1, longest_pause_seconds = 30;

static void tell_line(const char *line) {
    (void)fprintf(stderr, "lockstep: %s\n", line);
}

/* --- what is to run --- */

static int says(const ls_cmd_call *verb, const char *key) {
    for (int i = 0; i < verb->n_assignments; i++)
        if (strncmp(verb->assignments[i], key, strlen(key)) == 0) return 1;
    return 0;
}

static ls_status read_train(ls_hosts_control *self, const ls_cmd_call *verb) {
    ls_train_config config;
    ls_config *values = NULL;
    LS_TRY(ls_cli_load_config(verb, &config, &values));
    self->lanes = config.lanes;
    self->says_threads = strcmp(ls_config_origin(values, "threads"), "default") != 0;
    ls_config_destroy(values);
    return LS_OK;
}

static ls_status read_resume(ls_hosts_control *self, const ls_cmd_call *verb) {
    ls_cli_checkpoint checkpoint;
    LS_TRY(ls_cli_open_checkpoint(verb->args[0], verb, &checkpoint));
    self->lanes = checkpoint.config.lanes;
    self->says_threads = says(verb, "threads=");
    ls_cli_close_checkpoint(&checkpoint);
    return LS_OK;
}

static ls_status read_words(ls_hosts_control *self) {
    ls_cli_path path;
    ls_cli_parsed parsed;
    LS_TRY(ls_ranks_check_words("run", self->call->args, self->call->n_args, &path, &parsed));
    const int trains = strcmp(path.name, "train") == 0, resumes = strcmp(path.name, "resume") == 0;
    ls_status status = LS_OK;
    if ((!trains && !resumes) || parsed.common->help)
        status =
            LS_FAIL(LS_ERR_INVALID, "run: --hosts runs train and resume, found '%s'", path.name);
    if (status == LS_OK) status = ls_ranks_plan_recovery(&path, &parsed.call, &self->recovery);
    if (status == LS_OK)
        status = trains ? read_train(self, &parsed.call) : read_resume(self, &parsed.call);
    ls_cli_parsed_deinit(&parsed);
    return status;
}

/* --- names, places --- */

/* One cookie for all keepers of the run. Their sockets have a name of their own: two runs may share a host. */
static ls_status make_names(ls_hosts_control *self) {
    uint64_t n[4];
    if (getrandom(n, sizeof n, 0) != sizeof n)
        return LS_FAIL(LS_ERR_INTERNAL, "run: no random numbers: %s", strerror(errno));
    (void)snprintf(self->run, sizeof self->run, "%016llx%016llx", (unsigned long long)n[0],
                   (unsigned long long)n[1]);
    (void)snprintf(self->offer, sizeof self->offer, "lockstep-%.16s %016llx%016llx", self->run,
                   (unsigned long long)n[2], (unsigned long long)n[3]);
    const ssize_t used = readlink("/proc/self/exe", self->program, sizeof self->program - 1);
    if (used <= 0)
        return LS_FAIL(LS_ERR_INTERNAL, "run: the program does not find itself: %s",
                       strerror(errno));
    return LS_OK;
}

/* MPICH's mpirun takes a program's path alone: an agent with options gets a script around it. */
static ls_status make_agent(ls_hosts_control *self) {
    const char *agent = self->options->agent;
    if (!agent) return LS_OK;
    if (self->kind == LS_LAUNCHER_OPENMPI || !strpbrk(agent, " \t")) {
        if (snprintf(self->agent, sizeof self->agent, "%s", agent) < (int)sizeof self->agent)
            return LS_OK;
        return LS_FAIL(LS_ERR_INVALID, "run: --agent is longer than %zu letters",
                       sizeof self->agent);
    }
    char *script = ls_format("#!/bin/sh\nexec %s \"$@\"\n", agent);
    if (!script) return LS_ERR_NO_MEMORY;
    self->script = memfd_create("lockstep-agent", MFD_CLOEXEC);
    const ssize_t n = self->script < 0 ? -1 : write(self->script, script, strlen(script));
    const int is_whole = n == (ssize_t)strlen(script);
    ls_free(script);
    if (!is_whole)
        return LS_FAIL(LS_ERR_NO_MEMORY, "run: no memory for the agent's script: %s",
                       strerror(errno));
    /* A writer would keep it from being run, and in memory nothing of it outlives this process. */
    (void)snprintf(self->agent, sizeof self->agent, "/proc/%d/fd/%d", (int)getpid(), self->script);
    const int reader = open(self->agent, O_RDONLY | O_CLOEXEC);
    if (reader < 0)
        return LS_FAIL(LS_ERR_IO, "run: the agent's script cannot be read: %s", strerror(errno));
    (void)close(self->script);
    self->script = reader;
    (void)snprintf(self->agent, sizeof self->agent, "/proc/%d/fd/%d", (int)getpid(), reader);
    return LS_OK;
}

/* Blocked before the first thread is there, and until the end: none is lost between two attempts. */
static ls_status watch_signals(ls_hosts_control *self) {
    static const int numbers[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP};
    sigset_t mask;
    sigemptyset(&mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaddset(&mask, numbers[i]);
    (void)signal(SIGCHLD, SIG_DFL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigprocmask(SIG_BLOCK, &mask, &self->old_mask);
    self->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (self->signals >= 0) return LS_OK;
    return LS_FAIL(LS_ERR_INTERNAL, "run: signals cannot be watched: %s", strerror(errno));
}

static ls_status prepare(ls_hosts_control *self) {
    LS_TRY(read_words(self));
    LS_TRY(ls_launcher_find(self->options->launcher, &self->kind, &self->mpirun));
    LS_TRY(make_names(self));
    LS_TRY(make_agent(self));
    self->history = ls_alloc(sizeof *self->history);
    if (!self->history) return LS_ERR_NO_MEMORY;
    ls_hosts_control_note_checkpoint(self);
    const ls_run_keepers keepers = {self->options->agent, self->program, self->offer};
    return ls_hosts_list_open(&self->list, self->options->file, &keepers);
}

/* --- after an attempt --- */

static void record_end(ls_hosts_control *self) {
    ls_recover_record *record =
        &self->history->records[self->history->n_records++ % LS_RECOVER_RECORDS];
    *record = (ls_recover_record){.number = self->attempt,
                                  .unix_ms = ls_clock_unix_ms(),
                                  .base = self->base,
                                  .seconds = ls_clock_seconds() - self->job.since};
    (void)snprintf(record->how, sizeof record->how, "%.250s", self->news);
}

/* Would it come again? A refused configuration, bad data, a number that is not finite; at the start also a wrong path. */
static int is_hopeless(int exit_status, int has_moved) {
    static const ls_status always[] = {LS_ERR_INVALID, LS_ERR_FORMAT, LS_ERR_UNSUPPORTED,
                                       LS_ERR_NUMERIC},
                           first[] = {LS_ERR_IO, LS_ERR_NO_MEMORY};
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (exit_status == ls_status_exit_code(always[i])) return 1;
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        if (!has_moved && exit_status == ls_status_exit_code(first[i])) return 1;
    return 0;
}

static ls_status fail_job(ls_hosts_control *self, const char *words, int64_t n,
                          const char *option) {
    ls_recover_result *history = self->history;
    /* One that was ended here has no status of its own. */
    if (self->why != LS_HOSTS_STUCK) *self->call->exit_status = self->job.exit_status;
    if (!option) return LS_FAIL(LS_ERR_COMM, "run: %s, as they would again", self->news);
    tell_line("giving up; the last attempts:");
    ls_recover_tell_records(history, tell_line);
    return LS_FAIL(LS_ERR_COMM, "run: %lld %s (%s %lld): %s", (long long)n, words, option,
                   (long long)n, self->news);
}

static ls_status fail_interrupted(ls_hosts_control *self) {
    *self->call->exit_status = self->job.exit_status;
    if (self->job.exit_status == LS_RANKS_AGAIN)
        return LS_FAIL(LS_ERR_INTERRUPTED,
                       "run: saved after SIGTERM; exit status %d asks for `lockstep resume`",
                       (int)LS_RANKS_AGAIN);
    return LS_FAIL(LS_ERR_INTERRUPTED, "run: ended by a signal; mpirun's status is %d",
                   self->job.exit_status);
}

/* A job that ended badly by itself: may it be tried again, and after which pause? */
static ls_status judge_failure(ls_hosts_control *self) {
    const ls_hosts_options *o = self->options;
    const ls_recover_options pauses = {.pause = first_pause_seconds,
                                       .longest_pause = longest_pause_seconds};
    const int has_moved = self->base > self->best;
    self->n_stuck = has_moved ? 0 : self->n_stuck + 1;
    if (self->why == LS_HOSTS_ENDED && is_hopeless(self->job.exit_status, has_moved))
        return fail_job(self, NULL, 0, NULL);
    if (self->history->n_restarts >= o->restarts)
        return fail_job(self, "restarts", self->history->n_restarts, "--restarts");
    if (self->n_stuck >= o->stuck)
        return fail_job(self, "attempts in a row made no new step", self->n_stuck, "--stuck");
    const double end = ls_clock_seconds() + ls_recover_pause(&pauses, self->n_stuck);
    while (!self->stop && ls_clock_seconds() < end) ls_hosts_control_tick(self);
    return LS_OK;
}

static ls_status look_back(ls_hosts_control *self, int *is_over_out) {
    *is_over_out = 1;
    if (self->job.exit_status == 0 && !self->job.was_killed) return LS_OK;
    if (self->stop && (self->why == LS_HOSTS_ENDED || self->why == LS_HOSTS_STUCK))
        return fail_interrupted(self);
    if (self->why == LS_HOSTS_ENDED)
        (void)snprintf(self->news, sizeof self->news, "mpirun ended with status %d",
                       self->job.exit_status);
    record_end(self);
    LS_TRY(ls_hosts_control_find_base(self));
    if (self->why == LS_HOSTS_ENDED || self->why == LS_HOSTS_STUCK) LS_TRY(judge_failure(self));
    if (self->base > self->best) self->best = self->base;
    self->history->n_restarts++;
    self->attempt++;
    *is_over_out = 0;
    return LS_OK;
}

static ls_status run_attempts(ls_hosts_control *self) {
    static const ls_hosts_hooks none = {0};
    const ls_hosts_hooks *hooks = self->options->hooks ? self->options->hooks : &none;
    for (int is_over = 0; !is_over;) {
        LS_TRY(ls_hosts_control_gather(self));
        LS_TRY(ls_hosts_control_find_base(self));
        if (self->attempt == 0) self->best = self->base > 0 ? self->base : 0;
        if (hooks->begin) hooks->begin(hooks->user, self);
        LS_TRY(ls_hosts_control_start(self));
        ls_hosts_control_watch(self);
        if (hooks->end) hooks->end(hooks->user, self);
        LS_TRY(look_back(self, &is_over));
    }
    return LS_OK;
}

static void clean_up(ls_hosts_control *self) {
    ls_hosts_job_kill(&self->job, 0);
    ls_hosts_list_close(&self->list);
    if (self->signals >= 0) (void)close(self->signals);
    (void)sigprocmask(SIG_SETMASK, &self->old_mask, NULL);
    if (self->script >= 0) (void)close(self->script);
    ls_recover_result_destroy(self->history);
    ls_free(self->members);
    ls_free(self->mpirun);
    ls_free(self);
}

ls_status ls_hosts_run(const ls_cmd_call *call, const ls_hosts_options *options) {
    ls_hosts_control *self = ls_alloc(sizeof *self);
    if (!self) return LS_ERR_NO_MEMORY;
    self->call = call;
    self->options = options;
    self->job.errors = self->script = -1;
    self->job.output = options->output;
    self->base = self->best = -1;
    ls_status status = watch_signals(self);
    if (status == LS_OK) status = prepare(self);
    if (status == LS_OK) status = run_attempts(self);
    clean_up(self);
    return status;
}
