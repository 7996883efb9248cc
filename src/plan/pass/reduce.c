/* Sums over the members of the data-parallel group, each in the order of the lane tree. */
#include <stdlib.h>

#include "op/cast/cast.h"
#include "op/op.h"
#include "op/sum_squares/sum_squares.h"
#include "plan/pass/data_parallel.h"
#include "plan/pass/replace.h"

/* --- zero 2 and 3: as soon as a lane has made them --- */

static ls_status finish_reduce(dp_pass *p, dp_bucket *b) {
    if (!b) return LS_OK;
    LS_TRY(ls_dp_wait(p, b, &ls_op_reduce_scatter_wait));
    for (int i = 0; i < b->attr.n; i++) p->reduced[b->from[i]] = b->y[i];
    return LS_OK;
}

/* One bucket is under way while the next fills. */
static ls_status start_reduce(dp_pass *p) {
    if (!p->open) return LS_OK;
    LS_TRY(ls_dp_start(p, p->open, &ls_op_reduce_scatter_start));
    LS_TRY(finish_reduce(p, p->under_way));
    p->under_way = p->open;
    p->open = NULL;
    return LS_OK;
}

static ls_status add_gradient(dp_pass *p, ls_value source) {
    const ls_type *type = &p->from->values[source].type;
    const ls_value x = ls_cast(p->to, p->map[source], LS_DTYPE_F32);
    LS_TRY(ls_graph_status(p->to));
    if (p->open && ls_dp_bucket_is_full(p, p->open, 4 * ls_type_count(type)))
        LS_TRY(start_reduce(p));
    if (!p->open) {
        if (!(p->open = ls_dp_bucket_open(p))) return LS_ERR_NO_MEMORY;
        p->open->attr.wire = (int)p->o->wire;
    }
    return ls_dp_bucket_add(p, p->open, source, x, ls_type_count(type));
}

ls_status ls_dp_after_lane_node(dp_pass *p, const ls_node *node) {
    if (p->o->zero < 2 || !p->o->training) return LS_OK;
    for (int i = 0; i < node->n_out; i++)
        if (p->grad_source[node->out[i]]) LS_TRY(add_gradient(p, node->out[i]));
    return LS_OK;
}

/* In memory that peers may read: what a lane leaves for its backward pass stays out of it. */
static ls_value copy_number(dp_pass *p, ls_value source) {
    const ls_cast_attr attr = {.dtype = LS_DTYPE_F32};
    return ls_graph_node(p->to, &ls_op_cast, &attr, &p->map[source], 1, NULL);
}

/* Loss, counts and statistics: everybody needs them whole. Of this round of lanes (zero 2, 3), or of all my lanes. */
static ls_status reduce_numbers(dp_pass *p) {
    const int per_lane = p->o->zero >= 2;
    dp_bucket *b = NULL;
    for (int64_t v = 0; v <= p->from->n_values; v++) {
        const ls_value_info *info = v < p->from->n_values ? &p->from->values[v] : NULL;
        const int last = info == NULL;
        if (!last && (info->kind != LS_VALUE_ACCUM || ls_dp_is_gradient(info))) continue;
        if (b && (last || b->attr.n == LS_COMM_MAX_PARTS)) {
            LS_TRY(ls_dp_start(p, b, &ls_op_all_reduce_start));
            LS_TRY(ls_dp_wait(p, b, &ls_op_all_reduce_wait));
            for (int i = 0; i < b->attr.n; i++) p->reduced[b->from[i]] = b->y[i];
            b = NULL;
        }
        if (last) break;
        if (!b && !(b = ls_dp_bucket_open(p))) return LS_ERR_NO_MEMORY;
        const ls_value x = per_lane ? copy_number(p, info->source) : p->map[v];
        LS_TRY(ls_dp_bucket_add(p, b, info->source, x, ls_type_count(&info->type)));
    }
    return LS_OK;
}

ls_status ls_dp_end_lanes(dp_pass *p) {
    ls_graph_set_phase(p->to, LS_PHASE_BACKWARD);
    LS_TRY(start_reduce(p));
    LS_TRY(finish_reduce(p, p->under_way));
    p->under_way = NULL;
    ls_graph_set_scope(p->to, "lane sums");
    return reduce_numbers(p);
}

/* --- zero 0 and 1: once a step --- */

typedef struct ready_grad {
    ls_value accum;
    int32_t made; /* node: position in the backward pass */
} ready_grad;

static int by_position(const void *a, const void *b) {
    const ready_grad *x = a, *y = b;
    if (x->made != y->made) return x->made < y->made ? -1 : 1;
    return (x->accum > y->accum) - (x->accum < y->accum);
}

/* Gradient sums in the order in which the last lane completes them. */
static ls_status list_gradients(dp_pass *p, ready_grad **out, int *n_out) {
    ready_grad *list = ls_arena_alloc(p->arena, sizeof *list * (size_t)(p->from->n_values + 1));
    if (!list) return LS_ERR_NO_MEMORY;
    int n = 0;
    for (int64_t v = 0; v < p->from->n_values; v++) {
        const ls_value_info *info = &p->from->values[v];
        if (ls_dp_is_gradient(info))
            list[n++] = (ready_grad){(ls_value)v, p->from->values[info->source].node};
    }
    qsort(list, (size_t)n, sizeof *list, by_position);
    *out = list;
    *n_out = n;
    return LS_OK;
}

static const ls_op *start_op(const dp_pass *p) {
    return p->o->fast ? &ls_op_all_reduce_start : &ls_op_reduce_scatter_start;
}

/* Starts every bucket; each may run as soon as the last lane has made what is in it. */
static ls_status start_buckets(dp_pass *p, dp_bucket **buckets, int *n_out) {
    ready_grad *list;
    int n;
    LS_TRY(list_gradients(p, &list, &n));
    *n_out = 0;
    for (int i = 0; i < n; i++) {
        const int64_t count = ls_type_count(&p->from->values[list[i].accum].type);
        if (*n_out == 0 || ls_dp_bucket_is_full(p, buckets[*n_out - 1], 4 * count)) {
            dp_bucket *b = ls_dp_bucket_open(p);
            if (!b) return LS_ERR_NO_MEMORY;
            b->attr.wire = (int)p->o->wire;
            b->attr.fast = p->o->fast;
            b->attr.in_place = !p->o->fast;
            buckets[(*n_out)++] = b;
        }
        LS_TRY(
            ls_dp_bucket_add(p, buckets[*n_out - 1], list[i].accum, p->map[list[i].accum], count));
    }
    for (int b = 0; b < *n_out; b++) {
        LS_TRY(ls_dp_start(p, buckets[b], start_op(p)));
        p->to->nodes[p->to->n_nodes - 1].bucket = b + 1;
    }
    return LS_OK;
}

/* My sums go to everybody, in place. */
static ls_status gather_sums(dp_pass *p, dp_bucket *reduced, dp_bucket **out) {
    dp_bucket *b = ls_dp_bucket_open(p);
    if (!b) return LS_ERR_NO_MEMORY;
    b->attr.in_place = 1;
    b->attr.wire = (int)p->o->wire; /* the sums are rounded to it */
    for (int i = 0; i < reduced->attr.n; i++)
        LS_TRY(ls_dp_bucket_add(p, b, reduced->from[i], reduced->y[i], reduced->attr.counts[i]));
    *out = b;
    return ls_dp_start(p, b, &ls_op_all_gather_start);
}

static ls_status finish_buckets(dp_pass *p, dp_bucket **buckets, int n) {
    const int gathers = p->o->zero == 0 && !p->o->fast;
    for (int b = 0; b < n; b++) {
        LS_TRY(ls_dp_wait(p, buckets[b],
                          p->o->fast ? &ls_op_all_reduce_wait : &ls_op_reduce_scatter_wait));
        for (int i = 0; i < buckets[b]->attr.n; i++)
            p->map[buckets[b]->from[i]] =
                p->o->zero == 1 ? ls_dp_piece(p, buckets[b]->y[i], buckets[b]->attr.counts[i])
                                : buckets[b]->y[i];
        if (gathers) LS_TRY(gather_sums(p, buckets[b], &buckets[b]));
    }
    for (int b = 0; gathers && b < n; b++) {
        LS_TRY(ls_dp_wait(p, buckets[b], &ls_op_all_gather_wait));
        for (int i = 0; i < buckets[b]->attr.n; i++) p->map[buckets[b]->from[i]] = buckets[b]->y[i];
    }
    return LS_OK;
}

/* Sums that every rank needs, under the name by which they are known. */
static ls_status publish_numbers(dp_pass *p) {
    LS_TRY(reduce_numbers(p));
    for (int64_t v = 0; v < p->from->n_values; v++) {
        const ls_value_info *info = &p->from->values[v];
        if (info->kind != LS_VALUE_ACCUM || ls_dp_is_gradient(info)) continue;
        p->map[v] = p->reduced[info->source];
        LS_TRY(ls_graph_output(p->to, info->name, p->map[v]));
    }
    return LS_OK;
}

static ls_status reduce_sums(dp_pass *p) {
    dp_bucket **buckets =
        ls_arena_alloc(p->arena, sizeof *buckets * (size_t)(p->from->n_values + 1));
    if (!buckets) return LS_ERR_NO_MEMORY;
    int n = 0;
    LS_TRY(start_buckets(p, buckets, &n));
    LS_TRY(publish_numbers(p));
    return finish_buckets(p, buckets, n);
}

ls_status ls_dp_begin_update(dp_pass *p) {
    ls_graph_set_phase(p->to, LS_PHASE_UPDATE);
    ls_graph_set_unit(p->to, -1);
    ls_graph_set_scope(p->to, "gradients");
    if (p->o->zero <= 1) LS_TRY(reduce_sums(p));
    for (int64_t v = 0; v < p->from->n_values; v++)
        if (p->in_place[v])
            p->map[v] = ls_dp_piece(p, p->map[v], ls_type_count(&p->from->values[v].type));
    return ls_graph_status(p->to);
}

/* --- sums of squares of pieces --- */

static ls_status gather_norms(dp_pass *p) {
    dp_bucket *b = p->norms;
    if (!b) return LS_OK;
    p->norms = NULL;
    LS_TRY(ls_dp_start(p, b, &ls_op_all_gather_start));
    LS_TRY(ls_dp_wait(p, b, &ls_op_all_gather_wait));
    for (int i = 0; i < b->attr.n; i++) p->map[b->from[i]] = b->y[i];
    return LS_OK;
}

ls_status ls_dp_before_update_node(dp_pass *p, const ls_node *node) {
    int waits = 0;
    for (int i = 0; p->norms && i < node->n_in; i++)
        for (int k = 0; k < p->norms->attr.n; k++) waits |= p->norms->from[k] == node->in[i];
    return waits ? gather_norms(p) : LS_OK;
}

ls_status ls_dp_sum_squares(dp_pass *p, const ls_node *node, int *handled) {
    *handled = 0;
    if (node->op != &ls_op_sum_squares || p->o->zero == 0 || !p->o->training) return LS_OK;
    ls_sum_squares_attr attr = *(const ls_sum_squares_attr *)node->attr;
    attr.size = p->o->size;
    const ls_value x = p->map[node->in[0]];
    const ls_value sums = ls_graph_node(p->to, node->op, &attr, &x, 1, NULL);
    LS_TRY(ls_graph_status(p->to));
    if (p->norms && p->norms->attr.n == LS_COMM_MAX_PARTS) LS_TRY(gather_norms(p));
    if (!p->norms) {
        if (!(p->norms = ls_dp_bucket_open(p))) return LS_ERR_NO_MEMORY;
        p->norms->attr.unit = 1;
    }
    *handled = 1;
    return ls_dp_bucket_add(p, p->norms, node->out[0], sums, p->o->lanes);
}
