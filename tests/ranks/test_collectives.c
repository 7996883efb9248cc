/* Collectives as ops between ranks that are threads: every one of them, odd sizes, several tensors a call, each wire, staged or not, in
 * place or not, against a serial tree spelled out here; bits must be equal. Members run on different instruction-set levels.
 * labels: threads cost=30 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "ranks/collective_run.h"
#include "unit/comm/ranks.h"

enum { LANES = 8 };

#define SIZES(n_, ...) .lanes = LANES, .n = n_, .counts = {__VA_ARGS__}
#define FLOATS \
    { LS_DTYPE_F32, LS_DTYPE_F32, LS_DTYPE_F32 }
#define MIXED \
    { LS_DTYPE_BF16, LS_DTYPE_I32, LS_DTYPE_F64 }
#define SUM_CASES(name, which, ...)                                                               \
    {name " f32", which, {SIZES(3, 1000, 1, 64 * 8 * 5), __VA_ARGS__}, FLOATS},                   \
        {name " bf16",                                                                            \
         which,                                                                                   \
         {SIZES(3, 1000, 65, 64 * 8 * 5), .wire = LS_WIRE_BF16, __VA_ARGS__},                     \
         FLOATS},                                                                                 \
    {                                                                                             \
        name " int8", which, {SIZES(3, 999, 0, 40000), .wire = LS_WIRE_INT8, __VA_ARGS__}, FLOATS \
    }
#define COPY_CASES(name, which, ...)                                      \
    {name, which, {SIZES(3, 1000, 65, 33), __VA_ARGS__}, MIXED},          \
        {name " large", which, {SIZES(1, 60001), __VA_ARGS__}, FLOATS}, { \
        name " none", which, {SIZES(2, 0, 1), __VA_ARGS__}, FLOATS        \
    }

static const call_case cases[] = {
    SUM_CASES("reduce_scatter", LS_COLLECTIVE_REDUCE_SCATTER, .in_place = 0),
    SUM_CASES("reduce_scatter in place", LS_COLLECTIVE_REDUCE_SCATTER, .in_place = 1),
    SUM_CASES("reduce_scatter staged", LS_COLLECTIVE_REDUCE_SCATTER, .staged = 1),
    SUM_CASES("reduce_scatter staged in place", LS_COLLECTIVE_REDUCE_SCATTER, .staged = 1,
              .in_place = 1),
    SUM_CASES("all_reduce", LS_COLLECTIVE_ALL_REDUCE, .in_place = 0),
    SUM_CASES("all_reduce staged", LS_COLLECTIVE_ALL_REDUCE, .staged = 1),
    COPY_CASES("all_gather", LS_COLLECTIVE_ALL_GATHER, .in_place = 0),
    COPY_CASES("all_gather in place", LS_COLLECTIVE_ALL_GATHER, .in_place = 1),
    COPY_CASES("all_gather staged", LS_COLLECTIVE_ALL_GATHER, .staged = 1),
    {"all_gather numbers", LS_COLLECTIVE_ALL_GATHER, {SIZES(2, LANES, LANES), .unit = 1}, MIXED},
    COPY_CASES("all_to_all", LS_COLLECTIVE_ALL_TO_ALL, .in_place = 0),
    COPY_CASES("all_to_all staged", LS_COLLECTIVE_ALL_TO_ALL, .staged = 1),
    COPY_CASES("broadcast", LS_COLLECTIVE_BROADCAST, .from = 0),
    COPY_CASES("broadcast of another", LS_COLLECTIVE_BROADCAST, .from = 3, .staged = 1),
    COPY_CASES("send", LS_COLLECTIVE_SEND, .from = 0, .to = 1),
    COPY_CASES("send back", LS_COLLECTIVE_SEND, .from = 5, .to = 2, .staged = 1),
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

/* --- what must come out ---------------------------------------------------------------------------------------------- */

/* The sum of `n` vectors from `first` on: leaves rounded, neighbours added, every node rounded. */
static void sum_tree(int wire, uint64_t seed, int first, int n, int i, int64_t count, float *y) {
    if (n == 1) {
        for (int64_t e = 0; e < count; e++) y[e] = value_of(seed, first, i, e);
    } else {
        float *right = ls_alloc(sizeof *right * (size_t)(count + 1));
        assert_non_null(right);
        sum_tree(wire, seed, first, n / 2, i, count, y);
        sum_tree(wire, seed, first + n / 2, n / 2, i, count, right);
        for (int64_t e = 0; e < count; e++) y[e] += right[e];
        ls_free(right);
    }
    ls_wire_round(wire, y, count, y);
}

static double copied_value(const live_call *call, int giver, int i, int64_t e) {
    const float v = value_of(call->seed, giver, i, e);
    if (e >= call->attr.counts[i]) return 0;
    return ls_dtype_is_float(call->c->dtypes[i]) ? v : floorf(v * 100);
}

/* Element e of result i where nothing is added. */
static double copied_element(const live_call *call, int i, int64_t e) {
    const int rank = ls_comm_rank(call->room->comm);
    const int64_t piece = ls_collective_piece(&call->attr, i);
    switch (call->c->which) {
    case LS_COLLECTIVE_ALL_GATHER:
        return copied_value(call, 0, i, e);
    case LS_COLLECTIVE_ALL_TO_ALL:
        return copied_value(call, (int)(e / piece), i, rank * piece + e % piece);
    case LS_COLLECTIVE_SEND:
        if (rank != call->attr.to) return 0;
        return copied_value(call, call->attr.from, i, e);
    default:
        return copied_value(call, call->attr.from, i, e);
    }
}

static int64_t check_copy(const live_call *call, int i, const ls_tensor *y) {
    int64_t n_wrong = 0;
    const int64_t n = ls_shape_count(&y->shape);
    ls_tensor one = {y->dtype, {0}, (double[1]){0}};
    for (int64_t e = 0; e < n; e++) {
        ls_tensor_set(&one, 0, copied_element(call, i, e));
        n_wrong += ls_tensor_get(y, e) != ls_tensor_get(&one, 0);
    }
    return n_wrong;
}

static int64_t check_sum(const live_call *call, int i, const ls_tensor *y) {
    const int64_t count = call->attr.counts[i], piece = ls_collective_piece(&call->attr, i);
    const int scatter = call->c->which == LS_COLLECTIVE_REDUCE_SCATTER;
    const int64_t first = scatter ? ls_comm_rank(call->room->comm) * piece : 0;
    const int64_t mine =
        scatter ? ls_shard_count(count, piece, ls_comm_rank(call->room->comm)) : count;
    float *want = ls_alloc(sizeof *want * (size_t)(count + piece + 1));
    assert_non_null(want);
    sum_tree(call->attr.wire, call->seed, 0, call->attr.size, i, count, want);
    const float *got = (const float *)y->data + (call->attr.in_place ? first : 0);
    int64_t n_wrong = mine && memcmp(got, want + first, sizeof *want * (size_t)mine) != 0;
    for (int64_t e = mine; scatter && !call->attr.in_place && e < piece; e++)
        n_wrong += got[e] != 0;
    ls_free(want);
    return n_wrong;
}

static void check_call(const live_call *call, const ls_tensor *y, outcome *out) {
    for (int i = 0; i < call->attr.n; i++) {
        const int64_t n_wrong =
            call->row->sums ? check_sum(call, i, &y[i]) : check_copy(call, i, &y[i]);
        if (n_wrong == 0) continue;
        (void)snprintf(out->message, sizeof out->message, "%s, tensor %d of rank %d of %d",
                       call->c->name, i, ls_comm_rank(call->room->comm), call->attr.size);
        out->n_wrong += n_wrong;
    }
}

/* --- bodies ---------------------------------------------------------------------------------------------------------- */

static ls_status run_cases(rank_room *room, outcome *out) {
    for (int c = 0; c < N_CASES; c++) {
        live_call call;
        ls_tensor y[LS_MAX_OUT];
        room->used = 0;
        LS_TRY(start_call(&call, room, &cases[c], c % LS_COMM_MAX_TICKETS, (uint64_t)c + 1));
        LS_TRY(wait_call(&call, y));
        check_call(&call, y, out);
    }
    return LS_OK;
}

/* Every case with its neighbour: both under way at once, ended in either order, work in between. */
static ls_status run_pairs(rank_room *room, outcome *out) {
    for (int c = 0; c < N_CASES; c++) {
        live_call calls[2];
        ls_tensor y[2][LS_MAX_OUT];
        room->used = 0;
        for (int k = 0; k < 2; k++)
            LS_TRY(start_call(&calls[k], room, &cases[(c + k) % N_CASES], 17 + k,
                              (uint64_t)(100 + c)));
        volatile int busy = 0;
        while (busy < 1000 * ls_comm_rank(room->comm)) busy++;
        for (int k = 0; k < 2; k++) {
            const int which = (k + c) % 2;
            LS_TRY(wait_call(&calls[which], y[which]));
        }
        for (int k = 0; k < 2; k++) check_call(&calls[k], y[k], out);
    }
    return LS_OK;
}

typedef ls_status (*room_fn)(rank_room *room, outcome *out);

static ls_status with_room(ls_comm *comm, void *user, outcome *out) {
    rank_room room;
    ls_status status = open_room(comm, &room);
    if (status == LS_OK) status = (*(const room_fn *)user)(&room, out);
    close_room(&room);
    return status;
}

static void run_ranks(int size, room_fn fn) {
    outcome out[MAX_RANKS];
    run_threads(size, NULL, with_room, &fn, out);
    for (int r = 0; r < size; r++)
        if (out[r].status != LS_OK || out[r].n_wrong)
            fail_msg("rank %d of %d: %lld wrong; %s", r, size, (long long)out[r].n_wrong,
                     out[r].message);
}

static void test_every_collective(void **state) {
    (void)state;
    for (int size = 1; size <= MAX_RANKS; size *= 2) run_ranks(size, run_cases);
}

static void test_two_calls_under_way(void **state) {
    (void)state;
    for (int size = 2; size <= MAX_RANKS; size *= 2) run_ranks(size, run_pairs);
}

/* Without any comm: a plan for one rank runs the same ops. */
static void test_one_rank_alone(void **state) {
    (void)state;
    outcome out = {0};
    room_fn fn = run_cases;
    if (with_room(NULL, &fn, &out) != LS_OK) fail_msg("%s", ls_error_message());
    if (out.n_wrong) fail_msg("%s", out.message);
}

/* The promise: LANES vectors are summed to the same bits however many ranks share them. Ranks fold their own, then reduce. */
static ls_status run_lanes(rank_room *room, outcome *out) {
    static const call_case reduce[] = {
        {"lanes f32", LS_COLLECTIVE_REDUCE_SCATTER, {SIZES(1, 3000)}, FLOATS},
        {"lanes bf16",
         LS_COLLECTIVE_REDUCE_SCATTER,
         {SIZES(1, 3000), .wire = LS_WIRE_BF16},
         FLOATS},
        {"lanes int8",
         LS_COLLECTIVE_REDUCE_SCATTER,
         {SIZES(1, 3000), .wire = LS_WIRE_INT8},
         FLOATS},
        {"all lanes int8",
         LS_COLLECTIVE_ALL_REDUCE,
         {SIZES(1, 3000), .wire = LS_WIRE_INT8},
         FLOATS},
    };
    float want[3000];
    const int rank = ls_comm_rank(room->comm), each = LANES / ls_comm_size(room->comm);
    for (int c = 0; c < 4; c++) {
        live_call call = {.room = room};
        ls_tensor y[LS_MAX_OUT];
        const int wire = reduce[c].attr.wire;
        room->used = 0;
        LS_TRY(start_call(&call, room, &reduce[c], 3, 9));
        LS_TRY(wait_call(&call, y)); /* made and checked elsewhere; x is free to be another now */
        room->used = 0;
        call.c = &reduce[c];
        const ls_type type = {LS_DTYPE_F32, {1, {3000}}};
        call.in[1] = take_tensor(room, &type);
        sum_tree(wire, 9, rank * each, each, 0, 3000, call.in[1].data);
        LS_TRY(launch_op(&call, call.row->start, 1, call.in + 1, call.out));
        call.in[0] = call.out[0];
        LS_TRY(wait_call(&call, y));
        sum_tree(wire, 9, 0, LANES, 0, 3000, want);
        const int scatter = c < 3;
        const int64_t piece = scatter ? ls_collective_piece(&call.attr, 0) : 3000;
        const int64_t first = scatter ? rank * piece : 0;
        const int64_t mine = scatter ? ls_shard_count(3000, piece, rank) : 3000;
        out->n_wrong += mine && memcmp(y[0].data, want + first, sizeof *want * (size_t)mine) != 0;
    }
    return LS_OK;
}

static void test_ranks_do_not_matter(void **state) {
    (void)state;
    for (int size = 1; size <= LANES; size *= 2) run_ranks(size, run_lanes);
}

/* --- refusals -------------------------------------------------------------------------------------------------------- */

static ls_status start_for_two(rank_room *room, outcome *out) {
    live_call call;
    ls_tensor y[LS_MAX_OUT];
    const call_case *c = &cases[0];
    (void)out;
    LS_TRY(start_call(&call, room, c, 0, 1));
    LS_TRY(wait_call(&call, y));
    room->used = 0;
    call.attr.size = 2;
    const ls_type type = {LS_DTYPE_F32, {1, {1000}}};
    call.attr.n = 1;
    call.in[1] = take_tensor(room, &type);
    return launch_op(&call, call.row->start, 1, call.in + 1, call.out);
}

static ls_status sum_fast(rank_room *room, outcome *out) {
    static const call_case fast = {
        "fast", LS_COLLECTIVE_ALL_REDUCE, {SIZES(1, 100), .fast = 1}, FLOATS};
    live_call call;
    ls_tensor y[LS_MAX_OUT];
    (void)out;
    LS_TRY(start_call(&call, room, &fast, 0, 1));
    return wait_call(&call, y);
}

static void check_all_fail(room_fn fn, ls_status status, const char *words) {
    outcome out[MAX_RANKS];
    run_threads(4, NULL, with_room, &fn, out);
    for (int r = 0; r < 4; r++) {
        assert_int_equal(out[r].status, status);
        if (!strstr(out[r].message, words)) fail_msg("'%s' lacks '%s'", out[r].message, words);
    }
}

static void test_refusals(void **state) {
    (void)state;
    check_all_fail(start_for_two, LS_ERR_COMM, "planned for 2 members, but this run has 4 ranks");
    check_all_fail(sum_fast, LS_ERR_UNSUPPORTED, "no fast all-reduce; use transport mpi");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_collective), cmocka_unit_test(test_two_calls_under_way),
        cmocka_unit_test(test_one_rank_alone),   cmocka_unit_test(test_ranks_do_not_matter),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
