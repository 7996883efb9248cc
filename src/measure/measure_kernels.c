/* How near kernels come to the roof: every node of a few small models, forward, backward and update, in f32 and bf16. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "lockstep/model.h"
#include "measure/measure.h"
#include "plan/cost/cost.h"

typedef struct reference_model {
    const char *name;
    int kind;
    int64_t layers, width, heads, vocab, context, batch; /* in full */
    int64_t quick_width, quick_heads, quick_vocab, quick_context, quick_batch;
    int64_t logits_bytes; /* 0: logits are stored */
} reference_model;

/* Widths that real models have; one layer shows every node. */
static const reference_model models[] = {
    {"gpt2", LS_MODEL_GPT2, 1, 768, 12, 4096, 256, 2, 128, 4, 512, 64, 4, 0},
    {"gpt2 that stores no logits", LS_MODEL_GPT2, 1, 768, 12, 8192, 256, 2, 128, 4, 512, 64, 4, 1},
    {"llama", LS_MODEL_LLAMA, 1, 768, 12, 4096, 256, 2, 128, 4, 512, 64, 4, 0},
    {"resnet", LS_MODEL_RESNET, 1, 32, 0, 0, 0, 32, 16, 0, 0, 0, 8, 0},
};
enum { N_MODELS = sizeof models / sizeof models[0] };

typedef struct reference_run {
    ls_model_options model;
    ls_optim_options optim;
    int64_t batch, logits_bytes;
    ls_graph *graph;
    ls_plan *plan;
    ls_device *device;
    ls_program *program;
} reference_run;

static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    const reference_run *r = user;
    const ls_rng_key key = {1, 0, ls_rng_stream(name)};
    const int64_t n = ls_shape_count(&tensor->shape);
    if (lane < 0) {
        ls_tensor_set(tensor, 0, 1e-4);
        return LS_OK;
    }
    const int reads_tokens = ls_model_reads_tokens(r->model.kind);
    const uint64_t below = (uint64_t)(reads_tokens ? r->model.vocab : r->model.classes);
    for (int64_t i = 0; i < n; i++)
        ls_tensor_set(tensor, i,
                      tensor->dtype == LS_DTYPE_F32
                          ? ls_rng_normal(key, (uint64_t)i)
                          : (double)ls_rng_below(key, (uint64_t)i, below));
    return LS_OK;
}

static void choose_model(reference_run *r, const reference_model *of, int quick) {
    r->model = ls_model_default();
    r->optim = ls_optim_default();
    r->model.kind = of->kind;
    r->model.layers = of->layers;
    r->model.width = quick ? of->quick_width : of->width;
    r->batch = quick ? of->quick_batch : of->batch;
    r->logits_bytes = of->logits_bytes;
    if (!ls_model_reads_tokens(of->kind)) return;
    r->model.heads = quick ? of->quick_heads : of->heads;
    r->model.vocab = quick ? of->quick_vocab : of->vocab;
    r->model.context = quick ? of->quick_context : of->context;
}

static ls_status build(reference_run *r, ls_precision precision, ls_pool *pool) {
    const int64_t tokens = ls_model_reads_tokens(r->model.kind) ? r->model.context : 1;
    const double count = (double)(r->batch * tokens);
    const ls_plan_options options = {.mode = LS_PLAN_TRAIN,
                                     .device = "cpu",
                                     .threads = ls_pool_threads(pool),
                                     .lanes = 1,
                                     .precision = precision,
                                     .optim = &r->optim,
                                     .logits_bytes = r->logits_bytes,
                                     .static_count = count};
    const ls_model_batch batch = {.batch = r->batch,
                                  .tokens = r->model.context,
                                  .lanes = 1,
                                  .grad_scale = 1 / count,
                                  .training = 1,
                                  .with_loss = 1};
    const ls_mesh mesh = {1, 1, 1, 1, 1};
    LS_TRY(ls_graph_create(&r->graph));
    LS_TRY(ls_model_build(&r->model, &batch, r->graph));
    LS_TRY(ls_plan_make(r->graph, &mesh, &options, &r->plan));
    LS_TRY(ls_device_create("cpu", 0, &r->device));
    const ls_lower_options lower = {.device = r->device, .pool = pool};
    LS_TRY(ls_program_lower(r->plan, 0, &lower, &r->program));
    return ls_program_init(r->program, 1);
}

static void tear_down(reference_run *r) {
    ls_program_destroy(r->program);
    ls_device_destroy(r->device);
    ls_plan_destroy(r->plan);
    ls_graph_destroy(r->graph);
}

/* Seconds of all nodes of a kind, and what the roof allows: efficiency is their ratio. */
typedef struct kind_sums {
    char kind[LS_MACHINE_CLASS_BYTES];
    double roof, seconds;
    int64_t n_nodes;
} kind_sums;

typedef struct sums {
    kind_sums kinds[LS_MACHINE_MAX_KERNEL];
    int n;
} sums;

static kind_sums *find_kind(sums *s, const char *kind) {
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->kinds[i].kind, kind) == 0) return &s->kinds[i];
    if (s->n == LS_MACHINE_MAX_KERNEL) return NULL;
    kind_sums *fresh = &s->kinds[s->n++];
    *fresh = (kind_sums){0};
    memcpy(fresh->kind, kind, strnlen(kind, sizeof fresh->kind - 1));
    return fresh;
}

/* Without the cost of handing out the work, which predictions add by themselves. */
static void add_rows(sums *s, const ls_machine *m, const ls_node_table *table, int threads) {
    for (int i = 0; i < table->n_rows; i++) {
        const ls_node_row *row = &table->rows[i];
        const ls_cost cost = {row->flops, row->bytes, 0};
        const double roof = ls_machine_roof_seconds(m, row->dtype, row->flops, row->bytes, threads);
        const double own = row->seconds.median - ls_cost_overhead(m, &cost, threads);
        const double least = row->seconds.median / 4;
        kind_sums *kind = roof > 0 ? find_kind(s, row->kind) : NULL;
        if (!kind) continue;
        kind->roof += roof * (double)row->times;
        kind->seconds += (own > least ? own : least) * (double)row->times;
        kind->n_nodes += row->times;
    }
}

static ls_status measure_model(ls_meter *meter, const ls_machine *m, const reference_model *of,
                               ls_precision precision, sums *s) {
    reference_run r = {0};
    ls_arena *arena = NULL;
    ls_node_table table;
    char what[64];
    snprintf(what, sizeof what, "kernels of a small %s in %s", of->name,
             precision == LS_PRECISION_F32 ? "f32" : "bf16");
    ls_meter_tell(meter, what);
    choose_model(&r, of, meter->options.quick);
    const ls_run_options run = {.seed = 1, .feed = feed, .user = &r};
    ls_status status = ls_arena_create(&arena);
    if (status == LS_OK) status = build(&r, precision, meter->pool);
    if (status == LS_OK) status = ls_measure_nodes(meter, r.program, &run, arena, &table);
    if (status == LS_OK) add_rows(s, m, &table, ls_pool_threads(meter->pool));
    tear_down(&r);
    ls_arena_destroy(arena);
    return status;
}

ls_status ls_measure_kernels(ls_meter *meter, ls_machine *m) {
    sums *s = ls_alloc(sizeof *s);
    ls_status status = s ? LS_OK : LS_ERR_NO_MEMORY;
    for (int i = 0; status == LS_OK && i < N_MODELS; i++)
        for (int p = LS_PRECISION_F32; status == LS_OK && p <= LS_PRECISION_BF16; p++)
            status = measure_model(meter, m, &models[i], (ls_precision)p, s);
    m->n_kernel = 0;
    for (int i = 0; status == LS_OK && i < s->n; i++) {
        const kind_sums *k = &s->kinds[i];
        ls_machine_kernel *row = &m->kernel[m->n_kernel++];
        *row = (ls_machine_kernel){.efficiency = k->roof / k->seconds, .n_nodes = k->n_nodes};
        memcpy(row->kind, k->kind, sizeof row->kind);
    }
    ls_free(s);
    return status;
}
