/* A small model, how it is trained and among whom: what tests of a plan's choices set. Before it TOKENS and VOCAB. */
#ifndef LS_TESTS_PLAN_PLAN_SETUP_H
#define LS_TESTS_PLAN_PLAN_SETUP_H
#include "model_run.h"

typedef struct setup {
    ls_model_kind model;
    int width, tokens; /* 0: 40, TOKENS */
    ls_precision precision;
    int lanes, ranks, stages;
    int vocab; /* 0: VOCAB */
    int zero, tied, kept, reference, threads, forward;
    ls_pipeline_kind schedule;
    ls_recompute recompute;
    ls_packing pack;
    ls_casting cast_weights;
    int64_t logits_bytes, bucket_bytes;
} setup;

#define GPT2  .model = LS_MODEL_GPT2
#define LLAMA .model = LS_MODEL_LLAMA
#define BF16  .precision = LS_PRECISION_BF16
#define F16   .precision = LS_PRECISION_F16
#define LAYER .recompute = LS_RECOMPUTE_LAYER
#define CHEAP .recompute = LS_RECOMPUTE_CHEAP
#define NONE  .recompute = LS_RECOMPUTE_NONE

/* Two layers; a sequence a lane. */
static inline ls_plan *plan_setup(const setup *s) {
    const int tokens = s->tokens ? s->tokens : TOKENS;
    ls_model_options model =
        small_gpt2(2, s->width ? s->width : 40, s->vocab ? s->vocab : VOCAB, tokens);
    model.kind = s->model;
    model.tied = s->tied;
    const ls_optim_options optim = ls_optim_default();
    ls_model_batch batch = training_batch(1, tokens, s->lanes);
    batch.training = !s->forward;
    batch.loss_scale = s->precision == LS_PRECISION_F16;
    ls_plan_options options = training_options(&batch, s->precision, &optim);
    if (s->forward) options.mode = LS_PLAN_FORWARD;
    if (s->threads) options.threads = s->threads;
    options.reference_kernels = s->reference;
    options.recompute = s->recompute;
    options.pack = s->pack;
    options.cast_weights = s->cast_weights;
    options.schedule = s->schedule;
    options.zero = s->zero;
    options.kept = s->kept;
    options.logits_bytes = s->logits_bytes;
    options.bucket_bytes = s->bucket_bytes;
    const ls_mesh mesh = {.dp = s->ranks, .pp = s->stages};
    return plan_model(&model, &batch, &options, &mesh);
}

#endif
