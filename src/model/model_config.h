/* Configuration keys of the model. LS_MODEL_FIELDS(base) lists them for a struct that holds an ls_model_options at offset `base`
 * (config tables address one big struct); ls_model_table is the list at offset 0. Read-only, Local. */
#ifndef LS_MODEL_MODEL_CONFIG_H
#define LS_MODEL_MODEL_CONFIG_H
#include "base/config.h"
#include "lockstep/model.h"

#define LS_MODEL_FIELD(base, name, form, text, low, high, names, words)                        \
    {                                                                                          \
        .key = "model." #name, .type = LS_CONFIG_##form,                                       \
        .offset = (base) + offsetof(ls_model_options, name), .default_text = text, .min = low, \
        .max = high, .choices = names, .help = words                                           \
    }
/* clang-format off */
#define LS_MODEL_FIELDS(base) \
    LS_MODEL_FIELD(base, kind, ENUM, "gpt2", 0, 0, ls_model_kind_names, "architecture"), \
    LS_MODEL_FIELD(base, layers, INT, "4", 1, 1000, NULL, "blocks (gpt2, llama), hidden layers (mlp), blocks of each stage (resnet)"), \
    LS_MODEL_FIELD(base, width, INT, "128", 1, 262144, NULL, "model width (gpt2, llama), hidden units (mlp), channels of the first stage (resnet)"), \
    LS_MODEL_FIELD(base, heads, INT, "4", 1, 4096, NULL, "attention heads"), \
    LS_MODEL_FIELD(base, kv_heads, INT, "0", 0, 4096, NULL, "key and value heads (llama); 0 = heads"), \
    LS_MODEL_FIELD(base, hidden, INT, "0", 0, 1048576, NULL, "feed-forward units; 0 = 4 widths (gpt2), 8/3 widths up to a multiple of 256 (llama)"), \
    LS_MODEL_FIELD(base, vocab, INT, "0", 0, 16777216, NULL, "vocabulary; 0 = the tokenizer's"), \
    LS_MODEL_FIELD(base, context, INT, "256", 1, 1048576, NULL, "tokens of a sequence"), \
    LS_MODEL_FIELD(base, tied, BOOL, "true", 0, 0, NULL, "head and embedding share weights"), \
    LS_MODEL_FIELD(base, dropout, FLOAT, "0", 0, 0.99, NULL, "probability of dropping a value after embedding, attention and feed-forward"), \
    LS_MODEL_FIELD(base, rope_theta, FLOAT, "10000", 1, 1e12, NULL, "base of the rotary positions (llama)"), \
    LS_MODEL_FIELD(base, norm_eps, FLOAT, "1e-5", 1e-12, 0.1, NULL, "added to the variance in norms"), \
    LS_MODEL_FIELD(base, label_smoothing, FLOAT, "0", 0, 0.99, NULL, "share of the target spread over all classes while training"), \
    LS_MODEL_FIELD(base, init_std, FLOAT, "0.02", 1e-9, 10, NULL, "standard deviation of first weights (gpt2, llama)"), \
    LS_MODEL_FIELD(base, classes, INT, "10", 1, 1048576, NULL, "classes (mlp, resnet)"), \
    LS_MODEL_FIELD(base, channels, INT, "1", 1, 1024, NULL, "channels of an image (mlp, resnet)"), \
    LS_MODEL_FIELD(base, image, INT, "28", 1, 4096, NULL, "rows and columns of an image (mlp, resnet)"), \
    LS_MODEL_FIELD(base, stages, INT, "3", 1, 8, NULL, "stages (resnet); each after the first halves the image and doubles the channels"), \
    LS_MODEL_FIELD(base, stem_stride, INT, "1", 1, 4, NULL, "stride of the first convolution (resnet)"), \
    LS_MODEL_FIELD(base, norm_momentum, FLOAT, "0.1", 0.0001, 1, NULL, "weight of a step in the running statistics (resnet)")
/* clang-format on */

extern LS_API const ls_config_table ls_model_table;

#endif
