#include "op/optim_step_cpu.h"

typedef struct coefficients {
    float grad_scale, l2, rate, momentum;
} coefficients;

V16_INLINE void update_plain(const void *user, step_vector *x) {
    const coefficients *c = user;
    x->param = x->param - c->rate * (x->grad + c->l2 * x->param);
}

V16_INLINE void update_momentum(const void *user, step_vector *x) {
    const coefficients *c = user;
    const v16 g = x->grad + c->l2 * x->param;
    const v16 velocity = c->momentum * x->state[0] + g;
    x->state[0] = velocity;
    x->param = x->param - c->rate * velocity;
}

V16_INLINE void update_nesterov(const void *user, step_vector *x) {
    const coefficients *c = user;
    const v16 g = x->grad + c->l2 * x->param;
    const v16 velocity = c->momentum * x->state[0] + g;
    x->state[0] = velocity;
    x->param = x->param - c->rate * (g + c->momentum * velocity);
}

static void update_plain_block(const void *user, const ls_step_block *block) {
    step_block(user, block, 0, ((const coefficients *)user)->grad_scale, update_plain);
}

static void update_momentum_block(const void *user, const ls_step_block *block) {
    step_block(user, block, 1, ((const coefficients *)user)->grad_scale, update_momentum);
}

static void update_nesterov_block(const void *user, const ls_step_block *block) {
    step_block(user, block, 1, ((const coefficients *)user)->grad_scale, update_nesterov);
}

static ls_status launch(const ls_launch *l) {
    const ls_step_attr *a = l->sig->attr;
    ls_step_scalars s;
    if (!ls_step_begin(l, &s)) return LS_OK;
    const coefficients c = {(float)s.scale, (float)a->weight_decay, (float)s.lr,
                            (float)a->momentum};
    if (!(a->momentum > 0)) return ls_step_run(l, &c, update_plain_block);
    return ls_step_run(l, &c, a->nesterov ? update_nesterov_block : update_momentum_block);
}

LS_CPU_KERNEL(sgd_step) = {LS_CPU_KERNEL_HEAD("sgd_step"), .launch = launch};
