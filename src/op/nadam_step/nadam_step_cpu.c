#include <math.h>

#include "op/nadam_step/nadam_step.h"
#include "op/optim_step_cpu.h"

typedef struct coefficients {
    float grad_scale, l2, beta1, rest1, beta2, rest2, eps;
    float rate_grad, rate_m; /* learning rate times the weight of g and of m */
    float root2;             /* 1 / sqrt(1 - beta2^t) */
} coefficients;

V16_INLINE void update(const void *user, step_vector *x) {
    const coefficients *c = user;
    const v16 g = x->grad + c->l2 * x->param;
    const v16 m = c->beta1 * x->state[0] + c->rest1 * g;
    const v16 v = c->beta2 * x->state[1] + c->rest2 * (g * g);
    const v16 n = c->rate_grad * g + c->rate_m * m;
    x->param = x->param - n / (v16_sqrt(v) * c->root2 + c->eps);
    x->state[0] = m;
    x->state[1] = v;
}

static void update_block(const void *user, const ls_step_block *block) {
    step_block(user, block, 2, ((const coefficients *)user)->grad_scale, update);
}

static ls_status launch(const ls_launch *l) {
    const ls_step_attr *a = l->sig->attr;
    ls_step_scalars s;
    if (!ls_step_begin(l, &s)) return LS_OK;
    const ls_nadam_weights w = ls_nadam_weigh(a->beta1, s.t);
    const coefficients c = {
        .grad_scale = (float)s.scale,
        .l2 = (float)a->weight_decay,
        .beta1 = (float)a->beta1,
        .rest1 = (float)(1 - a->beta1),
        .beta2 = (float)a->beta2,
        .rest2 = (float)(1 - a->beta2),
        .eps = (float)a->eps,
        .rate_grad = (float)(s.lr * w.grad),
        .rate_m = (float)(s.lr * w.m),
        .root2 = (float)(1 / sqrt(1 - pow(a->beta2, s.t))),
    };
    return ls_step_run(l, &c, update_block);
}

LS_CPU_KERNEL(nadam_step) = {LS_CPU_KERNEL_HEAD("nadam_step"), .launch = launch};
