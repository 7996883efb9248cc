/* Configuration keys of the optimizer. LS_OPTIM_FIELDS(base) lists them for a struct that holds an ls_optim_options at offset `base`
 * (config tables address one big struct); ls_optim_table is the list at offset 0. Read-only, Local. */
#ifndef LS_OPTIM_CONFIG_H
#define LS_OPTIM_CONFIG_H
#include "base/config.h"
#include "lockstep/optim.h"

#define LS_OPTIM_FIELD(base, name, form, text, low, high, names, words)                        \
    {                                                                                          \
        .key = "optim." #name, .type = LS_CONFIG_##form,                                       \
        .offset = (base) + offsetof(ls_optim_options, name), .default_text = text, .min = low, \
        .max = high, .choices = names, .help = words                                           \
    }
/* clang-format off */
#define LS_OPTIM_FIELDS(base) \
    LS_OPTIM_FIELD(base, kind, ENUM, "adamw", 0, 0, ls_optim_kind_names, "optimizer"), \
    LS_OPTIM_FIELD(base, lr, FLOAT, "0.001", 0, 1e6, NULL, "peak learning rate"), \
    LS_OPTIM_FIELD(base, beta1, FLOAT, "0.9", 0, 0.999999, NULL, "decay of the gradient's average (adam, adamw, nadam, lamb, lion)"), \
    LS_OPTIM_FIELD(base, beta2, FLOAT, "0", 0, 0.99999999, NULL, "decay of the squared gradient's average, alpha of rmsprop, rho of adadelta; 0 = usual (adam, adamw, nadam, lamb 0.999; rmsprop, lion 0.99; adadelta 0.9)"), \
    LS_OPTIM_FIELD(base, eps, FLOAT, "0", 0, 1, NULL, "added to the denominator; 0 = usual (1e-8; adagrad 1e-10; adadelta, lamb 1e-6)"), \
    LS_OPTIM_FIELD(base, momentum, FLOAT, "0", 0, 0.999999, NULL, "momentum of sgd and rmsprop"), \
    LS_OPTIM_FIELD(base, nesterov, BOOL, "false", 0, 0, NULL, "Nesterov momentum (sgd)"), \
    LS_OPTIM_FIELD(base, centered, BOOL, "false", 0, 0, NULL, "divide by the standard deviation (rmsprop)"), \
    LS_OPTIM_FIELD(base, weight_decay, FLOAT, "0.01", 0, 1e3, NULL, "weight decay of tensors with two and more dims; norms and biases have none"), \
    LS_OPTIM_FIELD(base, clip, FLOAT, "1", 0, 1e30, NULL, "largest global gradient norm; 0 = no clipping"), \
    LS_OPTIM_FIELD(base, schedule, ENUM, "cosine", 0, 0, ls_schedule_names, "learning rate over the run"), \
    LS_OPTIM_FIELD(base, warmup, INT, "0", 0, 1e15, NULL, "steps of linear warm-up"), \
    LS_OPTIM_FIELD(base, decay, FLOAT, "0.2", 0, 1e15, NULL, "length of wsd's final decay: up to 1 a fraction of all steps, above that a number of steps"), \
    LS_OPTIM_FIELD(base, lr_min_ratio, FLOAT, "0.1", 0, 1, NULL, "last learning rate over the peak one"), \
    LS_OPTIM_FIELD(base, loss_scale, FLOAT, "65536", 1, 1e30, NULL, "first loss scale (precision f16 only)"), \
    LS_OPTIM_FIELD(base, loss_scale_growth, INT, "2000", 0, 1e15, NULL, "good steps before the loss scale doubles; 0 = never"), \
    LS_OPTIM_FIELD(base, loss_scale_min, FLOAT, "1", 1e-6, 1e30, NULL, "lower bound of the loss scale"), \
    LS_OPTIM_FIELD(base, loss_scale_max, FLOAT, "16777216", 1e-6, 1e30, NULL, "upper bound of the loss scale"), \
    LS_OPTIM_FIELD(base, patience, INT, "0", 0, 1e15, NULL, "held-out evaluations without progress before the run stops; 0 = never"), \
    LS_OPTIM_FIELD(base, min_delta, FLOAT, "0", 0, 1e6, NULL, "smallest fall of the held-out loss that counts as progress")
/* clang-format on */

extern LS_API const ls_config_table ls_optim_table;

#endif
