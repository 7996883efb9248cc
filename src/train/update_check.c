#include "train/update_check.h"

/* Which rank, and where in it? Decided together: every rank looks at its own lanes; what they do not show again was seen when it
 * was added. */
static ls_status diagnose(ls_session *s, const ls_run_options *run) {
    LS_TRY(ls_comm_agree(s->comm, "look for the first value that is not finite",
                         ls_program_diagnose(s->train, run)));
    return ls_comm_suspect_report(s->comm, run->step);
}

/* Overflow is answered by a smaller loss scale; at the smallest one it is no matter of scale. */
static ls_status check_loss_scale(ls_session *s, ls_train_state *state, const ls_run_options *run) {
    const double least = s->config.optim.loss_scale_min;
    const int had_room = state->loss_scale == 0 || (double)state->loss_scale > least;
    LS_TRY(ls_program_fetch_f32(s->train, "loss_scale", &state->loss_scale));
    if (had_room) return LS_OK;
    LS_TRY(diagnose(s, run));
    return LS_FAIL(LS_ERR_NUMERIC,
                   "step %lld: the gradient overflows f16 even at the smallest loss scale "
                   "(optim.loss_scale_min = %g); lower the learning rate, or use bf16 or f32",
                   (long long)state->step, least);
}

ls_status ls_update_check(ls_session *s, ls_train_state *state, const ls_run_options *run) {
    float scale;
    LS_TRY(ls_program_fetch_f32(s->train, "grad_scale", &scale));
    if (scale >= 0) return LS_OK;
    state->n_skipped++;
    if (s->config.precision == LS_PRECISION_F16) return check_loss_scale(s, state, run);
    LS_TRY(diagnose(s, run));
    return LS_FAIL(
        LS_ERR_NUMERIC,
        "step %lld: the gradient's norm is not finite, although every value of every lane is; "
        "the weights were left as they are; lower the learning rate",
        (long long)state->step);
}
