/* Who did something else: by majority over the ranks' logs. */
#include "base/alloc.h"
#include "base/clock.h"
#include "comm/board.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

/* How long to wait for the others' opinion. */
static const double settle_seconds = 1.2;
enum { HAS_LEFT = 0, UNKNOWN = 1 }; /* in place of a hash */

typedef struct opinion {
    uint64_t *hash; /* [size] of each rank's call of that number, HAS_LEFT or UNKNOWN */
    int size, n_known;
    uint64_t most; /* the opinion of the largest group */
    int n_most, tie;
} opinion;

static int count_hash(const opinion *o, uint64_t hash) {
    int n = 0;
    for (int r = 0; r < o->size; r++) n += o->hash[r] == hash;
    return n;
}

static void gather_opinions(const ls_board *board, uint64_t number, opinion *o) {
    ls_board_call call;
    o->n_known = o->n_most = o->tie = 0;
    for (int r = 0; r < o->size; r++) {
        const ls_rank_state state = (ls_rank_state)ls_board_get_stand(board, r).state;
        o->hash[r] = ls_board_find_call(board, r, number, &call)        ? call.hash
                     : state == LS_RANK_LEFT || state == LS_RANK_FAILED ? HAS_LEFT
                                                                        : UNKNOWN;
        o->n_known += o->hash[r] != UNKNOWN;
    }
    for (int r = 0; r < o->size; r++) {
        if (o->hash[r] == UNKNOWN) continue;
        const int n = count_hash(o, o->hash[r]);
        if (n > o->n_most) {
            o->n_most = n;
            o->most = o->hash[r];
            o->tie = 0;
        } else if (n == o->n_most && o->hash[r] != o->most) {
            o->tie = 1;
        }
    }
}

static int is_settled(const opinion *o) {
    return o->n_known == o->size || 2 * o->n_most > o->size;
}

static void say_opinion(const ls_board *board, int rank, uint64_t number, char *out,
                        size_t out_bytes) {
    ls_board_call call;
    if (ls_board_find_call(board, rank, number, &call)) {
        char words[256];
        ls_board_say_details(&call, words, sizeof words);
        (void)snprintf(out, out_bytes, "started %s", words);
    } else {
        (void)snprintf(out, out_bytes, "left without another collective");
    }
}

static void record_odd_one(ls_board *board, uint64_t number, const opinion *o) {
    int odd = -1, usual = -1, n_odd = 0;
    for (int r = o->size - 1; r >= 0; r--) {
        if (o->hash[r] == UNKNOWN) continue;
        if (o->hash[r] == o->most) {
            usual = r;
        } else {
            odd = r;
            n_odd++;
        }
    }
    if (odd < 0 || usual < 0) return;
    char who[112], did[336], others[336], also[40] = "", text[LS_BOARD_SENTENCE];
    ls_board_say_rank(board, odd, who, sizeof who);
    say_opinion(board, odd, number, did, sizeof did);
    say_opinion(board, usual, number, others, sizeof others);
    if (n_odd > 1) (void)snprintf(also, sizeof also, " (and %d more ranks disagree)", n_odd - 1);
    if (o->tie) {
        char first[112];
        ls_board_say_rank(board, usual, first, sizeof first);
        (void)snprintf(text, sizeof text, "%s %s, but %s %s", who, did, first, others);
    } else {
        (void)snprintf(text, sizeof text, "%s %s where %d of %d ranks %s%s", who, did, o->n_most,
                       o->size, others, also);
    }
    (void)ls_board_fail(board, odd, text);
}

/* All started the same call, but one left without finishing it (or there was no memory to find out). */
static void record_leaver(ls_board *board) {
    char who[112], last[192], text[LS_BOARD_SENTENCE];
    int leaver = 0;
    for (int r = board->size - 1; r >= 0; r--) {
        const ls_rank_state state = (ls_rank_state)ls_board_get_stand(board, r).state;
        if (state == LS_RANK_LEFT || state == LS_RANK_FAILED) leaver = r;
    }
    ls_board_say_rank(board, leaver, who, sizeof who);
    ls_board_say_last(board, leaver, last, sizeof last);
    (void)snprintf(text, sizeof text, "%s left before the others were done with it: %s", who, last);
    (void)ls_board_fail(board, leaver, text);
}

void ls_board_blame_mismatch(ls_board *board, uint64_t number) {
    opinion o = {.size = board->size};
    o.hash = ls_alloc((size_t)board->size * sizeof *o.hash);
    const double until = ls_clock_seconds() + settle_seconds;
    while (o.hash && ls_board_failure(board, NULL) < 0) {
        gather_opinions(board, number, &o);
        if (is_settled(&o) || ls_clock_seconds() > until) {
            record_odd_one(board, number, &o);
            break;
        }
        const struct timespec moment = {0, 1000000};
        (void)nanosleep(&moment, NULL);
    }
    ls_free(o.hash);
    if (ls_board_failure(board, NULL) < 0) record_leaver(board);
}
