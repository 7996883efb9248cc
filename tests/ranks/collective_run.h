/* One collective run by the launch functions of its ops, outside a program. Include after cmocka.h. */
#ifndef LS_TESTS_RANKS_COLLECTIVE_RUN_H
#define LS_TESTS_RANKS_COLLECTIVE_RUN_H
#include "base/cpu.h"
#include "base/rng.h"
#include "op/collective_room.h"
#include <math.h>
#include <string.h>

enum { CALL_TENSORS = 3, ROOM_BYTES = 8 << 20 };

typedef struct call_case {
    const char *name;
    ls_collective which;
    ls_collective_attr attr; /* size, ticket are set when it runs; from, to are taken modulo size */
    ls_dtype dtypes[CALL_TENSORS];
} call_case;

/* What a rank has for its calls. */
typedef struct rank_room {
    ls_comm *comm;
    ls_pool *pool;
    ls_isa isa;
    char *memory; /* ROOM_BYTES of ls_comm_memory_create */
    size_t used;
    void *workspace;
} rank_room;

typedef struct live_call {
    rank_room *room;
    const call_case *c;
    const ls_collective_row *row;
    ls_collective_attr attr;
    uint64_t seed;
    ls_tensor in[2 * CALL_TENSORS + 1]; /* of wait: pending, x, staging */
    ls_tensor out[CALL_TENSORS + 1];    /* of start */
} live_call;

static inline ls_status open_room(ls_comm *comm, rank_room *room) {
    void *memory = NULL;
    const int n_levels = (int)ls_cpu_isa() + 1, rank = ls_comm_rank(comm);
    *room = (rank_room){.comm = comm, .isa = (ls_isa)(rank % n_levels)};
    LS_TRY(ls_comm_memory_create(comm, ROOM_BYTES, &memory));
    room->memory = memory;
    room->workspace = ls_alloc(1 << 16);
    return rank % 2 ? ls_pool_create(2, -1, &room->pool) : LS_OK;
}

static inline void close_room(rank_room *room) {
    ls_pool_destroy(room->pool);
    ls_free(room->workspace);
    ls_comm_memory_destroy(room->comm, room->memory);
}

static inline ls_tensor take_tensor(rank_room *room, const ls_type *type) {
    const ls_tensor t = {type->dtype, type->shape, room->memory + room->used};
    const size_t bytes = (ls_type_bytes(type) + 127) / 64 * 64; /* at least a gap between them */
    assert_true(room->used + bytes <= ROOM_BYTES);
    memset(t.data, 0x7f, bytes);
    room->used += bytes;
    return t;
}

/* Element e of tensor i that member `rank` has. Seed 0: whole numbers, whose sums are exact in any order (mpi_reference.c). */
static inline float value_of(uint64_t seed, int rank, int i, int64_t e) {
    if (seed == 0) return (float)((rank * 131 + e * 7) % 201 - 100);
    const ls_rng_key key = {seed, (uint64_t)rank, (uint64_t)i};
    return (float)ls_rng_normal(key, (uint64_t)e) * ldexpf(1, (int)(e / 64 % 7) * 4 - 12);
}

static inline void fill_whole(ls_tensor *t, int64_t count, uint64_t seed, int rank, int i) {
    for (int64_t e = 0; e < count; e++) {
        const float x = value_of(seed, rank, i, e);
        ls_tensor_set(t, e, ls_dtype_is_float(t->dtype) ? x : floorf(x * 100));
    }
}

/* x is a piece of what member `rank` has (all_gather), or all of it. In place, what is not my piece is left as garbage. */
static inline void fill_x(live_call *call, int i) {
    const int rank = ls_comm_rank(call->room->comm);
    const int64_t count = call->attr.counts[i];
    ls_tensor *x = &call->in[call->attr.n + i];
    if (call->c->which != LS_COLLECTIVE_ALL_GATHER) {
        fill_whole(x, count, call->seed, rank, i);
        return;
    }
    const int64_t piece = ls_collective_piece(&call->attr, i), first = piece * rank;
    for (int64_t e = 0; e < piece; e++) {
        const float v = value_of(call->seed, 0, i, first + e);
        const int64_t at = call->attr.in_place ? first + e : e;
        if (at < ls_shape_count(&x->shape))
            ls_tensor_set(x, at, ls_dtype_is_float(x->dtype) ? v : floorf(v * 100));
    }
}

static inline ls_type x_type(const live_call *call, int i) {
    const int is_piece = call->c->which == LS_COLLECTIVE_ALL_GATHER && !call->attr.in_place;
    const int64_t n = is_piece ? ls_collective_piece(&call->attr, i) : call->attr.counts[i];
    return (ls_type){call->c->dtypes[i], {1, {n}}};
}

static inline ls_status launch_op(live_call *call, const ls_op *op, int n_in, const ls_tensor *in,
                                  ls_tensor *out) {
    ls_type in_types[2 * CALL_TENSORS + 1], out_types[LS_MAX_OUT];
    ls_sig sig = {op, &call->attr, n_in, 0, in_types, out_types};
    const ls_kernel *kernel;
    for (int i = 0; i < n_in; i++) in_types[i] = (ls_type){in[i].dtype, in[i].shape};
    LS_TRY(op->infer(&call->attr, n_in, in_types, &sig.n_out, out_types));
    for (int i = 0; i < sig.n_out; i++) {
        const int of = op->alias(&sig, i);
        out[i] = of >= 0 ? in[of] : take_tensor(call->room, &out_types[i]);
        out[i].dtype = out_types[i].dtype;
        out[i].shape = out_types[i].shape;
    }
    LS_TRY(ls_kernel_choose(&sig, LS_DEVICE_CPU, call->room->isa, &kernel));
    const ls_launch launch = {.sig = &sig,
                              .in = in,
                              .out = out,
                              .workspace = call->room->workspace,
                              .pool = call->room->pool,
                              .position = {.step = call->seed},
                              .comm = call->room->comm,
                              .node = call->c->which,
                              .scope = call->c->name};
    return kernel->launch(&launch);
}

static inline ls_status start_call(live_call *call, rank_room *room, const call_case *c, int ticket,
                                   uint64_t seed) {
    const int size = ls_comm_size(room->comm), n = c->attr.n;
    *call = (live_call){.room = room, .c = c, .row = ls_collective_row_of(c->which), .seed = seed};
    call->attr = c->attr;
    call->attr.size = size;
    call->attr.ticket = ticket;
    call->attr.from = call->row->from ? c->attr.from % size : -1;
    call->attr.to = call->row->to ? c->attr.to % size : -1;
    for (int i = 0; i < n; i++) {
        const ls_type type = x_type(call, i);
        call->in[n + i] = take_tensor(room, &type);
        fill_x(call, i);
    }
    LS_TRY(launch_op(call, call->row->start, n, call->in + n, call->out));
    memcpy(call->in, call->out, (size_t)n * sizeof *call->in);
    call->in[2 * n] = call->out[n];
    return LS_OK;
}

static inline ls_status wait_call(live_call *call, ls_tensor *y) {
    const int n_in = 2 * call->attr.n + ls_collective_is_staged(&call->attr);
    return launch_op(call, call->row->wait, n_in, call->in, y);
}

#endif
