/* The board: cells, logs and events. Text is in board_text.c, blame in blame.c. */
#include "comm/board.h"
#include "base/clock.h"
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { READ_TRIES = 1000, NOT_FAILED = 0, FAILED_FROM = 1, NO_SENTENCE = LS_BOARD_SENTENCES };

_Static_assert(sizeof(ls_board_call) % 8 == 0 && sizeof(ls_board_stand) % 8 == 0,
               "cells hold whole words");

/* Other builds may have another layout: the sizes are part of the mark. */
static uint64_t mark_of_layout(void) {
    return UINT64_C(0x4c53424f41524431) ^ (sizeof(ls_board) << 40) ^ (sizeof(ls_board_rank) << 20) ^
           sizeof(ls_board_call);
}

size_t ls_board_bytes(int size) {
    return sizeof(ls_board) + (size_t)size * sizeof(ls_board_rank);
}

void ls_board_init(ls_board *memory, int size, const char *name) {
    memory->size = size;
    (void)snprintf(memory->name, sizeof memory->name, "%s", name);
    memory->magic = mark_of_layout();
}

ls_status ls_board_verify(const ls_board *board, size_t bytes) {
    if (bytes < sizeof *board || board->magic != mark_of_layout() || board->size < 1 ||
        ls_board_bytes(board->size) > bytes)
        return LS_FAIL(LS_ERR_COMM,
                       "the job's board of %zu bytes is not one of this build of lockstep: all "
                       "ranks and `lockstep top` must be the same program",
                       bytes);
    return LS_OK;
}

/* Acquire and release on every word order them among themselves without fences, which ThreadSanitizer does not know. */
static void store_words(_Atomic uint64_t *words, const void *value, size_t bytes) {
    for (size_t i = 0; i < bytes / 8; i++) {
        uint64_t word;
        memcpy(&word, (const char *)value + 8 * i, 8);
        atomic_store_explicit(&words[i], word, memory_order_release);
    }
}

static void load_words(const _Atomic uint64_t *words, void *value_out, size_t bytes) {
    for (size_t i = 0; i < bytes / 8; i++) {
        const uint64_t word = atomic_load_explicit(&words[i], memory_order_acquire);
        memcpy((char *)value_out + 8 * i, &word, 8);
    }
}

void ls_cell_write(_Atomic uint64_t *version, _Atomic uint64_t *words, const void *value,
                   size_t bytes) {
    const uint64_t next = atomic_load_explicit(version, memory_order_relaxed) + 1;
    store_words(words + next % 2 * (bytes / 8), value, bytes);
    atomic_store_explicit(version, next, memory_order_release);
}

/* Tries again only when a whole value was written meanwhile. */
void ls_cell_read(const _Atomic uint64_t *version, const _Atomic uint64_t *words, void *value_out,
                  size_t bytes) {
    for (int try = 0; try < READ_TRIES; try++) {
        const uint64_t before = atomic_load_explicit(version, memory_order_acquire);
        load_words(words + before % 2 * (bytes / 8), value_out, bytes);
        if (atomic_load_explicit(version, memory_order_relaxed) == before) return;
    }
}

void ls_board_set_stand(ls_board *board, int rank, const ls_board_stand *stand) {
    ls_board_cell_stand *cell = &board->ranks[rank].stand;
    ls_cell_write(&cell->version, cell->words, stand, sizeof *stand);
}

ls_board_stand ls_board_get_stand(const ls_board *board, int rank) {
    const ls_board_cell_stand *cell = &board->ranks[rank].stand;
    ls_board_stand stand;
    ls_cell_read(&cell->version, cell->words, &stand, sizeof stand);
    return stand;
}

void ls_board_log_call(ls_board *board, int rank, const ls_board_call *call) {
    ls_board_rank *r = &board->ranks[rank];
    /* What is relayed may leave calls out. */
    if (atomic_load_explicit(&r->n_started, memory_order_relaxed) != call->number)
        atomic_store_explicit(&r->n_started, call->number, memory_order_release);
    store_words(r->log[call->number % LS_BOARD_LOG].words, call, sizeof *call);
    atomic_store_explicit(&r->n_started, call->number + 1, memory_order_release);
}

static int is_remembered(const ls_board_rank *r, uint64_t number) {
    const uint64_t n = atomic_load_explicit(&r->n_started, memory_order_acquire);
    return number < n && n - number < LS_BOARD_LOG;
}

int ls_board_find_call(const ls_board *board, int rank, uint64_t number, ls_board_call *out) {
    const ls_board_rank *r = &board->ranks[rank];
    if (!is_remembered(r, number)) return 0;
    load_words(r->log[number % LS_BOARD_LOG].words, out, sizeof *out);
    return is_remembered(r, number) && out->number == number;
}

int ls_board_last_call(const ls_board *board, int rank, ls_board_call *out) {
    const uint64_t n = atomic_load_explicit(&board->ranks[rank].n_started, memory_order_acquire);
    return n > 0 && ls_board_find_call(board, rank, n - 1, out);
}

void ls_board_wake(ls_board *board, int rank) {
    ls_board_rank *r = &board->ranks[rank];
    atomic_fetch_add(&r->events, 1);
    if (atomic_load(&r->n_sleepers) > 0)
        (void)syscall(SYS_futex, &r->events, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void ls_board_sleep(ls_board *board, int rank, uint32_t seen, double seconds) {
    ls_board_rank *r = &board->ranks[rank];
    const struct timespec limit = {(time_t)seconds,
                                   (long)(1e9 * (seconds - (double)(time_t)seconds))};
    atomic_fetch_add(&r->n_sleepers, 1);
    if (atomic_load(&r->events) == seen)
        (void)syscall(SYS_futex, &r->events, FUTEX_WAIT, seen, &limit, NULL, 0);
    atomic_fetch_sub(&r->n_sleepers, 1);
}

void ls_board_relay(ls_board *board, int rank, const ls_board_stand *stand,
                    const ls_board_call *calls, int n_calls) {
    ls_board_set_stand(board, rank, stand);
    const uint64_t known =
        atomic_load_explicit(&board->ranks[rank].n_started, memory_order_relaxed);
    for (int i = 0; i < n_calls; i++)
        if (calls[i].number >= known) ls_board_log_call(board, rank, &calls[i]);
    ls_board_wake(board, rank);
}

/* Which sentence is the caller's from now on; NO_SENTENCE when others have them all. */
static uint32_t write_sentence(ls_board *board, const char *sentence) {
    char text[LS_BOARD_SENTENCE] = {0};
    const uint32_t at = atomic_fetch_add(&board->n_sentences, 1);
    if (at >= LS_BOARD_SENTENCES) return NO_SENTENCE;
    (void)snprintf(text, sizeof text, "%s", sentence);
    ls_cell_write(&board->sentences[at].version, board->sentences[at].words, text, sizeof text);
    return at;
}

int ls_board_fail(ls_board *board, int culprit, const char *sentence) {
    uint32_t expected = NOT_FAILED;
    if (atomic_load(&board->failed) != NOT_FAILED) return 0;
    const uint32_t at = write_sentence(board, sentence);
    const uint32_t failed = FAILED_FROM + (uint32_t)culprit * (LS_BOARD_SENTENCES + 1) + at;
    if (!atomic_compare_exchange_strong(&board->failed, &expected, failed)) return 0;
    for (int r = 0; r < board->size; r++) ls_board_wake(board, r);
    return 1;
}

int ls_board_failure(const ls_board *board, char sentence_out[LS_BOARD_SENTENCE]) {
    const uint32_t failed = atomic_load_explicit(&board->failed, memory_order_acquire);
    if (failed == NOT_FAILED) return -1;
    const uint32_t at = (failed - FAILED_FROM) % (LS_BOARD_SENTENCES + 1);
    const int culprit = (int)((failed - FAILED_FROM) / (LS_BOARD_SENTENCES + 1));
    if (sentence_out && at != NO_SENTENCE) {
        const ls_board_cell_text *cell = &board->sentences[at];
        ls_cell_read(&cell->version, cell->words, sentence_out, LS_BOARD_SENTENCE);
    } else if (sentence_out) {
        char who[112];
        ls_board_say_rank(board, culprit, who, sizeof who);
        (void)snprintf(sentence_out, LS_BOARD_SENTENCE,
                       "%s failed; there was no room to say why on the job's board", who);
    }
    return culprit;
}
