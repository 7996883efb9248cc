#include "op/cast/cast.h"

#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_cast_attr *a = attr;
    (void)n_in;
    if (a->dtype < 0 || a->dtype >= LS_DTYPE_COUNT)
        return LS_FAIL(LS_ERR_INVALID, "op cast: %d is not a dtype", (int)a->dtype);
    *n_out = 1;
    out[0] = (ls_type){(ls_dtype)a->dtype, in[0].shape};
    return LS_OK;
}

static ls_status grad(ls_grad *g) {
    if (g->wants[0]) g->din[0] = ls_grad_fit(g, 0, g->dout[0]);
    return LS_OK;
}

static void print(const void *attr, ls_text *out) {
    const ls_cast_attr *a = attr;
    ls_text_append(out, "dtype=%s%s", ls_dtype_name((ls_dtype)a->dtype),
                   a->read_next ? " read_next=1" : "");
}

static ls_status launch_ref(const ls_launch *launch) {
    const ls_tensor *x = &launch->in[0], *y = &launch->out[0];
    ls_convert(y->data, y->dtype, x->data, x->dtype, ls_shape_count(&x->shape));
    return LS_OK;
}

LS_DECLARE_CPU_KERNELS(cast_fwd)
static const ls_kernel cast_fwd_ref = {
    .name = "cast_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(cast_fwd), &cast_fwd_ref, NULL};

/* Linear up to rounding: a partial sum stays one. */
const ls_op ls_op_cast = {.name = "cast",
                          .min_in = 1,
                          .max_in = 1,
                          .attr_bytes = sizeof(ls_cast_attr),
                          .flags = LS_OP_ELEMENTWISE | LS_OP_KEEP_F32,
                          .infer = infer,
                          .grad = grad,
                          .shard = ls_shard_elementwise,
                          .print = print,
                          .kernels = kernels};

ls_value ls_cast(ls_graph *graph, ls_value x, ls_dtype dtype) {
    if (x != LS_VALUE_NONE && ls_graph_dtype(graph, x) == dtype) return x;
    const ls_cast_attr attr = {.dtype = (int32_t)dtype};
    return ls_graph_node(graph, &ls_op_cast, &attr, &x, 1, NULL);
}
