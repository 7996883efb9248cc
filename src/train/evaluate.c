#include "train/session.h"

ls_status ls_eval_checkpoint(const ls_train_config *config, const char *checkpoint, ls_split part,
                             ls_eval_result *out) {
    ls_session session;
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_session_open(&session, config, NULL, LS_SESSION_EVAL));
    ls_status status = ls_ckpt_open(checkpoint, &ckpt);
    if (status == LS_OK) status = ls_ckpt_load(ckpt, session.eval, 1);
    if (status == LS_OK) status = ls_session_evaluate(&session, part, 0, out);
    ls_ckpt_close(ckpt);
    ls_session_close(&session);
    return status;
}
