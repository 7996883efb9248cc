#include "op/attention/attention.h"

#include <math.h>

#include "op/attention/attention_view.h"
#include "op/cpu_kernel.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    if (n_in == 2)
        return LS_FAIL(LS_ERR_INVALID, "op attention: takes qkv, or q, k and v; got 2 inputs");
    *n_out = 2;
    return ls_attention_infer("attention", attr, n_in == 1, in, &out[0], &out[1]);
}

static ls_status grad(ls_grad *g) {
    if (g->dout[1] != LS_VALUE_NONE)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op attention: a gradient may flow into the output only, not into lse");
    if (g->dout[0] == LS_VALUE_NONE) return LS_OK;
    const int n = g->sig->n_in;
    ls_value in[6], out[LS_MAX_OUT] = {LS_VALUE_NONE, LS_VALUE_NONE, LS_VALUE_NONE};
    for (int i = 0; i < n; i++) in[i] = g->in[i];
    in[n] = g->out[0];
    in[n + 1] = g->out[1];
    in[n + 2] = g->dout[0];
    ls_graph_node(g->graph, &ls_op_attention_grad, g->sig->attr, in, n + 3, out);
    for (int i = 0; i < n; i++) g->din[i] = out[i];
    return LS_OK;
}

/* Batch may be split always, heads when q, k and v come apart (a packed row mixes the heads of all three). */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int split = in_split[0], is_packed = sig->n_in == 1;
    int good = split == LS_SHARD_REPLICATED || split == 0 || (split == 2 && !is_packed);
    for (int i = 1; i < sig->n_in; i++) good &= in_split[i] == split;
    if (!good)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op attention: inputs may be split along batch (0)%s, all alike; got %d",
                       is_packed ? "; to split heads give q, k and v apart" : " or heads (2)",
                       split);
    out_split[0] = split;
    out_split[1] = split == 2 ? 1 : split;
    return LS_OK;
}

/* Half of the scores when causal. */
static void cost(const ls_sig *sig, ls_cost *out) {
    const ls_attention_view v = ls_attention_sizes(sig);
    const double tokens = (double)v.n_tokens, rows = (double)(v.n_batch * v.n_heads);
    const double scores = rows * (v.causal ? tokens * (tokens + 1) / 2 : tokens * tokens);
    ls_cost_default(sig, out);
    out->flops = scores * 4.0 * (double)v.head_size;
}

static void print(const void *attr, ls_text *out) {
    const ls_attention_attr *a = attr;
    ls_text_append(out, "heads=%d causal=%d", a->n_heads, a->causal);
}

static double score_ref(const ls_attention_view *v, int64_t q_at, int64_t k_at) {
    const ls_tensor q = {v->q.dtype, {0, {0}}, v->q.data}, k = {v->k.dtype, {0, {0}}, v->k.data};
    double sum = 0;
    for (int64_t i = 0; i < v->head_size; i++)
        sum += ls_tensor_get(&q, q_at + i) * ls_tensor_get(&k, k_at + i);
    return sum / sqrt((double)v->head_size);
}

/* One query: log-sum-exp of its scores in a first pass, the weighted sum of values in a second. sum: K doubles. */
static void attend_ref(const ls_attention_view *v, int64_t b, int64_t h, int64_t t, double *sum) {
    const ls_tensor values = {v->v.dtype, {0, {0}}, v->v.data};
    ls_tensor out = {v->out.dtype, {0, {0}}, v->out.data}, lse_all = v->lse;
    const int64_t kv_head = h / (v->n_heads / v->n_kv_heads);
    const int64_t n_keys = v->causal ? t + 1 : v->n_tokens, q_at = ls_head_at(v, &v->q, b, t, h);
    double max = -INFINITY, total = 0;
    for (int64_t s = 0; s < n_keys; s++) {
        const double score = score_ref(v, q_at, ls_head_at(v, &v->k, b, s, kv_head));
        if (score > max || score != score) {
            total *= exp(max - score);
            max = score;
        }
        total += exp(score - max);
    }
    const double lse = max + log(total);
    ls_tensor_set(&lse_all, (b * v->n_heads + h) * v->n_tokens + t, lse);
    for (int64_t i = 0; i < v->head_size; i++) sum[i] = 0;
    for (int64_t s = 0; s < n_keys; s++) {
        const double p = exp(score_ref(v, q_at, ls_head_at(v, &v->k, b, s, kv_head)) - lse);
        const int64_t at = ls_head_at(v, &v->v, b, s, kv_head);
        for (int64_t i = 0; i < v->head_size; i++) sum[i] += p * ls_tensor_get(&values, at + i);
    }
    for (int64_t i = 0; i < v->head_size; i++)
        ls_tensor_set(&out, ls_head_at(v, &v->out, b, t, h) + i, sum[i]);
}

static size_t ref_workspace(const ls_sig *sig, int n_threads) {
    (void)n_threads;
    return (size_t)ls_attention_sizes(sig).head_size * sizeof(double);
}

static ls_status launch_ref(const ls_launch *l) {
    const ls_attention_view v = ls_attention_fwd_view(l);
    for (int64_t b = 0; b < v.n_batch; b++)
        for (int64_t h = 0; h < v.n_heads; h++)
            for (int64_t t = 0; t < v.n_tokens; t++) attend_ref(&v, b, h, t, l->workspace);
    return LS_OK;
}

static const ls_kernel attention_fwd_ref = {.name = "attention_fwd_ref",
                                            .device = LS_DEVICE_CPU,
                                            .workspace_bytes = ref_workspace,
                                            .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(attention_fwd)
#ifdef LS_X86
extern const ls_kernel ls_kernel_attention_fwd_amx, ls_kernel_attention_fwd_avx512bf16;
#endif
static const ls_kernel *const kernels[] = {
#ifdef LS_X86
    &ls_kernel_attention_fwd_amx, &ls_kernel_attention_fwd_avx512bf16,
#endif
    LS_CPU_KERNELS(attention_fwd), &attention_fwd_ref, NULL};

const ls_op ls_op_attention = {
    .name = "attention",
    .min_in = 1,
    .max_in = 3,
    .attr_bytes = sizeof(ls_attention_attr),
    .infer = infer,
    .grad = grad,
    .shard = shard,
    .cost = cost,
    .print = print,
    .kernels = kernels,
};

ls_value ls_attention_packed(ls_graph *graph, ls_value qkv, int n_heads, int causal) {
    const ls_attention_attr attr = {n_heads, causal != 0};
    return ls_graph_node(graph, &ls_op_attention, &attr, &qkv, 1, NULL);
}

ls_value ls_attention(ls_graph *graph, ls_value q, ls_value k, ls_value v, int causal) {
    const ls_attention_attr attr = {0, causal != 0};
    const ls_value in[3] = {q, k, v};
    return ls_graph_node(graph, &ls_op_attention, &attr, in, 3, NULL);
}
