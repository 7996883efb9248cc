#include "cli/plan_prediction.h"

#include <string.h>

#include "base/alloc.h"
#include "cli/cmd_bench.h"
#include "plan/cost/cost.h"

typedef struct prediction_call {
    const ls_plan_times *times;
    ls_machine machine;
    ls_prediction prediction;
    ls_arena *arena;
    char *missing; /* why there is none; NULL: there is one */
} prediction_call;

static double items_of(const ls_train_config *c) {
    return (double)c->batch * (ls_model_reads_tokens(c->model.kind) ? (double)c->window : 1.0);
}

/* What is wrong with the stored profile is said, not fatal. */
static ls_status pass_over(prediction_call *p, ls_status status) {
    if (status == LS_OK || status == LS_ERR_NO_MEMORY || p->times->machine) return status;
    p->missing = ls_strdup(ls_error_message());
    if (!p->missing) return LS_ERR_NO_MEMORY;
    ls_error_clear();
    return LS_OK;
}

static ls_status predict(prediction_call *p) {
    LS_TRY(pass_over(p, ls_cli_load_machine(p->times->machine, &p->machine)));
    if (p->missing) return LS_OK;
    LS_TRY(ls_arena_create(&p->arena));
    return pass_over(p, ls_plan_predict(p->times->plan, &p->machine, p->arena, &p->prediction));
}

static ls_status begin(const ls_plan_times *times, prediction_call **out) {
    prediction_call *p = ls_alloc(sizeof *p);
    if (!p) return LS_ERR_NO_MEMORY;
    p->times = times;
    const ls_status status = predict(p);
    *out = p;
    return status;
}

static void end(prediction_call *p) {
    if (!p) return;
    ls_arena_destroy(p->arena);
    ls_free(p->missing);
    ls_free(p);
}

static double save_seconds(const prediction_call *p) {
    const double rate = p->machine.disk_write.median;
    return rate > 0 ? p->times->save_bytes / rate : 0;
}

static ls_status print(const prediction_call *p, FILE *out) {
    ls_text text = {0};
    const ls_train_config *c = p->times->config;
    if (p->missing) {
        fprintf(out, "time: not predicted: %s\n", p->missing);
        return LS_OK;
    }
    ls_prediction_print(&p->prediction, &p->machine, items_of(c),
                        ls_model_reads_tokens(c->model.kind) ? "tokens" : "images", &text);
    const ls_status status = text.status;
    if (status == LS_OK) fputs(text.data, out);
    if (status == LS_OK && save_seconds(p) > 0) fprintf(out, "  a save: %.3g s\n", save_seconds(p));
    ls_text_deinit(&text);
    return status;
}

ls_status ls_plan_times_print(const ls_plan_times *times, FILE *out) {
    prediction_call *p = NULL;
    ls_status status = begin(times, &p);
    if (status == LS_OK) status = print(p, out);
    end(p);
    return status;
}

static ls_status set_json(const prediction_call *p, json_t *root) {
    if (p->missing) {
        if (json_object_set_new(root, "prediction", json_null()) == 0 &&
            json_object_set_new(root, "prediction_missing", json_string(p->missing)) == 0)
            return LS_OK;
        return LS_FAIL(LS_ERR_NO_MEMORY, "plan: out of memory while printing JSON");
    }
    json_t *object = ls_prediction_json(&p->prediction, &p->machine, items_of(p->times->config));
    if (object && save_seconds(p) > 0 &&
        json_object_set_new(object, "save_seconds", json_real(save_seconds(p)))) {
        json_decref(object);
        object = NULL;
    }
    if (object && json_object_set_new(root, "prediction", object) == 0) return LS_OK;
    return LS_FAIL(LS_ERR_NO_MEMORY, "plan: out of memory while printing JSON");
}

ls_status ls_plan_times_json(const ls_plan_times *times, json_t *root) {
    prediction_call *p = NULL;
    ls_status status = begin(times, &p);
    if (status == LS_OK) status = set_json(p, root);
    end(p);
    return status;
}
