/* One product, and the sums of b's columns where a zero point has to be taken out again:
 * sum (a - z) b = sum a b - z sum b. */
#include "op/scaled_matmul/scaled_launch.h"

enum { SUM_COLUMNS = 256 /* of a task */, ALIGN_BYTES = 64 };

static ls_gemm describe(const ls_sig *sig) {
    const ls_scaled_matmul_attr *attr = sig->attr;
    const ls_shape *a = &sig->in[0].shape, *b = &sig->in[1].shape;
    ls_gemm gemm = {.m = ls_type_count(&sig->in[2]),
                    .n = b->dims[attr->transpose_b ? 0 : 1],
                    .k = a->dims[a->n_dims - 1]};
    gemm.a = (ls_gemm_operand){NULL, sig->in[0].dtype, gemm.k, 1};
    gemm.b = (ls_gemm_operand){NULL, LS_DTYPE_I8, attr->transpose_b ? gemm.k : gemm.n,
                               attr->transpose_b};
    gemm.out = (ls_gemm_out){
        .dtype = sig->out[0].dtype, .ld = gemm.n, .alpha = 1, .bias_dtype = LS_DTYPE_F32};
    return gemm;
}

static const ls_gemm_engine *engine_of(const ls_scaled_engine *e, const ls_sig *sig) {
    return sig->in[0].dtype == LS_DTYPE_U8 ? e->u8 : e->i8;
}

static int32_t shift_of(const ls_scaled_engine *e, const ls_sig *sig) {
    return sig->in[0].dtype == LS_DTYPE_I8 ? e->i8_shift : 0;
}

static size_t sums_bytes(const ls_scaled_engine *e, const ls_sig *sig, int64_t n) {
    const ls_scaled_matmul_attr *attr = sig->attr;
    if (!attr->has_zero && !shift_of(e, sig)) return 0;
    return ((size_t)n * sizeof(int32_t) + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
}

size_t ls_scaled_workspace_bytes(const ls_scaled_engine *e, const ls_sig *sig, int n_threads) {
    ls_gemm gemm = describe(sig);
    const ls_gemm_scaled scaled = {0};
    gemm.out.scaled = &scaled;
    return sums_bytes(e, sig, gemm.n) +
           ls_gemm_workspace_bytes(engine_of(e, sig), &gemm, n_threads);
}

typedef struct sum_job {
    const ls_scaled_engine *engine;
    const ls_gemm *gemm;
    int32_t *sums;
} sum_job;

static ls_status sum_columns(void *user, int64_t task, int worker) {
    const sum_job *job = user;
    const ls_gemm *g = job->gemm;
    const int64_t first = task * SUM_COLUMNS, left = g->n - first;
    (void)worker;
    job->engine->sum_columns(&g->b, g->k, first, left < SUM_COLUMNS ? left : SUM_COLUMNS,
                             job->sums + first);
    return LS_OK;
}

ls_status ls_scaled_launch(const ls_scaled_engine *e, const ls_launch *launch) {
    const ls_sig *sig = launch->sig;
    const ls_scaled_matmul_attr *attr = sig->attr;
    ls_gemm gemm = describe(sig);
    const size_t bytes = sums_bytes(e, sig, gemm.n);
    ls_gemm_scaled scaled = {
        .row_scale = launch->in[2].data, .col_scale = launch->in[3].data, .zero = shift_of(e, sig)};
    gemm.a.data = launch->in[0].data;
    gemm.b.data = launch->in[1].data;
    gemm.out.data = launch->out[0].data;
    gemm.out.scaled = &scaled;
    if (attr->has_zero) scaled.row_zero = launch->in[4].data;
    if (attr->has_bias) gemm.out.bias = launch->in[4 + attr->has_zero].data;
    if (bytes) {
        sum_job job = {e, &gemm, launch->workspace};
        scaled.col_sum = job.sums;
        LS_TRY(
            ls_pool_run(launch->pool, (gemm.n + SUM_COLUMNS - 1) / SUM_COLUMNS, sum_columns, &job));
    }
    return ls_gemm_run(engine_of(e, sig), &gemm, (char *)launch->workspace + bytes, launch->pool);
}
