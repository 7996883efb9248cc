#include "op/op_applied.h"

#include "base/rng.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LS_OP(name) extern const ls_op_case_list ls_cases_##name;
#include "op/op.def"
#undef LS_OP

static const ls_op_case_list *const all_lists[] = {
#define LS_OP(name) &ls_cases_##name,
#include "op/op.def"
#undef LS_OP
    NULL};

enum {
    GUARD_BYTES = 256,
    GUARD_BYTE = 0xa5,
    POISON_BYTE = 0xff, /* NaN in every float dtype */
    FAILURES_SHOWN = 3, /* per kernel and result */
    GRAD_SAMPLES = 48   /* elements per input compared with differences */
};

int op_list_count(void) {
    return (int)(sizeof all_lists / sizeof all_lists[0]) - 1;
}

const ls_op_case_list *op_list_at(int i) {
    return all_lists[i];
}

static void add_failure(op_report *report, const char *line) {
    report->n_failures++;
    ls_text_append(&report->text, "%s\n", line);
}

#define FAIL_LINE(report, ...)                                \
    do {                                                      \
        char fail_line_[768];                                 \
        snprintf(fail_line_, sizeof fail_line_, __VA_ARGS__); \
        add_failure(report, fail_line_);                      \
    } while (0)

/* --- a case made concrete for one dtype ---------------------------------------------------------------------------- */

static ls_dtype case_dtype(const ls_case_in *in, ls_dtype dtype, int wide) {
    if (in->dtype == LS_CASE_T) return dtype;
    return wide && in->dtype == LS_DTYPE_F32 ? LS_DTYPE_F64 : (ls_dtype)in->dtype;
}

/* As the device does: what is timed lies in huge pages where a program's tensors would. */
static int lies_in_pages(size_t bytes) {
    return bytes >= (size_t)2 << 20;
}

static ls_status alloc_tensor(ls_tensor *t, const ls_type *type) {
    *t = (ls_tensor){type->dtype, type->shape, NULL};
    const size_t bytes = ls_type_bytes(type);
    t->data =
        lies_in_pages(bytes) ? ls_alloc_pages(bytes + GUARD_BYTES) : ls_alloc(bytes + GUARD_BYTES);
    if (!t->data) return LS_ERR_NO_MEMORY;
    memset(t->data, POISON_BYTE, bytes);
    memset((char *)t->data + bytes, GUARD_BYTE, GUARD_BYTES);
    return LS_OK;
}

static void free_tensor(ls_tensor *t) {
    if (t->data && lies_in_pages(ls_tensor_bytes(t)))
        ls_free_pages(t->data, ls_tensor_bytes(t) + GUARD_BYTES);
    else
        ls_free(t->data);
}

static int guard_is_whole(const void *data, size_t bytes) {
    const unsigned char *guard = (const unsigned char *)data + bytes;
    for (int i = 0; i < GUARD_BYTES; i++)
        if (guard[i] != GUARD_BYTE) return 0;
    return 1;
}

static double draw(const ls_case_in *spec, ls_rng_key key, int64_t i) {
    const uint64_t at = (uint64_t)i;
    switch (spec->fill) {
    case LS_FILL_NORMAL:
        return spec->a + (spec->b == 0 ? 1 : spec->b) * ls_rng_normal(key, at);
    case LS_FILL_UNIFORM:
        return spec->a + (spec->b - spec->a) * ls_rng_uniform(key, at);
    case LS_FILL_INTEGER:
        return spec->a + floor((spec->b - spec->a) * ls_rng_uniform(key, at));
    case LS_FILL_CONSTANT:
        break;
    }
    return spec->a;
}

static void fill_tensor(ls_tensor *t, const ls_case_in *spec, int which) {
    const ls_rng_key key = {7, 1, (uint64_t)which};
    const int64_t n = ls_shape_count(&t->shape);
    const int64_t period = n > OP_CHECK_ELEMENTS ? 4099 : n; /* timing: values repeat */
    const size_t size = ls_dtype_bytes(t->dtype);
    for (int64_t i = 0; i < period; i++) ls_tensor_set(t, i, draw(spec, key, i));
    for (int64_t i = period; i < n; i += period)
        memcpy((char *)t->data + (size_t)i * size, t->data,
               (size_t)(n - i < period ? n - i : period) * size);
}

void op_applied_deinit(applied *a) {
    for (int i = 0; a->in && i < a->c->n_in; i++) free_tensor(&a->in[i]);
    for (int i = 0; i < LS_MAX_OUT; i++) free_tensor(&a->out[i]);
    ls_free(a->in);
    ls_free(a->in_types);
    *a = (applied){.c = a->c};
}

static ls_status infer_applied(applied *a, int wide) {
    const ls_op_case *c = a->c;
    a->in_types = ls_alloc(sizeof(ls_type) * (size_t)(c->n_in + 1));
    if (!a->in_types) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < c->n_in; i++)
        a->in_types[i] = (ls_type){case_dtype(&c->in[i], a->dtype, wide), c->in[i].shape};
    int n_out = 0;
    LS_TRY(a->op->infer(c->attr, c->n_in, a->in_types, &n_out, a->out_types));
    a->sig = (ls_sig){a->op, c->attr, c->n_in, n_out, a->in_types, a->out_types};
    return LS_OK;
}

ls_status op_applied_init(applied *a, const ls_op *op, const ls_op_case *c, ls_dtype dtype,
                          int wide) {
    *a = (applied){.op = op, .c = c, .dtype = dtype};
    LS_TRY(infer_applied(a, wide));
    a->in = ls_alloc(sizeof(ls_tensor) * (size_t)(c->n_in + 1));
    if (!a->in) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < c->n_in; i++) {
        LS_TRY(alloc_tensor(&a->in[i], &a->in_types[i]));
        fill_tensor(&a->in[i], &c->in[i], i);
    }
    for (int i = 0; i < a->sig.n_out; i++) LS_TRY(alloc_tensor(&a->out[i], &a->out_types[i]));
    return LS_OK;
}

ls_cost op_sig_cost(const ls_sig *sig) {
    ls_cost cost = {0};
    (sig->op->cost ? sig->op->cost : ls_cost_default)(sig, &cost);
    return cost;
}

int op_case_is_checked(const ls_op *op, const ls_op_case *c) {
    int64_t elements = 0;
    for (int i = 0; i < c->n_in; i++) elements += ls_shape_count(&c->in[i].shape);
    if (elements > OP_CHECK_ELEMENTS) return 0;
    applied a = {.op = op, .c = c, .dtype = LS_DTYPE_F32};
    const int checked =
        infer_applied(&a, 0) != LS_OK || op_sig_cost(&a.sig).flops <= (double)OP_CHECK_FLOPS;
    op_applied_deinit(&a);
    return checked;
}

/* --- one run of one kernel ------------------------------------------------------------------------------------------ */

/* Outputs that live in an input (op->alias) start as a copy of it. */
void op_applied_prepare(applied *a) {
    for (int i = 0; i < a->sig.n_out; i++) {
        const int of = a->op->alias ? a->op->alias(&a->sig, i) : -1;
        const size_t bytes = ls_type_bytes(&a->out_types[i]);
        const size_t given = of >= 0 ? ls_type_bytes(&a->sig.in[of]) : 0;
        memset(a->out[i].data, POISON_BYTE, bytes); /* a view may be longer than what it views */
        if (of >= 0) memcpy(a->out[i].data, a->in[of].data, given < bytes ? given : bytes);
    }
}

static ls_status launch_kernel(const ls_kernel *kernel, applied *a, const ls_tensor *in,
                               ls_pool *pool, op_report *report) {
    const int threads = ls_pool_threads(pool);
    const size_t bytes = kernel->workspace_bytes ? kernel->workspace_bytes(&a->sig, threads) : 0;
    unsigned char *workspace = ls_alloc(bytes + GUARD_BYTES);
    if (!workspace) return LS_ERR_NO_MEMORY;
    memset(workspace, POISON_BYTE, bytes);
    memset(workspace + bytes, GUARD_BYTE, GUARD_BYTES);
    const ls_launch launch = {.sig = &a->sig,
                              .in = in,
                              .out = a->out,
                              .workspace = workspace,
                              .pool = pool,
                              .position = {.seed = 3, .step = 5, .lane = 2}};
    const ls_status status = kernel->launch(&launch);
    if (report && !guard_is_whole(workspace, bytes))
        FAIL_LINE(report,
                  "op %s, case %s, kernel %s, dtype %s: writes past its workspace (%zu bytes)",
                  a->op->name, a->c->name, kernel->name, ls_dtype_name(a->dtype), bytes);
    ls_free(workspace);
    return status;
}

/* Inputs as the kernel sees them: those an output aliases are that output's memory. */
static ls_status run_kernel(const ls_kernel *kernel, applied *a, ls_pool *pool, op_report *report) {
    ls_tensor *in = ls_alloc(sizeof(ls_tensor) * (size_t)(a->sig.n_in + 1));
    if (!in) return LS_ERR_NO_MEMORY;
    memcpy(in, a->in, sizeof(ls_tensor) * (size_t)a->sig.n_in);
    op_applied_prepare(a);
    for (int i = 0; a->op->alias && i < a->sig.n_out; i++) {
        const int of = a->op->alias(&a->sig, i);
        if (of >= 0) in[of].data = a->out[i].data;
    }
    const ls_status status = launch_kernel(kernel, a, in, pool, report);
    for (int i = 0; report && i < a->sig.n_out; i++)
        if (!guard_is_whole(a->out[i].data, ls_type_bytes(&a->out_types[i])))
            FAIL_LINE(report,
                      "op %s, case %s, kernel %s, dtype %s: writes past the end of result %d",
                      a->op->name, a->c->name, kernel->name, ls_dtype_name(a->dtype), i);
    ls_free(in);
    return status;
}

/* --- kernels against the reference ---------------------------------------------------------------------------------- */

static double rounding_step(ls_dtype dtype) {
    return dtype == LS_DTYPE_BF16 ? 0x1p-7 : dtype == LS_DTYPE_F16 ? 0x1p-10 : 0;
}

static double root_mean_square(const ls_tensor *t) {
    const int64_t n = ls_shape_count(&t->shape);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double x = ls_tensor_get(t, i);
        if (isfinite(x)) sum += x * x;
    }
    return n ? sqrt(sum / (double)n) : 0;
}

/* Sums in a low precision round at the scale of the tensor, elementwise results at their own. */
static double allowed_error(const applied *a, const ls_tensor *want, double value, double scale) {
    const double tolerance = a->c->tolerance == 0 ? 1e-5 : a->c->tolerance;
    const double step = rounding_step(want->dtype), size = fabs(value);
    const double smallest = want->dtype == LS_DTYPE_F16 ? 0x1p-24 : 0;
    return tolerance * (1 + size) + step * (size > scale ? size : scale) + smallest;
}

static int is_close(double got, double want, double allowed) {
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got);
    if (isinf(want) || isinf(got)) return want == got;
    return fabs(got - want) <= allowed;
}

static void compare_result(const applied *a, const ls_kernel *kernel, int which,
                           const ls_tensor *want, op_report *report) {
    const int64_t n = ls_shape_count(&want->shape);
    const int elementwise = (a->op->flags & LS_OP_ELEMENTWISE) != 0;
    const double scale = elementwise ? 0 : root_mean_square(want);
    int shown = 0;
    for (int64_t i = 0; i < n && shown < FAILURES_SHOWN; i++) {
        const double g = ls_tensor_get(&a->out[which], i), w = ls_tensor_get(want, i);
        if (is_close(g, w, allowed_error(a, want, w, scale))) continue;
        FAIL_LINE(report,
                  "op %s, case %s, kernel %s, dtype %s, result %d, index %lld: got %.9g, want %.9g",
                  a->op->name, a->c->name, kernel->name, ls_dtype_name(a->dtype), which,
                  (long long)i, g, w);
        shown++;
    }
    report->n_checks++;
}

/* Bytes of all results, one after the other. */
static unsigned char *snapshot(const applied *a, size_t *bytes_out) {
    size_t bytes = 0;
    for (int i = 0; i < a->sig.n_out; i++) bytes += ls_type_bytes(&a->out_types[i]);
    unsigned char *copy = ls_alloc(bytes);
    size_t at = 0;
    for (int i = 0; copy && i < a->sig.n_out; i++) {
        const size_t part = ls_type_bytes(&a->out_types[i]);
        memcpy(copy + at, a->out[i].data, part);
        at += part;
    }
    *bytes_out = bytes;
    return copy;
}

static void compare_bytes(const applied *a, const ls_kernel *kernel, const unsigned char *first,
                          const char *what, op_report *report) {
    size_t bytes, at = 0;
    unsigned char *now = snapshot(a, &bytes);
    report->n_checks++;
    while (now && at < bytes && now[at] == first[at]) at++;
    if (!now || at < bytes)
        FAIL_LINE(
            report,
            "op %s, case %s, kernel %s, dtype %s, byte %zu: %s changes the bits of the result",
            a->op->name, a->c->name, kernel->name, ls_dtype_name(a->dtype), at, what);
    ls_free(now);
}

static void report_status(const applied *a, const ls_kernel *kernel, op_report *report) {
    FAIL_LINE(report, "op %s, case %s, kernel %s, dtype %s: failed: %s", a->op->name, a->c->name,
              kernel->name, ls_dtype_name(a->dtype), ls_error_message());
}

/* out[0] in the memory of each input that the op lets it overwrite. */
static void check_overwriting(applied *a, const ls_kernel *kernel, const unsigned char *first,
                              op_report *report) {
    for (int i = 0; i < a->sig.n_in && i < 32; i++) {
        if (!(a->op->may_overwrite >> i & 1u)) continue;
        const size_t bytes = ls_type_bytes(&a->out_types[0]);
        if (ls_type_bytes(&a->in_types[i]) != bytes) continue;
        void *own = a->out[0].data, *input = a->in[i].data, *copy = ls_alloc(bytes);
        if (!copy) return;
        memcpy(copy, input, bytes);
        a->out[0].data = input;
        if (launch_kernel(kernel, a, a->in, NULL, report) != LS_OK)
            report_status(a, kernel, report);
        compare_bytes(a, kernel, first, "overwriting an input", report);
        memcpy(input, copy, bytes);
        a->out[0].data = own;
        ls_free(copy);
    }
}

/* An update whose results have memory of their own: the same bits, and what it read stays as it was. */
static void check_out_of_place(applied *a, const ls_kernel *kernel, ls_pool *pool,
                               const unsigned char *first, op_report *report) {
    if (!(a->op->flags & LS_OP_UPDATE)) return;
    applied fresh;
    if (op_applied_init(&fresh, a->op, a->c, a->dtype, 0) != LS_OK ||
        launch_kernel(kernel, &fresh, fresh.in, pool, report) != LS_OK) {
        report_status(a, kernel, report);
    } else {
        compare_bytes(&fresh, kernel, first, "writing to other memory", report);
        for (int i = 0; i < a->sig.n_in; i++)
            if (memcmp(fresh.in[i].data, a->in[i].data, ls_type_bytes(&a->in_types[i])) != 0)
                FAIL_LINE(report, "op %s, case %s, kernel %s: writes over input %d", a->op->name,
                          a->c->name, kernel->name, i);
        for (int i = 0; i < a->sig.n_out; i++)
            if (!guard_is_whole(fresh.out[i].data, ls_type_bytes(&a->out_types[i])))
                FAIL_LINE(report, "op %s, case %s, kernel %s: writes past the end of result %d",
                          a->op->name, a->c->name, kernel->name, i);
    }
    op_applied_deinit(&fresh);
}

static void check_repeats(applied *a, const ls_kernel *kernel, ls_pool *const *pools, int n_pools,
                          op_report *report) {
    static const char *const words[] = {"a second run", "running on 2 threads",
                                        "running on 3 threads"};
    size_t bytes;
    unsigned char *first = snapshot(a, &bytes);
    if (!first) return;
    for (int p = 0; p < n_pools; p++) {
        if (run_kernel(kernel, a, pools[p], report) != LS_OK) report_status(a, kernel, report);
        compare_bytes(a, kernel, first, words[p], report);
        check_out_of_place(a, kernel, pools[p], first, report);
    }
    check_overwriting(a, kernel, first, report);
    ls_free(first);
}

int op_kernel_runs_here(const ls_kernel *kernel, const ls_sig *sig) {
    if (kernel->device != LS_DEVICE_CPU || kernel->isa > ls_cpu_isa()) return 0;
    return !kernel->refuses || !kernel->refuses(sig);
}

static void check_dtype(applied *a, ls_pool *const *pools, op_report *report) {
    const ls_kernel *reference = ls_kernel_reference(a->op);
    ls_tensor want[LS_MAX_OUT] = {{0}};
    if (run_kernel(reference, a, NULL, report) != LS_OK) {
        report_status(a, reference, report);
        return;
    }
    check_repeats(a, reference, pools, 1, report);
    for (int i = 0; i < a->sig.n_out; i++) {
        if (alloc_tensor(&want[i], &a->out_types[i]) != LS_OK) goto out;
        memcpy(want[i].data, a->out[i].data, ls_type_bytes(&a->out_types[i]));
    }
    for (const ls_kernel *const *k = a->op->kernels; *k && *k != reference; k++) {
        if (!op_kernel_runs_here(*k, &a->sig)) continue;
        if (run_kernel(*k, a, NULL, report) != LS_OK) {
            report_status(a, *k, report);
            continue;
        }
        for (int i = 0; i < a->sig.n_out; i++) compare_result(a, *k, i, &want[i], report);
        check_repeats(a, *k, pools, 3, report);
    }
out:
    for (int i = 0; i < a->sig.n_out; i++) free_tensor(&want[i]);
}

const ls_dtype op_tested_dtypes[OP_TESTED_DTYPES] = {LS_DTYPE_F32, LS_DTYPE_BF16, LS_DTYPE_F16};

int op_case_has_dtype(const ls_op_case *c, ls_dtype dtype) {
    const unsigned mask = c->dtypes ? c->dtypes : LS_CASE_F32;
    return (mask >> dtype & 1u) != 0;
}

int op_case_reaches(const ls_op *op, const ls_op_case *c, const ls_kernel *kernel) {
    int reaches = 0;
    for (size_t d = 0; d < OP_TESTED_DTYPES; d++) {
        applied a = {.op = op, .c = c, .dtype = op_tested_dtypes[d]};
        if (op_case_has_dtype(c, op_tested_dtypes[d]) && infer_applied(&a, 0) == LS_OK)
            reaches |= op_kernel_runs_here(kernel, &a.sig);
        op_applied_deinit(&a);
    }
    return reaches;
}

void op_check_kernels(const ls_op *op, const ls_op_case *c, op_report *report) {
    ls_pool *pools[3] = {NULL, NULL, NULL};
    if (ls_pool_create(2, -1, &pools[1]) != LS_OK || ls_pool_create(3, -1, &pools[2]) != LS_OK)
        FAIL_LINE(report, "op %s, case %s: no thread pool: %s", op->name, c->name,
                  ls_error_message());
    for (size_t d = 0; d < OP_TESTED_DTYPES; d++) {
        if (!op_case_has_dtype(c, op_tested_dtypes[d])) continue;
        applied a;
        if (op_applied_init(&a, op, c, op_tested_dtypes[d], 0) != LS_OK)
            FAIL_LINE(report, "op %s, case %s, dtype %s: refused: %s", op->name, c->name,
                      ls_dtype_name(op_tested_dtypes[d]), ls_error_message());
        else
            check_dtype(&a, pools, report);
        op_applied_deinit(&a);
    }
    ls_pool_destroy(pools[1]);
    ls_pool_destroy(pools[2]);
}

/* --- gradient against central differences in f64 -------------------------------------------------------------------- */

typedef struct gradient_check {
    applied *a;
    ls_graph *graph;
    ls_value out0, seed;
    ls_tensor *values; /* one tensor per value of the graph, NULL data where not yet made */
    ls_tensor seed_tensor;
} gradient_check;

static int wants_gradient(const ls_case_in *in) {
    return !in->no_grad && (in->dtype == LS_CASE_T || ls_dtype_is_float((ls_dtype)in->dtype));
}

/* The graph of the op alone and its gradient; wrt[i] is input i where it is wanted. */
static ls_status build_gradient(gradient_check *g, ls_value *in, ls_grad_parts *parts) {
    applied *a = g->a;
    ls_value *wrt = in + a->sig.n_in, outs[LS_MAX_OUT];
    int n_wrt = 0;
    for (int i = 0; i < a->sig.n_in; i++) {
        char name[32];
        snprintf(name, sizeof name, "x%d", i);
        in[i] = ls_graph_input(g->graph, name, a->in_types[i].dtype, a->in_types[i].shape);
        if (wants_gradient(&a->c->in[i])) wrt[n_wrt++] = in[i];
    }
    g->out0 = ls_graph_node(g->graph, a->op, a->c->attr, in, a->sig.n_in, outs);
    g->seed = ls_graph_input(g->graph, "seed", a->out_types[0].dtype, a->out_types[0].shape);
    return ls_graph_differentiate(g->graph, &g->out0, &g->seed, 1, wrt, n_wrt, parts);
}

static ls_status interpret_node(gradient_check *g, const ls_node *node) {
    ls_tensor *in = ls_alloc(sizeof(ls_tensor) * (size_t)(node->n_in + 1));
    ls_type *types = ls_alloc(sizeof(ls_type) * (size_t)(node->n_in + 1));
    ls_tensor out[LS_MAX_OUT];
    applied a = {.op = node->op, .c = g->a->c, .dtype = LS_DTYPE_F64, .in = in, .in_types = types};
    ls_status status = in && types ? LS_OK : LS_ERR_NO_MEMORY;
    if (status != LS_OK) goto out;
    ls_node_sig(g->graph, node, types, a.out_types, &a.sig);
    for (int i = 0; i < node->n_in; i++) in[i] = g->values[node->in[i]];
    for (int i = 0; i < node->n_out; i++) {
        LS_TRY_GOTO(alloc_tensor(&out[i], &a.out_types[i]), out);
        g->values[node->out[i]] = a.out[i] = out[i];
        const int of = node->op->alias ? node->op->alias(&a.sig, i) : -1;
        if (of >= 0) memcpy(out[i].data, in[of].data, ls_type_bytes(&a.out_types[i]));
    }
    status = launch_kernel(ls_kernel_reference(node->op), &a, in, NULL, NULL);
out:
    ls_free(in);
    ls_free(types);
    return status;
}

static ls_status interpret_graph(gradient_check *g, const ls_value *in) {
    g->values = ls_alloc(sizeof(ls_tensor) * (size_t)g->graph->n_values);
    if (!g->values) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < g->a->sig.n_in; i++) g->values[in[i]] = g->a->in[i];
    g->values[g->seed] = g->seed_tensor;
    for (int64_t n = 0; n < g->graph->n_nodes; n++) LS_TRY(interpret_node(g, &g->graph->nodes[n]));
    return LS_OK;
}

static ls_status weighted_sum(gradient_check *g, double *out) {
    LS_TRY(run_kernel(ls_kernel_reference(g->a->op), g->a, NULL, NULL));
    long double sum = 0;
    const int64_t n = ls_shape_count(&g->seed_tensor.shape);
    for (int64_t i = 0; i < n; i++)
        sum += (long double)ls_tensor_get(&g->a->out[0], i) * ls_tensor_get(&g->seed_tensor, i);
    *out = (double)sum;
    return LS_OK;
}

static ls_status difference(gradient_check *g, int which, int64_t i, double *out) {
    ls_tensor *x = &g->a->in[which];
    const double step = g->a->c->grad_step == 0 ? 1e-5 : g->a->c->grad_step;
    const double at = ls_tensor_get(x, i);
    double above, below;
    ls_tensor_set(x, i, at + step);
    ls_status status = weighted_sum(g, &above);
    ls_tensor_set(x, i, at - step);
    if (status == LS_OK) status = weighted_sum(g, &below);
    ls_tensor_set(x, i, at);
    if (status == LS_OK) *out = (above - below) / (2 * step);
    return status;
}

/* `made` NULL: the rule says zero. */
static ls_status compare_gradient(gradient_check *g, int which, const ls_tensor *made,
                                  op_report *report) {
    const ls_op_case *c = g->a->c;
    const int64_t n = ls_shape_count(&g->a->in[which].shape);
    const int64_t n_samples = n < GRAD_SAMPLES ? n : GRAD_SAMPLES;
    double largest = 1e-3;
    for (int64_t i = 0; made && i < n; i++) {
        const double size = fabs(ls_tensor_get(made, i));
        if (size > largest || isnan(size)) largest = size;
    }
    const double allowed = (c->grad_tolerance == 0 ? 1e-6 : c->grad_tolerance) * largest;
    int shown = 0;
    for (int64_t s = 0; s < n_samples && shown < FAILURES_SHOWN; s++) {
        const int64_t i = n <= GRAD_SAMPLES ? s : (s * 7919 + s * s) % n;
        const double got = made ? ls_tensor_get(made, i) : 0;
        double want = 0;
        LS_TRY(difference(g, which, i, &want));
        if (fabs(got - want) <= allowed) continue;
        FAIL_LINE(
            report,
            "op %s, case %s, gradient of input %d, dtype f64, index %lld: got %.12g, want %.12g",
            g->a->op->name, c->name, which, (long long)i, got, want);
        shown++;
    }
    report->n_checks++;
    return LS_OK;
}

static ls_status check_parts(gradient_check *g, const ls_value *in, const ls_grad_parts *parts,
                             op_report *report) {
    for (int i = 0; i < g->a->sig.n_in; i++) {
        if (!wants_gradient(&g->a->c->in[i])) continue;
        const ls_tensor *made = NULL;
        for (int p = 0; p < parts->n_parts; p++)
            if (parts->parts[p].wrt == in[i]) made = &g->values[parts->parts[p].grad];
        if (made && !ls_shape_equal(&made->shape, &g->a->in[i].shape))
            FAIL_LINE(report,
                      "op %s, case %s: the gradient of input %d has another shape than the input",
                      g->a->op->name, g->a->c->name, i);
        else
            LS_TRY(compare_gradient(g, i, made, report));
    }
    return LS_OK;
}

static ls_status run_gradient(gradient_check *g, op_report *report) {
    applied *a = g->a;
    const ls_case_in seed_fill = {.fill = LS_FILL_NORMAL};
    ls_grad_parts parts = {0};
    ls_status status;
    ls_value *in = ls_alloc(sizeof(ls_value) * (size_t)(2 * a->sig.n_in + 1));
    if (!in) return LS_ERR_NO_MEMORY;
    LS_TRY_GOTO(ls_graph_create(&g->graph), out);
    LS_TRY_GOTO(alloc_tensor(&g->seed_tensor, &a->out_types[0]), out);
    fill_tensor(&g->seed_tensor, &seed_fill, 1000);
    LS_TRY_GOTO(build_gradient(g, in, &parts), out);
    LS_TRY_GOTO(interpret_graph(g, in), out);
    status = check_parts(g, in, &parts, report);
out:
    ls_free(in);
    return status;
}

static void deinit_gradient(gradient_check *g) {
    for (int64_t n = 0; g->values && n < g->graph->n_nodes; n++)
        for (int i = 0; i < g->graph->nodes[n].n_out; i++)
            free_tensor(&g->values[g->graph->nodes[n].out[i]]);
    ls_free(g->values);
    free_tensor(&g->seed_tensor);
    ls_graph_destroy(g->graph);
}

void op_check_gradient(const ls_op *op, const ls_op_case *c, op_report *report) {
    if (!op->grad || c->grad_step < 0) return;
    applied a;
    gradient_check g = {.a = &a};
    ls_status status = op_applied_init(&a, op, c, LS_DTYPE_F64, 1);
    if (status == LS_OK && ls_dtype_is_float(a.out_types[0].dtype))
        status = run_gradient(&g, report);
    if (status != LS_OK)
        FAIL_LINE(report, "op %s, case %s, gradient, dtype f64: failed: %s", op->name, c->name,
                  ls_error_message());
    deinit_gradient(&g);
    op_applied_deinit(&a);
}
