/* Sums of the squares of a tensor (f32, any shape), one f64 per chunk of it.
 *
 * The sums are canonical: the tensor of `count` elements is dealt in `lanes` chunks (ls_shard_chunk); squares are added in f64
 * inside blocks of LS_STEP_BLOCK elements of a chunk (sixteen lanes, then their tree), and the blocks of a whole chunk, also
 * those past the tensor's end, in tree order over the block index. So a rank that owns neighbouring chunks makes their
 * entries alone, and zeros behind the end change no bit. The square of an f32 is exact in f64, so all
 * instruction-set levels agree bit for bit. */
#include "op/sum_squares/sum_squares.h"

#include "op/cpu_kernel.h"
#include "op/optim_step.h"

static ls_status check_attr(const ls_sum_squares_attr *a, int64_t n) {
    if (a->lanes < 1 || a->size < 1 || a->lanes % a->size != 0)
        return LS_FAIL(LS_ERR_INVALID,
                       "op sum_squares: lanes must be a positive multiple of size, got lanes %d, "
                       "size %d",
                       a->lanes, a->size);
    const int64_t want = a->size == 1 ? a->count : ls_shard_piece(a->count, a->lanes, a->size);
    if (n != want)
        return LS_FAIL(LS_ERR_INVALID,
                       "op sum_squares: with count %lld, lanes %d and size %d x has %lld elements, "
                       "got %lld",
                       (long long)a->count, a->lanes, a->size, (long long)want, (long long)n);
    return LS_OK;
}

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_sum_squares_attr *a = attr;
    (void)n_in;
    LS_TRY(ls_infer_float("sum_squares", "x", &in[0]));
    LS_TRY(check_attr(a, ls_type_count(&in[0])));
    *n_out = 1;
    out[0] = (ls_type){LS_DTYPE_F64, {1, {a->lanes / a->size}}};
    return LS_OK;
}

static void print(const void *attr, ls_text *out) {
    const ls_sum_squares_attr *a = attr;
    ls_text_append(out, "count=%lld lanes=%d size=%d", (long long)a->count, a->lanes, a->size);
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 2.0 * (double)ls_type_count(&sig->in[0]);
}

static ls_status launch_ref(const ls_launch *l) {
    const ls_sum_squares_attr *a = l->sig->attr;
    const int64_t count = ls_shape_count(&l->in[0].shape);
    const int64_t chunk = ls_shard_chunk(a->count, a->lanes);
    for (int64_t c = 0; c < a->lanes / a->size; c++) {
        double sum = 0;
        for (int64_t i = c * chunk; i < count && i < (c + 1) * chunk; i++) {
            const double x = ls_tensor_get(&l->in[0], i);
            sum += x * x;
        }
        ls_tensor_set(&l->out[0], c, sum);
    }
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
    .attr_bytes = sizeof(ls_sum_squares_attr),
    .flags = LS_OP_KEEP_F32,
    .infer = infer,
    .cost = cost,
    .print = print,
    .kernels = kernels,
};

ls_value ls_sum_squares(ls_graph *graph, ls_value x, int lanes) {
    const ls_shape shape = ls_graph_shape(graph, x);
    const ls_sum_squares_attr attr = {ls_shape_count(&shape), lanes, 1};
    return ls_graph_node(graph, &ls_op_sum_squares, &attr, &x, 1, NULL);
}
