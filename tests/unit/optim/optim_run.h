/* Runs the UPDATE part of a graph on plain memory: what the optimizer's tests need of an executor. Lane sums are set by the test.
 * Include in one test file; everything is static. */
#ifndef LS_TEST_OPTIM_RUN_H
#define LS_TEST_OPTIM_RUN_H
/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "lockstep/optim.h"
#include "op/op.h"
#include "op/optim_step.h"

#define OPTIM_UNUSED __attribute__((unused))

/* A lane result to be summed: its value never matters here. */
static ls_status infer_lane_grad(const void *attr, int n_in, const ls_type *in, int *n_out,
                                 ls_type *out) {
    (void)attr;
    (void)n_in;
    *n_out = 1;
    out[0] = in[0];
    return LS_OK;
}
static const ls_op lane_grad_op = {
    .name = "lane_grad", .min_in = 1, .max_in = 1, .infer = infer_lane_grad};

static OPTIM_UNUSED ls_grad_part add_part(ls_graph *graph, ls_value param, int unit) {
    ls_graph_set_phase(graph, LS_PHASE_BACKWARD);
    ls_graph_set_unit(graph, unit);
    const ls_value grad = ls_graph_node(graph, &lane_grad_op, NULL, &param, 1, NULL);
    return (ls_grad_part){param, unit, grad};
}

typedef struct graph_run {
    const ls_graph *graph;
    ls_tensor *tensors; /* by value */
    ls_pool *pool;
    ls_isa isa;
    int reference; /* use the reference kernels */
} graph_run;

static void set_initial(ls_tensor *tensor, const ls_init *init) {
    const int64_t count = ls_shape_count(&tensor->shape);
    for (int64_t i = 0; i < count; i++)
        ls_tensor_set(tensor, i, init->kind == LS_INIT_CONSTANT ? init->a : 0);
}

static OPTIM_UNUSED void create_run(graph_run *run, const ls_graph *graph) {
    *run = (graph_run){.graph = graph, .isa = ls_cpu_isa()};
    run->tensors = ls_alloc(sizeof(ls_tensor) * (size_t)graph->n_values);
    assert_non_null(run->tensors);
    for (int64_t v = 0; v < graph->n_values; v++) {
        const ls_value_info *info = &graph->values[v];
        ls_tensor *tensor = &run->tensors[v];
        *tensor = (ls_tensor){info->type.dtype, info->type.shape, NULL};
        const ls_node *node = info->node >= 0 ? &graph->nodes[info->node] : NULL;
        int alias = -1;
        if (node && node->op->alias) {
            const ls_sig sig = {node->op, node->attr, node->n_in, node->n_out, NULL, NULL};
            alias = node->op->alias(&sig, info->out_index);
        }
        tensor->data =
            alias >= 0 ? run->tensors[node->in[alias]].data : ls_alloc(ls_tensor_bytes(tensor) + 1);
        assert_non_null(tensor->data);
        if (!node) set_initial(tensor, &info->init);
    }
}

static OPTIM_UNUSED void destroy_run(graph_run *run) {
    for (int64_t v = run->graph->n_values - 1; v >= 0; v--) {
        int shared = 0;
        for (int64_t w = 0; w < v; w++) shared |= run->tensors[w].data == run->tensors[v].data;
        if (!shared) ls_free(run->tensors[v].data);
    }
    ls_free(run->tensors);
}

static void run_node(const graph_run *run, const ls_node *node) {
    ls_type in_types[64], out_types[LS_MAX_OUT];
    ls_tensor in[64], out[LS_MAX_OUT];
    ls_sig sig;
    assert_true(node->n_in <= 64);
    ls_node_sig(run->graph, node, in_types, out_types, &sig);
    for (int i = 0; i < node->n_in; i++) in[i] = run->tensors[node->in[i]];
    for (int i = 0; i < node->n_out; i++) out[i] = run->tensors[node->out[i]];
    const ls_kernel *kernel = ls_kernel_reference(node->op);
    if (!run->reference)
        assert_int_equal(ls_kernel_choose(&sig, LS_DEVICE_CPU, run->isa, &kernel), LS_OK);
    const int n_threads = ls_pool_threads(run->pool);
    void *workspace =
        ls_alloc(kernel->workspace_bytes ? kernel->workspace_bytes(&sig, n_threads) : 0);
    assert_non_null(workspace);
    const ls_launch launch = {
        .sig = &sig, .in = in, .out = out, .workspace = workspace, .pool = run->pool};
    assert_int_equal(kernel->launch(&launch), LS_OK);
    ls_free(workspace);
}

static OPTIM_UNUSED void run_update(const graph_run *run) {
    for (int64_t i = 0; i < run->graph->n_nodes; i++)
        if (run->graph->nodes[i].phase == LS_PHASE_UPDATE) run_node(run, &run->graph->nodes[i]);
}

static OPTIM_UNUSED float *data_of(const graph_run *run, const char *name) {
    const ls_value value = ls_graph_find(run->graph, name);
    if (value == LS_VALUE_NONE) fail_msg("the graph has no value named '%s'", name);
    return run->tensors[value].data;
}

static OPTIM_UNUSED void fill_with(const graph_run *run, const char *name, float scale) {
    const ls_value value = ls_graph_find(run->graph, name);
    float *x = data_of(run, name);
    const int64_t count = ls_shape_count(&run->tensors[value].shape);
    for (int64_t i = 0; i < count; i++) x[i] = scale * sinf((float)(i % 977) + 0.3f);
}

#endif
