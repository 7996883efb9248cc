/* labels: threads
 * Memory of a descriptor: what it held stays, peers read it, and it outlives the ranks that mapped it. */
#include "unit/base/check.h"
#include "unit/comm/ranks.h"

enum { SIZE = 3, PAGES = 4096 };

typedef struct setup {
    int fds[MAX_RANKS];
} setup;

/* Rank r's memory is r + 1 pages of (r + 1) * 11; everybody reads the last word of everybody's. */
static ls_status use_memory(ls_comm *comm, void *user, outcome *out) {
    const setup *s = user;
    const int rank = comm->rank;
    const size_t bytes = (size_t)(rank + 1) * PAGES;
    uint32_t *memory = NULL;
    LS_TRY(ls_comm_memory_map(comm, s->fds[rank], bytes, (void **)&memory));
    const size_t last = bytes / sizeof *memory - 1;
    out->n_wrong += memory[last] != (uint32_t)(rank + 1) * 11;
    memory[last]++;
    const ls_comm_part part = {&memory[last], sizeof *memory * (size_t)comm->size, sizeof *memory};
    const ls_comm_call call = {.op = "all_gather",
                               .scope = "test",
                               .dtype = LS_DTYPE_F32,
                               .shape = {1, {comm->size}},
                               .from = -1,
                               .to = -1,
                               .n_parts = 1,
                               .parts = &part};
    LS_TRY(comm->ops->start(comm, &call));
    for (int p = 0; p < comm->size; p++) {
        ls_comm_view view;
        LS_TRY(comm->ops->arrive(comm, 0, p, &view));
        uint32_t word = 0;
        if (view.bytes == sizeof word) memcpy(&word, view.data, sizeof word);
        out->n_wrong += word != (uint32_t)(p + 1) * 11 + 1;
    }
    LS_TRY(comm->ops->finish(comm, 0));
    ls_comm_memory_destroy(comm, memory);
    return LS_OK;
}

static void open_all(setup *s) {
    for (int r = 0; r < SIZE; r++) {
        const size_t n = (size_t)(r + 1) * PAGES / sizeof(uint32_t);
        s->fds[r] = memfd_create("test", 0);
        for (size_t i = 0; i < n; i++) {
            const uint32_t word = (uint32_t)(r + 1) * 11;
            assert_int_equal(write(s->fds[r], &word, sizeof word), sizeof word);
        }
    }
}

/* The ranks are gone; what they wrote is there. */
static void check_all(const setup *s, int size, const outcome *out) {
    for (int r = 0; r < size; r++) {
        uint32_t word = 0;
        if (out[r].status != LS_OK) fail_msg("rank %d: %s", r, out[r].message);
        assert_int_equal(out[r].n_wrong, 0);
        assert_int_equal(
            pread(s->fds[r], &word, sizeof word, (off_t)(r + 1) * PAGES - (off_t)sizeof word),
            sizeof word);
        assert_int_equal(word, (r + 1) * 11 + 1);
    }
    for (int r = 0; r < SIZE; r++) (void)close(s->fds[r]);
}

static void test_threads(void **state) {
    (void)state;
    setup s;
    outcome out[MAX_RANKS];
    open_all(&s);
    run_threads(SIZE, NULL, use_memory, &s, out);
    check_all(&s, SIZE, out);
}

static void test_processes(void **state) {
    (void)state;
    setup s;
    outcome *out = shared_outcomes();
    open_all(&s);
    run_processes(SIZE, NULL, use_memory, &s, out);
    check_all(&s, SIZE, out);
}

static void test_self(void **state) {
    (void)state;
    setup s;
    outcome out[1] = {0};
    ls_comm *comm = NULL;
    void *memory = NULL;
    open_all(&s);
    check_ok(ls_comm_open(&(ls_comm_options){.transport = LS_TRANSPORT_SELF}, &comm));
    out[0].status = use_memory(comm, &s, out);
    check_fails(ls_comm_memory_map(comm, -1, 100, &memory), LS_ERR_NO_MEMORY,
                "could not be mapped");
    /* Not given back: closing does. */
    check_ok(ls_comm_memory_map(comm, s.fds[0], PAGES, &memory));
    ls_comm_close(comm);
    check_fails(ls_comm_memory_map(NULL, s.fds[0], PAGES, &memory), LS_ERR_UNSUPPORTED,
                "transport self");
    check_all(&s, 1, out);
}

/* One rank's descriptor is not one: all fail alike. */
static void test_bad_descriptor(void **state) {
    (void)state;
    setup s;
    outcome *out = shared_outcomes();
    open_all(&s);
    (void)close(s.fds[1]);
    s.fds[1] = 1000;
    run_processes(SIZE, NULL, use_memory, &s, out);
    for (int r = 0; r < SIZE; r++) assert_int_not_equal(out[r].status, LS_OK);
    run_threads(SIZE, NULL, use_memory, &s, out);
    for (int r = 0; r < SIZE; r++) assert_int_not_equal(out[r].status, LS_OK);
    (void)close(s.fds[0]);
    (void)close(s.fds[2]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_processes),
        cmocka_unit_test(test_self),
        cmocka_unit_test(test_bad_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
