/* How much memory does training GPT-2 124M take? The plan knows without running anything: it is made for the `fake` device,
 * which only counts. One line for each kind of recomputation, then the bytes by kind of the smallest. */
#include "lockstep/memory.h"
#include "lockstep/model.h"
#include "lockstep/plan.h"
#include <stdio.h>
#include <string.h>

enum { LANES = 4, SEQUENCES = 1, TOKENS = 1024 }; /* sequences: of one lane */

/* The shape of GPT-2's smallest model (Radford et al. 2019, table 2). */
static ls_model_options describe_model(void) {
    ls_model_options model = ls_model_default();
    model.kind = LS_MODEL_GPT2;
    model.layers = 12;
    model.width = 768;
    model.heads = 12;
    model.vocab = 50257;
    model.context = TOKENS;
    return model;
}

static ls_status build_model(ls_graph *graph) {
    const ls_model_options model = describe_model();
    const ls_model_batch batch = {.batch = SEQUENCES,
                                  .tokens = TOKENS,
                                  .lanes = LANES,
                                  .grad_scale = 1.0 / (LANES * SEQUENCES * TOKENS),
                                  .training = 1,
                                  .with_loss = 1};
    return ls_model_build(&model, &batch, graph);
}

static ls_status make_plan(const ls_graph *graph, ls_recompute recompute, ls_plan **out) {
    const ls_optim_options optim = ls_optim_default();
    const ls_plan_options options = {.mode = LS_PLAN_TRAIN,
                                     .device = "fake",
                                     .threads = 2,
                                     .lanes = LANES,
                                     .precision = LS_PRECISION_BF16,
                                     .recompute = recompute,
                                     .optim = &optim,
                                     .static_count = LANES * SEQUENCES * TOKENS};
    const ls_mesh mesh = {.dp = 1, .tp = 1, .pp = 1, .cp = 1, .ep = 1};
    return ls_plan_make(graph, &mesh, &options, out);
}

/* The plan's "bytes" object, from its JSON text. */
static ls_status print_bytes(const ls_plan *plan) {
    char *json = NULL;
    LS_TRY(ls_plan_print_json(plan, &json));
    const char *begin = strstr(json, "\"bytes\""), *end = begin ? strchr(begin, '}') : NULL;
    if (end) printf("%.*s\n", (int)(end + 1 - begin), begin);
    ls_free(json);
    return end ? LS_OK : LS_FAIL(LS_ERR_FORMAT, "the plan's JSON has no \"bytes\"");
}

static ls_status compare(const ls_graph *graph) {
    static const struct {
        ls_recompute kind;
        const char *words;
    } rows[] = {{LS_RECOMPUTE_NONE, "keep every activation"},
                {LS_RECOMPUTE_ATTENTION, "make attention again"},
                {LS_RECOMPUTE_LAYER, "keep the layers' inputs only"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ls_plan *plan = NULL;
        LS_TRY(make_plan(graph, rows[i].kind, &plan));
        printf("%-30s %8.1f MiB\n", rows[i].words, (double)ls_plan_bytes(plan, 0) / 0x1p20);
        const ls_status status = rows[i].kind == LS_RECOMPUTE_LAYER ? print_bytes(plan) : LS_OK;
        ls_plan_destroy(plan);
        LS_TRY(status);
    }
    return LS_OK;
}

static ls_status count_parameters(void) {
    const ls_model_options model = describe_model();
    int64_t n;
    LS_TRY(ls_model_count_parameters(&model, &n));
    printf("GPT-2: %lld parameters; bf16, AdamW, %d lanes of %d x %d tokens\n", (long long)n, LANES,
           SEQUENCES, TOKENS);
    return LS_OK;
}

int main(void) {
    ls_graph *graph = NULL;
    ls_status status = count_parameters();
    if (status == LS_OK) status = ls_graph_create(&graph);
    if (status == LS_OK) status = build_model(graph);
    if (status == LS_OK) status = compare(graph);
    ls_graph_destroy(graph);
    if (status != LS_OK) fprintf(stderr, "plan_memory: %s\n", ls_error_message());
    return ls_status_exit_code(status);
}
