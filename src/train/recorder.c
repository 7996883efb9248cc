#include "train/recorder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "observe/chart.h"
#include "observe/metrics.h"

typedef struct curve {
    double *x, *y;
    int64_t n, capacity_x, capacity_y;
} curve;

struct ls_recorder {
    ls_session *session;
    ls_metrics *metrics;
    curve train, held;
    int64_t n_lost; /* records that a full disk did not take, since the last one it took */
};

/* A disk that is full for a while does not end a run that may go on without a checkpoint: records are lost, and it is said when that
 * begins and how many they were when it ends. */
static ls_status judge(ls_recorder *r, int64_t step, ls_status status) {
    const int may_fail = r->session->config.on_save_error == LS_SAVE_ERROR_CONTINUE &&
                         (status == LS_ERR_NO_SPACE || status == LS_ERR_IO);
    if (status != LS_OK && !may_fail) return status;
    if (status != LS_OK && r->n_lost++ == 0)
        ls_log(LS_LOG_WARN, "the records from step %lld on are lost and the run goes on: %s",
               (long long)step, ls_error_message());
    if (status == LS_OK && r->n_lost > 0) {
        ls_log(LS_LOG_WARN, "records are written again from step %lld on; %lld were lost",
               (long long)step, (long long)r->n_lost);
        r->n_lost = 0;
    }
    ls_error_clear();
    return LS_OK;
}

static ls_status add_point(curve *c, double x, double y) {
    LS_TRY(ls_array_reserve((void **)&c->x, &c->capacity_x, c->n + 1, sizeof *c->x));
    LS_TRY(ls_array_reserve((void **)&c->y, &c->capacity_y, c->n + 1, sizeof *c->y));
    c->x[c->n] = x;
    c->y[c->n++] = y;
    return LS_OK;
}

/* A resumed run draws the whole curve: the records before the resume point are read back. */
static ls_status read_curves(ls_recorder *r, const char *dir) {
    char *path = ls_format("%s/metrics.jsonl", dir), *text = NULL;
    size_t bytes;
    if (!path) return LS_ERR_NO_MEMORY;
    ls_status status = ls_path_exists(path) ? ls_file_read(path, &text, &bytes) : LS_OK;
    ls_free(path);
    for (char *line = text, *end; status == LS_OK && line && (end = strchr(line, '\n'));
         line = end + 1) {
        json_t *record = NULL;
        status = ls_json_parse(line, (size_t)(end - line), "metrics.jsonl", &record);
        if (status != LS_OK) break;
        const char *kind = json_string_value(json_object_get(record, "kind"));
        const double step = (double)json_integer_value(json_object_get(record, "step"));
        const json_t *value = json_object_get(record, "loss");
        const double loss = json_is_number(value) ? json_number_value(value) : NAN;
        if (kind && strcmp(kind, "step") == 0) status = add_point(&r->train, step, loss);
        if (kind && strcmp(kind, "eval") == 0) status = add_point(&r->held, step, loss);
        json_decref(record);
    }
    ls_free(text);
    return status;
}

ls_status ls_recorder_open(ls_session *session, int64_t keep_below, ls_recorder **out) {
    const ls_train_config *c = &session->config;
    ls_recorder *r = ls_alloc(sizeof *r);
    if (!r) return LS_ERR_NO_MEMORY;
    r->session = session;
    ls_status status = ls_dir_make(c->out);
    if (status == LS_OK) status = ls_ckpt_sweep(c->out);
    if (status == LS_OK) status = ls_metrics_open(c->out, c->tensorboard, keep_below, &r->metrics);
    if (status == LS_OK && keep_below >= 0) status = read_curves(r, c->out);
    if (status != LS_OK) {
        ls_recorder_close(r);
        return status;
    }
    *out = r;
    return LS_OK;
}

void ls_recorder_close(ls_recorder *r) {
    if (!r) return;
    ls_metrics_close(r->metrics);
    ls_free(r->train.x);
    ls_free(r->train.y);
    ls_free(r->held.x);
    ls_free(r->held.y);
    ls_free(r);
}

/* The process that made the last step of a run that goes on may have told of it before it died. */
static int is_told(const curve *c, int64_t step) {
    return c->n > 0 && c->x[c->n - 1] >= (double)step;
}

ls_status ls_recorder_step(ls_recorder *r, const ls_train_progress *p) {
    const ls_metric items[] = {{"loss", p->loss},
                               {"lr", p->lr},
                               {"grad_norm", p->grad_norm},
                               {"items_per_second", p->items_per_second},
                               {"flops_per_second", p->flops_per_second},
                               {"seconds", p->seconds},
                               {"skipped_steps", (double)p->n_skipped}};
    if (is_told(&r->train, p->step)) return LS_OK;
    LS_TRY(add_point(&r->train, (double)p->step, p->loss));
    return judge(
        r, p->step,
        ls_metrics_write(r->metrics, "step", p->step, items, sizeof items / sizeof items[0]));
}

ls_status ls_recorder_evaluation(ls_recorder *r, int64_t step, const ls_eval_result *eval) {
    const ls_metric items[] = {
        {"loss", eval->loss}, {"bits_per_byte", eval->bits_per_byte}, {"accuracy", eval->accuracy}};
    if (is_told(&r->held, step)) return LS_OK;
    LS_TRY(add_point(&r->held, (double)step, eval->loss));
    return judge(r, step, ls_metrics_write(r->metrics, "eval", step, items, 3));
}

ls_status ls_recorder_record(ls_recorder *r, const char *kind, int64_t step, const char *members) {
    return judge(r, step, ls_metrics_write_members(r->metrics, kind, step, members));
}

static ls_status draw_curves(const ls_recorder *r, const ls_train_result *result) {
    const int images = ls_source_is_images(r->session->source);
    const ls_series series[] = {
        {"training loss", r->train.x, r->train.y, r->train.n, 0},
        {images ? "test loss" : "early-stopping loss", r->held.x, r->held.y, r->held.n, 1}};
    const ls_chart_line line = {images ? "test loss, final" : "held-out loss, final",
                                result->held_loss};
    const ls_chart chart = {.title = "Loss",
                            .x_label = "optimizer step",
                            .y_label = images ? "nats per image" : "nats per token",
                            .series = series,
                            .n_series = r->held.n ? 2 : 1,
                            .lines = &line,
                            .n_lines = isfinite(result->held_loss)};
    ls_text text = {0};
    ls_status status = ls_chart_print(&chart, &text);
    char *path = ls_format("%s/loss.svg", r->session->config.out);
    if (status == LS_OK)
        status = path ? ls_file_write_atomic(path, text.data, text.size) : LS_ERR_NO_MEMORY;
    ls_free(path);
    ls_text_deinit(&text);
    return status;
}

ls_status ls_recorder_finish(ls_recorder *r, const ls_train_result *result) {
    const ls_metric items[] = {{"loss", result->held_loss},
                               {"bits_per_byte", result->held_bits_per_byte},
                               {"accuracy", result->held_accuracy},
                               {"train_seconds", result->train_seconds},
                               {"items_per_second", result->items_per_second}};
    LS_TRY(ls_metrics_write(r->metrics, "final", result->steps, items,
                            sizeof items / sizeof items[0]));
    return draw_curves(r, result);
}
