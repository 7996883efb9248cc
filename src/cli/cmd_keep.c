/* lockstep keep: the keeper of a host, at the other end of a pipe of the `lockstep run --hosts` that started it. */
#include "base/thread.h"
#include "cli/cli.h"
#include "cli/keep_pipe.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 1 << 18 };

/* The pipe of a controller whose host vanished stays open. Standard input is not buffered: what poll does not see is not there. */
static ls_status await_line(void) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    int n;
    do n = poll(&input, 1, 1000 * LS_KEEP_PIPE_SECONDS);
    while (n < 0 && errno == EINTR);
    if (n != 0) return LS_OK;
    return LS_FAIL(LS_ERR_COMM, "keep: nothing was heard of the controller for %d s",
                   LS_KEEP_PIPE_SECONDS);
}

/* 0 at the end of standard input. */
static ls_status read_line(char *line, int *is_there_out) {
    LS_TRY(await_line());
    *is_there_out = fgets(line, LINE_BYTES, stdin) != NULL;
    if (!*is_there_out) return LS_OK;
    const size_t n = strlen(line);
    if (n > 0 && line[n - 1] == '\n') {
        line[n - 1] = '\0';
        return LS_OK;
    }
    if (feof(stdin)) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "keep: a line of more than %d letters on standard input",
                   LINE_BYTES - 2);
}

/* "NAME COOKIE". */
static ls_status start_keeper(char *line, ls_keeper **out) {
    char *cookie = strchr(line, ' ');
    if (!cookie)
        return LS_FAIL(LS_ERR_INVALID, "keep: the first line of standard input is NAME COOKIE of "
                                       "the run; `lockstep run --hosts` sends it");
    *cookie++ = '\0';
    const ls_keeper_options options = {.name = line, .cookie = cookie, .listens = 1};
    return ls_keeper_start(&options, out);
}

static ls_status say_ready(const ls_cmd_call *call, const ls_keeper *keeper) {
    const char *offer = ls_keeper_offer(keeper);
    json_t *ready =
        json_pack("{s:i, s:i, s:s%, s:i}", "port", ls_keeper_port(keeper), "pid", (int)getpid(),
                  "name", offer, (size_t)strcspn(offer, " "), "cpus", ls_cpu_count());
    LS_TRY(ls_cli_print_json(call, ready));
    return fflush(call->out) == 0 ? LS_OK : LS_FAIL(LS_ERR_IO, "keep: nobody listens");
}

static ls_status serve(const ls_cmd_call *call, char *line) {
    ls_keeper *keeper = NULL;
    int is_there;
    LS_TRY(read_line(line, &is_there));
    LS_TRY(start_keeper(line, &keeper));
    ls_status status = say_ready(call, keeper);
    while (status == LS_OK) {
        status = read_line(line, &is_there);
        if (status != LS_OK || !is_there) break;
        status = ls_keep_pipe_obey(keeper, line, call->out);
    }
    ls_keeper_stop(keeper);
    return status;
}

static ls_status run_keep(const ls_cmd_call *call) {
    char *line = ls_alloc(LINE_BYTES);
    if (!line) return LS_ERR_NO_MEMORY;
    (void)setvbuf(stdin, NULL, _IONBF, 0);
    const ls_status status = serve(call, line);
    ls_free(line);
    return status;
}

const ls_cmd ls_cmd_keep = {
    .usage = "",
    .about =
        "Holds the memory of a run's ranks on this host, so that it outlives them. `lockstep run "
        "--hosts` starts it on every host\n"
        "and talks to it through its standard input and output; it ends, and gives the memory "
        "back, "
        "when standard input does, or after\n30 s without a line.\n"
        "The first line of standard input is NAME COOKIE (the cookie: 32 hexadecimal digits; not "
        "an "
        "argument, which others could\n"
        "see). It answers with {\"port\", \"pid\", \"name\", \"cpus\"} and then each line with a "
        "line of "
        "JSON:\n"
        "  peers MINE COPIES HOST:PORT...   all keepers of the run, this one's place among them\n"
        "  job NUMBER RANKS                 an attempt begins\n"
        "  signal ID NUMBER                 signals the ranks of a job on this host\n"
        "  ping                             the controller is there",
    .run = run_keep,
};
