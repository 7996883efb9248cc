/* config.json: the options as Hugging Face's transformers names them (GPT2Config, LlamaConfig), and back. Dropout of attention
 * weights is not computed here; since it matters to training only, a file that asks for it can be read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "model/model_config.h"

typedef enum key_type { KEY_INT, KEY_FLOAT, KEY_BOOL } key_type;

typedef struct hf_key {
    const char *name;
    key_type type;
    size_t offset;
    int required;
    double missing; /* Hugging Face's default when absent or null */
} hf_key;

#define KEY(name, type, member, required, missing) \
    { name, KEY_##type, offsetof(ls_model_options, member), required, missing }

static const hf_key gpt2_keys[] = {
    KEY("vocab_size", INT, vocab, 1, 0),
    KEY("n_positions", INT, context, 1, 0),
    KEY("n_embd", INT, width, 1, 0),
    KEY("n_layer", INT, layers, 1, 0),
    KEY("n_head", INT, heads, 1, 0),
    KEY("n_inner", INT, hidden, 0, 0),
    KEY("layer_norm_epsilon", FLOAT, norm_eps, 0, 1e-5),
    KEY("initializer_range", FLOAT, init_std, 0, 0.02),
    KEY("resid_pdrop", FLOAT, dropout, 0, 0.1),
    KEY("tie_word_embeddings", BOOL, tied, 0, 1),
};
static const hf_key llama_keys[] = {
    KEY("vocab_size", INT, vocab, 1, 0),
    KEY("max_position_embeddings", INT, context, 1, 0),
    KEY("hidden_size", INT, width, 1, 0),
    KEY("num_hidden_layers", INT, layers, 1, 0),
    KEY("num_attention_heads", INT, heads, 1, 0),
    KEY("num_key_value_heads", INT, kv_heads, 0, 0),
    KEY("intermediate_size", INT, hidden, 1, 0),
    KEY("rms_norm_eps", FLOAT, norm_eps, 1, 0),
    KEY("rope_theta", FLOAT, rope_theta, 0, 10000),
    KEY("initializer_range", FLOAT, init_std, 0, 0.02),
    KEY("tie_word_embeddings", BOOL, tied, 0, 0),
};

/* Fields that change what is computed; `only` is the one value we compute, as JSON. They may be absent. */
typedef struct hf_fixed {
    const char *name, *only;
} hf_fixed;

static const hf_fixed gpt2_fixed[] = {
    {"activation_function", "\"gelu_new\""},
    {"scale_attn_weights", "true"},
    {"scale_attn_by_inverse_layer_idx", "false"},
    {"add_cross_attention", "false"},
};
static const hf_fixed llama_fixed[] = {
    {"hidden_act", "\"silu\""},
    {"attention_bias", "false"},
    {"mlp_bias", "false"},
    {"rope_scaling", "null"},
};

typedef struct hf_form {
    const char *model_type, *architecture;
    const hf_key *keys;
    int n_keys;
    const hf_fixed *fixed;
    int n_fixed;
} hf_form;

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
static const hf_form forms[LS_MODEL_KIND_COUNT] = {
    [LS_MODEL_GPT2] = {"gpt2", "GPT2LMHeadModel", gpt2_keys, COUNT(gpt2_keys), gpt2_fixed,
                       COUNT(gpt2_fixed)},
    [LS_MODEL_LLAMA] = {"llama", "LlamaForCausalLM", llama_keys, COUNT(llama_keys), llama_fixed,
                        COUNT(llama_fixed)},
    [LS_MODEL_MLP] = {.model_type = "lockstep_mlp", .architecture = "LockstepMlp"},
    [LS_MODEL_RESNET] = {.model_type = "lockstep_resnet", .architecture = "LockstepResnet"},
};

/* --- our own kinds have the keys of the configuration table ------------------------------------------------------- */

/* Field i of the table as a key; 0 for the kind, which model_type says. */
static int own_key(int i, hf_key *out) {
    const ls_config_field *field = &ls_model_table.fields[i];
    if (field->type == LS_CONFIG_ENUM) return 0;
    *out = (hf_key){strchr(field->key, '.') + 1, KEY_INT, field->offset, 1, 0};
    if (field->type == LS_CONFIG_FLOAT) out->type = KEY_FLOAT;
    if (field->type == LS_CONFIG_BOOL) out->type = KEY_BOOL;
    return 1;
}

/* --- writing ------------------------------------------------------------------------------------------------------- */

/* The shortest text that reads back as the same double, always with a point or an exponent. */
static void append_float(ls_text *text, double value) {
    char number[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(number, sizeof number, "%.*g", digits, value);
        if (!(strtod(number, NULL) < value) && !(strtod(number, NULL) > value)) break;
    }
    ls_text_append(text, "%s%s", number, strpbrk(number, ".e") ? "" : ".0");
}

static void append_key(ls_text *text, const hf_key *key, const ls_model_options *o) {
    const void *at = (const char *)o + key->offset;
    ls_text_append(text, ",\n  \"%s\": ", key->name);
    if (key->type == KEY_FLOAT)
        append_float(text, *(const double *)at);
    else if (key->type == KEY_BOOL)
        ls_text_append(text, *(const int *)at ? "true" : "false");
    else
        ls_text_append(text, "%lld", (long long)*(const int64_t *)at);
}

static void append_tokens_form(ls_text *text, const hf_form *form, const ls_model_options *given) {
    ls_model_options o = *given;
    o.hidden = ls_model_hidden(given);
    o.kv_heads = ls_model_kv_heads(given);
    for (int i = 0; i < form->n_keys; i++) append_key(text, &form->keys[i], &o);
    for (int i = 0; i < form->n_fixed; i++)
        ls_text_append(text, ",\n  \"%s\": %s", form->fixed[i].name, form->fixed[i].only);
    if (o.kind == LS_MODEL_GPT2) {
        ls_text_append(text, ",\n  \"n_ctx\": %lld", (long long)o.context);
        ls_text_append(text, ",\n  \"embd_pdrop\": ");
        append_float(text, o.dropout);
        ls_text_append(text, ",\n  \"attn_pdrop\": 0.0");
    } else {
        ls_text_append(text, ",\n  \"head_dim\": %lld", (long long)(o.width / o.heads));
        ls_text_append(text, ",\n  \"attention_dropout\": 0.0");
    }
    ls_text_append(text, ",\n  \"bos_token_id\": null,\n  \"eos_token_id\": null");
}

ls_status ls_model_save_config(const ls_model_options *options, char **text_out) {
    LS_TRY(ls_model_check(options));
    if (ls_model_reads_tokens(options->kind) && !options->vocab)
        return LS_FAIL(LS_ERR_CONFIG, "model.vocab is 0; set it before saving config.json");
    const hf_form *form = &forms[options->kind];
    ls_text text = {0};
    hf_key key;
    ls_text_append(&text, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\"",
                   form->architecture, form->model_type);
    if (form->keys)
        append_tokens_form(&text, form, options);
    else
        for (int i = 0; i < ls_model_table.n_fields; i++)
            if (own_key(i, &key)) append_key(&text, &key, options);
    ls_text_append(&text, ",\n  \"torch_dtype\": \"float32\"\n}\n");
    if (text.status != LS_OK) {
        const ls_status status = text.status;
        ls_text_deinit(&text);
        return status;
    }
    *text_out = text.data;
    return LS_OK;
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

static int is_absent(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    return !value || json_is_null(value);
}

static ls_status read_key(const json_t *object, const char *what, const hf_key *key,
                          ls_model_options *o) {
    void *at = (char *)o + key->offset;
    const int absent = !key->required && is_absent(object, key->name);
    if (key->type == KEY_FLOAT) {
        double value = key->missing;
        if (!absent) LS_TRY(ls_json_get_number(object, what, key->name, &value));
        *(double *)at = value;
    } else if (key->type == KEY_BOOL) {
        int value = key->missing != 0;
        if (!absent) LS_TRY(ls_json_get_bool(object, what, key->name, &value));
        *(int *)at = value;
    } else {
        int64_t value = (int64_t)key->missing;
        if (!absent) LS_TRY(ls_json_get_int(object, what, key->name, &value));
        *(int64_t *)at = value;
    }
    return LS_OK;
}

static ls_status check_fixed(const json_t *object, const char *what, const hf_fixed *fixed) {
    const json_t *value = json_object_get(object, fixed->name);
    if (!value) return LS_OK;
    char *found = NULL;
    LS_TRY(ls_json_dump(value, JSON_ENCODE_ANY | JSON_COMPACT, &found, NULL));
    const int same = strcmp(found, fixed->only) == 0;
    ls_status status = LS_OK;
    if (!same)
        status = LS_FAIL(LS_ERR_UNSUPPORTED, "%s: \"%s\" is %.60s; this program computes %s only",
                         what, fixed->name, found, fixed->only);
    ls_free(found);
    return status;
}

/* transformers 5 keeps the rotary base in "rope_parameters". */
static ls_status read_rope_parameters(const json_t *object, const char *what, ls_model_options *o) {
    static const hf_fixed type = {"rope_type", "\"default\""};
    json_t *rope;
    if (is_absent(object, "rope_parameters")) return LS_OK;
    LS_TRY(ls_json_get_object(object, what, "rope_parameters", &rope));
    LS_TRY(check_fixed(rope, what, &type));
    return ls_json_get_number(rope, what, "rope_theta", &o->rope_theta);
}

static ls_status check_head_size(const json_t *object, const char *what,
                                 const ls_model_options *o) {
    int64_t size;
    if (is_absent(object, "head_dim")) return LS_OK;
    LS_TRY(ls_json_get_int(object, what, "head_dim", &size));
    if (o->heads > 0 && size == o->width / o->heads) return LS_OK;
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "%s: \"head_dim\" is %lld; this program computes hidden_size / "
                   "num_attention_heads only, here %lld / %lld",
                   what, (long long)size, (long long)o->width, (long long)o->heads);
}

static ls_status read_form(const json_t *object, const char *what, const hf_form *form,
                           ls_model_options *o) {
    hf_key key;
    for (int i = 0; i < form->n_keys; i++) LS_TRY(read_key(object, what, &form->keys[i], o));
    for (int i = 0; i < form->n_fixed; i++) LS_TRY(check_fixed(object, what, &form->fixed[i]));
    for (int i = 0; !form->keys && i < ls_model_table.n_fields; i++)
        if (own_key(i, &key)) LS_TRY(read_key(object, what, &key, o));
    if (o->kind != LS_MODEL_LLAMA) return LS_OK;
    LS_TRY(read_rope_parameters(object, what, o));
    return check_head_size(object, what, o);
}

static ls_status read_config(const json_t *object, const char *what, ls_model_options *o) {
    const char *type;
    LS_TRY(ls_json_get_string(object, what, "model_type", &type));
    *o = ls_model_default();
    o->kind = -1;
    for (int i = 0; i < LS_MODEL_KIND_COUNT; i++)
        if (strcmp(type, forms[i].model_type) == 0) o->kind = i;
    if (o->kind < 0)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "%s: model_type \"%.60s\" is not known; this program reads gpt2, llama, "
                       "lockstep_mlp and lockstep_resnet",
                       what, type);
    LS_TRY(read_form(object, what, &forms[o->kind], o));
    const ls_status status = ls_model_check(o);
    if (status != LS_OK) return ls_error_prefix(status, "%s", what);
    if (ls_model_reads_tokens(o->kind) && !o->vocab)
        return LS_FAIL(LS_ERR_CONFIG, "%s: \"vocab_size\" must be at least 1, found 0", what);
    return LS_OK;
}

ls_status ls_model_load_config(const char *text, size_t bytes, const char *what,
                               ls_model_options *out) {
    json_t *object;
    ls_model_options options;
    LS_TRY(ls_json_parse(text, bytes, what, &object));
    const ls_status status = read_config(object, what, &options);
    json_decref(object);
    if (status == LS_OK) *out = options;
    return status;
}
