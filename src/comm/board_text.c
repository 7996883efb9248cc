/* The board in words. */
#include "base/alloc.h"
#include "base/clock.h"
#include "comm/board.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct sentence {
    char *text;
    size_t size, room;
} sentence;

static void say(sentence *s, const char *fmt, ...) LS_PRINTF(2, 3);
static void say(sentence *s, const char *fmt, ...) {
    if (s->size >= s->room) return;
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(s->text + s->size, s->room - s->size, fmt, args);
    va_end(args);
    s->size = n < 0 ? s->size : s->size + (size_t)n < s->room ? s->size + (size_t)n : s->room;
}

static void say_scope(sentence *s, const ls_board_call *call) {
    say(s, "step %llu %.32s", (unsigned long long)call->step, call->op);
    if (call->scope[0]) say(s, " \"%.64s\"", call->scope);
}

void ls_board_say_call(const ls_board_call *call, char *out, size_t out_bytes) {
    sentence s = {out, 0, out_bytes};
    say_scope(&s, call);
}

void ls_board_say_details(const ls_board_call *call, char *out, size_t out_bytes) {
    sentence s = {out, 0, out_bytes};
    ls_shape shape = {.n_dims = call->n_dims};
    memcpy(shape.dims, call->dims, sizeof shape.dims);
    char text[128];
    say_scope(&s, call);
    say(&s, " (");
    if (call->id >= 0) say(&s, "node %lld, ", (long long)call->id);
    say(&s, "%s %s, %llu bytes)", ls_dtype_name((ls_dtype)call->dtype),
        ls_shape_print(&shape, text), (unsigned long long)call->bytes);
}

void ls_board_say_rank(const ls_board *board, int rank, char *out, size_t out_bytes) {
    const ls_board_stand stand = ls_board_get_stand(board, rank);
    sentence s = {out, 0, out_bytes};
    say(&s, "rank %d", rank);
    if (stand.pid && stand.host[0])
        say(&s, " (pid %d on host %.64s)", stand.pid, stand.host);
    else if (stand.pid)
        say(&s, " (pid %d)", stand.pid);
}

void ls_board_say_last(const ls_board *board, int rank, char *out, size_t out_bytes) {
    sentence s = {out, 0, out_bytes};
    ls_board_call call;
    if (ls_board_last_call(board, rank, &call)) {
        say(&s, "its last collective was ");
        say_scope(&s, &call);
        say(&s, ", %.1f s ago", ls_clock_seconds() - call.seconds);
    } else {
        say(&s, "it had started no collective");
    }
}

/* "ranks 0-2, 4 and 6-7" */
static void say_ranks(sentence *s, const unsigned char *in, int size) {
    int n = 0;
    for (int r = 0; r < size; r++) n += in[r];
    say(s, n == 1 ? "rank " : "ranks ");
    const char *comma = "";
    for (int r = 0; r < size; r++) {
        if (!in[r]) continue;
        int last = r;
        while (last + 1 < size && in[last + 1]) last++;
        if (last > r)
            say(s, "%s%d-%d", comma, r, last);
        else
            say(s, "%s%d", comma, r);
        comma = ", ";
        r = last;
    }
}

void ls_board_say_waiting(const ls_board *board, int not_rank, char *out, size_t out_bytes) {
    sentence s = {out, 0, out_bytes};
    ls_board_call call;
    int first = -1, n = 0;
    if (out_bytes) out[0] = '\0';
    unsigned char *waits = ls_alloc((size_t)board->size);
    if (!waits) return;
    for (int r = 0; r < board->size; r++) {
        waits[r] = r != not_rank && ls_board_get_stand(board, r).state == LS_RANK_WAITING;
        n += waits[r];
        if (waits[r] && first < 0) first = r;
    }
    if (n > 0 && ls_board_last_call(board, first, &call)) {
        say_ranks(&s, waits, board->size);
        say(&s, n == 1 ? " waits at " : " wait at ");
        say_scope(&s, &call);
    }
    ls_free(waits);
}

ls_status ls_board_report_failure(const ls_board *board, int rank) {
    char text[LS_BOARD_SENTENCE], who[112], doing[160] = "";
    const int culprit = ls_board_failure(board, text);
    if (culprit < 0)
        return LS_FAIL(LS_ERR_COMM, "the job was given up; the reason could not be read");
    if (culprit == rank || rank < 0)
        return LS_FAIL(LS_ERR_COMM, "%s%s", text, culprit == rank ? "; this is that rank" : "");
    ls_board_call call;
    ls_board_say_rank(board, rank, who, sizeof who);
    if (!ls_board_last_call(board, rank, &call))
        return LS_FAIL(LS_ERR_COMM, "%s; this is %s, before its first collective", text, who);
    ls_board_say_call(&call, doing, sizeof doing);
    const int waits = ls_board_get_stand(board, rank).state == LS_RANK_WAITING;
    return LS_FAIL(LS_ERR_COMM, "%s; this is %s, %s %s", text, who, waits ? "waiting at" : "after",
                   doing);
}

void ls_board_blame(ls_board *board, int rank, const char *what) {
    char who[112], last[192], waits[192], text[LS_BOARD_SENTENCE];
    ls_board_say_rank(board, rank, who, sizeof who);
    ls_board_say_last(board, rank, last, sizeof last);
    ls_board_say_waiting(board, rank, waits, sizeof waits);
    (void)snprintf(text, sizeof text, "%s %s; %s%s%s", who, what, last, waits[0] ? "; " : "",
                   waits);
    (void)ls_board_fail(board, rank, text);
}
