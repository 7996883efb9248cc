/* sqrt of the sum of squares of all inputs (f32, any shapes) as one f32.
 *
 * The sum is canonical: squares are added in f64 inside blocks of LS_STEP_BLOCK elements (sixteen lanes, then their tree),
 * a tensor's blocks are added in tree order over the block index, and tensors in tree order over the input index. A rank
 * that owns whole blocks can make its terms alone. The square of an f32 is exact in f64, so all instruction-set
 * levels agree bit for bit. NaN or infinity anywhere gives a result that is not finite. */
#include "op/grad_norm/grad_norm.h"

#include <math.h>

#include "op/cpu_kernel.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr;
    for (int i = 0; i < n_in; i++)
        if (in[i].dtype != LS_DTYPE_F32)
            return LS_FAIL(LS_ERR_INVALID, "op grad_norm: gradients must be f32, input %d is %s", i,
                           ls_dtype_name(in[i].dtype));
    *n_out = 1;
    out[0] = (ls_type){LS_DTYPE_F32, {0}};
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    for (int i = 0; i < sig->n_in; i++) out->flops += 2.0 * (double)ls_type_count(&sig->in[i]);
}

static ls_status launch_ref(const ls_launch *l) {
    double sum = 0;
    for (int t = 0; t < l->sig->n_in; t++) {
        const int64_t count = ls_shape_count(&l->in[t].shape);
        for (int64_t i = 0; i < count; i++) {
            const double x = ls_tensor_get(&l->in[t], i);
            sum += x * x;
        }
    }
    ls_tensor_set(&l->out[0], 0, sqrt(sum));
    return LS_OK;
}

static const ls_kernel grad_norm_ref = {
    .name = "grad_norm_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(grad_norm)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(grad_norm), &grad_norm_ref, NULL};

const ls_op ls_op_grad_norm = {
    .name = "grad_norm",
    .min_in = 1,
    .max_in = -1,
    .flags = LS_OP_KEEP_F32,
    .infer = infer,
    .cost = cost,
    .kernels = kernels,
};

ls_value ls_grad_norm(ls_graph *graph, const ls_value *grads, int n_grads) {
    return ls_graph_node(graph, &ls_op_grad_norm, NULL, grads, n_grads, NULL);
}
