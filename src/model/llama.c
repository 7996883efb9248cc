/* Llama (Touvron et al., arXiv 2302.13971; grouped heads: Ainslie et al., arXiv 2305.13245) as in Hugging Face's LlamaForCausalLM.
 * Weights are [out, in] (Linear), no biases.
 * Shapes: B batch, T tokens, D width, H query heads, G key/value heads, K head size, F hidden, V vocabulary. */
#include "model/model_parts.h"
#include "op/attention/attention.h"
#include "op/embedding/embedding.h"
#include "op/reshape/reshape.h"
#include "op/rmsnorm/rmsnorm.h"
#include "op/rope/rope.h"
#include "op/swiglu/swiglu.h"

static ls_value norm(const ls_model_work *w, const char *name, ls_value x_BTD) {
    const ls_value gamma = ls_model_vector(w, name, w->options->width, 1);
    return ls_rmsnorm(w->graph, x_BTD, gamma, w->options->norm_eps);
}

/* x[B, T, D] -> [B, T, heads, K] */
static ls_value heads_of(const ls_model_work *w, const char *name, ls_value x_BTD, int64_t heads) {
    const int64_t d = w->options->width, k = d / w->options->heads;
    const ls_value weight = ls_model_matrix(w, name, heads * k, d, w->options->init_std);
    const ls_value y = ls_linear(w->graph, x_BTD, weight, 1, LS_VALUE_NONE);
    const ls_shape shape = {4, {w->batch->batch, w->batch->tokens, heads, k}};
    return ls_reshape(w->graph, y, shape);
}

static ls_value attention(const ls_model_work *w, const char *scope, ls_value x_BTD) {
    const ls_model_options *o = w->options;
    const ls_value h_BTD = norm(w, "input_layernorm.weight", x_BTD);
    ls_value q = heads_of(w, "self_attn.q_proj.weight", h_BTD, o->heads);
    ls_value k = heads_of(w, "self_attn.k_proj.weight", h_BTD, ls_model_kv_heads(o));
    const ls_value v = heads_of(w, "self_attn.v_proj.weight", h_BTD, ls_model_kv_heads(o));
    q = ls_rope(w->graph, q, o->rope_theta, 0, 0);
    k = ls_rope(w->graph, k, o->rope_theta, 0, 0);
    const ls_shape shape = {3, {w->batch->batch, w->batch->tokens, o->width}};
    const ls_value a_BTD = ls_reshape(w->graph, ls_attention(w->graph, q, k, v, 1), shape);
    const ls_value out =
        ls_model_matrix(w, "self_attn.o_proj.weight", o->width, o->width, ls_model_residual_std(w));
    return ls_model_project(w, scope, a_BTD, out, 1, LS_VALUE_NONE, x_BTD);
}

static ls_value feed_forward(const ls_model_work *w, const char *scope, ls_value x_BTD) {
    const int64_t d = w->options->width, f = ls_model_hidden(w->options);
    const double std = w->options->init_std;
    const ls_value h_BTD = norm(w, "post_attention_layernorm.weight", x_BTD);
    const ls_value gate = ls_model_matrix(w, "mlp.gate_proj.weight", f, d, std);
    const ls_value up = ls_model_matrix(w, "mlp.up_proj.weight", f, d, std);
    const ls_value h_BTF = ls_swiglu(w->graph, ls_linear(w->graph, h_BTD, gate, 1, LS_VALUE_NONE),
                                     ls_linear(w->graph, h_BTD, up, 1, LS_VALUE_NONE));
    const ls_value down =
        ls_model_matrix(w, "mlp.down_proj.weight", d, f, ls_model_residual_std(w));
    return ls_model_project(w, scope, h_BTF, down, 1, LS_VALUE_NONE, x_BTD);
}

static ls_value block(ls_model_work *w, int64_t layer, ls_value x_BTD) {
    const char *scope = ls_model_format(w, "layers.%lld.attn", (long long)layer);
    w->prefix = ls_model_format(w, "model.layers.%lld.", (long long)layer);
    ls_model_enter(w, (int)layer + 1, scope);
    x_BTD = attention(w, scope, x_BTD);
    scope = ls_model_format(w, "layers.%lld.mlp", (long long)layer);
    ls_model_enter(w, (int)layer + 1, scope);
    return feed_forward(w, scope, x_BTD);
}

ls_status ls_model_build_llama(ls_model_work *w) {
    const ls_model_options *o = w->options;
    w->prefix = "model.";
    ls_model_enter(w, 0, "embed");
    const ls_value table =
        ls_model_matrix(w, "embed_tokens.weight", o->vocab, o->width, o->init_std);
    ls_value x_BTD = ls_embedding(w->graph, table, ls_model_tokens(w));
    x_BTD = ls_model_dropout(w, x_BTD, "embed");
    for (int64_t i = 0; i < o->layers; i++) x_BTD = block(w, i, x_BTD);
    w->prefix = "model.";
    ls_model_enter(w, (int)o->layers + 1, "head");
    x_BTD = norm(w, "norm.weight", x_BTD);
    w->prefix = "";
    const ls_value head =
        o->tied ? table : ls_model_matrix(w, "lm_head.weight", o->vocab, o->width, o->init_std);
    ls_model_finish(w, ls_linear(w->graph, x_BTD, head, 1, LS_VALUE_NONE), "targets");
    return ls_graph_status(w->graph);
}
