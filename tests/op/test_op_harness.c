/* The harness must be able to fail: wrong kernels and wrong gradients are planted and must be caught, with a line that says where. */
#include "op/gelu/gelu.h"
#include "op/op_harness.h"
#include "op/scale/scale.h"
#include <math.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const ls_case_in inputs[] = {{.dtype = LS_CASE_T, .shape = {2, {3, 37}}}};
static const ls_scale_attr half = {0.5};
static const ls_op_case plain = {
    .name = "planted", .attr = &half, .n_in = 1, .in = inputs, .dtypes = LS_CASE_F32};

/* ls_op_scale with one kernel before the reference, or another gradient. */
typedef struct planted_op {
    ls_op op;
    ls_kernel kernel;
    const ls_kernel *list[3];
} planted_op;

static void plant(planted_op *p, ls_status (*launch)(const ls_launch *)) {
    p->op = ls_op_scale;
    p->kernel = (ls_kernel){.name = "planted_kernel", .device = LS_DEVICE_CPU, .launch = launch};
    p->list[0] = &p->kernel;
    p->list[1] = ls_kernel_reference(&ls_op_scale);
    p->list[2] = NULL;
    p->op.kernels = p->list;
}

static ls_status run_reference(const ls_launch *launch) {
    return ls_kernel_reference(&ls_op_scale)->launch(launch);
}

static ls_status miss_the_tail(const ls_launch *launch) {
    LS_TRY(run_reference(launch));
    ((float *)launch->out[0].data)[110] *= 1.001f;
    return LS_OK;
}

static ls_status leave_one_unwritten(const ls_launch *launch) {
    ls_tensor y = launch->out[0];
    const float before = ((float *)y.data)[5];
    LS_TRY(run_reference(launch));
    ((float *)y.data)[5] = before;
    return LS_OK;
}

static ls_status write_past_the_end(const ls_launch *launch) {
    LS_TRY(run_reference(launch));
    ((float *)launch->out[0].data)[111] = 0;
    return LS_OK;
}

static ls_status write_past_the_workspace(const ls_launch *launch) {
    ((char *)launch->workspace)[0] = 0;
    return run_reference(launch);
}

static ls_status depend_on_threads(const ls_launch *launch) {
    LS_TRY(run_reference(launch));
    if (ls_pool_threads(launch->pool) == 2) ((float *)launch->out[0].data)[0] *= 1.000001f;
    return LS_OK;
}

static ls_status swallow_nan(const ls_launch *launch) {
    LS_TRY(run_reference(launch));
    for (int i = 0; i < 111; i++) {
        float *y = (float *)launch->out[0].data + i;
        if (*y != *y) *y = 0;
    }
    return LS_OK;
}

/* Reads in[0] after writing out[0]: wrong when they are the same memory. */
static ls_status refuse_overwriting(const ls_launch *launch) {
    LS_TRY(run_reference(launch));
    if (launch->in[0].data == launch->out[0].data) ((float *)launch->out[0].data)[3] = 7;
    return LS_OK;
}

/* Counts on its result being its operand. */
static ls_status scale_in_place(const ls_launch *launch) {
    ls_launch own = *launch;
    own.in = launch->out;
    return run_reference(&own);
}

/* Spoils what a run that fails would go back to. */
static ls_status write_over_input(const ls_launch *launch) {
    const float before = ((float *)launch->in[0].data)[3];
    LS_TRY(run_reference(launch));
    if (launch->in[0].data != launch->out[0].data) ((float *)launch->in[0].data)[3] = before + 1;
    return LS_OK;
}

static ls_status fail_to_run(const ls_launch *launch) {
    (void)launch;
    return LS_FAIL(LS_ERR_INTERNAL, "the planted kernel fails");
}

typedef struct planted_case {
    const char *name;
    ls_status (*launch)(const ls_launch *);
    const char *want; /* in the report; NULL: nothing is found */
} planted_case;

static void test_wrong_kernels(void **state) {
    static const planted_case table[] = {
        {"right", run_reference, NULL},
        {"tail", miss_the_tail, "kernel planted_kernel, dtype f32, result 0, index 110: got"},
        {"unwritten", leave_one_unwritten, "result 0, index 5: got"},
        {"past", write_past_the_end, "writes past the end of result 0"},
        {"workspace", write_past_the_workspace, "writes past its workspace (0 bytes)"},
        {"threads", depend_on_threads, "running on 2 threads changes the bits"},
        {"overwriting", refuse_overwriting, "overwriting an input changes the bits"},
        {"failing", fail_to_run, "failed: the planted kernel fails"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        planted_op p;
        op_report report = {0};
        plant(&p, table[i].launch);
        op_check_kernels(&p.op, &plain, &report);
        if (table[i].want && (!report.text.data || !strstr(report.text.data, table[i].want)))
            fail_msg("%s: wanted '%s' in: %s", table[i].name, table[i].want,
                     report.text.data ? report.text.data : "(no failure)");
        if (!table[i].want && report.n_failures)
            fail_msg("%s: unexpected: %s", table[i].name, report.text.data);
        assert_true(report.n_checks > 0 || report.n_failures > 0);
        if (table[i].want) assert_non_null(strstr(report.text.data, "op scale, case planted"));
        ls_text_deinit(&report.text);
    }
}

static int alias_first(const ls_sig *sig, int i) {
    (void)sig, (void)i;
    return 0;
}

/* The same op as an update in place. */
static void test_wrong_updates(void **state) {
    static const planted_case table[] = {
        {"right", run_reference, NULL},
        {"in place only", scale_in_place, "writing to other memory changes the bits"},
        {"over input", write_over_input, "writes over input 0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        planted_op p;
        op_report report = {0};
        plant(&p, table[i].launch);
        p.op.flags |= LS_OP_UPDATE;
        p.op.alias = alias_first;
        op_check_kernels(&p.op, &plain, &report);
        if (table[i].want && (!report.text.data || !strstr(report.text.data, table[i].want)))
            fail_msg("%s: wanted '%s' in: %s", table[i].name, table[i].want,
                     report.text.data ? report.text.data : "(no failure)");
        if (!table[i].want && report.n_failures)
            fail_msg("%s: unexpected: %s", table[i].name, report.text.data);
        ls_text_deinit(&report.text);
    }
}

static void test_swallowed_nan(void **state) {
    static const ls_case_in nan_in[] = {
        {.dtype = LS_CASE_T, .shape = {2, {3, 37}}, .fill = LS_FILL_CONSTANT, .a = NAN}};
    const ls_op_case c = {.name = "nan", .attr = &half, .n_in = 1, .in = nan_in};
    planted_op p;
    op_report report = {0};
    (void)state;
    plant(&p, swallow_nan);
    op_check_kernels(&p.op, &c, &report);
    assert_non_null(strstr(report.text.data, "index 0: got 0, want nan"));
    ls_text_deinit(&report.text);
}

/* Gradient rules, each wrong in one way. */
static ls_status grad_too_large(ls_grad *g) {
    g->din[0] = ls_scale(g->graph, g->dout[0], 0.500002);
    return LS_OK;
}
static ls_status grad_forgotten(ls_grad *g) {
    (void)g;
    return LS_OK;
}
static ls_status grad_refused(ls_grad *g) {
    (void)g;
    return LS_FAIL(LS_ERR_UNSUPPORTED, "the planted rule refuses");
}

static void check_planted_gradient(ls_status (*grad)(ls_grad *), const char *want) {
    ls_op op = ls_op_scale;
    op_report report = {0};
    op.grad = grad;
    op_check_gradient(&op, &plain, &report);
    assert_true(report.n_failures > 0);
    if (!strstr(report.text.data, want)) fail_msg("wanted '%s' in: %s", want, report.text.data);
    ls_text_deinit(&report.text);
}

static void test_wrong_gradients(void **state) {
    (void)state;
    check_planted_gradient(grad_too_large,
                           "op scale, case planted, gradient of input 0, dtype f64, index");
    check_planted_gradient(grad_forgotten, "got 0, want");
    check_planted_gradient(grad_refused, "failed: the planted rule refuses");
}

static void test_right_gradient(void **state) {
    op_report report = {0};
    (void)state;
    op_check_gradient(&ls_op_scale, &plain, &report);
    assert_int_equal(report.n_failures, 0);
    assert_int_equal(report.n_checks, 1);
}

/* A gradient of gelu's tanh form for its erf form is off by 1e-3 at most and must be seen. */
static ls_status grad_other_form(ls_grad *g) {
    const ls_gelu_attr other = {1};
    const ls_value in[2] = {g->in[0], g->dout[0]};
    g->din[0] = ls_graph_node(g->graph, &ls_op_gelu_grad, &other, in, 2, NULL);
    return LS_OK;
}

static void test_nearly_right_gradient(void **state) {
    static const ls_gelu_attr erf_form = {0};
    const ls_op_case c = {.name = "erf", .attr = &erf_form, .n_in = 1, .in = inputs};
    ls_op op = ls_op_gelu;
    op_report report = {0};
    (void)state;
    op.grad = grad_other_form;
    op_check_gradient(&op, &c, &report);
    assert_true(report.n_failures > 0);
    ls_text_deinit(&report.text);
}

static void test_refused_case(void **state) {
    static const ls_case_in whole[] = {{.dtype = LS_DTYPE_I32, .shape = {1, {3}}}};
    const ls_op_case c = {.name = "whole", .attr = &half, .n_in = 1, .in = whole};
    op_report report = {0};
    (void)state;
    op_check_kernels(&ls_op_scale, &c, &report);
    assert_non_null(strstr(report.text.data, "op scale, case whole, dtype f32: refused: op scale"));
    ls_text_deinit(&report.text);
}

static unsigned dtypes_of(const ls_op_case *c) {
    return c->dtypes ? c->dtypes : LS_CASE_F32;
}

/* Every op has cases; name and dtype together say which case a failure is of. */
static void test_tables(void **state) {
    (void)state;
    assert_int_equal(op_list_count(), ls_op_count());
    for (int i = 0; i < op_list_count(); i++) {
        const ls_op_case_list *list = op_list_at(i);
        assert_ptr_equal(list->op, ls_op_at(i));
        assert_true(list->n_cases > 0);
        for (int a = 0; a < list->n_cases; a++)
            for (int b = 0; b < a; b++)
                if (strcmp(list->cases[a].name, list->cases[b].name) == 0 &&
                    (dtypes_of(&list->cases[a]) & dtypes_of(&list->cases[b])))
                    fail_msg("op %s has two cases '%s'", list->op->name, list->cases[a].name);
    }
}

static int is_reached(const ls_op_case_list *list, const ls_kernel *kernel) {
    for (int i = 0; i < list->n_cases; i++)
        if (op_case_is_checked(list->op, &list->cases[i]) &&
            op_case_reaches(list->op, &list->cases[i], kernel))
            return 1;
    return 0;
}

/* Every kernel that this machine can run is compared with its reference by some case. */
static void test_every_kernel_is_reached(void **state) {
    (void)state;
    for (int i = 0; i < op_list_count(); i++)
        for (const ls_kernel *const *k = op_list_at(i)->op->kernels; *k; k++)
            if ((*k)->device == LS_DEVICE_CPU && (*k)->isa <= ls_cpu_isa() &&
                !is_reached(op_list_at(i), *k))
                fail_msg("no checked case reaches kernel %s", (*k)->name);
}

typedef struct timing_count {
    int n, sane;
} timing_count;

static int count_timing(void *user, const op_timing *t) {
    timing_count *count = user;
    count->n++;
    count->sane += t->seconds > 0 && t->gbps > 0 && t->ratio > 0 && t->threads == 2;
    return 0;
}

/* Asks for the first kernel's time three times. */
static int count_first(void *user, const op_timing *t) {
    timing_count *count = user;
    count->n++;
    count->sane += t->seconds > 0 && t->ratio == 0 && t->bytes_read > 0 && t->bytes_written > 0 &&
                   strstr(t->kernel, "ref") == NULL;
    return count->n < 3;
}

static void test_timing(void **state) {
    timing_count count = {0};
    (void)state;
    op_timing_options options = {.threads = 2};
    assert_int_equal(op_time_case(&ls_op_scale, &plain, &options, count_timing, &count), LS_OK);
    assert_true(count.n >= 2);
    assert_int_equal(count.sane, count.n);
    options.is_first_only = 1;
    count = (timing_count){0};
    assert_int_equal(op_time_case(&ls_op_scale, &plain, &options, count_first, &count), LS_OK);
    assert_int_equal(count.n, 3);
    assert_int_equal(count.sane, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_kernels),
        cmocka_unit_test(test_wrong_updates),
        cmocka_unit_test(test_swallowed_nan),
        cmocka_unit_test(test_wrong_gradients),
        cmocka_unit_test(test_right_gradient),
        cmocka_unit_test(test_nearly_right_gradient),
        cmocka_unit_test(test_refused_case),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_every_kernel_is_reached),
        cmocka_unit_test(test_timing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
