/* The end of a language model: a tied weight has one gradient, made in one place; large logits are made block by block with the bits of
 * the graph that stores them; a loss that is not a number still stops the step. */
#include "base/thread.h"
#include "model_run.h"
#include "op/cross_entropy_head/cross_entropy_head.h"
#include "op/embedding/embedding.h"
#include "op/op.h"
#include "plan/pass/pass.h"

enum { STEPS = 2, VOCAB = 43, WIDTH = 16, SEED = 5 };

typedef struct setup {
    ls_model_kind model;
    ls_precision precision;
    int tied, lanes, batch, tokens, threads; /* batch: of a lane */
    int64_t logits_bytes;
    double lr, smoothing;
    ls_plan_mode mode;
    int vocab; /* 0: VOCAB. A block's products want memory too: logits of many rows need some columns to weigh more */
} setup;

static ls_plan *make_plan(const setup *s) {
    ls_model_options model = small_gpt2(1, WIDTH, s->vocab ? s->vocab : VOCAB, s->tokens);
    model.kind = s->model;
    model.tied = s->tied;
    model.label_smoothing = s->smoothing;
    ls_optim_options optim = ls_optim_default();
    ls_model_batch batch = training_batch(s->batch, s->tokens, s->lanes);
    batch.training = s->mode == LS_PLAN_TRAIN;
    batch.loss_scale = s->precision == LS_PRECISION_F16;
    const ls_plan_options options = {.mode = s->mode,
                                     .device = "cpu",
                                     .threads = s->threads ? s->threads : 1,
                                     .lanes = s->lanes,
                                     .precision = s->precision,
                                     .logits_bytes = s->logits_bytes,
                                     .optim = &optim,
                                     .static_count =
                                         (double)s->lanes * (double)s->batch * (double)s->tokens};
    const ls_mesh mesh = {.dp = 1};
    return plan_model(&model, &batch, &options, &mesh);
}

typedef struct feeder {
    uint64_t step;
    double lr;
} feeder;

static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    const feeder *f = user;
    if (lane < 0) {
        ls_tensor_set(tensor, 0, f->lr);
        return LS_OK;
    }
    return feed_values(tensor, name, f->step, lane, VOCAB);
}

static ls_status run_steps(ls_program *program, const setup *s) {
    LS_TRY(ls_program_init(program, SEED));
    for (uint64_t step = 0; step < STEPS; step++) {
        feeder f = {step, s->lr > 0 ? s->lr : 1e-2};
        const ls_run_options run = {
            .seed = SEED, .step = step, .feed = feed, .user = &f, .check_loss = 1};
        LS_TRY(ls_program_run(program, &run));
    }
    return LS_OK;
}

typedef struct outcome {
    ls_status status;
    char *state;
    size_t bytes;
    float loss;
    int64_t planned;
} outcome;

/* Persistent values by their order in the graph, which does not depend on the passes here. */
static void fetch_state(const ls_plan *plan, ls_program *program, outcome *out) {
    const ls_graph *g = plan->graph;
    for (int64_t v = 0; v < g->n_values; v++)
        if (g->values[v].kind == LS_VALUE_PARAM || g->values[v].kind == LS_VALUE_STATE)
            out->bytes += ls_type_bytes(&g->values[v].type);
    out->state = malloc(out->bytes);
    size_t at = 0;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_info *info = &g->values[v];
        if (info->kind != LS_VALUE_PARAM && info->kind != LS_VALUE_STATE) continue;
        assert_int_equal(
            ls_program_fetch(program, info->name, out->state + at, ls_type_bytes(&info->type)),
            LS_OK);
        at += ls_type_bytes(&info->type);
    }
    assert_int_equal(ls_program_fetch_f32(program, "sum/loss", &out->loss), LS_OK);
}

static outcome run_setup(const setup *s) {
    outcome out = {0};
    ls_plan *plan = make_plan(s);
    ls_device *device = NULL;
    ls_pool *pool = NULL;
    ls_program *program = NULL;
    assert_int_equal(ls_device_create("cpu", 0, &device), LS_OK);
    assert_int_equal(ls_pool_create(s->threads ? s->threads : 1, 0, &pool), LS_OK);
    const ls_lower_options lower = {.device = device, .pool = pool};
    if (ls_program_lower(plan, 0, &lower, &program) != LS_OK) fail_msg("%s", ls_error_message());
    out.status = run_steps(program, s);
    out.planned = ls_plan_bytes(plan, 0);
    assert_int_equal(device->peak_bytes, (size_t)out.planned);
    if (out.status == LS_OK) fetch_state(plan, program, &out);
    ls_program_destroy(program);
    ls_pool_destroy(pool);
    ls_device_destroy(device);
    ls_plan_destroy(plan);
    return out;
}

static int count_nodes(const ls_plan *plan, const ls_op *op) {
    int n = 0;
    for (int64_t i = 0; i < plan->graph->n_nodes; i++) n += plan->graph->nodes[i].op == op;
    return n;
}

/* --- large logits -------------------------------------------------------------------------------------------------- */

/* With one block of rows and with several, the last one short: the bits of the graph that stores all logits. */
static void test_same_bits(void **state) {
    (void)state;
    static const setup setups[] = {
        {.model = LS_MODEL_GPT2, .tied = 1, .lanes = 2, .batch = 2, .tokens = 9},
        {.model = LS_MODEL_GPT2, .tied = 1, .lanes = 1, .batch = 5, .tokens = 307, .vocab = 203},
        {.model = LS_MODEL_GPT2, .lanes = 1, .batch = 5, .tokens = 307, .vocab = 203, .threads = 3},
        {.model = LS_MODEL_LLAMA, .lanes = 2, .batch = 7, .tokens = 331, .smoothing = 0.1},
    };
    for (size_t i = 0; i < sizeof setups / sizeof setups[0]; i++)
        for (int precision = 0; precision < 3; precision++) {
            setup s = setups[i];
            s.precision = (ls_precision)precision;
            const outcome stored = run_setup(&s);
            s.logits_bytes = 1;
            const outcome blocks = run_setup(&s);
            if (stored.status != LS_OK || blocks.status != LS_OK)
                fail_msg("setup %zu: %s", i, ls_error_message());
            assert_int_equal(blocks.bytes, stored.bytes);
            if (memcmp(blocks.state, stored.state, stored.bytes) != 0 || blocks.loss != stored.loss)
                fail_msg("setup %zu, precision %d: other bits than with stored logits (loss %.9g, "
                         "%.9g)",
                         i, precision, (double)blocks.loss, (double)stored.loss);
            assert_true(blocks.planned < stored.planned);
            free(blocks.state);
            free(stored.state);
        }
}

/* A lane's logits decide: one byte less allowed than they take, and they are not stored. */
static void test_threshold(void **state) {
    (void)state;
    setup s = {.model = LS_MODEL_LLAMA, .lanes = 2, .batch = 2, .tokens = 8};
    const int64_t bytes = 2 * 8 * VOCAB * 4;
    const int64_t limits[] = {0, bytes, bytes - 1, 1};
    for (int i = 0; i < 4; i++) {
        s.logits_bytes = limits[i];
        ls_plan *plan = make_plan(&s);
        assert_int_equal(count_nodes(plan, &ls_op_cross_entropy_head), i >= 2);
        assert_int_equal(count_nodes(plan, &ls_op_cross_entropy), i < 2);
        ls_plan_destroy(plan);
    }
}

/* Nothing of all rows x vocabulary is left, and the weight's gradient is made in its lane sum. */
static void test_nothing_stored(void **state) {
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        const setup s = {.model = LS_MODEL_GPT2,
                         .tied = tied,
                         .precision = LS_PRECISION_BF16,
                         .lanes = 2,
                         .batch = 2,
                         .tokens = 8,
                         .logits_bytes = 1};
        ls_plan *plan = make_plan(&s);
        const ls_graph *g = plan->graph;
        for (int64_t v = 0; v < g->n_values; v++) {
            const ls_shape *shape = &g->values[v].type.shape;
            const int last = shape->n_dims - 1;
            assert_false(last >= 0 && shape->dims[last] == VOCAB);
        }
        for (int64_t n = 0; n < g->n_nodes; n++) {
            if (g->nodes[n].op != &ls_op_cross_entropy_head) continue;
            assert_int_equal(g->nodes[n].phase, LS_PHASE_BACKWARD);
            const ls_value sum =
                ls_graph_find(g, tied ? "grad/transformer.wte.weight" : "grad/lm_head.weight");
            const ls_place *dw = &plan->ranks[0].places[g->nodes[n].out[LS_HEAD_DW]];
            assert_int_equal(dw->region, LS_REGION_GRADIENTS);
            assert_int_equal(dw->offset, plan->ranks[0].places[sum].offset);
        }
        char *text = NULL;
        assert_int_equal(ls_plan_print(plan, 0, &text), LS_OK);
        assert_non_null(strstr(text, "head: 16 rows of logits a lane, made 16 at a time"));
        ls_free(text);
        ls_plan_destroy(plan);
    }
}

/* What the pass does not know stays: the head of an image model has a bias. */
static void test_other_graphs_stay(void **state) {
    (void)state;
    const setup s = {.model = LS_MODEL_MLP, .lanes = 1, .batch = 4, .tokens = 8, .logits_bytes = 1};
    ls_plan *plan = make_plan(&s);
    assert_int_equal(count_nodes(plan, &ls_op_cross_entropy_head), 0);
    assert_int_equal(count_nodes(plan, &ls_op_cross_entropy), 1);
    ls_plan_destroy(plan);
}

static float evaluate(const setup *s, int64_t *bytes_out) {
    ls_plan *plan = make_plan(s);
    ls_device *device = NULL;
    ls_program *program = NULL;
    float loss = 0;
    assert_int_equal(ls_device_create("cpu", 0, &device), LS_OK);
    const ls_lower_options lower = {.device = device};
    feeder f = {0, 0};
    const ls_run_options run = {.seed = SEED, .feed = feed, .user = &f};
    if (ls_program_lower(plan, 0, &lower, &program) != LS_OK) fail_msg("%s", ls_error_message());
    assert_int_equal(ls_program_init(program, SEED), LS_OK);
    if (ls_program_run(program, &run) != LS_OK) fail_msg("%s", ls_error_message());
    assert_int_equal(ls_program_fetch_f32(program, "sum/loss", &loss), LS_OK);
    assert_int_equal(count_nodes(plan, &ls_op_cross_entropy_head), s->logits_bytes == 1);
    *bytes_out = ls_plan_bytes(plan, 0);
    ls_program_destroy(program);
    ls_device_destroy(device);
    ls_plan_destroy(plan);
    return loss;
}

/* Evaluation: the same loss, and neither logits nor their gradient. */
static void test_evaluation(void **state) {
    (void)state;
    int64_t stored_bytes, blocks_bytes;
    setup s = {.model = LS_MODEL_GPT2,
               .tied = 1,
               .lanes = 1,
               .batch = 5,
               .tokens = 307,
               .mode = LS_PLAN_FORWARD};
    const float stored = evaluate(&s, &stored_bytes);
    s.logits_bytes = 1;
    const float blocks = evaluate(&s, &blocks_bytes);
    assert_true(stored == blocks && stored > 0);
    assert_true(blocks_bytes < stored_bytes - (int64_t)sizeof(float) * 5 * 307 * VOCAB);
}

static void test_loss_is_checked(void **state) {
    (void)state;
    for (int64_t logits_bytes = 0; logits_bytes < 2; logits_bytes++) {
        const setup s = {.model = LS_MODEL_GPT2,
                         .tied = 1,
                         .lanes = 2,
                         .batch = 1,
                         .tokens = 8,
                         .logits_bytes = logits_bytes,
                         .lr = 1e38};
        const outcome out = run_setup(&s);
        assert_int_equal(out.status, LS_ERR_NUMERIC);
        assert_non_null(strstr(ls_error_message(), "step 1"));
    }
}

/* --- a tied weight ------------------------------------------------------------------------------------------------- */

static void test_tied_one_gradient(void **state) {
    (void)state;
    for (int precision = 0; precision < 2; precision++) {
        const setup s = {.model = LS_MODEL_GPT2,
                         .precision = (ls_precision)precision,
                         .tied = 1,
                         .lanes = 2,
                         .batch = 1,
                         .tokens = 8};
        ls_plan *plan = make_plan(&s);
        const ls_graph *g = plan->graph;
        const ls_value sum = ls_graph_find(g, "grad/transformer.wte.weight");
        const ls_node *scatter = &g->nodes[g->values[g->values[sum].source].node];
        assert_ptr_equal(scatter->op, &ls_op_embedding_grad);
        assert_int_equal(scatter->n_in, 3);
        /* made by the head where it is added to */
        const ls_place *head = &plan->ranks[0].places[scatter->in[2]];
        assert_int_equal(head->region, LS_REGION_GRADIENTS);
        assert_int_equal(head->offset, plan->ranks[0].places[sum].offset);
        for (int64_t v = 0; v < g->n_values; v++)
            assert_false(g->values[v].kind == LS_VALUE_ACCUM && strchr(g->values[v].name, '@'));
        char *text = NULL;
        assert_int_equal(ls_plan_print(plan, 0, &text), LS_OK);
        assert_non_null(strstr(text, "tied weight: one gradient"));
        ls_free(text);
        ls_plan_destroy(plan);
    }
}

/* Pairs are joined; what has one part, more than two, or nothing looked up is left alone. */
static void test_join_tied(void **state) {
    (void)state;
    ls_graph *g = NULL;
    assert_int_equal(ls_graph_create(&g), LS_OK);
    const ls_init init = {LS_INIT_ZERO, 0, 0};
    const ls_shape table = {2, {5, 4}}, ids = {1, {3}}, rows = {2, {3, 4}};
    const ls_value w = ls_graph_param(g, "w", LS_DTYPE_F32, table, init);
    const ls_value u = ls_graph_param(g, "u", LS_DTYPE_F32, table, init);
    const ls_value id = ls_graph_input(g, "ids", LS_DTYPE_I32, ids);
    const ls_value dy = ls_graph_input(g, "dy", LS_DTYPE_F32, rows);
    const ls_embedding_grad_attr attr = {5, LS_DTYPE_F32};
    ls_graph_set_phase(g, LS_PHASE_BACKWARD);
    const ls_value head = ls_graph_node(g, &ls_op_add, NULL, (ls_value[]){w, w}, 2, NULL);
    const ls_value a =
        ls_graph_node(g, &ls_op_embedding_grad, &attr, (ls_value[]){id, dy}, 2, NULL);
    const ls_value b =
        ls_graph_node(g, &ls_op_embedding_grad, &attr, (ls_value[]){id, dy}, 2, NULL);
    const ls_value late = ls_graph_node(g, &ls_op_add, NULL, (ls_value[]){w, w}, 2, NULL);
    ls_grad_part list[] = {{w, 0, a}, {w, 3, head}, {u, 0, b}, {u, 2, head}, {u, 3, head}};
    ls_grad_parts parts = {list, 5};
    assert_int_equal(ls_pass_join_tied(g, &parts), LS_OK);
    assert_int_equal(parts.n_parts, 4);
    assert_int_equal(parts.parts[0].grad, a);
    assert_int_equal(parts.parts[1].wrt, u);
    assert_int_equal(g->nodes[g->values[a].node].n_in, 3);
    assert_int_equal(g->nodes[g->values[a].node].in[2], head);
    assert_int_equal(g->nodes[g->values[b].node].n_in, 2);
    /* made after the rows are added, or nothing looked up */
    ls_grad_part others[] = {{w, 0, b}, {w, 3, late}, {u, 0, head}, {u, 1, late}};
    parts = (ls_grad_parts){others, 4};
    assert_int_equal(ls_pass_join_tied(g, &parts), LS_OK);
    assert_int_equal(parts.n_parts, 4);
    ls_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join_tied),         cmocka_unit_test(test_tied_one_gradient),
        cmocka_unit_test(test_threshold),         cmocka_unit_test(test_nothing_stored),
        cmocka_unit_test(test_other_graphs_stay), cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_loss_is_checked),   cmocka_unit_test(test_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
