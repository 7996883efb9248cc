/* V vocabulary, D model, P positions (all dims of ids). */
#include "op/embedding/embedding.h"

#include "op/copy.h"
#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"
#include <string.h>

ls_status ls_check_ids(const char *op, const int32_t *ids, int64_t n, int64_t n_vocab) {
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= n_vocab)
            return LS_FAIL(LS_ERR_DATA, "op %s: id %d at position %lld is outside [0, %lld)", op,
                           (int)ids[i], (long long)i, (long long)n_vocab);
    return LS_OK;
}

static ls_status infer_ids(const char *op, const ls_type *ids) {
    if (ids->dtype == LS_DTYPE_I32) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: ids must be i32, got %s", op, ls_dtype_name(ids->dtype));
}

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    (void)attr, (void)n_in;
    LS_TRY(ls_infer_float("embedding", "the table", &in[0]));
    LS_TRY(ls_infer_dims("embedding", "the table", &in[0], 2));
    LS_TRY(infer_ids("embedding", &in[1]));
    const ls_shape *ids = &in[1].shape;
    int64_t dims[LS_MAX_DIMS];
    if (ids->n_dims >= LS_MAX_DIMS)
        return LS_FAIL(LS_ERR_INVALID, "op embedding: ids may have %d dims, got %d",
                       LS_MAX_DIMS - 1, ids->n_dims);
    memcpy(dims, ids->dims, sizeof dims);
    dims[ids->n_dims] = in[0].shape.dims[1];
    *n_out = 1;
    out[0].dtype = in[0].dtype;
    return ls_shape_make(ids->n_dims + 1, dims, &out[0].shape);
}

/* What the rows are added to. */
static ls_status check_sum(const ls_type *sum, const ls_type *out) {
    char got[128], want[128];
    if (sum->dtype == out->dtype && ls_shape_equal(&sum->shape, &out->shape)) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID,
                   "op embedding_grad: the sum to add to must be %s %s as the result, got %s %s",
                   ls_dtype_name(out->dtype), ls_shape_print(&out->shape, want),
                   ls_dtype_name(sum->dtype), ls_shape_print(&sum->shape, got));
}

static ls_status infer_grad(const void *attr, int n_in, const ls_type *in, int *n_out,
                            ls_type *out) {
    const ls_embedding_grad_attr *a = attr;
    LS_TRY(infer_ids("embedding_grad", &in[0]));
    LS_TRY(ls_infer_float("embedding_grad", "dy", &in[1]));
    const int last = in[1].shape.n_dims - 1;
    const int64_t d = last >= 0 ? in[1].shape.dims[last] : 0;
    if (last < 0 || ls_type_count(&in[1]) != ls_type_count(&in[0]) * d)
        return LS_FAIL(LS_ERR_INVALID,
                       "op embedding_grad: dy must be the ids' shape and one more dim");
    if (a->dtype != LS_DTYPE_F32 && a->dtype != LS_DTYPE_F64)
        return LS_FAIL(LS_ERR_INVALID, "op embedding_grad: the result must be f32 or f64, got %s",
                       ls_dtype_name((ls_dtype)a->dtype));
    *n_out = 1;
    out[0].dtype = (ls_dtype)a->dtype;
    LS_TRY(ls_shape_make(2, (int64_t[]){a->n_vocab, d}, &out[0].shape));
    return n_in > 2 ? check_sum(&in[2], &out[0]) : LS_OK;
}

static ls_status grad(ls_grad *g) {
    if (!g->wants[0] || g->dout[0] == LS_VALUE_NONE) return LS_OK;
    const int wide = g->sig->in[0].dtype == LS_DTYPE_F64;
    const ls_embedding_grad_attr attr = {g->sig->in[0].shape.dims[0],
                                         wide ? LS_DTYPE_F64 : LS_DTYPE_F32};
    const ls_value in[2] = {g->in[1], g->dout[0]};
    const ls_value sum = ls_graph_node(g->graph, &ls_op_embedding_grad, &attr, in, 2, NULL);
    g->din[0] = ls_grad_fit(g, 0, sum);
    return LS_OK;
}

/* A table split by columns gives split columns; split ids give split positions of a whole table. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const int columns = in_split[0] == 1 && in_split[1] == LS_SHARD_REPLICATED;
    if (!columns && in_split[0] != LS_SHARD_REPLICATED)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "op embedding: a table split by vocabulary needs a mask and a sum");
    out_split[0] = columns ? sig->in[1].shape.n_dims : in_split[1];
    return LS_OK;
}

static void cost(const ls_sig *sig, ls_cost *out) {
    const double moved = (double)ls_type_bytes(&sig->out[0]);
    *out = (ls_cost){0, moved + (double)ls_type_bytes(&sig->in[1]), moved};
}

/* Added to a sum in its place: one row of it read and written for each position. */
static void cost_grad(const ls_sig *sig, ls_cost *out) {
    const double n = (double)ls_type_count(&sig->in[1]);
    ls_cost_default(sig, out);
    out->flops = n;
    if (sig->n_in < 3) return;
    const double rows = n * (double)ls_dtype_bytes(sig->out[0].dtype);
    out->bytes_read = (double)(ls_type_bytes(&sig->in[0]) + ls_type_bytes(&sig->in[1])) + rows;
    out->bytes_written = rows;
}

static void print_grad(const void *attr, ls_text *out) {
    const ls_embedding_grad_attr *a = attr;
    ls_text_append(out, "n_vocab=%lld dtype=%s", (long long)a->n_vocab,
                   ls_dtype_name((ls_dtype)a->dtype));
}

static ls_status launch_ref(const ls_launch *launch) {
    const int32_t *ids = launch->in[1].data;
    const int64_t n = ls_type_count(&launch->sig->in[1]), v = launch->in[0].shape.dims[0];
    const size_t row = (size_t)launch->in[0].shape.dims[1] * ls_dtype_bytes(launch->in[0].dtype);
    LS_TRY(ls_check_ids("embedding", ids, n, v));
    for (int64_t i = 0; i < n; i++)
        memcpy((char *)launch->out[0].data + (size_t)i * row,
               (const char *)launch->in[0].data + (size_t)ids[i] * row, row);
    return LS_OK;
}

typedef struct lookup_job {
    const ls_launch *launch;
    int64_t n, rows_per_task;
    size_t row;
} lookup_job;

static ls_status run_lookup(void *user, int64_t task, int worker) {
    const lookup_job *job = user;
    const int32_t *ids = job->launch->in[1].data;
    const int64_t begin = task * job->rows_per_task, end = begin + job->rows_per_task;
    (void)worker;
    for (int64_t i = begin; i < end && i < job->n; i++)
        memcpy((char *)job->launch->out[0].data + (size_t)i * job->row,
               (const char *)job->launch->in[0].data + (size_t)ids[i] * job->row, job->row);
    return LS_OK;
}

static ls_status launch_copy(const ls_launch *launch) {
    lookup_job job = {.launch = launch, .n = ls_type_count(&launch->sig->in[1])};
    job.row = (size_t)launch->in[0].shape.dims[1] * ls_dtype_bytes(launch->in[0].dtype);
    job.rows_per_task = (int64_t)(65536 / (job.row + 1)) + 1;
    LS_TRY(ls_check_ids("embedding", launch->in[1].data, job.n, launch->in[0].shape.dims[0]));
    return ls_pool_run(launch->pool, (job.n + job.rows_per_task - 1) / job.rows_per_task,
                       run_lookup, &job);
}

static ls_status launch_grad_ref(const ls_launch *launch) {
    const int32_t *ids = launch->in[0].data;
    const int64_t n = ls_type_count(&launch->sig->in[0]);
    const int64_t v = launch->out[0].shape.dims[0], d = launch->out[0].shape.dims[1];
    LS_TRY(ls_check_ids("embedding_grad", ids, n, v));
    if (launch->sig->n_in < 3)
        memset(launch->out[0].data, 0, ls_tensor_bytes(&launch->out[0]));
    else if (launch->out[0].data != launch->in[2].data)
        memcpy(launch->out[0].data, launch->in[2].data, ls_tensor_bytes(&launch->out[0]));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++) {
            const int64_t at = ids[i] * d + j;
            ls_tensor_set(&launch->out[0], at,
                          ls_tensor_get(&launch->out[0], at) +
                              ls_tensor_get(&launch->in[1], i * d + j));
        }
    return LS_OK;
}

LS_DECLARE_CPU_KERNELS(embedding_bwd)
static const ls_kernel embedding_fwd_cpu_copy = {
    .name = "embedding_fwd_cpu_copy", .device = LS_DEVICE_CPU, .launch = launch_copy};
static const ls_kernel embedding_fwd_ref = {
    .name = "embedding_fwd_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel embedding_bwd_ref = {
    .name = "embedding_bwd_ref", .device = LS_DEVICE_CPU, .launch = launch_grad_ref};
static const ls_kernel *const kernels[] = {&embedding_fwd_cpu_copy, &embedding_fwd_ref, NULL};
static const ls_kernel *const grad_kernels[] = {LS_CPU_KERNELS(embedding_bwd), &embedding_bwd_ref,
                                                NULL};

const ls_op ls_op_embedding = {.name = "embedding",
                               .min_in = 2,
                               .max_in = 2,
                               .infer = infer,
                               .grad = grad,
                               .shard = shard,
                               .cost = cost,
                               .kernels = kernels};

const ls_op ls_op_embedding_grad = {.name = "embedding_grad",
                                    .min_in = 2,
                                    .max_in = 3,
                                    .attr_bytes = sizeof(ls_embedding_grad_attr),
                                    .infer = infer_grad,
                                    .cost = cost_grad,
                                    .print = print_grad,
                                    .may_overwrite = 1u << 2,
                                    .kernels = grad_kernels};

ls_value ls_embedding(ls_graph *graph, ls_value table, ls_value ids) {
    const ls_value in[2] = {table, ids};
    return ls_graph_node(graph, &ls_op_embedding, NULL, in, 2, NULL);
}
