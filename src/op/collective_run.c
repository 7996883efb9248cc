/* How collectives run: start gives this rank's bytes to the transport; wait takes the others', copies or sums them on the compute
 * threads and tells the transport that it is done. Nothing is allocated. */
#include "op/collective_room.h"
#include "op/copy.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { SUM_TASK = 8192 }; /* elements: 32 KiB an operand, whole units */

/* One launch made explicit. */
typedef struct run {
    const ls_launch *launch;
    const ls_collective_row *row;
    const ls_collective_attr *attr;
    const ls_wire_fns *fns;
    int rank, size;
    const ls_tensor *x; /* attr->n tensors */
    char *staging;      /* NULL: not staged */
    ls_comm_part parts[LS_COMM_MAX_PARTS];
    ls_comm_view *views;     /* wait: [size][n] */
    int member;              /* whose pieces are decoded */
    atomic_int *is_infinite; /* sums: set when one is not finite */
} run;

static ls_status check_group(const run *r) {
    const int size = ls_comm_size(r->launch->comm);
    if (size == r->attr->size) return LS_OK;
    return LS_FAIL(
        LS_ERR_COMM,
        "op %s is planned for %d members, but this run has %d ranks; start as many ranks "
        "as the plan has",
        r->row->name, r->attr->size, size);
}

/* This rank's bytes of part i. */
static const void *part_data(const run *r, int i) {
    if (ls_collective_is_encoded(r->row, r->attr))
        return r->staging + ls_collective_send_offset(r->row, r->attr, i);
    const char *x = r->x[i].data;
    if (!r->attr->in_place || r->row->scatter || ls_comm_piece_bytes(&r->parts[i], r->rank) == 0)
        return x;
    return x + (size_t)r->rank * r->parts[i].piece_bytes;
}

static ls_status open_run(const ls_launch *l, const ls_wire_fns *fns, int is_wait, run *r) {
    const ls_collective_attr *a = l->sig->attr;
    *r = (run){.launch = l, .row = ls_collective_of(l->sig->op), .attr = a, .fns = fns};
    r->rank = ls_comm_rank(l->comm);
    r->size = a->size;
    /* In place, x is where pending and y are. */
    r->x = !is_wait ? l->in : a->in_place ? l->out : l->in + a->n;
    if (ls_collective_is_staged(a)) r->staging = is_wait ? l->in[2 * a->n].data : l->out[a->n].data;
    for (int i = 0; i < a->n; i++) {
        r->parts[i] = ls_collective_part(r->row, a, i, r->x[i].dtype);
        r->parts[i].data = part_data(r, i);
    }
    if (is_wait) r->views = l->workspace;
    return check_group(r);
}

static ls_comm_call make_call(const run *r) {
    const ls_launch *l = r->launch;
    return (ls_comm_call){
        .op = r->row->name,
        .scope = l->scope ? l->scope : "",
        .step = l->position.step,
        .id = l->node,
        .dtype = r->x[0].dtype,
        .shape = r->x[0].shape,
        .ticket = r->attr->ticket,
        .scatter = r->row->scatter,
        .from = r->attr->from,
        .to = r->attr->to,
        .n_parts = r->attr->n,
        .parts = r->parts,
        .landing = r->staging ? r->staging + ls_collective_send_bytes(r->row, r->attr) : NULL,
    };
}

/* --- one loop over the tiles of several tensors ---------------------------------------------------------------------- */

typedef void (*tile_fn)(const run *r, int part, int64_t begin, int64_t count);

typedef struct tile_loop {
    const run *run;
    tile_fn fn;
    int64_t counts[LS_COMM_MAX_PARTS];    /* elements of each tensor */
    int64_t first[LS_COMM_MAX_PARTS + 1]; /* number of its first tile */
} tile_loop;

static ls_status run_tile(void *user, int64_t task, int worker) {
    const tile_loop *loop = user;
    int part = 0;
    (void)worker;
    while (task >= loop->first[part + 1]) part++;
    const int64_t begin = (task - loop->first[part]) * SUM_TASK;
    const int64_t left = loop->counts[part] - begin;
    loop->fn(loop->run, part, begin, left < SUM_TASK ? left : SUM_TASK);
    return LS_OK;
}

static ls_status run_tiles(tile_loop *loop) {
    const int n = loop->run->attr->n;
    for (int i = 0; i < n; i++)
        loop->first[i + 1] = loop->first[i] + (loop->counts[i] + SUM_TASK - 1) / SUM_TASK;
    return ls_pool_run(loop->run->launch->pool, loop->first[n], run_tile, loop);
}

/* --- start ----------------------------------------------------------------------------------------------------------- */

/* Elements of part i that I give: all members' pieces, or my own. */
static int64_t given_count(const run *r, int i) {
    const int64_t count = r->attr->counts[i];
    return r->row->scatter ? count
                           : ls_shard_count(count, ls_collective_piece(r->attr, i), r->rank);
}

static void encode_tile(const run *r, int part, int64_t begin, int64_t count) {
    char *out = r->staging + ls_collective_send_offset(r->row, r->attr, part);
    const int64_t first = r->row->scatter ? 0 : r->rank * ls_collective_piece(r->attr, part);
    r->fns->encode(r->attr->wire, (const float *)r->x[part].data + first + begin, count,
                   out + ls_wire_bytes(r->attr->wire, begin));
}

ls_status ls_collective_sum_start(const ls_launch *l, const ls_wire_fns *fns) {
    run r;
    LS_TRY(open_run(l, fns, 0, &r));
    if (r.attr->fast) return LS_OK;
    if (ls_collective_is_encoded(r.row, r.attr)) {
        tile_loop loop = {.run = &r, .fn = encode_tile};
        for (int i = 0; i < r.attr->n; i++) loop.counts[i] = given_count(&r, i);
        LS_TRY(run_tiles(&loop));
    }
    const ls_comm_call call = make_call(&r);
    if (!l->comm) return LS_OK;
    l->comm->step = call.step;
    return l->comm->ops->start(l->comm, &call);
}

ls_status ls_collective_copy_start(const ls_launch *l) {
    return ls_collective_sum_start(l, NULL);
}

/* --- wait: taking what the members gave ------------------------------------------------------------------------------ */

size_t ls_collective_wait_workspace(const ls_sig *sig, int n_threads) {
    const ls_collective_attr *a = sig->attr;
    (void)n_threads;
    return sizeof(ls_comm_view) * (size_t)a->size * (size_t)a->n;
}

static ls_comm_view *views_of(const run *r, int member) {
    return r->views + (int64_t)member * r->attr->n;
}

/* Bytes of part i that come to me from `member`. */
static size_t taken_bytes(const run *r, int i, int member) {
    return ls_comm_piece_bytes(&r->parts[i], r->row->scatter ? r->rank : member);
}

static ls_status take_from(const run *r, int member) {
    const ls_launch *l = r->launch;
    ls_comm_view *views = views_of(r, member);
    if (l->comm)
        LS_TRY(l->comm->ops->arrive(l->comm, r->attr->ticket, member, views));
    else
        for (int i = 0; i < r->attr->n; i++)
            views[i] = (ls_comm_view){r->parts[i].data, taken_bytes(r, i, member)};
    for (int i = 0; i < r->attr->n; i++)
        if (views[i].bytes != taken_bytes(r, i, member))
            return LS_FAIL(LS_ERR_COMM,
                           "%s of step %llu: rank %d gave %zu bytes of tensor %d, expected %zu",
                           r->row->name, (unsigned long long)l->position.step, member,
                           views[i].bytes, i, taken_bytes(r, i, member));
    return LS_OK;
}

/* Does this rank take anything from `member`? */
static int takes(const run *r, int member) {
    return (!r->row->from || member == r->attr->from) && (!r->row->to || r->rank == r->attr->to);
}

/* Starts with my neighbour, so that not all ask the same member at once. */
static ls_status take_all(const run *r) {
    for (int k = 1; k <= r->size; k++) {
        const int member = (r->rank + k) % r->size;
        if (takes(r, member)) LS_TRY(take_from(r, member));
    }
    return LS_OK;
}

static ls_status finish(const run *r) {
    ls_comm *comm = r->launch->comm;
    return comm ? comm->ops->finish(comm, r->attr->ticket) : LS_OK;
}

/* --- wait: copies ---------------------------------------------------------------------------------------------------- */

/* Copies `bytes`, then zeros up to room. */
static ls_status place(const run *r, char *to, const ls_comm_view *view, size_t room) {
    const size_t bytes = view ? view->bytes : 0;
    if (bytes > 0 && view->data != to) {
        const ls_block_copy copy = {to, view->data, bytes, 1, 0, 0};
        LS_TRY(ls_copy_blocks(r->launch->pool, &copy));
    }
    const ls_block_copy zeros = {to + bytes, NULL, room - bytes, 1, 0, 0};
    return ls_copy_blocks(r->launch->pool, &zeros);
}

/* What `member` gave, to its places in y. */
static ls_status place_from(const run *r, int member) {
    for (int i = 0; i < r->attr->n; i++) {
        const ls_comm_view *view = &views_of(r, member)[i];
        const size_t piece = r->parts[i].piece_bytes;
        char *y = r->launch->out[i].data;
        if (r->row->scatter)
            LS_TRY(place(r, y + (size_t)member * piece, view, piece));
        else if (view->bytes > 0)
            LS_TRY(
                place(r, r->row->is_in_pieces ? y + (size_t)member * piece : y, view, view->bytes));
    }
    return LS_OK;
}

ls_status ls_collective_copy_wait(const ls_launch *l) {
    run r;
    LS_TRY(open_run(l, NULL, 1, &r));
    LS_TRY(take_all(&r));
    for (int k = 1; k <= r.size; k++) {
        const int member = (r.rank + k) % r.size;
        if (takes(&r, member)) LS_TRY(place_from(&r, member));
    }
    for (int i = 0; r.row->to && r.rank != r.attr->to && i < r.attr->n; i++)
        LS_TRY(place(&r, l->out[i].data, NULL, ls_tensor_bytes(&l->out[i])));
    return finish(&r);
}

/* A sum of one operand is its value. */
static void decode_tile(const run *r, int part, int64_t begin, int64_t count) {
    const ls_wire_sum one = {.wire = r->attr->wire,
                             .encoded = 1,
                             .n = 1,
                             .stride = r->attr->n,
                             .views = views_of(r, r->member) + part};
    float *y = r->launch->out[part].data;
    r->fns->sum(&one, begin, count, y + r->member * ls_collective_piece(r->attr, part) + begin);
}

ls_status ls_collective_gather_start(const ls_launch *l, const ls_wire_fns *fns) {
    return ls_collective_sum_start(l, fns);
}

ls_status ls_collective_gather_wait(const ls_launch *l, const ls_wire_fns *fns) {
    run r;
    LS_TRY(open_run(l, fns, 1, &r));
    if (!ls_collective_is_encoded(r.row, r.attr)) return ls_collective_copy_wait(l);
    LS_TRY(take_all(&r));
    for (r.member = 0; r.member < r.size; r.member++) {
        if (r.member == r.rank) continue;
        tile_loop loop = {.run = &r, .fn = decode_tile};
        for (int i = 0; i < r.attr->n; i++)
            loop.counts[i] =
                ls_shard_count(r.attr->counts[i], ls_collective_piece(r.attr, i), r.member);
        LS_TRY(run_tiles(&loop));
    }
    return finish(&r);
}

/* --- wait: sums ------------------------------------------------------------------------------------------------------ */

/* Where my part of the sum begins in y: in place, y is the whole tensor. */
static float *sum_place(const run *r, int part) {
    float *y = r->launch->out[part].data;
    if (!r->attr->in_place) return y;
    return y + r->rank * ls_collective_piece(r->attr, part);
}

/* Exponent all ones? In integers, so that it is vectors. */
static int is_finite(const float *y, int64_t count) {
    uint32_t bad = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &y[i], sizeof bits);
        bad |= (uint32_t)((bits & 0x7f800000u) == 0x7f800000u);
    }
    return !bad;
}

static void sum_tile(const run *r, int part, int64_t begin, int64_t count) {
    const ls_wire_sum sum = {.wire = r->attr->wire,
                             .encoded = ls_collective_is_encoded(r->row, r->attr),
                             .n = r->size,
                             .stride = r->attr->n,
                             .views = r->views + part};
    float *y = sum_place(r, part) + begin;
    r->fns->sum(&sum, begin, count, y);
    if (!is_finite(y, count)) atomic_store_explicit(r->is_infinite, 1, memory_order_relaxed);
}

/* Element `at` of what a member gave me. */
static float given_element(const run *r, int member, int part, int64_t at) {
    const char *data = views_of(r, member)[part].data;
    const int64_t unit = at / LS_SHARD_UNIT * LS_SHARD_UNIT;
    float y[LS_SHARD_UNIT];
    if (!ls_collective_is_encoded(r->row, r->attr)) return ((const float *)(const void *)data)[at];
    ls_wire_decode(r->attr->wire, data + ls_wire_bytes(r->attr->wire, unit), at - unit + 1, y);
    return y[at - unit];
}

/* Whose is it? In place, mine was overwritten by the sum: it is mine when it is nobody else's. -1: of a sum of finite values. */
static int find_giver(const run *r, int part, int64_t at) {
    const int overwritten = r->attr->in_place && !ls_collective_is_encoded(r->row, r->attr);
    for (int m = 0; m < r->size; m++)
        if (!(overwritten && m == r->rank) && !isfinite(given_element(r, m, part, at))) return m;
    return overwritten ? r->rank : -1;
}

/* Only when a sum was not finite: says who gave it, for whoever asks why (ls_comm_suspect_report). */
static void note_suspect(const run *r, const int64_t *counts) {
    const ls_launch *l = r->launch;
    for (int part = 0; part < r->attr->n; part++)
        for (int64_t at = 0; at < counts[part]; at++) {
            if (isfinite(sum_place(r, part)[at])) continue;
            ls_comm_suspect found = {.member = find_giver(r, part, at),
                                     .step = l->position.step,
                                     .node = l->node,
                                     .tensor = part,
                                     .element = at};
            if (found.member < 0) continue;
            (void)snprintf(found.op, sizeof found.op, "%s", r->row->name);
            (void)snprintf(found.scope, sizeof found.scope, "%s", l->scope ? l->scope : "");
            ls_comm_suspect_note(l->comm, &found);
            return;
        }
}

static ls_status sum_fast(const run *r) {
    const ls_launch *l = r->launch;
    if (l->comm && !l->comm->ops->fast_all_reduce)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "transport %s makes no sums of its own, so there is no fast all-reduce; use "
                       "transport mpi or the exact mode",
                       l->comm->ops->name);
    ls_comm_call call = make_call(r);
    for (int i = 0; i < r->attr->n; i++) {
        const ls_comm_view x = {r->x[i].data, ls_tensor_bytes(&r->x[i])};
        LS_TRY(place(r, l->out[i].data, &x, x.bytes));
        call.shape = r->x[i].shape;
        call.n_parts = 1;
        call.parts = &r->parts[i];
        if (l->comm)
            LS_TRY(
                l->comm->ops->fast_all_reduce(l->comm, &call, l->out[i].data, r->attr->counts[i]));
    }
    return LS_OK;
}

ls_status ls_collective_sum_wait(const ls_launch *l, const ls_wire_fns *fns) {
    run r;
    LS_TRY(open_run(l, fns, 1, &r));
    if (r.attr->fast) return sum_fast(&r);
    LS_TRY(take_all(&r));
    atomic_int is_infinite = 0;
    r.is_infinite = &is_infinite;
    tile_loop loop = {.run = &r, .fn = sum_tile};
    for (int i = 0; i < r.attr->n; i++) {
        const int64_t piece = ls_collective_piece(r.attr, i), count = r.attr->counts[i];
        loop.counts[i] = r.row->scatter ? ls_shard_count(count, piece, r.rank) : count;
    }
    LS_TRY(run_tiles(&loop));
    if (l->comm && atomic_load(&is_infinite)) note_suspect(&r, loop.counts);
    for (int i = 0; r.row->scatter && !r.attr->in_place && i < r.attr->n; i++) {
        const size_t done = (size_t)loop.counts[i] * sizeof(float);
        const size_t whole = ls_tensor_bytes(&l->out[i]);
        LS_TRY(place(&r, (char *)l->out[i].data + done, NULL, whole - done));
    }
    return finish(&r);
}
