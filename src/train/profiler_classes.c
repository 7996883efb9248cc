/* Classes of ops: nodes that do the same, their time in the recorded steps, the roof they would meet. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op/collective.h"
#include "train/profiler.h"

enum {
    MOST_TYPES = 3 /* operands that are printed */,
    MOST_ATTR = 100 /* letters of attributes */
};

static const char *const phase_names[] = {"prepare", "forward", "backward",
                                          "weight",  "reduce",  "update"};

const char *ls_profile_phase_name(const ls_plan *plan, int segment) {
    return phase_names[plan->ranks[0].segments[segment].kind];
}

void ls_profile_node_cost(const ls_sig *sig, ls_cost *out) {
    *out = (ls_cost){0};
    if (sig->op->cost)
        sig->op->cost(sig, out);
    else
        ls_cost_default(sig, out);
}

static void print_operands(const ls_type *types, int n, const char *between, ls_text *out) {
    char shape[128];
    for (int i = 0; i < n && i < MOST_TYPES; i++)
        ls_text_append(out, "%s%s%s", i ? between : "", ls_dtype_name(types[i].dtype),
                       ls_shape_print(&types[i].shape, shape));
    if (n > MOST_TYPES) ls_text_append(out, " and %d more", n - MOST_TYPES);
}

/* What an op says of its attributes, without those that are 0, and not without end. */
static void print_attr(const ls_sig *sig, ls_text *out) {
    ls_text attr = {0};
    if (sig->op->print && sig->attr) sig->op->print(sig->attr, &attr);
    if (attr.status != LS_OK) out->status = attr.status;
    const char *at = attr.data ? attr.data : "";
    for (size_t used = 0; *at;) {
        const size_t n = strcspn(at, " ");
        const int is_zero = n > 2 && at[n - 2] == '=' && at[n - 1] == '0';
        if (used + n > MOST_ATTR) {
            ls_text_append(out, " ...");
            break;
        }
        if (!is_zero && n > 0) {
            ls_text_append(out, " %.*s", (int)n, at);
            used += n;
        }
        at += n + (at[n] == ' ');
    }
    ls_text_deinit(&attr);
}

/* A collective takes many tensors: how many elements in all says more than their shapes. */
static void print_collective(const ls_sig *sig, ls_text *out) {
    const ls_collective_attr *a = sig->attr;
    int64_t n = 0;
    for (int i = 0; i < a->n; i++) n += a->counts[i];
    ls_text_append(out, "%d tensor%s of %s, %lld elements, %d ranks", a->n, a->n == 1 ? "" : "s",
                   ls_dtype_name(sig->in[0].dtype), (long long)n, a->size);
}

static int is_collective(const ls_op *op) {
    const size_t n = strlen(op->name);
    return n > 6 && ls_profile_family(op->name) == LS_FAMILY_RANKS &&
           (strcmp(op->name + n - 5, "_wait") == 0 || strcmp(op->name + n - 6, "_start") == 0);
}

static void print_types(const ls_sig *sig, ls_text *out) {
    if (is_collective(sig->op)) {
        print_collective(sig, out);
        return;
    }
    print_operands(sig->in, sig->n_in, " x ", out);
    ls_text_append(out, " -> ");
    print_operands(sig->out, sig->n_out, ", ", out);
    print_attr(sig, out);
}

ls_status ls_profile_node_types(const ls_sig *sig, ls_arena *arena, const char **out) {
    ls_text text = {0};
    print_types(sig, &text);
    ls_status status = text.status;
    char *copy = status == LS_OK ? ls_arena_strdup(arena, text.data) : NULL;
    if (status == LS_OK && !copy) status = LS_ERR_NO_MEMORY;
    ls_text_deinit(&text);
    if (status == LS_OK) *out = copy;
    return status;
}

/* A class while it is gathered. */
typedef struct row {
    ls_profile_class shown;
    ls_dtype dtype;
    double n_calls, ns, busy_ns;
    double median_ns; /* of each call over the steps, summed */
} row;

typedef struct table {
    const ls_profile_source *source;
    ls_arena *arena;
    row *rows;
    int n;
    int *row_of_node; /* -1: not in a segment of this rank */
    int *row_of_fold; /* two per fold: add, round */
} table;

static int same(const ls_profile_class *a, const ls_profile_class *b) {
    return a->phase == b->phase && a->kernel == b->kernel && strcmp(a->op, b->op) == 0 &&
           strcmp(a->types, b->types) == 0;
}

static int find_or_add(table *t, const row *wanted) {
    for (int i = 0; i < t->n; i++)
        if (same(&t->rows[i].shown, &wanted->shown)) {
            t->rows[i].shown.n_nodes++;
            return i;
        }
    t->rows[t->n] = *wanted;
    t->rows[t->n].shown.n_nodes = 1;
    return t->n++;
}

static int is_wait(const ls_op *op) {
    return is_collective(op) && strcmp(op->name + strlen(op->name) - 5, "_wait") == 0;
}

/* Arithmetic counts in the type of what is multiplied: the first operand of floats. */
static ls_dtype work_dtype(const ls_sig *sig) {
    for (int i = 0; i < sig->n_in; i++)
        if (ls_dtype_is_float(sig->in[i].dtype)) return sig->in[i].dtype;
    return LS_DTYPE_F32;
}

static ls_status add_node(table *t, const ls_segment *segment, int64_t i) {
    const ls_graph *g = t->source->session->train_plan->graph;
    const ls_node *node = &g->nodes[segment->nodes[i]];
    ls_type *types = ls_arena_alloc(t->arena, sizeof *types * (size_t)(node->n_in + node->n_out));
    ls_sig sig;
    ls_cost cost;
    row r = {0};
    if (!types) return LS_ERR_NO_MEMORY;
    ls_node_sig(g, node, types, types + node->n_in, &sig);
    ls_profile_node_cost(&sig, &cost);
    r.shown = (ls_profile_class){.op = node->op->name,
                                 .phase = phase_names[segment->kind],
                                 .kernel = segment->kernels[i]->name,
                                 .family = ls_profile_families[ls_profile_family(node->op->name)],
                                 .scope = node->scope,
                                 .flops = cost.flops,
                                 .bytes = cost.bytes_read + cost.bytes_written,
                                 .waits = is_wait(node->op)};
    r.dtype = work_dtype(&sig);
    LS_TRY(ls_profile_node_types(&sig, t->arena, &r.shown.types));
    t->row_of_node[segment->nodes[i]] = find_or_add(t, &r);
    return LS_OK;
}

static ls_status add_fold(table *t, const ls_rank_plan *rank, int fold, int rounds) {
    const double n = (double)rank->folds[fold].bytes / sizeof(float);
    row r = {.dtype = LS_DTYPE_F32};
    char *types = ls_arena_format(
        t->arena, rounds ? "f32[%.0f] -> f32[%.0f]" : "f32[%.0f] x f32[%.0f]", n, n);
    if (!types) return LS_ERR_NO_MEMORY;
    r.shown =
        (ls_profile_class){.op = "lane sum",
                           .phase = rounds ? "round" : "add",
                           .kernel = rank->folds[fold].wire == LS_WIRE_F32 ? "add" : "wire_add",
                           .family = ls_profile_families[LS_FAMILY_SUMS],
                           .types = types,
                           .scope = "",
                           .flops = rounds ? 0 : n,
                           .bytes = sizeof(float) * n * (rounds ? 2 : 3)};
    t->row_of_fold[2 * fold + rounds] = find_or_add(t, &r);
    return LS_OK;
}

static ls_status fill_rows(table *t) {
    const ls_plan *plan = t->source->session->train_plan;
    const ls_rank_plan *rank = &plan->ranks[0];
    const size_t n_nodes = (size_t)plan->graph->n_nodes, n_folds = 2 * (size_t)rank->n_folds;
    t->rows = ls_arena_alloc(t->arena, sizeof *t->rows * (n_nodes + n_folds + 1));
    t->row_of_node = ls_arena_alloc(t->arena, sizeof(int) * (n_nodes + 1));
    t->row_of_fold = ls_arena_alloc(t->arena, sizeof(int) * (n_folds + 1));
    if (!t->rows || !t->row_of_node || !t->row_of_fold) return LS_ERR_NO_MEMORY;
    for (size_t i = 0; i < n_nodes; i++) t->row_of_node[i] = -1;
    for (int s = 0; s < rank->n_segments; s++)
        for (int64_t i = 0; i < rank->segments[s].n_nodes; i++)
            LS_TRY(add_node(t, &rank->segments[s], i));
    for (int f = 0; f < rank->n_folds; f++)
        for (int rounds = 0; rounds < 2; rounds++) LS_TRY(add_fold(t, rank, f, rounds));
    return LS_OK;
}

static row *row_of(const table *t, const ls_trace_event *e) {
    int i = -1;
    if (e->kind == LS_TRACE_KERNEL) i = t->row_of_node[e->node];
    if (e->kind == LS_TRACE_ADD || e->kind == LS_TRACE_ROUND)
        i = t->row_of_fold[2 * e->index + (e->kind == LS_TRACE_ROUND)];
    return i >= 0 ? &t->rows[i] : NULL;
}

/* Of whole steps, with the time as a sample for each; returns how many. */
static int64_t add_times(table *t, const char *whole, int n_whole, ls_profile_sample *samples) {
    int64_t n = 0;
    for (int r = 0; r < t->source->n_ranks; r++)
        for (int64_t i = 0; i < t->source->ranks[r].n; i++) {
            const ls_trace_event *e = &t->source->ranks[r].events[i];
            const int64_t step = e->step - t->source->first_step;
            row *to = row_of(t, e);
            if (!to || step < 0 || step >= n_whole || !whole[step]) continue;
            to->n_calls++;
            to->ns += (double)(e->end_ns - e->begin_ns);
            to->busy_ns += (double)e->busy_ns;
            samples[n++] =
                (ls_profile_sample){.row = (int)(to - t->rows),
                                    .rank = r,
                                    .what = e->kind == LS_TRACE_KERNEL ? e->node : e->level,
                                    .lane = e->lane,
                                    .ns = (double)(e->end_ns - e->begin_ns)};
        }
    return n;
}

static ls_status fill_times(table *t, const char *whole, int n_whole) {
    size_t most = 1;
    for (int r = 0; r < t->source->n_ranks; r++) most += (size_t)t->source->ranks[r].n;
    ls_profile_sample *samples = ls_alloc(sizeof *samples * most);
    double *sums = ls_arena_alloc(t->arena, sizeof *sums * (size_t)(t->n + 1));
    const int ready = samples && sums;
    if (ready) ls_profile_add_medians(samples, add_times(t, whole, n_whole, samples), sums);
    for (int i = 0; ready && i < t->n; i++) t->rows[i].median_ns = sums[i];
    ls_free(samples);
    return ready ? LS_OK : LS_ERR_NO_MEMORY;
}

/* Which roof is met first, and what reaching it would save. */
static void find_roof(const ls_roofs *roofs, const row *r, ls_profile_class *c) {
    int flops_row, bytes_row;
    const double flops = ls_roofs_flops(roofs, r->dtype, &flops_row);
    double bytes = ls_roofs_bandwidth(roofs, c->bytes, &bytes_row);
    if (c->waits && roofs->link_per_second > 0) {
        bytes = roofs->link_per_second;
        bytes_row = roofs->n_rows - 1;
    }
    const double arithmetic = flops > 0 ? c->flops / flops : 0;
    const double moving = bytes > 0 ? c->bytes / bytes : 0;
    const double least = fmax(arithmetic, moving) * c->calls;
    c->roof = -1;
    if (!(least > 0)) return;
    c->roof = arithmetic >= moving ? flops_row : bytes_row;
    if (!(c->seconds > 0)) return;
    c->roof_share = least / c->seconds;
    c->saved_seconds = fmax(0, c->seconds - least);
}

static void finish_row(const table *t, const row *r, double n, double step_seconds,
                       ls_profile_class *c) {
    *c = r->shown;
    c->calls = r->n_calls / n;
    c->seconds = 1e-9 * r->median_ns / n;
    c->mean_seconds = 1e-9 * r->ns / n;
    c->share = step_seconds > 0 ? c->seconds / step_seconds : 0;
    if (r->median_ns > 0) {
        c->flops_per_second = 1e9 * c->flops * r->n_calls / r->median_ns;
        c->bytes_per_second = 1e9 * c->bytes * r->n_calls / r->median_ns;
    }
    if (r->ns > 0) c->threads = 1 + r->busy_ns / r->ns;
    find_roof(t->source->roofs, r, c);
}

static int by_seconds(const void *a, const void *b) {
    const ls_profile_class *x = a, *y = b;
    if (x->seconds != y->seconds) return x->seconds < y->seconds ? 1 : -1;
    const int order = strcmp(x->op, y->op);
    return order ? order : strcmp(x->types, y->types);
}

ls_status ls_profile_make_classes(const ls_profile_source *source, const char *whole, int n_whole,
                                  ls_arena *arena, ls_profile *out) {
    table t = {.source = source, .arena = arena};
    LS_TRY(fill_rows(&t));
    LS_TRY(fill_times(&t, whole, n_whole));
    ls_profile_class *classes = ls_arena_alloc(arena, sizeof *classes * (size_t)(t.n + 1));
    if (!classes) return LS_ERR_NO_MEMORY;
    const double n = fmax(1, (double)(out->n_steps * source->n_ranks));
    for (int i = 0; i < t.n; i++)
        if (t.rows[i].n_calls > 0)
            finish_row(&t, &t.rows[i], n, out->step_median_seconds, &classes[out->n_classes++]);
    qsort(classes, (size_t)out->n_classes, sizeof *classes, by_seconds);
    out->classes = classes;
    return LS_OK;
}
