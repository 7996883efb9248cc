/* The keeper of a host through its agent, and the thread that asks for it. */
#include "cli/cmd_run_hosts_keeper.h"
#include "base/clock.h"
#include "cli/keep_pipe.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const double ask_seconds = 1.0,         /* for one answer */
    lost_seconds = 2.5,                        /* without one */
    word_seconds = 0.2 * LS_KEEP_PIPE_SECONDS, /* between two words to a keeper */
    start_seconds = 30.0,                      /* for an agent to bring a keeper up */
    first_pause = 0.5, longest_pause = 10;     /* between tries */
enum { PULSE_NS = 500000000 };

/* --- the pulse: a thread for each keeper, so that one that hangs delays no other --- */

struct ls_pulse {
    char address[LS_HOST_NAME + 16], cookie[LS_KEEPER_COOKIE];
    atomic_llong last_ms; /* when it answered last, on the monotonic clock; 0 = not yet */
    atomic_int n_holders; /* the thread, and the host until it lets go */
};

static long long now_ms(void) {
    return (long long)(1000 * ls_clock_seconds());
}

static void let_go(ls_pulse *pulse) {
    if (atomic_fetch_sub(&pulse->n_holders, 1) == 1) ls_free(pulse);
}

static void *ask_again_and_again(void *user) {
    ls_pulse *pulse = user;
    const struct timespec rest = {.tv_nsec = PULSE_NS};
    while (atomic_load(&pulse->n_holders) == 2) {
        json_t *inventory = NULL;
        if (ls_keeper_ask(pulse->address, pulse->cookie, ask_seconds, &inventory) == LS_OK) {
            atomic_store(&pulse->last_ms, now_ms());
            json_decref(inventory);
        }
        (void)nanosleep(&rest, NULL);
    }
    let_go(pulse);
    return NULL;
}

static ls_status start_pulse(ls_run_host *host, const ls_run_keepers *keepers) {
    const char *cookie = strchr(keepers->offer, ' ');
    pthread_attr_t detached;
    pthread_t thread;
    ls_pulse *pulse = ls_alloc(sizeof *pulse);
    if (!pulse) return LS_ERR_NO_MEMORY;
    (void)snprintf(pulse->address, sizeof pulse->address, "%s", host->address);
    (void)snprintf(pulse->cookie, sizeof pulse->cookie, "%s", cookie ? cookie + 1 : "");
    atomic_init(&pulse->last_ms, 0);
    atomic_init(&pulse->n_holders, 2);
    (void)pthread_attr_init(&detached);
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    const int error = pthread_create(&thread, &detached, ask_again_and_again, pulse);
    (void)pthread_attr_destroy(&detached);
    if (error != 0) {
        ls_free(pulse);
        return LS_FAIL(LS_ERR_NO_MEMORY, "run: no thread to watch %s: %s", host->line.name,
                       strerror(error));
    }
    host->pulse = pulse;
    return LS_OK;
}

double ls_run_host_silence(const ls_run_host *host) {
    if (host->state != LS_HOST_UP || !host->pulse) return 0;
    return 0.001 * (double)(now_ms() - atomic_load(&host->pulse->last_ms));
}

/* --- the agent --- */

ls_status ls_run_host_create(const ls_host_line *line, ls_run_host **out) {
    ls_run_host *host = ls_alloc(sizeof *host);
    if (!host) return LS_ERR_NO_MEMORY;
    host->line = *line;
    host->is_wanted = 1;
    host->to = host->from = -1;
    *out = host;
    return LS_OK;
}

static void close_pipe(int *fd) {
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

void ls_run_host_release(ls_run_host *host) {
    close_pipe(&host->to);
}

/* Without its pipe the keeper ends by itself; the agent may hang on a connection that is no more. */
static void end_agent(ls_run_host *host, double grace_seconds) {
    const struct timespec moment = {.tv_nsec = 5000000};
    const double end = ls_clock_seconds() + grace_seconds;
    close_pipe(&host->to);
    close_pipe(&host->from);
    if (host->agent <= 0) return;
    while (waitpid(host->agent, NULL, WNOHANG) == 0) {
        if (ls_clock_seconds() >= end) {
            (void)kill(-host->agent, SIGKILL);
            (void)kill(host->agent, SIGKILL);
            (void)waitpid(host->agent, NULL, 0);
            break;
        }
        (void)nanosleep(&moment, NULL);
    }
    host->agent = 0;
}

static void go_down(ls_run_host *host, double grace_seconds) {
    if (host->pulse) let_go(host->pulse);
    host->pulse = NULL;
    end_agent(host, grace_seconds);
    double pause = first_pause;
    for (int i = 1; i < host->n_tries && pause < longest_pause; i++) pause *= 2;
    /* One that was up is tried again at once: perhaps only its keeper was killed. */
    if (host->state == LS_HOST_UP) {
        pause = 0;
        host->was_lost = 1;
        (void)snprintf(host->lost, sizeof host->lost, "%s", host->reason);
    }
    host->state = LS_HOST_DOWN;
    host->since = ls_clock_seconds();
    host->next_try = host->since + (pause < longest_pause ? pause : longest_pause);
    host->used = 0;
    host->n_told = host->n_answered = host->n_old = host->n_ranks = host->n_sent = 0;
    host->refusal[0] = '\0';
}

void ls_run_host_destroy(ls_run_host *host) {
    if (!host) return;
    go_down(host, 2);
    ls_free(host);
}

static void become_agent(char *const *argv, int in, int out, pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (getppid() == parent && dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
        dup2(out, STDERR_FILENO) >= 0)
        (void)execvp(argv[0], argv);
    (void)dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static ls_status spawn(ls_run_host *host, char *const *argv) {
    int to[2], from[2];
    const pid_t parent = getpid();
    if (pipe2(to, O_CLOEXEC) != 0) return LS_FAIL(LS_ERR_IO, "no pipe: %s", strerror(errno));
    if (pipe2(from, O_CLOEXEC) != 0) {
        const ls_status status = LS_FAIL(LS_ERR_IO, "no pipe: %s", strerror(errno));
        (void)close(to[0]);
        (void)close(to[1]);
        return status;
    }
    (void)fflush(NULL);
    host->agent = fork();
    if (host->agent == 0) become_agent(argv, to[0], from[1], parent);
    const int error = errno;
    (void)close(to[0]);
    (void)close(from[1]);
    host->to = to[1];
    host->from = from[0];
    (void)fcntl(host->from, F_SETFL, O_NONBLOCK);
    (void)fcntl(host->to, F_SETFL, O_NONBLOCK);
    if (host->agent > 0) return LS_OK;
    return LS_FAIL(LS_ERR_NO_MEMORY, "the agent cannot be started: %s", strerror(error));
}

/* This machine needs no agent. */
static ls_status start_keeper(ls_run_host *host, const ls_run_keepers *keepers) {
    const char *const command[] = {keepers->program, "keep"};
    ls_words words = {0};
    if (ls_host_is_here(host->line.name)) {
        ls_words_add(&words, "%s", command[0]);
        ls_words_add(&words, "%s", command[1]);
        if (words.status != LS_OK) {
            ls_words_deinit(&words);
            return LS_ERR_NO_MEMORY;
        }
    } else {
        LS_TRY(ls_agent_words(keepers->agent, host->line.name, command, 2, &words));
    }
    const ls_status status = spawn(host, words.words);
    ls_words_deinit(&words);
    return status;
}

void ls_run_host_start(ls_run_host *host, const ls_run_keepers *keepers) {
    host->n_tries++;
    host->reason[0] = '\0';
    if (start_keeper(host, keepers) != LS_OK) {
        (void)snprintf(host->reason, sizeof host->reason, "%s", ls_error_message());
        go_down(host, 0);
        return;
    }
    host->state = LS_HOST_STARTING;
    host->since = ls_clock_seconds();
    ls_run_host_tell(host, "%s", keepers->offer);
    host->n_told = 0; /* its answer is the line that says that the keeper is there */
}

void ls_run_host_tell(ls_run_host *host, const char *fmt, ...) {
    ls_text text = {0};
    char line[512];
    va_list args;
    if (host->to < 0) return;
    va_start(args, fmt);
    const int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n < (int)sizeof line) {
        ls_text_append(&text, "%s\n", line);
    } else {
        char *more = ls_alloc((size_t)n + 1);
        va_start(args, fmt);
        if (more) (void)vsnprintf(more, (size_t)n + 1, fmt, args);
        va_end(args);
        if (more) ls_text_append(&text, "%s\n", more);
        ls_free(more);
    }
    /* A pipe that is full or closed is a keeper that does not listen: its silence tells. */
    if (text.status == LS_OK && text.data) (void)!write(host->to, text.data, text.size);
    ls_text_deinit(&text);
    host->n_told++;
    host->told = ls_clock_seconds();
}

void ls_run_host_forget_told(ls_run_host *host) {
    host->n_old = host->n_told;
    host->refusal[0] = '\0';
}

/* --- what comes back --- */

static void take_ready(ls_run_host *host, const json_t *line, const ls_run_keepers *keepers) {
    const json_int_t port = json_integer_value(json_object_get(line, "port"));
    if (port <= 0) return;
    (void)snprintf(host->address, sizeof host->address, "%s:%d", host->line.name, (int)port);
    host->cpus = json_integer_value(json_object_get(line, "cpus"));
    host->keeper = json_integer_value(json_object_get(line, "pid"));
    if (start_pulse(host, keepers) != LS_OK) {
        (void)snprintf(host->reason, sizeof host->reason, "%s", ls_error_message());
        go_down(host, 0);
        return;
    }
    host->since = ls_clock_seconds();
}

/* The keeper said that it is there; it counts once it has been reached. */
static void see_first_pulse(ls_run_host *host) {
    if (host->state != LS_HOST_STARTING || !host->pulse) return;
    if (atomic_load(&host->pulse->last_ms) == 0) return;
    host->state = LS_HOST_UP;
    host->since = ls_clock_seconds();
    host->n_tries = 0;
    host->said[0] = host->reason[0] = '\0';
}

static void take_answer(ls_run_host *host, const json_t *line) {
    const json_t *ranks = json_object_get(line, "ranks"), *sent = json_object_get(line, "sent");
    const char *error = json_string_value(json_object_get(line, "error"));
    host->n_answered++;
    if (ranks) host->n_ranks = (int)json_integer_value(ranks);
    if (sent) host->n_sent = (int)json_integer_value(sent);
    if (error && host->n_answered > host->n_old)
        (void)snprintf(host->refusal, sizeof host->refusal, "%s", error);
}

/* What is no JSON comes from the agent, perhaps the reason why there is no keeper, or is what the keeper has to say to people. */
static void take_line(ls_run_host *host, const ls_run_keepers *keepers) {
    json_t *line = NULL;
    host->text[host->used] = '\0';
    if (host->text[0] == '{' && ls_json_parse(host->text, host->used, "keeper", &line) == LS_OK) {
        if (host->state == LS_HOST_STARTING && !host->pulse)
            take_ready(host, line, keepers);
        else
            take_answer(host, line);
        json_decref(line);
    } else if (host->used && host->state == LS_HOST_UP &&
               strncmp(host->text, "lockstep: ", 10) == 0) {
        (void)fprintf(stderr, "%s: %s\n", host->line.name, host->text);
    } else if (host->used) {
        (void)snprintf(host->reason, sizeof host->reason, "%.*s", (int)sizeof host->reason - 1,
                       host->text);
    }
    host->used = 0;
}

/* 0 when the pipe has ended. */
static int read_lines(ls_run_host *host, const ls_run_keepers *keepers) {
    char text[2048];
    while (host->from >= 0) {
        const ssize_t n = read(host->from, text, sizeof text);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 && errno == EAGAIN;
        for (ssize_t i = 0; i < n && host->from >= 0; i++)
            if (text[i] == '\n')
                take_line(host, keepers);
            else if (host->used < sizeof host->text - 1)
                host->text[host->used++] = text[i];
    }
    return 0;
}

static void say_reason(ls_run_host *host, const char *fmt, double seconds) {
    char old[256];
    (void)snprintf(old, sizeof old, "%s", host->reason);
    (void)snprintf(host->reason, sizeof host->reason, fmt, seconds);
    const size_t used = strlen(host->reason);
    if (old[0])
        (void)snprintf(host->reason + used, sizeof host->reason - used, ": %.*s",
                       (int)(sizeof host->reason - used - 3), old);
}

/* Why the host goes down, as far as it does; NULL = it does not. */
static const char *find_reason(ls_run_host *host, const ls_run_keepers *keepers, double *seconds) {
    *seconds = ls_clock_seconds() - host->since;
    if (!read_lines(host, keepers)) return host->pulse ? "its keeper has ended" : "no keeper";
    see_first_pulse(host);
    if (host->state == LS_HOST_STARTING) {
        if (!host->pulse) return *seconds > start_seconds ? "no keeper within %.0f s" : NULL;
        return *seconds > lost_seconds ? "its keeper cannot be reached within %.1f s" : NULL;
    }
    *seconds = ls_run_host_silence(host);
    return *seconds > lost_seconds ? "its keeper does not answer for %.1f s" : NULL;
}

void ls_run_host_check(ls_run_host *host, const ls_run_keepers *keepers) {
    double seconds;
    if (host->state == LS_HOST_DOWN) return;
    if (host->state == LS_HOST_UP && ls_clock_seconds() - host->told > word_seconds)
        ls_run_host_tell(host, "ping");
    const char *reason = find_reason(host, keepers, &seconds);
    if (!reason || host->state == LS_HOST_DOWN) return;
    say_reason(host, reason, seconds);
    go_down(host, 0.1);
}
