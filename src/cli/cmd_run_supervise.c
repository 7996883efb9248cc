/* The supervisor: one loop over the ranks' standard errors and this process's signals, which come through a descriptor. */
#include "cli/cmd_run_supervise.h"
#include "base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_BYTES = 4096, NO_DEADLINE = -1 };

typedef struct rank_stream {
    int fd; /* read end of its standard error; -1 = closed */
    size_t used;
    char text[LINE_BYTES]; /* of a line that has not ended yet */
} rank_stream;

typedef struct supervisor {
    const ls_ranks_options *options;
    ls_job *job;
    ls_ranks_result *result;
    rank_stream *streams;
    struct pollfd *polls; /* the ranks' streams, then the signals */
    int signals, n_started, n_running, has_failed;
    pid_t group; /* 0 before the first rank */
    double deadline;
    sigset_t old_mask;
} supervisor;

static void send_group(const supervisor *self, int number) {
    if (self->group > 0) (void)kill(-self->group, number);
}

/* --- what ranks say --- */

static void end_line(supervisor *self, int rank) {
    rank_stream *stream = &self->streams[rank];
    stream->text[stream->used] = '\0';
    self->options->line(self->options->user, rank, stream->text);
    stream->used = 0;
}

static void take_text(supervisor *self, int rank, const char *text, size_t n) {
    rank_stream *stream = &self->streams[rank];
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n') {
            end_line(self, rank);
            continue;
        }
        stream->text[stream->used++] = text[i];
        if (stream->used == sizeof stream->text - 1) end_line(self, rank);
    }
}

static void read_stream(supervisor *self, int rank) {
    rank_stream *stream = &self->streams[rank];
    char text[LINE_BYTES];
    while (stream->fd >= 0) {
        const ssize_t n = read(stream->fd, text, sizeof text);
        if (n > 0) {
            take_text(self, rank, text, (size_t)n);
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (stream->used) end_line(self, rank);
        (void)close(stream->fd);
        stream->fd = -1;
    }
}

/* --- starting --- */

static ls_status catch_signals(supervisor *self) {
    sigset_t mask;
    sigemptyset(&mask);
    static const int numbers[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGTSTP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaddset(&mask, numbers[i]);
    (void)signal(SIGCHLD,
                 SIG_DFL); /* ignored, as a parent may have left it, children would vanish */
    (void)sigprocmask(SIG_BLOCK, &mask, &self->old_mask);
    self->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (self->signals >= 0) return LS_OK;
    (void)sigprocmask(SIG_SETMASK, &self->old_mask, NULL);
    return LS_FAIL(LS_ERR_INTERNAL, "run: signals cannot be watched: %s", strerror(errno));
}

static void become_rank(supervisor *self, int rank, int error_stream, pid_t parent) {
    const ls_ranks_child child = {.job = self->job,
                                  .rank = rank,
                                  .streams = {self->options->output, error_stream},
                                  .parent = parent,
                                  .group = self->group,
                                  .options = self->options};
    const ls_status status = ls_ranks_become_rank(&child);
    const char *start = "lockstep: error: ", *message = ls_error_message();
    if (write(error_stream, start, strlen(start)) > 0 &&
        write(error_stream, message, strlen(message)) > 0)
        (void)!write(error_stream, "\n", 1);
    _exit(ls_status_exit_code(status));
}

static ls_status start_rank(supervisor *self, int rank) {
    int ends[2];
    const pid_t parent = getpid();
    if (pipe2(ends, O_CLOEXEC) != 0)
        return LS_FAIL(LS_ERR_IO, "run: no pipe for rank %d: %s", rank, strerror(errno));
    (void)fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) become_rank(self, rank, ends[1], parent);
    const int error = errno;
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        return LS_FAIL(LS_ERR_NO_MEMORY, "run: rank %d of %d cannot be started: %s; ask for fewer",
                       rank, self->options->size, strerror(error));
    }
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    if (self->group == 0) self->group = pid;
    (void)setpgid(pid, self->group); /* the child does so too: whoever comes first */
    self->streams[rank].fd = ends[0];
    self->result->ends[rank].pid = pid;
    self->n_started++;
    self->n_running++;
    return LS_OK;
}

/* --- ending --- */

static void note_failure(supervisor *self) {
    if (self->has_failed) return;
    self->has_failed = 1;
    self->deadline = ls_clock_seconds() + self->options->grace_seconds;
}

static void note_end(supervisor *self, int rank, int status) {
    ls_ranks_end *end = &self->result->ends[rank];
    if (WIFSTOPPED(status) || WIFCONTINUED(status)) {
        end->was_stopped = WIFSTOPPED(status);
        return;
    }
    end->has_ended = 1;
    end->seconds = ls_clock_seconds();
    end->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    end->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    self->n_running--;
    if (end->exit_status != 0) note_failure(self);
}

static void reap(supervisor *self) {
    for (int rank = 0; rank < self->n_started; rank++) {
        int status;
        const ls_ranks_end *end = &self->result->ends[rank];
        while (!end->has_ended &&
               waitpid(end->pid, &status, WNOHANG | WUNTRACED | WCONTINUED) == end->pid)
            note_end(self, rank, status);
    }
}

static void kill_rest(supervisor *self) {
    for (int rank = 0; rank < self->n_started; rank++)
        self->result->ends[rank].was_killed |= !self->result->ends[rank].has_ended;
    send_group(self, SIGKILL);
    self->deadline = NO_DEADLINE;
}

/* When one has failed, those that stand still will never notice. */
static int only_stopped_left(const supervisor *self) {
    for (int rank = 0; rank < self->n_started; rank++)
        if (!self->result->ends[rank].has_ended && !self->result->ends[rank].was_stopped) return 0;
    return self->n_running > 0;
}

/* --- the loop --- */

static void take_signal(supervisor *self, int number) {
    if (number == SIGCHLD) return;
    if (number == SIGTSTP) {
        send_group(self, SIGSTOP);
        (void)raise(SIGSTOP); /* and here it goes on after SIGCONT */
        send_group(self, SIGCONT);
        return;
    }
    self->result->interrupted = 1;
    send_group(self, number == SIGHUP ? SIGTERM : number);
}

static void wait_for_news(supervisor *self) {
    const int size = self->options->size;
    for (int rank = 0; rank < size; rank++)
        self->polls[rank] = (struct pollfd){.fd = self->streams[rank].fd, .events = POLLIN};
    self->polls[size] = (struct pollfd){.fd = self->signals, .events = POLLIN};
    int timeout_ms = -1;
    if (self->has_failed && self->deadline >= 0) {
        const double left = self->deadline - ls_clock_seconds();
        timeout_ms = left > 0 ? (int)(1000 * left) + 1 : 0;
    }
    (void)poll(self->polls, (nfds_t)size + 1, timeout_ms);
    struct signalfd_siginfo news;
    while (read(self->signals, &news, sizeof news) == (ssize_t)sizeof news)
        take_signal(self, (int)news.ssi_signo);
}

static void watch_ranks(supervisor *self) {
    while (self->n_running > 0) {
        wait_for_news(self);
        reap(self);
        for (int rank = 0; rank < self->n_started; rank++) read_stream(self, rank);
        if (!self->has_failed || self->deadline < 0) continue;
        if (ls_clock_seconds() >= self->deadline || only_stopped_left(self)) kill_rest(self);
    }
}

/* Whom the ranks blamed; else signal, own failure, standstill, then whoever left first: a rank that only heard of another's
 * failure ends with the status of LS_ERR_COMM. */
static int find_culprit(const ls_job *job, const ls_ranks_result *result) {
    const int heard = ls_status_exit_code(LS_ERR_COMM);
    char sentence[1024];
    int culprit = job ? ls_job_failure(job, sentence) : -1, best = 0;
    if (culprit >= 0 && result->ends[culprit].exit_status != 0) return culprit;
    culprit = -1;
    for (int rank = 0; rank < result->size; rank++) {
        const ls_ranks_end *end = &result->ends[rank];
        if (!end->has_ended || end->exit_status == 0) continue;
        const int weight = end->signal && !end->was_killed                     ? 5
                           : end->exit_status > 0 && end->exit_status != heard ? 4
                           : end->was_stopped                                  ? 3
                           : end->exit_status > 0                              ? 2
                                                                               : 1;
        if (weight > best || (weight == best && end->seconds < result->ends[culprit].seconds)) {
            best = weight;
            culprit = rank;
        }
    }
    return culprit;
}

static void close_all(supervisor *self) {
    for (int rank = 0; rank < self->n_started; rank++) read_stream(self, rank);
    for (int rank = 0; self->streams && rank < self->options->size; rank++)
        if (self->streams[rank].fd >= 0) (void)close(self->streams[rank].fd);
    if (self->signals >= 0) {
        (void)close(self->signals);
        (void)sigprocmask(SIG_SETMASK, &self->old_mask, NULL);
    }
    ls_job_destroy(self->job);
    ls_free(self->streams);
    ls_free(self->polls);
}

static ls_status start_all(supervisor *self) {
    const int size = self->options->size;
    self->streams = ls_alloc((size_t)size * sizeof *self->streams);
    self->polls = ls_alloc((size_t)(size + 1) * sizeof *self->polls);
    if (!self->streams || !self->polls) return LS_ERR_NO_MEMORY;
    for (int rank = 0; rank < size; rank++) self->streams[rank].fd = -1;
    LS_TRY(ls_job_create(size, self->options->name, &self->job));
    LS_TRY(catch_signals(self));
    for (int rank = 0; rank < size; rank++) LS_TRY(start_rank(self, rank));
    return LS_OK;
}

ls_status ls_ranks_supervise(const ls_ranks_options *options, ls_ranks_result **out) {
    supervisor self = {.options = options, .signals = -1, .deadline = NO_DEADLINE};
    const size_t n = (size_t)options->size;
    self.result = ls_alloc(sizeof *self.result + n * sizeof *self.result->ends);
    if (!self.result) return LS_ERR_NO_MEMORY;
    self.result->size = options->size;
    const ls_status status = start_all(&self);
    if (status != LS_OK && self.n_running > 0) {
        note_failure(&self);
        kill_rest(&self);
    }
    watch_ranks(&self);
    if (self.group > 0 && kill(-self.group, 0) == 0) self.result->left_behind = 1;
    send_group(&self, SIGKILL);
    for (int rank = 0; status == LS_OK && rank < options->size; rank++)
        ls_job_report(self.job, rank, &self.result->ends[rank].report);
    self.result->culprit = find_culprit(self.job, self.result);
    close_all(&self);
    if (status != LS_OK) {
        ls_free(self.result);
        return status;
    }
    *out = self.result;
    return LS_OK;
}

/* --- how it ended --- */

int ls_ranks_exit_status(const ls_ranks_result *result) {
    if (result->culprit < 0) return 0;
    const ls_ranks_end *end = &result->ends[result->culprit];
    if (end->exit_status > 0) return end->exit_status;
    /* A rank that stood still was killed here: the others' status tells of it. */
    for (int rank = 0; end->was_killed && rank < result->size; rank++)
        if (result->ends[rank].exit_status > 0) return result->ends[rank].exit_status;
    return 128 + end->signal;
}

void ls_ranks_describe(const ls_ranks_end *end, int rank, char *out, size_t out_bytes) {
    char where[192] = "before its first collective", how[96];
    const ls_rank_report *report = &end->report;
    const char *name = end->signal ? sigabbrev_np(end->signal) : NULL;
    if (report->n_calls)
        (void)snprintf(where, sizeof where, "at step %llu, op %s%s%s",
                       (unsigned long long)report->step, report->op, *report->scope ? " in " : "",
                       report->scope);
    if (end->was_killed && end->was_stopped)
        (void)snprintf(how, sizeof how, "stood still (was stopped) and was killed");
    else if (end->was_killed)
        (void)snprintf(how, sizeof how, "did not end by itself and was killed");
    else if (end->signal)
        (void)snprintf(how, sizeof how, "was killed by signal %d (SIG%s)", end->signal,
                       name ? name : "?");
    else
        (void)snprintf(how, sizeof how, "ended with status %d", end->exit_status);
    (void)snprintf(out, out_bytes, "rank %d %s %s", rank, how, where);
}
