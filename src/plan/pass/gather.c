/* What lane nodes read of tensors that ranks keep in pieces: gathered once a step (zero 1, 2) or run by run (zero 3). A run is a row of
 * lane nodes of one phase and unit. */
#include "op/op.h"
#include "op/reshape/reshape.h"
#include "plan/pass/data_parallel.h"
#include "plan/pass/replace.h"

static int is_lane_node(const ls_node *node) {
    return node->phase == LS_PHASE_FORWARD || node->phase == LS_PHASE_BACKWARD;
}

ls_status ls_dp_find_runs(dp_pass *p) {
    const ls_graph *g = p->from;
    p->node_run = ls_arena_alloc(p->arena, sizeof(int) * (size_t)(g->n_nodes + 1));
    if (!p->node_run) return LS_ERR_NO_MEMORY;
    const ls_node *last = NULL;
    for (int64_t n = 0; n < g->n_nodes; n++) {
        const ls_node *node = &g->nodes[n];
        p->node_run[n] = -1;
        if (!is_lane_node(node)) continue;
        if (!last || last->phase != node->phase || last->unit != node->unit) p->n_runs++;
        p->node_run[n] = p->n_runs - 1;
        last = node;
    }
    p->run_buckets = ls_arena_alloc(p->arena, sizeof *p->run_buckets * (size_t)(p->n_runs + 1));
    p->run_n = ls_arena_alloc(p->arena, sizeof(int) * (size_t)(p->n_runs + 1));
    return p->run_buckets && p->run_n ? LS_OK : LS_ERR_NO_MEMORY;
}

/* Old values that nodes of `run` (-1: of any run) read as whole tensors, each once; `seen` is cleared for those found. */
static int list_needed(const dp_pass *p, int run, char *seen, ls_value *out) {
    const ls_graph *g = p->from;
    int n_out = 0;
    for (int64_t n = 0; n < g->n_nodes; n++) {
        const ls_node *node = &g->nodes[n];
        if (p->node_run[n] < 0 || (run >= 0 && p->node_run[n] != run)) continue;
        for (int i = 0; i < node->n_in; i++) {
            const ls_value v = node->in[i];
            if (!p->sharded[v] || seen[v]) continue;
            seen[v] = 1;
            out[n_out++] = v;
        }
    }
    return n_out;
}

/* Starts gathers of the listed values in buckets; returns them linked in an array of at most n. */
static ls_status start_gathers(dp_pass *p, const ls_value *values, int n, dp_bucket **out,
                               int *n_out) {
    *n_out = 0;
    for (int i = 0; i < n; i++) {
        const ls_value_info *info = &p->from->values[values[i]];
        const int64_t bytes = (int64_t)ls_type_bytes(&info->type);
        const int in_place = p->in_place[values[i]];
        if (*n_out == 0 || out[*n_out - 1]->attr.in_place != in_place ||
            ls_dp_bucket_is_full(p, out[*n_out - 1], bytes)) {
            if (!(out[*n_out] = ls_dp_bucket_open(p))) return LS_ERR_NO_MEMORY;
            out[(*n_out)++]->attr.in_place = in_place;
        }
        LS_TRY(ls_dp_bucket_add(p, out[*n_out - 1], values[i], p->map[values[i]],
                                ls_type_count(&info->type)));
    }
    for (int b = 0; b < *n_out; b++) LS_TRY(ls_dp_start(p, out[b], &ls_op_all_gather_start));
    return LS_OK;
}

static ls_status finish_gather(dp_pass *p, dp_bucket *b, int run) {
    LS_TRY(ls_dp_wait(p, b, &ls_op_all_gather_wait));
    for (int i = 0; i < b->attr.n; i++) {
        const ls_value v = b->from[i];
        p->whole[v] = ls_reshape(p->to, b->y[i], p->from->values[v].type.shape);
        p->whole_run[v] = run;
    }
    return ls_graph_status(p->to);
}

/* Zero 1 and 2: everything, in phase PREPARE, each wait as late as its neighbour's start. */
static ls_status gather_all(dp_pass *p) {
    const size_t n = (size_t)p->from->n_values + 1;
    char *seen = ls_arena_alloc(p->arena, n);
    ls_value *list = ls_arena_alloc(p->arena, n * sizeof *list);
    dp_bucket **buckets = ls_arena_alloc(p->arena, n * sizeof *buckets);
    if (!seen || !list || !buckets) return LS_ERR_NO_MEMORY;
    const int n_list = list_needed(p, -1, seen, list);
    int n_buckets = 0;
    ls_graph_set_phase(p->to, LS_PHASE_PREPARE);
    ls_graph_set_scope(p->to, "weights");
    LS_TRY(start_gathers(p, list, n_list, buckets, &n_buckets));
    for (int b = 0; b < n_buckets; b++) LS_TRY(finish_gather(p, buckets[b], 0));
    p->gathered_all = 1;
    return LS_OK;
}

/* Zero 3: starts what run `run` needs and the run before it has not got. */
static ls_status start_run(dp_pass *p, int run) {
    if (run >= p->n_runs || p->run_buckets[run]) return LS_OK;
    const size_t n = (size_t)p->from->n_values + 1;
    char *seen = ls_arena_alloc(p->arena, n);
    ls_value *list = ls_arena_alloc(p->arena, n * sizeof *list);
    if (!seen || !list) return LS_ERR_NO_MEMORY;
    const int before = run > 0 ? list_needed(p, run - 1, seen, list) : 0;
    for (int i = 0; i < before; i++)
        if (p->whole_run[list[i]] != run - 1) seen[list[i]] = 0;
    const int n_list = list_needed(p, run, seen, list);
    dp_bucket **buckets = ls_arena_alloc(p->arena, sizeof *buckets * (size_t)(n_list + 1));
    if (!buckets) return LS_ERR_NO_MEMORY;
    LS_TRY(start_gathers(p, list, n_list, buckets, &p->run_n[run]));
    /* One array per run: the first element says where the rest is. */
    dp_bucket *head = ls_arena_alloc(p->arena, sizeof *head * (size_t)(p->run_n[run] + 1));
    if (!head) return LS_ERR_NO_MEMORY;
    for (int b = 0; b < p->run_n[run]; b++) head[b] = *buckets[b];
    p->run_buckets[run] = head;
    return LS_OK;
}

static ls_phase phase_of_run(const dp_pass *p, int run) {
    for (int64_t n = 0; n < p->from->n_nodes; n++)
        if (p->node_run[n] == run) return p->from->nodes[n].phase;
    return LS_PHASE_COUNT;
}

/* What the run before has and this one still reads stays. */
static void keep_from_before(dp_pass *p, int run) {
    for (int64_t n = 0; n < p->from->n_nodes; n++) {
        if (p->node_run[n] != run) continue;
        const ls_node *node = &p->from->nodes[n];
        for (int i = 0; i < node->n_in; i++)
            if (p->sharded[node->in[i]] && p->whole_run[node->in[i]] == run - 1)
                p->whole_run[node->in[i]] = run;
    }
}

/* Enters a run: its weights are waited for, the next run's are asked for (within a phase: a segment's scratch holds them). */
static ls_status enter_run(dp_pass *p, int run) {
    const ls_phase phase = phase_of_run(p, run);
    if (run > 0 && phase_of_run(p, run - 1) == phase) keep_from_before(p, run);
    LS_TRY(start_run(p, run));
    for (int b = 0; b < p->run_n[run]; b++) LS_TRY(finish_gather(p, &p->run_buckets[run][b], run));
    if (run + 1 < p->n_runs && phase_of_run(p, run + 1) == phase) LS_TRY(start_run(p, run + 1));
    p->run = run;
    return LS_OK;
}

ls_status ls_dp_before_lane_node(dp_pass *p, const ls_node *node, int64_t index) {
    if (p->o->zero == 0) return LS_OK;
    if (p->o->zero < 3 && !p->gathered_all) LS_TRY(gather_all(p));
    if (p->o->zero == 3 && p->node_run[index] != p->run) LS_TRY(enter_run(p, p->node_run[index]));
    ls_graph_set_phase(p->to, node->phase);
    ls_graph_set_unit(p->to, node->unit);
    ls_graph_set_scope(p->to, node->scope);
    return LS_OK;
}

ls_status ls_dp_emit_with_whole(dp_pass *p, const ls_node *node) {
    ls_value *in = ls_alloc(sizeof *in * (size_t)(node->n_in + 1));
    if (!in) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < node->n_in; i++)
        in[i] = p->sharded[node->in[i]] ? p->whole[node->in[i]] : p->map[node->in[i]];
    ls_value made[LS_MAX_OUT];
    ls_graph_node(p->to, node->op, node->attr, in, node->n_in, made);
    ls_free(in);
    LS_TRY(ls_graph_status(p->to));
    for (int i = 0; i < node->n_out; i++) p->map[node->out[i]] = made[i];
    return LS_OK;
}

/* A cast of a piece is the piece of the cast. */
static int keeps_pieces(const dp_pass *p, const ls_node *node) {
    return node->n_in == 1 && node->n_out == 1 && p->sharded[node->in[0]] &&
           (node->op->flags & LS_OP_ELEMENTWISE) && !(node->op->flags & LS_OP_RANDOM);
}

ls_status ls_dp_prepare_node(dp_pass *p, const ls_node *node) {
    int reads_pieces = 0;
    for (int i = 0; i < node->n_in; i++) reads_pieces |= p->sharded[node->in[i]];
    if (!reads_pieces) return ls_node_emit(node, p->to, p->map, NULL);
    if (keeps_pieces(p, node)) {
        const ls_value v = node->in[0], whole = p->map[v];
        p->sharded[node->out[0]] = 1;
        if (p->in_place[v])
            p->map[v] = ls_dp_piece(p, whole, ls_type_count(&p->from->values[v].type));
        const ls_status status = ls_node_emit(node, p->to, p->map, NULL);
        p->map[v] = whole;
        return status;
    }
    for (int i = 0; i < node->n_in; i++) {
        const ls_value v = node->in[i];
        dp_bucket *bucket;
        int n;
        if (!p->sharded[v] || p->whole[v] != LS_VALUE_NONE) continue;
        LS_TRY(start_gathers(p, &v, 1, &bucket, &n));
        LS_TRY(finish_gather(p, bucket, -1));
    }
    return ls_dp_emit_with_whole(p, node);
}
