#include "lockstep/optim.h"

#include "graph/node.h"
#include "op/add/add.h"
#include "op/clip_scale/clip_scale.h"
#include "op/grad_norm/grad_norm.h"
#include "op/loss_scale_step/loss_scale_step.h"
#include "op/optim_step.h"
#include "op/step_count/step_count.h"

static const char loss_scale_name[] = "optim/loss_scale";

typedef struct kind_row {
    const ls_op *op;
    double beta2, eps;                      /* the usual values */
    const char *states[LS_STEP_MAX_STATES]; /* "<param>/<name>" */
} kind_row;

static const kind_row kind_rows[LS_OPTIM_KIND_COUNT] = {
    [LS_OPTIM_SGD] = {&ls_op_sgd_step, 0, 0, {"sgd_u"}},
    [LS_OPTIM_ADAM] = {&ls_op_adam_step, 0.999, 1e-8, {"adam_m", "adam_v"}},
    [LS_OPTIM_ADAMW] = {&ls_op_adam_step, 0.999, 1e-8, {"adam_m", "adam_v"}},
    [LS_OPTIM_NADAM] = {&ls_op_nadam_step, 0.999, 1e-8, {"nadam_m", "nadam_v"}},
    [LS_OPTIM_RMSPROP] = {&ls_op_rmsprop_step, 0.99, 1e-8, {"rmsprop_v", "rmsprop_a", "rmsprop_u"}},
    [LS_OPTIM_ADAGRAD] = {&ls_op_adagrad_step, 0, 1e-10, {"adagrad_v"}},
    [LS_OPTIM_ADADELTA] = {&ls_op_adadelta_step, 0.9, 1e-6, {"adadelta_v", "adadelta_d"}},
    [LS_OPTIM_LAMB] = {&ls_op_lamb_step, 0.999, 1e-6, {"lamb_m", "lamb_v"}},
    [LS_OPTIM_LION] = {&ls_op_lion_step, 0.99, 0, {"lion_m"}},
};

/* What one call builds. */
typedef struct append_work {
    ls_graph *graph;
    const ls_optim_options *options;
    int lanes;
    ls_value lr, t, scale;
} append_work;

/* One parameter and the sum of its parts. */
typedef struct param_grad {
    ls_value param, grad;
    int unit;
} param_grad;

static ls_value add_scalar_state(ls_graph *graph, const char *name, double value) {
    const ls_init init = {LS_INIT_CONSTANT, value, 0};
    return ls_graph_state(graph, name, LS_DTYPE_F32, (ls_shape){0}, init, LS_ROLE_OPTIMIZER);
}

ls_value ls_optim_loss_scale(ls_graph *graph, const ls_optim_options *options) {
    return add_scalar_state(graph, loss_scale_name, options->loss_scale);
}

/* The lane sum of one part. */
static ls_value accumulate_part(ls_graph *graph, const ls_grad_part *part, int is_first) {
    const char *param = ls_graph_name(graph, part->wrt);
    const char *name = is_first ? ls_arena_format(graph->arena, "grad/%s", param)
                                : ls_arena_format(graph->arena, "grad/%s@%d", param, part->unit);
    if (!name) return ls_graph_fail(graph, LS_ERR_NO_MEMORY, "out of memory");
    return ls_graph_accumulate(graph, name, part->grad);
}

/* Groups neighbouring parts by parameter; adds the parts of a tied one in unit order, in the unit of its first. */
static int gather_grads(ls_graph *graph, const ls_grad_parts *parts, param_grad *out) {
    int n = 0;
    for (int i = 0; i < parts->n_parts; i++) {
        const ls_grad_part *part = &parts->parts[i];
        const int is_first = i == 0 || part[-1].wrt != part->wrt;
        const ls_value sum = accumulate_part(graph, part, is_first);
        if (is_first) {
            out[n++] = (param_grad){part->wrt, sum, part->unit};
            continue;
        }
        ls_graph_set_unit(graph, out[n - 1].unit);
        out[n - 1].grad = ls_add(graph, out[n - 1].grad, sum);
    }
    return n;
}

static ls_value append_norm(ls_graph *graph, const param_grad *grads, int n_grads, int lanes) {
    ls_value *in = ls_arena_alloc(graph->arena, sizeof *in * (size_t)n_grads);
    if (!in) return ls_graph_fail(graph, LS_ERR_NO_MEMORY, "out of memory");
    for (int i = 0; i < n_grads; i++) in[i] = grads[i].grad;
    return ls_grad_norm(graph, in, n_grads, lanes);
}

/* Without loss scaling: nothing. */
static ls_status append_loss_scale(const append_work *w, ls_value loss_scale) {
    if (loss_scale == LS_VALUE_NONE) return LS_OK;
    const ls_optim_options *o = w->options;
    const ls_loss_scale_attr attr = {o->loss_scale_growth, o->loss_scale_min, o->loss_scale_max};
    const ls_loss_scale_state state = {loss_scale,
                                       add_scalar_state(w->graph, "optim/good_steps", 0),
                                       add_scalar_state(w->graph, "optim/skipped_steps", 0)};
    ls_value skipped;
    const ls_value updated = ls_loss_scale_step(w->graph, &state, w->scale, &attr, &skipped);
    LS_TRY(ls_graph_output(w->graph, "loss_scale", updated));
    return ls_graph_output(w->graph, "skipped_steps", skipped);
}

/* Hyper-parameters of one tensor: vectors (norms, biases) have no weight decay. */
static ls_step_attr make_attr(const ls_optim_options *o, int n_dims) {
    const kind_row *row = &kind_rows[o->kind];
    const int has_momentum = o->kind == LS_OPTIM_SGD || o->kind == LS_OPTIM_RMSPROP;
    return (ls_step_attr){
        .beta1 = o->beta1,
        .beta2 = o->beta2 > 0 ? o->beta2 : row->beta2,
        .eps = o->eps > 0 ? o->eps : row->eps,
        .momentum = has_momentum ? o->momentum : 0,
        .weight_decay = n_dims >= 2 ? o->weight_decay : 0,
        .nesterov = o->kind == LS_OPTIM_SGD && o->nesterov,
        .decoupled = o->kind == LS_OPTIM_ADAMW,
        .centered = o->kind == LS_OPTIM_RMSPROP && o->centered,
    };
}

/* Is the kind's state i kept with these options? */
static int needs_state(const ls_optim_options *o, int i) {
    if (!kind_rows[o->kind].states[i]) return 0;
    if (o->kind == LS_OPTIM_SGD) return o->momentum > 0;
    if (o->kind == LS_OPTIM_RMSPROP && i == 1) return o->centered;
    if (o->kind == LS_OPTIM_RMSPROP && i == 2) return o->momentum > 0;
    return 1;
}

static ls_value add_state(ls_graph *graph, ls_value param, const char *suffix) {
    const char *name = ls_arena_format(graph->arena, "%s/%s", ls_graph_name(graph, param), suffix);
    if (!name) return ls_graph_fail(graph, LS_ERR_NO_MEMORY, "out of memory");
    return ls_graph_state(graph, name, LS_DTYPE_F32, ls_graph_shape(graph, param),
                          (ls_init){LS_INIT_ZERO, 0, 0}, LS_ROLE_OPTIMIZER);
}

static void append_step(const append_work *w, const param_grad *p) {
    ls_step_operands operands = {p->param, p->grad, w->lr, w->t, w->scale, {0}};
    int n_states = 0;
    for (int i = 0; i < LS_STEP_MAX_STATES; i++) operands.state[i] = LS_VALUE_NONE;
    for (int i = 0; i < LS_STEP_MAX_STATES; i++)
        if (needs_state(w->options, i))
            operands.state[n_states++] =
                add_state(w->graph, p->param, kind_rows[w->options->kind].states[i]);
    const ls_step_attr attr = make_attr(w->options, ls_graph_shape(w->graph, p->param).n_dims);
    ls_graph_set_unit(w->graph, p->unit);
    ls_optim_step(w->graph, kind_rows[w->options->kind].op, &attr, &operands);
}

/* Everything, with phase and unit already saved by the caller. */
static ls_status append_all(append_work *w, const ls_grad_parts *parts, ls_value count,
                            double static_count) {
    ls_graph *graph = w->graph;
    param_grad *grads = ls_arena_alloc(graph->arena, sizeof *grads * (size_t)parts->n_parts);
    if (!grads) return LS_ERR_NO_MEMORY;
    const int n_grads = gather_grads(graph, parts, grads);
    ls_graph_set_unit(graph, -1);
    const ls_value norm = append_norm(graph, grads, n_grads, w->lanes);
    const ls_value loss_scale = ls_graph_find(graph, loss_scale_name);
    ls_value true_norm;
    w->scale = ls_clip_scale(graph, (ls_value[3]){norm, count, loss_scale}, w->options->clip,
                             static_count, &true_norm);
    w->t = ls_step_count(graph, add_scalar_state(graph, "optim/applied_steps", 0), w->scale);
    LS_TRY(ls_graph_output(graph, "grad_norm", true_norm));
    LS_TRY(ls_graph_output(graph, "grad_scale", w->scale));
    LS_TRY(ls_graph_output(graph, "applied_steps", w->t));
    LS_TRY(append_loss_scale(w, loss_scale));
    w->lr = ls_graph_step_input(graph, "lr", LS_DTYPE_F32, (ls_shape){0});
    for (int i = 0; i < n_grads; i++) append_step(w, &grads[i]);
    return ls_graph_status(graph);
}

ls_status ls_optim_append(ls_graph *graph, const ls_grad_parts *parts,
                          const ls_optim_options *options, ls_value count, double static_count,
                          int lanes) {
    LS_TRY(ls_graph_status(graph));
    if (options->kind < 0 || options->kind >= LS_OPTIM_KIND_COUNT)
        return LS_FAIL(LS_ERR_INVALID, "optim: kind %d is none of 0 to %d", options->kind,
                       LS_OPTIM_KIND_COUNT - 1);
    if (parts->n_parts < 1)
        return LS_FAIL(LS_ERR_INVALID,
                       "optim: there are no gradients; differentiate a loss with respect to at "
                       "least one parameter it depends on");
    const int unit = graph->unit;
    const ls_phase phase = graph->phase;
    append_work work = {.graph = graph, .options = options, .lanes = lanes};
    ls_graph_set_phase(graph, LS_PHASE_UPDATE);
    const ls_status status = append_all(&work, parts, count, static_count);
    ls_graph_set_phase(graph, phase);
    ls_graph_set_unit(graph, unit);
    return status;
}
