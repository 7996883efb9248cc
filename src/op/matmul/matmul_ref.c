/* The formula, in f64: out[m, n] = act(alpha sum_k op(a)[m, k] op(b)[k, n] + bias[n]) + residual[m, n].
 * Any float dtypes; one result at a time. */
#include "op/matmul/matmul_shape.h"
#include <math.h>

extern const ls_kernel ls_kernel_matmul_fwd_ref;

double ls_activation_apply(ls_activation activation, double x) {
    switch (activation) {
    case LS_ACT_NONE:
        return x;
    case LS_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case LS_ACT_GELU_ERF:
        return 0.5 * x * (1 + erf(x * sqrt(0.5)));
    case LS_ACT_RELU:
        return x < 0 ? 0 : x;
    case LS_ACT_SILU:
        return x / (1 + exp(-x));
    }
    return x;
}

static double sum_products(const ls_launch *launch, const ls_matmul_shape *s, int64_t batch,
                           int64_t row, int64_t col) {
    const ls_matmul_attr *attr = launch->sig->attr;
    const int64_t a_step = attr->transpose_a ? s->m : 1, b_step = attr->transpose_b ? 1 : s->n;
    int64_t a = batch * s->a_step + row * (attr->transpose_a ? 1 : s->k);
    int64_t b = batch * s->b_step + col * (attr->transpose_b ? s->k : 1);
    double sum = 0;
    for (int64_t k = 0; k < s->k; k++, a += a_step, b += b_step)
        sum += ls_tensor_get(&launch->in[0], a) * ls_tensor_get(&launch->in[1], b);
    return sum;
}

typedef struct ref_job {
    const ls_launch *launch;
    ls_matmul_shape shape;
} ref_job;

/* One row of the result. */
static ls_status run_row(void *user, int64_t task, int worker) {
    const ref_job *job = user;
    const ls_launch *launch = job->launch;
    const ls_matmul_attr *attr = launch->sig->attr;
    const ls_matmul_shape *s = &job->shape;
    (void)worker;
    for (int64_t col = 0; col < s->n; col++) {
        const int64_t at = task * s->n + col;
        double x = attr->alpha * sum_products(launch, s, task / s->m, task % s->m, col);
        if (attr->has_bias) x += ls_tensor_get(&launch->in[2], col);
        if (attr->activation != LS_ACT_NONE) {
            /* The activation reads its argument as result 1 holds it; result 0 does for the while. */
            const int pre = launch->sig->n_out > 1 && launch->out[1].data;
            ls_tensor_set(&launch->out[pre], at, x);
            x = ls_activation_apply(attr->activation, ls_tensor_get(&launch->out[pre], at));
        }
        if (attr->has_residual) x += ls_tensor_get(&launch->in[2 + attr->has_bias], at);
        ls_tensor_set(&launch->out[0], at, x);
    }
    return LS_OK;
}

static ls_status launch_ref(const ls_launch *launch) {
    ref_job job = {launch, ls_matmul_shape_of(launch->sig)};
    return ls_pool_run(launch->pool, job.shape.n_batch * job.shape.m, run_row, &job);
}

const ls_kernel ls_kernel_matmul_fwd_ref = {
    .name = "matmul_fwd_ref", .device = LS_DEVICE_CPU, .isa = LS_ISA_BASE, .launch = launch_ref};
