#include "op/optim_step_cpu.h"

typedef struct coefficients {
    float grad_scale, decay, rate, beta1, rest1, beta2, rest2;
} coefficients;

V16_INLINE void update(const void *user, step_vector *x) {
    const coefficients *c = user;
    const v16 blend = c->beta1 * x->state[0] + c->rest1 * x->grad;
    const v16 one = v16_set(1), none = v16_set(0);
    const v16 sign =
        v16_select(v16_gt(blend, none), one, none) - v16_select(v16_gt(none, blend), one, none);
    x->param = x->param - (c->decay * x->param + c->rate * sign);
    x->state[0] = c->beta2 * x->state[0] + c->rest2 * x->grad;
}

static void update_block(const void *user, const ls_step_block *block) {
    step_block(user, block, 1, ((const coefficients *)user)->grad_scale, update);
}

static ls_status launch(const ls_launch *l) {
    const ls_step_attr *a = l->sig->attr;
    ls_step_scalars s;
    if (!ls_step_begin(l, &s)) return LS_OK;
    const coefficients c = {
        .grad_scale = (float)s.scale,
        .decay = (float)(s.lr * a->weight_decay),
        .rate = (float)s.lr,
        .beta1 = (float)a->beta1,
        .rest1 = (float)(1 - a->beta1),
        .beta2 = (float)a->beta2,
        .rest2 = (float)(1 - a->beta2),
    };
    return ls_step_run(l, &c, update_block);
}

LS_CPU_KERNEL(lion_step) = {LS_CPU_KERNEL_HEAD("lion_step"), .launch = launch};
