#include <math.h>

#include "op/optim_step_cpu.h"

typedef struct coefficients {
    float grad_scale, beta1, rest1, beta2, rest2, eps;
    float l2;    /* weight decay through the gradient */
    float decay; /* share of the parameter taken away; not 1 - share, which would be rounded */
    float rate;  /* lr / (1 - beta1^t) */
    float root2; /* 1 / sqrt(1 - beta2^t) */
} coefficients;

V16_INLINE void update(const void *user, step_vector *x) {
    const coefficients *c = user;
    const v16 g = x->grad + c->l2 * x->param;
    const v16 m = c->beta1 * x->state[0] + c->rest1 * g;
    const v16 v = c->beta2 * x->state[1] + c->rest2 * (g * g);
    const v16 step = c->rate * m / (v16_sqrt(v) * c->root2 + c->eps);
    x->param = x->param - (c->decay * x->param + step);
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
    const coefficients c = {
        .grad_scale = (float)s.scale,
        .beta1 = (float)a->beta1,
        .rest1 = (float)(1 - a->beta1),
        .beta2 = (float)a->beta2,
        .rest2 = (float)(1 - a->beta2),
        .eps = (float)a->eps,
        .l2 = a->decoupled ? 0 : (float)a->weight_decay,
        .decay = a->decoupled ? (float)(s.lr * a->weight_decay) : 0,
        .rate = (float)(s.lr / (1 - pow(a->beta1, s.t))),
        .root2 = (float)(1 / sqrt(1 - pow(a->beta2, s.t))),
    };
    return ls_step_run(l, &c, update_block);
}

LS_CPU_KERNEL(adam_step) = {LS_CPU_KERNEL_HEAD("adam_step"), .launch = launch};
