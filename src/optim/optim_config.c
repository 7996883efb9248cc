#include "optim/optim_config.h"

#include <math.h>

const char *const ls_optim_kind_names[] = {"sgd",     "adam",     "adamw", "nadam", "rmsprop",
                                           "adagrad", "adadelta", "lamb",  "lion",  NULL};
const char *const ls_schedule_names[] = {"constant", "linear", "cosine", "wsd", NULL};

static const ls_config_field fields[] = {LS_OPTIM_FIELDS(0)};
const ls_config_table ls_optim_table = {fields, (int)(sizeof fields / sizeof fields[0])};

ls_optim_options ls_optim_default(void) {
    return (ls_optim_options){
        .kind = LS_OPTIM_ADAMW,
        .lr = 1e-3,
        .beta1 = 0.9,
        .weight_decay = 0.01,
        .clip = 1,
        .schedule = LS_SCHEDULE_COSINE,
        .decay = 0.2,
        .lr_min_ratio = 0.1,
        .loss_scale = 65536,
        .loss_scale_growth = 2000,
        .loss_scale_min = 1,
        .loss_scale_max = 16777216,
    };
}

typedef struct bound {
    const char *key;
    double value, min, max; /* inclusive */
} bound;

static ls_status check_bounds(const ls_optim_options *o) {
    const bound bounds[] = {
        {"kind", o->kind, 0, LS_OPTIM_KIND_COUNT - 1},
        {"schedule", o->schedule, 0, LS_SCHEDULE_COUNT - 1},
        {"lr", o->lr, 0, 1e6},
        {"beta1", o->beta1, 0, 0.999999},
        {"beta2", o->beta2, 0, 0.99999999},
        {"eps", o->eps, 0, 1},
        {"momentum", o->momentum, 0, 0.999999},
        {"weight_decay", o->weight_decay, 0, 1e3},
        {"clip", o->clip, 0, 1e30},
        {"warmup", (double)o->warmup, 0, 1e15},
        {"decay", o->decay, 0, 1e15},
        {"lr_min_ratio", o->lr_min_ratio, 0, 1},
        {"loss_scale_growth", (double)o->loss_scale_growth, 0, 1e15},
        {"loss_scale_min", o->loss_scale_min, 1e-6, o->loss_scale_max},
        {"loss_scale_max", o->loss_scale_max, o->loss_scale_min, 1e30},
        {"loss_scale", o->loss_scale, o->loss_scale_min, o->loss_scale_max},
        {"patience", (double)o->patience, 0, 1e15},
        {"min_delta", o->min_delta, 0, 1e6},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        if (!(bounds[i].value >= bounds[i].min && bounds[i].value <= bounds[i].max))
            return LS_FAIL(LS_ERR_CONFIG, "optim.%s must be between %g and %g, got %g",
                           bounds[i].key, bounds[i].min, bounds[i].max, bounds[i].value);
    return LS_OK;
}

/* Steps of wsd's final decay. */
static double count_decay_steps(const ls_optim_options *o, int64_t total_steps) {
    return o->decay <= 1 ? round(o->decay * (double)total_steps) : o->decay;
}

ls_status ls_optim_check(const ls_optim_options *o, int64_t total_steps) {
    LS_TRY(check_bounds(o));
    if (total_steps < 1)
        return LS_FAIL(LS_ERR_CONFIG, "a run needs at least one step, got %lld",
                       (long long)total_steps);
    if (o->nesterov && (o->kind != LS_OPTIM_SGD || !(o->momentum > 0)))
        return LS_FAIL(LS_ERR_CONFIG,
                       "optim.nesterov needs optim.kind=sgd with optim.momentum above 0, got %s "
                       "with %g",
                       ls_optim_kind_names[o->kind], o->momentum);
    if (o->warmup > total_steps)
        return LS_FAIL(LS_ERR_CONFIG,
                       "optim.warmup (%lld) is longer than the run (%lld steps); lower it",
                       (long long)o->warmup, (long long)total_steps);
    const double decay_steps = count_decay_steps(o, total_steps);
    if (o->schedule == LS_SCHEDULE_WSD && (double)o->warmup + decay_steps > (double)total_steps)
        return LS_FAIL(LS_ERR_CONFIG,
                       "optim.warmup (%lld steps) and optim.decay (%g steps) do not both fit in "
                       "%lld steps; lower one",
                       (long long)o->warmup, decay_steps, (long long)total_steps);
    return LS_OK;
}

/* 0 at the begin of the decay, 1 at the end of the run. */
static double measure_progress(const ls_optim_options *o, int64_t step, int64_t total_steps) {
    const double total = (double)total_steps;
    const double begin = o->schedule == LS_SCHEDULE_WSD ? total - count_decay_steps(o, total_steps)
                                                        : (double)o->warmup;
    if ((double)step <= begin) return 0;
    if (step >= total_steps) return 1;
    return ((double)step - begin) / (total - begin);
}

double ls_optim_lr(const ls_optim_options *o, int64_t step, int64_t total_steps) {
    if (step < o->warmup) return o->lr * (double)(step + 1) / (double)o->warmup;
    if (o->schedule == LS_SCHEDULE_CONSTANT) return o->lr;
    double left = 1 - measure_progress(o, step, total_steps);
    if (o->schedule == LS_SCHEDULE_COSINE) left = 0.5 * (1 - cos(acos(-1.0) * left));
    return o->lr * (o->lr_min_ratio + (1 - o->lr_min_ratio) * left);
}
