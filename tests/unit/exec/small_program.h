/* A one-layer GPT, planned and lowered on one thread, for the tests of exec, ckpt and plan. */
#ifndef LS_TESTS_SMALL_PROGRAM_H
#define LS_TESTS_SMALL_PROGRAM_H
#include "exec/program.h"
#include "lockstep/model.h"
#include "unit/base/check.h"

enum { SMALL_TOKENS = 8, SMALL_VOCAB = 32, SMALL_LANES = 2 };

typedef struct small_program {
    ls_plan *plan;
    ls_device *device;
    ls_program *program;
    int64_t bad_token; /* fed in lane 1 when not zero */
} small_program;

/* The forward graph of one lane. */
static inline ls_graph *small_graph(int layers) {
    ls_model_options model = ls_model_default();
    model.kind = LS_MODEL_GPT2;
    model.layers = layers;
    model.width = 16;
    model.heads = 2;
    model.vocab = SMALL_VOCAB;
    model.context = SMALL_TOKENS;
    const ls_model_batch batch = {.batch = 1,
                                  .tokens = SMALL_TOKENS,
                                  .lanes = SMALL_LANES,
                                  .grad_scale = 1.0 / (SMALL_LANES * SMALL_TOKENS),
                                  .training = 1,
                                  .with_loss = 1};
    ls_graph *graph = NULL;
    check_ok(ls_graph_create(&graph));
    check_ok(ls_model_build(&model, &batch, graph));
    return graph;
}

static inline void open_small(small_program *s, int layers) {
    *s = (small_program){0};
    const ls_optim_options optim = ls_optim_default();
    const ls_plan_options options = {.mode = LS_PLAN_TRAIN,
                                     .device = "cpu",
                                     .threads = 1,
                                     .lanes = SMALL_LANES,
                                     .optim = &optim,
                                     .static_count = SMALL_LANES * SMALL_TOKENS};
    const ls_mesh mesh = {1, 1, 1, 1, 1};
    ls_graph *graph = small_graph(layers);
    check_ok(ls_plan_make(graph, &mesh, &options, &s->plan));
    ls_graph_destroy(graph);
    check_ok(ls_device_create("cpu", 0, &s->device));
    const ls_lower_options lower = {.device = s->device};
    check_ok(ls_program_lower(s->plan, 0, &lower, &s->program));
}

static inline void close_small(small_program *s) {
    ls_program_destroy(s->program);
    ls_device_destroy(s->device);
    ls_plan_destroy(s->plan);
}

static inline ls_status feed_small(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    const small_program *s = user;
    (void)name;
    if (lane < 0) {
        ls_tensor_set(tensor, 0, 1e-3);
        return LS_OK;
    }
    for (int64_t i = 0; i < ls_shape_count(&tensor->shape); i++)
        ls_tensor_set(tensor, i, (double)((i * 5 + lane) % SMALL_VOCAB));
    if (s->bad_token && lane == 1) ls_tensor_set(tensor, 3, (double)s->bad_token);
    return LS_OK;
}

static inline ls_status run_small(small_program *s, uint64_t step) {
    const ls_run_options run = {
        .seed = 1, .step = step, .feed = feed_small, .user = s, .check_loss = 1};
    return ls_program_run(s->program, &run);
}

#endif
