/* labels: slow threads timeout=300
 * Fusion changes no bit: models of every kind, precision and optimizer end with the same state with and without it; so do random
 * graphs of elementwise ops, over odd sizes and numbers of threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/rng.h"
#include "exec/program.h"
#include "lockstep/model.h"
#include "op/add/add.h"
#include "op/cast/cast.h"
#include "op/dropout/dropout.h"
#include "op/gelu/gelu.h"
#include "op/mul/mul.h"
#include "op/op.h"
#include "op/reduce_rows/reduce_rows.h"
#include "op/relu/relu.h"
#include "op/scale/scale.h"
#include "op/silu/silu.h"
#include "op/swiglu/swiglu.h"

enum { LANES = 2, STEPS = 2, TOKENS = 8, VOCAB = 61, CLASSES = 5 };

static void check(ls_status status) {
    if (status != LS_OK) fail_msg("%s", ls_error_message());
}

/* --- models ---------------------------------------------------------------------------------------------------------- */

typedef struct setup {
    ls_model_kind model;
    ls_precision precision;
    ls_optim_kind optim;
    double dropout;
    ls_recompute recompute;
    ls_pipeline_kind schedule;
    int reference, threads, least; /* nodes that fusing must take away at least */
} setup;

static ls_model_options small_model(const setup *s) {
    ls_model_options model = ls_model_default();
    model.kind = s->model;
    model.layers = s->model == LS_MODEL_RESNET ? 1 : 2;
    model.width = s->model == LS_MODEL_RESNET ? 4 : 24;
    model.heads = 2;
    model.hidden = s->model == LS_MODEL_LLAMA ? 35 : 150; /* wide enough for column sums */
    model.vocab = VOCAB;
    model.context = TOKENS;
    model.dropout = s->dropout;
    model.classes = CLASSES;
    model.channels = 1;
    model.image = 12;
    model.stages = 2;
    return model;
}

static ls_plan *make_plan(const setup *s, ls_fuse fuse, ls_plan_mode mode) {
    const ls_model_options model = small_model(s);
    ls_optim_options optim = ls_optim_default();
    optim.kind = (int)s->optim;
    const int training = mode == LS_PLAN_TRAIN;
    const double count = LANES * 2.0 * (ls_model_reads_tokens(model.kind) ? TOKENS : 1);
    const ls_model_batch batch = {.batch = 2,
                                  .tokens = TOKENS,
                                  .lanes = LANES,
                                  .grad_scale = 1 / count,
                                  .training = training,
                                  .with_loss = 1,
                                  .loss_scale = training && s->precision == LS_PRECISION_F16};
    const ls_plan_options options = {.mode = mode,
                                     .device = "cpu",
                                     .threads = s->threads ? s->threads : 1,
                                     .lanes = LANES,
                                     .precision = s->precision,
                                     .schedule = s->schedule,
                                     .recompute = s->recompute,
                                     .fuse = fuse,
                                     .reference_kernels = s->reference,
                                     .optim = &optim,
                                     .static_count = count};
    const ls_mesh mesh = {0};
    ls_graph *graph = NULL;
    ls_plan *plan = NULL;
    check(ls_graph_create(&graph));
    if (batch.loss_scale) ls_optim_loss_scale(graph, &optim);
    check(ls_model_build(&model, &batch, graph));
    check(ls_plan_make(graph, &mesh, &options, &plan));
    ls_graph_destroy(graph);
    return plan;
}

/* A pure function of (step, lane, name, element). */
static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    const uint64_t step = *(const uint64_t *)user;
    const ls_rng_key key = {11, step * 64 + (uint64_t)lane, ls_rng_stream(name)};
    const uint64_t below = strcmp(name, "labels") == 0 ? CLASSES : VOCAB;
    for (int64_t i = 0; i < ls_shape_count(&tensor->shape); i++)
        ls_tensor_set(tensor, i,
                      lane < 0 ? 1e-2
                      : ls_dtype_is_float(tensor->dtype)
                          ? ls_rng_normal(key, (uint64_t)i)
                          : (double)ls_rng_below(key, (uint64_t)i, below));
    return LS_OK;
}

static uint64_t hash_state(ls_program *program, const ls_plan *plan) {
    ls_arena *arena;
    ls_plan_part *parts;
    int n;
    uint64_t hash = 1;
    check(ls_arena_create(&arena));
    check(ls_plan_parts(plan, 0, arena, &parts, &n));
    assert_true(n > 3);
    for (int i = 0; i < n; i++)
        hash = ls_xxh3(ls_program_part_address(program, &parts[i]),
                       (size_t)parts[i].count * ls_dtype_bytes(parts[i].whole.dtype), hash);
    ls_arena_destroy(arena);
    return hash;
}

static uint64_t train(const setup *s, ls_fuse fuse, float *loss_out) {
    ls_plan *plan = make_plan(s, fuse, LS_PLAN_TRAIN);
    ls_device *device = NULL;
    ls_pool *pool = NULL;
    ls_program *program = NULL;
    const int taken = plan->fused.n_taken - plan->fused.n_made;
    if (fuse == LS_FUSE_OFF ? plan->fused.n_taken != 0 : taken < s->least)
        fail_msg("model %s: fusing took %d nodes away, wanted at least %d",
                 ls_model_kind_names[s->model], taken, s->least);
    check(ls_device_create("cpu", 0, &device));
    check(ls_pool_create(s->threads ? s->threads : 1, -1, &pool));
    const ls_lower_options lower = {.device = device, .pool = pool};
    check(ls_program_lower(plan, 0, &lower, &program));
    check(ls_program_init(program, 5));
    for (uint64_t step = 0; step < STEPS; step++) {
        const ls_run_options run = {.seed = 5, .step = step, .feed = feed, .user = &step};
        check(ls_program_run(program, &run));
    }
    check(ls_program_fetch_f32(program, "sum/loss", loss_out));
    const uint64_t hash = hash_state(program, plan);
    ls_program_destroy(program);
    ls_pool_destroy(pool);
    ls_device_destroy(device);
    ls_plan_destroy(plan);
    return hash;
}

static void check_same(const setup *s) {
    float with, without;
    const uint64_t fused = train(s, LS_FUSE_ON, &with), plain = train(s, LS_FUSE_OFF, &without);
    assert_true(with > 0.1f && with < 1e3f);
    if (fused != plain || memcmp(&with, &without, sizeof with) != 0)
        fail_msg("model %s, precision %d, optimizer %s, dropout %g, recompute %d, schedule %d, "
                 "reference %d: fused loss %.9g, unfused %.9g",
                 ls_model_kind_names[s->model], (int)s->precision, ls_optim_kind_names[s->optim],
                 s->dropout, (int)s->recompute, (int)s->schedule, s->reference, (double)with,
                 (double)without);
}

static void test_models_and_precisions(void **state) {
    static const struct {
        ls_model_kind model;
        double dropout;
        int least;
    } models[] = {{LS_MODEL_GPT2, 0, 6},     {LS_MODEL_GPT2, 0.25, 10}, {LS_MODEL_LLAMA, 0, 10},
                  {LS_MODEL_LLAMA, 0.1, 12}, {LS_MODEL_MLP, 0, 0},      {LS_MODEL_MLP, 0.5, 0},
                  {LS_MODEL_RESNET, 0, 10}};
    (void)state;
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++)
        for (int precision = 0; precision < 3; precision++)
            for (int reference = 0; reference < 2; reference++) {
                const setup s = {.model = models[m].model,
                                 .precision = (ls_precision)precision,
                                 .optim = LS_OPTIM_ADAMW,
                                 .dropout = models[m].dropout,
                                 .reference = reference,
                                 .threads = 1 + precision,
                                 .least = models[m].least};
                check_same(&s);
            }
}

static void test_optimizers(void **state) {
    (void)state;
    for (int kind = 0; kind < LS_OPTIM_KIND_COUNT; kind++)
        for (int precision = 0; precision < 3; precision++) {
            const setup s = {.model = kind % 2 ? LS_MODEL_GPT2 : LS_MODEL_LLAMA,
                             .precision = (ls_precision)precision,
                             .optim = (ls_optim_kind)kind,
                             .least = 4};
            check_same(&s);
        }
}

/* What is made again is fused too, and under zero bubble halves stay halves. */
static void test_recompute_and_schedules(void **state) {
    static const ls_recompute recompute[] = {LS_RECOMPUTE_NONE, LS_RECOMPUTE_ATTENTION,
                                             LS_RECOMPUTE_LAYER, LS_RECOMPUTE_CHEAP};
    (void)state;
    for (int r = 0; r < 4; r++)
        for (int schedule = 0; schedule < 3; schedule++) {
            const setup s = {.model = r == 1 ? LS_MODEL_LLAMA : LS_MODEL_GPT2,
                             .precision = schedule == 1 ? LS_PRECISION_BF16 : LS_PRECISION_F32,
                             .optim = LS_OPTIM_ADAMW,
                             .dropout = 0.1,
                             .recompute = recompute[r],
                             .schedule = (ls_pipeline_kind)schedule,
                             .least = 4};
            check_same(&s);
        }
}

/* Evaluation of a ResNet: norms with running statistics take in the same neighbours. */
static void test_evaluation(void **state) {
    const setup s = {.model = LS_MODEL_RESNET, .optim = LS_OPTIM_ADAMW};
    float losses[2];
    (void)state;
    for (int fuse = 0; fuse < 2; fuse++) {
        ls_plan *plan = make_plan(&s, (ls_fuse)fuse, LS_PLAN_FORWARD);
        ls_device *device = NULL;
        ls_program *program = NULL;
        uint64_t step = 3;
        check(ls_device_create("cpu", 0, &device));
        const ls_lower_options lower = {.device = device};
        check(ls_program_lower(plan, 0, &lower, &program));
        check(ls_program_init(program, 5));
        const ls_run_options run = {.seed = 5, .step = step, .feed = feed, .user = &step};
        check(ls_program_run(program, &run));
        check(ls_program_fetch_f32(program, "sum/loss", &losses[fuse]));
        assert_true(fuse == LS_FUSE_ON ? plan->fused.n_taken >= 8 : plan->fused.n_taken == 0);
        ls_program_destroy(program);
        ls_device_destroy(device);
        ls_plan_destroy(plan);
    }
    assert_memory_equal(&losses[0], &losses[1], sizeof losses[0]);
    assert_true(losses[0] > 0.1f);
}

/* --- random graphs --------------------------------------------------------------------------------------------------- */

enum { N_INPUTS = 5, MAX_VALUES = 64, N_OUTPUTS = 4, N_SEEDS = 60 };

typedef struct dice {
    ls_rng_key key;
    uint64_t n;
} dice;

static int roll(dice *d, int sides) {
    return (int)ls_rng_below(d->key, d->n++, (uint64_t)sides);
}

static const ls_dtype dtypes[] = {LS_DTYPE_F32, LS_DTYPE_BF16, LS_DTYPE_F16};

static ls_shape random_shape(dice *d) {
    static const int64_t sizes[] = {1, 3, 15, 16, 17, 33, 250, 1023, 1024, 1025, 2500, 40000};
    const int64_t n = sizes[roll(d, 12)];
    switch (roll(d, 3)) {
    case 0:
        return (ls_shape){1, {n}};
    case 1:
        return (ls_shape){2, {n, 1 + roll(d, 3)}};
    default: /* with column sums */
        return (ls_shape){2, {1 + roll(d, 200), 120 + roll(d, 40)}};
    }
}

/* One more value out of earlier ones; the newest are drawn most. */
static ls_value random_node(dice *d, ls_graph *g, const ls_value *values, int n, ls_value scalar) {
    const ls_value a = values[n - 1 - roll(d, n < 5 ? n : 5)];
    const ls_dtype dtype = ls_graph_dtype(g, a);
    const ls_value b = ls_cast(g, values[roll(d, n)], dtype);
    char stream[16];
    snprintf(stream, sizeof stream, "d%d", n);
    switch (roll(d, 11)) {
    case 0:
    case 1:
        return ls_add(g, a, b);
    case 2:
        return ls_mul(g, a, b);
    case 3:
        return ls_mul(g, a, scalar);
    case 4:
        return ls_scale(g, a, 0.375);
    case 5:
        return ls_relu(g, a);
    case 6:
        return ls_gelu(g, a, roll(d, 2));
    case 7:
        return ls_silu(g, a);
    case 8:
        return ls_swiglu(g, a, b);
    case 9:
        return ls_dropout(g, a, 0.25, stream);
    default:
        return ls_cast(g, a, dtypes[roll(d, 3)]);
    }
}

static ls_graph *random_graph(uint64_t seed) {
    dice d = {{seed, 0, 1}, 0};
    ls_graph *g = NULL;
    ls_value values[MAX_VALUES];
    int n = 0;
    check(ls_graph_create(&g));
    ls_graph_set_unit(g, 0);
    const ls_shape shape = random_shape(&d);
    const ls_value scalar = ls_graph_input(g, "s", LS_DTYPE_F32, (ls_shape){0});
    for (int i = 0; i < N_INPUTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        values[n++] = ls_graph_input(g, name, dtypes[roll(&d, 3)], shape);
    }
    const int n_nodes = 4 + roll(&d, 30);
    for (int i = 0; i < n_nodes; i++) {
        ls_graph_set_unit(g, i / 9);
        values[n] = random_node(&d, g, values, n, scalar);
        n++;
    }
    for (int i = 0; i < N_OUTPUTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "y%d", i);
        /* an op's own result, and never twice the same */
        ls_value v = ls_scale(g, values[i ? N_INPUTS + roll(&d, n_nodes) : n - 1], 1.0 + i);
        if (i == 3) v = ls_reduce_rows(g, values[N_INPUTS + roll(&d, n_nodes)], LS_DTYPE_F32);
        check(ls_graph_output(g, name, v));
    }
    check(ls_graph_status(g));
    return g;
}

typedef struct results {
    void *data[N_OUTPUTS];
    size_t bytes[N_OUTPUTS];
    int n_taken, n_made;
} results;

static void run_graph(const ls_graph *graph, ls_fuse fuse, int threads, int reference,
                      results *out) {
    const ls_plan_options options = {.mode = LS_PLAN_FORWARD,
                                     .device = "cpu",
                                     .threads = threads,
                                     .lanes = 1,
                                     .fuse = fuse,
                                     .reference_kernels = reference};
    const ls_mesh mesh = {0};
    ls_plan *plan = NULL;
    ls_device *device = NULL;
    ls_pool *pool = NULL;
    ls_program *program = NULL;
    uint64_t step = 1;
    check(ls_plan_make(graph, &mesh, &options, &plan));
    check(ls_device_create("cpu", 0, &device));
    check(ls_pool_create(threads, -1, &pool));
    const ls_lower_options lower = {.device = device, .pool = pool};
    check(ls_program_lower(plan, 0, &lower, &program));
    const ls_run_options run = {.seed = 9, .step = step, .feed = feed, .user = &step};
    check(ls_program_run(program, &run));
    for (int i = 0; i < N_OUTPUTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "y%d", i);
        const ls_value v = ls_graph_find(graph, name);
        out->bytes[i] = ls_type_bytes(&graph->values[v].type);
        out->data[i] = ls_alloc(out->bytes[i]);
        check(ls_program_fetch(program, name, out->data[i], out->bytes[i]));
    }
    out->n_taken = plan->fused.n_taken;
    out->n_made = plan->fused.n_made;
    ls_program_destroy(program);
    ls_pool_destroy(pool);
    ls_device_destroy(device);
    ls_plan_destroy(plan);
}

static void free_results(results *r) {
    for (int i = 0; i < N_OUTPUTS; i++) ls_free(r->data[i]);
}

static void test_random_graphs(void **state) {
    int n_taken = 0, n_made = 0;
    (void)state;
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        ls_graph *graph = random_graph(seed);
        const int reference = seed % 8 == 7;
        results plain, fused;
        run_graph(graph, LS_FUSE_OFF, 1, reference, &plain);
        for (int threads = 1; threads <= 3; threads++) {
            run_graph(graph, LS_FUSE_ON, threads, reference, &fused);
            for (int i = 0; i < N_OUTPUTS; i++)
                if (memcmp(plain.data[i], fused.data[i], plain.bytes[i]) != 0)
                    fail_msg("seed %d, output y%d, %d threads: other bits", (int)seed, i, threads);
            free_results(&fused);
        }
        n_taken += fused.n_taken;
        n_made += fused.n_made;
        free_results(&plain);
        ls_graph_destroy(graph);
    }
    /* it was about something: chains of several nodes on average */
    assert_true(n_made >= N_SEEDS);
    assert_true(n_taken >= 3 * n_made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models_and_precisions),   cmocka_unit_test(test_optimizers),
        cmocka_unit_test(test_recompute_and_schedules), cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_random_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
