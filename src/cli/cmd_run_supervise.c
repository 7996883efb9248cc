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
/* Before ranks that all stand still are killed; how often it is looked whether ranks catch a signal that is held back. */
static const double standstill_seconds = 1.5, held_tick_seconds = 0.02;
/* Before a stopped rank that the others have not named is killed: they cannot know one that has not come to the board yet. */
static const double unnamed_seconds = 4;

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
    int signals, n_started, n_running, has_failed, has_died;
    int held;    /* a signal that is not passed on yet; 0 = none */
    pid_t group; /* 0 before the first rank */
    double deadline, stopped_since, next_tick;
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

void ls_ranks_signals(sigset_t *out) {
    static const int numbers[] = {SIGCHLD, SIGINT, SIGTERM, SIGTSTP};
    struct sigaction hangup;
    sigemptyset(out);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaddset(out, numbers[i]);
    /* nohup ignores it; blocked, it would come all the same. */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(out, SIGHUP);
}

static ls_status catch_signals(supervisor *self) {
    sigset_t mask;
    ls_ranks_signals(&mask);
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
    if (end->exit_status != 0 && end->exit_status != LS_RANKS_AGAIN) note_failure(self);
    if (end->signal && !end->was_killed) self->has_died = 1;
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
    if (number == SIGHUP) number = SIGTERM;
    const int is_first = !self->result->interrupted;
    self->result->interrupted = number;
    if (self->options->holds_signals && is_first) {
        self->held = number;
        return;
    }
    self->held = 0;
    send_group(self, number);
}

/* Has the process set a handler for the signal? Until then it would end it with nothing saved. */
static int catches_signal(pid_t pid, int number) {
    char path[64], line[256];
    unsigned long long caught = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "SigCgt: %llx", &caught) == 1) break;
    (void)fclose(file);
    return (int)(caught >> (number - 1) & 1);
}

static void pass_held_signal(supervisor *self) {
    for (int rank = 0; self->held && rank < self->n_started; rank++) {
        const ls_ranks_end *end = &self->result->ends[rank];
        if (!end->has_ended && !catches_signal(end->pid, self->held)) return;
    }
    if (self->held) send_group(self, self->held);
    self->held = 0;
}

/* The earlier of two times; NO_DEADLINE is none. */
static double earlier(double a, double b) {
    if (a < 0 || b < 0) return a < 0 ? b : a;
    return a < b ? a : b;
}

static int find_timeout_ms(const supervisor *self) {
    const double now = ls_clock_seconds();
    double until = self->has_failed ? self->deadline : NO_DEADLINE;
    until = earlier(until, self->next_tick);
    if (self->stopped_since >= 0 && !self->has_failed) {
        const double all = self->stopped_since + standstill_seconds;
        until = earlier(until, now < all ? all : self->stopped_since + unnamed_seconds);
    }
    if (self->held) until = earlier(until, now + held_tick_seconds);
    if (until < 0) return -1;
    return until > now ? (int)(1000 * (until - now)) + 1 : 0;
}

static void wait_for_news(supervisor *self) {
    const int size = self->options->size;
    for (int rank = 0; rank < size; rank++)
        self->polls[rank] = (struct pollfd){.fd = self->streams[rank].fd, .events = POLLIN};
    self->polls[size] = (struct pollfd){.fd = self->signals, .events = POLLIN};
    (void)poll(self->polls, (nfds_t)size + 1, find_timeout_ms(self));
    struct signalfd_siginfo news;
    while (read(self->signals, &news, sizeof news) == (ssize_t)sizeof news)
        take_signal(self, (int)news.ssi_signo);
}

static int is_any_stopped(const supervisor *self) {
    for (int rank = 0; rank < self->n_started; rank++)
        if (!self->result->ends[rank].has_ended && self->result->ends[rank].was_stopped) return 1;
    return 0;
}

/* One that is stopped is named by the others; when all are, nobody is left to say so. */
static void look_for_standstill(supervisor *self) {
    if (!self->options->is_recoverable || self->has_failed) return;
    const double now = ls_clock_seconds();
    if (!is_any_stopped(self)) {
        self->stopped_since = NO_DEADLINE;
        return;
    }
    if (self->stopped_since < 0) self->stopped_since = now;
    const double limit = only_stopped_left(self) ? standstill_seconds : unnamed_seconds;
    if (now < self->stopped_since + limit) return;
    note_failure(self);
    self->deadline = now;
}

static void call_tick(supervisor *self) {
    const double now = ls_clock_seconds();
    if (self->next_tick < 0 || now < self->next_tick || self->n_running == 0) return;
    const ls_ranks_view view = {self->job, self->result, now - self->result->began};
    const double pause = self->options->tick(self->options->tick_user, &view);
    self->next_tick = pause < 0 ? NO_DEADLINE : ls_clock_seconds() + pause;
}

static void watch_ranks(supervisor *self) {
    while (self->n_running > 0) {
        wait_for_news(self);
        reap(self);
        for (int rank = 0; rank < self->n_started; rank++) read_stream(self, rank);
        pass_held_signal(self);
        look_for_standstill(self);
        call_tick(self);
        if (!self->has_failed || self->deadline < 0) continue;
        if (ls_clock_seconds() >= self->deadline || only_stopped_left(self) ||
            (self->has_died && self->options->is_recoverable))
            kill_rest(self);
    }
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
    supervisor self = {.options = options,
                       .signals = -1,
                       .deadline = NO_DEADLINE,
                       .stopped_since = NO_DEADLINE,
                       .next_tick = options->tick ? 0 : NO_DEADLINE};
    const size_t n = (size_t)options->size;
    self.result = ls_alloc(sizeof *self.result + n * sizeof *self.result->ends);
    if (!self.result) return LS_ERR_NO_MEMORY;
    self.result->size = options->size;
    self.result->began = ls_clock_seconds();
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
    self.result->culprit = ls_ranks_find_culprit(self.job, self.result);
    close_all(&self);
    if (status != LS_OK) {
        ls_free(self.result);
        return status;
    }
    *out = self.result;
    return LS_OK;
}
