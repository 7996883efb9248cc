#include "op/dropout/dropout.h"

#include "base/rng.h"
#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"
#include <inttypes.h>

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const double p = ((const ls_dropout_attr *)attr)->p;
    if (!(p >= 0 && p < 1))
        return LS_FAIL(LS_ERR_INVALID, "op dropout: probability must be in [0, 1), got %g", p);
    return ls_elementwise_infer("dropout", n_in, in, n_out, out);
}

static ls_status grad(ls_grad *g) {
    if (g->wants[0] && g->dout[0] != LS_VALUE_NONE)
        g->din[0] = ls_grad_fit(
            g, 0, ls_graph_node(g->graph, &ls_op_dropout, g->sig->attr, &g->dout[0], 1, NULL));
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_elementwise_cost(sig, 20, out);
}

static void print(const void *attr, ls_text *out) {
    const ls_dropout_attr *a = attr;
    ls_text_append(out, "p=%.17g stream=%016" PRIx64, a->p, a->stream);
}

static ls_status launch_ref(const ls_launch *launch) {
    const ls_dropout_attr *a = launch->sig->attr;
    const ls_rng_key key = {launch->position.seed, launch->position.step, a->stream};
    const uint32_t threshold = ls_dropout_threshold(a->p);
    const int64_t n = ls_type_count(&launch->sig->out[0]);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t word = ls_rng_u32(key, (uint64_t)(launch->position.lane * n + i));
        const double x = ls_tensor_get(&launch->in[0], i);
        ls_tensor_set(&launch->out[0], i, word >= threshold ? x / (1 - a->p) : 0);
    }
    return LS_OK;
}

LS_DECLARE_CPU_KERNELS(dropout_fwd)
static const ls_kernel dropout_fwd_ref = {
    .name = "dropout_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(dropout_fwd), &dropout_fwd_ref, NULL};

/* No sharding rule: a shard would need its elements' places in the whole. */
const ls_op ls_op_dropout = {.name = "dropout",
                             .min_in = 1,
                             .max_in = 1,
                             .attr_bytes = sizeof(ls_dropout_attr),
                             .flags = LS_OP_ELEMENTWISE | LS_OP_RANDOM,
                             .infer = infer,
                             .grad = grad,
                             .cost = cost,
                             .print = print,
                             .may_overwrite = 1,
                             .kernels = kernels};

ls_value ls_dropout(ls_graph *graph, ls_value x, double p, const char *stream_name) {
    if (p == 0) return x;
    const ls_dropout_attr attr = {p, ls_rng_stream(stream_name)};
    return ls_graph_node(graph, &ls_op_dropout, &attr, &x, 1, NULL);
}
