/* Small models for tests of plan, exec, ckpt and keep: built, planned, fed with values that are a pure function of name, step, lane and
 * position, and their whole state read back. */
#ifndef LS_TESTS_MODEL_RUN_H
#define LS_TESTS_MODEL_RUN_H
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "exec/program.h"
#include "lockstep/model.h"
#include "unit/base/check.h"

/* Two heads, everything else as it is by default. */
static inline ls_model_options small_gpt2(int64_t layers, int64_t width, int64_t vocab,
                                          int64_t context) {
    ls_model_options model = ls_model_default();
    model.kind = LS_MODEL_GPT2;
    model.layers = layers;
    model.width = width;
    model.heads = 2;
    model.vocab = vocab;
    model.context = context;
    return model;
}

/* To be trained; the loss is a mean over all tokens of all lanes. */
static inline ls_model_batch training_batch(int64_t batch, int64_t tokens, int lanes) {
    return (ls_model_batch){.batch = batch,
                            .tokens = tokens,
                            .lanes = lanes,
                            .grad_scale = 1.0 / ((double)batch * (double)lanes * (double)tokens),
                            .training = 1,
                            .with_loss = 1};
}

/* Of a plan that trains with that batch on the CPU, on one thread. */
static inline ls_plan_options training_options(const ls_model_batch *batch, ls_precision precision,
                                               const ls_optim_options *optim) {
    return (ls_plan_options){.mode = LS_PLAN_TRAIN,
                             .device = "cpu",
                             .threads = 1,
                             .lanes = batch->lanes,
                             .precision = precision,
                             .optim = optim,
                             .static_count = 1.0 / batch->grad_scale};
}

/* With a loss scale where the batch says so; options->optim must be there then. */
static inline ls_status try_plan_model(const ls_model_options *model, const ls_model_batch *batch,
                                       const ls_plan_options *options, const ls_mesh *mesh,
                                       ls_plan **out) {
    ls_graph *graph = NULL;
    check_ok(ls_graph_create(&graph));
    if (batch->loss_scale) ls_optim_loss_scale(graph, options->optim);
    ls_status status = ls_model_build(model, batch, graph);
    if (status == LS_OK) status = ls_plan_make(graph, mesh, options, out);
    ls_graph_destroy(graph);
    return status;
}

static inline ls_plan *plan_model(const ls_model_options *model, const ls_model_batch *batch,
                                  const ls_plan_options *options, const ls_mesh *mesh) {
    ls_plan *plan = NULL;
    check_ok(try_plan_model(model, batch, options, mesh, &plan));
    return plan;
}

/* A lane's whole numbers below `below`, other values normal; what belongs to no lane is a learning rate of 1e-2. */
static inline ls_status feed_values(ls_tensor *tensor, const char *name, uint64_t step,
                                    int64_t lane, uint64_t below) {
    if (lane < 0) {
        ls_tensor_set(tensor, 0, 1e-2);
        return LS_OK;
    }
    const ls_rng_key key = {11, step * 1024 + (uint64_t)lane, ls_rng_stream(name)};
    for (int64_t i = 0; i < ls_shape_count(&tensor->shape); i++)
        ls_tensor_set(tensor, i,
                      tensor->dtype == LS_DTYPE_I32 ? (double)ls_rng_below(key, (uint64_t)i, below)
                                                    : ls_rng_normal(key, (uint64_t)i));
    return LS_OK;
}

static inline int is_persistent(const ls_value_info *info) {
    return info->kind == LS_VALUE_PARAM || info->kind == LS_VALUE_STATE;
}

static inline size_t state_bytes(const ls_plan *plan) {
    size_t bytes = 0;
    for (int64_t v = 0; v < plan->graph->n_values; v++) {
        const ls_type type = ls_value_whole_type(&plan->graph->values[v]);
        if (is_persistent(&plan->graph->values[v])) bytes += ls_type_bytes(&type);
    }
    return bytes;
}

static inline int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Every persistent value, whole, in the order of names, in memory for free(). Collective. */
static inline ls_status fetch_whole_state(const ls_plan *plan, ls_program *program, char **out,
                                          size_t *bytes_out) {
    enum { MOST_NAMES = 512 };
    const ls_graph *g = plan->graph;
    const char *names[MOST_NAMES];
    size_t n = 0, at = 0;
    for (int64_t v = 0; v < g->n_values; v++)
        if (is_persistent(&g->values[v]) && n < MOST_NAMES) names[n++] = g->values[v].name;
    qsort(names, n, sizeof *names, compare_names);
    *bytes_out = state_bytes(plan);
    *out = calloc(1, *bytes_out);
    for (size_t i = 0; i < n; i++) {
        const ls_type type = ls_value_whole_type(&g->values[ls_graph_find(g, names[i])]);
        LS_TRY(ls_program_fetch(program, names[i], *out + at, *bytes_out - at));
        at += ls_type_bytes(&type);
    }
    return at == *bytes_out ? LS_OK : LS_FAIL(LS_ERR_INTERNAL, "more than %d names", MOST_NAMES);
}

#endif
