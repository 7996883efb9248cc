/* scaled_matmul: types, sharding, cost, reference kernel, builder. */
#include "op/scaled_matmul/scaled_matmul.h"
#include "op/cpu_kernel.h"
#include "op/op.h"

LS_DECLARE_CPU_KERNELS(scaled_matmul)
extern const ls_kernel ls_kernel_scaled_matmul_amx, ls_kernel_scaled_matmul_avx512bf16;

/* --- types ------------------------------------------------------------------------------------------------------- */

static ls_status check_operand(const char *name, const ls_type *type, ls_dtype dtype, int n_dims,
                               const int64_t *dims) {
    char want[128], got[128];
    ls_shape shape = {.n_dims = n_dims};
    for (int i = 0; i < n_dims; i++) shape.dims[i] = dims[i];
    if (type->dtype == dtype && ls_shape_equal(&type->shape, &shape)) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op scaled_matmul: %s must be %s %s, got %s %s", name,
                   ls_dtype_name(dtype), ls_shape_print(&shape, want), ls_dtype_name(type->dtype),
                   ls_shape_print(&type->shape, got));
}

static ls_status check_attr(const ls_scaled_matmul_attr *attr, int n_in) {
    if (n_in != 4 + attr->has_zero + attr->has_bias)
        return LS_FAIL(LS_ERR_INVALID,
                       "op scaled_matmul: %d inputs given, attributes ask for %d (a, b, scale_a, "
                       "scale_b%s%s)",
                       n_in, 4 + attr->has_zero + attr->has_bias, attr->has_zero ? ", zero_a" : "",
                       attr->has_bias ? ", bias" : "");
    if (attr->out_dtype != LS_DTYPE_F32 && attr->out_dtype != LS_DTYPE_BF16)
        return LS_FAIL(LS_ERR_INVALID, "op scaled_matmul: out_dtype must be f32 or bf16, got %s",
                       ls_dtype_name((ls_dtype)attr->out_dtype));
    return LS_OK;
}

static ls_status check_bytes(const ls_scaled_matmul_attr *attr, const ls_type *in) {
    const ls_shape *a = &in[0].shape, *b = &in[1].shape;
    char left[128], right[128];
    if (in[0].dtype != LS_DTYPE_U8 && in[0].dtype != LS_DTYPE_I8)
        return LS_FAIL(LS_ERR_INVALID, "op scaled_matmul: a must be u8 or i8, got %s",
                       ls_dtype_name(in[0].dtype));
    if (in[1].dtype != LS_DTYPE_I8)
        return LS_FAIL(LS_ERR_INVALID, "op scaled_matmul: b must be i8, got %s",
                       ls_dtype_name(in[1].dtype));
    if (a->n_dims < 2 || b->n_dims != 2)
        return LS_FAIL(LS_ERR_INVALID,
                       "op scaled_matmul: a needs at least 2 dims and b has 2, got %s and %s",
                       ls_shape_print(a, left), ls_shape_print(b, right));
    const int64_t k = a->dims[a->n_dims - 1], k_b = b->dims[attr->transpose_b ? 1 : 0];
    if (k != k_b)
        return LS_FAIL(LS_ERR_INVALID,
                       "op scaled_matmul: inner dims differ: a %s has %lld, b %s%s has %lld",
                       ls_shape_print(a, left), (long long)k, ls_shape_print(b, right),
                       attr->transpose_b ? " transposed" : "", (long long)k_b);
    if (k > LS_SCALED_MATMUL_MAX_K)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op scaled_matmul: inner dim %lld: sums of more than %d products may not "
                       "fit s32; cut K and add the parts",
                       (long long)k, (int)LS_SCALED_MATMUL_MAX_K);
    return LS_OK;
}

static ls_status infer(const void *opaque, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_scaled_matmul_attr *attr = opaque;
    LS_TRY(check_attr(attr, n_in));
    LS_TRY(check_bytes(attr, in));
    const ls_shape *a = &in[0].shape;
    const int64_t n = in[1].shape.dims[attr->transpose_b ? 0 : 1];
    const int rows = a->n_dims - 1;
    LS_TRY(check_operand("scale_a", &in[2], LS_DTYPE_F32, rows, a->dims));
    LS_TRY(check_operand("scale_b", &in[3], LS_DTYPE_F32, 1, &n));
    if (attr->has_zero) LS_TRY(check_operand("zero_a", &in[4], LS_DTYPE_I32, rows, a->dims));
    if (attr->has_bias) LS_TRY(check_operand("bias", &in[4 + attr->has_zero], LS_DTYPE_F32, 1, &n));
    out[0] = (ls_type){(ls_dtype)attr->out_dtype, *a};
    out[0].shape.dims[rows] = n;
    *n_out = 1;
    return LS_OK;
}

/* --- sharding and cost ------------------------------------------------------------------------------------------- */

/* Rows of a with its scales and zeros, or columns of b with its scales and the bias. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const ls_scaled_matmul_attr *attr = sig->attr;
    const int last = sig->out[0].shape.n_dims - 1, columns = attr->transpose_b ? 0 : 1;
    const int by_row = in_split[0] >= 0 && in_split[0] < last, by_column = in_split[1] == columns;
    int fits = in_split[2] == (by_row ? in_split[0] : LS_SHARD_REPLICATED) &&
               in_split[3] == (by_column ? 0 : LS_SHARD_REPLICATED) &&
               (by_row || in_split[0] == LS_SHARD_REPLICATED) &&
               (by_column || in_split[1] == LS_SHARD_REPLICATED) && !(by_row && by_column);
    if (attr->has_zero) fits = fits && in_split[4] == in_split[2];
    if (attr->has_bias) fits = fits && in_split[4 + attr->has_zero] == in_split[3];
    if (!fits)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op scaled_matmul: split rows of a with scale_a and zero_a, or columns of b "
                       "with scale_b and bias");
    out_split[0] = by_row ? in_split[0] : by_column ? last : LS_SHARD_REPLICATED;
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    const ls_shape *a = &sig->in[0].shape;
    ls_cost_default(sig, out);
    out->flops = 2.0 * (double)ls_type_count(&sig->out[0]) * (double)a->dims[a->n_dims - 1];
}

static void print(const void *opaque, ls_text *out) {
    const ls_scaled_matmul_attr *attr = opaque;
    ls_text_append(out, "transpose_b=%d out=%s", attr->transpose_b,
                   ls_dtype_name((ls_dtype)attr->out_dtype));
    if (attr->has_zero) ls_text_append(out, " zero=1");
    if (attr->has_bias) ls_text_append(out, " bias=1");
}

/* --- reference ---------------------------------------------------------------------------------------------------- */

static int32_t byte_at(const ls_tensor *x, int64_t i) {
    return x->dtype == LS_DTYPE_U8 ? ((const uint8_t *)x->data)[i] : ((const int8_t *)x->data)[i];
}

/* One row: the formula, sums in integers, scales in f32. */
static ls_status run_row(void *user, int64_t row, int worker) {
    const ls_launch *l = user;
    const ls_scaled_matmul_attr *attr = l->sig->attr;
    const ls_shape *a = &l->sig->in[0].shape;
    const int64_t n = l->out[0].shape.dims[a->n_dims - 1], n_k = a->dims[a->n_dims - 1];
    const int32_t zero = attr->has_zero ? ((const int32_t *)l->in[4].data)[row] : 0;
    (void)worker;
    for (int64_t j = 0; j < n; j++) {
        int64_t sum = 0;
        for (int64_t k = 0; k < n_k; k++)
            sum += (int64_t)(byte_at(&l->in[0], row * n_k + k) - zero) *
                   byte_at(&l->in[1], attr->transpose_b ? j * n_k + k : k * n + j);
        float x = (float)(int32_t)sum * ((const float *)l->in[2].data)[row];
        x = x * ((const float *)l->in[3].data)[j];
        if (attr->has_bias) x = x + ((const float *)l->in[4 + attr->has_zero].data)[j];
        ls_tensor_set(&l->out[0], row * n + j, (double)x);
    }
    return LS_OK;
}

static ls_status launch_ref(const ls_launch *launch) {
    ls_launch own = *launch;
    return ls_pool_run(launch->pool, ls_type_count(&launch->sig->in[2]), run_row, &own);
}

static const ls_kernel scaled_matmul_ref = {
    .name = "scaled_matmul_ref", .device = LS_DEVICE_CPU, .isa = LS_ISA_BASE, .launch = launch_ref};

static const ls_kernel *const kernels[] = {
#ifdef LS_X86
    &ls_kernel_scaled_matmul_amx, &ls_kernel_scaled_matmul_avx512bf16,
#endif
    LS_CPU_KERNELS(scaled_matmul), &scaled_matmul_ref, NULL};

const ls_op ls_op_scaled_matmul = {.name = "scaled_matmul",
                                   .min_in = 4,
                                   .max_in = 6,
                                   .attr_bytes = sizeof(ls_scaled_matmul_attr),
                                   .flags = LS_OP_KEEP_F32,
                                   .infer = infer,
                                   .shard = shard,
                                   .cost = cost,
                                   .print = print,
                                   .kernels = kernels};

ls_value ls_scaled_matmul(ls_graph *graph, const ls_value ab[2], const ls_value scales[2],
                          ls_value zero, ls_value bias, const ls_scaled_matmul_attr *attr) {
    ls_value in[6] = {ab[0], ab[1], scales[0], scales[1]};
    int n_in = 4;
    if (attr->has_zero) in[n_in++] = zero;
    if (attr->has_bias) in[n_in++] = bias;
    return ls_graph_node(graph, &ls_op_scaled_matmul, attr, in, n_in, NULL);
}
