/* y = Q(a) or Q(a + b), Q rounding to the wire format; blocks are counted from the first element, whatever the shape.
 * The reference adds in f32 and rounds with ls_wire_round. */
#include "op/wire_add/wire_add.h"

#include "op/cpu_kernel.h"
#include "op/op.h"
#include "op/wire.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_wire_add_attr *a = attr;
    if (a->wire < 0 || a->wire >= LS_WIRE_COUNT)
        return LS_FAIL(LS_ERR_INVALID,
                       "op wire_add: wire must be 0 to %d (f32, bf16, int8), got %d",
                       LS_WIRE_COUNT - 1, a->wire);
    for (int i = 0; i < n_in; i++) {
        if (in[i].dtype != LS_DTYPE_F32)
            return LS_FAIL(LS_ERR_INVALID, "op wire_add: inputs must be f32, input %d is %s", i,
                           ls_dtype_name(in[i].dtype));
        LS_TRY(ls_infer_same_shape("wire_add", &in[0], &in[i]));
    }
    *n_out = 1;
    out[0] = in[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = (double)(sig->n_in - 1) * (double)ls_type_count(&sig->in[0]);
}

static void print(const void *attr, ls_text *out) {
    ls_text_append(out, "wire=%d", ((const ls_wire_add_attr *)attr)->wire);
}

static ls_status launch_ref(const ls_launch *l) {
    const ls_wire_add_attr *a = l->sig->attr;
    const float *x = l->in[0].data, *more = l->sig->n_in > 1 ? l->in[1].data : NULL;
    float *y = l->out[0].data;
    const int64_t count = ls_type_count(&l->sig->in[0]);
    for (int64_t i = 0; i < count; i++) y[i] = more ? x[i] + more[i] : x[i];
    ls_wire_round(a->wire, y, count, y);
    return LS_OK;
}

LS_DECLARE_CPU_KERNELS(wire_add)
static const ls_kernel wire_add_ref = {
    .name = "wire_add_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(wire_add), &wire_add_ref, NULL};

const ls_op ls_op_wire_add = {.name = "wire_add",
                              .min_in = 1,
                              .max_in = 2,
                              .attr_bytes = sizeof(ls_wire_add_attr),
                              .flags = LS_OP_KEEP_F32,
                              .infer = infer,
                              .cost = cost,
                              .print = print,
                              .may_overwrite = 3,
                              .kernels = kernels};

ls_value ls_wire_add(ls_graph *graph, ls_value a, ls_value b, ls_wire wire) {
    const ls_wire_add_attr attr = {(int)wire};
    const ls_value in[2] = {a, b};
    return ls_graph_node(graph, &ls_op_wire_add, &attr, in, b == LS_VALUE_NONE ? 1 : 2, NULL);
}
