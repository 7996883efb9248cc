/* Models: functions from a configuration to the forward graph of one lane.
 *
 * gpt2 and llama read token ids, mlp and resnet read images. Parameters carry the names and shapes of Hugging Face's checkpoints
 * (gpt2, llama) or torchvision's (resnet), so a saved folder is loadable elsewhere.
 * Shape letters: B sequences or images of one lane, T tokens, D model width, V vocabulary, C channels.
 * Thread-safety: reentrant; a graph belongs to one thread. Local. */
#ifndef LOCKSTEP_MODEL_H
#define LOCKSTEP_MODEL_H
#include "lockstep/graph.h"
#include <stdint.h>

typedef enum ls_model_kind {
    LS_MODEL_GPT2,  /* Radford et al. 2019: LayerNorm before, learned positions, GELU */
    LS_MODEL_LLAMA, /* Touvron et al., arXiv 2302.13971: RMSNorm, RoPE, SwiGLU, grouped heads */
    LS_MODEL_MLP,   /* images flattened, ReLU */
    LS_MODEL_RESNET, /* He et al., arXiv 1512.03385, section 4.2 (CIFAR form): basic blocks in stages */
    LS_MODEL_KIND_COUNT
} ls_model_kind;

typedef struct ls_model_options {
    int kind;         /* ls_model_kind */
    int64_t layers;   /* gpt2, llama: blocks; mlp: hidden layers; resnet: blocks of each stage */
    int64_t width;    /* gpt2, llama: D; mlp: hidden units; resnet: channels of the first stage */
    int64_t heads;    /* gpt2, llama */
    int64_t kv_heads; /* llama: key and value heads; 0 = heads */
    int64_t
        hidden; /* units of a block's feed-forward; 0 = 4 D, llama: 8/3 D up to a multiple of 256 */
    int64_t vocab;   /* 0 = to be set from the tokenizer before building */
    int64_t context; /* most tokens of a sequence */
    int tied;        /* the head shares the embedding's weights */
    double
        dropout; /* gpt2, llama: after embedding, attention, feed-forward; mlp: after each layer */
    double rope_theta, norm_eps, label_smoothing;
    double init_std;                  /* gpt2, llama */
    int64_t classes, channels, image; /* mlp, resnet; image: rows = columns */
    int64_t stages;       /* resnet: each later one halves the image, doubles channels */
    int64_t stem_stride;  /* resnet */
    double norm_momentum; /* resnet: of the running statistics */
} ls_model_options;

extern LS_API const char *const ls_model_kind_names[]; /* "gpt2", ..., NULL */

/* The defaults of the configuration table. */
LS_API ls_model_options ls_model_default(void);
/* LS_ERR_CONFIG names the key, the value and what fits. A vocabulary of 0 passes here, not in ls_model_build. */
LS_API ls_status ls_model_check(const ls_model_options *options);
/* 1 for kinds that read token ids, 0 for images. */
LS_API int ls_model_reads_tokens(int kind);
/* hidden and kv_heads with their zeros replaced. */
LS_API int64_t ls_model_hidden(const ls_model_options *options);
LS_API int64_t ls_model_kv_heads(const ls_model_options *options);

/* What is to be built. */
typedef struct ls_model_batch {
    int64_t batch;     /* B */
    int64_t tokens;    /* T, at most `context`; unused for images */
    int lanes;         /* of a step: running statistics average over them */
    double grad_scale; /* training: 1 / targets counted in the global batch */
    int training;      /* dropout and label smoothing on, statistics of the batch */
    int with_loss;     /* 0: no targets, "logits" is the only output */
    int loss_scale;    /* 1: the loss gradient is multiplied by the graph's "optim/loss_scale"
                        * (ls_optim_loss_scale, called before) */
} ls_model_batch;

/* Appends the forward pass. Inputs "tokens" i32 [B, T] and "targets" i32 [B, T] (-1: not counted), or "images" f32 [B, C, H, W]
 * and "labels" i32 [B]. Outputs: "logits" [B, T, V] or [B, classes]; with_loss "loss" (f32, sum over counted targets, natural
 * logarithm) and "count"; for images "correct". Persistent values are f32. resnet, training: running statistics are
 * updated from the lane sums "sum/<norm>.mean" and "sum/<norm>.var". */
LS_API ls_status ls_model_build(const ls_model_options *options, const ls_model_batch *batch,
                                ls_graph *graph);

LS_API ls_status ls_model_count_parameters(const ls_model_options *options, int64_t *out);
/* A few lines: the shape of the model, parameters by group. Free with ls_free. */
LS_API ls_status ls_model_describe(const ls_model_options *options, char **text_out);

/* config.json in Hugging Face's form (model_type gpt2 or llama); mlp and resnet have model_type "lockstep_mlp" and
 * "lockstep_resnet" and our key names. Text is freed with ls_free. Reading is strict: a missing field, a wrong type, or a field
 * asking for something this program does not compute is an error that names it; unrelated fields are passed over. What the
 * file does not say (label smoothing) has its default. */
LS_API ls_status ls_model_save_config(const ls_model_options *options, char **text_out);
LS_API ls_status ls_model_load_config(const char *text, size_t bytes, const char *what,
                                      ls_model_options *out);

#endif
