/* Every optimizer against stored runs of PyTorch and of the papers' formulas (tools/goldens/make_optim_goldens.py): parameters after 1, 10
 * and 50 steps, through ls_optim_append, on every instruction-set level and on the reference kernels. */
#include "unit/optim/optim_run.h"

#include <jansson.h>

/* Per element: |got - want| / max(1, |want|). The golden runs are float64; parameters stored in f32 carry 50 roundings of up to half
 * a unit in the last place of the largest value they had, whatever they end as. */
static const double golden_tolerance = 1e-6;

static int find_name(const char *const *names, const char *name) {
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0) return i;
    fail_msg("unknown optimizer '%s'", name);
    return -1;
}

static double number(const json_t *object, const char *key, double fallback) {
    const json_t *value = json_object_get(object, key);
    return value ? json_number_value(value) : fallback;
}

static ls_optim_options read_options(const json_t *json) {
    ls_optim_options o = ls_optim_default();
    o.kind = find_name(ls_optim_kind_names, json_string_value(json_object_get(json, "kind")));
    o.lr = number(json, "lr", o.lr);
    o.beta1 = number(json, "beta1", o.beta1);
    o.beta2 = number(json, "beta2", 0);
    o.eps = number(json, "eps", 0);
    o.momentum = number(json, "momentum", 0);
    o.weight_decay = number(json, "weight_decay", 0);
    o.clip = number(json, "clip", 0);
    o.nesterov = json_is_true(json_object_get(json, "nesterov"));
    o.centered = json_is_true(json_object_get(json, "centered"));
    return o;
}

static ls_shape read_shape(const json_t *json) {
    ls_shape shape = {.n_dims = (int)json_array_size(json)};
    for (int d = 0; d < shape.n_dims; d++)
        shape.dims[d] = json_integer_value(json_array_get(json, (size_t)d));
    return shape;
}

static ls_graph *build_case(const json_t *shapes, const ls_optim_options *options) {
    ls_graph *graph;
    assert_int_equal(ls_graph_create(&graph), LS_OK);
    ls_grad_part parts[8];
    const int n = (int)json_array_size(shapes);
    for (int i = 0; i < n; i++) {
        const char name[] = {'w', (char)('0' + i), 0};
        const ls_shape shape = read_shape(json_array_get(shapes, (size_t)i));
        const ls_value param =
            ls_graph_param(graph, name, LS_DTYPE_F32, shape, (ls_init){LS_INIT_ZERO, 0, 0});
        parts[i] = add_part(graph, param, i);
    }
    const ls_grad_parts all = {parts, n};
    if (ls_optim_append(graph, &all, options, LS_VALUE_NONE, 1, 1) != LS_OK)
        fail_msg("%s", ls_error_message());
    assert_int_equal(ls_graph_verify(graph), LS_OK);
    return graph;
}

/* Spreads one flat array over the values "<prefix>0", "<prefix>1"... */
static void store_flat(const graph_run *run, const char *prefix, int n, const json_t *flat) {
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s%d", prefix, i);
        float *x = data_of(run, name);
        const int64_t count = ls_shape_count(&run->tensors[ls_graph_find(run->graph, name)].shape);
        for (int64_t j = 0; j < count; j++)
            x[j] = (float)json_number_value(json_array_get(flat, at++));
    }
    assert_int_equal(at, json_array_size(flat));
}

/* The larger of two measures: the difference of one element over max(1, |want|), and of a whole tensor in the 2-norm over the
 * norm of what was wanted. */
static double worst_difference(const graph_run *run, int n, const json_t *flat) {
    double worst = 0;
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        const char name[] = {'w', (char)('0' + i), 0};
        const ls_tensor *tensor = &run->tensors[ls_graph_find(run->graph, name)];
        double off = 0, norm = 0;
        for (int64_t j = 0; j < ls_shape_count(&tensor->shape); j++) {
            const double want = json_number_value(json_array_get(flat, at++));
            const double error = ls_tensor_get(tensor, j) - want;
            const double difference = fabs(error) / fmax(1, fabs(want));
            if (!(difference <= worst)) worst = difference;
            off += error * error;
            norm += want * want;
        }
        const double relative = sqrt(off / norm);
        if (!(relative <= worst)) worst = relative;
    }
    return worst;
}

static void check_case(const json_t *golden, const json_t *item, ls_isa isa, int reference) {
    const json_t *shapes = json_object_get(golden, "shapes");
    const json_t *checkpoints = json_object_get(golden, "checkpoints");
    const int n = (int)json_array_size(shapes);
    const ls_optim_options options = read_options(json_object_get(item, "options"));
    ls_graph *graph = build_case(shapes, &options);
    graph_run run;
    create_run(&run, graph);
    run.isa = isa;
    run.reference = reference;
    store_flat(&run, "w", n, json_object_get(golden, "start"));
    *data_of(&run, "lr") = (float)options.lr;
    size_t next = 0;
    const json_int_t n_steps = json_integer_value(json_object_get(golden, "steps"));
    for (json_int_t step = 0; step < n_steps; step++) {
        store_flat(&run, "grad/w", n,
                   json_array_get(json_object_get(golden, "grads"), (size_t)step));
        run_update(&run);
        if (json_integer_value(json_array_get(checkpoints, next)) != step + 1) continue;
        const json_t *want = json_array_get(json_object_get(item, "params"), next++);
        const double worst = worst_difference(&run, n, want);
        if (!(worst <= golden_tolerance))
            fail_msg("%s, step %d, %s: differs by %.3g from the golden run, want %.1g",
                     json_string_value(json_object_get(item, "name")), (int)step + 1,
                     reference ? "reference" : ls_isa_name(isa), worst, golden_tolerance);
    }
    assert_int_equal(next, json_array_size(checkpoints));
    assert_true(*data_of(&run, "applied_steps") == (float)n_steps);
    destroy_run(&run);
    ls_graph_destroy(graph);
}

static json_t *load_golden(void) {
    json_error_t error;
    json_t *golden = json_load_file("tests/unit/optim/golden/optim.json", 0, &error);
    if (!golden) fail_msg("golden file: %s", error.text);
    return golden;
}

static void test_reference_follows_golden(void **state) {
    (void)state;
    json_t *golden = load_golden(), *item;
    size_t i;
    assert_int_equal(json_array_size(json_object_get(golden, "cases")), 21);
    json_array_foreach(json_object_get(golden, "cases"), i, item)
        check_case(golden, item, LS_ISA_BASE, 1);
    json_decref(golden);
}

static void test_kernels_follow_golden(void **state) {
    (void)state;
    json_t *golden = load_golden(), *item;
    size_t i;
    for (int isa = LS_ISA_BASE; isa <= LS_ISA_AVX512 && isa <= (int)ls_cpu_isa(); isa++)
        json_array_foreach(json_object_get(golden, "cases"), i, item)
            check_case(golden, item, (ls_isa)isa, 0);
    json_decref(golden);
}

/* Every kind of optimizer has a golden case. */
static void test_golden_is_complete(void **state) {
    (void)state;
    json_t *golden = load_golden(), *item;
    for (int kind = 0; kind < LS_OPTIM_KIND_COUNT; kind++) {
        int n = 0;
        size_t i;
        json_array_foreach(json_object_get(golden, "cases"), i, item) n +=
            read_options(json_object_get(item, "options")).kind == kind;
        if (!n) fail_msg("no golden case for %s", ls_optim_kind_names[kind]);
    }
    json_decref(golden);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_is_complete),
        cmocka_unit_test(test_reference_follows_golden),
        cmocka_unit_test(test_kernels_follow_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
