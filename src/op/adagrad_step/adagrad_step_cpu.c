#include "op/optim_step_cpu.h"

typedef struct coefficients {
    float grad_scale, l2, rate, eps;
} coefficients;

V16_INLINE void update(const void *user, step_vector *x) {
    const coefficients *c = user;
    const v16 g = x->grad + c->l2 * x->param;
    const v16 sum = x->state[0] + g * g;
    x->param = x->param - c->rate * g / (v16_sqrt(sum) + c->eps);
    x->state[0] = sum;
}

static void update_block(const void *user, const ls_step_block *block) {
    step_block(user, block, 1, ((const coefficients *)user)->grad_scale, update);
}

static ls_status launch(const ls_launch *l) {
    const ls_step_attr *a = l->sig->attr;
    ls_step_scalars s;
    if (!ls_step_begin(l, &s)) return LS_OK;
    const coefficients c = {(float)s.scale, (float)a->weight_decay, (float)s.lr, (float)a->eps};
    return ls_step_run(l, &c, update_block);
}

LS_CPU_KERNEL(adagrad_step) = {LS_CPU_KERNEL_HEAD("adagrad_step"), .launch = launch};
