#include "op/optim_step_cpu.h"

typedef struct coefficients {
    float grad_scale, l2, rate, beta2, rest2, eps;
} coefficients;

V16_INLINE void update(const void *user, step_vector *x) {
    const coefficients *c = user;
    const v16 beta2 = v16_set(c->beta2), rest2 = v16_set(c->rest2), eps = v16_set(c->eps);
    const v16 g = x->grad + c->l2 * x->param;
    const v16 v = beta2 * x->state[0] + rest2 * (g * g);
    const v16 step = g * v16_sqrt(x->state[1] + eps) / v16_sqrt(v + eps);
    x->param = x->param - c->rate * step;
    x->state[0] = v;
    x->state[1] = beta2 * x->state[1] + rest2 * (step * step);
}

static void update_block(const void *user, const ls_step_block *block) {
    step_block(user, block, 2, ((const coefficients *)user)->grad_scale, update);
}

static ls_status launch(const ls_launch *l) {
    const ls_step_attr *a = l->sig->attr;
    ls_step_scalars s;
    if (!ls_step_begin(l, &s)) return LS_OK;
    const coefficients c = {(float)s.scale,  (float)a->weight_decay, (float)s.lr,
                            (float)a->beta2, (float)(1 - a->beta2),  (float)a->eps};
    return ls_step_run(l, &c, update_block);
}

LS_CPU_KERNEL(adadelta_step) = {LS_CPU_KERNEL_HEAD("adadelta_step"), .launch = launch};
