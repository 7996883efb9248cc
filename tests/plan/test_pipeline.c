/* The shape of the plan, proved: a 4-layer GPT cut into two pipeline stages with four lanes under each schedule, planned on the
 * fake device (golden text: commands, slots, bytes per rank) and run by two threads of one process with the bits of the
 * uncut run. LS_UPDATE_GOLDEN=1 rewrites the goldens. */
#include <pthread.h>

#include "base/fs.h"
#include "model_run.h"

enum { LANES = 4, STEPS = 3, TOKENS = 16, VOCAB = 96, MAX_STAGES = 4 };

static const char *const schedule_names[] = {"1f1b", "gpipe", "zero_bubble"};

typedef struct setup {
    int tied, reference, n_stages, kept;
    const char *device;
    ls_pipeline_kind schedule;
    double clip;
    int64_t logits_bytes;
    ls_precision precision;
    ls_casting cast_weights;
} setup;

static ls_plan *make_plan(const setup *s) {
    ls_model_options model = small_gpt2(4, 32, VOCAB, TOKENS);
    model.tied = s->tied;
    model.dropout = 0.1;
    ls_optim_options optim = ls_optim_default();
    optim.clip = s->clip;
    const ls_model_batch batch = training_batch(2, TOKENS, LANES);
    const ls_plan_options options = {.mode = LS_PLAN_TRAIN,
                                     .device = s->device,
                                     .threads = 1,
                                     .lanes = LANES,
                                     .schedule = s->schedule,
                                     .precision = s->precision,
                                     .cast_weights = s->cast_weights,
                                     .kept = s->kept,
                                     .logits_bytes = s->logits_bytes,
                                     .reference_kernels = s->reference,
                                     .optim = &optim,
                                     .static_count = LANES * 2.0 * TOKENS};
    const ls_mesh mesh = {.dp = 1, .tp = 1, .pp = s->n_stages, .cp = 1, .ep = 1};
    return plan_model(&model, &batch, &options, &mesh);
}

static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    return feed_values(tensor, name, *(const uint64_t *)user, lane, VOCAB);
}

typedef struct rank_run {
    ls_program *program;
    ls_status status;
    char message[512];
} rank_run;

static void *run_rank(void *user) {
    rank_run *r = user;
    r->status = ls_program_init(r->program, 5);
    for (uint64_t step = 0; r->status == LS_OK && step < STEPS; step++) {
        const ls_run_options run = {
            .seed = 5, .step = step, .feed = feed, .user = &step, .check_loss = 1};
        r->status = ls_program_run(r->program, &run);
    }
    snprintf(r->message, sizeof r->message, "%s", r->status == LS_OK ? "" : ls_error_message());
    return NULL;
}

/* Devices, transport and programs of all ranks of a plan. */
typedef struct world {
    ls_plan *plan;
    ls_arena *arena;
    ls_device *devices[MAX_STAGES];
    ls_channel_hub *hub;
    rank_run ranks[MAX_STAGES];
} world;

static void open_world(world *w, const setup *s) {
    *w = (world){.plan = make_plan(s)};
    ls_comm_channel *channels;
    assert_int_equal(ls_arena_create(&w->arena), LS_OK);
    assert_int_equal(ls_plan_comm_channels(w->plan, w->arena, &channels), LS_OK);
    for (int r = 0; r < s->n_stages; r++)
        assert_int_equal(ls_device_create(s->device, 0, &w->devices[r]), LS_OK);
    assert_int_equal(
        ls_channel_hub_create(s->n_stages, channels, w->plan->n_channels, w->devices, &w->hub),
        LS_OK);
    for (int r = 0; r < s->n_stages; r++) {
        const ls_lower_options lower = {.device = w->devices[r],
                                        .channels = ls_channel_hub_rank(w->hub, r)};
        if (ls_program_lower(w->plan, r, &lower, &w->ranks[r].program) != LS_OK)
            fail_msg("%s", ls_error_message());
    }
}

static void close_world(world *w) {
    for (int r = 0; r < w->plan->n_ranks; r++) ls_program_destroy(w->ranks[r].program);
    ls_channel_hub_destroy(w->hub);
    for (int r = 0; r < w->plan->n_ranks; r++) ls_device_destroy(w->devices[r]);
    ls_plan_destroy(w->plan);
    ls_arena_destroy(w->arena);
}

static void run_world(world *w) {
    pthread_t threads[MAX_STAGES];
    for (int r = 0; r < w->plan->n_ranks; r++)
        pthread_create(&threads[r], NULL, run_rank, &w->ranks[r]);
    for (int r = 0; r < w->plan->n_ranks; r++) pthread_join(threads[r], NULL);
    for (int r = 0; r < w->plan->n_ranks; r++)
        if (w->ranks[r].status != LS_OK) fail_msg("rank %d: %s", r, w->ranks[r].message);
}

/* Every parameter and optimizer state of every rank has the bytes of the uncut run. Returns how many were compared. */
static int compare_worlds(const world *cut, const world *whole) {
    int n = 0;
    const ls_graph *g = cut->plan->graph;
    for (int r = 0; r < cut->plan->n_ranks; r++)
        for (int64_t v = 0; v < g->n_values; v++) {
            const ls_value_info *info = &g->values[v];
            if (info->kind != LS_VALUE_PARAM && info->kind != LS_VALUE_STATE) continue;
            if (cut->plan->ranks[r].places[v].region == LS_REGION_NONE) continue;
            const size_t bytes = ls_type_bytes(&info->type);
            char *a = malloc(bytes), *b = malloc(bytes);
            assert_int_equal(ls_program_fetch(cut->ranks[r].program, info->name, a, bytes), LS_OK);
            assert_int_equal(ls_program_fetch(whole->ranks[0].program, info->name, b, bytes),
                             LS_OK);
            if (memcmp(a, b, bytes) != 0)
                fail_msg("rank %d: '%s' differs from the uncut run", r, info->name);
            free(a);
            free(b);
            n++;
        }
    return n;
}

/* The cut, under each schedule, against one stage that stores its logits and prepares its copies once a step. */
static void compare_cut(setup cut_setup) {
    setup uncut = {.tied = cut_setup.tied,
                   .n_stages = 1,
                   .device = "cpu",
                   .clip = cut_setup.clip,
                   .precision = cut_setup.precision,
                   .cast_weights = LS_CASTING_STEP};
    world whole;
    open_world(&whole, &uncut);
    run_world(&whole);
    cut_setup.device = "cpu";
    for (int schedule = 0; schedule < 3; schedule++) {
        world cut;
        cut_setup.schedule = (ls_pipeline_kind)schedule;
        open_world(&cut, &cut_setup);
        run_world(&cut);
        assert_true(compare_worlds(&cut, &whole) > 100);
        for (int r = 0; r < cut_setup.n_stages; r++)
            assert_int_equal(cut.devices[r]->peak_bytes, (size_t)ls_plan_bytes(cut.plan, r));
        close_world(&cut);
    }
    close_world(&whole);
}

static void compare_schedules(int tied, int n_stages, double clip, int kept, int64_t logits_bytes) {
    compare_cut((setup){.tied = tied,
                        .n_stages = n_stages,
                        .clip = clip,
                        .kept = kept,
                        .logits_bytes = logits_bytes});
}

static void test_two_stages_same_bits(void **state) {
    (void)state;
    compare_schedules(0, 2, 0, 0, 0);
    compare_schedules(0, 2, 0.5, 0, 0);
}

/* A tied embedding is read by both ends: the head's gradient travels to the other once a lane, and the sum comes back. */
static void test_tied_embedding_same_bits(void **state) {
    (void)state;
    compare_schedules(1, 2, 0.5, 0, 0);
}

/* The last stage's head is in its backward pass. */
static void test_large_head_same_bits(void **state) {
    (void)state;
    compare_schedules(0, 2, 0.5, 0, 1);
    compare_schedules(1, 2, 0.5, 0, 1);
}

static void test_four_stages_same_bits(void **state) {
    (void)state;
    compare_schedules(1, 4, 0.5, 0, 0);
}

/* Copies of weights made where they are read: by each half of the backward pass, by both ends of a tied embedding. */
static void test_copies_same_bits(void **state) {
    (void)state;
    for (int tied = 0; tied < 2; tied++)
        compare_cut((setup){.tied = tied,
                            .n_stages = 2,
                            .logits_bytes = tied,
                            .precision = LS_PRECISION_BF16,
                            .cast_weights = LS_CASTING_USE});
}

/* Each stage's state kept twice. */
static void test_kept_same_bits(void **state) {
    (void)state;
    compare_schedules(1, 2, 0.5, 1, 0);
}

/* Does the comparison see a difference? */
static void test_other_seed_differs(void **state) {
    (void)state;
    const setup s = {.n_stages = 1, .device = "cpu"};
    world a, b;
    open_world(&a, &s);
    open_world(&b, &s);
    run_world(&a);
    assert_int_equal(ls_program_init(b.ranks[0].program, 6), LS_OK);
    char x[4096], y[4096];
    assert_int_equal(
        ls_program_fetch(a.ranks[0].program, "transformer.h.0.mlp.c_fc.bias", x, sizeof x), LS_OK);
    assert_int_equal(
        ls_program_fetch(b.ranks[0].program, "transformer.h.0.mlp.c_fc.bias", y, sizeof y), LS_OK);
    assert_true(memcmp(x, y, 128 * sizeof(float)) != 0);
    close_world(&a);
    close_world(&b);
}

static void check_golden(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "tests/plan/golden/%s.txt", name);
    if (getenv("LS_UPDATE_GOLDEN")) {
        assert_int_equal(ls_file_write_atomic(path, text, strlen(text)), LS_OK);
        return;
    }
    char *want = NULL;
    size_t bytes;
    if (ls_file_read(path, &want, &bytes) != LS_OK) fail_msg("%s", ls_error_message());
    if (strcmp(want, text) != 0) {
        fputs(text, stderr);
        fail_msg("the plan differs from %s (printed above); LS_UPDATE_GOLDEN=1 accepts it", path);
    }
    ls_free(want);
}

/* Reference kernels: their workspace does not depend on the machine. */
static void test_golden_plans(void **state) {
    (void)state;
    for (int schedule = 0; schedule < 3; schedule++) {
        const setup s = {.tied = 1,
                         .reference = 1,
                         .n_stages = 2,
                         .device = "fake",
                         .schedule = (ls_pipeline_kind)schedule,
                         .clip = 1};
        world w;
        char *text = NULL, name[64];
        open_world(&w, &s);
        for (int r = 0; r < 2; r++)
            assert_int_equal(w.devices[r]->peak_bytes, (size_t)ls_plan_bytes(w.plan, r));
        assert_int_equal(ls_plan_print(w.plan, 0, &text), LS_OK);
        snprintf(name, sizeof name, "pipeline_%s", schedule_names[schedule]);
        check_golden(name, text);
        ls_free(text);
        close_world(&w);
    }
}

/* Slots are what the schedules are known for: GPipe keeps every lane, 1F1B as many as there are stages ahead. */
static void test_slots(void **state) {
    (void)state;
    static const int want[3][2] = {{2, 1}, {4, 4}, {2, 2}};
    for (int schedule = 0; schedule < 3; schedule++) {
        const setup s = {.reference = 1,
                         .n_stages = 2,
                         .device = "fake",
                         .schedule = (ls_pipeline_kind)schedule};
        ls_plan *plan = make_plan(&s);
        for (int r = 0; r < 2; r++) assert_int_equal(plan->ranks[r].n_slots, want[schedule][r]);
        ls_plan_destroy(plan);
    }
}

/* What crosses: one activation, its gradient and the tied embedding's from the head a lane; of the update, the scalars and the tied
 * embedding's sum. */
static void test_channels(void **state) {
    (void)state;
    const setup s = {.tied = 1, .reference = 1, .n_stages = 2, .device = "fake", .clip = 1};
    ls_plan *plan = make_plan(&s);
    const size_t activation = 2 * TOKENS * 32 * sizeof(float),
                 embedding = VOCAB * 32 * sizeof(float);
    int n_lane = 0, n_embedding = 0;
    for (int i = 0; i < plan->n_channels; i++) {
        const ls_channel *c = &plan->channels[i];
        if (c->bytes == embedding) {
            assert_int_equal(c->from, c->after == LS_SEGMENT_UPDATE ? 0 : 1);
            n_embedding++;
        } else if (c->after != LS_SEGMENT_UPDATE) {
            assert_int_equal(c->bytes, activation);
            n_lane++;
        } else {
            assert_true(c->bytes <= 8 * LANES);
        }
    }
    assert_int_equal(n_lane, 2);
    assert_int_equal(n_embedding, 2);
    ls_plan_destroy(plan);
}

static void test_refusals(void **state) {
    (void)state;
    ls_optim_options optim = ls_optim_default();
    ls_graph *graph = NULL;
    ls_plan *plan = NULL;
    assert_int_equal(ls_graph_create(&graph), LS_OK);
    ls_plan_options o = {.mode = LS_PLAN_TRAIN,
                         .device = "fake",
                         .threads = 1,
                         .lanes = 3,
                         .optim = &optim,
                         .static_count = 1};
    ls_mesh mesh = {1, 1, 1, 1, 1};
    assert_int_equal(ls_plan_make(graph, &mesh, &o, &plan), LS_ERR_CONFIG);
    assert_non_null(strstr(ls_error_message(), "power of two"));
    o.lanes = 2;
    mesh.tp = 2;
    assert_int_equal(ls_plan_make(graph, &mesh, &o, &plan), LS_ERR_UNSUPPORTED);
    mesh.tp = 1;
    assert_int_equal(ls_plan_make(graph, &mesh, &o, &plan), LS_ERR_INVALID);
    assert_non_null(strstr(ls_error_message(), "loss"));
    ls_graph_destroy(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_stages_same_bits),
        cmocka_unit_test(test_tied_embedding_same_bits),
        cmocka_unit_test(test_large_head_same_bits),
        cmocka_unit_test(test_four_stages_same_bits),
        cmocka_unit_test(test_copies_same_bits),
        cmocka_unit_test(test_kept_same_bits),
        cmocka_unit_test(test_other_seed_differs),
        cmocka_unit_test(test_golden_plans),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_channels),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
