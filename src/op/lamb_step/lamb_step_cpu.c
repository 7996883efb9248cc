/* Two passes: averages and the block sums of p^2 and u^2, then the parameter with u recomputed (cheaper than storing it). The first writes
 * the averages alone, the second the parameter alone, from the last block to the first: what the caches still hold is read first. */
#include <float.h>
#include <math.h>

#include "op/optim_step_cpu.h"

/* Averages of fewer blocks than this are read again from a cache, so they are left there. */
enum { LEAST_STREAMED = 192 };

typedef struct coefficients {
    float grad_scale, beta1, rest1, beta2, rest2, eps, decay;
    float root1; /* 1 / (1 - beta1^t) */
    float root2; /* 1 / sqrt(1 - beta2^t) */
    float rate;  /* second pass: lr * trust ratio */
    double *p2;  /* a sum per block */
    double *u2;
} coefficients;

V16_INLINE v16 direction(const coefficients *c, const step_vector *x) {
    const v16 adam = c->root1 * x->state[0] / (v16_sqrt(x->state[1]) * c->root2 + c->eps);
    return adam + c->decay * x->param;
}

typedef struct block_sums {
    const coefficients *c;
    v16d *p2, *u2;
} block_sums;

/* Padding adds nothing: it is 0 / (0 + eps), and eps is not 0 here. */
V16_INLINE void update_averages(const void *user, step_vector *x) {
    const block_sums *sums = user;
    const coefficients *c = sums->c;
    x->state[0] = c->beta1 * x->state[0] + c->rest1 * x->grad;
    x->state[1] = c->beta2 * x->state[1] + c->rest2 * (x->grad * x->grad);
    *sums->p2 = v16d_add_square(*sums->p2, x->param);
    *sums->u2 = v16d_add_square(*sums->u2, direction(c, x));
}

static void average_block(const void *user, const ls_step_block *block) {
    const coefficients *c = user;
    ls_step_block b = *block;
    v16d p2, u2;
    memset(&p2, 0, sizeof p2);
    memset(&u2, 0, sizeof u2);
    const block_sums sums = {c, &p2, &u2};
    b.stream = b.stream && b.n_blocks >= LEAST_STREAMED;
    step_pass(&sums, &b, 2, c->grad_scale, STEP_STATES, update_averages);
    c->p2[b.index] = v16d_sum(p2);
    c->u2[b.index] = v16d_sum(u2);
}

V16_INLINE void update_param(const void *user, step_vector *x) {
    const coefficients *c = user;
    x->param = x->param - c->rate * direction(c, x);
}

static void param_block(const void *user, const ls_step_block *block) {
    step_pass(user, block, 2, 0, STEP_PARAM, update_param);
}

static ls_status launch(const ls_launch *l) {
    const ls_step_attr *a = l->sig->attr;
    const int64_t n_blocks = ls_step_block_count(ls_type_count(&l->sig->in[0]));
    ls_step_scalars s;
    if (!ls_step_begin(l, &s)) return LS_OK;
    coefficients c = {
        .grad_scale = (float)s.scale,
        .beta1 = (float)a->beta1,
        .rest1 = (float)(1 - a->beta1),
        .beta2 = (float)a->beta2,
        .rest2 = (float)(1 - a->beta2),
        .eps = fmaxf((float)a->eps, FLT_MIN),
        .decay = (float)a->weight_decay,
        .root1 = (float)(1 / (1 - pow(a->beta1, s.t))),
        .root2 = (float)(1 / sqrt(1 - pow(a->beta2, s.t))),
        .p2 = l->workspace,
        .u2 = (double *)l->workspace + n_blocks,
    };
    LS_TRY(ls_step_run(l, &c, average_block));
    const double p2 = ls_tree_sum(c.p2, n_blocks), u2 = ls_tree_sum(c.u2, n_blocks);
    c.rate = (float)(s.lr * (p2 > 0 && u2 > 0 ? sqrt(p2 / u2) : 1));
    return ls_step_run_again(l, &c, param_block);
}

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    (void)n_threads;
    return 2 * sizeof(double) * (size_t)ls_step_block_count(ls_type_count(&sig->in[0]));
}

LS_CPU_KERNEL(lamb_step) = {LS_CPU_KERNEL_HEAD("lamb_step"), .workspace_bytes = workspace_bytes,
                            .launch = launch};
