/* Runs that share what was prepared from the weights: copies and packed forms are made by the first and found by the others. */
#include "model_run.h"

enum { TOKENS = 48, VOCAB = 61 };

typedef struct forward {
    ls_plan *plan;
    ls_device *device;
    ls_program *program;
    float *logits;
    size_t bytes;
} forward;

static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    return feed_values(tensor, name, *(const uint64_t *)user, lane, VOCAB);
}

static void open_forward(forward *f, ls_precision precision, ls_packing pack, int repeats,
                         ls_plan_mode mode) {
    const ls_model_options model = small_gpt2(2, 40, VOCAB, TOKENS);
    const ls_optim_options optim = ls_optim_default();
    ls_model_batch batch = training_batch(1, TOKENS, 1);
    batch.training = batch.with_loss = mode == LS_PLAN_TRAIN;
    const ls_plan_options options = {.mode = mode,
                                     .device = "cpu",
                                     .threads = 1,
                                     .lanes = 1,
                                     .precision = precision,
                                     .pack = pack,
                                     .repeats = repeats,
                                     .optim = &optim,
                                     .static_count = TOKENS};
    const ls_mesh mesh = {0};
    *f = (forward){.plan = plan_model(&model, &batch, &options, &mesh)};
    check_ok(ls_device_create("cpu", 0, &f->device));
    const ls_lower_options lower = {.device = f->device};
    check_ok(ls_program_lower(f->plan, 0, &lower, &f->program));
    check_ok(ls_program_init(f->program, 5));
    const ls_value logits = ls_graph_find(f->plan->graph, "logits");
    if (logits == LS_VALUE_NONE) return;
    f->bytes = ls_type_bytes(&f->plan->graph->values[logits].type);
    f->logits = calloc(1, f->bytes);
}

static void close_forward(forward *f) {
    ls_program_destroy(f->program);
    ls_device_destroy(f->device);
    ls_plan_destroy(f->plan);
    free(f->logits);
}

static ls_status run_forward(forward *f, uint64_t step, int prepared) {
    const ls_run_options run = {
        .seed = 5, .step = step, .feed = feed, .user = &step, .prepared = prepared};
    LS_TRY(ls_program_run(f->program, &run));
    return ls_program_fetch(f->program, "logits", f->logits, f->bytes);
}

/* Packed and prepared once against packed by every product and prepared by every run. */
static void test_same_bits(void **state) {
    (void)state;
    for (int precision = 0; precision < 3; precision++) {
        forward once, always;
        open_forward(&once, (ls_precision)precision, LS_PACKING_AUTO, 8, LS_PLAN_FORWARD);
        open_forward(&always, (ls_precision)precision, LS_PACKING_OFF, 0, LS_PLAN_FORWARD);
        assert_int_equal(once.plan->layout.n_forms, 9);
        assert_int_equal(always.plan->layout.n_forms, 0);
        for (uint64_t step = 0; step < 4; step++) {
            check_ok(run_forward(&once, step, step > 0));
            check_ok(run_forward(&always, step, 0));
            assert_memory_equal(once.logits, always.logits, once.bytes);
        }
        close_forward(&once);
        close_forward(&always);
    }
}

/* In low precision a packed form takes the place of the copy: no more memory but for the edges of panels. */
static void test_bytes(void **state) {
    forward packed, plain;
    (void)state;
    open_forward(&packed, LS_PRECISION_BF16, LS_PACKING_AUTO, 8, LS_PLAN_FORWARD);
    open_forward(&plain, LS_PRECISION_BF16, LS_PACKING_OFF, 8, LS_PLAN_FORWARD);
    size_t copies = 0;
    for (int64_t v = 0; v < plain.plan->graph->n_values; v++) {
        const ls_place *place = &plain.plan->ranks[0].places[v];
        if (place->region == LS_REGION_PREPARED) copies += place->bytes;
    }
    const size_t others =
        packed.plan->ranks[0].bytes[LS_REGION_PREPARED] - (size_t)packed.plan->layout.bytes;
    assert_true(others < copies / 4); /* the embeddings' */
    close_forward(&packed);
    close_forward(&plain);
}

/* It is believed: weights that changed behind its back are not seen. Without it they are. */
static void test_is_believed(void **state) {
    forward f;
    (void)state;
    open_forward(&f, LS_PRECISION_BF16, LS_PACKING_AUTO, 8, LS_PLAN_FORWARD);
    check_ok(run_forward(&f, 1, 0));
    float *before = malloc(f.bytes);
    memcpy(before, f.logits, f.bytes);
    const ls_value w = ls_graph_find(f.plan->graph, "transformer.h.0.attn.c_attn.weight");
    assert_int_not_equal(w, LS_VALUE_NONE);
    const ls_type type = f.plan->graph->values[w].type;
    ls_tensor tensor = {type.dtype, type.shape, calloc(1, ls_type_bytes(&type))};
    check_ok(ls_program_store(f.program, "transformer.h.0.attn.c_attn.weight", &tensor));
    check_ok(run_forward(&f, 1, 1));
    assert_memory_equal(before, f.logits, f.bytes);
    check_ok(run_forward(&f, 1, 0));
    assert_true(memcmp(before, f.logits, f.bytes) != 0);
    free(tensor.data);
    free(before);
    close_forward(&f);
}

static void test_refused(void **state) {
    forward f;
    (void)state;
    open_forward(&f, LS_PRECISION_F32, LS_PACKING_AUTO, 8, LS_PLAN_FORWARD);
    check_fails(run_forward(&f, 0, 1), LS_ERR_INVALID, "in a first run");
    check_ok(run_forward(&f, 0, 0));
    check_ok(run_forward(&f, 0, 1));
    close_forward(&f);
    open_forward(&f, LS_PRECISION_F32, LS_PACKING_AUTO, 8, LS_PLAN_TRAIN);
    uint64_t step = 0;
    ls_run_options run = {.seed = 5, .feed = feed, .user = &step};
    check_ok(ls_program_run(f.program, &run));
    run.prepared = 1;
    check_fails(ls_program_run(f.program, &run), LS_ERR_INVALID,
                "of a program that updates weights");
    close_forward(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_is_believed),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
