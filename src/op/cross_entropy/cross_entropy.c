/* N rows, V classes. */
#include "op/cross_entropy/cross_entropy.h"

#include "op/cpu_kernel.h"
#include "op/cross_entropy/cross_entropy_rows.h"
#include "op/elementwise.h"
#include "op/mul/mul.h"
#include "op/op.h"
#include "op/scale/scale.h"
#include <math.h>

static ls_status check_attr(const ls_cross_entropy_attr *a) {
    if (!(a->label_smoothing >= 0 && a->label_smoothing < 1))
        return LS_FAIL(LS_ERR_INVALID,
                       "op cross_entropy: label smoothing must be in [0, 1), got %g",
                       (double)a->label_smoothing);
    if (!isfinite(a->grad_scale) || a->grad_scale == 0)
        return LS_FAIL(LS_ERR_INVALID,
                       "op cross_entropy: grad_scale must be finite and not 0, got %g; 1 for none",
                       (double)a->grad_scale);
    return LS_OK;
}

static ls_status check_targets(const ls_type *logits, const ls_type *targets) {
    char x[128], t[128];
    int same = logits->shape.n_dims == targets->shape.n_dims + 1;
    for (int i = 0; same && i < targets->shape.n_dims; i++)
        same = logits->shape.dims[i] == targets->shape.dims[i];
    if (!same || targets->dtype != LS_DTYPE_I32)
        return LS_FAIL(
            LS_ERR_INVALID,
            "op cross_entropy: wants logits [.., V] and i32 targets [..], got %s and %s %s",
            ls_shape_print(&logits->shape, x), ls_dtype_name(targets->dtype),
            ls_shape_print(&targets->shape, t));
    if (logits->shape.dims[targets->shape.n_dims] == 0)
        return LS_FAIL(LS_ERR_INVALID, "op cross_entropy: no classes: logits are %s",
                       ls_shape_print(&logits->shape, x));
    return LS_OK;
}

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    LS_TRY(check_attr(attr));
    LS_TRY(ls_infer_float("cross_entropy", "logits", &in[0]));
    LS_TRY(check_targets(&in[0], &in[1]));
    if (n_in > 2) {
        LS_TRY(ls_infer_float("cross_entropy", "loss_scale", &in[2]));
        LS_TRY(ls_infer_dims("cross_entropy", "loss_scale", &in[2], 0));
    }
    const ls_dtype stats = in[0].dtype == LS_DTYPE_F64 ? LS_DTYPE_F64 : LS_DTYPE_F32;
    *n_out = 4;
    out[0] = out[1] = (ls_type){stats, {0}};
    out[2] = in[0];
    out[3] = (ls_type){stats, in[1].shape};
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    const ls_cross_entropy_attr *a = g->sig->attr;
    if (!g->wants[0]) return LS_OK;
    if (g->dout[0] == LS_VALUE_NONE) {
        g->din[0] = ls_grad_fit(g, 0, g->out[2]);
        return LS_OK;
    }
    if (g->sig->n_in > 2)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op cross_entropy: a loss_scale and a gradient seed exclude each other");
    const ls_value seed = ls_scale(g->graph, g->dout[0], 1.0 / (double)a->grad_scale);
    g->din[0] = ls_grad_fit(g, 0, ls_mul(g->graph, g->out[2], seed));
    return LS_OK;
}

/* Rows may be split: sums become partial. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int n_lead = sig->in[1].shape.n_dims;
    if (in_split[0] == LS_SHARD_PARTIAL || in_split[0] >= n_lead || in_split[0] != in_split[1])
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op cross_entropy: logits and targets may be split by rows only, alike");
    out_split[0] = out_split[1] = in_split[0] >= 0 ? LS_SHARD_PARTIAL : LS_SHARD_REPLICATED;
    out_split[2] = out_split[3] = in_split[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 20.0 * (double)ls_type_count(&sig->in[0]);
}

static void print(const void *attr, ls_text *out) {
    const ls_cross_entropy_attr *a = attr;
    ls_text_append(out, "label_smoothing=%.9g ignore_index=%d grad_scale=%.9g",
                   (double)a->label_smoothing, (int)a->ignore_index, (double)a->grad_scale);
}

ls_status ls_cross_entropy_check(const ls_launch *launch) {
    const ls_cross_entropy_attr *a = launch->sig->attr;
    const int32_t *targets = launch->in[1].data;
    const int64_t n = ls_shape_count(&launch->in[1].shape);
    const int64_t v = launch->in[0].shape.dims[launch->in[0].shape.n_dims - 1];
    for (int64_t i = 0; i < n; i++)
        if (targets[i] != a->ignore_index && (targets[i] < 0 || targets[i] >= v))
            return LS_FAIL(
                LS_ERR_DATA,
                "op cross_entropy: target %d at position %lld is outside [0, %lld) and not "
                "the ignored %d",
                (int)targets[i], (long long)i, (long long)v, (int)a->ignore_index);
    return LS_OK;
}

/* Tree over rows in double without memory for the terms: the same tree as ls_tree_sum. */
static double sum_rows(const ls_tensor *rows, int64_t first, int64_t n) {
    if (n <= 0) return 0;
    if (n == 1) return ls_tensor_get(rows, first);
    int64_t left = 1;
    while (left * 2 < n) left *= 2;
    return sum_rows(rows, first, left) + sum_rows(rows, first + left, n - left);
}

void ls_cross_entropy_finish(const ls_launch *launch) {
    const ls_cross_entropy_attr *a = launch->sig->attr;
    const int32_t *targets = launch->in[1].data;
    const int64_t n = ls_shape_count(&launch->in[1].shape);
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += targets[i] != a->ignore_index;
    ls_tensor_set(&launch->out[0], 0, sum_rows(&launch->out[3], 0, n));
    ls_tensor_set(&launch->out[1], 0, (double)count);
}

/* One row from element `at`; returns the loss and writes dlogits. */
static double row_ref(const ls_launch *launch, int64_t at, int64_t v, int32_t target,
                      double scale) {
    const ls_cross_entropy_attr *a = launch->sig->attr;
    const ls_tensor *x = &launch->in[0];
    const double smoothing = (double)a->label_smoothing;
    double largest = -INFINITY, sum = 0, mean = 0;
    for (int64_t j = 0; j < v; j++) {
        const double value = ls_tensor_get(x, at + j);
        if (value > largest || isnan(value)) largest = value;
        mean += value / (double)v;
        if (isnan(largest)) break;
    }
    for (int64_t j = 0; j < v; j++) sum += exp(ls_tensor_get(x, at + j) - largest);
    const double log_sum = largest + log(sum);
    const double picked = ls_tensor_get(x, at + target);
    for (int64_t j = 0; j < v; j++) {
        const double p = exp(ls_tensor_get(x, at + j) - log_sum);
        const double q = (j == target ? 1 - smoothing : 0) + smoothing / (double)v;
        ls_tensor_set(&launch->out[2], at + j, scale * (p - q));
    }
    const double smooth = smoothing > 0 ? smoothing * (log_sum - mean) : 0;
    return (1 - smoothing) * (log_sum - picked) + smooth;
}

static ls_status launch_ref(const ls_launch *launch) {
    const ls_cross_entropy_attr *a = launch->sig->attr;
    const int32_t *targets = launch->in[1].data;
    const int64_t n = ls_shape_count(&launch->in[1].shape);
    const int64_t v = launch->in[0].shape.dims[launch->in[0].shape.n_dims - 1];
    const double scale =
        (double)a->grad_scale * (launch->sig->n_in > 2 ? ls_tensor_get(&launch->in[2], 0) : 1);
    LS_TRY(ls_cross_entropy_check(launch));
    for (int64_t i = 0; i < n; i++) {
        const int counted = targets[i] != a->ignore_index;
        const double loss = counted ? row_ref(launch, i * v, v, targets[i], scale) : 0;
        ls_tensor_set(&launch->out[3], i, loss);
        for (int64_t j = 0; !counted && j < v; j++) ls_tensor_set(&launch->out[2], i * v + j, 0);
    }
    ls_cross_entropy_finish(launch);
    return LS_OK;
}

LS_DECLARE_CPU_KERNELS(cross_entropy_fwd)
#ifdef LS_X86
extern const ls_kernel ls_kernel_cross_entropy_fwd_avx512bf16;
#endif
static const ls_kernel cross_entropy_fwd_ref = {
    .name = "cross_entropy_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {
#ifdef LS_X86
    &ls_kernel_cross_entropy_fwd_avx512bf16,
#endif
    LS_CPU_KERNELS(cross_entropy_fwd), &cross_entropy_fwd_ref, NULL};

const ls_op ls_op_cross_entropy = {.name = "cross_entropy",
                                   .min_in = 2,
                                   .max_in = 3,
                                   .attr_bytes = sizeof(ls_cross_entropy_attr),
                                   .flags = LS_OP_KEEP_F32,
                                   .infer = infer,
                                   .grad = grad,
                                   .shard = shard,
                                   .cost = cost,
                                   .print = print,
                                   .kernels = kernels};

ls_value ls_cross_entropy(ls_graph *graph, ls_value logits, ls_value targets,
                          const ls_cross_entropy_attr *attr, ls_value loss_scale) {
    const ls_value in[3] = {logits, targets, loss_scale};
    return ls_graph_node(graph, &ls_op_cross_entropy, attr, in, loss_scale == LS_VALUE_NONE ? 2 : 3,
                         NULL);
}

ls_value ls_loss_result(const ls_graph *graph, ls_value loss_sum, int i) {
    if (loss_sum < 0 || loss_sum >= graph->n_values) return LS_VALUE_NONE;
    const ls_value_info *info = &graph->values[loss_sum];
    if (info->kind != LS_VALUE_RESULT || i < 0 || i >= graph->nodes[info->node].n_out)
        return LS_VALUE_NONE;
    return graph->nodes[info->node].out[i];
}
