/* The first failure of a board, when another rank finds one between any two steps of whoever writes its own down, and somebody reads
 * there: what threads would meet in one run of a million is gone through step by step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "comm/board.h"

/* --- the board, whose writes and decisions are steps --- */

static void take_step(void);

static uint32_t step_load(const _Atomic uint32_t *at) {
    take_step();
    return atomic_load(at);
}

static void step_store(_Atomic uint32_t *at, uint32_t value) {
    take_step();
    atomic_store(at, value);
}

static uint32_t step_add(_Atomic uint32_t *at, uint32_t value) {
    take_step();
    return atomic_fetch_add(at, value);
}

static int step_exchange(_Atomic uint32_t *at, uint32_t *expected, uint32_t value) {
    take_step();
    return atomic_compare_exchange_strong(at, expected, value);
}

static void step_store_word(_Atomic uint64_t *at, uint64_t value, memory_order order) {
    take_step();
    atomic_store_explicit(at, value, order);
}

#undef atomic_load
#undef atomic_store
#undef atomic_fetch_add
#undef atomic_compare_exchange_strong
#undef atomic_store_explicit
#define atomic_load                    step_load
#define atomic_store                   step_store
#define atomic_fetch_add               step_add
#define atomic_compare_exchange_strong step_exchange
#define atomic_store_explicit          step_store_word
#include "comm/board.c"

/* --- */

enum { RANKS = 3, WRITER = 0, OTHER = 2 };
static const char *const words[RANKS] = {"rank 0 is accused, at length", "", "rank 2 is accused"};

static struct {
    ls_board *board;
    int n_steps;            /* taken */
    int stop_at, was_first; /* the other's step, and whether it came first */
} scene;

/* Nobody has failed, or somebody and why. */
static int read_failure(void) {
    char text[LS_BOARD_SENTENCE] = "";
    const int culprit = ls_board_failure(scene.board, text);
    if (culprit >= 0) assert_string_equal(text, words[culprit]);
    return culprit;
}

static void take_step(void) {
    if (++scene.n_steps != scene.stop_at) return;
    const int before = read_failure();
    scene.was_first = ls_board_fail(scene.board, OTHER, words[OTHER]);
    assert_int_equal(scene.was_first, before < 0);
    assert_int_equal(read_failure(), before < 0 ? OTHER : before);
}

static void open_scene(int stop_at) {
    memset(&scene, 0, sizeof scene);
    scene.board = ls_alloc(ls_board_bytes(RANKS));
    assert_non_null(scene.board);
    ls_board_init(scene.board, RANKS, "test");
    scene.stop_at = stop_at;
}

/* 1 while there was a step to stop at. */
static int interrupt(int stop_at) {
    open_scene(stop_at);
    const int was_first = ls_board_fail(scene.board, WRITER, words[WRITER]);
    const int stopped = scene.n_steps >= stop_at;
    assert_int_equal(was_first, !scene.was_first);
    assert_int_equal(read_failure(), was_first ? WRITER : OTHER);
    ls_free(scene.board);
    return stopped;
}

static void test_interrupted_anywhere(void **state) {
    int n = 1, n_others = 0;
    (void)state;
    (void)step_store; /* for a board that stores its decision */
    for (; interrupt(n); n++) n_others += scene.was_first;
    /* A sentence has that many words; the other came first up to the decision, and no longer. */
    assert_true(n > LS_BOARD_SENTENCE / 8 + 3);
    assert_true(n_others > LS_BOARD_SENTENCE / 8 && n_others < n - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_interrupted_anywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
