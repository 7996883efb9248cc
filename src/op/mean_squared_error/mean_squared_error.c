#include "op/mean_squared_error/mean_squared_error.h"

#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/mul/mul.h"
#include "op/op.h"
#include "op/scale/scale.h"
#include <math.h>

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const float scale = ((const ls_mean_squared_error_attr *)attr)->grad_scale;
    if (!isfinite(scale) || scale == 0)
        return LS_FAIL(
            LS_ERR_INVALID,
            "op mean_squared_error: grad_scale must be finite and not 0, got %g; 1 for none",
            (double)scale);
    LS_TRY(ls_elementwise_infer("mean_squared_error", n_in, in, n_out, out));
    const ls_dtype stats = in[0].dtype == LS_DTYPE_F64 ? LS_DTYPE_F64 : LS_DTYPE_F32;
    *n_out = 3;
    out[0] = out[1] = (ls_type){stats, {0}};
    out[2] = in[0];
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    const ls_mean_squared_error_attr *a = g->sig->attr;
    if (g->wants[1])
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op mean_squared_error has no gradient for its target; swap x and target");
    if (!g->wants[0]) return LS_OK;
    ls_value dx = g->out[2];
    if (g->dout[0] != LS_VALUE_NONE)
        dx = ls_mul(g->graph, dx, ls_scale(g->graph, g->dout[0], 1.0 / (double)a->grad_scale));
    g->din[0] = ls_grad_fit(g, 0, dx);
    return LS_OK;
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    LS_TRY(ls_elementwise_shard(sig, in_split, out_split));
    out_split[0] = out_split[1] = in_split[0] >= 0 ? LS_SHARD_PARTIAL : LS_SHARD_REPLICATED;
    out_split[2] = in_split[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 4.0 * (double)ls_type_count(&sig->in[0]);
}

static void print(const void *attr, ls_text *out) {
    ls_text_append(out, "grad_scale=%.9g",
                   (double)((const ls_mean_squared_error_attr *)attr)->grad_scale);
}

static ls_status launch_ref(const ls_launch *launch) {
    const ls_mean_squared_error_attr *a = launch->sig->attr;
    const int64_t n = ls_type_count(&launch->sig->in[0]);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = ls_tensor_get(&launch->in[0], i) - ls_tensor_get(&launch->in[1], i);
        sum += d * d;
        ls_tensor_set(&launch->out[2], i, 2 * (double)a->grad_scale * d);
    }
    ls_tensor_set(&launch->out[0], 0, sum);
    ls_tensor_set(&launch->out[1], 0, (double)n);
    return LS_OK;
}

LS_DECLARE_CPU_KERNELS(mean_squared_error_fwd)
static const ls_kernel mean_squared_error_fwd_ref = {
    .name = "mean_squared_error_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(mean_squared_error_fwd),
                                           &mean_squared_error_fwd_ref, NULL};

const ls_op ls_op_mean_squared_error = {.name = "mean_squared_error",
                                        .min_in = 2,
                                        .max_in = 2,
                                        .attr_bytes = sizeof(ls_mean_squared_error_attr),
                                        .flags = LS_OP_KEEP_F32,
                                        .infer = infer,
                                        .grad = grad,
                                        .shard = shard,
                                        .cost = cost,
                                        .print = print,
                                        .kernels = kernels};

ls_value ls_mean_squared_error(ls_graph *graph, ls_value x, ls_value target, float grad_scale) {
    const ls_mean_squared_error_attr attr = {grad_scale};
    const ls_value in[2] = {x, target};
    return ls_graph_node(graph, &ls_op_mean_squared_error, &attr, in, 2, NULL);
}
