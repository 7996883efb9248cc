/* With h = (x - mean) * rstd, per channel of N values: dgamma = sum dy * h, dbeta = sum dy,
 * dx = gamma * rstd * (dy - dbeta / N - h * dgamma / N). */
#include "op/batchnorm/batchnorm.h"
#include "op/cpu_kernel.h"
#include "op/layernorm/norm_infer.h"

/* A second term of dy, relu's result. */
static ls_status infer_tail(const ls_batchnorm_grad_attr *a, int n_in, const ls_type *in) {
    const int want = 5 + (a->has_more != 0) + (a->relu != 0);
    if (n_in != want)
        return LS_FAIL(LS_ERR_INVALID,
                       "op batchnorm_grad: with %s of dy and %s result of relu it takes %d inputs, "
                       "got %d",
                       a->has_more ? "two terms" : "one term", a->relu ? "a" : "no", want, n_in);
    for (int i = 5; i < n_in; i++)
        LS_TRY(ls_norm_infer_like("batchnorm_grad", "a second term of dy and relu's result", &in[i],
                                  &in[4]));
    return LS_OK;
}

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_batchnorm_grad_attr *a = attr;
    static const char *const names[] = {"gamma", "mean", "rstd"};
    LS_TRY(ls_channels_infer("batchnorm_grad", &in[0]));
    for (int i = 1; i < 4; i++)
        LS_TRY(ls_channels_infer_vector("batchnorm_grad", names[i - 1], &in[i], &in[0]));
    if (in[2].dtype != ls_norm_stat_dtype(in[0].dtype) || in[3].dtype != in[2].dtype)
        return LS_FAIL(LS_ERR_INVALID, "op batchnorm_grad: mean and rstd must be %s, got %s and %s",
                       ls_dtype_name(ls_norm_stat_dtype(in[0].dtype)), ls_dtype_name(in[2].dtype),
                       ls_dtype_name(in[3].dtype));
    LS_TRY(ls_infer_float("batchnorm_grad", "dy", &in[4]));
    LS_TRY(ls_infer_same_shape("batchnorm_grad", &in[0], &in[4]));
    LS_TRY(infer_tail(a, n_in, in));
    *n_out = 3;
    out[0] = in[0];
    out[1] = (ls_type){(ls_dtype)a->gamma_dtype, in[1].shape};
    out[2] = (ls_type){(ls_dtype)a->beta_dtype, in[1].shape};
    LS_TRY(ls_infer_float("batchnorm_grad", "dgamma", &out[1]));
    return ls_infer_float("batchnorm_grad", "dbeta", &out[2]);
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int whole = in_split[0] == LS_SHARD_REPLICATED, vector = whole ? LS_SHARD_REPLICATED : 0;
    int good = whole || in_split[0] == sig->in[0].shape.n_dims - 1;
    for (int i = 1; i < sig->n_in; i++) good &= in_split[i] == (i >= 4 ? in_split[0] : vector);
    if (!good)
        return LS_FAIL(
            LS_ERR_UNSUPPORTED,
            "op batchnorm_grad: x and dy may be split along channels (the last dim) only, the "
            "vectors with them; got dim %d of x",
            in_split[0]);
    for (int i = 0; i < sig->n_out; i++) out_split[i] = i == 0 ? in_split[0] : vector;
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = (11.0 + sig->n_in - 5) * (double)ls_type_count(&sig->in[0]);
}

static void print(const void *attr, ls_text *out) {
    const ls_batchnorm_grad_attr *a = attr;
    ls_text_append(out, "dgamma=%s dbeta=%s", ls_dtype_name((ls_dtype)a->gamma_dtype),
                   ls_dtype_name((ls_dtype)a->beta_dtype));
    if (a->has_more) ls_text_append(out, " terms=2");
    if (a->relu) ls_text_append(out, " relu=1");
}

static double dy_at(const ls_launch *l, int64_t at) {
    const ls_batchnorm_grad_attr *a = l->sig->attr;
    double dy = ls_tensor_get(&l->in[4], at);
    if (a->has_more) dy = ls_norm_rounded(dy + ls_tensor_get(&l->in[5], at), l->in[4].dtype);
    return a->relu && ls_tensor_get(&l->in[l->sig->n_in - 1], at) <= 0 ? 0 : dy;
}

static void differentiate_channel_ref(const ls_launch *l, int64_t c) {
    const ls_channels n = ls_channels_of(&l->in[0].shape);
    const double count = (double)n.n_rows, rstd = ls_tensor_get(&l->in[3], c);
    const double mean = ls_tensor_get(&l->in[2], c), gamma = ls_tensor_get(&l->in[1], c);
    double dgamma = 0, dbeta = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < n.n_rows; i++) {
            const int64_t at = i * n.n_channels + c;
            const double h = (ls_tensor_get(&l->in[0], at) - mean) * rstd;
            const double dy = dy_at(l, at);
            if (pass == 0) {
                dgamma += dy * h;
                dbeta += dy;
            } else {
                ls_tensor_set(&l->out[0], at,
                              gamma * rstd * (dy - dbeta / count - h * dgamma / count));
            }
        }
    ls_tensor_set(&l->out[1], c, dgamma);
    ls_tensor_set(&l->out[2], c, dbeta);
}

static ls_status launch_ref(const ls_launch *l) {
    const int64_t n_channels = ls_channels_of(&l->in[0].shape).n_channels;
    for (int64_t c = 0; c < n_channels; c++) differentiate_channel_ref(l, c);
    return LS_OK;
}

static const ls_kernel batchnorm_grad_ref = {
    .name = "batchnorm_grad_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(batchnorm_grad)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(batchnorm_grad), &batchnorm_grad_ref,
                                           NULL};

const ls_op ls_op_batchnorm_grad = {
    .name = "batchnorm_grad",
    .min_in = 5,
    .max_in = 7,
    .attr_bytes = sizeof(ls_batchnorm_grad_attr),
    .infer = infer,
    .shard = shard,
    .cost = cost,
    .print = print,
    .may_overwrite = (1u << 0) | (7u << 4),
    .kernels = kernels,
};
