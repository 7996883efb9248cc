/* A residual network for small images (He et al., arXiv 1512.03385, section 4.2): a 3x3 stem, stages of basic blocks, the mean
 * over the image, a linear head. Each stage after the first halves the image and doubles the channels; where shapes change the
 * shortcut is a 1x1 convolution (option B). Names are torchvision's.
 * Shapes: B batch, C channels, O output channels, R kernel rows = columns. Images hold the batch inside, [H, W, B, C] (op/conv2d); weights
 * are torchvision's [O, C, R, R]. */
#include <math.h>

#include "model/model_parts.h"
#include "op/accuracy/accuracy.h"
#include "op/add/add.h"
#include "op/batchnorm/batchnorm.h"
#include "op/batchnorm/ema_step.h"
#include "op/conv2d/conv2d.h"
#include "op/reduce/reduce.h"
#include "op/relu/relu.h"
#include "op/reshape/reshape.h"
#include "op/transpose/transpose.h"

static int64_t channels_of(const ls_model_work *w, ls_value x_HWBC) {
    return ls_graph_shape(w->graph, x_HWBC).dims[3];
}

/* No bias: the norm behind it has one. */
static ls_value convolve(const ls_model_work *w, const char *name, ls_value x_HWBC, int64_t out,
                         int64_t size, int stride) {
    const int64_t in = channels_of(w, x_HWBC);
    const int64_t dims[4] = {out, in, size, size};
    const ls_init init = {LS_INIT_NORMAL, 0, sqrt(2.0 / (double)(in * size * size))};
    const ls_value weight = ls_model_param(w, name, 4, dims, init);
    return ls_conv2d(w->graph, x_HWBC, weight, LS_VALUE_NONE, stride, (int)(size / 2));
}

/* state = (1 - momentum) state + momentum * correction * mean over lanes of the lanes' statistic. */
static void follow_statistic(const ls_model_work *w, ls_value state, const char *name,
                             ls_value statistic, double correction) {
    const ls_value sum =
        ls_graph_accumulate(w->graph, ls_model_format(w, "sum/%s%s", w->prefix, name), statistic);
    ls_graph_set_phase(w->graph, LS_PHASE_UPDATE);
    ls_ema_step(w->graph, state, sum, w->options->norm_momentum,
                correction / (double)w->batch->lanes);
    ls_graph_set_phase(w->graph, LS_PHASE_FORWARD);
}

static ls_value running_state(const ls_model_work *w, const char *name, int64_t n, double value) {
    const ls_init init = {value != 0 ? LS_INIT_CONSTANT : LS_INIT_ZERO, value, 0};
    const ls_shape shape = {1, {n}};
    return ls_graph_state(w->graph, ls_model_format(w, "%s%s", w->prefix, name), LS_DTYPE_F32,
                          shape, init, LS_ROLE_BUFFER);
}

static ls_value norm(const ls_model_work *w, const char *name, ls_value x_HWBC) {
    const ls_model_options *o = w->options;
    const ls_shape x = ls_graph_shape(w->graph, x_HWBC);
    const int64_t n_channels = x.dims[3];
    const ls_value gamma = ls_model_vector(w, ls_model_format(w, "%s.weight", name), n_channels, 1);
    const ls_value beta = ls_model_vector(w, ls_model_format(w, "%s.bias", name), n_channels, 0);
    const ls_value mean =
        running_state(w, ls_model_format(w, "%s.running_mean", name), n_channels, 0);
    const ls_value var =
        running_state(w, ls_model_format(w, "%s.running_var", name), n_channels, 1);
    if (!w->batch->training)
        return ls_batchnorm_eval(w->graph, x_HWBC, gamma, beta, mean, var, o->norm_eps);
    const ls_value y = ls_batchnorm(w->graph, x_HWBC, gamma, beta, o->norm_eps);
    const double n = (double)(x.dims[0] * x.dims[1] * x.dims[2]);
    follow_statistic(w, mean, ls_model_format(w, "%s.mean", name), ls_model_result(w->graph, y, 1),
                     1);
    /* The biased variance of n values, made unbiased. */
    follow_statistic(w, var, ls_model_format(w, "%s.var", name), ls_model_result(w->graph, y, 2),
                     n > 1 ? n / (n - 1) : 1);
    return y;
}

static ls_value basic_block(const ls_model_work *w, ls_value x_HWBC, int64_t out, int stride) {
    ls_value y = convolve(w, "conv1.weight", x_HWBC, out, 3, stride);
    y = ls_relu(w->graph, norm(w, "bn1", y));
    y = norm(w, "bn2", convolve(w, "conv2.weight", y, out, 3, 1));
    ls_value shortcut = x_HWBC;
    if (stride != 1 || channels_of(w, x_HWBC) != out) {
        shortcut = convolve(w, "downsample.0.weight", x_HWBC, out, 1, stride);
        shortcut = norm(w, "downsample.1", shortcut);
    }
    return ls_relu(w->graph, ls_add(w->graph, y, shortcut));
}

static ls_value stages(ls_model_work *w, ls_value x_HWBC) {
    const ls_model_options *o = w->options;
    int unit = 1;
    for (int64_t s = 0; s < o->stages; s++)
        for (int64_t b = 0; b < o->layers; b++) {
            const char *scope =
                ls_model_format(w, "layer%lld.%lld", (long long)s + 1, (long long)b);
            w->prefix = ls_model_format(w, "%s.", scope);
            ls_model_enter(w, unit++, scope);
            x_HWBC = basic_block(w, x_HWBC, o->width << s, s > 0 && b == 0 ? 2 : 1);
        }
    w->prefix = "";
    ls_model_enter(w, unit, "head");
    return x_HWBC;
}

/* Mean over the image, then a linear layer. */
static ls_value head(const ls_model_work *w, ls_value x_HWBC) {
    const ls_shape x = ls_graph_shape(w->graph, x_HWBC);
    const ls_shape flat = {3, {x.dims[0] * x.dims[1], x.dims[2], x.dims[3]}};
    const ls_value mean_BC =
        ls_reduce(w->graph, ls_reshape(w->graph, x_HWBC, flat), LS_REDUCE_MEAN, 0);
    const ls_value weight = ls_model_matrix(w, "fc.weight", w->options->classes, x.dims[3],
                                            sqrt(1.0 / (double)x.dims[3]));
    const ls_value bias = ls_model_vector(w, "fc.bias", w->options->classes, 0);
    return ls_linear(w->graph, mean_BC, weight, 1, bias);
}

ls_status ls_model_build_resnet(ls_model_work *w) {
    const ls_model_options *o = w->options;
    const ls_shape images = {4, {w->batch->batch, o->channels, o->image, o->image}};
    ls_model_enter(w, 0, "stem");
    ls_value x = ls_graph_input(w->graph, "images", LS_DTYPE_F32, images);
    x = ls_transpose(w->graph, x, (const int[4]){2, 3, 0, 1});
    x = convolve(w, "conv1.weight", x, o->width, 3, (int)o->stem_stride);
    x = stages(w, ls_relu(w->graph, norm(w, "bn1", x)));
    LS_TRY(ls_graph_status(w->graph));
    const ls_value logits = head(w, x);
    const ls_value labels = ls_model_finish(w, logits, "labels");
    if (labels != LS_VALUE_NONE)
        ls_model_output(w, "correct", ls_accuracy(w->graph, logits, labels));
    return ls_graph_status(w->graph);
}
