/* What a rank does in the tests of MPI: every kind of call with values that only the right bytes pass. */
#ifndef LS_TESTS_MPI_RANK_H
#define LS_TESTS_MPI_RANK_H
#include "base/alloc.h"
#include "base/clock.h"
#include "comm/comm.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 12, N_TICKETS = 6, MEMORY_BYTES = 6 << 20 };

/* Byte `at` of what `giver` has for `taker` (-1: for all) in a round. */
static inline unsigned char made_byte(int round, int ticket, int part, int giver, int taker,
                                      size_t at) {
    uint64_t x = (uint64_t)round * 31 + (uint64_t)ticket * 7 + (uint64_t)part;
    x = (x * 64 + (uint64_t)giver) * 64 + (uint64_t)(taker + 1);
    x = (x << 24 ^ at) * 0x9e3779b97f4a7c15ULL;
    return (unsigned char)(x >> 56);
}

typedef struct shape_case {
    const char *op;
    int scatter, from, to; /* -2: the last rank */
    int n_parts;
    size_t piece_bytes[2]; /* of each part; the last piece is `short_bytes` shorter */
    size_t short_bytes;
} shape_case;

/* Small, uneven, beyond what MPI sends eagerly, and nothing at all. */
static const shape_case shape_cases[N_TICKETS] = {
    {"all_gather", 0, -1, -1, 2, {1000, 64}, 30},
    {"reduce_scatter", 1, -1, -1, 1, {4097}, 4097},
    {"all_to_all", 1, -1, -1, 2, {300000, 8}, 0},
    {"broadcast", 0, 1, -1, 1, {70000}, 0},
    {"send", 0, 0, -2, 1, {5000}, 0},
    {"barrier", 0, -1, -1, 0, {0}, 0},
};

typedef struct rank_state {
    ls_comm *comm;
    int rank, size;
    unsigned char *memory;
    void *landing[N_TICKETS];
    long n_wrong;
} rank_state;

static inline ls_comm_call describe_case(const rank_state *s, int round, int t, ls_comm_part *parts,
                                         size_t *offset) {
    const shape_case *c = &shape_cases[t];
    ls_comm_call call = {.op = c->op,
                         .scope = "test",
                         .step = (uint64_t)round,
                         .id = t,
                         .dtype = LS_DTYPE_U8,
                         .shape = {1, {(int64_t)c->piece_bytes[0]}},
                         .ticket = t,
                         .scatter = c->scatter,
                         .from = c->from,
                         .to = c->to == -2 ? s->size - 1 : c->to,
                         .n_parts = c->n_parts,
                         .parts = parts};
    const size_t n_pieces = c->from >= 0 && !c->scatter ? 1 : (size_t)s->size;
    for (int i = 0; i < c->n_parts; i++) {
        parts[i] = (ls_comm_part){s->memory + *offset,
                                  c->piece_bytes[i] * n_pieces - c->short_bytes, c->piece_bytes[i]};
        if (i > 0) parts[i].bytes += c->short_bytes;
        *offset += (c->scatter ? parts[i].bytes : c->piece_bytes[i]) / 64 * 64 + 64;
    }
    return call;
}

static inline void fill_case(const rank_state *s, int round, const ls_comm_call *call) {
    for (int i = 0; i < call->n_parts; i++) {
        const ls_comm_part *part = &call->parts[i];
        unsigned char *data = (unsigned char *)part->data;
        const size_t bytes = call->scatter ? part->bytes : part->piece_bytes;
        for (size_t at = 0; at < bytes; at++)
            data[at] = made_byte(round, call->ticket, i, s->rank,
                                 call->scatter ? (int)(at / part->piece_bytes) : -1,
                                 call->scatter ? at % part->piece_bytes : at);
    }
}

static inline ls_status check_case(rank_state *s, int round, const ls_comm_call *call) {
    for (int n = 0; n < s->size; n++) {
        const int p = (s->rank + n) % s->size;
        ls_comm_view views[2] = {0};
        LS_TRY(s->comm->ops->arrive(s->comm, call->ticket, p, views));
        const int gives =
            (call->from < 0 || call->from == p) && (call->to < 0 || call->to == s->rank);
        for (int i = 0; i < call->n_parts; i++) {
            const int piece = call->scatter ? s->rank : call->from >= 0 ? 0 : p;
            const size_t expected = gives ? ls_comm_piece_bytes(&call->parts[i], piece) : 0;
            s->n_wrong += views[i].bytes != expected;
            const unsigned char *got = views[i].data;
            for (size_t at = 0; at < expected && at < views[i].bytes; at++)
                s->n_wrong += got[at] != made_byte(round, call->ticket, i, p,
                                                   call->scatter ? s->rank : -1, at);
        }
    }
    return s->comm->ops->finish(s->comm, call->ticket);
}

/* All calls of a round are under way at once, and are taken in another order than they were started. */
static inline ls_status run_round(rank_state *s, int round) {
    ls_comm_part parts[N_TICKETS][2];
    ls_comm_call calls[N_TICKETS];
    size_t offset = 0;
    for (int t = 0; t < N_TICKETS; t++) {
        calls[t] = describe_case(s, round, t, parts[t], &offset);
        if (!s->landing[t]) s->landing[t] = ls_alloc(ls_comm_landing_bytes(&calls[t], s->size));
        calls[t].landing = s->landing[t];
        fill_case(s, round, &calls[t]);
        LS_TRY(s->comm->ops->start(s->comm, &calls[t]));
    }
    for (int t = 0; t < N_TICKETS; t++)
        LS_TRY(check_case(s, round, &calls[(t * 5 + round) % N_TICKETS]));
    return ls_comm_check(s->comm);
}

static inline ls_status check_exchange(rank_state *s) {
    int32_t mine[5] = {s->rank, s->rank * 3, -s->rank, 7, 9}, all[5 * 64];
    LS_TRY(ls_comm_exchange(s->comm, "five numbers", mine, sizeof mine, all));
    for (int r = 0; r < s->size; r++)
        s->n_wrong += all[5 * r] != r || all[5 * r + 1] != 3 * r || all[5 * r + 4] != 9;
    LS_TRY(ls_comm_agree(s->comm, "a good decision", LS_OK));
    const ls_status bad = s->rank == s->size - 1 ? LS_FAIL(LS_ERR_DATA, "no bread") : LS_OK;
    const ls_status agreed = ls_comm_agree(s->comm, "a bad decision", bad);
    s->n_wrong += agreed != LS_ERR_DATA || !strstr(ls_error_message(), "no bread");
    return LS_OK;
}

static inline ls_status check_fast(rank_state *s) {
    const int64_t n = 100000;
    float *data = (float *)(void *)s->memory;
    const ls_comm_call call = {.op = "all_reduce",
                               .scope = "fast",
                               .id = 99,
                               .dtype = LS_DTYPE_F32,
                               .shape = {1, {n}},
                               .ticket = 100,
                               .from = -1,
                               .to = -1};
    if (!s->comm->ops->fast_all_reduce)
        return LS_FAIL(LS_ERR_INTERNAL, "mpi has no fast all-reduce");
    for (int64_t i = 0; i < n; i++) data[i] = (float)(i % 1000 + s->rank);
    LS_TRY(s->comm->ops->fast_all_reduce(s->comm, &call, data, n));
    for (int64_t i = 0; i < n; i++)
        s->n_wrong += data[i] != (float)(i % 1000 * s->size + (int64_t)s->size * (s->size - 1) / 2);
    return LS_OK;
}

static inline ls_status run_all(rank_state *s, int rounds) {
    void *other = NULL;
    LS_TRY(ls_comm_memory_create(s->comm, MEMORY_BYTES, (void **)&s->memory));
    LS_TRY(ls_comm_memory_create(s->comm, (size_t)s->rank * 100, &other));
    s->n_wrong += s->memory[0] != 0 || s->memory[MEMORY_BYTES - 1] != 0 ||
                  (uintptr_t)s->memory % 64 != 0 || (uintptr_t)other % 64 != 0;
    for (int round = 0; round < rounds; round++) LS_TRY(run_round(s, round));
    ls_comm_memory_destroy(s->comm, other);
    LS_TRY(check_exchange(s));
    LS_TRY(check_fast(s));
    ls_comm_memory_destroy(s->comm, s->memory);
    LS_TRY(ls_comm_memory_create(s->comm, MEMORY_BYTES, (void **)&s->memory));
    LS_TRY(run_round(s, 1));
    ls_comm_memory_destroy(s->comm, s->memory);
    return LS_OK;
}

/* main() of a rank: writes one line into the file LS_TEST_LOG, "rank 1 of 4 on mpi, 1 hosts: fine" or "rank 1 failed at SECONDS: SENTENCE". */
static inline int run_rank(const char *late_seconds) {
    /* mpirun ends the others when one has failed; they still say why. */
    signal(SIGTERM, SIG_IGN);
    const ls_comm_options options = {.late_seconds = atof(late_seconds), .quiet = 1};
    rank_state s = {0};
    ls_status status = ls_comm_open(&options, &s.comm);
    if (status == LS_OK) {
        s.rank = ls_comm_rank(s.comm);
        s.size = ls_comm_size(s.comm);
        status = run_all(&s, ROUNDS);
    }
    char line[2048];
    if (status != LS_OK) {
        snprintf(line, sizeof line, "rank %d failed at %.6f: %s\n", s.rank, ls_clock_seconds(),
                 ls_error_message());
        ls_comm_abort(s.comm, ls_error_message());
    } else {
        snprintf(line, sizeof line, "rank %d of %d on %s, %d hosts: %s\n", s.rank, s.size,
                 ls_comm_transport(s.comm), ls_comm_hosts(s.comm), s.n_wrong ? "WRONG" : "fine");
    }
    /* Into a file: what is printed when a rank dies does not always get through mpirun. */
    const int fd = open(getenv("LS_TEST_LOG"), O_WRONLY | O_APPEND | O_CREAT, 0666);
    const ssize_t written = write(fd, line, strlen(line));
    close(fd);
    for (int t = 0; t < N_TICKETS; t++) ls_free(s.landing[t]);
    ls_comm_close(s.comm);
    return written < 0 || s.n_wrong ? 1 : ls_status_exit_code(status);
}

#endif
