/* Did every rank say who it was, and soon enough? */
#include "base/fs.h"
#include "cli/cmd_chaos.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char error_start[] = "lockstep: error: ";

/* The number after the first "rank " of a text; -1 when there is none. */
static int first_rank(const char *text) {
    for (const char *at = text; (at = strstr(at, "rank ")) != NULL; at += 5) {
        char *end;
        const long rank = strtol(at + 5, &end, 10);
        if (end != at + 5 && rank >= 0) return (int)rank;
    }
    return -1;
}

void ls_chaos_listen(void *user, int rank, const char *line) {
    ls_chaos_voice *voice = &((ls_chaos_voice *)user)[rank];
    const int is_error = strncmp(line, error_start, sizeof error_start - 1) == 0;
    if (is_error && voice->n_errors++ > 0) return;
    if (!is_error && voice->n_errors > 0) return;
    (void)snprintf(voice->line, sizeof voice->line, "%s", line);
    if (is_error) voice->named = first_rank(line);
}

static void say_why(ls_chaos_case *c, const char *fmt, ...) LS_PRINTF(2, 3);
static void say_why(ls_chaos_case *c, const char *fmt, ...) {
    if (c->why[0]) return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(c->why, sizeof c->why, fmt, args);
    va_end(args);
}

/* The one with the fault is asked too, unless it can no longer speak. */
static void judge_voice(ls_chaos_case *c, int rank) {
    const ls_ranks_end *end = &c->ended->ends[rank];
    const ls_chaos_voice *voice = &c->voices[rank];
    const int is_culprit = rank == c->fault.rank;
    if (is_culprit && (end->signal || end->was_stopped)) return;
    if (end->signal)
        say_why(c, "rank %d was %s by signal %d", rank,
                end->was_killed ? "killed after the grace" : "ended", end->signal);
    else if (end->exit_status == 0)
        say_why(c, "rank %d ended with status 0", rank);
    else if (voice->n_errors != 1)
        say_why(c, "rank %d printed %d error lines", rank, voice->n_errors);
    else if (voice->named < 0 && !is_culprit)
        say_why(c, "rank %d named no rank", rank);
    else if (voice->named >= 0 && voice->named != c->fault.rank)
        say_why(c, "rank %d named rank %d", rank, voice->named);
}

static double read_stamp(const char *path) {
    char *text = NULL;
    size_t bytes;
    if (ls_file_read(path, &text, &bytes) != LS_OK) return -1;
    const double seconds = strtod(text, NULL);
    ls_free(text);
    return seconds;
}

void ls_chaos_judge(ls_chaos_case *c, const ls_ranks_result *ended, int size) {
    const double begun = read_stamp(c->fault.stamp);
    double last = 0;
    c->ended = ended;
    c->seconds = -1;
    c->exit_status = ls_ranks_exit_status(ended);
    c->left_behind = ended->left_behind;
    if (begun < 0) say_why(c, "the fault did not happen");
    if (c->exit_status == 0) say_why(c, "the run ended with status 0");
    for (int rank = 0; rank < size; rank++) {
        judge_voice(c, rank);
        if (rank != c->fault.rank && ended->ends[rank].seconds > last)
            last = ended->ends[rank].seconds;
    }
    c->named_right = !c->why[0];
    if (begun >= 0) c->seconds = last - begun;
    if (c->seconds > c->limit)
        say_why(c, "the last rank left after %.2f s, over %.2f s", c->seconds, c->limit);
    if (c->left_behind) say_why(c, "processes were left behind");
}
