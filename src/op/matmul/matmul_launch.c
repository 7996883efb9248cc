/* From a matmul launch to blocked products, one per batch. */
#include "op/matmul/gemm_direct_run.h"
#include "op/matmul/gemm_engines.h"
#include "op/matmul/matmul_shape.h"

static ls_gemm describe(const ls_sig *sig, const ls_matmul_shape *shape) {
    const ls_matmul_attr *attr = sig->attr;
    ls_gemm gemm = {.m = shape->m, .n = shape->n, .k = shape->k};
    gemm.a = (ls_gemm_operand){NULL, sig->in[0].dtype, attr->transpose_a ? shape->m : shape->k,
                               !attr->transpose_a};
    gemm.b = (ls_gemm_operand){NULL, sig->in[1].dtype, attr->transpose_b ? shape->k : shape->n,
                               attr->transpose_b};
    gemm.out = (ls_gemm_out){.dtype = sig->out[0].dtype,
                             .ld = shape->n,
                             .alpha = attr->alpha,
                             .activation = attr->activation};
    if (attr->has_bias) gemm.out.bias_dtype = sig->in[2].dtype;
    return gemm;
}

/* Points the epilogue's operands at something, so that planning and running see the same epilogue. */
static void mark_epilogue(const ls_sig *sig, ls_gemm_out *out) {
    const ls_matmul_attr *attr = sig->attr;
    if (attr->has_bias) out->bias = sig;
    if (attr->has_residual) out->residual = sig;
}

static size_t count_workspace(const ls_gemm_engine *engine, const ls_sig *sig, int n_threads,
                              int is_packed) {
    const ls_matmul_shape shape = ls_matmul_shape_of(sig);
    ls_gemm gemm = describe(sig, &shape);
    mark_epilogue(sig, &gemm.out);
    if (is_packed) gemm.packed_b = sig;
    return ls_gemm_workspace_bytes(engine, &gemm, n_threads);
}

size_t ls_matmul_workspace_bytes(const ls_gemm_engine *engine, const ls_sig *sig, int n_threads) {
    return count_workspace(engine, sig, n_threads, 0);
}

int ls_matmul_packs(const ls_gemm_engine *engine, const ls_sig *sig) {
    const ls_matmul_shape shape = ls_matmul_shape_of(sig);
    const ls_gemm gemm = describe(sig, &shape);
    return !ls_gemm_is_direct(engine, &gemm);
}

size_t ls_matmul_packed_workspace_bytes(const ls_gemm_engine *engine, const ls_sig *sig,
                                        int n_threads) {
    return count_workspace(engine, sig, n_threads, 1);
}

static void *shift(void *data, ls_dtype dtype, int64_t elements) {
    return data ? (char *)data + elements * (int64_t)ls_dtype_bytes(dtype) : NULL;
}

static const void *shift_const(const ls_tensor *tensor, int64_t elements) {
    return (const char *)tensor->data + elements * (int64_t)ls_dtype_bytes(tensor->dtype);
}

static ls_status launch_products(const ls_gemm_engine *engine, const ls_launch *launch,
                                 const void *packed_b) {
    const ls_sig *sig = launch->sig;
    const ls_matmul_attr *attr = sig->attr;
    const ls_matmul_shape shape = ls_matmul_shape_of(sig);
    ls_gemm gemm = describe(sig, &shape);
    const ls_dtype dtype = gemm.out.dtype;
    gemm.packed_b = packed_b;
    if (attr->has_bias) gemm.out.bias = launch->in[2].data;
    for (int64_t i = 0; i < shape.n_batch; i++) {
        const int64_t at = i * shape.m * shape.n;
        gemm.a.data = shift_const(&launch->in[0], i * shape.a_step);
        gemm.b.data = shift_const(&launch->in[1], i * shape.b_step);
        gemm.out.data = shift(launch->out[0].data, dtype, at);
        if (sig->n_out > 1) gemm.out.pre = shift(launch->out[1].data, dtype, at);
        if (attr->has_residual)
            gemm.out.residual = shift_const(&launch->in[2 + attr->has_bias], at);
        LS_TRY(ls_gemm_run(engine, &gemm, launch->workspace, launch->pool));
    }
    return LS_OK;
}

ls_status ls_matmul_launch(const ls_gemm_engine *engine, const ls_launch *launch) {
    return launch_products(engine, launch, NULL);
}

ls_status ls_matmul_packed_launch(const ls_gemm_engine *engine, const ls_launch *launch) {
    return launch_products(engine, launch, launch->in[1].data);
}

static int is_narrow(ls_dtype dtype) {
    return dtype == LS_DTYPE_F32 || dtype == LS_DTYPE_BF16 || dtype == LS_DTYPE_F16;
}

const char *ls_gemm_refuses_wide(const ls_sig *sig) {
    for (int i = 0; i < sig->n_in; i++)
        if (!is_narrow(sig->in[i].dtype)) return "an operand is not f32, bf16 or f16";
    return is_narrow(sig->out[0].dtype) ? NULL : "the result is not f32, bf16 or f16";
}

const char *ls_gemm_refuses_pairs(const ls_sig *sig) {
    if (sig->in[0].dtype != LS_DTYPE_BF16 || sig->in[1].dtype != LS_DTYPE_BF16)
        return "the operands are not both bf16";
    return ls_gemm_refuses_wide(sig);
}
