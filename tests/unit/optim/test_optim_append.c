/* What ls_optim_append builds: names, groups, tied parameters, skipped steps, loss scaling, independence of threads and position. */
#include "unit/optim/optim_run.h"

static const ls_init zero_init = {LS_INIT_ZERO, 0, 0};

static ls_optim_options make_options(ls_optim_kind kind) {
    ls_optim_options options = ls_optim_default();
    options.kind = kind;
    options.clip = 0;
    return options;
}

static ls_value add_param(ls_graph *graph, const char *name, ls_shape shape) {
    return ls_graph_param(graph, name, LS_DTYPE_F32, shape, zero_init);
}

/* A matrix "w" and a vector "b", each with one part. */
static ls_graph *build_pair(const ls_optim_options *options, int64_t rows, int with_loss_scale) {
    ls_graph *graph;
    assert_int_equal(ls_graph_create(&graph), LS_OK);
    const ls_value w = add_param(graph, "w", (ls_shape){2, {rows, 7}});
    const ls_value b = add_param(graph, "b", (ls_shape){1, {rows}});
    if (with_loss_scale) ls_optim_loss_scale(graph, options);
    ls_grad_part parts[] = {add_part(graph, w, 1), add_part(graph, b, 2)};
    const ls_grad_parts all = {parts, 2};
    if (ls_optim_append(graph, &all, options, LS_VALUE_NONE, 1, 1) != LS_OK)
        fail_msg("%s", ls_error_message());
    assert_int_equal(ls_graph_verify(graph), LS_OK);
    return graph;
}

static const ls_node *find_step(const ls_graph *graph, const char *param) {
    const ls_value value = ls_graph_find(graph, param);
    for (int64_t i = 0; i < graph->n_nodes; i++)
        if ((graph->nodes[i].op->flags & LS_OP_UPDATE) && graph->nodes[i].in[0] == value)
            return &graph->nodes[i];
    fail_msg("no node updates '%s'", param);
    return NULL;
}

typedef struct name_row {
    ls_optim_kind kind;
    double momentum;
    int centered;
    const char *op;
    const char *states[3];
} name_row;

static void test_names_and_states(void **state) {
    (void)state;
    static const name_row rows[] = {
        {LS_OPTIM_SGD, 0, 0, "sgd_step", {0}},
        {LS_OPTIM_SGD, 0.9, 0, "sgd_step", {"w/sgd_u"}},
        {LS_OPTIM_ADAM, 0, 0, "adam_step", {"w/adam_m", "w/adam_v"}},
        {LS_OPTIM_ADAMW, 0.9, 1, "adam_step", {"w/adam_m", "w/adam_v"}},
        {LS_OPTIM_NADAM, 0, 0, "nadam_step", {"w/nadam_m", "w/nadam_v"}},
        {LS_OPTIM_RMSPROP, 0, 0, "rmsprop_step", {"w/rmsprop_v"}},
        {LS_OPTIM_RMSPROP, 0.9, 0, "rmsprop_step", {"w/rmsprop_v", "w/rmsprop_u"}},
        {LS_OPTIM_RMSPROP, 0.9, 1, "rmsprop_step", {"w/rmsprop_v", "w/rmsprop_a", "w/rmsprop_u"}},
        {LS_OPTIM_ADAGRAD, 0, 0, "adagrad_step", {"w/adagrad_v"}},
        {LS_OPTIM_ADADELTA, 0, 0, "adadelta_step", {"w/adadelta_v", "w/adadelta_d"}},
        {LS_OPTIM_LAMB, 0, 0, "lamb_step", {"w/lamb_m", "w/lamb_v"}},
        {LS_OPTIM_LION, 0, 0, "lion_step", {"w/lion_m"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ls_optim_options options = make_options(rows[i].kind);
        options.momentum = rows[i].momentum;
        options.centered = rows[i].centered;
        ls_graph *graph = build_pair(&options, 3, 0);
        const ls_node *node = find_step(graph, "w");
        int n_states = 0;
        while (n_states < 3 && rows[i].states[n_states]) n_states++;
        assert_string_equal(node->op->name, rows[i].op);
        assert_int_equal(node->n_in, LS_STEP_STATE + n_states);
        for (int s = 0; s < n_states; s++) {
            const ls_value value = ls_graph_find(graph, rows[i].states[s]);
            assert_int_equal(value, node->in[LS_STEP_STATE + s]);
            assert_int_equal(graph->values[value].role, LS_ROLE_OPTIMIZER);
            assert_int_equal(graph->values[value].kind, LS_VALUE_STATE);
        }
        assert_int_equal(graph->values[ls_graph_find(graph, "lr")].kind, LS_VALUE_STEP_INPUT);
        ls_graph_destroy(graph);
    }
}

static void test_groups_units_and_outputs(void **state) {
    (void)state;
    ls_optim_options options = make_options(LS_OPTIM_ADAMW);
    options.weight_decay = 0.25;
    ls_graph *graph = build_pair(&options, 3, 0);
    const ls_node *w = find_step(graph, "w"), *b = find_step(graph, "b");
    assert_true(((const ls_step_attr *)w->attr)->weight_decay == 0.25);
    assert_true(((const ls_step_attr *)b->attr)->weight_decay == 0);
    assert_true(((const ls_step_attr *)w->attr)->beta2 == 0.999);
    assert_int_equal(w->unit, 1);
    assert_int_equal(b->unit, 2);
    assert_int_equal(w->phase, LS_PHASE_UPDATE);
    assert_int_equal(graph->phase, LS_PHASE_BACKWARD); /* as the caller had it */
    assert_int_equal(graph->unit, 2);
    static const char *const outputs[] = {"grad_norm", "grad_scale", "applied_steps"};
    for (int i = 0; i < 3; i++)
        assert_int_not_equal(ls_graph_find(graph, outputs[i]), LS_VALUE_NONE);
    assert_int_equal(ls_graph_find(graph, "loss_scale"), LS_VALUE_NONE);
    ls_graph_destroy(graph);
}

/* A tied parameter: parts of units 0 and 4 are added, in the unit of the first, and clipped as one gradient. */
static void test_tied_parameter(void **state) {
    (void)state;
    ls_optim_options options = make_options(LS_OPTIM_SGD);
    options.weight_decay = 0;
    options.clip = 1;
    ls_graph *graph;
    assert_int_equal(ls_graph_create(&graph), LS_OK);
    const ls_value w = add_param(graph, "wte", (ls_shape){1, {2}});
    ls_grad_part parts[] = {add_part(graph, w, 0), add_part(graph, w, 4)};
    const ls_grad_parts all = {parts, 2};
    assert_int_equal(ls_optim_append(graph, &all, &options, LS_VALUE_NONE, 1, 1), LS_OK);
    assert_int_equal(ls_graph_verify(graph), LS_OK);
    assert_int_equal(find_step(graph, "wte")->unit, 0);
    graph_run run;
    create_run(&run, graph);
    data_of(&run, "grad/wte")[0] = 1;
    data_of(&run, "grad/wte@4")[0] = 2;
    data_of(&run, "grad/wte@4")[1] = 4;
    *data_of(&run, "lr") = 0.5f;
    run_update(&run);
    assert_float_equal(*data_of(&run, "grad_norm"), 5, 1e-6);
    assert_float_equal(data_of(&run, "wte")[0], -0.5 * 3 / 5, 1e-6);
    assert_float_equal(data_of(&run, "wte")[1], -0.5 * 4 / 5, 1e-6);
    destroy_run(&run);
    ls_graph_destroy(graph);
}

/* Gradients divided by a static count are brought back to the mean over the counted targets. */
static void test_count(void **state) {
    (void)state;
    ls_optim_options options = make_options(LS_OPTIM_SGD);
    options.weight_decay = 0;
    ls_graph *graph;
    assert_int_equal(ls_graph_create(&graph), LS_OK);
    const ls_value w = add_param(graph, "w", (ls_shape){1, {1}});
    ls_grad_part part = add_part(graph, w, 0);
    const ls_value count = ls_graph_accumulate(
        graph, "count",
        ls_graph_node(graph, &lane_grad_op, NULL, &w, 1, NULL)); /* one element: any [1] will do */
    const ls_grad_parts all = {&part, 1};
    assert_int_equal(ls_optim_append(graph, &all, &options, count, 64, 1), LS_OK);
    graph_run run;
    create_run(&run, graph);
    *data_of(&run, "grad/w") = 3;
    *data_of(&run, "count") = 48;
    *data_of(&run, "lr") = 1;
    run_update(&run);
    assert_float_equal(*data_of(&run, "w"), -4, 1e-6);
    *data_of(&run, "count") = 0;
    run_update(&run);
    assert_float_equal(*data_of(&run, "w"), -4, 1e-6);
    assert_true(*data_of(&run, "grad_scale") == -1);
    destroy_run(&run);
    ls_graph_destroy(graph);
}

static void snapshot(const graph_run *run, float *out) {
    static const char *const names[] = {"w", "w/adam_m", "w/adam_v"};
    for (int i = 0; i < 3; i++) memcpy(out + 21 * i, data_of(run, names[i]), 21 * sizeof *out);
}

/* An overflowed step touches nothing but the loss scale, and the next one goes on from where the last good one ended. */
static void test_skipped_step(void **state) {
    (void)state;
    ls_optim_options options = make_options(LS_OPTIM_ADAMW);
    options.loss_scale = 1024;
    options.loss_scale_growth = 2;
    ls_graph *graph = build_pair(&options, 3, 1);
    graph_run run;
    create_run(&run, graph);
    float before[63], after[63];
    *data_of(&run, "lr") = 0.1f;
    fill_with(&run, "grad/w", 512);
    fill_with(&run, "grad/b", 512);
    run_update(&run);
    assert_true(*data_of(&run, "grad_scale") == 1.0f / 1024);
    snapshot(&run, before);
    const float kept = data_of(&run, "grad/b")[1];
    static const float bad[] = {INFINITY, NAN, -INFINITY};
    for (int i = 0; i < 3; i++) {
        data_of(&run, "grad/b")[1] = bad[i];
        run_update(&run);
        snapshot(&run, after);
        assert_memory_equal(before, after, sizeof before);
        assert_true(*data_of(&run, "grad_scale") == -1);
        assert_true(*data_of(&run, "applied_steps") == 1);
        assert_true(*data_of(&run, "skipped_steps") == (float)(i + 1));
        assert_true(*data_of(&run, "loss_scale") == 512.0f / (float)(1 << i));
    }
    data_of(&run, "grad/b")[1] = kept;
    run_update(&run);
    snapshot(&run, after);
    assert_memory_not_equal(before, after, sizeof before);
    assert_true(*data_of(&run, "applied_steps") == 2);
    assert_true(*data_of(&run, "loss_scale") == 128);
    run_update(&run);
    assert_true(*data_of(&run, "loss_scale") == 256);
    destroy_run(&run);
    ls_graph_destroy(graph);
}

/* One step of a big parameter with n threads (0: no pool); returns a heap copy of it. */
static float *step_with_threads(ls_optim_kind kind, int n_threads, int64_t rows) {
    ls_optim_options options = make_options(kind);
    options.clip = 0.5;
    ls_graph *graph = build_pair(&options, rows, 0);
    graph_run run;
    create_run(&run, graph);
    if (n_threads) assert_int_equal(ls_pool_create(n_threads, -1, &run.pool), LS_OK);
    fill_with(&run, "w", 1);
    fill_with(&run, "grad/w", 0.3f);
    fill_with(&run, "grad/b", 0.2f);
    *data_of(&run, "lr") = 0.01f;
    run_update(&run);
    run_update(&run);
    const size_t bytes = sizeof(float) * (size_t)rows * 7;
    float *copy = ls_alloc(bytes);
    assert_non_null(copy);
    memcpy(copy, data_of(&run, "w"), bytes);
    ls_pool_destroy(run.pool);
    destroy_run(&run);
    ls_graph_destroy(graph);
    return copy;
}

static void test_threads_change_no_bit(void **state) {
    (void)state;
    const int64_t rows = 9001;
    for (int kind = 0; kind < LS_OPTIM_KIND_COUNT; kind++) {
        float *one = step_with_threads((ls_optim_kind)kind, 0, rows);
        for (int n = 2; n <= 3; n++) {
            float *many = step_with_threads((ls_optim_kind)kind, n, rows);
            assert_memory_equal(one, many, sizeof(float) * (size_t)rows * 7);
            ls_free(many);
        }
        ls_free(one);
    }
}

/* Runs one step op on elements [begin, begin + count) of shared test data. */
static void step_slice(const ls_op *op, const ls_step_attr *attr, float *tensors, int64_t stride,
                       int64_t count) {
    const ls_type vector = {LS_DTYPE_F32, {1, {count}}}, scalar = {LS_DTYPE_F32, {0, {0}}};
    float scalars[] = {0.01f, 3, 0.5f};
    ls_type in_types[7], out_types[3];
    ls_tensor in[7], out[3];
    for (int i = 0; i < 7; i++) {
        const int is_scalar = i >= LS_STEP_LR && i <= LS_STEP_SCALE;
        const int at = i > LS_STEP_SCALE ? i - 3 : i;
        in_types[i] = is_scalar ? scalar : vector;
        in[i] = (ls_tensor){LS_DTYPE_F32, in_types[i].shape,
                            is_scalar ? (void *)&scalars[i - 2] : (void *)(tensors + at * stride)};
    }
    ls_sig sig = {op, attr, 7, 0, in_types, out_types};
    assert_int_equal(op->infer(attr, 7, in_types, &sig.n_out, out_types), LS_OK);
    for (int i = 0; i < sig.n_out; i++) out[i] = in[op->alias(&sig, i)];
    const ls_kernel *kernel;
    assert_int_equal(ls_kernel_choose(&sig, LS_DEVICE_CPU, ls_cpu_isa(), &kernel), LS_OK);
    const ls_launch launch = {.sig = &sig, .in = in, .out = out};
    assert_int_equal(kernel->launch(&launch), LS_OK);
}

/* A parameter cut at odd places (as a shard would be) gets the bits of the whole one. */
static void test_position_changes_no_bit(void **state) {
    (void)state;
    enum { COUNT = 1001 };
    static const int64_t cuts[] = {0, 1, 17, 333, 700, COUNT};
    const ls_op *ops[] = {&ls_op_adam_step, &ls_op_nadam_step, &ls_op_adadelta_step};
    const ls_step_attr attr = {
        .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.1, .decoupled = 1};
    static float whole[4 * COUNT], parts[4 * COUNT];
    for (int o = 0; o < 3; o++) {
        for (int i = 0; i < 4 * COUNT; i++)
            whole[i] = parts[i] = i < 2 * COUNT ? sinf((float)i) : fabsf(cosf((float)i));
        step_slice(ops[o], &attr, whole, COUNT, COUNT);
        for (int c = 0; c < 5; c++)
            step_slice(ops[o], &attr, parts + cuts[c], COUNT, cuts[c + 1] - cuts[c]);
        assert_memory_equal(whole, parts, sizeof whole);
    }
}

static void expect_refusal(ls_graph *graph, const ls_grad_parts *parts,
                           const ls_optim_options *options, double count, const char *words) {
    assert_int_equal(ls_optim_append(graph, parts, options, LS_VALUE_NONE, count, 1),
                     LS_ERR_INVALID);
    if (!strstr(ls_error_message(), words))
        fail_msg("'%s' does not say '%s'", ls_error_message(), words);
    ls_graph_destroy(graph);
}

static void test_refusals(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        ls_optim_options options = make_options(LS_OPTIM_ADAMW);
        ls_graph *graph;
        assert_int_equal(ls_graph_create(&graph), LS_OK);
        const ls_dtype dtype = i == 2 ? LS_DTYPE_BF16 : LS_DTYPE_F32;
        const ls_value w = ls_graph_param(graph, "w", dtype, (ls_shape){1, {4}}, zero_init);
        if (i == 3) ls_graph_step_input(graph, "lr", LS_DTYPE_F32, (ls_shape){0});
        if (i == 4) options.beta1 = 1;
        if (i == 5) options.clip = -1;
        ls_grad_part part = add_part(graph, w, 0);
        const ls_grad_parts none = {&part, 0}, one = {&part, 1};
        if (i == 0) options.kind = 99;
        static const char *const words[] = {
            "kind 99",    "no gradients",     "must be f32, got bf16",
            "named 'lr'", "beta1 must be in", "max_norm"};
        expect_refusal(graph, i == 1 ? &none : &one, &options, 1, words[i]);
    }
    ls_optim_options options = make_options(LS_OPTIM_SGD);
    ls_graph *graph;
    assert_int_equal(ls_graph_create(&graph), LS_OK);
    ls_grad_part part = add_part(graph, add_param(graph, "w", (ls_shape){1, {4}}), 0);
    const ls_grad_parts one = {&part, 1};
    expect_refusal(graph, &one, &options, 0, "static_count");
}

/* Every allocation fails once: an error comes back, nothing leaks. */
static void test_out_of_memory(void **state) {
    (void)state;
    const int64_t live = ls_alloc_get_stats().n_live;
    int failed = 1;
    for (int64_t n = 1; failed; n++) {
        ls_optim_options options = make_options(LS_OPTIM_RMSPROP);
        ls_graph *graph;
        assert_int_equal(ls_graph_create(&graph), LS_OK);
        ls_grad_part parts[40];
        for (int i = 0; i < 40; i++) {
            char name[64];
            snprintf(name, sizeof name, "layers.%d.a_rather_long_parameter_name", i);
            parts[i] = add_part(graph, add_param(graph, name, (ls_shape){1, {4}}), i);
        }
        const ls_grad_parts all = {parts, 40};
        ls_alloc_fail_at(n, 0);
        const ls_status status = ls_optim_append(graph, &all, &options, LS_VALUE_NONE, 1, 1);
        ls_alloc_fail_at(0, 0);
        failed = status != LS_OK;
        if (failed) assert_int_equal(status, LS_ERR_NO_MEMORY);
        assert_true(failed || n > 3);
        ls_graph_destroy(graph);
        assert_int_equal(ls_alloc_get_stats().n_live, live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_states),
        cmocka_unit_test(test_groups_units_and_outputs),
        cmocka_unit_test(test_tied_parameter),
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_skipped_step),
        cmocka_unit_test(test_threads_change_no_bit),
        cmocka_unit_test(test_position_changes_no_bit),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
