#include "op/reshape/reshape.h"

#include "op/copy.h"
#include "op/elementwise.h"
#include "op/op.h"
#include <string.h>

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_shape *to = &((const ls_reshape_attr *)attr)->shape;
    char from_text[128], to_text[128];
    (void)n_in;
    LS_TRY(ls_shape_make(to->n_dims, to->dims, &out[0].shape));
    if (ls_shape_count(to) != ls_type_count(&in[0]))
        return LS_FAIL(LS_ERR_INVALID, "op reshape: %s and %s have different numbers of elements",
                       ls_shape_print(&in[0].shape, from_text), ls_shape_print(to, to_text));
    *n_out = 1;
    out[0].dtype = in[0].dtype;
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    if (g->wants[0] && g->dout[0] != LS_VALUE_NONE)
        g->din[0] = ls_reshape(g->graph, ls_grad_fit(g, 0, g->dout[0]), g->sig->in[0].shape);
    return LS_OK;
}

/* A split leading dim stays where both shapes begin with the same dims up to it. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const ls_shape *x = &sig->in[0].shape, *y = &sig->out[0].shape;
    const int split = in_split[0];
    for (int i = 0; i <= split; i++)
        if (i >= y->n_dims || x->dims[i] != y->dims[i])
            return LS_FAIL(LS_ERR_UNSUPPORTED, "op reshape: split dim %d does not keep its place",
                           split);
    out_split[0] = split;
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    (void)sig;
    *out = (ls_cost){0};
}

static void print(const void *attr, ls_text *out) {
    char shape[128];
    ls_text_append(out, "shape=%s", ls_shape_print(&((const ls_reshape_attr *)attr)->shape, shape));
}

static int alias(const ls_sig *sig, int i) {
    (void)sig, (void)i;
    return 0;
}

/* Nothing to do where the result is the input's memory, as planned. */
static ls_status launch_ref(const ls_launch *launch) {
    if (launch->out[0].data != launch->in[0].data)
        memcpy(launch->out[0].data, launch->in[0].data, ls_tensor_bytes(&launch->in[0]));
    return LS_OK;
}

static const ls_kernel reshape_fwd_ref = {
    .name = "reshape_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {&reshape_fwd_ref, NULL};

const ls_op ls_op_reshape = {.name = "reshape",
                             .min_in = 1,
                             .max_in = 1,
                             .attr_bytes = sizeof(ls_reshape_attr),
                             .infer = infer,
                             .grad = grad,
                             .shard = shard,
                             .cost = cost,
                             .print = print,
                             .alias = alias,
                             .kernels = kernels};

ls_value ls_reshape(ls_graph *graph, ls_value x, ls_shape shape) {
    const ls_shape now = ls_graph_shape(graph, x);
    if (x != LS_VALUE_NONE && ls_shape_equal(&now, &shape)) return x;
    ls_reshape_attr attr = {.shape = {.n_dims = shape.n_dims}};
    for (int i = 0; i < shape.n_dims && i < LS_MAX_DIMS; i++) attr.shape.dims[i] = shape.dims[i];
    return ls_graph_node(graph, &ls_op_reshape, &attr, &x, 1, NULL);
}
