/* SVG picture of a graph: one row per depth, boxes coloured by phase, straight edges. */
#include "graph/node.h"

enum { BOX_W = 132, BOX_H = 30, GAP_X = 14, GAP_Y = 26, MARGIN = 20 };

typedef struct placement {
    int *depth, *column; /* per node */
    int n_rows, n_columns;
} placement;

static const char *const phase_fill[] = {"#e8e8e8", "#d7e8fb", "#fde3cf", "#d9f2d9"};

static ls_status place_nodes(const ls_graph *graph, ls_arena *arena, placement *out) {
    const size_t n = (size_t)graph->n_nodes + 1;
    out->depth = ls_arena_alloc(arena, n * sizeof(int));
    out->column = ls_arena_alloc(arena, n * sizeof(int));
    int *used = ls_arena_alloc(arena, (n + 1) * sizeof(int));
    if (!out->depth || !out->column || !used) return LS_ERR_NO_MEMORY;
    for (int64_t i = 0; i < graph->n_nodes; i++) {
        const ls_node *node = &graph->nodes[i];
        int depth = 0;
        for (int k = 0; k < node->n_in; k++) {
            ls_value v = node->in[k];
            if (graph->values[v].kind == LS_VALUE_ACCUM) v = graph->values[v].source;
            const int32_t made = graph->values[v].node;
            if (made >= 0 && out->depth[made] + 1 > depth) depth = out->depth[made] + 1;
        }
        out->depth[i] = depth;
        out->column[i] = used[depth]++;
        if (depth + 1 > out->n_rows) out->n_rows = depth + 1;
        if (used[depth] > out->n_columns) out->n_columns = used[depth];
    }
    return LS_OK;
}

static int node_x(const placement *at, int64_t i) {
    return MARGIN + at->column[i] * (BOX_W + GAP_X);
}
static int node_y(const placement *at, int64_t i) {
    return MARGIN + at->depth[i] * (BOX_H + GAP_Y);
}

static void draw_edges(const ls_graph *graph, const placement *at, ls_text *out) {
    for (int64_t i = 0; i < graph->n_nodes; i++)
        for (int k = 0; k < graph->nodes[i].n_in; k++) {
            const ls_value_info *info = &graph->values[graph->nodes[i].in[k]];
            const int lane_sum = info->kind == LS_VALUE_ACCUM;
            const int32_t made = lane_sum ? graph->values[info->source].node : info->node;
            if (made < 0) continue;
            ls_text_append(out, "<path d=\"M%d %d L%d %d\" class=\"%s\"/>\n",
                           node_x(at, made) + BOX_W / 2, node_y(at, made) + BOX_H,
                           node_x(at, i) + BOX_W / 2, node_y(at, i), lane_sum ? "sum" : "edge");
        }
}

static void append_escaped(ls_text *out, const char *name) {
    for (; *name; name++) {
        const char *entity = *name == '<'   ? "&lt;"
                             : *name == '>' ? "&gt;"
                             : *name == '&' ? "&amp;"
                                            : NULL;
        if (entity)
            ls_text_append(out, "%s", entity);
        else
            ls_text_append_bytes(out, name, 1);
    }
}

static void draw_boxes(const ls_graph *graph, const placement *at, ls_text *out) {
    for (int64_t i = 0; i < graph->n_nodes; i++) {
        const ls_node *node = &graph->nodes[i];
        char shape[128];
        const ls_type *type = &graph->values[node->out[0]].type;
        ls_text_append(out, "<g><title>");
        append_escaped(out, *node->scope ? node->scope : "graph");
        ls_text_append(out,
                       " unit %d, %s%s</title><rect x=\"%d\" y=\"%d\" width=\"%d\" "
                       "height=\"%d\" rx=\"4\" fill=\"%s\" stroke=\"#555\"/>\n",
                       node->unit, ls_dtype_name(type->dtype), ls_shape_print(&type->shape, shape),
                       node_x(at, i), node_y(at, i), BOX_W, BOX_H, phase_fill[node->phase]);
        ls_text_append(out,
                       "<text x=\"%d\" y=\"%d\">%s</text><text x=\"%d\" y=\"%d\" "
                       "class=\"type\">%s%s</text></g>\n",
                       node_x(at, i) + 6, node_y(at, i) + 13, node->op->name, node_x(at, i) + 6,
                       node_y(at, i) + 25, ls_dtype_name(type->dtype), shape);
    }
}

ls_status ls_graph_print_svg(const ls_graph *graph, char **text_out) {
    LS_TRY(ls_graph_status(graph));
    ls_arena *arena;
    LS_TRY(ls_arena_create(&arena));
    placement at = {0};
    ls_status status = place_nodes(graph, arena, &at);
    ls_text text = {0};
    if (status == LS_OK) {
        const int width = 2 * MARGIN + at.n_columns * (BOX_W + GAP_X);
        const int height = 2 * MARGIN + at.n_rows * (BOX_H + GAP_Y);
        ls_text_append(&text,
                       "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                       "font-family=\"sans-serif\" font-size=\"11\">\n"
                       "<style>.edge{stroke:#999;fill:none}.sum{stroke:#2a7;fill:none;stroke-"
                       "dasharray:4 3}.type{fill:#666;font-size:9px}</style>\n"
                       "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
                       width, height);
        draw_edges(graph, &at, &text);
        draw_boxes(graph, &at, &text);
        ls_text_append(&text, "</svg>\n");
        status = text.status;
    }
    ls_arena_destroy(arena);
    if (status != LS_OK) {
        ls_text_deinit(&text);
        return status;
    }
    *text_out = text.data;
    return LS_OK;
}
