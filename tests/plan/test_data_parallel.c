/* labels: slow threads timeout=600
 * Data parallelism and ZeRO by threads of one process: every number of ranks, every stage and both ways of moving pieces give the
 * weights and optimizer state of one rank, bit for bit; bytes per rank are those of the formula and those allocated; plans
 * for many ranks are made quickly; what cannot be is refused with a sentence. */
#include <pthread.h>

#include "base/fs.h"
#include "model_run.h"

enum { LANES = 8, STEPS = 3, TOKENS = 8, VOCAB = 61, MAX_RANKS = 8 };

typedef struct setup {
    ls_model_kind model;
    ls_precision precision;
    int ranks, zero, lanes, hosts, tied, reference;
    ls_wire wire;
    ls_recompute recompute;
    int64_t bucket_bytes, logits_bytes;
    ls_optim_kind optim;
} setup;

static ls_status try_plan(const setup *s, const char *device, ls_plan **out) {
    ls_model_options model = small_gpt2(2, 24, VOCAB, TOKENS);
    model.kind = s->model;
    model.tied = s->tied;
    model.dropout = s->model == LS_MODEL_GPT2 ? 0.1 : 0;
    ls_optim_options optim = ls_optim_default();
    optim.kind = (int)s->optim;
    optim.clip = 0.5;
    const int lanes = s->lanes ? s->lanes : LANES;
    const ls_model_batch batch = training_batch(1, TOKENS, lanes);
    const ls_plan_options options = {.mode = LS_PLAN_TRAIN,
                                     .device = device,
                                     .threads = 1,
                                     .lanes = lanes,
                                     .precision = s->precision,
                                     .recompute = s->recompute,
                                     .zero = s->zero,
                                     .wire = s->wire,
                                     .hosts = s->hosts,
                                     .reference_kernels = s->reference,
                                     .bucket_bytes = s->bucket_bytes,
                                     .logits_bytes = s->logits_bytes,
                                     .optim = &optim,
                                     .static_count = (double)lanes * TOKENS};
    const ls_mesh mesh = {.dp = s->ranks};
    return try_plan_model(&model, &batch, &options, &mesh, out);
}

static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    return feed_values(tensor, name, *(const uint64_t *)user, lane, VOCAB);
}

typedef struct rank_run {
    const ls_plan *plan;
    ls_comm *comm;
    ls_device *device;
    ls_program *program;
    int rank;
    ls_status status;
    char message[1024];
    char *state; /* every persistent value, whole, by name */
    size_t bytes;
    float loss;
} rank_run;

static ls_status fetch_state(rank_run *r) {
    LS_TRY(fetch_whole_state(r->plan, r->program, &r->state, &r->bytes));
    return ls_program_fetch_f32(r->program, "sum/loss", &r->loss);
}

static ls_status run(rank_run *r) {
    const ls_lower_options lower = {.device = r->device, .comm = r->comm};
    LS_TRY(ls_program_lower(r->plan, r->rank, &lower, &r->program));
    LS_TRY(ls_program_init(r->program, 5));
    for (uint64_t step = 0; step < STEPS; step++) {
        const ls_run_options options = {
            .seed = 5, .step = step, .feed = feed, .user = &step, .check_loss = 1};
        LS_TRY(ls_program_run(r->program, &options));
    }
    return fetch_state(r);
}

static void *run_thread(void *user) {
    rank_run *r = user;
    r->status = run(r);
    snprintf(r->message, sizeof r->message, "%s", r->status == LS_OK ? "" : ls_error_message());
    if (r->status != LS_OK) ls_comm_abort(r->comm, r->message);
    return NULL;
}

/* Runs the setup; the state of rank 0 is the result, those of the others must be equal. */
static char *run_setup(const setup *s, size_t *bytes_out, float *loss_out) {
    ls_plan *plan = NULL;
    ls_comm_hub *hub = NULL;
    rank_run ranks[MAX_RANKS] = {{0}};
    pthread_t threads[MAX_RANKS];
    if (try_plan(s, "cpu", &plan) != LS_OK) fail_msg("%s", ls_error_message());
    const ls_comm_options options = {.late_seconds = 60, .quiet = 1};
    assert_int_equal(ls_comm_hub_create(s->ranks, &options, &hub), LS_OK);
    for (int r = 0; r < s->ranks; r++) {
        ranks[r] = (rank_run){.plan = plan, .comm = ls_comm_hub_rank(hub, r), .rank = r};
        assert_int_equal(ls_device_create("cpu", 0, &ranks[r].device), LS_OK);
        pthread_create(&threads[r], NULL, run_thread, &ranks[r]);
    }
    for (int r = 0; r < s->ranks; r++) pthread_join(threads[r], NULL);
    for (int r = 0; r < s->ranks; r++) {
        if (ranks[r].status != LS_OK) fail_msg("rank %d: %s", r, ranks[r].message);
        assert_int_equal(ranks[r].device->peak_bytes, (size_t)ls_plan_bytes(plan, r));
        assert_int_equal(ls_program_allocated_bytes(ranks[r].program), ls_plan_bytes(plan, r));
        assert_memory_equal(ranks[r].state, ranks[0].state, ranks[0].bytes);
        if (r) free(ranks[r].state);
    }
    for (int r = 0; r < s->ranks; r++) ls_program_destroy(ranks[r].program);
    for (int r = 0; r < s->ranks; r++) ls_device_destroy(ranks[r].device);
    ls_comm_hub_destroy(hub);
    ls_plan_destroy(plan);
    *bytes_out = ranks[0].bytes;
    *loss_out = ranks[0].loss;
    return ranks[0].state;
}

/* All layouts of `base` against one rank, which stores its logits. */
static void compare_layouts(const setup *base) {
    setup one = *base;
    size_t want_bytes, bytes;
    float want_loss, loss;
    one.ranks = 1;
    one.zero = 0;
    one.logits_bytes = 0;
    char *want = run_setup(&one, &want_bytes, &want_loss);
    for (int ranks = 2; ranks <= MAX_RANKS; ranks *= 2)
        for (int zero = 0; zero <= (base->optim == LS_OPTIM_LAMB ? 0 : 3); zero++) {
            setup s = *base;
            s.ranks = ranks;
            s.zero = zero;
            char *got = run_setup(&s, &bytes, &loss);
            assert_int_equal(bytes, want_bytes);
            if (memcmp(got, want, bytes) != 0 || loss != want_loss)
                fail_msg("%d ranks, zero %d, wire %s, precision %d, hosts %d: other bits than one "
                         "rank (loss %.9g, %.9g)",
                         ranks, zero, ls_wire_names[s.wire], (int)s.precision, s.hosts,
                         (double)loss, (double)want_loss);
            free(got);
        }
    free(want);
}

static void test_gpt2_f32(void **state) {
    (void)state;
    const setup s = {.model = LS_MODEL_GPT2, .optim = LS_OPTIM_ADAMW};
    compare_layouts(&s);
}

static void test_tied_in_small_buckets(void **state) {
    (void)state;
    const setup s = {
        .model = LS_MODEL_GPT2, .optim = LS_OPTIM_ADAMW, .tied = 1, .bucket_bytes = 2000};
    compare_layouts(&s);
}

static void test_llama_bf16(void **state) {
    (void)state;
    const setup s = {
        .model = LS_MODEL_LLAMA, .precision = LS_PRECISION_BF16, .optim = LS_OPTIM_ADAMW};
    compare_layouts(&s);
}

/* No lane stores its logits; the head is in the backward pass. */
static void test_large_head(void **state) {
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        const setup s = {.model = LS_MODEL_GPT2,
                         .precision = LS_PRECISION_BF16,
                         .optim = LS_OPTIM_ADAMW,
                         .tied = tied,
                         .bucket_bytes = 4000,
                         .logits_bytes = 1};
        compare_layouts(&s);
    }
}

static void test_wires(void **state) {
    (void)state;
    for (int wire = LS_WIRE_BF16; wire < LS_WIRE_COUNT; wire++) {
        const setup s = {.model = LS_MODEL_LLAMA,
                         .optim = LS_OPTIM_ADAMW,
                         .wire = (ls_wire)wire,
                         .bucket_bytes = 5000};
        compare_layouts(&s);
    }
}

/* Pieces that travel encoded, through staging memory, as between hosts. */
static void test_staged(void **state) {
    (void)state;
    for (int wire = 0; wire < LS_WIRE_COUNT; wire++) {
        const setup s = {.model = LS_MODEL_GPT2,
                         .optim = LS_OPTIM_ADAMW,
                         .wire = (ls_wire)wire,
                         .hosts = 2,
                         .tied = 1};
        compare_layouts(&s);
    }
}

static void test_recompute_and_optimizers(void **state) {
    (void)state;
    static const ls_optim_kind kinds[] = {LS_OPTIM_SGD, LS_OPTIM_LION, LS_OPTIM_LAMB};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const setup s = {.model = LS_MODEL_LLAMA,
                         .precision = LS_PRECISION_BF16,
                         .recompute = LS_RECOMPUTE_LAYER,
                         .optim = kinds[i]};
        compare_layouts(&s);
    }
}

/* Rounding is seen: another wire is another result. */
static void test_wire_changes_bits(void **state) {
    (void)state;
    size_t bytes;
    float loss;
    setup s = {.model = LS_MODEL_GPT2, .optim = LS_OPTIM_ADAMW, .ranks = 1};
    char *f32 = run_setup(&s, &bytes, &loss);
    s.wire = LS_WIRE_INT8;
    char *int8 = run_setup(&s, &bytes, &loss);
    assert_true(memcmp(f32, int8, bytes) != 0);
    free(f32);
    free(int8);
}

static size_t align64(int64_t bytes) {
    return ((size_t)bytes + 63) / 64 * 64;
}

static size_t align256(int64_t bytes) {
    return ((size_t)bytes + 255) / 256 * 256;
}

/* The formula of docs/numerics.md, from the shapes alone (a tied weight counts once): of a tensor of n elements a rank keeps
 * p = ceil(ceil(n / lanes) / 64) * 64 * lanes / ranks, and what is gathered in place has room for p * ranks. In f32. */
static void test_bytes_formula(void **state) {
    (void)state;
    for (int i = 0; i < 8; i++)
        for (int ranks = 1; ranks <= MAX_RANKS; ranks *= 2) {
            const int zero = i / 2, tied = i % 2;
            const setup s = {.model = LS_MODEL_GPT2,
                             .optim = LS_OPTIM_ADAMW,
                             .ranks = ranks,
                             .zero = zero,
                             .tied = tied};
            ls_plan *plan = NULL;
            size_t weights = 0, optimizer = 0, gradients = 0;
            const int cut = ranks > 1 ? zero : 0;
            if (try_plan(&s, "fake", &plan) != LS_OK) fail_msg("%s", ls_error_message());
            const ls_rank_plan *r = &plan->ranks[0];
            for (int64_t v = 0; v < plan->graph->n_values; v++) {
                const ls_value_info *info = &plan->graph->values[v];
                if (info->kind != LS_VALUE_PARAM) continue;
                const ls_type type = ls_value_whole_type(info);
                const int64_t n = ls_type_count(&type);
                const int64_t chunk = ((n + LANES - 1) / LANES + 63) / 64 * 64;
                const int64_t piece = chunk * (LANES / ranks), room = chunk * LANES;
                weights += align64(4 * (cut == 0 ? n : cut < 3 ? room : piece));
                optimizer += 2 * align64(4 * (cut == 0 ? n : piece));
                gradients += align256(4 * (cut == 0 ? n : cut == 1 ? room : piece));
            }
            assert_int_equal(r->bytes[LS_REGION_WEIGHTS], weights);
            assert_int_equal(r->bytes[LS_REGION_OPTIMIZER], optimizer + 64);    /* the step count */
            assert_int_equal(r->bytes[LS_REGION_PREPARED], plan->layout.bytes); /* packed */
            assert_int_equal(r->folds[LS_FOLD_GRADIENTS].bytes, gradients);
            assert_int_equal(r->gradient_bytes, gradients + 2 * 256); /* loss, count */
            assert_true(r->bytes[LS_REGION_STEP] < 64 * 1024);
            ls_plan_destroy(plan);
        }
}

static void test_thousand_ranks(void **state) {
    (void)state;
    for (int zero = 0; zero <= 3; zero++) {
        const setup s = {.model = LS_MODEL_GPT2,
                         .optim = LS_OPTIM_ADAMW,
                         .ranks = 1024,
                         .lanes = 2048,
                         .hosts = 128,
                         .zero = zero};
        ls_plan *plan = NULL;
        char *text = NULL;
        if (try_plan(&s, "fake", &plan) != LS_OK) fail_msg("%s", ls_error_message());
        assert_int_equal(ls_plan_ranks(plan), 1024);
        assert_int_equal(ls_plan_bytes(plan, 1023), ls_plan_bytes(plan, 0));
        assert_int_equal(ls_plan_print(plan, 0, &text), LS_OK);
        assert_non_null(strstr(text, "ranks 0 to 1023"));
        assert_non_null(strstr(text, "reduce_scatter"));
        ls_free(text);
        ls_plan_destroy(plan);
    }
}

/* What is printed of each stage: schedule, collectives, bytes. Reference kernels: their workspace does not depend on the machine. */
static void test_golden_plans(void **state) {
    (void)state;
    for (int zero = 0; zero <= 3; zero++) {
        const setup s = {.model = LS_MODEL_GPT2,
                         .optim = LS_OPTIM_ADAMW,
                         .ranks = 4,
                         .zero = zero,
                         .tied = 1,
                         .reference = 1,
                         .wire = zero == 2 ? LS_WIRE_INT8 : LS_WIRE_F32,
                         .hosts = zero == 2 ? 2 : 1,
                         .bucket_bytes = 16 << 10};
        ls_plan *plan = NULL;
        char *text = NULL, *want = NULL, path[256];
        size_t bytes;
        if (try_plan(&s, "fake", &plan) != LS_OK) fail_msg("%s", ls_error_message());
        assert_int_equal(ls_plan_print(plan, 0, &text), LS_OK);
        snprintf(path, sizeof path, "tests/plan/golden/data_parallel_zero%d.txt", zero);
        if (getenv("LS_UPDATE_GOLDEN"))
            assert_int_equal(ls_file_write_atomic(path, text, strlen(text)), LS_OK);
        if (ls_file_read(path, &want, &bytes) != LS_OK) fail_msg("%s", ls_error_message());
        if (strcmp(want, text) != 0) {
            fputs(text, stderr);
            fail_msg("the plan differs from %s (printed above); LS_UPDATE_GOLDEN=1 accepts it",
                     path);
        }
        ls_free(want);
        ls_free(text);
        ls_plan_destroy(plan);
    }
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        setup s;
        const char *says;
    } cases[] = {
        {{.ranks = 3}, "power of two"},
        {{.ranks = 16}, "lanes >= 16"},
        {{.ranks = 2, .zero = 4}, "0 (nothing is cut) to 3"},
        {{.ranks = 2, .zero = 1, .optim = LS_OPTIM_LAMB}, "trust ratio"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_plan *plan = NULL;
        assert_int_not_equal(try_plan(&cases[i].s, "fake", &plan), LS_OK);
        if (!strstr(ls_error_message(), cases[i].says))
            fail_msg("'%s' does not say '%s'", ls_error_message(), cases[i].says);
    }
}

static void test_mesh_groups(void **state) {
    (void)state;
    const ls_mesh mesh = {.dp = 3, .tp = 2, .pp = 2};
    int group[4];
    assert_int_equal(ls_mesh_size(&mesh), 12);
    for (int r = 0; r < 12; r++) {
        assert_int_equal(ls_mesh_index(&mesh, LS_AXIS_PP, r), r / 6);
        assert_int_equal(ls_mesh_index(&mesh, LS_AXIS_DP, r), r / 2 % 3);
        assert_int_equal(ls_mesh_index(&mesh, LS_AXIS_TP, r), r % 2);
        ls_mesh_group(&mesh, LS_AXIS_DP, r, group);
        for (int i = 0; i < 3; i++) assert_int_equal(group[i], r / 6 * 6 + i * 2 + r % 2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mesh_groups),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bytes_formula),
        cmocka_unit_test(test_thousand_ranks),
        cmocka_unit_test(test_golden_plans),
        cmocka_unit_test(test_gpt2_f32),
        cmocka_unit_test(test_tied_in_small_buckets),
        cmocka_unit_test(test_llama_bf16),
        cmocka_unit_test(test_large_head),
        cmocka_unit_test(test_wires),
        cmocka_unit_test(test_wire_changes_bits),
        cmocka_unit_test(test_staged),
        cmocka_unit_test(test_recompute_and_optimizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
