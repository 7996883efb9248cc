/* The book of what a rank gives: which bytes count, in which pile, and that nothing else changes on their way. */
#include "base/hash.h"
#include "comm/fault.h"
#include "comm/gift.h"
#include "unit/base/check.h"

/* A transport that counts. */
typedef struct spy {
    ls_comm base;
    int n_started, n_summed, n_finished;
    float seen; /* the first value that was given to it last */
} spy;

static ls_status spy_start(ls_comm *comm, const ls_comm_call *call) {
    ((spy *)comm)->n_started++;
    if (call->n_parts) memcpy(&((spy *)comm)->seen, call->parts[0].data, sizeof(float));
    return LS_OK;
}

static ls_status spy_finish(ls_comm *comm, int ticket) {
    (void)ticket;
    ((spy *)comm)->n_finished++;
    return LS_OK;
}

static ls_status spy_sum(ls_comm *comm, const ls_comm_call *call, float *data, int64_t count) {
    (void)call, (void)data, (void)count;
    ((spy *)comm)->n_summed++;
    return LS_OK;
}

static const ls_comm_ops spy_ops = {
    .name = "spy", .start = spy_start, .finish = spy_finish, .fast_all_reduce = spy_sum};

static spy make_spy(int rank) {
    return (spy){.base = {.ops = &spy_ops, .rank = rank, .size = 4, .n_hosts = 1}};
}

static ls_gift_kind sort_by_id(void *user, const ls_comm_call *call) {
    assert_ptr_equal(user, &spy_ops);
    return (ls_gift_kind)call->id;
}

static float x[32], y[32];

static ls_comm_call make_call(int kind, int scatter, const ls_comm_part *parts, int n) {
    return (ls_comm_call){.op = "some",
                          .id = kind,
                          .dtype = LS_DTYPE_F32,
                          .scatter = scatter,
                          .from = -1,
                          .to = -1,
                          .n_parts = n,
                          .parts = parts};
}

static ls_gift_book *open_book(ls_comm *comm) {
    ls_gift_book *book = NULL;
    check_ok(ls_gift_book_open(comm, sort_by_id, (void *)(uintptr_t)&spy_ops, &book));
    return book;
}

static int fill(void **state) {
    (void)state;
    for (int i = 0; i < 32; i++) {
        x[i] = (float)i;
        y[i] = (float)-i;
    }
    return 0;
}

static uint64_t hash_of(const float *data, size_t bytes) {
    return ls_xxh3(data, bytes, bytes);
}

/* Of a scatter all pieces are given, of another call one's own, which may be short or nothing. */
static void test_which_bytes(void **state) {
    const ls_comm_part whole = {x, sizeof x, sizeof x / 4}, piece = {x, 100, 32};
    static const size_t given[4] = {32, 32, 32, 4};
    (void)state;
    for (int rank = 0; rank < 4; rank++) {
        spy self = make_spy(rank);
        uint64_t sums[LS_GIFT_COUNT];
        ls_gift_book *book = open_book(&self.base);
        ls_gift_book_begin(book);
        ls_comm_call call = make_call(LS_GIFT_GRADIENTS, 1, &whole, 1);
        check_ok(self.base.ops->start(&self.base, &call));
        call = make_call(LS_GIFT_TOTALS, 0, &piece, 1);
        check_ok(self.base.ops->start(&self.base, &call));
        call = make_call(LS_GIFT_WEIGHTS, 0, &piece, 1);
        call.from = 2; /* a lone giver: its bytes are piece 0 */
        check_ok(self.base.ops->start(&self.base, &call));
        ls_gift_book_end(book, sums);
        assert_true(sums[LS_GIFT_GRADIENTS] == hash_of(x, sizeof x));
        assert_true(sums[LS_GIFT_TOTALS] == hash_of(x, given[rank]));
        assert_true(sums[LS_GIFT_WEIGHTS] == (rank == 2 ? hash_of(x, 32) : 0));
        assert_int_equal(self.n_started, 3);
        ls_gift_book_close(book);
    }
}

/* Order and buckets do not count, values do; what comes outside of begin and end, or has no pile, does not. */
static void test_sums(void **state) {
    const ls_comm_part parts[2] = {{x, sizeof x, sizeof x / 4}, {y, sizeof y, sizeof y / 4}};
    spy self = make_spy(1);
    uint64_t together[LS_GIFT_COUNT], apart[LS_GIFT_COUNT], other[LS_GIFT_COUNT];
    (void)state;
    ls_gift_book *book = open_book(&self.base);
    ls_comm_call call = make_call(LS_GIFT_GRADIENTS, 1, parts, 2);
    check_ok(self.base.ops->start(&self.base, &call));
    ls_gift_book_begin(book);
    check_ok(self.base.ops->start(&self.base, &call));
    ls_gift_book_end(book, together);
    ls_gift_book_begin(book);
    for (int i = 1; i >= 0; i--) {
        call = make_call(LS_GIFT_GRADIENTS, 1, &parts[i], 1);
        check_ok(self.base.ops->start(&self.base, &call));
    }
    call = make_call(LS_GIFT_NONE, 1, parts, 2);
    check_ok(self.base.ops->start(&self.base, &call));
    ls_gift_book_end(book, apart);
    assert_memory_equal(together, apart, sizeof apart);
    y[31] = 1;
    ls_gift_book_begin(book);
    call = make_call(LS_GIFT_GRADIENTS, 1, parts, 2);
    check_ok(self.base.ops->start(&self.base, &call));
    ls_gift_book_end(book, other);
    assert_true(other[LS_GIFT_GRADIENTS] != together[LS_GIFT_GRADIENTS]);
    ls_gift_book_close(book);
    fill(NULL);
}

/* The transport's table is back when the book is closed; what is not hashed passes through. */
static void test_pass_through(void **state) {
    spy self = make_spy(0);
    uint64_t sums[LS_GIFT_COUNT];
    (void)state;
    ls_gift_book *book = open_book(&self.base);
    const ls_comm_call call = make_call(LS_GIFT_GRADIENTS, 0, NULL, 0);
    ls_gift_book_begin(book);
    check_ok(self.base.ops->fast_all_reduce(&self.base, &call, x, 32));
    check_ok(self.base.ops->finish(&self.base, 3));
    ls_gift_book_end(book, sums);
    assert_string_equal(self.base.ops->name, "spy");
    assert_int_equal(self.n_summed, 1);
    assert_int_equal(self.n_finished, 1);
    assert_true(sums[LS_GIFT_GRADIENTS] == hash_of(x, sizeof x));
    ls_gift_book_close(book);
    assert_ptr_equal(self.base.ops, &spy_ops);
    book = open_book(NULL);
    ls_gift_book_begin(book);
    ls_gift_book_end(book, sums);
    assert_true(sums[0] == 0 && sums[1] == 0 && sums[2] == 0);
    ls_gift_book_close(book);
    ls_gift_book_close(NULL);
}

/* Faults that flip a bit: which call they wait for, one bit and no more, once; the book sees it. */
static void test_flips(void **state) {
    static const struct {
        const char *fault, *op;
        int scatter, flips;
    } cases[] = {
        {"kind=flip,step=2", "reduce_scatter", 1, 1},
        {"kind=flip,step=2", "all_gather", 0, 0},
        {"kind=flip_share,step=2", "all_gather", 0, 1},
        {"kind=flip_share,step=2", "reduce_scatter", 1, 0},
        {"kind=flip_state,step=2", "reduce_scatter", 1, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        spy self = make_spy(0);
        ls_comm *comm = &self.base;
        ls_fault fault;
        uint64_t sums[LS_GIFT_COUNT];
        check_ok(ls_fault_parse(cases[i].fault, &fault));
        check_ok(ls_comm_fault_wrap_with(&comm, &fault));
        ls_gift_book *book = open_book(comm);
        const ls_comm_part part = {x, sizeof x, sizeof x};
        ls_comm_call call = make_call(LS_GIFT_GRADIENTS, cases[i].scatter, &part, 1);
        call.op = cases[i].op;
        const uint64_t clean = hash_of(x, sizeof x);
        for (uint64_t step = 1; step <= 4; step++) {
            int n_bits = 0;
            call.step = step;
            ls_gift_book_begin(book);
            check_ok(comm->ops->start(comm, &call));
            ls_gift_book_end(book, sums);
            for (int k = 0; k < 32; k++) {
                uint32_t bits, was;
                const float right = (float)k;
                memcpy(&bits, &x[k], 4);
                memcpy(&was, &right, 4);
                n_bits += __builtin_popcount(bits ^ was);
            }
            assert_int_equal(n_bits, cases[i].flips && step == 2);
            assert_int_equal(sums[LS_GIFT_GRADIENTS] != clean, n_bits);
            fill(NULL);
        }
        assert_int_equal(self.n_started, 4);
        ls_gift_book_close(book);
        ls_free(comm);
    }
}

static void test_state_fault(void **state) {
    spy self = make_spy(0);
    ls_comm *comm = &self.base;
    ls_fault fault;
    (void)state;
    assert_int_equal(ls_comm_fault_takes_state(NULL, 5), 0);
    assert_int_equal(ls_comm_fault_takes_state(comm, 5), 0);
    check_ok(ls_fault_parse("kind=flip_state,step=3", &fault));
    check_ok(ls_comm_fault_wrap_with(&comm, &fault));
    assert_int_equal(ls_comm_fault_takes_state(comm, 2), 0);
    assert_int_equal(ls_comm_fault_takes_state(comm, 3), 1);
    assert_int_equal(ls_comm_fault_takes_state(comm, 3), 0);
    ls_free(comm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_bytes),  cmocka_unit_test(test_sums),
        cmocka_unit_test(test_pass_through), cmocka_unit_test(test_flips),
        cmocka_unit_test(test_state_fault),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
