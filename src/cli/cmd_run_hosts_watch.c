/* While a job runs: who is lost, who came, and how the job is brought to its end. */
#include "base/clock.h"
#include "cli/cmd_run_hosts_control.h"
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const double drop_seconds = 5, /* between looks whether hosts may be dropped */
    repeat_seconds = 0.5,             /* between two requests to leave */
    settled_seconds = 1.0,            /* without a further change, before a job is moved */
    count_seconds = 5,                /* between counts of ranks once all were there */
    leave_seconds = 600,              /* for a step to be finished */
    grace_seconds = 1.0,              /* for mpirun to end */
    sweep_seconds = 10,               /* for killed ranks to be gone */
    doubt_seconds = 0.8;              /* of silence, after which a job's end may be a host's */
enum { TICK_MS = 20, SWEEP_MS = 10 };

static void take_signals(ls_hosts_control *self, int timeout_ms) {
    struct pollfd news = {.fd = self->signals, .events = POLLIN};
    struct signalfd_siginfo info;
    (void)poll(&news, 1, timeout_ms);
    while (read(self->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) continue;
        self->stop = info.ssi_signo == SIGINT ? SIGINT : SIGTERM;
        self->n_stops++;
    }
}

static void turn(ls_hosts_control *self, int timeout_ms) {
    take_signals(self, timeout_ms);
    ls_hosts_list_tend(&self->list);
    ls_hosts_job_check(&self->job);
}

void ls_hosts_control_tick(ls_hosts_control *self) {
    const ls_hosts_hooks *hooks = self->options->hooks;
    turn(self, TICK_MS);
    if (hooks && hooks->tick) hooks->tick(hooks->user, self);
}

/* --- ranks --- */

/* To all living keepers, whoever has ranks. */
static void signal_ranks(ls_hosts_control *self, int number) {
    for (int i = 0; i < self->list.n; i++) {
        ls_run_host *host = self->list.hosts[i];
        if (host->state != LS_HOST_UP) continue;
        host->n_ranks = -1; /* until the answer is there */
        host->n_sent = 0;
        ls_run_host_tell(host, "signal %s %d", self->job.id, number);
    }
}

static int count_sent(const ls_hosts_control *self) {
    int n = 0;
    for (int i = 0; i < self->list.n; i++) n += self->list.hosts[i]->n_sent;
    return n;
}

/* 1 when every living keeper has answered that it has no ranks. */
static int is_swept(const ls_hosts_control *self) {
    for (int i = 0; i < self->list.n; i++) {
        const ls_run_host *host = self->list.hosts[i];
        if (host->state == LS_HOST_UP && (host->n_ranks != 0 || host->n_answered != host->n_told))
            return 0;
    }
    return 1;
}

/* Nothing of a job may live when the next begins. A host that cannot be asked is lost. */
static void sweep(ls_hosts_control *self) {
    const double end = ls_clock_seconds() + sweep_seconds;
    do {
        signal_ranks(self, SIGKILL);
        const double again = ls_clock_seconds() + 0.05;
        do turn(self, SWEEP_MS);
        while (!is_swept(self) && ls_clock_seconds() < again);
    } while (!is_swept(self) && ls_clock_seconds() < end);
}

static void end_hard(ls_hosts_control *self) {
    self->job.is_unwanted = 1;
    signal_ranks(self, SIGKILL);
    ls_hosts_job_kill(&self->job, grace_seconds);
}

/* --- reasons to end it --- */

static const ls_run_host *find_lost(const ls_hosts_control *self) {
    for (int i = 0; i < self->world.n_hosts; i++)
        if (self->members[i]->was_lost) return self->members[i];
    return NULL;
}

static void tell_lost(ls_hosts_control *self) {
    size_t used = 0;
    for (int i = 0; i < self->world.n_hosts; i++) {
        ls_run_host *host = self->members[i];
        if (!host->was_lost || used >= sizeof self->news) continue;
        used +=
            (size_t)snprintf(self->news + used, sizeof self->news - used, "%s%s is lost (%.200s)",
                             used ? ", " : "", host->line.name, host->lost);
        (void)snprintf(host->said, sizeof host->said, "%s", host->lost);
    }
    self->why = LS_HOSTS_LOST;
}

/* A member that the file no longer names, or that is to have fewer ranks. */
static int must_shrink(ls_hosts_control *self) {
    for (int i = 0; i < self->world.n_hosts; i++) {
        const ls_run_host *host = self->members[i];
        if (host->is_wanted && host->line.slots >= self->world.each) continue;
        (void)snprintf(self->news, sizeof self->news, "%s says that %s %s", self->list.path,
                       host->line.name,
                       host->is_wanted ? "takes fewer ranks" : "is no longer to be used");
        return 1;
    }
    return 0;
}

static int can_grow(ls_hosts_control *self) {
    ls_run_host **up = ls_alloc((size_t)(self->list.n + 1) * sizeof(ls_run_host *));
    int *slots = ls_alloc((size_t)(self->list.n + 1) * sizeof *slots), grows = 0;
    const int n = up && slots ? ls_hosts_list_up(&self->list, 1, up) : 0;
    for (int i = 0; i < n; i++) slots[i] = up[i]->line.slots;
    if (n)
        grows =
            ls_world_choose(slots, n, self->lanes, self->options->most).ranks > self->world.ranks;
    const char *come = NULL;
    int n_come = 0;
    for (int i = 0; i < n; i++)
        if (!up[i]->is_member && up[i]->since > self->job.since) {
            if (!come) come = up[i]->line.name;
            n_come++;
        }
    if (grows && come)
        (void)snprintf(self->news, sizeof self->news,
                       n_come > 1 ? "%s and %d more are there" : "%s is there", come, n_come - 1);
    else if (grows)
        (void)snprintf(self->news, sizeof self->news,
                       "%s and the hosts that are there allow more ranks", self->list.path);
    ls_free(up);
    ls_free(slots);
    return grows;
}

/* --- the watch --- */

typedef struct watch {
    int has_ranks;  /* some were seen */
    int is_whole;   /* all were seen at once */
    double counted; /* when they were looked for */
    double missed;  /* since when some are missing after others came; 0 = none is */
    double dropped; /* when hosts were dropped, or it was seen that none can be */
    double changed, asked,
        leave_by; /* when hosts changed; when ranks were asked to leave, first by when they must have left */
    int64_t n_changes;
    int number; /* that they are asked with; 0 = they are not */
    int has_heard;
} watch;

static void ask_to_leave(ls_hosts_control *self, watch *w, int number) {
    const double now = ls_clock_seconds();
    if (w->number != number) {
        w->asked = 0;
        w->leave_by = now + leave_seconds;
        w->number = number;
        w->has_heard = 0;
        if (number == SIGUSR1) self->job.is_unwanted = 1;
    }
    /* SIGTERM once: a second one ends a rank. */
    if (count_sent(self) > 0 && w->asked > 0) w->has_heard = 1;
    if (now - w->asked < repeat_seconds || (w->has_heard && number != SIGUSR1)) return;
    w->asked = now;
    signal_ranks(self, number);
}

static void note_changes(ls_hosts_control *self, watch *w) {
    if (w->n_changes == self->list.n_changes) return;
    w->n_changes = self->list.n_changes;
    w->changed = ls_clock_seconds();
    /* Somebody without ranks: the others' copies may go elsewhere now. */
    if (!find_lost(self) && ls_hosts_control_tell_peers(self) != LS_OK) w->n_changes--;
}

/* A host that was taken out of the file keeps its memory until the job has steps of its own elsewhere. */
static void drop_old(ls_hosts_control *self, watch *w) {
    int64_t step = -1;
    int n = 0;
    for (int i = 0; i < self->list.n; i++)
        n += !self->list.hosts[i]->is_wanted && !self->list.hosts[i]->is_member;
    if (n == 0 || ls_clock_seconds() - w->dropped < drop_seconds) return;
    w->dropped = ls_clock_seconds();
    if (ls_hosts_list_best_step(&self->list, NULL, &step) == LS_OK && step > self->base)
        ls_hosts_list_drop(&self->list);
}

/* Ranks that the last count found; -1 while an answer is awaited. */
static int count_ranks(const ls_hosts_control *self) {
    int n = 0;
    for (int i = 0; i < self->list.n; i++) {
        const ls_run_host *host = self->list.hosts[i];
        if (host->state == LS_HOST_UP && host->n_ranks < 0) return -1;
        n += host->state == LS_HOST_UP ? host->n_ranks : 0;
    }
    return n;
}

static void note_ranks(ls_hosts_control *self, watch *w) {
    const int n = count_ranks(self);
    if (n < 0) return;
    w->has_ranks |= n > 0;
    w->is_whole |= n >= self->world.ranks;
    if (n >= self->world.ranks || !w->has_ranks)
        w->missed = 0;
    else if (w->missed <= 0)
        w->missed = ls_clock_seconds();
}

/* An agent of mpirun that hangs starts no rank; a rank that dies before it has met the others may leave an mpirun that waits with them for
 * ever (MPICH's does). 1 when it is so, and .news says what is wrong. */
static int find_stuck(ls_hosts_control *self, watch *w) {
    const double now = ls_clock_seconds();
    const ls_hosts_options *o = self->options;
    /* Who was asked to leave may; where nobody is, nobody leaves. */
    if (w->number && w->has_ranks) return 0;
    note_ranks(self, w);
    if (!w->number && now - w->counted > (w->is_whole ? count_seconds : repeat_seconds)) {
        w->counted = now;
        signal_ranks(self, 0);
    }
    if (!w->has_ranks && now - self->job.since > o->launch_seconds)
        (void)snprintf(self->news, sizeof self->news, "mpirun has started no rank for %g s",
                       o->launch_seconds);
    else if (w->missed > 0 && now - w->missed > o->missing_seconds)
        (void)snprintf(self->news, sizeof self->news,
                       "mpirun goes on without some of its ranks for %g s", o->missing_seconds);
    else
        return 0;
    return 1;
}

/* 1 when the job has been ended here. */
static int look(ls_hosts_control *self, watch *w) {
    const double now = ls_clock_seconds();
    note_changes(self, w);
    if (find_lost(self) || self->n_stops > 1 || (w->number && now > w->leave_by)) {
        if (find_lost(self)) tell_lost(self);
        end_hard(self);
        return 1;
    }
    if (find_stuck(self, w)) {
        (void)fprintf(stderr, "lockstep: %s: it is ended\n", self->news);
        self->why = LS_HOSTS_STUCK;
        end_hard(self);
        return 1;
    }
    drop_old(self, w);
    if (self->stop) {
        ask_to_leave(self, w, self->stop);
    } else if (w->number || must_shrink(self) ||
               (now - w->changed > settled_seconds && can_grow(self))) {
        self->why = LS_HOSTS_MOVED;
        ask_to_leave(self, w, SIGUSR1);
    }
    return 0;
}

/* The ranks saw a host vanish before its keeper's silence was long enough. */
static void settle_doubts(ls_hosts_control *self) {
    int doubts = 1;
    while (doubts) {
        doubts = 0;
        for (int i = 0; i < self->world.n_hosts; i++)
            doubts |= ls_run_host_silence(self->members[i]) > doubt_seconds;
        if (doubts) ls_hosts_control_tick(self);
    }
    if (find_lost(self)) tell_lost(self);
}

void ls_hosts_control_watch(ls_hosts_control *self) {
    watch w = {.n_changes = self->list.n_changes,
               .changed = ls_clock_seconds(),
               .dropped = ls_clock_seconds()};
    self->why = LS_HOSTS_ENDED;
    while (self->job.mpirun > 0) {
        ls_hosts_control_tick(self);
        if (self->job.mpirun > 0 && look(self, &w)) break;
    }
    if (self->job.exit_status != 0) settle_doubts(self);
    sweep(self);
    if (find_lost(self)) tell_lost(self);
    for (int i = 0; i < self->world.n_hosts; i++) self->members[i]->is_member = 0;
}
