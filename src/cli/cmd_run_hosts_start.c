/* An attempt of an elastic run: who takes part, what it goes on from, what keepers and ranks are told. */
#include "base/clock.h"
#include "base/fs.h"
#include "cli/cmd_run_hosts_control.h"
#include "lockstep/checkpoint.h"
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const double first_settle_seconds = 30, /* for agents to bring the first keepers up */
    settle_seconds = 1.0,                      /* for a host that was just lost to be there again */
    answer_seconds = 5.0;                      /* for keepers to have taken what they are told */

/* --- who --- */

static ls_status choose(ls_hosts_control *self) {
    ls_run_host **up = ls_alloc((size_t)(self->list.n + 1) * sizeof(ls_run_host *));
    int *slots = ls_alloc((size_t)(self->list.n + 1) * sizeof *slots);
    const int n = up && slots ? ls_hosts_list_up(&self->list, 1, up) : 0;
    for (int i = 0; i < n; i++) slots[i] = up[i]->line.slots;
    self->world = ls_world_choose(slots, n, self->lanes, self->options->most);
    int used = 0;
    for (int i = 0; i < n && used < self->world.n_hosts; i++)
        if (slots[i] >= self->world.each) up[used++] = up[i];
    for (int i = 0; i < used; i++) up[i]->was_lost = 0;
    ls_free(slots);
    ls_free(self->members);
    self->members = up;
    return up && slots ? LS_OK : LS_ERR_NO_MEMORY;
}

static ls_status fail_no_hosts(const ls_hosts_control *self) {
    ls_text text = {0};
    for (int i = 0; i < self->list.n && i < 8; i++)
        ls_text_append(&text, "%s%s (%s)", i ? ", " : "", self->list.hosts[i]->line.name,
                       *self->list.hosts[i]->reason ? self->list.hosts[i]->reason : "no answer");
    const ls_status status = LS_FAIL(
        LS_ERR_COMM, "run: no host of %s could be used for %.0f s (--wait): %s", self->list.path,
        self->options->wait_seconds, text.size ? text.data : "the file names none");
    ls_text_deinit(&text);
    return status;
}

/* A signal before the first ranks, or while there is nobody to save anything. */
static ls_status fail_stopped(ls_hosts_control *self) {
    *self->call->exit_status = self->stop == SIGTERM ? LS_RANKS_AGAIN : 128 + self->stop;
    return LS_FAIL(LS_ERR_INTERRUPTED, "run: ended by %s while no ranks ran",
                   self->stop == SIGTERM ? "SIGTERM" : "SIGINT");
}

ls_status ls_hosts_control_gather(ls_hosts_control *self) {
    const double begun = ls_clock_seconds();
    const double settle = self->attempt == 0 ? first_settle_seconds : settle_seconds;
    int told = 0;
    for (;;) {
        ls_hosts_control_tick(self);
        const double waited = ls_clock_seconds() - begun;
        if (!ls_hosts_list_is_settling(&self->list, settle)) {
            LS_TRY(choose(self));
            if (self->world.ranks > 0) return LS_OK;
            if (self->stop) return fail_stopped(self);
            if (waited > self->options->wait_seconds) return fail_no_hosts(self);
            if (!told)
                (void)fprintf(stderr, "lockstep: %s%sno host can be used; waiting up to %.0f s\n",
                              self->news, *self->news ? "; " : "", self->options->wait_seconds);
            told = 1;
        } else if (self->stop && self->attempt == 0) {
            return fail_stopped(self);
        }
    }
}

/* --- from what --- */

/* The newest checkpoint in the run's folder, and what tells it from another of the same name; inode 0 = none. */
static ls_hosts_checkpoint find_checkpoint(const ls_hosts_control *self, char **path_out) {
    struct stat info;
    *path_out = NULL;
    const char *out = self->recovery.out;
    if (!ls_path_is_dir(out) ||
        (ls_ckpt_find_latest(out, path_out) != LS_OK &&
         ls_ckpt_find_newest(out, path_out) != LS_OK) ||
        stat(*path_out, &info) != 0)
        return (ls_hosts_checkpoint){0};
    return (ls_hosts_checkpoint){info.st_dev, info.st_ino};
}

void ls_hosts_control_note_checkpoint(ls_hosts_control *self) {
    char *path;
    self->old = find_checkpoint(self, &path);
    ls_free(path);
}

/* Step of the newest checkpoint of this run; without one, of the one it began with. -1 = none. */
static int64_t find_saved_step(const ls_hosts_control *self) {
    char *path;
    ls_ckpt *ckpt = NULL;
    int64_t step = self->recovery.first;
    const ls_hosts_checkpoint found = find_checkpoint(self, &path);
    const int is_old = found.device == self->old.device && found.inode == self->old.inode;
    if (found.inode && !is_old && ls_ckpt_open(path, &ckpt) == LS_OK) step = ls_ckpt_step(ckpt);
    ls_ckpt_close(ckpt);
    ls_free(path);
    return step;
}

ls_status ls_hosts_control_find_base(ls_hosts_control *self) {
    int64_t kept = -1;
    if (self->recovery.copies > 0) LS_TRY(ls_hosts_list_best_step(&self->list, NULL, &kept));
    const int64_t saved = find_saved_step(self);
    self->from_disk = kept < saved;
    self->base = kept > saved ? kept : saved;
    return LS_OK;
}

/* --- telling keepers --- */

static int have_answered(const ls_hosts_control *self) {
    for (int i = 0; i < self->list.n; i++)
        if (self->list.hosts[i]->state == LS_HOST_UP &&
            self->list.hosts[i]->n_answered < self->list.hosts[i]->n_told)
            return 0;
    return 1;
}

static int64_t copies_now(const ls_hosts_control *self, int n_up) {
    const int64_t copies = self->recovery.adds_copies ? 2 : self->recovery.copies;
    return copies > n_up ? n_up : copies;
}

static int count_up(const ls_hosts_control *self) {
    int n = 0;
    for (int i = 0; i < self->list.n; i++) n += self->list.hosts[i]->state == LS_HOST_UP;
    return n;
}

ls_status ls_hosts_control_tell_peers(ls_hosts_control *self) {
    char *addresses = NULL;
    const int n_up = count_up(self);
    int mine = 0;
    self->n_told_changes = self->list.n_changes;
    LS_TRY(ls_hosts_list_addresses(&self->list, &addresses));
    for (int i = 0; i < self->list.n; i++)
        if (self->list.hosts[i]->state == LS_HOST_UP)
            ls_run_host_tell(self->list.hosts[i], "peers %d %d %s", mine++,
                             (int)copies_now(self, n_up), addresses);
    ls_free(addresses);
    return LS_OK;
}

static ls_status await_answers(ls_hosts_control *self) {
    const double end = ls_clock_seconds() + answer_seconds;
    while (!have_answered(self) && ls_clock_seconds() < end) ls_hosts_control_tick(self);
    for (int i = 0; i < self->list.n; i++)
        if (*self->list.hosts[i]->refusal)
            return LS_FAIL(LS_ERR_INTERNAL, "run: the keeper of %s: %s",
                           self->list.hosts[i]->line.name, self->list.hosts[i]->refusal);
    return LS_OK;
}

/* One after another on all of them: a keeper of the job before must not send its copies to one that is further, which would refuse
 * them. */
static ls_status tell_keepers(ls_hosts_control *self) {
    for (int i = 0; i < self->list.n; i++) {
        ls_run_host_forget_told(self->list.hosts[i]);
        ls_run_host_tell(self->list.hosts[i], "peers 0 0");
    }
    LS_TRY(await_answers(self));
    for (int i = 0; i < self->list.n; i++)
        ls_run_host_tell(self->list.hosts[i], "job %lld %d", (long long)self->attempt,
                         self->world.ranks);
    LS_TRY(await_answers(self));
    LS_TRY(ls_hosts_control_tell_peers(self));
    return await_answers(self);
}

/* --- starting ranks --- */

/* A rank's share of its host, where nothing is said. */
static int64_t find_threads(const ls_hosts_control *self) {
    if (self->options->threads > 0 || self->says_threads) return self->options->threads;
    int64_t threads = 0;
    for (int i = 0; i < self->world.n_hosts; i++) {
        const int64_t share = self->members[i]->cpus / self->world.each;
        if (i == 0 || share < threads) threads = share;
    }
    return threads > 0 ? threads : 1;
}

static ls_status make_words(const ls_hosts_control *self, ls_words *out) {
    ls_words words = {0};
    const int64_t threads = find_threads(self);
    for (int i = 0; i < self->call->n_args; i++) ls_words_add(&words, "%s", self->call->args[i]);
    if (threads > 0) ls_words_add(&words, "threads=%lld", (long long)threads);
    if (self->recovery.copies > 0)
        ls_words_add(&words, "recover.copies=%lld", (long long)copies_now(self, count_up(self)));
    if (words.status != LS_OK) {
        ls_words_deinit(&words);
        return LS_ERR_NO_MEMORY;
    }
    *out = words;
    return LS_OK;
}

static ls_status start_mpirun(ls_hosts_control *self, const ls_words *words,
                              const char *const *names, const char *addresses) {
    char step[32], attempt[32];
    const int keeps = self->recovery.copies > 0;
    (void)snprintf(step, sizeof step, "%lld", (long long)self->base);
    (void)snprintf(attempt, sizeof attempt, "%lld", (long long)self->attempt);
    (void)snprintf(self->job.id, sizeof self->job.id, "%.32s.%lld", self->run,
                   (long long)self->attempt);
    const int restores = keeps && self->attempt > 0 && self->base >= 0 && !self->from_disk;
    const ls_hosts_variable variables[] = {
        {"LOCKSTEP_RUN_JOB", self->job.id},
        {"LOCKSTEP_RUN", self->run},
        {"LOCKSTEP_ATTEMPT", attempt},
        {"LOCKSTEP_KEEPER", keeps ? self->offer : NULL},
        {"LOCKSTEP_KEEPERS", keeps ? addresses : NULL},
        {"LOCKSTEP_RESTORE", restores ? step : NULL},
    };
    ls_launch launch = {.kind = self->kind,
                        .mpirun = self->mpirun,
                        .agent = *self->agent ? self->agent : NULL,
                        .extra = self->options->launcher_args,
                        .program = self->program,
                        .hosts = names,
                        .world = self->world,
                        .as_root = geteuid() == 0,
                        .words = (const char *const *)words->words,
                        .n_words = (int)words->n};
    return ls_hosts_job_start(&self->job, &launch, variables,
                              (int)(sizeof variables / sizeof *variables));
}

static void tell_start(const ls_hosts_control *self) {
    char from[96] = "the start";
    if (self->base >= 0)
        (void)snprintf(from, sizeof from, "%sstep %lld",
                       self->from_disk ? "the checkpoint of " : "", (long long)self->base);
    (void)fprintf(stderr, "lockstep: %s%s %d rank%s on %d host%s from %s%s\n", self->news,
                  self->attempt ? "; going on with" : "starting", self->world.ranks,
                  self->world.ranks == 1 ? "" : "s", self->world.n_hosts,
                  self->world.n_hosts == 1 ? "" : "s", from,
                  self->attempt && self->recovery.copies > 0 && (self->from_disk || self->base < 0)
                      ? " (no step that is newer is in memory as a whole)"
                      : "");
}

ls_status ls_hosts_control_start(ls_hosts_control *self) {
    char *addresses = NULL;
    const char **names = NULL;
    ls_words words = {0};
    LS_TRY(tell_keepers(self));
    for (int i = 0; i < self->world.n_hosts; i++) self->members[i]->is_member = 1;
    ls_status status = ls_hosts_list_addresses(&self->list, &addresses);
    if (status == LS_OK) status = make_words(self, &words);
    names = status == LS_OK ? ls_alloc((size_t)self->world.n_hosts * sizeof *names) : NULL;
    if (status == LS_OK && !names) status = LS_ERR_NO_MEMORY;
    for (int i = 0; status == LS_OK && i < self->world.n_hosts; i++)
        names[i] = self->members[i]->line.name;
    if (status == LS_OK) {
        tell_start(self);
        status = start_mpirun(self, &words, names, addresses);
    }
    ls_free(names);
    ls_words_deinit(&words);
    ls_free(addresses);
    return status;
}
