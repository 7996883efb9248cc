/* What collectives are: rows, attributes, types, sizes, builders. They run in collective_run.c. */
#include "op/collective_room.h"

static const ls_collective_row rows[LS_COLLECTIVE_COUNT] = {
    [LS_COLLECTIVE_ALL_GATHER] = {"all_gather", &ls_op_all_gather_start, &ls_op_all_gather_wait,
                                  .is_in_pieces = 1},
    [LS_COLLECTIVE_ALL_REDUCE] = {"all_reduce", &ls_op_all_reduce_start, &ls_op_all_reduce_wait,
                                  .sums = 1},
    [LS_COLLECTIVE_ALL_TO_ALL] = {"all_to_all", &ls_op_all_to_all_start, &ls_op_all_to_all_wait,
                                  .scatter = 1},
    [LS_COLLECTIVE_BROADCAST] = {"broadcast", &ls_op_broadcast_start, &ls_op_broadcast_wait,
                                 .from = 1},
    [LS_COLLECTIVE_REDUCE_SCATTER] = {"reduce_scatter", &ls_op_reduce_scatter_start,
                                      &ls_op_reduce_scatter_wait, .scatter = 1, .sums = 1,
                                      .is_in_pieces = 1},
    [LS_COLLECTIVE_SEND] = {"send", &ls_op_send, &ls_op_recv, .from = 1, .to = 1},
};

const ls_collective_row *ls_collective_row_of(ls_collective which) {
    return &rows[which];
}

const ls_collective_row *ls_collective_of(const ls_op *op) {
    for (int i = 0; i < LS_COLLECTIVE_COUNT; i++)
        if (rows[i].start == op || rows[i].wait == op) return &rows[i];
    return NULL;
}

int ls_collective_is_start(const ls_op *op) {
    const ls_collective_row *row = ls_collective_of(op);
    return row && row->start == op;
}

/* --- attributes ------------------------------------------------------------------------------------------------------ */

static int is_power_of_two(int n) {
    return n > 0 && (n & (n - 1)) == 0;
}

static ls_status check_member(const ls_collective_row *row, const ls_collective_attr *a,
                              const char *name, int member, int used) {
    if (used ? member >= 0 && member < a->size : member == -1) return LS_OK;
    if (!used)
        return LS_FAIL(LS_ERR_INVALID, "op %s: does not use %s, which must be -1, got %d",
                       row->name, name, member);
    return LS_FAIL(LS_ERR_INVALID, "op %s: %s must be a member, 0 to %d, got %d", row->name, name,
                   a->size - 1, member);
}

static ls_status check_cut(const ls_collective_row *row, const ls_collective_attr *a) {
    if (!is_power_of_two(a->size) || !is_power_of_two(a->lanes) || a->lanes % a->size != 0)
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: size and lanes must be powers of two, lanes a multiple of size; got "
                       "size %d, lanes %d",
                       row->name, a->size, a->lanes);
    if (a->unit < 0 || (row->sums && a->unit % LS_SHARD_UNIT != 0))
        return LS_FAIL(LS_ERR_INVALID, "op %s: unit must be 0 (%d) or %s, got %d", row->name,
                       LS_SHARD_UNIT, row->sums ? "a multiple of that for sums" : "positive",
                       a->unit);
    if (a->n < 1 || a->n > LS_COMM_MAX_PARTS)
        return LS_FAIL(LS_ERR_INVALID, "op %s: n must be 1 to %d tensors, got %d", row->name,
                       LS_COMM_MAX_PARTS, a->n);
    for (int i = 0; i < a->n; i++)
        if (a->counts[i] < 0)
            return LS_FAIL(LS_ERR_INVALID, "op %s: counts[%d] must not be negative, got %lld",
                           row->name, i, (long long)a->counts[i]);
    return LS_OK;
}

static ls_status check_attr(const ls_collective_row *row, const ls_collective_attr *a) {
    LS_TRY(check_cut(row, a));
    const int rounded = row->sums || (row == &rows[LS_COLLECTIVE_ALL_GATHER] && a->in_place);
    if (a->wire < 0 || a->wire >= LS_WIRE_COUNT || (!rounded && a->wire != LS_WIRE_F32))
        return LS_FAIL(LS_ERR_INVALID, "op %s: wire must be %s, got %d", row->name,
                       rounded ? "0 to 2 (f32, bf16, int8)" : "0 (bytes travel as they are)",
                       a->wire);
    if (a->ticket < 0 || a->ticket >= LS_COMM_MAX_TICKETS)
        return LS_FAIL(LS_ERR_INVALID, "op %s: ticket must be 0 to %d, got %d", row->name,
                       LS_COMM_MAX_TICKETS - 1, a->ticket);
    if (a->in_place && !row->is_in_pieces)
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: has no in_place; only all_gather and reduce_scatter do", row->name);
    if (a->fast && (row != &rows[LS_COLLECTIVE_ALL_REDUCE] || a->wire != LS_WIRE_F32))
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: fast is for all_reduce with wire f32 (sums made by the transport), "
                       "got wire %d",
                       row->name, a->wire);
    LS_TRY(check_member(row, a, "from", a->from, row->from));
    return check_member(row, a, "to", a->to, row->to);
}

/* --- sizes ----------------------------------------------------------------------------------------------------------- */

int64_t ls_collective_piece(const ls_collective_attr *a, int i) {
    const int64_t unit = a->unit ? a->unit : LS_SHARD_UNIT;
    const int64_t units = (a->counts[i] + unit - 1) / unit;
    return (units + a->lanes - 1) / a->lanes * unit * (a->lanes / a->size);
}

int ls_collective_is_encoded(const ls_collective_row *row, const ls_collective_attr *a) {
    return a->staged && a->wire != LS_WIRE_F32 &&
           ((row->sums && row->scatter) || row == &rows[LS_COLLECTIVE_ALL_GATHER]);
}

int ls_collective_is_staged(const ls_collective_attr *a) {
    return a->staged && !a->fast;
}

ls_comm_part ls_collective_part(const ls_collective_row *row, const ls_collective_attr *a, int i,
                                ls_dtype dtype) {
    const size_t element = ls_dtype_bytes(dtype);
    const size_t whole = (size_t)a->counts[i] * element;
    const int64_t piece = ls_collective_piece(a, i);
    if (ls_collective_is_encoded(row, a))
        return (ls_comm_part){NULL, ls_wire_bytes(a->wire, a->counts[i]),
                              ls_wire_bytes(a->wire, piece)};
    if (row->scatter || row->is_in_pieces)
        return (ls_comm_part){NULL, whole, (size_t)piece * element};
    return (ls_comm_part){NULL, whole * (size_t)a->size, whole};
}

static size_t align_64(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

size_t ls_collective_send_offset(const ls_collective_row *row, const ls_collective_attr *a, int i) {
    size_t at = 0;
    for (int k = 0; k < i && ls_collective_is_encoded(row, a); k++)
        at += align_64(
            ls_wire_bytes(a->wire, row->scatter ? a->counts[k] : ls_collective_piece(a, k)));
    return at;
}

size_t ls_collective_send_bytes(const ls_collective_row *row, const ls_collective_attr *a) {
    return ls_collective_send_offset(row, a, a->n);
}

size_t ls_collective_staging_bytes(const ls_collective_row *row, const ls_collective_attr *a,
                                   const ls_type *x) {
    ls_comm_part parts[LS_COMM_MAX_PARTS];
    for (int i = 0; i < a->n; i++) parts[i] = ls_collective_part(row, a, i, x[i].dtype);
    const ls_comm_call call = {.op = row->name,
                               .scatter = row->scatter,
                               .from = a->from,
                               .to = a->to,
                               .n_parts = a->n,
                               .parts = parts};
    return ls_collective_send_bytes(row, a) + ls_comm_landing_bytes(&call, a->size);
}

/* --- types ----------------------------------------------------------------------------------------------------------- */

static ls_type flat(ls_dtype dtype, int64_t count) {
    return (ls_type){dtype, {1, {count}}};
}

static ls_status check_x(const ls_collective_row *row, const ls_collective_attr *a, int i,
                         const ls_type *x) {
    const int64_t piece = ls_collective_piece(a, i);
    char shape[128];
    if ((row->sums || a->wire != LS_WIRE_F32) && x->dtype != LS_DTYPE_F32)
        return LS_FAIL(LS_ERR_INVALID, "op %s: sums are of f32, x %d is %s", row->name, i,
                       ls_dtype_name(x->dtype));
    if (row == &rows[LS_COLLECTIVE_ALL_GATHER] && !a->in_place) {
        if (x->shape.n_dims == 1 && x->shape.dims[0] == piece) return LS_OK;
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: x %d must be a piece [%lld] of %lld elements, got %s", row->name, i,
                       (long long)piece, (long long)a->counts[i], ls_shape_print(&x->shape, shape));
    }
    if (ls_type_count(x) == a->counts[i]) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: x %d must have counts[%d] = %lld elements, got %s",
                   row->name, i, i, (long long)a->counts[i], ls_shape_print(&x->shape, shape));
}

static ls_type result_type(const ls_collective_row *row, const ls_collective_attr *a, int i,
                           const ls_type *x) {
    const int64_t piece = ls_collective_piece(a, i);
    if (a->in_place) return *x;
    if (row == &rows[LS_COLLECTIVE_REDUCE_SCATTER]) return flat(x->dtype, piece);
    if (row == &rows[LS_COLLECTIVE_ALL_GATHER]) return flat(x->dtype, a->counts[i]);
    if (row == &rows[LS_COLLECTIVE_ALL_TO_ALL]) return flat(x->dtype, piece * a->size);
    return *x;
}

ls_status ls_collective_infer_start(ls_collective which, const void *attr, int n_in,
                                    const ls_type *in, int *n_out, ls_type *out) {
    const ls_collective_row *row = &rows[which];
    const ls_collective_attr *a = attr;
    LS_TRY(check_attr(row, a));
    if (n_in != a->n)
        return LS_FAIL(LS_ERR_INVALID, "op %s: with n = %d it takes as many tensors, got %d",
                       row->start->name, a->n, n_in);
    for (int i = 0; i < a->n; i++) {
        LS_TRY(check_x(row, a, i, &in[i]));
        out[i] = result_type(row, a, i, &in[i]);
    }
    *n_out = a->n;
    if (ls_collective_is_staged(a))
        out[(*n_out)++] = flat(LS_DTYPE_U8, (int64_t)ls_collective_staging_bytes(row, a, in));
    return LS_OK;
}

ls_status ls_collective_infer_wait(ls_collective which, const void *attr, int n_in,
                                   const ls_type *in, int *n_out, ls_type *out) {
    const ls_collective_row *row = &rows[which];
    const ls_collective_attr *a = attr;
    ls_type made[LS_MAX_OUT];
    char got[128], want[128];
    int n_made;
    LS_TRY(check_attr(row, a));
    if (n_in != 2 * a->n + ls_collective_is_staged(a))
        return LS_FAIL(
            LS_ERR_INVALID, "op %s: with n = %d it takes n pending, n x%s, got %d inputs",
            row->wait->name, a->n, ls_collective_is_staged(a) ? " and the staging" : "", n_in);
    LS_TRY(ls_collective_infer_start(which, attr, a->n, in + a->n, &n_made, made));
    for (int i = 0; i < n_made; i++) {
        const ls_type *pending = i < a->n ? &in[i] : &in[2 * a->n];
        if (pending->dtype != made[i].dtype || !ls_shape_equal(&pending->shape, &made[i].shape))
            return LS_FAIL(LS_ERR_INVALID, "op %s: result %d of %s must be %s%s, got %s%s",
                           row->wait->name, i, row->start->name, ls_dtype_name(made[i].dtype),
                           ls_shape_print(&made[i].shape, want), ls_dtype_name(pending->dtype),
                           ls_shape_print(&pending->shape, got));
        out[i] = made[i];
    }
    *n_out = a->n;
    return LS_OK;
}

int ls_collective_alias(const ls_sig *sig, int i) {
    const ls_collective_attr *a = sig->attr;
    const int is_wait = sig->n_in > a->n;
    return i < a->n && (is_wait || a->in_place) ? i : -1;
}

/* Bytes that pass through this rank's compute threads. */
void ls_collective_cost(const ls_sig *sig, ls_cost *out) {
    const ls_collective_row *row = ls_collective_of(sig->op);
    const ls_collective_attr *a = sig->attr;
    const int is_wait = sig->op == row->wait;
    const ls_type *x = sig->in + (is_wait ? a->n : 0);
    *out = (ls_cost){0};
    for (int i = 0; i < a->n; i++) {
        const ls_comm_part part = ls_collective_part(row, a, i, x[i].dtype);
        if (is_wait) {
            const size_t taken = row->scatter ? part.piece_bytes * (size_t)a->size
                                 : row->from  ? part.piece_bytes
                                              : part.bytes;
            const size_t mine = a->in_place && row->scatter
                                    ? (size_t)ls_collective_piece(a, i) * sizeof(float)
                                    : ls_type_bytes(&sig->out[i]);
            out->bytes_read += (double)taken;
            out->bytes_written += (double)mine;
            if (row->sums)
                out->flops += (double)(a->size - 1) * (double)mine / (double)sizeof(float);
        } else if (ls_collective_is_encoded(row, a)) {
            out->bytes_read += (double)ls_type_bytes(&x[i]);
            out->bytes_written += (double)part.bytes;
        }
    }
}

void ls_collective_print(const void *attr, ls_text *out) {
    const ls_collective_attr *a = attr;
    ls_text_append(out,
                   "size=%d lanes=%d wire=%d staged=%d in_place=%d fast=%d ticket=%d from=%d "
                   "to=%d unit=%d n=%d counts=",
                   a->size, a->lanes, a->wire, a->staged, a->in_place, a->fast, a->ticket, a->from,
                   a->to, a->unit, a->n);
    for (int i = 0; i < a->n; i++)
        ls_text_append(out, "%s%lld", i ? "," : "", (long long)a->counts[i]);
}

/* --- builders -------------------------------------------------------------------------------------------------------- */

static ls_status check_builder(const ls_op *op, int wants_start, const ls_collective_attr *attr) {
    const ls_collective_row *row = ls_collective_of(op);
    if (!row || op != (wants_start ? row->start : row->wait))
        return LS_FAIL(LS_ERR_INVALID, "op %s is not the %s of a collective", op->name,
                       wants_start ? "start" : "wait");
    return check_cut(row, attr);
}

ls_status ls_collective_start(ls_graph *graph, const ls_op *start_op,
                              const ls_collective_attr *attr, const ls_value *x,
                              ls_value *pending_out) {
    LS_TRY(check_builder(start_op, 1, attr));
    for (int i = 0; i <= attr->n; i++) pending_out[i] = LS_VALUE_NONE;
    ls_graph_node(graph, start_op, attr, x, attr->n, pending_out);
    return ls_graph_status(graph);
}

ls_status ls_collective_wait(ls_graph *graph, const ls_op *wait_op, const ls_collective_attr *attr,
                             const ls_value *x, const ls_value *pending, ls_value *y_out) {
    ls_value in[2 * LS_COMM_MAX_PARTS + 1];
    LS_TRY(check_builder(wait_op, 0, attr));
    for (int i = 0; i < attr->n; i++) {
        in[i] = pending[i];
        in[attr->n + i] = x[i];
    }
    in[2 * attr->n] = pending[attr->n];
    ls_graph_node(graph, wait_op, attr, in, 2 * attr->n + ls_collective_is_staged(attr), y_out);
    return ls_graph_status(graph);
}
