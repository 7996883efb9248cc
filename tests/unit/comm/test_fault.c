/* What LOCKSTEP_FAULT may say, and what the decorator does to a call on its way. */
#include "base/alloc.h"
#include "base/fs.h"
#include "comm/comm.h"
#include "comm/fault.h"
#include "unit/base/check.h"
#include <time.h>

/* The decorator, whose naps are counted instead of taken. */
static int n_naps;
static double nap_seconds;

static int count_nap(const struct timespec *nap, struct timespec *left_out) {
    (void)left_out;
    n_naps++;
    nap_seconds += (double)nap->tv_sec + 1e-9 * (double)nap->tv_nsec;
    return 0;
}

#define nanosleep count_nap
#include "comm/fault.c"
#undef nanosleep

/* --- a transport that keeps what it was given --- */

typedef struct spy {
    ls_comm base;
    ls_comm_call last;
    float first; /* of the last call's first part */
    int n_started, n_arrived, n_finished, n_closed;
} spy;

static ls_status spy_start(ls_comm *comm, const ls_comm_call *call) {
    spy *self = (spy *)comm;
    self->last = *call;
    self->n_started++;
    if (call->n_parts) memcpy(&self->first, call->parts[0].data, sizeof self->first);
    return LS_OK;
}

static ls_status spy_arrive(ls_comm *comm, int ticket, int peer, ls_comm_view *views_out) {
    (void)ticket;
    (void)peer;
    ((spy *)comm)->n_arrived++;
    views_out[0] = (ls_comm_view){"peer", 4};
    return LS_OK;
}

static ls_status spy_finish(ls_comm *comm, int ticket) {
    (void)ticket;
    ((spy *)comm)->n_finished++;
    return LS_OK;
}

static ls_status spy_check(ls_comm *comm) {
    (void)comm;
    return LS_FAIL(LS_ERR_COMM, "asked");
}

static void spy_close(ls_comm *comm) {
    ((spy *)comm)->n_closed++;
}

static const ls_comm_ops spy_ops = {.name = "spy",
                                    .start = spy_start,
                                    .arrive = spy_arrive,
                                    .finish = spy_finish,
                                    .check = spy_check,
                                    .close = spy_close};

static spy make_spy(void) {
    return (spy){.base = {.ops = &spy_ops, .rank = 2, .size = 4, .n_hosts = 1}};
}

static ls_comm *wrap(spy *self, const char *text) {
    ls_fault fault;
    ls_comm *comm = &self->base;
    check_ok(ls_fault_parse(text, &fault));
    check_ok(ls_comm_fault_wrap_with(&comm, &fault));
    return comm;
}

static float part_data[16];

static ls_comm_call make_call(uint64_t step, const ls_comm_part *part) {
    return (ls_comm_call){.op = "reduce_scatter",
                          .scope = "h.1",
                          .step = step,
                          .id = 7,
                          .dtype = LS_DTYPE_F32,
                          .shape = {1, {16}},
                          .ticket = 3,
                          .scatter = 1,
                          .from = -1,
                          .to = -1,
                          .n_parts = 1,
                          .parts = part};
}

static void start(ls_comm *comm, uint64_t step) {
    for (int i = 0; i < 16; i++) part_data[i] = 1;
    const ls_comm_part part = {part_data, sizeof part_data, 16};
    const ls_comm_call call = make_call(step, &part);
    check_ok(comm->ops->start(comm, &call));
}

/* --- parsing --- */

static void test_parse(void **state) {
    (void)state;
    ls_fault fault;
    check_ok(ls_fault_parse("kind=slow,rank=3,step=5,call=2,seconds=0.5,count=9,stamp=/tmp/a b",
                            &fault));
    assert_int_equal(fault.count, 9);
    assert_int_equal(fault.kind, LS_FAULT_SLOW);
    assert_int_equal(fault.rank, 3);
    assert_int_equal(fault.step, 5);
    assert_int_equal(fault.call, 2);
    assert_true(fault.seconds == 0.5);
    assert_string_equal(fault.stamp, "/tmp/a b");
    for (int i = LS_FAULT_DIE; i < LS_FAULT_COUNT; i++) {
        char text[32];
        snprintf(text, sizeof text, "kind=%s,", ls_fault_names[i]);
        check_ok(ls_fault_parse(text, &fault));
        assert_int_equal(fault.kind, i);
    }
    assert_null(ls_fault_names[LS_FAULT_COUNT]);
}

static void test_parse_refuses(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "has no kind="},
        {"rank=1", "has no kind="},
        {"kind=none", "'none' is not known"},
        {"kind=skp", "did you mean 'skip'"},
        {"kind", "'kind' is no key=value"},
        {"kind=die,,rank=1", "'' is no key=value"},
        {"kind=die,rank=-1", "rank = '-1'"},
        {"kind=die,rank=99999999999", "rank = '99999999999'"},
        {"kind=die,rank=1x", "rank = '1x'"},
        {"kind=die,step=", "step = ''"},
        {"kind=die,call=1.5", "call = '1.5'"},
        {"kind=slow,count=-1", "count = '-1'"},
        {"kind=slow,seconds=0", "seconds = '0'"},
        {"kind=slow,seconds=nan", "seconds = 'nan'"},
        {"kind=die,who=1", "key 'who' is not known"},
    };
    ls_fault fault = {.rank = 77};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_fails(ls_fault_parse(cases[i][0], &fault), LS_ERR_CONFIG, cases[i][1]);
    char text[400] = "kind=die,stamp=";
    memset(text + strlen(text), 'x', 300);
    check_fails(ls_fault_parse(text, &fault), LS_ERR_CONFIG, "too long");
    assert_int_equal(fault.rank, 77);
}

/* --- the decorator --- */

static void test_only_its_rank(void **state) {
    (void)state;
    spy s = make_spy();
    ls_comm *comm = wrap(&s, "kind=die,rank=1");
    assert_ptr_equal(comm, &s.base);
    assert_ptr_equal(ls_comm_fault_inner(comm), &s.base);
    assert_null(ls_comm_fault_inner(NULL));
    ls_fault fault;
    check_ok(ls_fault_parse("kind=die,rank=4", &fault));
    check_fails(ls_comm_fault_wrap_with(&comm, &fault), LS_ERR_CONFIG, "ranks 0 to 3");
    unsetenv("LOCKSTEP_FAULT");
    check_ok(ls_comm_fault_wrap(&comm));
    setenv("LOCKSTEP_FAULT", "", 1);
    check_ok(ls_comm_fault_wrap(&comm));
    setenv("LOCKSTEP_FAULT", "kind=bad", 1);
    check_fails(ls_comm_fault_wrap(&comm), LS_ERR_CONFIG, "'bad'");
    assert_ptr_equal(comm, &s.base);
    setenv("LOCKSTEP_FAULT", "kind=op,rank=2", 1);
    check_ok(ls_comm_fault_wrap(&comm));
    assert_ptr_not_equal(comm, &s.base);
    unsetenv("LOCKSTEP_FAULT");
    comm->ops->close(comm);
}

static void test_all_else_is_handed_on(void **state) {
    (void)state;
    spy s = make_spy();
    ls_comm *comm = wrap(&s, "kind=op,rank=2,step=9");
    assert_ptr_equal(ls_comm_fault_inner(comm), &s.base);
    assert_int_equal(comm->rank, 2);
    assert_string_equal(comm->ops->name, "spy");
    assert_null(comm->ops->fast_all_reduce);
    ls_comm_view view;
    start(comm, 1);
    check_ok(comm->ops->arrive(comm, 3, 0, &view));
    check_ok(comm->ops->finish(comm, 3));
    check_fails(comm->ops->check(comm), LS_ERR_COMM, "asked");
    assert_string_equal(s.last.op, "reduce_scatter");
    assert_int_equal(s.n_started * 100 + s.n_arrived * 10 + s.n_finished, 111);
    comm->ops->close(comm);
    assert_int_equal(s.n_closed, 1);
}

/* The second call of step 5; a run without so many calls in it is hit in the next step. Calls without a step count to the last. */
static void test_when(void **state) {
    (void)state;
    static const struct {
        uint64_t steps[6];
        int hit;
    } cases[] = {{{4, 4, 5, 5, 5, 6}, 3},
                 {{4, 4, 4, 5, 6, 6}, 4},
                 {{4, 5, 0, 5, 5, 5}, 2},
                 {{0, 7, 7, 7, 7, 7}, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        spy s = make_spy();
        ls_comm *comm = wrap(&s, "kind=op,rank=2,step=5,call=1");
        for (int c = 0; c < 6; c++) {
            start(comm, cases[i].steps[c]);
            assert_int_equal(strcmp(s.last.op, "all_to_all") == 0, c == cases[i].hit);
        }
        comm->ops->close(comm);
    }
}

static void test_announcements(void **state) {
    (void)state;
    spy s = make_spy();
    ls_comm *comm = wrap(&s, "kind=shape,rank=2");
    start(comm, 0);
    assert_int_equal(s.last.shape.dims[0], 17);
    comm->ops->close(comm);
    comm = wrap(&s, "kind=dtype,rank=2");
    start(comm, 0);
    assert_int_not_equal(s.last.dtype, LS_DTYPE_F32);
    comm->ops->close(comm);
    comm = wrap(&s, "kind=step,rank=2");
    start(comm, 8);
    assert_int_equal(s.last.step, 9);
    comm->ops->close(comm);
}

static void test_skip(void **state) {
    (void)state;
    spy s = make_spy();
    ls_comm *comm = wrap(&s, "kind=skip,rank=2,call=1");
    ls_comm_view view;
    start(comm, 0);
    check_ok(comm->ops->finish(comm, 3));
    start(comm, 0);
    assert_int_equal(s.n_started, 1);
    check_ok(comm->ops->arrive(comm, 3, 1, &view));
    assert_int_equal(view.bytes, 16);
    for (size_t i = 0; i < view.bytes; i++) assert_int_equal(((const char *)view.data)[i], 0);
    check_ok(comm->ops->finish(comm, 3));
    assert_int_equal(s.n_arrived * 10 + s.n_finished, 1);
    start(comm, 0);
    check_ok(comm->ops->arrive(comm, 3, 1, &view));
    assert_int_equal(s.n_started * 10 + s.n_arrived, 21);
    comm->ops->close(comm);
}

static void test_extra(void **state) {
    (void)state;
    spy s = make_spy();
    ls_comm *comm = wrap(&s, "kind=extra,rank=2");
    start(comm, 0);
    assert_int_equal(s.n_started, 2);
    assert_int_equal(s.n_arrived, 4);
    assert_int_equal(s.n_finished, 1);
    assert_int_equal(s.last.id, 7);
    comm->ops->close(comm);
}

static void test_nan_waits_for_a_gradient(void **state) {
    (void)state;
    spy s = make_spy();
    ls_comm *comm = wrap(&s, "kind=nan,rank=2");
    const ls_comm_part part = {part_data, sizeof part_data, 16};
    ls_comm_call call = make_call(0, &part);
    call.op = "all_gather";
    check_ok(comm->ops->start(comm, &call));
    assert_true(s.first == s.first);
    start(comm, 0);
    assert_true(s.first != s.first);
    start(comm, 0);
    assert_true(s.first == s.first);
    comm->ops->close(comm);
}

static void test_disk_and_stamp(void **state) {
    (void)state;
    spy s = make_spy();
    const char *path = check_path("stamp");
    char text[600];
    snprintf(text, sizeof text, "kind=disk,rank=2,stamp=%s", path);
    ls_comm *comm = wrap(&s, text);
    start(comm, 0);
    check_fails(ls_file_write_atomic(check_path("x"), "x", 1), LS_ERR_NO_SPACE, "No space");
    ls_fs_fail_at(0, 0);
    char *stamp;
    size_t bytes;
    check_ok(ls_file_read(path, &stamp, &bytes));
    assert_true(strtod(stamp, NULL) > 0);
    ls_free(stamp);
    unlink(path);
    comm->ops->close(comm);
}

/* A disk that is full for so many operations, and calls of which so many are late. */
static void test_counts(void **state) {
    (void)state;
    spy s = make_spy();
    ls_comm *comm = wrap(&s, "kind=disk,rank=2,count=2");
    const char *path = check_path("count");
    start(comm, 0);
    check_fails(ls_file_write_atomic(path, "x", 1), LS_ERR_NO_SPACE, "No space");
    check_fails(ls_file_write_atomic(path, "x", 1), LS_ERR_NO_SPACE, "No space");
    check_ok(ls_file_write_atomic(path, "x", 1));
    unlink(path);
    comm->ops->close(comm);
    comm = wrap(&s, "kind=slow,rank=2,step=1,count=2,seconds=1.25");
    n_naps = 0;
    nap_seconds = 0;
    for (int i = 0; i < 100; i++) {
        start(comm, (uint64_t)i);
        assert_int_equal(n_naps, i < 2 ? i : 2);
    }
    assert_true(nap_seconds > 2.499 && nap_seconds < 2.501);
    comm->ops->close(comm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_only_its_rank),
        cmocka_unit_test(test_all_else_is_handed_on),
        cmocka_unit_test(test_when),
        cmocka_unit_test(test_announcements),
        cmocka_unit_test(test_skip),
        cmocka_unit_test(test_extra),
        cmocka_unit_test(test_nan_waits_for_a_gradient),
        cmocka_unit_test(test_disk_and_stamp),
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
