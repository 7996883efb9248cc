#include "op/gather/gather.h"

#include "op/copy.h"
#include "op/elementwise.h"
#include "op/embedding/embedding.h"
#include "op/op.h"
#include <string.h>

static ls_status check_ids_type(const char *op, const ls_type *ids) {
    LS_TRY(ls_infer_dims(op, "ids", ids, 1));
    if (ids->dtype == LS_DTYPE_I32) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: ids must be i32, got %s", op, ls_dtype_name(ids->dtype));
}

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_gather_attr *a = attr;
    (void)n_in;
    LS_TRY(ls_infer_dim("gather", &in[0], a->dim));
    LS_TRY(check_ids_type("gather", &in[1]));
    ls_shape y = in[0].shape;
    y.dims[a->dim] = in[1].shape.dims[0];
    *n_out = 1;
    out[0].dtype = in[0].dtype;
    return ls_shape_make(y.n_dims, y.dims, &out[0].shape);
}

static ls_status infer_grad(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    const ls_gather_attr *a = attr;
    (void)n_in;
    LS_TRY(check_ids_type("gather_grad", &in[0]));
    LS_TRY(ls_infer_float("gather_grad", "dy", &in[1]));
    LS_TRY(ls_infer_dim("gather_grad", &in[1], a->dim));
    if (in[1].shape.dims[a->dim] != in[0].shape.dims[0])
        return LS_FAIL(LS_ERR_INVALID, "op gather_grad: dy has %lld slices for %lld ids",
                       (long long)in[1].shape.dims[a->dim], (long long)in[0].shape.dims[0]);
    ls_shape x = in[1].shape;
    x.dims[a->dim] = a->n;
    *n_out = 1;
    out[0].dtype = in[1].dtype;
    return ls_shape_make(x.n_dims, x.dims, &out[0].shape);
}

static ls_status grad(ls_grad *g) {
    const ls_gather_attr *a = g->sig->attr;
    if (!g->wants[0] || g->dout[0] == LS_VALUE_NONE) return LS_OK;
    const ls_gather_attr back = {a->dim, g->sig->in[0].shape.dims[a->dim]};
    const ls_value in[2] = {g->in[1], g->dout[0]};
    g->din[0] = ls_grad_fit(g, 0, ls_graph_node(g->graph, &ls_op_gather_grad, &back, in, 2, NULL));
    return LS_OK;
}

static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int dim = (int)((const ls_gather_attr *)sig->attr)->dim;
    if (in_split[0] == dim || in_split[1] != LS_SHARD_REPLICATED)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "op gather: neither dim %d nor the ids may be split",
                       dim);
    out_split[0] = in_split[0];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    const double moved = (double)ls_type_bytes(&sig->out[0]);
    *out = (ls_cost){0, moved + (double)ls_type_bytes(&sig->in[1]), moved};
}

static void print(const void *attr, ls_text *out) {
    const ls_gather_attr *a = attr;
    ls_text_append(out, "dim=%lld n=%lld", (long long)a->dim, (long long)a->n);
}

static ls_status check_ids(const char *op, const ls_tensor *ids, int64_t n) {
    return ls_check_ids(op, ids->data, ls_shape_count(&ids->shape), n);
}

static ls_status launch_ref(const ls_launch *launch) {
    const int dim = (int)((const ls_gather_attr *)launch->sig->attr)->dim;
    const ls_dim_view x = ls_shape_around(&launch->in[0].shape, dim);
    const ls_dim_view y = ls_shape_around(&launch->out[0].shape, dim);
    const int32_t *ids = launch->in[1].data;
    const size_t row = (size_t)x.inner * ls_dtype_bytes(launch->in[0].dtype);
    LS_TRY(check_ids("gather", &launch->in[1], x.n));
    for (int64_t o = 0; o < y.outer; o++)
        for (int64_t k = 0; k < y.n; k++)
            memcpy((char *)launch->out[0].data + (size_t)(o * y.n + k) * row,
                   (const char *)launch->in[0].data + (size_t)(o * x.n + ids[k]) * row, row);
    return LS_OK;
}

/* Sums element by element in double, so that a low precision rounds once. */
static ls_status launch_grad_ref(const ls_launch *launch) {
    const int dim = (int)((const ls_gather_attr *)launch->sig->attr)->dim;
    const ls_dim_view dx = ls_shape_around(&launch->out[0].shape, dim);
    const int64_t n_ids = ls_shape_count(&launch->in[0].shape);
    const int32_t *ids = launch->in[0].data;
    LS_TRY(check_ids("gather_grad", &launch->in[0], dx.n));
    for (int64_t o = 0; o < dx.outer; o++)
        for (int64_t k = 0; k < dx.n; k++)
            for (int64_t i = 0; i < dx.inner; i++) {
                double sum = 0;
                for (int64_t p = 0; p < n_ids; p++)
                    if (ids[p] == k)
                        sum += ls_tensor_get(&launch->in[1], (o * n_ids + p) * dx.inner + i);
                ls_tensor_set(&launch->out[0], (o * dx.n + k) * dx.inner + i, sum);
            }
    return LS_OK;
}

typedef struct gather_job {
    const ls_launch *launch;
    ls_dim_view x, y;
    size_t row;
    int64_t rows_per_task;
} gather_job;

static ls_status run_rows(void *user, int64_t task, int worker) {
    const gather_job *job = user;
    const int32_t *ids = job->launch->in[1].data;
    const int64_t begin = task * job->rows_per_task, end = begin + job->rows_per_task;
    const char *x = job->launch->in[0].data;
    char *y = job->launch->out[0].data;
    (void)worker;
    for (int64_t r = begin; r < end && r < job->y.outer * job->y.n; r++)
        memcpy(y + (size_t)r * job->row,
               x + (size_t)(r / job->y.n * job->x.n + ids[r % job->y.n]) * job->row, job->row);
    return LS_OK;
}

static ls_status launch_copy(const ls_launch *launch) {
    const int dim = (int)((const ls_gather_attr *)launch->sig->attr)->dim;
    gather_job job = {.launch = launch};
    job.x = ls_shape_around(&launch->in[0].shape, dim);
    job.y = ls_shape_around(&launch->out[0].shape, dim);
    job.row = (size_t)job.x.inner * ls_dtype_bytes(launch->in[0].dtype);
    job.rows_per_task = (int64_t)(65536 / (job.row + 1)) + 1;
    LS_TRY(check_ids("gather", &launch->in[1], job.x.n));
    const int64_t rows = job.y.outer * job.y.n;
    return ls_pool_run(launch->pool, (rows + job.rows_per_task - 1) / job.rows_per_task, run_rows,
                       &job);
}

static const ls_kernel gather_fwd_cpu_copy = {
    .name = "gather_fwd_cpu_copy", .device = LS_DEVICE_CPU, .launch = launch_copy};
static const ls_kernel gather_fwd_ref = {
    .name = "gather_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel gather_bwd_ref = {
    .name = "gather_bwd_ref", .device = LS_DEVICE_CPU, .launch = launch_grad_ref};
static const ls_kernel *const kernels[] = {&gather_fwd_cpu_copy, &gather_fwd_ref, NULL};
static const ls_kernel *const grad_kernels[] = {&gather_bwd_ref, NULL};

const ls_op ls_op_gather = {.name = "gather",
                            .min_in = 2,
                            .max_in = 2,
                            .attr_bytes = sizeof(ls_gather_attr),
                            .infer = infer,
                            .grad = grad,
                            .shard = shard,
                            .cost = cost,
                            .print = print,
                            .kernels = kernels};

const ls_op ls_op_gather_grad = {.name = "gather_grad",
                                 .min_in = 2,
                                 .max_in = 2,
                                 .attr_bytes = sizeof(ls_gather_attr),
                                 .infer = infer_grad,
                                 .print = print,
                                 .kernels = grad_kernels};

ls_value ls_gather(ls_graph *graph, ls_value x, ls_value ids, int dim) {
    const ls_shape shape = ls_graph_shape(graph, x);
    const ls_gather_attr attr = {dim, dim >= 0 && dim < shape.n_dims ? shape.dims[dim] : 0};
    const ls_value in[2] = {x, ids};
    return ls_graph_node(graph, &ls_op_gather, &attr, in, 2, NULL);
}
