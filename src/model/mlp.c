/* A multilayer perceptron on flattened images: x = dropout(relu(W x + b)) per hidden layer, then a linear head. Weights are
 * [out, in], first values normal with variance 2 / in (He et al., arXiv 1502.01852).
 * Shapes: B batch, N inputs of a layer, F hidden units. */
#include <math.h>

#include "model/model_parts.h"
#include "op/accuracy/accuracy.h"
#include "op/reshape/reshape.h"

static ls_value layer(ls_model_work *w, int64_t index, int64_t n, ls_value x_BN) {
    const int64_t f = w->options->width;
    const char *scope = ls_model_format(w, "layers.%lld", (long long)index);
    w->prefix = ls_model_format(w, "%s.", scope);
    ls_model_enter(w, (int)index + 1, scope);
    const ls_value weight = ls_model_matrix(w, "weight", f, n, sqrt(2.0 / (double)n));
    const ls_value bias = ls_model_vector(w, "bias", f, 0);
    const ls_matmul_attr attr = {
        .transpose_b = 1, .activation = LS_ACT_RELU, .has_bias = 1, .out_dtype = -1, .alpha = 1};
    const ls_value y = ls_matmul_full(w->graph, x_BN, weight, bias, LS_VALUE_NONE, &attr);
    return ls_model_dropout(w, y, scope);
}

ls_status ls_model_build_mlp(ls_model_work *w) {
    const ls_model_options *o = w->options;
    const ls_shape images = {4, {w->batch->batch, o->channels, o->image, o->image}};
    int64_t n = o->channels * o->image * o->image;
    ls_model_enter(w, 0, "input");
    ls_value x = ls_graph_input(w->graph, "images", LS_DTYPE_F32, images);
    x = ls_reshape(w->graph, x, (ls_shape){2, {w->batch->batch, n}});
    for (int64_t i = 0; i < o->layers; i++) {
        x = layer(w, i, n, x);
        n = o->width;
    }
    w->prefix = "head.";
    ls_model_enter(w, (int)o->layers + 1, "head");
    const ls_value weight = ls_model_matrix(w, "weight", o->classes, n, sqrt(1.0 / (double)n));
    const ls_value bias = ls_model_vector(w, "bias", o->classes, 0);
    const ls_value logits = ls_linear(w->graph, x, weight, 1, bias);
    const ls_value labels = ls_model_finish(w, logits, "labels");
    if (labels != LS_VALUE_NONE)
        ls_model_output(w, "correct", ls_accuracy(w->graph, logits, labels));
    return ls_graph_status(w->graph);
}
