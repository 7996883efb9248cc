#include "op/rmsnorm/rmsnorm.h"
enum { NORM_HAS_MEAN = 0 };
#include "op/layernorm/norm_grad_rows.h"

static int64_t last_dim(const ls_sig *sig) {
    return sig->in[0].shape.dims[sig->in[0].shape.n_dims - 1];
}

static size_t fwd_workspace(const ls_sig *sig, int n_threads) {
    return norm_workspace(last_dim(sig), 0, n_threads);
}

static ls_status fwd_launch(const ls_launch *l) {
    norm_job job = {.y = &l->out[0], .rstd_out = &l->out[1]};
    job.eps = (float)((const ls_rmsnorm_attr *)l->sig->attr)->eps;
    norm_prepare(&job, l, &l->in[1], NULL);
    return normalize_rows(&job, l->pool);
}

LS_CPU_KERNEL(rmsnorm) = {LS_CPU_KERNEL_HEAD("rmsnorm"), .refuses = norm_refuses,
                          .workspace_bytes = fwd_workspace, .launch = fwd_launch};

static size_t grad_workspace(const ls_sig *sig, int n_threads) {
    return norm_workspace(last_dim(sig), norm_parts(ls_type_count(&sig->in[2])), n_threads);
}

static ls_status grad_launch(const ls_launch *l) {
    norm_job job = {.dy = &l->in[3], .rstd = &l->in[2], .dx = &l->out[0]};
    norm_prepare_sums(&job, l, &((const ls_rmsnorm_grad_attr *)l->sig->attr)->sums);
    norm_prepare(&job, l, &l->in[1], NULL);
    return differentiate_rows(&job, l->pool, &l->out[1], NULL);
}

LS_CPU_KERNEL(rmsnorm_grad) = {LS_CPU_KERNEL_HEAD("rmsnorm_grad"), .refuses = norm_refuses,
                               .workspace_bytes = grad_workspace, .launch = grad_launch};
