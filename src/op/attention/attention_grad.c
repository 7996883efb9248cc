/* With P = exp(S - lse), S = Q K^T / sqrt(K) and delta = rowsum(dO * O): dV = P^T dO; dP = dO V^T; dS = P * (dP - delta);
 * dQ = dS K / sqrt(K); dK = dS^T Q / sqrt(K); dK and dV summed over the query heads of the group. */
#include <math.h>

#include "op/attention/attention.h"
#include "op/attention/attention_view.h"
#include "op/cpu_kernel.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const int is_packed = n_in == 4, n = is_packed ? 1 : 3;
    ls_type o, lse;
    if (n_in == 5)
        return LS_FAIL(
            LS_ERR_INVALID,
            "op attention_grad: takes qkv or q, k, v, then out, lse, dout; got 5 inputs");
    LS_TRY(ls_attention_infer("attention_grad", attr, is_packed, in, &o, &lse));
    LS_TRY(ls_infer_same_shape("attention_grad", &in[n], &o));
    LS_TRY(ls_infer_same_shape("attention_grad", &in[n + 1], &lse));
    LS_TRY(ls_infer_same_shape("attention_grad", &in[n + 2], &o));
    LS_TRY(ls_infer_float("attention_grad", "dout", &in[n + 2]));
    if (in[n].dtype != o.dtype || in[n + 1].dtype != lse.dtype)
        return LS_FAIL(LS_ERR_INVALID,
                       "op attention_grad: out must be %s and lse %s, got %s and %s",
                       ls_dtype_name(o.dtype), ls_dtype_name(lse.dtype), ls_dtype_name(in[n].dtype),
                       ls_dtype_name(in[n + 1].dtype));
    *n_out = n;
    for (int i = 0; i < n; i++) out[i] = in[i];
    return LS_OK;
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int split = in_split[0], is_packed = sig->n_in == 4, n = sig->n_in - 3;
    int good = split == LS_SHARD_REPLICATED || split == 0 || (split == 2 && !is_packed);
    for (int i = 1; i < sig->n_in; i++)
        good &= in_split[i] == (i == n + 1 && split == 2 ? 1 : split);
    if (!good)
        return LS_FAIL(
            LS_ERR_UNSUPPORTED,
            "op attention_grad: inputs may be split along batch (0)%s, all alike; got %d",
            is_packed ? "; to split heads give q, k and v apart" : " or heads (2)", split);
    for (int i = 0; i < n; i++) out_split[i] = split;
    return LS_OK;
}

/* Five products where the forward has two. */
static void cost(const ls_sig *sig, ls_cost *out) {
    const ls_attention_view v = ls_attention_sizes(sig);
    const double tokens = (double)v.n_tokens, rows = (double)(v.n_batch * v.n_heads);
    const double scores = rows * (v.causal ? tokens * (tokens + 1) / 2 : tokens * tokens);
    ls_cost_default(sig, out);
    out->flops = scores * 10.0 * (double)v.head_size;
}

static void print(const void *attr, ls_text *out) {
    const ls_attention_attr *a = attr;
    ls_text_append(out, "heads=%d causal=%d", a->n_heads, a->causal);
}

static double get(const ls_head_rows *rows, int64_t at) {
    const ls_tensor t = {rows->dtype, {0, {0}}, rows->data};
    return ls_tensor_get(&t, at);
}

static void set(const ls_head_rows *rows, int64_t at, double value) {
    ls_tensor t = {rows->dtype, {0, {0}}, rows->data};
    ls_tensor_set(&t, at, value);
}

/* P and dS / sqrt(K) of query (b, h, t) and key s. */
static void weigh_ref(const ls_attention_view *v, const int64_t at[4], double *p, double *ds) {
    const int64_t b = at[0], h = at[1], t = at[2], s = at[3], g = h / (v->n_heads / v->n_kv_heads);
    const int64_t q = ls_head_at(v, &v->q, b, t, h), k = ls_head_at(v, &v->k, b, s, g);
    const int64_t values = ls_head_at(v, &v->v, b, s, g), o = ls_head_at(v, &v->out, b, t, h);
    const double scale = 1.0 / sqrt((double)v->head_size);
    double score = 0, dp = 0, delta = 0;
    for (int64_t i = 0; i < v->head_size; i++) {
        const double up = get(&v->dout, o + i);
        score += get(&v->q, q + i) * get(&v->k, k + i);
        dp += up * get(&v->v, values + i);
        delta += up * get(&v->out, o + i);
    }
    *p = exp(score * scale - ls_tensor_get(&v->lse, (b * v->n_heads + h) * v->n_tokens + t));
    *ds = *p * (dp - delta) * scale;
}

static void write_dq_ref(const ls_attention_view *v, int64_t b, int64_t h, int64_t t, double *sum) {
    const int64_t n_keys = v->causal ? t + 1 : v->n_tokens, g = h / (v->n_heads / v->n_kv_heads);
    for (int64_t i = 0; i < v->head_size; i++) sum[i] = 0;
    for (int64_t s = 0; s < n_keys; s++) {
        double p, ds;
        weigh_ref(v, (int64_t[]){b, h, t, s}, &p, &ds);
        for (int64_t i = 0; i < v->head_size; i++)
            sum[i] += ds * get(&v->k, ls_head_at(v, &v->k, b, s, g) + i);
    }
    for (int64_t i = 0; i < v->head_size; i++)
        set(&v->dq, ls_head_at(v, &v->dq, b, t, h) + i, sum[i]);
}

static void write_dkv_ref(const ls_attention_view *v, int64_t b, int64_t g, int64_t s,
                          double *sum) {
    const int64_t per_group = v->n_heads / v->n_kv_heads, n = v->head_size;
    for (int64_t i = 0; i < 2 * n; i++) sum[i] = 0;
    for (int64_t h = g * per_group; h < (g + 1) * per_group; h++)
        for (int64_t t = v->causal ? s : 0; t < v->n_tokens; t++) {
            double p, ds;
            weigh_ref(v, (int64_t[]){b, h, t, s}, &p, &ds);
            for (int64_t i = 0; i < n; i++) {
                sum[i] += ds * get(&v->q, ls_head_at(v, &v->q, b, t, h) + i);
                sum[n + i] += p * get(&v->dout, ls_head_at(v, &v->dout, b, t, h) + i);
            }
        }
    for (int64_t i = 0; i < n; i++) {
        set(&v->dk, ls_head_at(v, &v->dk, b, s, g) + i, sum[i]);
        set(&v->dv, ls_head_at(v, &v->dv, b, s, g) + i, sum[n + i]);
    }
}

static size_t ref_workspace(const ls_sig *sig, int n_threads) {
    (void)n_threads;
    return (size_t)ls_attention_sizes(sig).head_size * 2 * sizeof(double);
}

static ls_status launch_ref(const ls_launch *l) {
    const ls_attention_view v = ls_attention_grad_view(l);
    for (int64_t b = 0; b < v.n_batch; b++)
        for (int64_t t = 0; t < v.n_tokens; t++) {
            for (int64_t h = 0; h < v.n_heads; h++) write_dq_ref(&v, b, h, t, l->workspace);
            for (int64_t g = 0; g < v.n_kv_heads; g++) write_dkv_ref(&v, b, g, t, l->workspace);
        }
    return LS_OK;
}

static const ls_kernel attention_grad_ref = {.name = "attention_grad_ref",
                                             .device = LS_DEVICE_CPU,
                                             .workspace_bytes = ref_workspace,
                                             .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(attention_grad)
#ifdef LS_X86
extern const ls_kernel ls_kernel_attention_grad_amx, ls_kernel_attention_grad_avx512bf16;
#endif
static const ls_kernel *const kernels[] = {
#ifdef LS_X86
    &ls_kernel_attention_grad_amx, &ls_kernel_attention_grad_avx512bf16,
#endif
    LS_CPU_KERNELS(attention_grad), &attention_grad_ref, NULL};

const ls_op ls_op_attention_grad = {
    .name = "attention_grad",
    .min_in = 4,
    .max_in = 6,
    .attr_bytes = sizeof(ls_attention_attr),
    .infer = infer,
    .shard = shard,
    .cost = cost,
    .print = print,
    .kernels = kernels,
};
