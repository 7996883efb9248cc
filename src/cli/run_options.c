#include "cli/run_options.h"

#include <math.h>
#include <string.h>

ls_status ls_cli_load_config(const ls_cmd_call *call, ls_train_config *config, ls_config **values) {
    return ls_train_config_load(call->n_args ? call->args[0] : NULL, call->assignments,
                                call->n_assignments, config, values);
}

static ls_status read_stored_config(const char *path, const ls_cmd_call *call,
                                    ls_cli_checkpoint *out) {
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_ckpt_open(path, &ckpt));
    const ls_status status = ls_train_config_from_json(
        ls_ckpt_config(ckpt), "the checkpoint's configuration", call->assignments,
        call->n_assignments, &out->config, &out->values);
    ls_ckpt_close(ckpt);
    return status;
}

ls_status ls_cli_open_checkpoint(const char *dir, const ls_cmd_call *call, ls_cli_checkpoint *out) {
    *out = (ls_cli_checkpoint){0};
    LS_TRY(ls_ckpt_find_latest(dir, &out->path));
    const ls_status status = read_stored_config(out->path, call, out);
    if (status != LS_OK) ls_cli_close_checkpoint(out);
    return status;
}

void ls_cli_close_checkpoint(ls_cli_checkpoint *checkpoint) {
    ls_config_destroy(checkpoint->values);
    ls_free(checkpoint->path);
    *checkpoint = (ls_cli_checkpoint){0};
}

json_t *ls_cli_json_real(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}
