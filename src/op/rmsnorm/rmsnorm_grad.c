/* With h = x * rstd and g = dy * gamma, per row of D elements: dx = rstd * (g - h * avg(g * h)); over rows:
 * dgamma = sum dy * h. */
#include "op/cpu_kernel.h"
#include "op/layernorm/norm_infer.h"
#include "op/rmsnorm/rmsnorm.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_rmsnorm_grad_attr *a = attr;
    LS_TRY(ls_norm_infer_stat("rmsnorm_grad", "rstd", &in[2], &in[0]));
    LS_TRY(ls_norm_infer_vector("rmsnorm_grad", "gamma", &in[1], &in[0]));
    LS_TRY(ls_norm_infer_sums("rmsnorm_grad", &a->sums, n_in, in, 3));
    *n_out = 2;
    out[0] = in[0];
    out[1] = (ls_type){(ls_dtype)a->gamma_dtype, in[1].shape};
    return ls_infer_float("rmsnorm_grad", "dgamma", &out[1]);
}

/* Split rows leave every rank with a term of dgamma. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int last = sig->in[0].shape.n_dims - 1, rows = in_split[0];
    int bad = rows == last || rows == LS_SHARD_PARTIAL || in_split[1] != LS_SHARD_REPLICATED;
    for (int i = 2; i < sig->n_in; i++) bad |= in_split[i] != rows;
    if (bad)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op rmsnorm_grad: x, rstd and dy must be split along one leading dim of x, "
                       "gamma must be whole");
    out_split[0] = rows;
    out_split[1] = rows == LS_SHARD_REPLICATED ? LS_SHARD_REPLICATED : LS_SHARD_PARTIAL;
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = (9.0 + sig->n_in - 4) * (double)ls_type_count(&sig->in[0]);
}

static void print(const void *attr, ls_text *out) {
    const ls_rmsnorm_grad_attr *a = attr;
    ls_text_append(out, "dgamma=%s", ls_dtype_name((ls_dtype)a->gamma_dtype));
    ls_norm_print_sums(&a->sums, out);
}

static const ls_norm_sums *sums_of(const ls_launch *l) {
    return &((const ls_rmsnorm_grad_attr *)l->sig->attr)->sums;
}

static void write_dx_ref(const ls_launch *l, int64_t row, int64_t n) {
    const double rstd = ls_tensor_get(&l->in[2], row);
    double mean_gh = 0;
    for (int64_t i = 0; i < n; i++)
        mean_gh += ls_norm_dy(l, sums_of(l), 3, row * n + i) * ls_tensor_get(&l->in[1], i) *
                   ls_tensor_get(&l->in[0], row * n + i) * rstd / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const double g = ls_norm_dy(l, sums_of(l), 3, row * n + i) * ls_tensor_get(&l->in[1], i);
        const double h = ls_tensor_get(&l->in[0], row * n + i) * rstd;
        const double dx = rstd * (g - h * mean_gh);
        ls_tensor_set(&l->out[0], row * n + i, ls_norm_dx(l, sums_of(l), row * n + i, dx));
    }
}

static ls_status launch_ref(const ls_launch *l) {
    const int64_t n = ls_shape_count(&l->in[1].shape), n_rows = ls_shape_count(&l->in[2].shape);
    for (int64_t i = 0; i < n; i++) {
        double dgamma = 0;
        for (int64_t row = 0; row < n_rows; row++)
            dgamma += ls_norm_dy(l, sums_of(l), 3, row * n + i) *
                      ls_tensor_get(&l->in[0], row * n + i) * ls_tensor_get(&l->in[2], row);
        ls_tensor_set(&l->out[1], i, dgamma);
    }
    /* last: dx may lie over x or dy */
    for (int64_t row = 0; row < n_rows; row++) write_dx_ref(l, row, n);
    return LS_OK;
}

static const ls_kernel rmsnorm_grad_ref = {
    .name = "rmsnorm_grad_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(rmsnorm_grad)
#ifdef LS_X86
extern const ls_kernel ls_kernel_rmsnorm_grad_avx512bf16;
#endif
static const ls_kernel *const kernels[] = {
#ifdef LS_X86
    &ls_kernel_rmsnorm_grad_avx512bf16,
#endif
    LS_CPU_KERNELS(rmsnorm_grad), &rmsnorm_grad_ref, NULL};

const ls_op ls_op_rmsnorm_grad = {
    .name = "rmsnorm_grad",
    .min_in = 4,
    .max_in = 5 + LS_NORM_MORE,
    .attr_bytes = sizeof(ls_rmsnorm_grad_attr),
    .infer = infer,
    .shard = shard,
    .cost = cost,
    .print = print,
    .may_overwrite = (1u << 0) | (0x1fu << 3),
    .kernels = kernels,
};
