/* Graphs of the models: parameters with their names and shapes, inputs and outputs, units, errors. */
#include <math.h>

#include "graph/node.h"
#include "lockstep/model.h"
#include "lockstep/optim.h"
#include "unit/base/check.h"

static ls_model_options tiny(int kind) {
    ls_model_options o = ls_model_default();
    o.kind = kind;
    o.layers = 2;
    o.width = 16;
    o.heads = 4;
    o.vocab = 11;
    o.context = 8;
    o.hidden = 24;
    o.image = 8;
    return o;
}

static ls_model_batch train_batch(void) {
    return (ls_model_batch){
        .batch = 3, .tokens = 5, .lanes = 2, .grad_scale = 1.0 / 30, .training = 1, .with_loss = 1};
}

static ls_graph *build(const ls_model_options *o, const ls_model_batch *b) {
    ls_graph *graph;
    check_ok(ls_graph_create(&graph));
    check_ok(ls_model_build(o, b, graph));
    check_ok(ls_graph_verify(graph));
    return graph;
}

/* "name [dims]" lines of the persistent values. */
static char *list_persistent(const ls_graph *graph) {
    ls_text text = {0};
    char shape[128];
    for (int64_t v = 0; v < graph->n_values; v++) {
        const ls_value_info *info = &graph->values[v];
        if (info->kind != LS_VALUE_PARAM && info->kind != LS_VALUE_STATE) continue;
        assert_int_equal(info->type.dtype, LS_DTYPE_F32);
        ls_text_append(&text, "%s %s%s\n", info->name, ls_shape_print(&info->type.shape, shape),
                       info->kind == LS_VALUE_STATE ? " buffer" : "");
    }
    return text.data;
}

static void check_list(const ls_model_options *o, const ls_model_batch *b, const char *want) {
    ls_graph *graph = build(o, b);
    char *list = list_persistent(graph);
    assert_string_equal(list, want);
    ls_free(list);
    ls_graph_destroy(graph);
}

/* --- names and shapes ---------------------------------------------------------------------------------------------- */

#define GPT2_LAYER(i)                                   \
    "transformer.h." i ".ln_1.weight [16]\n"            \
    "transformer.h." i ".ln_1.bias [16]\n"              \
    "transformer.h." i ".attn.c_attn.weight [16, 48]\n" \
    "transformer.h." i ".attn.c_attn.bias [48]\n"       \
    "transformer.h." i ".attn.c_proj.weight [16, 16]\n" \
    "transformer.h." i ".attn.c_proj.bias [16]\n"       \
    "transformer.h." i ".ln_2.weight [16]\n"            \
    "transformer.h." i ".ln_2.bias [16]\n"              \
    "transformer.h." i ".mlp.c_fc.weight [16, 24]\n"    \
    "transformer.h." i ".mlp.c_fc.bias [24]\n"          \
    "transformer.h." i ".mlp.c_proj.weight [24, 16]\n"  \
    "transformer.h." i ".mlp.c_proj.bias [16]\n"
#define GPT2_EMBED                      \
    "transformer.wte.weight [11, 16]\n" \
    "transformer.wpe.weight [8, 16]\n"
#define GPT2_NORM                    \
    "transformer.ln_f.weight [16]\n" \
    "transformer.ln_f.bias [16]\n"
#define GPT2_BODY GPT2_EMBED GPT2_LAYER("0") GPT2_LAYER("1") GPT2_NORM

static void test_gpt2_names(void **state) {
    (void)state;
    ls_model_options o = tiny(LS_MODEL_GPT2);
    const ls_model_batch b = train_batch();
    check_list(&o, &b, GPT2_BODY);
    o.tied = 0;
    check_list(&o, &b, GPT2_BODY "lm_head.weight [11, 16]\n");
}

#define LLAMA_LAYER(i)                                          \
    "model.layers." i ".input_layernorm.weight [16]\n"          \
    "model.layers." i ".self_attn.q_proj.weight [16, 16]\n"     \
    "model.layers." i ".self_attn.k_proj.weight [8, 16]\n"      \
    "model.layers." i ".self_attn.v_proj.weight [8, 16]\n"      \
    "model.layers." i ".self_attn.o_proj.weight [16, 16]\n"     \
    "model.layers." i ".post_attention_layernorm.weight [16]\n" \
    "model.layers." i ".mlp.gate_proj.weight [24, 16]\n"        \
    "model.layers." i ".mlp.up_proj.weight [24, 16]\n"          \
    "model.layers." i ".mlp.down_proj.weight [16, 24]\n"

static void test_llama_names(void **state) {
    (void)state;
    ls_model_options o = tiny(LS_MODEL_LLAMA);
    o.kv_heads = 2;
    o.tied = 0;
    const ls_model_batch b = train_batch();
    check_list(&o, &b,
               "model.embed_tokens.weight [11, 16]\n" LLAMA_LAYER("0")
                   LLAMA_LAYER("1") "model.norm.weight [16]\nlm_head.weight [11, 16]\n");
}

static void test_mlp_names(void **state) {
    (void)state;
    const ls_model_options o = tiny(LS_MODEL_MLP);
    const ls_model_batch b = train_batch();
    check_list(&o, &b,
               "layers.0.weight [16, 64]\nlayers.0.bias [16]\n"
               "layers.1.weight [16, 16]\nlayers.1.bias [16]\n"
               "head.weight [10, 16]\nhead.bias [10]\n");
}

static const char resnet_names[] = "conv1.weight [16, 1, 3, 3]\n"
                                   "bn1.weight [16]\n"
                                   "bn1.bias [16]\n"
                                   "bn1.running_mean [16] buffer\n"
                                   "bn1.running_var [16] buffer\n"
                                   "layer1.0.conv1.weight [16, 16, 3, 3]\n"
                                   "layer1.0.bn1.weight [16]\n"
                                   "layer1.0.bn1.bias [16]\n"
                                   "layer1.0.bn1.running_mean [16] buffer\n"
                                   "layer1.0.bn1.running_var [16] buffer\n"
                                   "layer1.0.conv2.weight [16, 16, 3, 3]\n"
                                   "layer1.0.bn2.weight [16]\n"
                                   "layer1.0.bn2.bias [16]\n"
                                   "layer1.0.bn2.running_mean [16] buffer\n"
                                   "layer1.0.bn2.running_var [16] buffer\n"
                                   "layer2.0.conv1.weight [32, 16, 3, 3]\n"
                                   "layer2.0.bn1.weight [32]\n"
                                   "layer2.0.bn1.bias [32]\n"
                                   "layer2.0.bn1.running_mean [32] buffer\n"
                                   "layer2.0.bn1.running_var [32] buffer\n"
                                   "layer2.0.conv2.weight [32, 32, 3, 3]\n"
                                   "layer2.0.bn2.weight [32]\n"
                                   "layer2.0.bn2.bias [32]\n"
                                   "layer2.0.bn2.running_mean [32] buffer\n"
                                   "layer2.0.bn2.running_var [32] buffer\n"
                                   "layer2.0.downsample.0.weight [32, 16, 1, 1]\n"
                                   "layer2.0.downsample.1.weight [32]\n"
                                   "layer2.0.downsample.1.bias [32]\n"
                                   "layer2.0.downsample.1.running_mean [32] buffer\n"
                                   "layer2.0.downsample.1.running_var [32] buffer\n"
                                   "fc.weight [10, 32]\n"
                                   "fc.bias [10]\n";

static void test_resnet_names(void **state) {
    (void)state;
    ls_model_options o = tiny(LS_MODEL_RESNET);
    o.layers = 1, o.stages = 2;
    const ls_model_batch b = train_batch();
    check_list(&o, &b, resnet_names);
}

static int64_t count(ls_model_options o) {
    int64_t n = 0;
    check_ok(ls_model_count_parameters(&o, &n));
    return n;
}

static void test_published_counts(void **state) {
    (void)state;
    ls_model_options o = ls_model_default();
    o.layers = 12, o.width = 768, o.heads = 12, o.vocab = 50257, o.context = 1024;
    assert_int_equal(count(o), 124439808); /* GPT-2 */
    o.layers = 24, o.width = 1024, o.heads = 16;
    assert_int_equal(count(o), 354823168); /* GPT-2 medium */
    o.kind = LS_MODEL_LLAMA;
    o.layers = 22, o.width = 2048, o.heads = 32, o.kv_heads = 4, o.hidden = 5632;
    o.vocab = 32000, o.context = 2048, o.tied = 0;
    assert_int_equal(count(o), 1100048384); /* TinyLlama 1.1B */
    o.layers = 32, o.width = 4096, o.kv_heads = 0, o.hidden = 0;
    assert_int_equal(ls_model_hidden(&o), 11008);
    assert_int_equal(count(o), 6738415616); /* Llama 7B */
}

static void test_first_values(void **state) {
    (void)state;
    const ls_model_options o = tiny(LS_MODEL_GPT2);
    const ls_model_batch b = train_batch();
    ls_graph *g = build(&o, &b);
    static const struct {
        const char *name;
        ls_init_kind kind;
        double a, b;
    } cases[] = {
        {"transformer.wte.weight", LS_INIT_NORMAL, 0, 0.02},
        {"transformer.h.0.attn.c_attn.weight", LS_INIT_NORMAL, 0, 0.02},
        {"transformer.h.0.attn.c_proj.weight", LS_INIT_NORMAL, 0, 0.01},
        {"transformer.h.1.mlp.c_proj.weight", LS_INIT_NORMAL, 0, 0.01},
        {"transformer.h.1.ln_2.weight", LS_INIT_CONSTANT, 1, 0},
        {"transformer.h.1.ln_2.bias", LS_INIT_ZERO, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const ls_init init = g->values[ls_graph_find(g, cases[i].name)].init;
        assert_int_equal(init.kind, cases[i].kind);
        assert_true(fabs(init.a - cases[i].a) < 1e-12);
        assert_true(fabs(init.b - cases[i].b) < 1e-12);
    }
    ls_graph_destroy(g);
}

/* --- inputs, outputs, units ---------------------------------------------------------------------------------------- */

static void check_shape(const ls_graph *g, const char *name, const char *want) {
    char text[128];
    const ls_value v = ls_graph_find(g, name);
    if (v == LS_VALUE_NONE) fail_msg("no value %s", name);
    const ls_shape shape = ls_graph_shape(g, v);
    assert_string_equal(ls_shape_print(&shape, text), want);
}

static void test_inputs_and_outputs(void **state) {
    (void)state;
    ls_model_batch b = train_batch();
    for (int kind = 0; kind < LS_MODEL_KIND_COUNT; kind++) {
        const ls_model_options o = tiny(kind);
        const int reads_tokens = ls_model_reads_tokens(kind);
        b.training = b.with_loss = 1;
        ls_graph *g = build(&o, &b);
        check_shape(g, reads_tokens ? "tokens" : "images",
                    reads_tokens ? "[3, 5]" : "[3, 1, 8, 8]");
        check_shape(g, reads_tokens ? "targets" : "labels", reads_tokens ? "[3, 5]" : "[3]");
        check_shape(g, "logits", reads_tokens ? "[3, 5, 11]" : "[3, 10]");
        check_shape(g, "loss", "[]");
        check_shape(g, "count", "[]");
        assert_int_equal(ls_graph_find(g, "correct") != LS_VALUE_NONE, !reads_tokens);
        ls_graph_destroy(g);
        b.training = b.with_loss = 0;
        g = build(&o, &b);
        assert_int_equal(g->n_outputs, 1);
        assert_int_equal(ls_graph_find(g, "targets"), LS_VALUE_NONE);
        ls_graph_destroy(g);
    }
}

/* Units ascend: embedding 0, blocks, head last; each named by a scope. */
static void test_units_and_scopes(void **state) {
    (void)state;
    const ls_model_batch b = train_batch();
    static const char *const heads[] = {"embed", "embed", NULL, "stem"};
    for (int kind = 0; kind < LS_MODEL_KIND_COUNT; kind++) {
        const ls_model_options o = tiny(kind);
        ls_graph *g = build(&o, &b);
        int unit = 0;
        for (int64_t n = 0; n < g->n_nodes; n++) {
            assert_true(g->nodes[n].unit == unit || g->nodes[n].unit == unit + 1);
            unit = g->nodes[n].unit;
            assert_true(g->nodes[n].scope[0]);
        }
        if (heads[kind]) assert_string_equal(g->nodes[0].scope, heads[kind]);
        assert_int_equal(unit, kind == LS_MODEL_RESNET ? 7 : 3);
        assert_string_equal(g->nodes[g->n_nodes - 1].scope, "head");
        assert_int_equal(g->unit, -1);
        ls_graph_destroy(g);
    }
}

static int count_ops(const ls_graph *g, const char *name) {
    int n = 0;
    for (int64_t i = 0; i < g->n_nodes; i++) n += strcmp(g->nodes[i].op->name, name) == 0;
    return n;
}

static void test_dropout_while_training_only(void **state) {
    (void)state;
    ls_model_options o = tiny(LS_MODEL_GPT2);
    ls_model_batch b = train_batch();
    o.dropout = 0.1;
    ls_graph *g = build(&o, &b);
    assert_int_equal(count_ops(g, "dropout"), 5); /* embedding, two in each layer */
    ls_graph_destroy(g);
    b.training = 0;
    g = build(&o, &b);
    assert_int_equal(count_ops(g, "dropout"), 0);
    assert_int_equal(count_ops(g, "add"), 0); /* residuals are part of the products */
    ls_graph_destroy(g);
}

static void test_every_parameter_gets_a_gradient(void **state) {
    (void)state;
    const ls_model_batch b = train_batch();
    for (int kind = 0; kind < LS_MODEL_KIND_COUNT; kind++)
        for (int tied = 0; tied < 2; tied++) {
            ls_model_options o = tiny(kind);
            o.tied = tied;
            ls_graph *g = build(&o, &b);
            ls_value wrt[256], loss = ls_graph_find(g, "loss");
            int n = 0;
            for (int64_t v = 0; v < g->n_values; v++)
                if (g->values[v].kind == LS_VALUE_PARAM) wrt[n++] = (ls_value)v;
            ls_grad_parts parts;
            check_ok(ls_graph_differentiate(g, &loss, NULL, 1, wrt, n, &parts));
            check_ok(ls_graph_verify(g));
            assert_int_equal(parts.n_parts, n + (tied && ls_model_reads_tokens(kind)));
            for (int i = 0; i < parts.n_parts; i++)
                assert_int_equal(ls_graph_dtype(g, parts.parts[i].grad), LS_DTYPE_F32);
            ls_graph_destroy(g);
        }
}

static void test_loss_scale_is_used(void **state) {
    (void)state;
    const ls_model_options o = tiny(LS_MODEL_GPT2);
    const ls_optim_options optim = ls_optim_default();
    ls_model_batch b = train_batch();
    b.loss_scale = 1;
    ls_graph *g;
    check_ok(ls_graph_create(&g));
    const ls_value scale = ls_optim_loss_scale(g, &optim);
    check_ok(ls_model_build(&o, &b, g));
    const ls_node *loss = &g->nodes[g->values[ls_graph_find(g, "loss")].node];
    assert_int_equal(loss->n_in, 3);
    assert_int_equal(loss->in[2], scale);
    ls_graph_destroy(g);
    check_ok(ls_graph_create(&g));
    check_fails(ls_model_build(&o, &b, g), LS_ERR_INVALID, "ls_optim_loss_scale");
    ls_graph_destroy(g);
}

/* --- errors -------------------------------------------------------------------------------------------------------- */

typedef struct bad_case {
    const char *what;
    ls_status status;
    const char *part;
    int kind;
    size_t offset; /* of an int64_t option set to value */
    int64_t value;
} bad_case;

#define BAD(kind, member, value, status, part)                      \
    {                                                               \
#member "=" #value, LS_ERR_##status, part, LS_MODEL_##kind, \
            offsetof(ls_model_options, member), value               \
    }

static void test_bad_options(void **state) {
    (void)state;
    static const bad_case cases[] = {
        BAD(GPT2, heads, 3, CONFIG, "multiple of model.heads (3)"),
        BAD(GPT2, heads, 0, CONFIG, "model.heads must be between"),
        BAD(GPT2, kv_heads, 2, CONFIG, "use model.kind=llama"),
        BAD(LLAMA, kv_heads, 3, CONFIG, "multiple of model.kv_heads (3)"),
        BAD(LLAMA, heads, 16, CONFIG, "even head size"),
        BAD(GPT2, vocab, 0, CONFIG, "model.vocab is 0"),
        BAD(GPT2, vocab, -4, CONFIG, "model.vocab must be between"),
        BAD(LLAMA, context, 4, CONFIG, "sequence of 5 tokens does not fit model.context = 4"),
        BAD(GPT2, layers, 0, CONFIG, "model.layers must be between 1 and 1000, got 0"),
        BAD(GPT2, width, 1 << 30, CONFIG, "model.width must be between"),
        BAD(RESNET, stages, 5, CONFIG, "use fewer stages"),
        BAD(MLP, classes, 0, CONFIG, "model.classes must be between"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_model_options o = tiny(cases[i].kind);
        const ls_model_batch b = train_batch();
        ls_graph *g;
        memcpy((char *)&o + cases[i].offset, &cases[i].value, sizeof cases[i].value);
        check_ok(ls_graph_create(&g));
        check_fails(ls_model_build(&o, &b, g), cases[i].status, cases[i].part);
        ls_graph_destroy(g);
    }
}

static void test_bad_batches(void **state) {
    (void)state;
    ls_model_options o = tiny(LS_MODEL_GPT2);
    ls_graph *g;
    check_ok(ls_graph_create(&g));
    ls_model_batch b = train_batch();
    b.batch = 0;
    check_fails(ls_model_build(&o, &b, g), LS_ERR_INVALID, "at least one sample");
    b = train_batch();
    b.tokens = 0;
    check_fails(ls_model_build(&o, &b, g), LS_ERR_CONFIG, "sequence of 0 tokens");
    b = train_batch();
    b.lanes = 0;
    check_fails(ls_model_build(&o, &b, g), LS_ERR_INVALID, "at least one lane");
    b = train_batch();
    b.with_loss = 0;
    check_fails(ls_model_build(&o, &b, g), LS_ERR_INVALID, "set with_loss");
    b = train_batch();
    b.grad_scale = NAN;
    check_fails(ls_model_build(&o, &b, g), LS_ERR_INVALID, "grad_scale must be");
    b = train_batch();
    o.kind = 9;
    check_fails(ls_model_build(&o, &b, g), LS_ERR_CONFIG, "model.kind 9");
    o = tiny(LS_MODEL_GPT2);
    o.norm_eps = NAN;
    check_fails(ls_model_build(&o, &b, g), LS_ERR_CONFIG, "model.norm_eps must be between");
    ls_graph_destroy(g);
}

static ls_status build_both(void *user) {
    const ls_model_batch b = train_batch();
    const int kind = *(const int *)user;
    ls_model_options o = tiny(kind);
    ls_graph *g;
    char *text;
    o.layers = 1;
    LS_TRY(ls_graph_create(&g));
    const ls_status status = ls_model_build(&o, &b, g);
    ls_graph_destroy(g);
    LS_TRY(status);
    LS_TRY(ls_model_describe(&o, &text));
    ls_free(text);
    return LS_OK;
}

static void test_out_of_memory(void **state) {
    (void)state;
    for (int kind = 0; kind < LS_MODEL_KIND_COUNT; kind++) check_torture(build_both, &kind);
}

/* --- description --------------------------------------------------------------------------------------------------- */

static void test_description(void **state) {
    (void)state;
    ls_model_options o = ls_model_default();
    o.layers = 12, o.width = 768, o.heads = 12, o.vocab = 50257, o.context = 1024;
    char *text;
    check_ok(ls_model_describe(&o, &text));
    assert_string_equal(text, "gpt2: 12 layers, width 768, 12 heads of 64, feed-forward 3072, "
                              "vocabulary 50257, context 1024, tied head\n"
                              "parameters 124,439,808\n"
                              "  embedding     39,383,808\n"
                              "  attention     28,348,416\n"
                              "  feed-forward  56,669,184\n"
                              "  norms         38,400\n");
    ls_free(text);
    o = tiny(LS_MODEL_MLP);
    check_ok(ls_model_describe(&o, &text));
    assert_string_equal(text, "mlp: 2 hidden layers of 16 units, images 1x8x8, 10 classes\n"
                              "parameters 1,482\n"
                              "  hidden        1,312\n"
                              "  head          170\n");
    ls_free(text);
    o = tiny(LS_MODEL_GPT2);
    o.vocab = 0;
    check_fails(ls_model_describe(&o, &text), LS_ERR_CONFIG, "model.vocab is 0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2_names),
        cmocka_unit_test(test_llama_names),
        cmocka_unit_test(test_mlp_names),
        cmocka_unit_test(test_resnet_names),
        cmocka_unit_test(test_published_counts),
        cmocka_unit_test(test_first_values),
        cmocka_unit_test(test_inputs_and_outputs),
        cmocka_unit_test(test_units_and_scopes),
        cmocka_unit_test(test_dropout_while_training_only),
        cmocka_unit_test(test_every_parameter_gets_a_gradient),
        cmocka_unit_test(test_loss_scale_is_used),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_bad_batches),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_description),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
