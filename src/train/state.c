#include "train/state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"

void ls_train_state_init(ls_train_state *s, const ls_optim_options *optim) {
    *s = (ls_train_state){.loss = NAN, .lr = NAN, .grad_norm = NAN, .held_loss = NAN};
    ls_early_stop_init(&s->stop, optim->patience, optim->min_delta);
}

ls_status ls_train_state_print(const ls_train_state *s, char **out) {
    /* Infinity and the like have no JSON form: exact hexadecimal floats as text. */
    *out =
        ls_format("{\"best\":\"%a\",\"bar\":\"%a\",\"best_step\":%lld,\"n_bad\":%lld,"
                  "\"loss\":\"%a\",\"lr\":\"%a\",\"grad_norm\":\"%a\",\"held_loss\":\"%a\","
                  "\"seconds\":\"%a\",\"loss_scale\":\"%a\",\"skipped_steps\":%lld,"
                  "\"data\":\"%016llx\",\"run\":\"%s\"}",
                  s->stop.best, s->stop.bar, (long long)s->stop.best_step, (long long)s->stop.n_bad,
                  s->loss, s->lr, s->grad_norm, s->held_loss, s->seconds, (double)s->loss_scale,
                  (long long)s->n_skipped, (unsigned long long)s->data, s->run);
    return *out ? LS_OK : LS_ERR_NO_MEMORY;
}

static ls_status read_real(const json_t *root, const char *what, const char *key, double *out) {
    const char *text;
    char *end;
    if (!json_object_get(root, key)) return LS_OK;
    LS_TRY(ls_json_get_string(root, what, key, &text));
    const double value = strtod(text, &end);
    if (end == text || *end)
        return LS_FAIL(LS_ERR_FORMAT, "%s: %s '%s' is not a number", what, key, text);
    *out = value;
    return LS_OK;
}

static ls_status read_count(const json_t *root, const char *what, const char *key, int64_t *out) {
    return json_object_get(root, key) ? ls_json_get_int(root, what, key, out) : LS_OK;
}

static ls_status read_state(const json_t *root, const char *what, ls_train_state *s) {
    double scale = (double)s->loss_scale;
    LS_TRY(read_real(root, what, "best", &s->stop.best));
    LS_TRY(read_real(root, what, "bar", &s->stop.bar));
    LS_TRY(read_count(root, what, "best_step", &s->stop.best_step));
    LS_TRY(read_count(root, what, "n_bad", &s->stop.n_bad));
    LS_TRY(read_real(root, what, "loss", &s->loss));
    LS_TRY(read_real(root, what, "lr", &s->lr));
    LS_TRY(read_real(root, what, "grad_norm", &s->grad_norm));
    LS_TRY(read_real(root, what, "held_loss", &s->held_loss));
    LS_TRY(read_real(root, what, "seconds", &s->seconds));
    LS_TRY(read_real(root, what, "loss_scale", &scale));
    LS_TRY(read_count(root, what, "skipped_steps", &s->n_skipped));
    s->loss_scale = (float)scale;
    const char *data = json_string_value(json_object_get(root, "data"));
    if (data) s->data = strtoull(data, NULL, 16);
    const char *run = json_string_value(json_object_get(root, "run"));
    if (run) snprintf(s->run, sizeof s->run, "%s", run);
    return LS_OK;
}

ls_status ls_train_state_parse(const char *json, const char *what, ls_train_state *s) {
    json_t *root = NULL;
    if (!json) return LS_OK;
    LS_TRY(ls_json_parse(json, strlen(json), what, &root));
    const ls_status status = json_is_object(root)
                                 ? read_state(root, what, s)
                                 : LS_FAIL(LS_ERR_FORMAT, "%s: not a JSON object", what);
    json_decref(root);
    return status;
}
