#include "op/optim_step.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

int ls_step_alias(const ls_sig *sig, int i) {
    (void)sig;
    return i == 0 ? LS_STEP_PARAM : LS_STEP_STATE - 1 + i;
}

ls_status ls_step_infer_scalar(const char *op, const char *operand, const ls_type *type) {
    char shape[128];
    if (type->dtype == LS_DTYPE_F32 && ls_type_count(type) == 1) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op %s: %s must be one f32 number, got %s%s", op, operand,
                   ls_dtype_name(type->dtype), ls_shape_print(&type->shape, shape));
}

static ls_status check_attr(const char *op, const ls_step_attr *a) {
    const double decay[] = {a->beta1, a->beta2, a->momentum};
    static const char *const names[] = {"beta1", "beta2", "momentum"};
    for (int i = 0; i < 3; i++)
        if (!(decay[i] >= 0 && decay[i] < 1))
            return LS_FAIL(LS_ERR_INVALID, "op %s: %s must be in [0, 1), got %g", op, names[i],
                           decay[i]);
    if (!(a->eps >= 0) || !(a->weight_decay >= 0))
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: eps and weight_decay must not be negative, got %g and %g", op,
                       a->eps, a->weight_decay);
    return LS_OK;
}

static ls_status check_tensor(const char *op, const ls_type *param, const ls_type *type) {
    if (type->dtype != LS_DTYPE_F32)
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: parameter, gradient and state must be f32, got %s (keep f32 master "
                       "weights)",
                       op, ls_dtype_name(type->dtype));
    return ls_infer_same_shape(op, param, type);
}

ls_status ls_step_infer(const char *op, const ls_step_attr *attr, int n_states, int n_in,
                        const ls_type *in, int *n_out, ls_type *out) {
    LS_TRY(check_attr(op, attr));
    if (n_in != LS_STEP_STATE + n_states)
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: with these attributes it takes param, grad, lr, t, scale and %d "
                       "state tensors, got %d inputs",
                       op, n_states, n_in);
    LS_TRY(check_tensor(op, &in[LS_STEP_PARAM], &in[LS_STEP_PARAM]));
    LS_TRY(check_tensor(op, &in[LS_STEP_PARAM], &in[LS_STEP_GRAD]));
    LS_TRY(ls_step_infer_scalar(op, "lr", &in[LS_STEP_LR]));
    LS_TRY(ls_step_infer_scalar(op, "t", &in[LS_STEP_T]));
    LS_TRY(ls_step_infer_scalar(op, "scale", &in[LS_STEP_SCALE]));
    for (int i = 0; i < n_states; i++)
        LS_TRY(check_tensor(op, &in[LS_STEP_PARAM], &in[LS_STEP_STATE + i]));
    *n_out = 1 + n_states;
    for (int i = 0; i < *n_out; i++) out[i] = in[LS_STEP_PARAM];
    return LS_OK;
}

ls_status ls_step_shard(const ls_sig *sig, const int *in_split, int *out_split) {
    for (int i = 1; i < sig->n_in; i++) {
        const int scalar = i == LS_STEP_LR || i == LS_STEP_T || i == LS_STEP_SCALE;
        if (in_split[i] != (scalar ? LS_SHARD_REPLICATED : in_split[0]))
            return LS_FAIL(LS_ERR_UNSUPPORTED,
                           "op %s: param, grad and state must be split alike and scalars whole; "
                           "input %d is not",
                           sig->op->name, i);
    }
    if (in_split[0] == LS_SHARD_PARTIAL)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "op %s: partial sums must be reduced first",
                       sig->op->name);
    for (int i = 0; i < sig->n_out; i++) out_split[i] = in_split[0];
    return LS_OK;
}

void ls_step_cost(const ls_sig *sig, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = 6.0 * (double)sig->n_out * (double)ls_type_count(&sig->in[0]);
}

void ls_step_print(const void *attr, ls_text *out) {
    const ls_step_attr *a = attr;
    ls_text_append(out,
                   "beta1=%.17g beta2=%.17g eps=%.17g momentum=%.17g weight_decay=%.17g "
                   "nesterov=%d decoupled=%d centered=%d",
                   a->beta1, a->beta2, a->eps, a->momentum, a->weight_decay, a->nesterov,
                   a->decoupled, a->centered);
}

void ls_step_copy(const ls_launch *l) {
    for (int i = 0; i < l->sig->n_out; i++) {
        const ls_tensor *from = &l->in[ls_step_alias(l->sig, i)];
        if (from->data != l->out[i].data) memcpy(l->out[i].data, from->data, ls_tensor_bytes(from));
    }
}

int ls_step_begin(const ls_launch *l, ls_step_scalars *out) {
    out->lr = ls_tensor_get(&l->in[LS_STEP_LR], 0);
    out->t = ls_tensor_get(&l->in[LS_STEP_T], 0);
    out->scale = ls_tensor_get(&l->in[LS_STEP_SCALE], 0);
    if (out->scale >= 0) return 1;
    ls_step_copy(l);
    return 0;
}

ls_status ls_step_reference(const ls_launch *l, ls_step_element_fn update) {
    ls_step_scalars scalars;
    if (!ls_step_begin(l, &scalars)) return LS_OK;
    ls_step_copy(l);
    const int64_t count = ls_shape_count(&l->out[0].shape);
    const int n_states = l->sig->n_out - 1;
    for (int64_t i = 0; i < count; i++) {
        double param = ls_tensor_get(&l->out[0], i), state[LS_STEP_MAX_STATES] = {0};
        for (int s = 0; s < n_states; s++) state[s] = ls_tensor_get(&l->out[1 + s], i);
        update(l->sig->attr, &scalars, &param,
               ls_tensor_get(&l->in[LS_STEP_GRAD], i) * scalars.scale, state);
        ls_tensor_set(&l->out[0], i, param);
        for (int s = 0; s < n_states; s++) ls_tensor_set(&l->out[1 + s], i, state[s]);
    }
    return LS_OK;
}

int64_t ls_step_block_count(int64_t count) {
    return (count + LS_STEP_BLOCK - 1) / LS_STEP_BLOCK;
}

typedef struct step_work {
    const ls_launch *launch;
    const void *coefficients;
    ls_step_block_fn update;
    int64_t count, n_blocks;
    int again, stream;
} step_work;

/* Where the values of result `i` are read. */
static const float *old_values(const step_work *w, int i) {
    const ls_launch *l = w->launch;
    return w->again && i > 0 ? l->out[i].data : l->in[ls_step_alias(l->sig, i)].data;
}

/* A further pass writes the parameter alone. */
static int can_stream(const step_work *w) {
    for (int i = 0; i < (w->again ? 1 : w->launch->sig->n_out); i++) {
        const ls_tensor *out = &w->launch->out[i];
        if (old_values(w, i) == out->data || (uintptr_t)out->data % 64 != 0) return 0;
    }
    return ls_tensor_bytes(&w->launch->out[0]) >= LS_STEP_STREAM_BYTES;
}

static ls_status run_block(void *user, int64_t task, int worker) {
    (void)worker;
    const step_work *w = user;
    const int64_t index = w->again ? w->n_blocks - 1 - task : task;
    const int64_t begin = index * LS_STEP_BLOCK, left = w->count - begin;
    ls_step_block block = {.index = index, .n_blocks = w->n_blocks, .stream = w->stream};
    block.count = left < LS_STEP_BLOCK ? left : LS_STEP_BLOCK;
    block.old_param = old_values(w, 0) + begin;
    block.param = (float *)w->launch->out[0].data + begin;
    block.grad = (const float *)w->launch->in[LS_STEP_GRAD].data + begin;
    for (int s = 0; s < w->launch->sig->n_out - 1; s++) {
        block.old_state[s] = old_values(w, 1 + s) + begin;
        block.state[s] = (float *)w->launch->out[1 + s].data + begin;
    }
    w->update(w->coefficients, &block);
#ifdef __SSE2__
    if (block.stream) _mm_sfence(); /* before anyone is told that the block is done */
#endif
    return LS_OK;
}

static ls_status run_blocks(step_work *work) {
    const ls_launch *l = work->launch;
    work->count = ls_shape_count(&l->out[0].shape);
    work->n_blocks = ls_step_block_count(work->count);
    work->stream = can_stream(work);
    return ls_pool_run(l->pool, work->n_blocks, run_block, work);
}

ls_status ls_step_run(const ls_launch *l, const void *coefficients, ls_step_block_fn update) {
    step_work work = {.launch = l, .coefficients = coefficients, .update = update};
    return run_blocks(&work);
}

ls_status ls_step_run_again(const ls_launch *l, const void *coefficients, ls_step_block_fn update) {
    step_work work = {.launch = l, .coefficients = coefficients, .update = update, .again = 1};
    return run_blocks(&work);
}

ls_value ls_optim_step(ls_graph *graph, const ls_op *op, const ls_step_attr *attr,
                       const ls_step_operands *o) {
    ls_value in[LS_STEP_STATE + LS_STEP_MAX_STATES] = {o->param, o->grad, o->lr, o->t, o->scale};
    int n_in = LS_STEP_STATE;
    for (int i = 0; i < LS_STEP_MAX_STATES && o->state[i] != LS_VALUE_NONE; i++)
        in[n_in++] = o->state[i];
    return ls_graph_node(graph, op, attr, in, n_in, NULL);
}
