/* Optimizers: update operations appended to a training graph, learning-rate schedules, loss scaling, early stopping.
 *
 * ls_optim_append turns gradients into a step: lane sums, global norm, one factor for clipping, counting and loss scaling, and
 * one in-place step op per parameter. All that a resume must restore is persistent state of the graph (role OPTIMIZER).
 * The host feeds one number a step, the step input "lr". Formulas and sources: src/op/<kind>_step/.
 * Thread-safety: as the graph's; the rest is reentrant. Local. */
#ifndef LOCKSTEP_OPTIM_H
#define LOCKSTEP_OPTIM_H
#include "lockstep/graph.h"
#include <stdint.h>

typedef enum ls_optim_kind {
    LS_OPTIM_SGD,
    LS_OPTIM_ADAM,  /* weight decay through the gradient */
    LS_OPTIM_ADAMW, /* decoupled weight decay */
    LS_OPTIM_NADAM,
    LS_OPTIM_RMSPROP,
    LS_OPTIM_ADAGRAD,
    LS_OPTIM_ADADELTA,
    LS_OPTIM_LAMB,
    LS_OPTIM_LION,
    LS_OPTIM_KIND_COUNT
} ls_optim_kind;

typedef enum ls_schedule {
    LS_SCHEDULE_CONSTANT,
    LS_SCHEDULE_LINEAR, /* down to lr * lr_min_ratio at the end */
    LS_SCHEDULE_COSINE,
    LS_SCHEDULE_WSD, /* warm-up, stable, linear decay in the last `decay` */
    LS_SCHEDULE_COUNT
} ls_schedule;

typedef struct ls_optim_options {
    int kind; /* ls_optim_kind */
    double lr;
    double beta1,
        beta2;       /* beta2 0 = the kind's usual value; also RMSprop's alpha and Adadelta's rho */
    double eps;      /* 0 = the kind's usual value */
    double momentum; /* sgd, rmsprop */
    int nesterov;    /* sgd */
    int centered;    /* rmsprop */
    double weight_decay; /* tensors of two and more dims only */
    double clip;         /* largest global gradient norm; 0 = no clipping */
    int schedule;        /* ls_schedule */
    int64_t warmup;      /* steps of linear warm-up */
    double decay;        /* wsd: up to 1 a fraction of all steps, above a number of steps */
    double lr_min_ratio;
    double loss_scale; /* first value of dynamic loss scaling (f16 only) */
    int64_t loss_scale_growth;
    double loss_scale_min, loss_scale_max;
    int64_t patience; /* evaluations without progress before stopping; 0 = never stop early */
    double min_delta; /* what counts as progress, in units of the loss */
} ls_optim_options;

/* Names of the enums, NULL-terminated: "sgd", ...; "constant", ... */
extern LS_API const char *const ls_optim_kind_names[];
extern LS_API const char *const ls_schedule_names[];

/* The defaults of the configuration table. */
LS_API ls_optim_options ls_optim_default(void);
/* LS_ERR_CONFIG names the key, the value and what fits. */
LS_API ls_status ls_optim_check(const ls_optim_options *options, int64_t total_steps);
/* Learning rate of step `step` (0-based) of a run of total_steps. Steps past the end keep the last value. A pure function. */
LS_API double ls_optim_lr(const ls_optim_options *options, int64_t step, int64_t total_steps);

/* Adds the loss-scale state ("optim/loss_scale"), to be built into the loss before it is differentiated; ls_optim_append finds it
 * and adds its update. For f16 compute only. */
LS_API ls_value ls_optim_loss_scale(ls_graph *graph, const ls_optim_options *options);

/* Appends lane sums "grad/<param>" (further parts of a tied parameter: "grad/<param>@<unit>"), the state and the update.
 * count: f32 scalar ACCUM, the targets counted in the step, or LS_VALUE_NONE; static_count: what the loss gradient was divided
 * by when it was built: gradients are multiplied by static_count / count. Outputs: "grad_norm" (f32, before clipping, of the
 * true mean gradient), "grad_scale" (negative: this step was skipped because the norm is not finite or nothing was
 * counted; nothing but the loss scale changed), "applied_steps", and with loss scaling "loss_scale" and "skipped_steps".
 * lanes (a power of two): chunks that the sums of squares in the norm are dealt in, so that a rank can make those of its piece alone.
 * Parameters must be f32 (LS_ERR_INVALID otherwise). */
LS_API ls_status ls_optim_append(ls_graph *graph, const ls_grad_parts *parts,
                                 const ls_optim_options *options, ls_value count,
                                 double static_count, int lanes);

/* Early stopping on a held-out loss. Plain data: store it, copy it. */
typedef struct ls_early_stop {
    int64_t patience;
    double min_delta;
    double best; /* infinity before the first evaluation */
    double bar;  /* the loss at the last progress: small falls add up to progress */
    int64_t best_step, n_bad;
} ls_early_stop;
LS_API void ls_early_stop_init(ls_early_stop *stop, int64_t patience, double min_delta);
/* Takes one evaluation; 1 when it is the best so far (by any amount: worth saving). NaN never is. */
LS_API int ls_early_stop_update(ls_early_stop *stop, double loss, int64_t step);
/* 1 when `patience` evaluations in a row did not fall min_delta below the last that did. */
LS_API int ls_early_stop_due(const ls_early_stop *stop);

#endif
