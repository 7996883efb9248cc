/* One rank alone, with and without an ls_comm; opening by the environment; how tensors are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "comm/comm.h"

static void test_null_is_one_rank(void **state) {
    (void)state;
    void *memory = NULL;
    int mine = 42, all = 0;
    assert_int_equal(ls_comm_rank(NULL), 0);
    assert_int_equal(ls_comm_size(NULL), 1);
    assert_int_equal(ls_comm_hosts(NULL), 1);
    assert_string_equal(ls_comm_transport(NULL), "self");
    assert_string_equal(ls_comm_host(NULL, 0), "localhost");
    assert_string_equal(ls_comm_host(NULL, 1), "");
    assert_int_equal(ls_comm_memory_create(NULL, 100, &memory), LS_OK);
    assert_int_equal((uintptr_t)memory % 64, 0);
    ls_comm_memory_destroy(NULL, memory);
    ls_comm_memory_destroy(NULL, NULL);
    assert_int_equal(ls_comm_exchange(NULL, "x", &mine, sizeof mine, &all), LS_OK);
    assert_int_equal(all, 42);
    assert_int_equal(ls_comm_agree(NULL, "x", LS_OK), LS_OK);
    assert_int_equal(ls_comm_agree(NULL, "x", LS_FAIL(LS_ERR_IO, "no disk")), LS_ERR_IO);
    assert_string_equal(ls_error_message(), "no disk");
    assert_int_equal(ls_comm_check(NULL), LS_OK);
    ls_comm_abort(NULL, "nobody hears");
    ls_comm_close(NULL);
}

static void test_self_gives_to_itself(void **state) {
    (void)state;
    const ls_comm_options options = {.transport = LS_TRANSPORT_SELF};
    ls_comm *comm = NULL;
    void *memory = NULL;
    ls_comm_view views[2];
    assert_int_equal(ls_comm_open(&options, &comm), LS_OK);
    assert_string_equal(ls_comm_transport(comm), "self");
    assert_int_equal(ls_comm_memory_create(comm, 256, &memory), LS_OK);
    const ls_comm_part parts[] = {{memory, 100, 100}, {(char *)memory + 128, 0, 64}};
    ls_comm_call call = {.op = "reduce_scatter",
                         .ticket = 255,
                         .scatter = 1,
                         .from = -1,
                         .to = -1,
                         .n_parts = 2,
                         .parts = parts};
    assert_int_equal(comm->ops->start(comm, &call), LS_OK);
    assert_int_equal(comm->ops->start(comm, &call), LS_ERR_INVALID);
    assert_non_null(strstr(ls_error_message(), "ticket 255"));
    assert_int_equal(comm->ops->arrive(comm, 255, 1, views), LS_ERR_INVALID);
    assert_int_equal(comm->ops->arrive(comm, 255, 0, views), LS_OK);
    assert_ptr_equal(views[0].data, memory);
    assert_int_equal(views[0].bytes, 100);
    assert_int_equal(views[1].bytes, 0);
    assert_int_equal(comm->ops->finish(comm, 255), LS_OK);
    assert_int_equal(comm->ops->finish(comm, 255), LS_ERR_INVALID);
    call.ticket = LS_COMM_MAX_TICKETS + 1;
    assert_int_equal(comm->ops->start(comm, &call), LS_ERR_INVALID);
    int mine = 7, all = 0;
    assert_int_equal(ls_comm_exchange(comm, "x", &mine, sizeof mine, &all), LS_OK);
    assert_int_equal(all, 7);
    char much[LS_COMM_EXCHANGE_BYTES + 1] = {0};
    assert_int_equal(ls_comm_exchange(comm, "too much", much, sizeof much, much), LS_ERR_INVALID);
    assert_non_null(strstr(ls_error_message(), "at most 4096"));
    assert_int_equal(ls_comm_agree(comm, "x", LS_ERR_DATA), LS_ERR_DATA);
    assert_int_equal(comm->ops->check(comm), LS_OK);
    comm->ops->abort(comm, "nobody hears");
    ls_comm_memory_destroy(comm, memory);
    ls_comm_close(comm);
}

/* The environment of a test has neither a supervisor nor an MPI launcher. */
static void test_open(void **state) {
    (void)state;
    static const struct {
        ls_transport transport;
        ls_status status;
        const char *say;
    } cases[] = {
        {LS_TRANSPORT_AUTO, LS_OK, "self"},
        {LS_TRANSPORT_SELF, LS_OK, "self"},
        {LS_TRANSPORT_THREADS, LS_ERR_UNSUPPORTED, "ls_comm_hub_create"},
        {LS_TRANSPORT_SHM, LS_ERR_UNSUPPORTED, "lockstep run -n R"},
        {LS_TRANSPORT_COUNT, LS_ERR_INVALID, "unknown"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const ls_comm_options options = {.transport = cases[i].transport};
        ls_comm *comm = NULL;
        assert_int_equal(ls_comm_open(&options, &comm), cases[i].status);
        if (cases[i].status == LS_OK)
            assert_string_equal(ls_comm_transport(comm), cases[i].say);
        else
            assert_non_null(strstr(ls_error_message(), cases[i].say));
        ls_comm_close(comm);
    }
    for (int i = 0; i < LS_TRANSPORT_COUNT; i++) assert_non_null(ls_transport_names[i]);
    assert_null(ls_transport_names[LS_TRANSPORT_COUNT]);
    assert_string_equal(ls_wire_names[LS_WIRE_INT8], "int8");
    assert_null(ls_wire_names[LS_WIRE_COUNT]);
}

static void test_shm_environment(void **state) {
    (void)state;
    static const struct {
        const char *fd, *rank, *say;
    } cases[] = {
        {"", "0", "was not started as a rank"},   {"3", "", "was not started as a rank"},
        {"3x", "0", "was not started as a rank"}, {"999", "0", "was not inherited"},
        {"0", "0", "not the board of a job"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_comm *comm = NULL;
        setenv("LOCKSTEP_RUN_FD", cases[i].fd, 1);
        setenv("LOCKSTEP_RUN_RANK", cases[i].rank, 1);
        assert_int_not_equal(ls_comm_open(NULL, &comm), LS_OK);
        if (!strstr(ls_error_message(), cases[i].say) && i < 4)
            print_error("%s\n", ls_error_message());
        if (i < 4) assert_non_null(strstr(ls_error_message(), cases[i].say));
    }
    unsetenv("LOCKSTEP_RUN_FD");
    unsetenv("LOCKSTEP_RUN_RANK");
}

static void test_pieces(void **state) {
    (void)state;
    static const struct {
        size_t bytes, piece_bytes, expect[4];
    } cases[] = {
        {1024, 256, {256, 256, 256, 256}},
        {1000, 256, {256, 256, 256, 232}},
        {300, 256, {256, 44, 0, 0}},
        {0, 256, {0, 0, 0, 0}},
        {100, 0, {0, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const ls_comm_part part = {NULL, cases[i].bytes, cases[i].piece_bytes};
        for (int q = 0; q < 4; q++)
            assert_int_equal(ls_comm_piece_bytes(&part, q), cases[i].expect[q]);
    }
    const ls_comm_part parts[] = {{NULL, 1000, 250}, {NULL, 4, 1}};
    const ls_comm_call call = {.n_parts = 2, .parts = parts};
    assert_int_equal(ls_comm_landing_bytes(&call, 4), 4 * (256 + 64));
}

/* Chunks belong to lanes, whatever the number of ranks: every element has one owner, and neighbours stay together. */
static void test_shards(void **state) {
    (void)state;
    static const int64_t counts[] = {0, 1, 63, 64, 65, 1000, 4096, 100001};
    assert_int_equal(ls_shard_chunk(1000, 8), 128);
    assert_int_equal(ls_shard_chunk(1, 8), 64);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        for (int lanes = 1; lanes <= 16; lanes *= 2) {
            const int64_t chunk = ls_shard_chunk(counts[i], lanes);
            assert_int_equal(chunk % LS_SHARD_UNIT, 0);
            for (int size = 1; size <= lanes; size *= 2) {
                const int64_t piece = ls_shard_piece(counts[i], lanes, size);
                int64_t total = 0;
                assert_int_equal(piece, chunk * lanes / size);
                for (int q = 0; q < size; q++) total += ls_shard_count(counts[i], piece, q);
                assert_int_equal(total, counts[i]);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_is_one_rank),
        cmocka_unit_test(test_self_gives_to_itself),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_shm_environment),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
