/* Traces of a small program: what is recorded, how often, how it nests; that recording changes nothing; that the buffer is bounded. */
#include "base/alloc.h"
#include "exec/trace.h"
#include "unit/exec/small_program.h"

static ls_status run_traced(small_program *s, uint64_t step, ls_trace *trace) {
    const ls_run_options run = {
        .seed = 1, .step = step, .feed = feed_small, .user = s, .check_loss = 1, .trace = trace};
    return ls_program_run(s->program, &run);
}

static int64_t count_kind(const ls_trace_event *events, int64_t n, ls_trace_kind kind) {
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) found += events[i].kind == (int32_t)kind;
    return found;
}

/* Every node of every segment once per run of the segment, none else. */
static void check_nodes(const small_program *s, const ls_trace_event *events, int64_t n) {
    const ls_rank_plan *rank = &s->plan->ranks[0];
    int64_t total = 0;
    for (int k = 0; k < rank->n_segments; k++) {
        const ls_segment *segment = &rank->segments[k];
        const int per_lane =
            segment->kind == LS_SEGMENT_FORWARD || segment->kind == LS_SEGMENT_BACKWARD;
        for (int64_t i = 0; i < segment->n_nodes; i++) {
            int seen[SMALL_LANES + 1] = {0};
            for (int64_t e = 0; e < n; e++)
                if (events[e].kind == LS_TRACE_KERNEL && events[e].node == segment->nodes[i]) {
                    assert_int_equal(events[e].index, k);
                    seen[events[e].lane + 1]++;
                }
            assert_int_equal(seen[0], !per_lane);
            for (int lane = 0; lane < SMALL_LANES; lane++)
                assert_int_equal(seen[lane + 1], per_lane);
            total += per_lane ? SMALL_LANES : 1;
        }
    }
    assert_int_equal(total, count_kind(events, n, LS_TRACE_KERNEL));
}

/* Two events lie one in the other, or apart; they stand in the order of their ends. */
static void check_nesting(const ls_trace_event *events, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        assert_true(events[i].begin_ns <= events[i].end_ns);
        if (i > 0) assert_true(events[i - 1].end_ns <= events[i].end_ns);
        for (int64_t k = i + 1; k < n; k++) {
            const int apart = events[i].end_ns <= events[k].begin_ns;
            const int inside = events[k].begin_ns <= events[i].begin_ns;
            assert_true(apart || inside);
        }
    }
}

static void check_commands(const small_program *s, const ls_trace_event *events, int64_t n) {
    const ls_rank_plan *rank = &s->plan->ranks[0];
    int64_t wanted[LS_TRACE_KIND_COUNT] = {[LS_TRACE_PROGRAM] = 1};
    static const ls_trace_kind kinds[] = {LS_TRACE_FEED, LS_TRACE_RUN, LS_TRACE_SEND,
                                          LS_TRACE_RECV, LS_TRACE_ADD, LS_TRACE_ROUND};
    for (int64_t i = 0; i < rank->n_commands; i++) wanted[kinds[rank->commands[i].kind]]++;
    for (int k = LS_TRACE_FEED; k < LS_TRACE_KIND_COUNT; k++)
        assert_int_equal(count_kind(events, n, (ls_trace_kind)k), wanted[k]);
    assert_true(wanted[LS_TRACE_RUN] > 2 && wanted[LS_TRACE_ADD] > 0 && wanted[LS_TRACE_FEED] > 2);
}

static void test_events(void **state) {
    (void)state;
    small_program s;
    ls_trace *trace;
    int64_t n;
    open_small(&s, 1);
    check_ok(ls_program_init(s.program, 1));
    const int64_t per_run = ls_trace_run_events(s.program);
    check_ok(ls_trace_create(2 * per_run, &trace));
    check_ok(run_traced(&s, 0, trace));
    const ls_trace_event *events = ls_trace_events(trace, &n);
    assert_int_equal(n, per_run);
    check_nodes(&s, events, n);
    check_commands(&s, events, n);
    check_nesting(events, n);
    for (int64_t i = 0; i < n; i++) assert_int_equal(events[i].step, 0);
    check_ok(run_traced(&s, 7, trace));
    events = ls_trace_events(trace, &n);
    assert_int_equal(n, 2 * per_run);
    assert_int_equal(events[n - 1].kind, LS_TRACE_PROGRAM);
    assert_int_equal(events[n - 1].step, 7);
    assert_int_equal(ls_trace_dropped(trace), 0);
    ls_trace_destroy(trace);
    close_small(&s);
}

static void fetch_weights(small_program *s, float *out, size_t bytes) {
    check_ok(ls_program_fetch(s->program, "transformer.h.0.mlp.c_fc.weight", out, bytes));
}

static void test_no_bit_changes(void **state) {
    (void)state;
    small_program plain, traced;
    static float a[16 * 64], b[16 * 64];
    ls_trace *trace;
    open_small(&plain, 1);
    open_small(&traced, 1);
    check_ok(ls_program_init(plain.program, 1));
    check_ok(ls_program_init(traced.program, 1));
    check_ok(ls_trace_create(3 * ls_trace_run_events(traced.program), &trace));
    for (uint64_t step = 0; step < 3; step++) {
        check_ok(run_small(&plain, step));
        const int64_t calls = ls_alloc_get_stats().n_calls;
        check_ok(run_traced(&traced, step, trace));
        assert_int_equal(ls_alloc_get_stats().n_calls, calls);
    }
    fetch_weights(&plain, a, sizeof a);
    fetch_weights(&traced, b, sizeof b);
    assert_memory_equal(a, b, sizeof a);
    ls_trace_destroy(trace);
    close_small(&plain);
    close_small(&traced);
}

static void test_full_buffer(void **state) {
    (void)state;
    small_program s;
    ls_trace *trace;
    int64_t n;
    open_small(&s, 1);
    check_ok(ls_program_init(s.program, 1));
    const int64_t per_run = ls_trace_run_events(s.program);
    check_ok(ls_trace_create(10, &trace));
    check_ok(run_traced(&s, 0, trace));
    const ls_trace_event *events = ls_trace_events(trace, &n);
    assert_int_equal(n, 10);
    assert_int_equal(ls_trace_dropped(trace), per_run - 10);
    check_nesting(events, n);
    ls_trace_clear(trace);
    (void)ls_trace_events(trace, &n);
    assert_int_equal(n, 0);
    assert_int_equal(ls_trace_dropped(trace), 0);
    ls_trace_add_span(trace, LS_TRACE_STEP, 3, ls_trace_now());
    events = ls_trace_events(trace, &n);
    assert_int_equal(n, 1);
    assert_int_equal(events[0].step, 3);
    ls_trace_add_span(NULL, LS_TRACE_STEP, 3, 0); /* no trace: nothing */
    ls_trace_destroy(trace);
    ls_trace_destroy(NULL);
    close_small(&s);
}

/* A failed step is recorded as far as it came, and fails as it would without. */
static void test_failure(void **state) {
    (void)state;
    small_program s;
    ls_trace *trace;
    int64_t n;
    open_small(&s, 1);
    check_ok(ls_program_init(s.program, 1));
    s.bad_token = SMALL_VOCAB + 5;
    check_ok(ls_trace_create(ls_trace_run_events(s.program), &trace));
    assert_int_not_equal(run_traced(&s, 0, trace), LS_OK);
    const ls_trace_event *events = ls_trace_events(trace, &n);
    assert_true(n > 2 && n < ls_trace_run_events(s.program));
    assert_int_equal(events[n - 1].kind, LS_TRACE_PROGRAM);
    check_nesting(events, n);
    ls_trace_destroy(trace);
    close_small(&s);
}

static void test_bad_capacity(void **state) {
    (void)state;
    ls_trace *trace = NULL;
    check_fails(ls_trace_create(0, &trace), LS_ERR_INVALID, "a trace of 0 events");
    check_fails(ls_trace_create(INT64_MAX, &trace), LS_ERR_INVALID, "1 and more work");
    assert_null(trace);
    for (int n = 1; n <= 2; n++) {
        ls_alloc_fail_at(n, 0);
        assert_int_equal(ls_trace_create(8, &trace), LS_ERR_NO_MEMORY);
        ls_alloc_fail_at(0, 0);
        assert_null(trace);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),       cmocka_unit_test(test_no_bit_changes),
        cmocka_unit_test(test_full_buffer),  cmocka_unit_test(test_failure),
        cmocka_unit_test(test_bad_capacity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
