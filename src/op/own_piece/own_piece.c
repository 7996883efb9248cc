/* own_piece: y = x[member * piece : (member + 1) * piece], flat, zeros past the end of x.
 *
 * A view: y is x's memory, at a place that depends on the member (ls_op.alias_stride). The planner gives x room for whole pieces of
 * every member, so the view of the last ones ends within it; that room is zero and stays so. */
#include "op/own_piece/own_piece.h"

#include <string.h>

#include "comm/comm.h"
#include "op/op.h"

static int64_t piece_of(const ls_own_piece_attr *a) {
    return ls_shard_piece(a->count, a->lanes, a->size);
}

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_own_piece_attr *a = attr;
    (void)n_in;
    if (a->size < 1 || a->lanes < a->size || a->lanes % a->size)
        return LS_FAIL(LS_ERR_INVALID,
                       "op own_piece: %d members of %d lanes; lanes must be a multiple of members",
                       a->size, a->lanes);
    if (ls_type_count(&in[0]) != a->count)
        return LS_FAIL(LS_ERR_INVALID, "op own_piece: x has %lld elements, the attribute says %lld",
                       (long long)ls_type_count(&in[0]), (long long)a->count);
    *n_out = 1;
    out[0] = (ls_type){in[0].dtype, {.n_dims = 1, .dims = {piece_of(a)}}};
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    (void)sig;
    *out = (ls_cost){0};
}

static void print(const void *attr, ls_text *out) {
    const ls_own_piece_attr *a = attr;
    ls_text_append(out, "count=%lld lanes=%d size=%d", (long long)a->count, a->lanes, a->size);
}

static int alias(const ls_sig *sig, int i) {
    (void)sig, (void)i;
    return 0;
}

static size_t alias_stride(const ls_sig *sig, int i) {
    (void)i;
    return (size_t)piece_of(sig->attr) * ls_dtype_bytes(sig->in[0].dtype);
}

/* Nothing to do where the result is the input's memory, as planned. */
static ls_status launch_ref(const ls_launch *l) {
    const ls_own_piece_attr *a = l->sig->attr;
    const size_t size = ls_dtype_bytes(l->in[0].dtype);
    const int64_t piece = piece_of(a);
    const int member = ls_comm_rank(l->comm);
    const char *from = (const char *)l->in[0].data + (size_t)(member * piece) * size;
    if (l->out[0].data == (const void *)from) return LS_OK;
    const size_t bytes = (size_t)ls_shard_count(a->count, piece, member) * size;
    memcpy(l->out[0].data, from, bytes);
    memset((char *)l->out[0].data + bytes, 0, (size_t)piece * size - bytes);
    return LS_OK;
}

static const ls_kernel own_piece_ref = {
    .name = "own_piece_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {&own_piece_ref, NULL};

const ls_op ls_op_own_piece = {.name = "own_piece",
                               .min_in = 1,
                               .max_in = 1,
                               .attr_bytes = sizeof(ls_own_piece_attr),
                               .flags = LS_OP_KEEP_F32,
                               .infer = infer,
                               .cost = cost,
                               .print = print,
                               .alias = alias,
                               .alias_stride = alias_stride,
                               .kernels = kernels};

ls_value ls_own_piece(ls_graph *graph, ls_value x, const ls_own_piece_attr *attr) {
    return ls_graph_node(graph, &ls_op_own_piece, attr, &x, 1, NULL);
}
