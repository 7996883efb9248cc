/* matmul: types, sharding, cost, builders. Shapes: a[.., M, K], b[K, N] or [.., K, N], out[.., M, N]. */
#include "op/matmul/matmul.h"
#include "op/cpu_kernel.h"
#include "op/matmul/matmul_grad.h"
#include "op/matmul/matmul_shape.h"
#include "op/op.h"

LS_DECLARE_CPU_KERNELS(matmul_fwd)
extern const ls_kernel ls_kernel_matmul_fwd_amx;
extern const ls_kernel ls_kernel_matmul_fwd_avx512bf16;
extern const ls_kernel ls_kernel_matmul_fwd_ref;

const char *ls_activation_name(ls_activation activation) {
    static const char *const names[] = {"none", "gelu_tanh", "gelu_erf", "relu", "silu"};
    return (unsigned)activation < sizeof names / sizeof names[0] ? names[activation] : "unknown";
}

ls_matmul_shape ls_matmul_shape_of(const ls_sig *sig) {
    const ls_matmul_attr *attr = sig->attr;
    const ls_shape *a = &sig->in[0].shape, *b = &sig->in[1].shape;
    const int64_t *a_dims = a->dims + a->n_dims - 2, *b_dims = b->dims + b->n_dims - 2;
    ls_matmul_shape s = {.n_batch = 1};
    s.m = a_dims[attr->transpose_a ? 1 : 0];
    s.k = a_dims[attr->transpose_a ? 0 : 1];
    s.n = b_dims[attr->transpose_b ? 0 : 1];
    for (int i = 0; i < a->n_dims - 2; i++) s.n_batch *= a->dims[i];
    if (attr->sum_lead) {
        s.k *= s.n_batch;
        s.n_batch = 1;
    } else if (b->n_dims == 2) {
        s.m *= s.n_batch;
        s.n_batch = 1;
    }
    s.a_step = s.m * s.k;
    s.b_step = s.n_batch > 1 ? s.k * s.n : 0;
    return s;
}

/* --- types ------------------------------------------------------------------------------------------------------- */

static ls_status check_attr(const ls_matmul_attr *attr, int n_in) {
    if (n_in != 2 + attr->has_bias + attr->has_residual)
        return LS_FAIL(LS_ERR_INVALID, "op matmul: %d inputs given, attributes ask for %d", n_in,
                       2 + attr->has_bias + attr->has_residual);
    if ((unsigned)attr->activation > LS_ACT_SILU)
        return LS_FAIL(LS_ERR_INVALID, "op matmul: activation %d is not one of 0 (none) to %d",
                       (int)attr->activation, (int)LS_ACT_SILU);
    if (attr->out_dtype >= 0 && !ls_dtype_is_float((ls_dtype)attr->out_dtype))
        return LS_FAIL(LS_ERR_INVALID, "op matmul: out_dtype must be a float dtype or -1, got %s",
                       ls_dtype_name((ls_dtype)attr->out_dtype));
    if (!(attr->alpha < 0 || attr->alpha > 0))
        return LS_FAIL(LS_ERR_INVALID, "op matmul: alpha is %g; use 1 for a plain product",
                       (double)attr->alpha);
    return LS_OK;
}

/* Lead dims: b shared, or the same as a's. */
static ls_status check_lead(const ls_matmul_attr *attr, const ls_shape *a, const ls_shape *b) {
    char left[128], right[128];
    int same = a->n_dims == b->n_dims;
    for (int i = 0; same && i < a->n_dims - 2; i++) same = a->dims[i] == b->dims[i];
    if (attr->sum_lead && !(attr->transpose_a && !attr->transpose_b && same))
        return LS_FAIL(LS_ERR_INVALID,
                       "op matmul: sum_lead takes a transposed a [.., K, M] and a plain b of the "
                       "same lead dims, got %s and %s",
                       ls_shape_print(a, left), ls_shape_print(b, right));
    if (same) return LS_OK;
    if (b->n_dims != 2)
        return LS_FAIL(LS_ERR_INVALID,
                       "op matmul: b must have 2 dims or the lead dims of a, got %s and %s",
                       ls_shape_print(a, left), ls_shape_print(b, right));
    if (attr->transpose_a)
        return LS_FAIL(LS_ERR_INVALID,
                       "op matmul: a transposed a with lead dims %s cannot share one b %s; "
                       "transpose a first",
                       ls_shape_print(a, left), ls_shape_print(b, right));
    return LS_OK;
}

static ls_status check_product(const ls_matmul_attr *attr, const ls_type *in) {
    const ls_shape *a = &in[0].shape, *b = &in[1].shape;
    char left[128], right[128];
    LS_TRY(ls_infer_float("matmul", "a", &in[0]));
    LS_TRY(ls_infer_float("matmul", "b", &in[1]));
    if (a->n_dims < 2 || b->n_dims < 2)
        return LS_FAIL(LS_ERR_INVALID, "op matmul: a and b need at least 2 dims, got %s and %s",
                       ls_shape_print(a, left), ls_shape_print(b, right));
    LS_TRY(check_lead(attr, a, b));
    const int64_t k_a = a->dims[a->n_dims - (attr->transpose_a ? 2 : 1)];
    const int64_t k_b = b->dims[b->n_dims - (attr->transpose_b ? 1 : 2)];
    if (k_a != k_b)
        return LS_FAIL(
            LS_ERR_INVALID, "op matmul: inner dims differ: a %s%s has %lld, b %s%s has %lld",
            ls_shape_print(a, left), attr->transpose_a ? " transposed" : "", (long long)k_a,
            ls_shape_print(b, right), attr->transpose_b ? " transposed" : "", (long long)k_b);
    return LS_OK;
}

static ls_status check_epilogue(const ls_matmul_attr *attr, const ls_type *in, const ls_type *out) {
    char shape[128];
    const int64_t n = out->shape.dims[out->shape.n_dims - 1];
    if (attr->has_bias) {
        LS_TRY(ls_infer_float("matmul", "bias", &in[2]));
        if (in[2].shape.n_dims != 1 || in[2].shape.dims[0] != n)
            return LS_FAIL(LS_ERR_INVALID, "op matmul: bias must be [%lld], got %s", (long long)n,
                           ls_shape_print(&in[2].shape, shape));
    }
    if (!attr->has_residual) return LS_OK;
    const ls_type *residual = &in[2 + attr->has_bias];
    LS_TRY(ls_infer_same_shape("matmul", residual, out));
    if (residual->dtype != out->dtype)
        return LS_FAIL(LS_ERR_INVALID, "op matmul: the residual must be %s as the result, got %s",
                       ls_dtype_name(out->dtype), ls_dtype_name(residual->dtype));
    return LS_OK;
}

static ls_status infer(const void *opaque, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_matmul_attr *attr = opaque;
    LS_TRY(check_attr(attr, n_in));
    LS_TRY(check_product(attr, in));
    const ls_shape *a = &in[0].shape, *b = &in[1].shape;
    ls_type type = {attr->out_dtype < 0 ? in[0].dtype : (ls_dtype)attr->out_dtype, *a};
    if (attr->sum_lead) type.shape.n_dims = 2;
    int64_t *dims = type.shape.dims + type.shape.n_dims - 2;
    dims[0] = a->dims[a->n_dims - (attr->transpose_a ? 1 : 2)];
    dims[1] = b->dims[b->n_dims - (attr->transpose_b ? 2 : 1)];
    for (int i = type.shape.n_dims; i < LS_MAX_DIMS; i++) type.shape.dims[i] = 0;
    LS_TRY(check_epilogue(attr, in, &type));
    out[0] = out[1] = type;
    *n_out = attr->activation == LS_ACT_NONE ? 1 : 2;
    return LS_OK;
}

/* --- sharding and cost ------------------------------------------------------------------------------------------- */

static ls_status fail_shard(const char *what) {
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "op matmul: %s; split rows of a, columns of b, or the inner dim of both", what);
}

/* Where the split dims of a and b lie. */
typedef enum split_place { SPLIT_NONE, SPLIT_LEAD, SPLIT_OUTER, SPLIT_INNER, SPLIT_PARTIAL } place;

static place place_of(const ls_shape *shape, int split, int inner_dim) {
    if (split == LS_SHARD_REPLICATED) return SPLIT_NONE;
    if (split == LS_SHARD_PARTIAL) return SPLIT_PARTIAL;
    if (split < shape->n_dims - 2) return SPLIT_LEAD;
    return split == inner_dim ? SPLIT_INNER : SPLIT_OUTER;
}

static ls_status shard_epilogue(const ls_sig *sig, const int *in_split, int split) {
    const ls_matmul_attr *attr = sig->attr;
    const int last = sig->out[0].shape.n_dims - 1;
    if (split == LS_SHARD_PARTIAL &&
        (attr->has_bias || attr->has_residual || attr->activation != LS_ACT_NONE))
        return fail_shard("a split inner dim leaves partial sums, which the epilogue cannot take");
    if (attr->has_bias && in_split[2] != (split == last ? 0 : LS_SHARD_REPLICATED))
        return fail_shard("the bias is not split as the columns of the result");
    if (attr->has_residual && in_split[2 + attr->has_bias] != split)
        return fail_shard("the residual is not split as the result");
    return LS_OK;
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const ls_matmul_attr *attr = sig->attr;
    const ls_shape *sa = &sig->in[0].shape, *sb = &sig->in[1].shape;
    const int last = sig->out[0].shape.n_dims - 1;
    const place a = place_of(sa, in_split[0], sa->n_dims - (attr->transpose_a ? 2 : 1));
    const place b = place_of(sb, in_split[1], sb->n_dims - (attr->transpose_b ? 1 : 2));
    int split;
    if (a == SPLIT_PARTIAL || b == SPLIT_PARTIAL) return fail_shard("an operand is a partial sum");
    if (a == SPLIT_NONE && b == SPLIT_NONE)
        split = LS_SHARD_REPLICATED;
    else if (a == SPLIT_INNER && b == SPLIT_INNER)
        split = LS_SHARD_PARTIAL;
    else if (attr->sum_lead && a == SPLIT_LEAD && b == SPLIT_LEAD && in_split[0] == in_split[1])
        split = LS_SHARD_PARTIAL;
    else if (a == SPLIT_OUTER && b == SPLIT_NONE)
        split = last - 1;
    else if (a == SPLIT_NONE && b == SPLIT_OUTER)
        split = last;
    else if (a == SPLIT_LEAD && !attr->sum_lead &&
             (sb->n_dims == 2 ? b == SPLIT_NONE : in_split[0] == in_split[1]))
        split = in_split[0];
    else
        return fail_shard("the operands are split differently");
    LS_TRY(shard_epilogue(sig, in_split, split));
    for (int i = 0; i < sig->n_out; i++) out_split[i] = split;
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    const ls_matmul_shape s = ls_matmul_shape_of(sig);
    ls_cost_default(sig, out);
    out->flops = 2.0 * (double)s.n_batch * (double)s.m * (double)s.n * (double)s.k;
}

static void print(const void *opaque, ls_text *out) {
    const ls_matmul_attr *attr = opaque;
    ls_text_append(out, "transpose_a=%d transpose_b=%d", attr->transpose_a, attr->transpose_b);
    if (attr->activation != LS_ACT_NONE)
        ls_text_append(out, " activation=%s", ls_activation_name(attr->activation));
    if (attr->has_bias) ls_text_append(out, " bias=1");
    if (attr->has_residual) ls_text_append(out, " residual=1");
    if (attr->out_dtype >= 0)
        ls_text_append(out, " out=%s", ls_dtype_name((ls_dtype)attr->out_dtype));
    if (attr->alpha != 1.0f) ls_text_append(out, " alpha=%.9g", (double)attr->alpha);
    if (attr->sum_lead) ls_text_append(out, " sum_lead=1");
}

static const ls_kernel *const kernels[] = {
#ifdef LS_X86
    &ls_kernel_matmul_fwd_amx, &ls_kernel_matmul_fwd_avx512bf16,
#endif
    LS_CPU_KERNELS(matmul_fwd), &ls_kernel_matmul_fwd_ref, NULL};

const ls_op ls_op_matmul = {.name = "matmul",
                            .min_in = 2,
                            .max_in = 4,
                            .attr_bytes = sizeof(ls_matmul_attr),
                            .infer = infer,
                            .grad = ls_matmul_grad,
                            .shard = shard,
                            .cost = cost,
                            .print = print,
                            .kernels = kernels};

/* --- builders ---------------------------------------------------------------------------------------------------- */

ls_value ls_matmul_full(ls_graph *graph, ls_value a, ls_value b, ls_value bias, ls_value residual,
                        const ls_matmul_attr *attr) {
    ls_value in[4] = {a, b};
    int n_in = 2;
    if (attr->has_bias) in[n_in++] = bias;
    if (attr->has_residual) in[n_in++] = residual;
    return ls_graph_node(graph, &ls_op_matmul, attr, in, n_in, NULL);
}

ls_value ls_matmul(ls_graph *graph, ls_value a, ls_value b, int transpose_a, int transpose_b) {
    const ls_matmul_attr attr = {
        .transpose_a = transpose_a, .transpose_b = transpose_b, .out_dtype = -1, .alpha = 1};
    return ls_matmul_full(graph, a, b, LS_VALUE_NONE, LS_VALUE_NONE, &attr);
}

ls_value ls_linear(ls_graph *graph, ls_value x, ls_value w, int w_is_NK, ls_value bias_or_none) {
    const ls_matmul_attr attr = {.transpose_b = w_is_NK,
                                 .has_bias = bias_or_none != LS_VALUE_NONE,
                                 .out_dtype = -1,
                                 .alpha = 1};
    return ls_matmul_full(graph, x, w, bias_or_none, LS_VALUE_NONE, &attr);
}
