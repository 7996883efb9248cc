/* 100 training steps of a small GPT-2 and a small Llama, and 40 of a small ResNet and a perceptron, follow PyTorch's losses
 * (tools/goldens/make_train_goldens.py) from the same first weights and batches. */
#include <math.h>

#include "base/json.h"
#include "exec/program.h"
#include "lockstep/model.h"
#include "lockstep/optim.h"
#include "lockstep/safetensors.h"
#include "unit/base/check.h"

#define GOLDEN   "tests/train/golden/"
#define LOSS_BAR 1e-4 /* absolute, nats */
#define NORM_BAR 1e-3 /* relative */

typedef struct golden {
    json_t *json;
    ls_safetensors *init, *batches;
    ls_model_options model;
    ls_optim_options optim;
    int64_t batch, tokens, count; /* count: targets of a step */
    int n_steps;
} golden;

typedef struct run {
    golden *golden;
    int lanes;
    int64_t step;
    ls_graph *graph;
    ls_plan *plan;
    ls_device *device;
    ls_pool *pool;
    ls_program *program;
} run;

static double number(const json_t *object, const char *key) {
    double value = 0;
    check_ok(ls_json_get_number(object, "golden", key, &value));
    return value;
}

static double series(const golden *g, const char *key, int step) {
    return json_number_value(json_array_get(json_object_get(g->json, key), (size_t)step));
}

static void open_golden(golden *g, const char *kind) {
    char path[256], *config;
    json_t *section;
    int64_t batch, tokens;
    *g = (golden){0};
    snprintf(path, sizeof path, GOLDEN "%s.json", kind);
    check_ok(ls_json_read(path, &g->json));
    check_ok(ls_json_get_object(g->json, path, "config", &section));
    check_ok(ls_json_dump(section, 0, &config, NULL));
    check_ok(ls_model_load_config(config, strlen(config), path, &g->model));
    ls_free(config);
    check_ok(ls_json_get_object(g->json, path, "options", &section));
    g->optim = ls_optim_default();
    g->optim.schedule = LS_SCHEDULE_CONSTANT;
    g->optim.lr = number(section, "lr");
    g->optim.beta1 = number(section, "beta1");
    g->optim.beta2 = number(section, "beta2");
    g->optim.eps = number(section, "eps");
    g->optim.weight_decay = number(section, "weight_decay");
    g->optim.clip = number(section, "clip");
    check_ok(ls_json_get_int(g->json, path, "batch", &batch));
    check_ok(ls_json_get_int(g->json, path, "tokens", &tokens));
    g->batch = batch;
    g->tokens = tokens;
    g->n_steps = (int)json_array_size(json_object_get(g->json, "losses"));
    snprintf(path, sizeof path, GOLDEN "%s_init.safetensors", kind);
    check_ok(ls_safetensors_open(path, &g->init));
    const int reads_tokens = ls_model_reads_tokens(g->model.kind);
    g->count = batch * (reads_tokens ? tokens : 1);
    check_ok(ls_safetensors_open(
        reads_tokens ? GOLDEN "batches.safetensors" : GOLDEN "images.safetensors", &g->batches));
}

static void close_golden(golden *g) {
    ls_safetensors_close(g->init);
    ls_safetensors_close(g->batches);
    json_decref(g->json);
}

/* Rows of a lane follow each other in the batch. */
static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    const run *r = user;
    if (lane < 0) {
        ls_tensor_set(tensor, 0, r->golden->optim.lr);
        return LS_OK;
    }
    ls_tensor all;
    LS_TRY(ls_safetensors_find(r->golden->batches, name, &all));
    const size_t bytes = ls_tensor_bytes(tensor);
    const char *step = (const char *)all.data + (size_t)r->step * bytes * (size_t)r->lanes;
    memcpy(tensor->data, step + (size_t)lane * bytes, bytes);
    return LS_OK;
}

/* Builds, plans and lowers; `source` (may be NULL) lends its weights and statistics. */
static void lower(run *r, ls_plan_mode mode, int threads, const run *source) {
    golden *g = r->golden;
    const ls_model_batch batch = {.batch = g->batch / r->lanes,
                                  .tokens = g->tokens,
                                  .lanes = r->lanes,
                                  .grad_scale = 1 / (double)g->count,
                                  .training = mode == LS_PLAN_TRAIN,
                                  .with_loss = 1};
    const ls_mesh mesh = {1, 1, 1, 1, 1};
    const ls_plan_options options = {.mode = mode,
                                     .device = "cpu",
                                     .threads = threads,
                                     .lanes = r->lanes,
                                     .optim = &g->optim,
                                     .static_count = (double)g->count};
    check_ok(ls_graph_create(&r->graph));
    check_ok(ls_model_build(&g->model, &batch, r->graph));
    check_ok(ls_plan_make(r->graph, &mesh, &options, &r->plan));
    check_ok(ls_device_create("cpu", 0, &r->device));
    check_ok(ls_pool_create(threads, -1, &r->pool));
    const ls_lower_options lowering = {
        .device = r->device, .pool = r->pool, .weights_of = source ? source->program : NULL};
    check_ok(ls_program_lower(r->plan, 0, &lowering, &r->program));
}

static void start(run *r, golden *g, int lanes, int threads) {
    *r = (run){.golden = g, .lanes = lanes};
    lower(r, LS_PLAN_TRAIN, threads, NULL);
    check_ok(ls_program_init(r->program, 1));
    for (int i = 0; i < ls_safetensors_count(g->init); i++) {
        const ls_tensor tensor = ls_safetensors_tensor(g->init, i);
        check_ok(ls_program_store(r->program, ls_safetensors_name(g->init, i), &tensor));
    }
}

static void finish(run *r) {
    ls_program_destroy(r->program);
    ls_pool_destroy(r->pool);
    ls_device_destroy(r->device);
    ls_plan_destroy(r->plan);
    ls_graph_destroy(r->graph);
}

/* Loss of the step, its gradient norm in *norm_out. */
static double take_step(run *r, int step, double *norm_out) {
    const ls_run_options options = {
        .seed = 1, .step = (uint64_t)step, .feed = feed, .user = r, .check_loss = 1};
    float loss, count, norm;
    r->step = step;
    check_ok(ls_program_run(r->program, &options));
    check_ok(ls_program_fetch_f32(r->program, "sum/loss", &loss));
    check_ok(ls_program_fetch_f32(r->program, "sum/count", &count));
    check_ok(ls_program_fetch_f32(r->program, "grad_norm", &norm));
    *norm_out = norm;
    return (double)loss / (double)count;
}

/* Every step of a started run. */
static void follow_steps(run *r, const char *kind) {
    const golden *g = r->golden;
    double worst = 0, worst_norm = 0, norm;
    for (int step = 0; step < g->n_steps; step++) {
        const double loss = take_step(r, step, &norm), want = series(g, "losses", step);
        const double want_norm = series(g, "norms", step);
        worst = fmax(worst, fabs(loss - want));
        worst_norm = fmax(worst_norm, fabs(norm - want_norm) / want_norm);
        if (!(fabs(loss - want) <= LOSS_BAR))
            fail_msg("%s, %d lanes, step %d: loss %.7f, PyTorch %.7f (norm %.6f, PyTorch %.6f)",
                     kind, r->lanes, step, loss, want, norm, want_norm);
    }
    print_message("%s, %d lanes: losses within %.1e, norms within %.1e relative\n", kind, r->lanes,
                  worst, worst_norm);
    assert_true(worst_norm <= NORM_BAR);
}

static void follow(const char *kind, int lanes, int threads) {
    golden g;
    run r;
    open_golden(&g, kind);
    assert_int_equal(g.n_steps, 100);
    start(&r, &g, lanes, threads);
    follow_steps(&r, kind);
    finish(&r);
    close_golden(&g);
}

static void test_gpt2_follows(void **state) {
    (void)state;
    follow("gpt2", 1, 1);
}

static void test_gpt2_follows_in_lanes(void **state) {
    (void)state;
    follow("gpt2", 4, 2);
}

static void test_llama_follows(void **state) {
    (void)state;
    follow("llama", 1, 2);
}

static void test_llama_follows_in_lanes(void **state) {
    (void)state;
    follow("llama", 4, 1);
}

/* Training with statistics of the batch, then the first batch again in evaluation form with the running ones. */
static void follow_images(const char *kind, int lanes) {
    golden g;
    run r;
    float loss, correct;
    open_golden(&g, kind);
    assert_int_equal(g.n_steps, 40);
    start(&r, &g, lanes, 2);
    follow_steps(&r, kind);
    run eval = {.golden = &g, .lanes = 2};
    lower(&eval, LS_PLAN_FORWARD, 1, &r);
    const ls_run_options options = {.feed = feed, .user = &eval};
    check_ok(ls_program_run(eval.program, &options));
    check_ok(ls_program_fetch_f32(eval.program, "sum/loss", &loss));
    check_ok(ls_program_fetch_f32(eval.program, "sum/correct", &correct));
    const double mean = (double)loss / (double)g.count, want = series(&g, "eval_loss", 0);
    if (!(fabs(mean - want) <= LOSS_BAR)) fail_msg("evaluation: %.7f, PyTorch %.7f", mean, want);
    assert_int_equal((int)correct, (int)series(&g, "eval_correct", 0));
    finish(&eval);
    finish(&r);
    close_golden(&g);
}

/* Statistics are of a lane: PyTorch's are those of one lane. */
static void test_resnet_follows(void **state) {
    (void)state;
    follow_images("resnet", 1);
}

static void test_mlp_follows(void **state) {
    (void)state;
    follow_images("mlp", 4);
}

/* The check must be able to fail: one weight in ten thousand off by 0.1 is seen. */
static void test_wrong_weight_is_seen(void **state) {
    (void)state;
    golden g;
    run r;
    double norm;
    open_golden(&g, "gpt2");
    start(&r, &g, 1, 1);
    float gamma[32];
    const ls_tensor tensor = {LS_DTYPE_F32, {1, {32}}, gamma};
    check_ok(ls_program_fetch(r.program, "transformer.h.2.ln_1.weight", gamma, sizeof gamma));
    gamma[7] += 0.1F;
    check_ok(ls_program_store(r.program, "transformer.h.2.ln_1.weight", &tensor));
    double worst = 0;
    for (int step = 0; step < 20; step++)
        worst = fmax(worst, fabs(take_step(&r, step, &norm) - series(&g, "losses", step)));
    assert_true(worst > LOSS_BAR);
    finish(&r);
    close_golden(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2_follows),         cmocka_unit_test(test_gpt2_follows_in_lanes),
        cmocka_unit_test(test_llama_follows),        cmocka_unit_test(test_llama_follows_in_lanes),
        cmocka_unit_test(test_resnet_follows),       cmocka_unit_test(test_mlp_follows),
        cmocka_unit_test(test_wrong_weight_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
