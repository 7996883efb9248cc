/* Every shape of a call, among threads and among processes of one host: what arrives is what a plain loop says. labels: threads */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "unit/comm/ranks.h"

enum { N_SLOTS = 6, MAX_ELEMENTS = 3000, MAX_PARTS = 4, STEPS = 60 };

static const int sizes[] = {1, 2, 3, 4, 8};

/* A small generator of its own, the same on every rank. */
static uint32_t draw(uint64_t *state, uint32_t below) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33) % below;
}

static uint32_t value_of(int giver, uint64_t step, int slot, int part, size_t element) {
    return (uint32_t)giver * 0x9e3779b9u + (uint32_t)step * 40503u + (uint32_t)slot * 977u +
           (uint32_t)part * 131u + (uint32_t)element;
}

typedef struct trip {
    ls_comm_call call;
    ls_comm_part parts[MAX_PARTS];
    size_t counts[MAX_PARTS], pieces[MAX_PARTS]; /* elements */
} trip;

/* What the slot does in this step; every rank draws the same. */
static void draw_trip(uint64_t *state, uint64_t step, int slot, int size, uint32_t *memory,
                      trip *t) {
    *t = (trip){.call = {.op = "test",
                         .scope = "calls",
                         .step = step,
                         .id = slot,
                         .dtype = LS_DTYPE_I32,
                         .ticket = slot * 40,
                         .from = -1,
                         .to = -1}};
    t->call.scatter = (int)draw(state, 2);
    if (draw(state, 3) == 0) t->call.from = (int)draw(state, (uint32_t)size);
    if (!t->call.scatter && draw(state, 3) == 0) t->call.to = (int)draw(state, (uint32_t)size);
    t->call.n_parts = 1 + (int)draw(state, MAX_PARTS);
    t->call.parts = t->parts;
    for (int i = 0; i < t->call.n_parts; i++) {
        t->counts[i] = draw(state, 4) == 0 ? draw(state, 9) : draw(state, MAX_ELEMENTS);
        t->pieces[i] = (t->counts[i] + (size_t)size - 1) / (size_t)size;
        if (draw(state, 4) == 0) t->pieces[i] += draw(state, 5); /* the last ones short or empty */
        if (!t->call.scatter && t->call.from >= 0) t->pieces[i] = t->counts[i];
        t->parts[i] = (ls_comm_part){memory + ((size_t)slot * MAX_PARTS + (size_t)i) * MAX_ELEMENTS,
                                     4 * t->counts[i], 4 * t->pieces[i]};
    }
    t->call.shape = (ls_shape){1, {(int64_t)t->counts[0]}};
}

static void fill_trip(const trip *t, int rank) {
    for (int i = 0; i < t->call.n_parts; i++) {
        uint32_t *x = (uint32_t *)t->parts[i].data;
        for (size_t e = 0; e < t->counts[i]; e++)
            x[e] = value_of(rank, t->call.step, t->call.id >= 0 ? (int)t->call.id : 0, i, e);
    }
}

static int64_t count_wrong(const trip *t, int rank, int peer, const ls_comm_view *views) {
    const int given =
        (t->call.from < 0 || t->call.from == peer) && (t->call.to < 0 || t->call.to == rank);
    int64_t n_wrong = 0;
    for (int i = 0; i < t->call.n_parts; i++) {
        const size_t piece = t->call.scatter ? (size_t)rank : t->call.from >= 0 ? 0 : (size_t)peer;
        const size_t first = piece * t->pieces[i];
        size_t n = first < t->counts[i] ? t->counts[i] - first : 0;
        if (n > t->pieces[i]) n = t->pieces[i];
        if (!given) n = 0;
        n_wrong += views[i].bytes != 4 * n;
        const uint32_t *y = views[i].data;
        const size_t skip = t->call.scatter ? first : 0;
        for (size_t e = 0; e < n && views[i].bytes == 4 * n; e++)
            n_wrong += y[e] != value_of(peer, t->call.step, (int)t->call.id, i, skip + e);
    }
    return n_wrong;
}

static ls_status end_trip(ls_comm *comm, const trip *t, outcome *out) {
    ls_comm_view views[MAX_PARTS];
    /* Peers in an order of my own. */
    for (int k = 0; k < comm->size; k++) {
        const int peer = (k + comm->rank) % comm->size;
        LS_TRY(comm->ops->arrive(comm, t->call.ticket, peer, views));
        out->n_wrong += count_wrong(t, comm->rank, peer, views);
    }
    return comm->ops->finish(comm, t->call.ticket);
}

/* Several calls under way, ended in another order: all ranks the same, for finish() waits for peers. */
static ls_status all_shapes(ls_comm *comm, void *user, outcome *out) {
    (void)user;
    void *memory = NULL;
    trip trips[N_SLOTS];
    uint64_t state = 17;
    LS_TRY(ls_comm_memory_create(comm, (size_t)N_SLOTS * MAX_PARTS * MAX_ELEMENTS * 4, &memory));
    for (uint64_t step = 0; step < STEPS; step++) {
        for (int s = 0; s < N_SLOTS; s++) {
            draw_trip(&state, step, s, comm->size, memory, &trips[s]);
            fill_trip(&trips[s], comm->rank);
            LS_TRY(comm->ops->start(comm, &trips[s].call));
            LS_TRY(ls_comm_check(comm));
        }
        const int first = (int)draw(&state, N_SLOTS);
        for (int s = 0; s < N_SLOTS; s++)
            LS_TRY(end_trip(comm, &trips[(s + first) % N_SLOTS], out));
    }
    ls_comm_memory_destroy(comm, memory);
    return LS_OK;
}

static void check_all_well(const outcome *out, int size) {
    for (int r = 0; r < size; r++) {
        if (out[r].status != LS_OK) print_error("rank %d: %s\n", r, out[r].message);
        assert_int_equal(out[r].status, LS_OK);
        assert_int_equal(out[r].n_wrong, 0);
    }
}

static void test_shapes_among_threads(void **state) {
    (void)state;
    outcome out[MAX_RANKS];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        run_threads(sizes[i], NULL, all_shapes, NULL, out);
        check_all_well(out, sizes[i]);
    }
}

static void test_shapes_among_processes(void **state) {
    (void)state;
    outcome *out = shared_outcomes();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        run_processes(sizes[i], NULL, all_shapes, NULL, out);
        check_all_well(out, sizes[i]);
    }
}

/* Every ticket under way at once, ended backwards; and one that stays while the log goes round. */
static ls_status many_tickets(ls_comm *comm, void *user, outcome *out) {
    (void)user;
    void *memory = NULL;
    LS_TRY(ls_comm_memory_create(comm, 4 * LS_COMM_MAX_TICKETS, &memory));
    uint32_t *x = memory;
    for (uint64_t step = 0; step < 3; step++) {
        for (int t = 0; t < LS_COMM_MAX_TICKETS; t++) {
            x[t] = value_of(comm->rank, step, t, 0, 0);
            const ls_comm_part part = {&x[t], 4 * (size_t)comm->size, 4};
            const ls_comm_call call = {.op = "all_gather",
                                       .step = step,
                                       .id = t,
                                       .ticket = t,
                                       .from = -1,
                                       .to = -1,
                                       .n_parts = 1,
                                       .parts = &part};
            LS_TRY(comm->ops->start(comm, &call));
        }
        for (int t = LS_COMM_MAX_TICKETS - 1; t >= 0; t--) {
            for (int p = 0; p < comm->size; p++) {
                ls_comm_view view;
                LS_TRY(comm->ops->arrive(comm, t, p, &view));
                out->n_wrong +=
                    view.bytes != 4 || *(const uint32_t *)view.data != value_of(p, step, t, 0, 0);
            }
            LS_TRY(comm->ops->finish(comm, t));
            const ls_comm_call barrier = {.op = "barrier",
                                          .id = 1000,
                                          .ticket = LS_COMM_MAX_TICKETS - 1,
                                          .from = -1,
                                          .to = -1};
            if (t < LS_COMM_MAX_TICKETS - 1)
                for (int i = 0; i < 2; i++) LS_TRY(run_call(comm, &barrier));
        }
    }
    return LS_OK; /* the memory goes with the comm */
}

static void test_many_tickets(void **state) {
    (void)state;
    outcome *out = shared_outcomes();
    run_threads(3, NULL, many_tickets, NULL, out);
    check_all_well(out, 3);
    run_processes(2, NULL, many_tickets, NULL, out);
    check_all_well(out, 2);
}

/* A sender does not wait for those who neither give nor take: rank 2 comes when the other two are done. */
static ls_status send_past_third(ls_comm *comm, void *user, outcome *out) {
    _Atomic int *n_done = user;
    void *memory = NULL;
    LS_TRY(ls_comm_memory_create(comm, 64, &memory));
    const ls_comm_part part = {memory, 64, 64};
    const ls_comm_call call = {
        .op = "send", .id = 3, .from = 0, .to = 1, .n_parts = 1, .parts = &part};
    const double until = ls_clock_seconds() + patience_seconds / 2;
    while (comm->rank == 2 && atomic_load(n_done) < 2 && ls_clock_seconds() < until) usleep(1000);
    out->n_wrong = comm->rank == 2 && atomic_load(n_done) != 2;
    LS_TRY(run_call(comm, &call));
    (void)atomic_fetch_add(n_done, 1);
    int64_t mine = out->n_wrong, all[MAX_RANKS];
    LS_TRY(ls_comm_exchange(comm, "wrong", &mine, sizeof mine, all));
    return LS_OK;
}

static void test_send_waits_for_its_receiver_only(void **state) {
    (void)state;
    outcome out[MAX_RANKS];
    _Atomic int n_done = 0;
    run_threads(3, NULL, send_past_third, &n_done, out);
    check_all_well(out, 3);
}

/* Memories of differing sizes, made and destroyed in turn; peers see whichever a part lies in. */
static ls_status several_memories(ls_comm *comm, void *user, outcome *out) {
    (void)user;
    void *memories[3] = {NULL};
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 3; i++) {
            const size_t bytes =
                i == 1 && comm->rank == 0 ? 0 : (size_t)(8 << 10) * (size_t)(i + 1 + comm->rank);
            LS_TRY(ls_comm_memory_create(comm, bytes, &memories[i]));
            out->n_wrong += (uintptr_t)memories[i] % 64 != 0;
            for (size_t b = 0; b < bytes; b++) out->n_wrong += ((char *)memories[i])[b] != 0;
        }
        int *last = (int *)((char *)memories[2] + (size_t)(8 << 10) * (size_t)(3 + comm->rank)) - 1;
        *last = 100 * round + comm->rank;
        const ls_comm_part part = {last, sizeof(int) * (size_t)comm->size, sizeof(int)};
        const ls_comm_call call = {
            .op = "all_gather", .ticket = 9, .from = -1, .to = -1, .n_parts = 1, .parts = &part};
        LS_TRY(comm->ops->start(comm, &call));
        for (int p = 0; p < comm->size; p++) {
            ls_comm_view view;
            LS_TRY(comm->ops->arrive(comm, 9, p, &view));
            out->n_wrong += *(const int *)view.data != 100 * round + p;
        }
        LS_TRY(comm->ops->finish(comm, 9));
        for (int i = 0; i < 3; i++) ls_comm_memory_destroy(comm, memories[(i + round) % 3]);
    }
    return LS_OK;
}

static void test_several_memories(void **state) {
    (void)state;
    outcome *out = shared_outcomes();
    run_threads(4, NULL, several_memories, NULL, out);
    check_all_well(out, 4);
    run_processes(3, NULL, several_memories, NULL, out);
    check_all_well(out, 3);
}

/* Refusals are local and leave the run as it was. */
static ls_status refused_calls(ls_comm *comm, void *user, outcome *out) {
    (void)user;
    static const int outside[16];
    void *memory = NULL;
    ls_comm_view views[LS_COMM_MAX_PARTS];
    LS_TRY(ls_comm_memory_create(comm, 64, &memory));
    const ls_comm_part foreign = {outside, 64, 64}, beyond = {(char *)memory + 32, 64, 64},
                       good = {memory, 64, 64};
    ls_comm_call call = {.op = "all_to_all",
                         .scope = "h.1",
                         .scatter = 1,
                         .from = -1,
                         .to = -1,
                         .n_parts = 1,
                         .parts = &foreign};
    out->n_wrong += comm->ops->start(comm, &call) != LS_ERR_INVALID;
    out->n_wrong += !strstr(ls_error_message(), "ls_comm_memory_create");
    call.parts = &beyond;
    out->n_wrong += comm->ops->start(comm, &call) != LS_ERR_INVALID;
    call.parts = &good;
    call.ticket = LS_COMM_MAX_TICKETS + 2;
    out->n_wrong += comm->ops->start(comm, &call) != LS_ERR_INVALID;
    call.ticket = 5;
    call.n_parts = LS_COMM_MAX_PARTS + 1;
    out->n_wrong += comm->ops->start(comm, &call) != LS_ERR_INVALID;
    call.n_parts = 1;
    LS_TRY(comm->ops->start(comm, &call));
    out->n_wrong += comm->ops->start(comm, &call) != LS_ERR_INVALID;
    out->n_wrong += !strstr(ls_error_message(), "ticket 5");
    out->n_wrong += comm->ops->arrive(comm, 6, 0, views) != LS_ERR_INVALID;
    out->n_wrong += comm->ops->finish(comm, 6) != LS_ERR_INVALID;
    LS_TRY(comm->ops->finish(comm, 5));
    return LS_OK;
}

static void test_refused_calls(void **state) {
    (void)state;
    outcome out[MAX_RANKS];
    run_threads(2, NULL, refused_calls, NULL, out);
    check_all_well(out, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_among_threads),
        cmocka_unit_test(test_shapes_among_processes),
        cmocka_unit_test(test_many_tickets),
        cmocka_unit_test(test_send_waits_for_its_receiver_only),
        cmocka_unit_test(test_several_memories),
        cmocka_unit_test(test_refused_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
