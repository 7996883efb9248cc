#include "model/model_config.h"

const char *const ls_model_kind_names[] = {"gpt2", "llama", "mlp", "resnet", NULL};

static const ls_config_field fields[] = {LS_MODEL_FIELDS(0)};
const ls_config_table ls_model_table = {fields, (int)(sizeof fields / sizeof fields[0])};

ls_model_options ls_model_default(void) {
    return (ls_model_options){
        .kind = LS_MODEL_GPT2,
        .layers = 4,
        .width = 128,
        .heads = 4,
        .context = 256,
        .tied = 1,
        .rope_theta = 10000,
        .norm_eps = 1e-5,
        .init_std = 0.02,
        .classes = 10,
        .channels = 1,
        .image = 28,
        .stages = 3,
        .stem_stride = 1,
        .norm_momentum = 0.1,
    };
}

int ls_model_reads_tokens(int kind) {
    return kind == LS_MODEL_GPT2 || kind == LS_MODEL_LLAMA;
}

int64_t ls_model_hidden(const ls_model_options *o) {
    enum { MULTIPLE = 256 }; /* as Meta's and Hugging Face's conversion round */
    if (o->hidden) return o->hidden;
    if (o->kind != LS_MODEL_LLAMA) return 4 * o->width;
    return (8 * o->width / 3 + MULTIPLE - 1) / MULTIPLE * MULTIPLE;
}

int64_t ls_model_kv_heads(const ls_model_options *o) {
    return o->kv_heads ? o->kv_heads : o->heads;
}

/* The table's own bounds, for options that did not come through it. */
static ls_status check_bounds(const ls_model_options *o) {
    for (int i = 0; i < ls_model_table.n_fields; i++) {
        const ls_config_field *field = &fields[i];
        const char *at = (const char *)o + field->offset;
        if (field->type != LS_CONFIG_INT && field->type != LS_CONFIG_FLOAT) continue;
        const double value = field->type == LS_CONFIG_INT
                                 ? (double)*(const int64_t *)(const void *)at
                                 : *(const double *)(const void *)at;
        if (!(value >= field->min && value <= field->max))
            return LS_FAIL(LS_ERR_CONFIG, "%s must be between %g and %g, got %g", field->key,
                           field->min, field->max, value);
    }
    return LS_OK;
}

static ls_status check_heads(const ls_model_options *o) {
    const int64_t kv_heads = ls_model_kv_heads(o);
    if (o->width % o->heads)
        return LS_FAIL(
            LS_ERR_CONFIG,
            "model.width (%lld) must be a multiple of model.heads (%lld): each head gets "
            "width / heads values",
            (long long)o->width, (long long)o->heads);
    if (o->kind == LS_MODEL_GPT2 && kv_heads != o->heads)
        return LS_FAIL(
            LS_ERR_CONFIG,
            "model.kv_heads = %lld: gpt2 has as many key as query heads (%lld); leave it "
            "0, or use model.kind=llama",
            (long long)kv_heads, (long long)o->heads);
    if (o->heads % kv_heads)
        return LS_FAIL(LS_ERR_CONFIG,
                       "model.heads (%lld) must be a multiple of model.kv_heads (%lld)",
                       (long long)o->heads, (long long)kv_heads);
    if (o->kind == LS_MODEL_LLAMA && o->width / o->heads % 2)
        return LS_FAIL(LS_ERR_CONFIG,
                       "model.width / model.heads is %lld; rotary positions need an even head size",
                       (long long)(o->width / o->heads));
    return LS_OK;
}

static ls_status check_resnet(const ls_model_options *o) {
    int64_t size = (o->image + o->stem_stride - 1) / o->stem_stride;
    for (int64_t s = 1; s < o->stages; s++) size = (size + 1) / 2;
    if (size < 2)
        return LS_FAIL(LS_ERR_CONFIG,
                       "model.image (%lld) is too small for model.stages (%lld) with "
                       "model.stem_stride %lld: the last stage would see %lld x %lld values; use "
                       "fewer stages",
                       (long long)o->image, (long long)o->stages, (long long)o->stem_stride,
                       (long long)size, (long long)size);
    return LS_OK;
}

ls_status ls_model_check(const ls_model_options *o) {
    if (o->kind < 0 || o->kind >= LS_MODEL_KIND_COUNT)
        return LS_FAIL(LS_ERR_CONFIG, "model.kind %d is none of 0 (gpt2) to %d (resnet)", o->kind,
                       LS_MODEL_KIND_COUNT - 1);
    LS_TRY(check_bounds(o));
    if (ls_model_reads_tokens(o->kind)) return check_heads(o);
    return o->kind == LS_MODEL_RESNET ? check_resnet(o) : LS_OK;
}
