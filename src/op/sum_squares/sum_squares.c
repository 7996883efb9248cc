/* Sum of the squares of a tensor (f32, any shape) as one f64.
 *
 * The sum is canonical: squares are added in f64 inside blocks of LS_STEP_BLOCK elements (sixteen lanes, then their tree), and
 * blocks in tree order over the block index. A rank that owns whole blocks can make its terms alone. The square of an
 * f32 is exact in f64, so all instruction-set levels agree bit for bit. */
#include "op/sum_squares/sum_squares.h"

#include "op/cpu_kernel.h"
#include "op/optim_step.h"

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr;
    (void)n_in;
    LS_TRY(ls_infer_float("sum_squares", "x", &in[0]));
    *n_out = 1;
    out[0] = (ls_type){LS_DTYPE_F64, {0}};
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 2.0 * (double)ls_type_count(&sig->in[0]);
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    (void)sig;
    out_split[0] = in_split[0] == LS_SHARD_REPLICATED ? LS_SHARD_REPLICATED : LS_SHARD_PARTIAL;
    return LS_OK;
}

static ls_status launch_ref(const ls_launch *l) {
    const int64_t count = ls_shape_count(&l->in[0].shape);
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        const double x = ls_tensor_get(&l->in[0], i);
        sum += x * x;
    }
    ls_tensor_set(&l->out[0], 0, sum);
    return LS_OK;
}

static const ls_kernel sum_squares_ref = {
    .name = "sum_squares_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(sum_squares)
static const ls_kernel *const kernels[] = {LS_CPU_KERNELS(sum_squares), &sum_squares_ref, NULL};

const ls_op ls_op_sum_squares = {
    .name = "sum_squares",
    .min_in = 1,
    .max_in = 1,
    .flags = LS_OP_KEEP_F32,
    .infer = infer,
    .shard = shard,
    .cost = cost,
    .kernels = kernels,
};

ls_value ls_sum_squares(ls_graph *graph, ls_value x) {
    return ls_graph_node(graph, &ls_op_sum_squares, NULL, &x, 1, NULL);
}
