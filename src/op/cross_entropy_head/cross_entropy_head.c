/* N rows, V classes, D width. */
#include "op/cross_entropy_head/cross_entropy_head.h"

#include "op/cross_entropy_head/head_blocks.h"
#include "op/op.h"

static ls_status check_product(const ls_cross_entropy_head_attr *a, const ls_type *x,
                               const ls_type *w) {
    char left[128], right[128];
    LS_TRY(ls_infer_float("cross_entropy_head", "x", x));
    LS_TRY(ls_infer_dims("cross_entropy_head", "W", w, 2));
    const int64_t d = w->shape.dims[a->w_is_NK ? 1 : 0];
    if (x->dtype == w->dtype && x->shape.n_dims >= 2 && x->shape.dims[x->shape.n_dims - 1] == d)
        return LS_OK;
    return LS_FAIL(
        LS_ERR_INVALID,
        "op cross_entropy_head: wants x [.., D] and W %s of one dtype, got %s %s and %s %s",
        a->w_is_NK ? "[V, D]" : "[D, V]", ls_dtype_name(x->dtype), ls_shape_print(&x->shape, left),
        ls_dtype_name(w->dtype), ls_shape_print(&w->shape, right));
}

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_cross_entropy_head_attr *a = attr;
    LS_TRY(check_product(a, &in[0], &in[1]));
    ls_type loss_in[3] = {in[0], in[2]}, loss_out[LS_MAX_OUT];
    loss_in[0].shape.dims[in[0].shape.n_dims - 1] = in[1].shape.dims[a->w_is_NK ? 0 : 1];
    if (n_in > 3) loss_in[2] = in[3];
    LS_TRY(ls_op_cross_entropy.infer(&a->loss, n_in - 1, loss_in, n_out, loss_out));
    out[LS_HEAD_LOSS] = loss_out[0];
    out[LS_HEAD_COUNT] = loss_out[1];
    out[LS_HEAD_DX] = in[0];
    out[LS_HEAD_DW] = (ls_type){loss_out[0].dtype, in[1].shape};
    out[LS_HEAD_ROWS] = loss_out[3];
    *n_out = a->loss_only ? LS_HEAD_DX : LS_HEAD_N_OUT;
    return LS_OK;
}

/* Rows may be split: sums, and the gradient of a whole W, become partial. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int split = in_split[0];
    if (split == LS_SHARD_PARTIAL || split >= sig->in[2].shape.n_dims || split != in_split[2] ||
        in_split[1] != LS_SHARD_REPLICATED)
        return LS_FAIL(
            LS_ERR_UNSUPPORTED,
            "op cross_entropy_head: x and targets may be split by rows only, alike, and W not");
    const int sums = split >= 0 ? LS_SHARD_PARTIAL : LS_SHARD_REPLICATED;
    out_split[LS_HEAD_LOSS] = out_split[LS_HEAD_COUNT] = sums;
    out_split[LS_HEAD_ROWS] = split;
    if (sig->n_out <= LS_HEAD_DX) return LS_OK;
    out_split[LS_HEAD_DX] = split;
    out_split[LS_HEAD_DW] = sums;
    return LS_OK;
}

/* Three products (one without gradients). Logits stay where they are made: bytes are those of the operands. */
static void cost(const ls_sig *sig, ls_cost *out) {
    const double n = (double)ls_type_count(&sig->in[2]), w = (double)ls_type_count(&sig->in[1]);
    const double d = (double)sig->in[0].shape.dims[sig->in[0].shape.n_dims - 1];
    ls_cost_default(sig, out);
    out->flops = (sig->n_out > LS_HEAD_DX ? 6.0 : 2.0) * n * w + (d > 0 ? 20.0 * n * w / d : 0);
}

static void print(const void *attr, ls_text *out) {
    const ls_cross_entropy_head_attr *a = attr;
    ls_op_cross_entropy.print(&a->loss, out);
    ls_text_append(out, " w_is_NK=%d", a->w_is_NK);
    if (a->loss_only) ls_text_append(out, " loss_only=1");
}

static const char *refuses(const ls_sig *sig) {
    const ls_dtype dtype = sig->in[0].dtype;
    if (dtype != LS_DTYPE_F32 && dtype != LS_DTYPE_BF16 && dtype != LS_DTYPE_F16)
        return "x is not f32, bf16 or f16";
    return sig->n_in > 3 && sig->in[3].dtype == LS_DTYPE_F64 ? "loss_scale is f64" : NULL;
}

static size_t workspace_blocks(const ls_sig *sig, int n_threads) {
    return ls_head_workspace(sig, 0, n_threads);
}

static size_t workspace_ref(const ls_sig *sig, int n_threads) {
    return ls_head_workspace(sig, 1, n_threads);
}

static ls_status launch_blocks(const ls_launch *launch) {
    return ls_head_launch(launch, 0);
}

static ls_status launch_ref(const ls_launch *launch) {
    return ls_head_launch(launch, 1);
}

static const ls_kernel cross_entropy_head_cpu_blocks = {.name = "cross_entropy_head_cpu_blocks",
                                                        .device = LS_DEVICE_CPU,
                                                        .refuses = refuses,
                                                        .workspace_bytes = workspace_blocks,
                                                        .launch = launch_blocks};
static const ls_kernel cross_entropy_head_ref = {.name = "cross_entropy_head_ref",
                                                 .device = LS_DEVICE_CPU,
                                                 .workspace_bytes = workspace_ref,
                                                 .launch = launch_ref};
static const ls_kernel *const kernels[] = {&cross_entropy_head_cpu_blocks, &cross_entropy_head_ref,
                                           NULL};

const ls_op ls_op_cross_entropy_head = {.name = "cross_entropy_head",
                                        .min_in = 3,
                                        .max_in = 4,
                                        .attr_bytes = sizeof(ls_cross_entropy_head_attr),
                                        .flags = LS_OP_KEEP_F32,
                                        .infer = infer,
                                        .shard = shard,
                                        .cost = cost,
                                        .print = print,
                                        .kernels = kernels};
