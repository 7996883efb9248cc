/* The loop over attempts. Signals stay blocked from the first to the last, so that none is lost between two. */
#include "cli/cmd_run_recover.h"
#include "base/clock.h"
#include "base/fs.h"
#include "lockstep/checkpoint.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OWN_VARIABLES = 4, MOST_VARIABLES = 8 };

/* Tells a checkpoint from another one of the same name. */
typedef struct checkpoint_id {
    dev_t device;
    ino_t inode; /* 0 = there is none */
} checkpoint_id;

typedef struct recovery {
    const ls_recover_options *options;
    ls_recover_result *result;
    ls_keeper *keeper;
    checkpoint_id old_checkpoint; /* of an earlier run into the same folder */
    int64_t attempt, base, best, n_stuck;
    int output; /* memory for rank 0's standard output */
    char run
        [33]; /* name of the run, whatever becomes of its processes: an attempt takes no other run's checkpoint */
    sigset_t old_mask;
} recovery;

/* --- what there is to go on from --- */

/* Newest checkpoint in the run's folder; free *path_out with ls_free. */
static checkpoint_id find_checkpoint(const recovery *self, char **path_out) {
    struct stat info;
    *path_out = NULL;
    const char *out = self->options->out;
    if (!out || !ls_path_is_dir(out) ||
        (ls_ckpt_find_latest(out, path_out) != LS_OK &&
         ls_ckpt_find_newest(out, path_out) != LS_OK) ||
        stat(*path_out, &info) != 0)
        return (checkpoint_id){0};
    return (checkpoint_id){info.st_dev, info.st_ino};
}

/* Step of the newest checkpoint of this run; without one, of the one it began with. -1 = none. */
static int64_t find_saved_step(const recovery *self) {
    char *path;
    ls_ckpt *ckpt = NULL;
    int64_t step = self->options->first;
    const checkpoint_id id = find_checkpoint(self, &path);
    const int is_old =
        id.device == self->old_checkpoint.device && id.inode == self->old_checkpoint.inode;
    if (id.inode && !is_old && ls_ckpt_open(path, &ckpt) == LS_OK) step = ls_ckpt_step(ckpt);
    ls_ckpt_close(ckpt);
    ls_free(path);
    return step;
}

static ls_status find_kept_step(const recovery *self, int64_t *out) {
    json_t *inventory = NULL;
    LS_TRY(ls_keeper_inventory(self->keeper, &inventory));
    const ls_status status = ls_keeper_best_step(&inventory, 1, out);
    json_decref(inventory);
    return status;
}

static ls_status find_base(recovery *self, int64_t *kept_out) {
    *kept_out = -1;
    if (self->keeper) LS_TRY(find_kept_step(self, kept_out));
    const int64_t saved = find_saved_step(self);
    self->base = *kept_out > saved ? *kept_out : saved;
    return LS_OK;
}

/* --- one attempt --- */

static ls_status clear_output(const recovery *self) {
    if (ftruncate(self->output, 0) == 0 && lseek(self->output, 0, SEEK_SET) == 0) return LS_OK;
    return LS_FAIL(LS_ERR_IO, "run: rank 0's output cannot be kept: %s", strerror(errno));
}

/* What the ranks are told: the caller's variables, then where their memory is and which step to take. */
static ls_status start_ranks(recovery *self, int64_t kept, ls_ranks_result **out) {
    const ls_recover_options *o = self->options;
    ls_ranks_options ranks = o->ranks;
    ls_ranks_variable variables[MOST_VARIABLES + OWN_VARIABLES];
    char step[32], number[32], name[96];
    const int n = o->ranks.n_variables < MOST_VARIABLES ? o->ranks.n_variables : MOST_VARIABLES;
    for (int i = 0; i < n; i++) variables[i] = o->ranks.variables[i];
    (void)snprintf(step, sizeof step, "%lld", (long long)kept);
    (void)snprintf(number, sizeof number, "%lld", (long long)self->attempt);
    variables[n] =
        (ls_ranks_variable){"LOCKSTEP_KEEPER", self->keeper ? ls_keeper_offer(self->keeper) : NULL};
    variables[n + 1] = (ls_ranks_variable){"LOCKSTEP_RESTORE", kept >= 0 ? step : NULL};
    variables[n + 2] = (ls_ranks_variable){"LOCKSTEP_ATTEMPT", number};
    variables[n + 3] = (ls_ranks_variable){"LOCKSTEP_RUN", self->run};
    ranks.variables = variables;
    ranks.n_variables = n + OWN_VARIABLES;
    ranks.is_recoverable = 1;
    /* Before the first attempt has done anything, a signal ends it at once; later there is something to save. */
    ranks.holds_signals = self->attempt > 0;
    ranks.output = self->output;
    (void)snprintf(name, sizeof name, "%.40s (restart %lld)", o->ranks.name,
                   (long long)self->attempt);
    if (self->attempt > 0) ranks.name = name;
    return ls_ranks_supervise(&ranks, out);
}

static ls_status run_attempt(recovery *self, ls_ranks_result **out) {
    const ls_recover_hooks *hooks = &self->options->hooks;
    int64_t kept = -1;
    if (self->keeper)
        LS_TRY(ls_keeper_begin_job(self->keeper, self->attempt, self->options->ranks.size));
    LS_TRY(find_base(self, &kept));
    LS_TRY(clear_output(self));
    const ls_recover_attempt attempt = {self->attempt, self->base, self->keeper};
    if (hooks->begin) hooks->begin(hooks->user, &attempt);
    LS_TRY(start_ranks(self, kept, out));
    if (hooks->end) hooks->end(hooks->user, &attempt, *out);
    return LS_OK;
}

/* --- between attempts --- */

int ls_recover_can_help(const ls_ranks_result *result) {
    const ls_ranks_end *end = &result->ends[result->culprit];
    if (end->exit_status < 0) return 1; /* a signal */
    if (end->exit_status == ls_status_exit_code(LS_ERR_COMM) ||
        end->exit_status == ls_status_exit_code(LS_ERR_INTERNAL))
        return 1;
    /* A disk or the memory of the machine may have been full for a while; at the start it is a wrong path or a plan too large. */
    return end->report.step > 0 && (end->exit_status == ls_status_exit_code(LS_ERR_IO) ||
                                    end->exit_status == ls_status_exit_code(LS_ERR_NO_MEMORY));
}

double ls_recover_pause(const ls_recover_options *options, int64_t n_stuck) {
    double pause = n_stuck > 0 ? options->pause : 0;
    for (int64_t i = 1; i < n_stuck && pause < options->longest_pause; i++) pause *= 2;
    return pause < options->longest_pause ? pause : options->longest_pause;
}

static void record_end(recovery *self, const ls_ranks_result *ended) {
    ls_recover_record *record =
        &self->result->records[self->result->n_records++ % LS_RECOVER_RECORDS];
    *record = (ls_recover_record){.number = self->attempt,
                                  .unix_ms = ls_clock_unix_ms(),
                                  .base = self->base,
                                  .seconds = ls_clock_seconds() - ended->began};
    ls_ranks_describe(&ended->ends[ended->culprit], ended->culprit, record->how,
                      sizeof record->how);
}

static void tell_restart(const recovery *self, double pause) {
    const ls_recover_record *last =
        &self->result->records[(self->result->n_records - 1) % LS_RECOVER_RECORDS];
    char line[512], from[64] = "the start", when[48] = "";
    if (self->base >= 0) (void)snprintf(from, sizeof from, "step %lld", (long long)self->base);
    if (pause > 0) (void)snprintf(when, sizeof when, ", in %.1f s", pause);
    (void)snprintf(line, sizeof line, "%s; going on from %s (restart %lld%s)", last->how, from,
                   (long long)self->attempt + 1, when);
    self->options->tell(line);
}

/* A signal ends the pause; it stays pending and is passed on to the next attempt's ranks, which save what the keeper has. */
static void sleep_pause(double seconds) {
    sigset_t mask;
    ls_ranks_signals(&mask);
    sigdelset(&mask, SIGCHLD);
    sigdelset(&mask, SIGTSTP);
    struct pollfd news = {.fd = signalfd(-1, &mask, SFD_CLOEXEC), .events = POLLIN};
    (void)poll(&news, 1, (int)(1000 * seconds));
    if (news.fd >= 0) (void)close(news.fd);
}

/* Does the run end here? Otherwise everything is ready for the next attempt. */
static ls_status look_back(recovery *self, const ls_ranks_result *ended, int *is_over_out) {
    const ls_recover_options *o = self->options;
    ls_recover_result *result = self->result;
    *is_over_out = 1;
    result->why = ended->interrupted ? LS_RECOVER_INTERRUPTED : LS_RECOVER_DONE;
    if (ended->culprit < 0 || ended->interrupted) return LS_OK;
    record_end(self, ended);
    int64_t kept;
    LS_TRY(find_base(self, &kept));
    self->n_stuck = self->base > self->best ? 0 : self->n_stuck + 1;
    if (self->base > self->best) self->best = self->base;
    result->n_stuck = self->n_stuck;
    result->why = !ls_recover_can_help(ended)              ? LS_RECOVER_HOPELESS
                  : result->n_restarts >= o->most_restarts ? LS_RECOVER_LIMIT
                  : self->n_stuck >= o->most_stuck         ? LS_RECOVER_STUCK
                                                           : LS_RECOVER_DONE;
    if (result->why != LS_RECOVER_DONE) return LS_OK;
    const double pause = ls_recover_pause(o, self->n_stuck);
    tell_restart(self, pause);
    if (pause > 0) sleep_pause(pause);
    result->n_restarts++;
    self->attempt++;
    *is_over_out = 0;
    return LS_OK;
}

static ls_status run_attempts(recovery *self) {
    for (int is_over = 0; !is_over;) {
        ls_ranks_result *ended = NULL;
        LS_TRY(run_attempt(self, &ended));
        /* A start that is committed is no progress. */
        if (self->attempt == 0) self->best = self->base > 0 ? self->base : 0;
        ls_free(self->result->last);
        self->result->last = ended;
        LS_TRY(look_back(self, ended, &is_over));
    }
    return LS_OK;
}

/* --- around it all --- */

/* What rank 0 of the last attempt printed. */
static void pass_output(const recovery *self) {
    char text[4096];
    const int to = self->options->ranks.output;
    ssize_t n;
    if (to < 0 || lseek(self->output, 0, SEEK_SET) != 0) return;
    while ((n = read(self->output, text, sizeof text)) > 0)
        for (ssize_t done = 0, m; done < n; done += m)
            if ((m = write(to, text + done, (size_t)(n - done))) < 0) return;
}

static ls_status prepare(recovery *self) {
    uint64_t id[2] = {0};
    if (getrandom(id, sizeof id, 0) != sizeof id)
        return LS_FAIL(LS_ERR_INTERNAL, "run: no random number for the run's name: %s",
                       strerror(errno));
    (void)snprintf(self->run, sizeof self->run, "%016llx%016llx", (unsigned long long)id[0],
                   (unsigned long long)id[1]);
    self->output = memfd_create("lockstep-output", MFD_CLOEXEC);
    if (self->output < 0)
        return LS_FAIL(LS_ERR_NO_MEMORY, "run: no memory for rank 0's output: %s", strerror(errno));
    char *path;
    self->old_checkpoint = find_checkpoint(self, &path);
    ls_free(path);
    const ls_keeper_options keeper = {0};
    return self->options->has_keeper ? ls_keeper_start(&keeper, &self->keeper) : LS_OK;
}

ls_status ls_recover_run(const ls_recover_options *options, ls_recover_result **out) {
    recovery self = {.options = options, .output = -1, .base = -1, .best = -1};
    self.result = ls_alloc(sizeof *self.result);
    if (!self.result) return LS_ERR_NO_MEMORY;
    sigset_t mask;
    ls_ranks_signals(&mask);
    /* Before the keeper's thread is there: it must not get them. */
    (void)sigprocmask(SIG_BLOCK, &mask, &self.old_mask);
    ls_status status = prepare(&self);
    if (status == LS_OK) status = run_attempts(&self);
    if (status == LS_OK) pass_output(&self);
    ls_keeper_stop(self.keeper);
    if (self.output >= 0) (void)close(self.output);
    (void)sigprocmask(SIG_SETMASK, &self.old_mask, NULL);
    if (status != LS_OK) {
        ls_recover_result_destroy(self.result);
        return status;
    }
    *out = self.result;
    return LS_OK;
}

void ls_recover_result_destroy(ls_recover_result *result) {
    if (!result) return;
    ls_free(result->last);
    ls_free(result);
}

void ls_recover_tell_records(const ls_recover_result *result, void (*tell)(const char *line)) {
    const int64_t n = result->n_records;
    for (int64_t i = n > LS_RECOVER_RECORDS ? n - LS_RECOVER_RECORDS : 0; i < n; i++) {
        const ls_recover_record *record = &result->records[i % LS_RECOVER_RECORDS];
        const time_t when = (time_t)(record->unix_ms / 1000);
        char line[512], clock[32] = "", from[64] = "the start";
        struct tm parts;
        if (localtime_r(&when, &parts)) (void)strftime(clock, sizeof clock, "%H:%M:%S", &parts);
        if (record->base >= 0)
            (void)snprintf(from, sizeof from, "step %lld", (long long)record->base);
        (void)snprintf(line, sizeof line, "attempt %lld from %s: after %.1f s, at %s, %s",
                       (long long)record->number + 1, from, record->seconds, clock, record->how);
        tell(line);
    }
}
