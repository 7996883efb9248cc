/* Who did something else: by majority over the ranks' logs; without one, by what each did at this place in the step before. */
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
    int n_most;
} opinion;

static int count_hash(const opinion *o, uint64_t hash) {
    int n = 0;
    for (int r = 0; r < o->size; r++) n += o->hash[r] == hash;
    return n;
}

static void gather_opinions(const ls_board *board, uint64_t number, opinion *o) {
    ls_board_call call;
    o->n_known = o->n_most = 0;
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
        }
    }
}

/* A majority and somebody who disagrees: between hosts his call may come later than their complaint. */
static int is_settled(const opinion *o) {
    return o->n_known == o->size || (2 * o->n_most > o->size && o->n_most < o->n_known);
}

static int is_same_place(const ls_board_call *a, const ls_board_call *b) {
    return a->id == b->id && strcmp(a->op, b->op) == 0 && strcmp(a->scope, b->scope) == 0;
}

static int is_same_tensor(const ls_board_call *a, const ls_board_call *b) {
    return a->dtype == b->dtype && a->n_dims == b->n_dims && a->bytes == b->bytes &&
           memcmp(a->dims, b->dims, sizeof a->dims) == 0;
}

/* A step repeats itself: the call that came last time after the one before this. 1: this is like that one; 0: it is not;
 * -1: nothing to compare it with. */
static int fits_history(const ls_board *board, int rank, uint64_t number) {
    ls_board_call now, before, earlier, next;
    if (number < 2 || !ls_board_find_call(board, rank, number, &now) ||
        !ls_board_find_call(board, rank, number - 1, &before))
        return -1;
    for (uint64_t n = number - 1; n-- > 0;) {
        if (!ls_board_find_call(board, rank, n, &earlier)) return -1;
        if (!is_same_place(&earlier, &before)) continue;
        return ls_board_find_call(board, rank, n + 1, &next) && is_same_place(&next, &now) &&
               is_same_tensor(&next, &now) && next.step - earlier.step == now.step - before.step;
    }
    return -1;
}

/* Without a majority: whoever goes on as before is right; else whoever does not is wrong. */
static void ask_history(const ls_board *board, uint64_t number, opinion *o) {
    int right = -1, wrong = -1;
    for (int r = o->size - 1; r >= 0; r--) {
        if (o->hash[r] == UNKNOWN) continue;
        const int fits = fits_history(board, r, number);
        if (fits == 1) right = r;
        if (fits == 0) wrong = r;
    }
    for (int r = o->size - 1; right < 0 && wrong >= 0 && r >= 0; r--)
        if (o->hash[r] != UNKNOWN && o->hash[r] != o->hash[wrong]) right = r;
    if (right >= 0) o->most = o->hash[right];
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
    const int has_majority = 2 * o->n_most > o->size;
    char who[112], did[336], others[336], also[40] = "", text[LS_BOARD_SENTENCE];
    ls_board_say_rank(board, odd, who, sizeof who);
    say_opinion(board, odd, number, did, sizeof did);
    say_opinion(board, usual, number, others, sizeof others);
    if (n_odd > 1) (void)snprintf(also, sizeof also, " (and %d more ranks disagree)", n_odd - 1);
    if (!has_majority) {
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
            if (2 * o.n_most <= o.size) ask_history(board, number, &o);
            record_odd_one(board, number, &o);
            break;
        }
        const struct timespec moment = {0, 1000000};
        (void)nanosleep(&moment, NULL);
    }
    ls_free(o.hash);
    if (ls_board_failure(board, NULL) < 0) record_leaver(board);
}
