/* Gradients and scratch over copies and activations that are not alive: nothing alive is overwritten, the bytes are as planned, and the weights are those of a
 * program in which everything has memory of its own. */
#include "model_run.h"

enum { STEPS = 3, VOCAB = 43, TOKENS = 8, BATCH = 2, CLASSES = 10 };

typedef struct setup {
    ls_model_kind model;
    ls_precision precision;
    ls_recompute recompute;
    int lanes, tied, kept;
    ls_casting cast_weights;
} setup;

static const setup setups[] = {
    {LS_MODEL_GPT2, LS_PRECISION_F32, LS_RECOMPUTE_NONE, 1, 1, 0, 0},
    {LS_MODEL_GPT2, LS_PRECISION_BF16, LS_RECOMPUTE_NONE, 1, 1, 0, LS_CASTING_STEP},
    {LS_MODEL_GPT2, LS_PRECISION_BF16, LS_RECOMPUTE_NONE, 1, 1, 0, LS_CASTING_USE},
    {LS_MODEL_GPT2, LS_PRECISION_BF16, LS_RECOMPUTE_LAYER, 1, 0, 0, LS_CASTING_STEP},
    {LS_MODEL_GPT2, LS_PRECISION_BF16, LS_RECOMPUTE_LAYER, 1, 0, 0, LS_CASTING_USE},
    {LS_MODEL_GPT2, LS_PRECISION_F16, LS_RECOMPUTE_ATTENTION, 1, 1, 0, LS_CASTING_STEP},
    {LS_MODEL_LLAMA, LS_PRECISION_BF16, LS_RECOMPUTE_NONE, 1, 0, 1, LS_CASTING_AUTO},
    {LS_MODEL_LLAMA, LS_PRECISION_F16, LS_RECOMPUTE_CHEAP, 1, 0, 0, LS_CASTING_AUTO},
    {LS_MODEL_LLAMA, LS_PRECISION_F32, LS_RECOMPUTE_LAYER, 1, 1, 0, 0},
    {LS_MODEL_RESNET, LS_PRECISION_BF16, LS_RECOMPUTE_NONE, 1, 0, 0, LS_CASTING_STEP},
    {LS_MODEL_RESNET, LS_PRECISION_BF16, LS_RECOMPUTE_NONE, 1, 0, 0, LS_CASTING_USE},
};
enum { N_SETUPS = sizeof setups / sizeof setups[0] };

static ls_plan *make_plan(const setup *s) {
    ls_model_options model = small_gpt2(3, 24, VOCAB, TOKENS);
    model.kind = s->model;
    if (s->model == LS_MODEL_RESNET) model.layers = 1;
    model.tied = s->tied;
    model.stages = 2;
    model.image = 8;
    model.classes = CLASSES;
    model.dropout = 0;
    ls_optim_options optim = ls_optim_default();
    ls_model_batch batch = training_batch(BATCH, TOKENS, s->lanes);
    batch.loss_scale = s->precision == LS_PRECISION_F16;
    ls_plan_options options = training_options(&batch, s->precision, &optim);
    options.recompute = s->recompute;
    options.cast_weights = s->cast_weights;
    options.kept = s->kept;
    const ls_mesh mesh = {.dp = 1};
    return plan_model(&model, &batch, &options, &mesh);
}

/* --- what the plan says ---------------------------------------------------------------------------------------------- */

typedef struct span {
    ls_value value; /* NONE: a kernel's workspace */
    size_t begin, end;
    int64_t first, last;
} span;

/* First and last node, in the order in which they run, that names the value or a view of it; last stays past all nodes for outputs. */
static void find_life(const ls_plan *plan, ls_value root, span *out) {
    const ls_rank_plan *rank = &plan->ranks[0];
    int64_t at = 0;
    out->first = INT64_MAX;
    out->last = -1;
    for (int64_t c = 0; c < rank->n_commands; c++) {
        const ls_command *command = &rank->commands[c];
        if (command->kind == LS_COMMAND_FEED && plan->graph->values[root].kind == LS_VALUE_INPUT)
            out->first = 0;
        if (command->kind != LS_COMMAND_RUN) continue;
        const ls_segment *segment = &rank->segments[command->segment];
        for (int64_t n = 0; n < segment->n_nodes; n++) {
            const int runs = n >= command->first && (!command->last || n < command->last);
            const ls_node *node = &plan->graph->nodes[segment->nodes[n]];
            int names = 0;
            for (int k = 0; k < node->n_in; k++) names |= plan->roots[node->in[k]] == root;
            for (int k = 0; k < node->n_out; k++) names |= plan->roots[node->out[k]] == root;
            at += runs;
            if (!runs || !names) continue;
            if (at < out->first) out->first = at;
            out->last = at;
        }
    }
    for (int64_t i = 0; i < plan->graph->n_outputs; i++)
        if (plan->roots[plan->graph->outputs[i].value] == root) out->last = INT64_MAX;
}

static int list_spans(const ls_plan *plan, span *spans) {
    const ls_rank_plan *rank = &plan->ranks[0];
    int n = 0;
    for (int64_t v = 0; v < plan->graph->n_values; v++) {
        const ls_place *place = &rank->places[v];
        const int gradient = place->region == LS_REGION_GRADIENTS;
        if (plan->roots[v] != (ls_value)v || place->bytes == 0) continue;
        if (!gradient && place->region != LS_REGION_SLOTS && place->region != LS_REGION_PREPARED &&
            place->region != LS_REGION_SCRATCH)
            continue;
        span *s = &spans[n++];
        s->value = (ls_value)v;
        s->begin = place->offset + (gradient ? rank->overlay_shift : 0);
        s->end = s->begin + place->bytes;
        assert_int_equal(s->begin % LS_PLACE_ALIGN, 0);
        find_life(plan, (ls_value)v, s);
        assert_true(s->end <= rank->overlay_bytes);
    }
    return n;
}

/* Workspace of each node that runs, while it runs. */
static int list_workspaces(const ls_plan *plan, span *spans) {
    const ls_rank_plan *rank = &plan->ranks[0];
    int64_t at = 0;
    int n = 0;
    for (int64_t c = 0; c < rank->n_commands; c++) {
        if (rank->commands[c].kind != LS_COMMAND_RUN) continue;
        const ls_segment *segment = &rank->segments[rank->commands[c].segment];
        for (int64_t i = 0; i < segment->n_nodes; i++) {
            const ls_node *node = &plan->graph->nodes[segment->nodes[i]];
            ls_type in[16], out[LS_MAX_OUT];
            ls_sig sig;
            at++;
            if (node->n_in > 16 || !segment->kernels[i]->workspace_bytes) continue;
            ls_node_sig(plan->graph, node, in, out, &sig);
            const size_t bytes = segment->kernels[i]->workspace_bytes(&sig, 1);
            const size_t begin = segment->workspace_offset[i];
            if (bytes == 0) continue;
            assert_int_equal(begin % LS_PLACE_ALIGN, 0);
            spans[n++] = (span){LS_VALUE_NONE, begin, begin + bytes, at, at};
            assert_true(begin + bytes <= rank->overlay_bytes);
        }
    }
    return n;
}

/* A result may be written over an operand that dies there. */
static int is_handed_on(const ls_plan *plan, const span *x, const span *y) {
    const ls_place *places = plan->ranks[0].places;
    return x->value != LS_VALUE_NONE && y->value != LS_VALUE_NONE &&
           places[x->value].region == LS_REGION_SCRATCH &&
           places[y->value].region == LS_REGION_SCRATCH && x->begin == y->begin &&
           x->end == y->end && (x->last == y->first || y->last == x->first);
}

static void check_spans(const ls_plan *plan) {
    span *spans = calloc((size_t)(plan->graph->n_values + plan->graph->n_nodes), sizeof *spans);
    const ls_place *places = plan->ranks[0].places;
    int n = list_spans(plan, spans);
    const int n_workspaces = list_workspaces(plan, spans + n);
    assert_true(n_workspaces > 0);
    n += n_workspaces;
    for (int a = 0; a < n; a++)
        for (int b = 0; b < a; b++) {
            const span *x = &spans[a], *y = &spans[b];
            if (x->end <= y->begin || y->end <= x->begin) continue;
            /* a sum, its source and what the source is made of in place */
            if (x->value != LS_VALUE_NONE && y->value != LS_VALUE_NONE && x->begin == y->begin &&
                places[x->value].region == LS_REGION_GRADIENTS &&
                places[y->value].region == LS_REGION_GRADIENTS)
                continue;
            if (is_handed_on(plan, x, y)) continue;
            if (x->last >= y->first && y->last >= x->first)
                fail_msg("values %d and %d share memory and are both alive", x->value, y->value);
        }
    free(spans);
}

static void test_nothing_alive_is_overwritten(void **state) {
    (void)state;
    for (int i = 0; i < N_SETUPS; i++) {
        ls_plan *plan = make_plan(&setups[i]);
        const ls_rank_plan *rank = &plan->ranks[0];
        assert_true(rank->overlaid_bytes > 0);
        assert_int_equal(rank->overlay_bytes + rank->overlaid_bytes,
                         rank->bytes[LS_REGION_PREPARED] + rank->bytes[LS_REGION_SLOTS] +
                             rank->bytes[LS_REGION_GRADIENTS] + rank->bytes[LS_REGION_SCRATCH]);
        check_spans(plan);
        ls_plan_destroy(plan);
    }
}

/* Lanes that wait for each other's sums need their gradients while others' activations are alive. */
static void test_several_lanes_are_apart(void **state) {
    (void)state;
    const setup two = {LS_MODEL_GPT2, LS_PRECISION_BF16, LS_RECOMPUTE_NONE, 2, 1, 0, 0};
    ls_plan *plan = make_plan(&two);
    assert_int_equal(plan->ranks[0].overlay_bytes, 0);
    assert_int_equal(plan->ranks[0].overlaid_bytes, 0);
    ls_plan_destroy(plan);
}

static void test_plan_prints_it(void **state) {
    (void)state;
    ls_plan *plan = make_plan(&setups[1]);
    char *text = NULL, line[64];
    assert_int_equal(ls_plan_print(plan, 0, &text), LS_OK);
    snprintf(line, sizeof line, "    %-14s %15lld\n", "overlaid",
             -(long long)plan->ranks[0].overlaid_bytes);
    if (!strstr(text, line)) fail_msg("no line '%s' in\n%s", line, text);
    ls_free(text);
    ls_plan_destroy(plan);
}

/* --- what the program makes ------------------------------------------------------------------------------------------- */

static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    return feed_values(tensor, name, *(const uint64_t *)user, lane,
                       strcmp(name, "labels") == 0 ? CLASSES : VOCAB);
}

/* All persistent values and lane sums after STEPS steps; *bytes_out of them. */
static char *train(const ls_plan *plan, size_t *bytes_out) {
    ls_device *device = NULL;
    ls_program *program = NULL;
    assert_int_equal(ls_device_create("cpu", 0, &device), LS_OK);
    const ls_lower_options lower = {.device = device};
    assert_int_equal(ls_program_lower(plan, 0, &lower, &program), LS_OK);
    assert_int_equal(ls_program_init(program, 7), LS_OK);
    for (uint64_t step = 0; step < STEPS; step++) {
        const ls_run_options run = {
            .seed = 7, .step = step, .feed = feed, .user = &step, .check_loss = 1};
        if (ls_program_run(program, &run) != LS_OK) fail_msg("%s", ls_error_message());
    }
    const ls_graph *g = plan->graph;
    char *all = calloc(1, (size_t)ls_plan_bytes(plan, 0));
    *bytes_out = 0;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_info *info = &g->values[v];
        const size_t bytes = ls_type_bytes(&info->type);
        if (info->kind != LS_VALUE_PARAM && info->kind != LS_VALUE_STATE &&
            info->kind != LS_VALUE_ACCUM)
            continue;
        assert_int_equal(ls_program_fetch(program, info->name, all + *bytes_out, bytes), LS_OK);
        *bytes_out += bytes;
    }
    ls_program_destroy(program);
    ls_device_destroy(device);
    return all;
}

/* The same program with scratch above copies and activations, gradients above scratch. */
static void lay_apart(ls_plan *plan) {
    ls_rank_plan *rank = &plan->ranks[0];
    const size_t scratch =
        ls_align_up(rank->bytes[LS_REGION_PREPARED] + rank->bytes[LS_REGION_SLOTS], LS_PLACE_ALIGN);
    for (int64_t v = 0; v < plan->graph->n_values; v++)
        if (rank->places[v].region == LS_REGION_SCRATCH) rank->places[v].offset += scratch;
    for (int s = 0; s < rank->n_segments; s++)
        for (int64_t i = 0; i < rank->segments[s].n_nodes; i++)
            rank->segments[s].workspace_offset[i] += scratch;
    rank->overlay_shift = ls_align_up(scratch + rank->overlay_bytes, LS_SUM_ALIGN);
    rank->overlay_bytes = rank->overlay_shift + rank->gradient_bytes;
    rank->overlaid_bytes = 0;
}

static void test_weights_are_those_of_memory_apart(void **state) {
    (void)state;
    for (int i = 0; i < N_SETUPS; i++) {
        ls_plan *plan = make_plan(&setups[i]);
        size_t bytes, apart_bytes;
        char *laid_over = train(plan, &bytes);
        lay_apart(plan);
        char *apart = train(plan, &apart_bytes);
        assert_int_equal(bytes, apart_bytes);
        assert_true(bytes > 10000);
        assert_memory_equal(laid_over, apart, bytes);
        free(laid_over);
        free(apart);
        ls_plan_destroy(plan);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_alive_is_overwritten),
        cmocka_unit_test(test_several_lanes_are_apart),
        cmocka_unit_test(test_plan_prints_it),
        cmocka_unit_test(test_weights_are_those_of_memory_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
