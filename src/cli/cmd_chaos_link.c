/* Commands on hosts. */
#include "cli/cmd_chaos_link.h"
#include "base/clock.h"
#include "base/config.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const double most_seconds = 10; /* of a command */
/* An agent that reaches the host by the link must have left before it goes down. */
#define LEAVE_SECONDS "0.3"
/* Where the kernel has no netem, a rate that makes each step wait. */
#define ADD_DELAY                                                  \
    "tc qdisc add dev %s root netem delay 25ms 2>/dev/null || tc " \
    "qdisc add dev %s root tbf rate 4mbit burst 64kb latency 500ms"

/* --- texts --- */

/* %h -> the host's name. */
static ls_status name_host(const char *text, const char *host, char **out) {
    ls_text named = {0};
    for (; *text; text++)
        if (text[0] == '%' && text[1] == 'h') {
            ls_text_append(&named, "%s", host);
            text++;
        } else {
            ls_text_append(&named, "%c", *text);
        }
    if (named.status != LS_OK || !named.data) {
        ls_text_deinit(&named);
        return LS_ERR_NO_MEMORY;
    }
    *out = named.data;
    return LS_OK;
}

/* What takes something away and gives it back, in a process that is on its own. A first try to give back may come too early. */
static ls_status detach(const char *take, double seconds, const char *give, char **out) {
    ls_text text = {0};
    char *inner = ls_format("trap '' HUP INT TERM; sleep " LEAVE_SECONDS
                            "; %s; sleep %.3f; for i in 1 2 3; do %s && break; sleep 1; done",
                            take, seconds, give);
    if (!inner) return LS_ERR_NO_MEMORY;
    ls_text_append(&text, "setsid sh -c ");
    ls_words_quote(&text, inner);
    ls_text_append(&text, " </dev/null >/dev/null 2>&1 &");
    ls_free(inner);
    if (text.status != LS_OK) {
        ls_text_deinit(&text);
        return LS_ERR_NO_MEMORY;
    }
    *out = text.data;
    return LS_OK;
}

static ls_status set_text(const ls_chaos_link *link, const char *own, const char *state,
                          const char *host, char **out) {
    if (own) return name_host(own, host, out);
    *out = ls_format("ip link set %s %s", link->device, state);
    return *out ? LS_OK : LS_ERR_NO_MEMORY;
}

ls_status ls_chaos_link_drop_text(const ls_chaos_link *link, const char *host, double seconds,
                                  char **out) {
    char *down = NULL, *up = NULL;
    ls_status status = set_text(link, link->down, "down", host, &down);
    if (status == LS_OK) status = set_text(link, link->up, "up", host, &up);
    if (status == LS_OK) status = detach(down, seconds, up, out);
    ls_free(down);
    ls_free(up);
    return status;
}

ls_status ls_chaos_link_slow_text(const ls_chaos_link *link, double seconds, char **out) {
    char *add = ls_format(ADD_DELAY, link->device, link->device);
    char *del = ls_format("tc qdisc del dev %s root", link->device);
    const ls_status status = add && del ? detach(add, seconds, del, out) : LS_ERR_NO_MEMORY;
    ls_free(add);
    ls_free(del);
    return status;
}

ls_status ls_chaos_link_check_drop_text(const ls_chaos_link *link, const char *host, char **out) {
    return set_text(link, link->up, "up", host, out);
}

ls_status ls_chaos_link_check_slow_text(const ls_chaos_link *link, char **out) {
    *out = ls_format("{ " ADD_DELAY "; } && tc qdisc del dev %s root", link->device, link->device,
                     link->device);
    return *out ? LS_OK : LS_ERR_NO_MEMORY;
}

/* --- a command --- */

/* A group of its own: a terminal's Ctrl-C does not reach it. */
static int spawn(pid_t *pid, char *const *argv) {
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t files;
    sigset_t none, pipes;
    sigemptyset(&none);
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP |
                                                    POSIX_SPAWN_SETSIGDEF);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &pipes);
    (void)posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    const int error = posix_spawnp(pid, argv[0], &files, &attributes, argv, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    (void)posix_spawnattr_destroy(&attributes);
    return error;
}

ls_status ls_chaos_command_start(ls_chaos_command *command, const char *agent, const char *host,
                                 const char *text) {
    const char *const words[] = {"sh", "-c", text};
    ls_words argv = {0};
    if (host && !ls_host_is_here(host)) {
        LS_TRY(ls_agent_words(agent, host, words, 3, &argv));
    } else {
        for (int i = 0; i < 3; i++) ls_words_add(&argv, "%s", words[i]);
        if (argv.status != LS_OK) {
            ls_words_deinit(&argv);
            return LS_ERR_NO_MEMORY;
        }
    }
    const int error = spawn(&command->pid, argv.words);
    command->since = ls_clock_seconds();
    ls_words_deinit(&argv);
    if (error == 0) return LS_OK;
    command->pid = 0;
    return LS_FAIL(LS_ERR_IO, "chaos: no command for %s can be started: %s", host ? host : "here",
                   strerror(error));
}

int ls_chaos_command_is_over(ls_chaos_command *command, int *status_out) {
    int status = 0;
    if (command->pid <= 0) return 1;
    if (ls_clock_seconds() - command->since > most_seconds) (void)kill(-command->pid, SIGKILL);
    if (waitpid(command->pid, &status, WNOHANG) != command->pid) return 0;
    *status_out = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    command->pid = 0;
    return 1;
}

int ls_chaos_command_await(ls_chaos_command *command) {
    const struct timespec moment = {.tv_nsec = 10000000};
    int status = 0;
    while (!ls_chaos_command_is_over(command, &status)) (void)nanosleep(&moment, NULL);
    return status;
}
