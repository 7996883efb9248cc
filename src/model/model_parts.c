#include "model/model_parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "op/add/add.h"
#include "op/cross_entropy/cross_entropy.h"
#include "op/dropout/dropout.h"

const char *ls_model_format(const ls_model_work *work, const char *fmt, ...) {
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const char *copy = ls_arena_strdup(work->graph->arena, text);
    if (!copy) ls_graph_fail(work->graph, LS_ERR_NO_MEMORY, "out of memory building the model");
    return copy ? copy : "";
}

void ls_model_enter(const ls_model_work *work, int unit, const char *scope) {
    ls_graph_set_unit(work->graph, unit);
    ls_graph_set_scope(work->graph, scope);
}

ls_value ls_model_param(const ls_model_work *work, const char *name, int n_dims,
                        const int64_t *dims, ls_init init) {
    ls_shape shape;
    if (ls_shape_make(n_dims, dims, &shape) != LS_OK)
        return ls_graph_fail(work->graph, LS_ERR_CONFIG, "parameter %s%s: %s", work->prefix, name,
                             ls_error_message());
    return ls_graph_param(work->graph, ls_model_format(work, "%s%s", work->prefix, name),
                          LS_DTYPE_F32, shape, init);
}

ls_value ls_model_vector(const ls_model_work *work, const char *name, int64_t n, double value) {
    const ls_init init = {value != 0 ? LS_INIT_CONSTANT : LS_INIT_ZERO, value, 0};
    return ls_model_param(work, name, 1, &n, init);
}

ls_value ls_model_matrix(const ls_model_work *work, const char *name, int64_t rows, int64_t columns,
                         double std) {
    const int64_t dims[2] = {rows, columns};
    return ls_model_param(work, name, 2, dims, (ls_init){LS_INIT_NORMAL, 0, std});
}

double ls_model_residual_std(const ls_model_work *work) {
    return work->options->init_std / sqrt(2.0 * (double)work->options->layers);
}

ls_value ls_model_result(const ls_graph *graph, ls_value value, int i) {
    if (graph->status != LS_OK) return LS_VALUE_NONE;
    return graph->nodes[graph->values[value].node].out[i];
}

ls_value ls_model_dropout(const ls_model_work *work, ls_value x, const char *scope) {
    if (!work->batch->training || !(work->options->dropout > 0)) return x;
    return ls_dropout(work->graph, x, work->options->dropout,
                      ls_model_format(work, "%s.dropout", scope));
}

ls_value ls_model_project(const ls_model_work *work, const char *scope, ls_value x, ls_value w,
                          int w_is_NK, ls_value bias_or_none, ls_value residual) {
    const int drops = work->batch->training && work->options->dropout > 0;
    const ls_matmul_attr attr = {.transpose_b = w_is_NK,
                                 .has_bias = bias_or_none != LS_VALUE_NONE,
                                 .has_residual = !drops,
                                 .out_dtype = -1,
                                 .alpha = 1};
    const ls_value y =
        ls_matmul_full(work->graph, x, w, bias_or_none, drops ? LS_VALUE_NONE : residual, &attr);
    return drops ? ls_add(work->graph, residual, ls_model_dropout(work, y, scope)) : y;
}

ls_value ls_model_tokens(const ls_model_work *work) {
    const ls_shape shape = {2, {work->batch->batch, work->batch->tokens}};
    return ls_graph_input(work->graph, "tokens", LS_DTYPE_I32, shape);
}

void ls_model_output(const ls_model_work *work, const char *name, ls_value value) {
    const ls_status status = ls_graph_output(work->graph, name, value);
    if (status != LS_OK) ls_graph_fail(work->graph, status, "%s", ls_error_message());
}

static ls_value find_loss_scale(const ls_model_work *work) {
    if (!work->batch->training || !work->batch->loss_scale) return LS_VALUE_NONE;
    const ls_value scale = ls_graph_find(work->graph, "optim/loss_scale");
    if (scale != LS_VALUE_NONE) return scale;
    return ls_graph_fail(work->graph, LS_ERR_INVALID,
                         "the model is to scale its loss, but the graph has no 'optim/loss_scale'; "
                         "call ls_optim_loss_scale before ls_model_build");
}

ls_value ls_model_finish(const ls_model_work *work, ls_value logits, const char *name) {
    ls_graph *graph = work->graph;
    ls_model_output(work, "logits", logits);
    if (!work->batch->with_loss) return LS_VALUE_NONE;
    ls_shape shape = ls_graph_shape(graph, logits);
    if (shape.n_dims) shape.dims[--shape.n_dims] = 0;
    const ls_value targets = ls_graph_input(graph, name, LS_DTYPE_I32, shape);
    const int training = work->batch->training;
    const ls_cross_entropy_attr attr = {
        .label_smoothing = training ? (float)work->options->label_smoothing : 0,
        .ignore_index = -1,
        .grad_scale = training ? (float)work->batch->grad_scale : 1};
    const ls_value loss = ls_cross_entropy(graph, logits, targets, &attr, find_loss_scale(work));
    ls_model_output(work, "loss", loss);
    ls_model_output(work, "count", ls_model_result(graph, loss, 1));
    return targets;
}
