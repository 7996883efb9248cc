/* GPT-2 (Radford et al., "Language models are unsupervised multitask learners", 2019) as in Hugging Face's GPT2LMHeadModel:
 * x = x + attention(norm(x)); x = x + mlp(norm(x)). Weights are [in, out] (Conv1D).
 * Shapes: B batch, T tokens, D width, H heads, F hidden, V vocabulary. */
#include "model/model_parts.h"
#include "op/attention/attention.h"
#include "op/embedding/embedding.h"
#include "op/layernorm/layernorm.h"
#include "op/position_embedding/position_embedding.h"

static ls_value norm(const ls_model_work *w, const char *name, ls_value x_BTD) {
    const int64_t width = w->options->width;
    const ls_value gamma = ls_model_vector(w, ls_model_format(w, "%s.weight", name), width, 1);
    const ls_value beta = ls_model_vector(w, ls_model_format(w, "%s.bias", name), width, 0);
    return ls_layernorm(w->graph, x_BTD, gamma, beta, w->options->norm_eps);
}

static ls_value attention(const ls_model_work *w, const char *scope, ls_value x_BTD) {
    const int64_t d = w->options->width;
    const ls_value h_BTD = norm(w, "ln_1", x_BTD);
    const ls_value in = ls_model_matrix(w, "attn.c_attn.weight", d, 3 * d, w->options->init_std);
    const ls_value in_bias = ls_model_vector(w, "attn.c_attn.bias", 3 * d, 0);
    const ls_value qkv = ls_linear(w->graph, h_BTD, in, 0, in_bias);
    const ls_value a_BTD = ls_attention_packed(w->graph, qkv, (int)w->options->heads, 1);
    const ls_value out = ls_model_matrix(w, "attn.c_proj.weight", d, d, ls_model_residual_std(w));
    const ls_value out_bias = ls_model_vector(w, "attn.c_proj.bias", d, 0);
    return ls_model_project(w, scope, a_BTD, out, 0, out_bias, x_BTD);
}

static ls_value feed_forward(const ls_model_work *w, const char *scope, ls_value x_BTD) {
    const int64_t d = w->options->width, f = ls_model_hidden(w->options);
    const ls_value h_BTD = norm(w, "ln_2", x_BTD);
    const ls_value in = ls_model_matrix(w, "mlp.c_fc.weight", d, f, w->options->init_std);
    const ls_value in_bias = ls_model_vector(w, "mlp.c_fc.bias", f, 0);
    const ls_matmul_attr attr = {
        .activation = LS_ACT_GELU_TANH, .has_bias = 1, .out_dtype = -1, .alpha = 1};
    const ls_value h_BTF = ls_matmul_full(w->graph, h_BTD, in, in_bias, LS_VALUE_NONE, &attr);
    const ls_value out = ls_model_matrix(w, "mlp.c_proj.weight", f, d, ls_model_residual_std(w));
    const ls_value out_bias = ls_model_vector(w, "mlp.c_proj.bias", d, 0);
    return ls_model_project(w, scope, h_BTF, out, 0, out_bias, x_BTD);
}

static ls_value block(ls_model_work *w, int64_t layer, ls_value x_BTD) {
    const char *scope = ls_model_format(w, "h.%lld.attn", (long long)layer);
    w->prefix = ls_model_format(w, "transformer.h.%lld.", (long long)layer);
    ls_model_enter(w, (int)layer + 1, scope);
    x_BTD = attention(w, scope, x_BTD);
    scope = ls_model_format(w, "h.%lld.mlp", (long long)layer);
    ls_model_enter(w, (int)layer + 1, scope);
    return feed_forward(w, scope, x_BTD);
}

ls_status ls_model_build_gpt2(ls_model_work *w) {
    const ls_model_options *o = w->options;
    w->prefix = "transformer.";
    ls_model_enter(w, 0, "embed");
    const ls_value table = ls_model_matrix(w, "wte.weight", o->vocab, o->width, o->init_std);
    const ls_value places = ls_model_matrix(w, "wpe.weight", o->context, o->width, o->init_std);
    ls_value x_BTD = ls_embedding(w->graph, table, ls_model_tokens(w));
    x_BTD = ls_position_embedding(w->graph, x_BTD, places);
    x_BTD = ls_model_dropout(w, x_BTD, "embed");
    for (int64_t i = 0; i < o->layers; i++) x_BTD = block(w, i, x_BTD);
    w->prefix = "transformer.";
    ls_model_enter(w, (int)o->layers + 1, "head");
    x_BTD = norm(w, "ln_f", x_BTD);
    w->prefix = "";
    const ls_value head =
        o->tied ? table : ls_model_matrix(w, "lm_head.weight", o->vocab, o->width, o->init_std);
    ls_model_finish(w, ls_linear(w->graph, x_BTD, head, 1, LS_VALUE_NONE), "targets");
    return ls_graph_status(w->graph);
}
