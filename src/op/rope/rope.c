#include "op/rope/rope.h"

#include <math.h>

#include "op/cpu_kernel.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_rope_attr *a = attr;
    (void)n_in;
    LS_TRY(ls_infer_float("rope", "x", &in[0]));
    LS_TRY(ls_infer_dims("rope", "x [B, T, H, K]", &in[0], 4));
    if (in[0].shape.dims[3] % 2)
        return LS_FAIL(LS_ERR_INVALID, "op rope: head size must be even, got %lld",
                       (long long)in[0].shape.dims[3]);
    if (!(a->theta > 0) || isinf(a->theta))
        return LS_FAIL(LS_ERR_INVALID, "op rope: theta must be a positive number, got %g",
                       a->theta);
    if (a->position_offset < 0)
        return LS_FAIL(LS_ERR_INVALID, "op rope: position offset must be at least 0, got %lld",
                       (long long)a->position_offset);
    *n_out = 1;
    out[0] = in[0];
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    ls_rope_attr attr = *(const ls_rope_attr *)g->sig->attr;
    attr.inverse = !attr.inverse;
    if (g->wants[0] && g->dout[0] != LS_VALUE_NONE)
        g->din[0] = ls_graph_node(g->graph, &ls_op_rope, &attr, g->dout, 1, NULL);
    return LS_OK;
}

/* Positions and pairs must stay whole: only batch (0) and heads (2) may be split. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    (void)sig;
    if (in_split[0] == 1 || in_split[0] == 3 || in_split[0] == LS_SHARD_PARTIAL)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op rope: x may be split along batch (0) or heads (2), not along %d",
                       in_split[0]);
    out_split[0] = in_split[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 3.0 * (double)ls_type_count(&sig->in[0]);
}

static void print(const void *attr, ls_text *out) {
    const ls_rope_attr *a = attr;
    ls_text_append(out, "theta=%.17g offset=%lld interleaved=%d inverse=%d", a->theta,
                   (long long)a->position_offset, a->interleaved, a->inverse);
}

/* y = R(p * w_i) (x_first, x_second), all in double. */
static ls_status launch_ref(const ls_launch *l) {
    const ls_rope_attr *a = l->sig->attr;
    const int64_t *dims = l->in[0].shape.dims;
    const int64_t n_heads = dims[2], size = dims[3], half = size / 2;
    const int64_t n_rows = dims[0] * dims[1] * n_heads;
    for (int64_t row = 0; row < n_rows; row++) {
        const double position = (double)(a->position_offset + row / n_heads % dims[1]);
        for (int64_t i = 0; i < half; i++) {
            const double angle = position * pow(a->theta, -2.0 * (double)i / (double)size);
            const double c = cos(angle), s = a->inverse ? -sin(angle) : sin(angle);
            const int64_t first = row * size + (a->interleaved ? 2 * i : i);
            const int64_t second = a->interleaved ? first + 1 : first + half;
            const double x0 = ls_tensor_get(&l->in[0], first);
            const double x1 = ls_tensor_get(&l->in[0], second);
            ls_tensor_set(&l->out[0], first, x0 * c - x1 * s);
            ls_tensor_set(&l->out[0], second, x1 * c + x0 * s);
        }
    }
    return LS_OK;
}

static const ls_kernel rope_ref = {
    .name = "rope_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(rope)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(rope), &rope_ref, NULL};

const ls_op ls_op_rope = {
    .name = "rope",
    .min_in = 1,
    .max_in = 1,
    .attr_bytes = sizeof(ls_rope_attr),
    .infer = infer,
    .grad = grad,
    .shard = shard,
    .cost = cost,
    .print = print,
    .may_overwrite = 1u << 0,
    .kernels = kernels,
};

ls_value ls_rope(ls_graph *graph, ls_value x, double theta, int position_offset, int interleaved) {
    const ls_rope_attr attr = {theta, position_offset, interleaved != 0, 0};
    return ls_graph_node(graph, &ls_op_rope, &attr, &x, 1, NULL);
}
