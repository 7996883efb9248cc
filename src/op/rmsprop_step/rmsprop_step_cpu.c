#include "op/optim_step_cpu.h"

typedef struct coefficients {
    float grad_scale, l2, rate, beta2, rest2, eps, momentum;
} coefficients;

/* Constant has_average and has_velocity. */
V16_INLINE void update(const coefficients *c, step_vector *x, int has_average, int has_velocity) {
    const v16 g = x->grad + c->l2 * x->param;
    v16 variance = x->state[0] = c->beta2 * x->state[0] + c->rest2 * (g * g);
    if (has_average) {
        const v16 average = x->state[1] = c->beta2 * x->state[1] + c->rest2 * g;
        variance = v16_max(variance - average * average, v16_set(0));
    }
    v16 step = g / (v16_sqrt(variance) + c->eps);
    if (has_velocity) {
        v16 *velocity = &x->state[1 + has_average];
        step = *velocity = c->momentum * *velocity + step;
    }
    x->param = x->param - c->rate * step;
}
V16_INLINE void update_plain(const void *c, step_vector *x) {
    update(c, x, 0, 0);
}
V16_INLINE void update_momentum(const void *c, step_vector *x) {
    update(c, x, 0, 1);
}
V16_INLINE void update_centered(const void *c, step_vector *x) {
    update(c, x, 1, 0);
}
V16_INLINE void update_both(const void *c, step_vector *x) {
    update(c, x, 1, 1);
}

static void update_plain_block(const void *user, const ls_step_block *block) {
    step_block(user, block, 1, ((const coefficients *)user)->grad_scale, update_plain);
}

static void update_momentum_block(const void *user, const ls_step_block *block) {
    step_block(user, block, 2, ((const coefficients *)user)->grad_scale, update_momentum);
}

static void update_centered_block(const void *user, const ls_step_block *block) {
    step_block(user, block, 2, ((const coefficients *)user)->grad_scale, update_centered);
}

static void update_both_block(const void *user, const ls_step_block *block) {
    step_block(user, block, 3, ((const coefficients *)user)->grad_scale, update_both);
}

static ls_status launch(const ls_launch *l) {
    const ls_step_attr *a = l->sig->attr;
    ls_step_scalars s;
    if (!ls_step_begin(l, &s)) return LS_OK;
    const coefficients c = {(float)s.scale,    (float)a->weight_decay, (float)s.lr,
                            (float)a->beta2,   (float)(1 - a->beta2),  (float)a->eps,
                            (float)a->momentum};
    static const ls_step_block_fn by_form[2][2] = {{update_plain_block, update_momentum_block},
                                                   {update_centered_block, update_both_block}};
    return ls_step_run(l, &c, by_form[a->centered != 0][a->momentum > 0]);
}

LS_CPU_KERNEL(rmsprop_step) = {LS_CPU_KERNEL_HEAD("rmsprop_step"), .launch = launch};
