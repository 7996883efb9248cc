/* sqrt of the sum of all inputs (f64, the sums of squares of the gradients, one number per chunk) as one f32.
 *
 * The numbers of an input are added in tree order, then the inputs in tree order over their index. A rank that holds chunks of
 * a tensor sends their numbers, not the tensor. NaN or
 * infinity anywhere gives a result that is not finite. */
#include "op/grad_norm/grad_norm.h"

#include <math.h>

#include "op/elementwise.h"
#include "op/sum_squares/sum_squares.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr;
    for (int i = 0; i < n_in; i++)
        if (in[i].dtype != LS_DTYPE_F64 || in[i].shape.n_dims > 1)
            return LS_FAIL(LS_ERR_INVALID,
                           "op grad_norm: inputs are f64 numbers or vectors (sum_squares), input "
                           "%d is %s with %d dims",
                           i, ls_dtype_name(in[i].dtype), in[i].shape.n_dims);
    *n_out = 1;
    out[0] = (ls_type){LS_DTYPE_F32, {0}};
    return LS_OK;
}

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    (void)n_threads;
    return sizeof(double) * (size_t)sig->n_in;
}

static ls_status launch_ref(const ls_launch *l) {
    double *terms = l->workspace;
    for (int i = 0; i < l->sig->n_in; i++)
        terms[i] = ls_tree_sum(l->in[i].data, ls_shape_count(&l->in[i].shape));
    *(float *)l->out[0].data = (float)sqrt(ls_tree_sum(terms, l->sig->n_in));
    return LS_OK;
}

static const ls_kernel grad_norm_ref = {.name = "grad_norm_ref",
                                        .device = LS_DEVICE_CPU,
                                        .workspace_bytes = workspace_bytes,
                                        .launch = launch_ref};

static const ls_kernel *const kernels[] = {&grad_norm_ref, NULL};

const ls_op ls_op_grad_norm = {
    .name = "grad_norm",
    .min_in = 1,
    .max_in = -1,
    .flags = LS_OP_KEEP_F32,
    .infer = infer,
    .kernels = kernels,
};

ls_value ls_grad_norm(ls_graph *graph, const ls_value *grads, int n_grads, int lanes) {
    ls_value *terms = ls_alloc(sizeof *terms * (size_t)n_grads);
    if (!terms) return ls_graph_fail(graph, LS_ERR_NO_MEMORY, "out of memory");
    for (int i = 0; i < n_grads; i++) terms[i] = ls_sum_squares(graph, grads[i], lanes);
    const ls_value norm = ls_graph_node(graph, &ls_op_grad_norm, NULL, terms, n_grads, NULL);
    ls_free(terms);
    return norm;
}
