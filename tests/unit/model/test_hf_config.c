/* config.json in Hugging Face's form: what is written reads back, published files read, everything else is refused by name. */
#include "base/json.h"
#include "lockstep/model.h"
#include "unit/base/check.h"

static ls_status load(const char *text, ls_model_options *out) {
    return ls_model_load_config(text, strlen(text), "config.json", out);
}

static char *save(const ls_model_options *o) {
    char *text = NULL;
    check_ok(ls_model_save_config(o, &text));
    return text;
}

static int same(double a, double b) {
    return !(a < b) && !(a > b);
}

static void check_same(const ls_model_options *a, const ls_model_options *b) {
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(ls_model_kv_heads(a), ls_model_kv_heads(b));
    assert_int_equal(ls_model_hidden(a), ls_model_hidden(b));
    assert_int_equal(a->vocab, b->vocab);
    assert_int_equal(a->context, b->context);
    assert_int_equal(a->tied, b->tied);
    assert_true(same(a->norm_eps, b->norm_eps));
    assert_true(same(a->init_std, b->init_std));
    assert_true(same(a->rope_theta, b->rope_theta));
    assert_int_equal(a->classes, b->classes);
    assert_int_equal(a->image, b->image);
    assert_int_equal(a->stages, b->stages);
    assert_true(same(a->norm_momentum, b->norm_momentum));
}

static void test_saved_reads_back(void **state) {
    (void)state;
    for (int kind = 0; kind < LS_MODEL_KIND_COUNT; kind++)
        for (int tied = 0; tied < 2; tied++) {
            ls_model_options o = ls_model_default(), back;
            o.kind = kind, o.tied = tied;
            o.layers = 3, o.width = 96, o.heads = 6, o.vocab = 777, o.context = 130;
            if (kind == LS_MODEL_LLAMA) o.kv_heads = 2, o.rope_theta = 5e5, o.norm_eps = 1e-6;
            if (kind == LS_MODEL_RESNET) o.stages = 2, o.classes = 7, o.norm_momentum = 1.0 / 3;
            char *text = save(&o);
            check_ok(load(text, &back));
            check_same(&o, &back);
            char *again = save(&back);
            assert_string_equal(text, again);
            ls_free(text);
            ls_free(again);
        }
}

static void test_saved_text(void **state) {
    (void)state;
    ls_model_options o = ls_model_default();
    o.vocab = 512;
    char *text = save(&o);
    assert_string_equal(text, "{\n"
                              "  \"architectures\": [\"GPT2LMHeadModel\"],\n"
                              "  \"model_type\": \"gpt2\",\n"
                              "  \"vocab_size\": 512,\n"
                              "  \"n_positions\": 256,\n"
                              "  \"n_embd\": 128,\n"
                              "  \"n_layer\": 4,\n"
                              "  \"n_head\": 4,\n"
                              "  \"n_inner\": 512,\n"
                              "  \"layer_norm_epsilon\": 1e-05,\n"
                              "  \"initializer_range\": 0.02,\n"
                              "  \"resid_pdrop\": 0.0,\n"
                              "  \"tie_word_embeddings\": true,\n"
                              "  \"activation_function\": \"gelu_new\",\n"
                              "  \"scale_attn_weights\": true,\n"
                              "  \"scale_attn_by_inverse_layer_idx\": false,\n"
                              "  \"add_cross_attention\": false,\n"
                              "  \"n_ctx\": 256,\n"
                              "  \"embd_pdrop\": 0.0,\n"
                              "  \"attn_pdrop\": 0.0,\n"
                              "  \"bos_token_id\": null,\n"
                              "  \"eos_token_id\": null,\n"
                              "  \"torch_dtype\": \"float32\"\n"
                              "}\n");
    ls_free(text);
}

/* The fields of the published gpt2 and TinyLlama files. */
static void test_published_files(void **state) {
    (void)state;
    ls_model_options o;
    check_ok(
        load("{\"activation_function\": \"gelu_new\", \"architectures\": [\"GPT2LMHeadModel\"],"
             "\"attn_pdrop\": 0.1, \"bos_token_id\": 50256, \"embd_pdrop\": 0.1,"
             "\"eos_token_id\": 50256, \"initializer_range\": 0.02,"
             "\"layer_norm_epsilon\": 1e-05, \"model_type\": \"gpt2\", \"n_ctx\": 1024,"
             "\"n_embd\": 768, \"n_head\": 12, \"n_layer\": 12, \"n_positions\": 1024,"
             "\"resid_pdrop\": 0.1, \"summary_use_proj\": true, \"vocab_size\": 50257}",
             &o));
    int64_t n = 0;
    check_ok(ls_model_count_parameters(&o, &n));
    assert_int_equal(n, 124439808);
    assert_true(same(o.dropout, 0.1));
    check_ok(load("{\"architectures\": [\"LlamaForCausalLM\"], \"bos_token_id\": 1,"
                  "\"hidden_act\": \"silu\", \"hidden_size\": 2048, \"initializer_range\": 0.02,"
                  "\"intermediate_size\": 5632, \"max_position_embeddings\": 2048,"
                  "\"model_type\": \"llama\", \"num_attention_heads\": 32,"
                  "\"num_hidden_layers\": 22, \"num_key_value_heads\": 4, \"pretraining_tp\": 1,"
                  "\"rms_norm_eps\": 1e-05, \"rope_scaling\": null,"
                  "\"tie_word_embeddings\": false, \"vocab_size\": 32000}",
                  &o));
    check_ok(ls_model_count_parameters(&o, &n));
    assert_int_equal(n, 1100048384);
    assert_true(same(o.rope_theta, 10000));
}

#define LLAMA_HEAD                                                                      \
    "{\"model_type\": \"llama\", \"vocab_size\": 50, \"max_position_embeddings\": 16, " \
    "\"hidden_size\": 32, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "       \
    "\"intermediate_size\": 80, \"rms_norm_eps\": 1e-5"
#define GPT2_HEAD                                                                          \
    "{\"model_type\": \"gpt2\", \"vocab_size\": 50, \"n_positions\": 16, \"n_embd\": 32, " \
    "\"n_layer\": 2, \"n_head\": 4"

static void test_rope_parameters(void **state) {
    (void)state;
    ls_model_options o;
    check_ok(load(LLAMA_HEAD ", \"rope_parameters\": {\"rope_theta\": 500000.0, "
                             "\"rope_type\": \"default\"}, \"head_dim\": 8}",
                  &o));
    assert_true(same(o.rope_theta, 500000));
    assert_int_equal(ls_model_kv_heads(&o), 4);
}

static void test_refused_files(void **state) {
    (void)state;
    static const struct {
        const char *text;
        ls_status status;
        const char *part;
    } cases[] = {
        {"", LS_ERR_FORMAT, "config.json"},
        {"{", LS_ERR_FORMAT, "not valid JSON"},
        {"[]", LS_ERR_FORMAT, "model_type"},
        {"{}", LS_ERR_FORMAT, "\"model_type\" is missing"},
        {"{\"model_type\": 3}", LS_ERR_FORMAT, "must be a string"},
        {"{\"model_type\": \"bert\"}", LS_ERR_UNSUPPORTED, "model_type \"bert\" is not known"},
        {"{\"model_type\": \"gpt2\"}", LS_ERR_FORMAT, "\"vocab_size\" is missing"},
        {GPT2_HEAD ", \"n_inner\": \"64\"}", LS_ERR_FORMAT, "\"n_inner\" must be an integer"},
        {GPT2_HEAD ", \"tie_word_embeddings\": 1}", LS_ERR_FORMAT, "must be true or false"},
        {GPT2_HEAD ", \"activation_function\": \"relu\"}", LS_ERR_UNSUPPORTED,
         "\"activation_function\" is \"relu\"; this program computes \"gelu_new\" only"},
        {GPT2_HEAD ", \"scale_attn_by_inverse_layer_idx\": true}", LS_ERR_UNSUPPORTED,
         "scale_attn_by_inverse_layer_idx"},
        {GPT2_HEAD ", \"layer_norm_epsilon\": -1}", LS_ERR_CONFIG,
         "config.json: model.norm_eps must be between"},
        {LLAMA_HEAD ", \"hidden_act\": \"gelu\"}", LS_ERR_UNSUPPORTED, "\"hidden_act\""},
        {LLAMA_HEAD ", \"attention_bias\": true}", LS_ERR_UNSUPPORTED, "\"attention_bias\""},
        {LLAMA_HEAD ", \"rope_scaling\": {\"factor\": 8.0}}", LS_ERR_UNSUPPORTED,
         "\"rope_scaling\" is {\"factor\":8.0}"},
        {LLAMA_HEAD ", \"rope_parameters\": {\"rope_type\": \"llama3\", \"rope_theta\": 1.0}}",
         LS_ERR_UNSUPPORTED, "\"rope_type\" is \"llama3\""},
        {LLAMA_HEAD ", \"head_dim\": 16}", LS_ERR_UNSUPPORTED, "\"head_dim\" is 16"},
        {LLAMA_HEAD ", \"num_key_value_heads\": 3}", LS_ERR_CONFIG, "model.kv_heads (3)"},
        {LLAMA_HEAD ", \"vocab_size\": 60}", LS_ERR_FORMAT, "duplicate"},
        {"{\"model_type\": \"lockstep_mlp\"}", LS_ERR_FORMAT, "is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_model_options o = {.kind = 77};
        check_fails(load(cases[i].text, &o), cases[i].status, cases[i].part);
        assert_int_equal(o.kind, 77);
    }
}

static void test_unset_vocabulary_is_not_saved(void **state) {
    (void)state;
    const ls_model_options o = ls_model_default();
    char *text = NULL;
    check_fails(ls_model_save_config(&o, &text), LS_ERR_CONFIG, "model.vocab is 0");
    assert_null(text);
}

static ls_status save_and_load(void *user) {
    const ls_model_options *o = user;
    ls_model_options back;
    char *text;
    LS_TRY(ls_model_save_config(o, &text));
    const ls_status status = load(text, &back);
    ls_free(text);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    ls_model_options o = ls_model_default();
    o.vocab = 100;
    for (o.kind = 0; o.kind < LS_MODEL_KIND_COUNT; o.kind++) check_torture(save_and_load, &o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saved_reads_back),
        cmocka_unit_test(test_saved_text),
        cmocka_unit_test(test_published_files),
        cmocka_unit_test(test_rope_parameters),
        cmocka_unit_test(test_refused_files),
        cmocka_unit_test(test_unset_vocabulary_is_not_saved),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
