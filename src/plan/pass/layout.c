/* Weights in the layout of the products that read them. A matmul packs its right operand into panels before it multiplies; lanes and
 * recomputation make it do that again with the same weight. A weight that several products of a step read in one form becomes a node
 * `pack`, and those products `matmul_packed`: the same panels, so the same bits.
 *
 * A form is what a product would make of the weight: as it is or turned (the input gradient), for one engine. Where a weight is
 * final before the lanes begin, its pack runs once a step; where lanes gather it (zero 3), it would run with the gather, and only pays
 * when the products of that gather share it. */
#include <string.h>

#include "op/op.h"
#include "op/pack/pack.h"
#include "plan/pass/pass.h"
#include "plan/pass/replace.h"

/* A weight in one form. */
typedef struct layout {
    ls_value w; /* of the source graph */
    ls_pack_attr attr;
    int64_t bytes, columns;
    int n_readers;   /* products that run as often as the pack would, or once a lane */
    ls_value packed; /* of the new graph; NONE until made */
} layout;

typedef struct layout_pass {
    const ls_graph *from;
    const ls_layout_options *o;
    layout *layouts;
    int n_layouts;
    int *of_node; /* per node: the layout it reads, or -1 */
    ls_arena *arena;
} layout_pass;

static int is_lane_node(const ls_node *node) {
    return node->phase == LS_PHASE_FORWARD || node->phase == LS_PHASE_BACKWARD;
}

static const ls_node *maker_of(const ls_graph *g, ls_value v) {
    return g->values[v].kind == LS_VALUE_RESULT ? &g->nodes[g->values[v].node] : NULL;
}

/* Persistent, or made once a step. */
static int is_final(const ls_graph *g, ls_value v) {
    const ls_value_kind kind = g->values[v].kind;
    const ls_node *made = maker_of(g, v);
    return kind == LS_VALUE_PARAM || kind == LS_VALUE_STATE ||
           (made && made->phase == LS_PHASE_PREPARE);
}

/* Zero 3: gathered by the lane in the phase that reads it. */
static int is_gathered(const ls_graph *g, ls_value v, ls_phase phase) {
    const ls_node *made = maker_of(g, v);
    if (made && made->op == &ls_op_reshape) made = maker_of(g, made->in[0]);
    return made && made->op == &ls_op_all_gather_wait && made->phase == phase;
}

/* Times a step that a pack of the layout would run. */
static int times_packed(const layout_pass *p, const layout *l) {
    return is_final(p->from, l->w) ? 1 : p->o->lanes;
}

static int is_shared(const layout_pass *p, const layout *l) {
    return l->n_readers * p->o->lanes >= p->o->least_reads * times_packed(p, l);
}

/* --- what is read how often ---------------------------------------------------------------------------------------- */

/* The form in which a product of the graph packs a weight for itself; NONE for other nodes. */
static ls_status find_form(const layout_pass *p, const ls_node *node, layout *out) {
    ls_type in[4], types[LS_MAX_OUT];
    ls_sig sig;
    const ls_kernel *kernel;
    out->attr.form = LS_PACK_FORM_NONE;
    if (node->op != &ls_op_matmul || !is_lane_node(node)) return LS_OK;
    const ls_value w = node->in[1];
    if (!is_final(p->from, w) && !is_gathered(p->from, w, node->phase)) return LS_OK;
    ls_node_sig(p->from, node, in, types, &sig);
    LS_TRY(ls_kernel_choose(&sig, LS_DEVICE_CPU, ls_cpu_isa(), &kernel));
    const ls_matmul_attr *attr = node->attr;
    const int form = ls_pack_form_of(&sig, kernel);
    *out = (layout){.w = w, .attr = {form, attr->transpose_b}, .packed = LS_VALUE_NONE};
    if (form == LS_PACK_FORM_NONE) return LS_OK;
    out->columns = in[1].shape.dims[attr->transpose_b ? 0 : 1];
    out->bytes = ls_pack_form_bytes(form, &sig);
    return LS_OK;
}

static int same_layout(const layout *a, const layout *b) {
    return a->w == b->w && a->attr.form == b->attr.form && a->attr.w_is_NK == b->attr.w_is_NK;
}

static ls_status find_layouts(layout_pass *p) {
    for (int64_t n = 0; n < p->from->n_nodes; n++) {
        layout here;
        p->of_node[n] = -1;
        LS_TRY(find_form(p, &p->from->nodes[n], &here));
        if (here.attr.form == LS_PACK_FORM_NONE) continue;
        int i = 0;
        while (i < p->n_layouts && !same_layout(&p->layouts[i], &here)) i++;
        if (i == p->n_layouts) p->layouts[p->n_layouts++] = here;
        p->layouts[i].n_readers++;
        p->of_node[n] = i;
    }
    return LS_OK;
}

/* --- rewriting ----------------------------------------------------------------------------------------------------- */

/* All shared forms of a weight at once: what it was made of need not live longer. */
static ls_status emit_packs(layout_pass *p, ls_value w, ls_graph *to, const ls_value *map) {
    for (int i = 0; i < p->n_layouts; i++) {
        layout *l = &p->layouts[i];
        if (l->w == w && l->packed == LS_VALUE_NONE && is_shared(p, l))
            l->packed = ls_pack(to, map[w], &l->attr);
    }
    return ls_graph_status(to);
}

static ls_status emit_product(const layout *l, const ls_node *node, ls_graph *to, ls_value *map) {
    const ls_matmul_packed_attr attr = {
        .n = l->columns, .product = *(const ls_matmul_attr *)node->attr, .form = l->attr.form};
    ls_value in[4], outs[LS_MAX_OUT];
    for (int i = 0; i < node->n_in; i++) in[i] = i == 1 ? l->packed : map[node->in[i]];
    ls_matmul_packed(to, in, node->n_in, &attr, outs);
    LS_TRY(ls_graph_status(to));
    for (int i = 0; i < node->n_out; i++) map[node->out[i]] = outs[i];
    return LS_OK;
}

static int has_shared(const layout_pass *p, ls_value w) {
    for (int i = 0; i < p->n_layouts; i++)
        if (p->layouts[i].w == w && is_shared(p, &p->layouts[i])) return 1;
    return 0;
}

static ls_status rewrite_node(void *user, const ls_graph *from, const ls_node *node, ls_graph *to,
                              ls_value *map, int *handled) {
    layout_pass *p = user;
    const int at = p->of_node[node - from->nodes];
    if (at >= 0 && is_shared(p, &p->layouts[at])) {
        if (p->layouts[at].packed == LS_VALUE_NONE) { /* a leaf's */
            ls_graph_set_phase(to, LS_PHASE_PREPARE);
            LS_TRY(emit_packs(p, node->in[1], to, map));
            ls_graph_set_phase(to, node->phase);
        }
        return emit_product(&p->layouts[at], node, to, map);
    }
    *handled = 0;
    for (int i = 0; i < node->n_out && !*handled; i++) *handled = has_shared(p, node->out[i]);
    if (!*handled) return LS_OK;
    LS_TRY(ls_node_emit(node, to, map, NULL));
    for (int i = 0; i < node->n_out; i++) LS_TRY(emit_packs(p, node->out[i], to, map));
    return LS_OK;
}

/* --- the report ---------------------------------------------------------------------------------------------------- */

static const char *name_of(const ls_graph *g, ls_value v) {
    const ls_node *made = maker_of(g, v);
    while (made && made->n_in > 0 && !*ls_graph_name(g, v)) {
        v = made->in[0];
        made = maker_of(g, v);
    }
    return ls_graph_name(g, v);
}

static int is_first_of_weight(const layout_pass *p, int i) {
    for (int k = 0; k < i; k++)
        if (p->layouts[k].w == p->layouts[i].w && is_shared(p, &p->layouts[k])) return 0;
    return 1;
}

static void count_layouts(const layout_pass *p, ls_layout_report *out, ls_text *text) {
    for (int i = 0; i < p->n_layouts; i++) {
        const layout *l = &p->layouts[i];
        const double alone = (double)l->bytes * l->n_readers * p->o->lanes;
        out->before += alone;
        out->after += is_shared(p, l) ? (double)l->bytes * times_packed(p, l) : alone;
        if (!is_shared(p, l)) continue;
        out->n_weights += is_first_of_weight(p, i);
        out->n_forms++;
        out->bytes += l->bytes;
        ls_text_append(text, "    pack %s%s: %s, %lld bytes, read %d times a step\n",
                       name_of(p->from, l->w), l->attr.w_is_NK ? " turned" : "",
                       ls_pack_form_name(l->attr.form), (long long)l->bytes,
                       l->n_readers * p->o->lanes);
    }
}

static ls_status make_report(const layout_pass *p, ls_layout_report *out) {
    ls_text text = {0};
    *out = (ls_layout_report){0};
    count_layouts(p, out, &text);
    ls_status status = text.status;
    if (status == LS_OK && text.data) {
        out->text = ls_arena_strdup(p->o->arena, text.data);
        if (!out->text) status = LS_ERR_NO_MEMORY;
    }
    ls_text_deinit(&text);
    return status;
}

static ls_status run_pass(layout_pass *p, ls_graph **graph, ls_layout_report *report) {
    const size_t n = (size_t)p->from->n_nodes + 1;
    p->layouts = ls_arena_alloc(p->arena, sizeof *p->layouts * n);
    p->of_node = ls_arena_alloc(p->arena, sizeof *p->of_node * n);
    if (!p->layouts || !p->of_node) return LS_ERR_NO_MEMORY;
    LS_TRY(find_layouts(p));
    LS_TRY(make_report(p, report));
    return report->n_forms ? ls_graph_replace(graph, rewrite_node, p) : LS_OK;
}

ls_status ls_pass_layout(ls_graph **graph, const ls_layout_options *options,
                         ls_layout_report *report) {
    layout_pass p = {.from = *graph, .o = options};
    LS_TRY(ls_arena_create(&p.arena));
    const ls_status status = run_pass(&p, graph, report);
    ls_arena_destroy(p.arena);
    return status;
}
