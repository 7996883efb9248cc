#include "train/recorder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/fs.h"
#include "base/json.h"
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
};

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

ls_status ls_recorder_open(ls_session *session, int resumed, int64_t step, ls_recorder **out) {
    const ls_train_config *c = &session->config;
    ls_recorder *r = ls_alloc(sizeof *r);
    if (!r) return LS_ERR_NO_MEMORY;
    r->session = session;
    ls_status status = ls_dir_make(c->out);
    if (status == LS_OK) status = ls_ckpt_sweep(c->out);
    if (status == LS_OK)
        status = ls_metrics_open(c->out, c->tensorboard, resumed ? step + 1 : -1, &r->metrics);
    if (status == LS_OK && resumed) status = read_curves(r, c->out);
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

ls_status ls_recorder_step(ls_recorder *r, const ls_train_progress *p) {
    const ls_metric items[] = {{"loss", p->loss},
                               {"lr", p->lr},
                               {"grad_norm", p->grad_norm},
                               {"items_per_second", p->items_per_second},
                               {"flops_per_second", p->flops_per_second},
                               {"seconds", p->seconds},
                               {"skipped_steps", (double)p->n_skipped}};
    LS_TRY(add_point(&r->train, (double)p->step, p->loss));
    return ls_metrics_write(r->metrics, "step", p->step, items, sizeof items / sizeof items[0]);
}

ls_status ls_recorder_evaluation(ls_recorder *r, int64_t step, const ls_eval_result *eval) {
    const ls_metric items[] = {
        {"loss", eval->loss}, {"bits_per_byte", eval->bits_per_byte}, {"accuracy", eval->accuracy}};
    LS_TRY(add_point(&r->held, (double)step, eval->loss));
    return ls_metrics_write(r->metrics, "eval", step, items, 3);
}

ls_status ls_recorder_record(ls_recorder *r, const char *kind, int64_t step, const char *members) {
    return ls_metrics_write_members(r->metrics, kind, step, members);
}

static ls_status trainer_state(const ls_early_stop *stop, char **out) {
    /* Infinity and the like have no JSON form: exact hexadecimal floats as text. */
    *out = ls_format("{\"best\":\"%a\",\"bar\":\"%a\",\"best_step\":%lld,\"n_bad\":%lld}",
                     stop->best, stop->bar, (long long)stop->best_step, (long long)stop->n_bad);
    return *out ? LS_OK : LS_ERR_NO_MEMORY;
}

ls_status ls_recorder_restore(const char *trainer_json, ls_early_stop *stop) {
    static const char what[] = "the checkpoint's trainer state";
    json_t *root = NULL;
    const char *best, *bar;
    if (!trainer_json) return LS_OK;
    LS_TRY(ls_json_parse(trainer_json, strlen(trainer_json), what, &root));
    ls_status status = ls_json_get_string(root, what, "best", &best);
    if (status == LS_OK) status = ls_json_get_string(root, what, "bar", &bar);
    if (status == LS_OK) status = ls_json_get_int(root, what, "best_step", &stop->best_step);
    if (status == LS_OK) status = ls_json_get_int(root, what, "n_bad", &stop->n_bad);
    if (status == LS_OK) {
        stop->best = strtod(best, NULL);
        stop->bar = strtod(bar, NULL);
    }
    json_decref(root);
    return status;
}

static int is_checkpoint_name(const char *name) {
    return strncmp(name, "step-", 5) == 0 && strspn(name + 5, "0123456789") == strlen(name + 5);
}

/* Is it a checkpoint of this run, `step` steps old? Later ones are another run's: a run that starts again in its old
 * folder must not take them for its newest. */
static int is_ours(const char *name, int64_t step) {
    return is_checkpoint_name(name) && strtoll(name + 5, NULL, 10) <= step;
}

/* Folder names sort by step (fixed width): the oldest come first. */
static ls_status remove_old(const char *dir, int64_t step, int64_t keep) {
    char **names = NULL;
    int n = 0, n_ours = 0;
    LS_TRY(ls_dir_list(dir, &names, &n));
    for (int i = 0; i < n; i++) n_ours += is_ours(names[i], step);
    ls_status status = LS_OK;
    for (int i = 0; i < n; i++) {
        if (status == LS_OK && is_ours(names[i], step) && n_ours > keep) {
            char *path = ls_format("%s/%s", dir, names[i]);
            status = path ? ls_dir_remove(path) : LS_ERR_NO_MEMORY;
            ls_free(path);
            n_ours--;
        }
        ls_free(names[i]);
    }
    ls_free(names);
    return status;
}

static ls_status fill_content(const ls_session *s, const struct ls_config *run_values,
                              const ls_early_stop *stop, ls_ckpt_content *content, char *texts[4]) {
    json_t *values = NULL;
    size_t bytes = 0;
    LS_TRY(ls_config_values(run_values, &values));
    ls_status status = ls_json_dump(values, JSON_INDENT(1), &texts[0], NULL);
    json_decref(values);
    LS_TRY(status);
    LS_TRY(trainer_state(stop, &texts[1]));
    LS_TRY(ls_model_save_config(&s->config.model, &texts[2]));
    content->config_json = texts[0];
    content->trainer_json = texts[1];
    ls_ckpt_file *files = (ls_ckpt_file *)content->files;
    files[content->n_files++] = (ls_ckpt_file){"config.json", texts[2], strlen(texts[2])};
    const ls_tokenizer *tokenizer = ls_source_tokenizer(s->source);
    if (!tokenizer) return LS_OK;
    LS_TRY(ls_tokenizer_to_text(tokenizer, &texts[3], &bytes));
    files[content->n_files++] = (ls_ckpt_file){"tokenizer.json", texts[3], bytes};
    return LS_OK;
}

ls_status ls_recorder_save(ls_session *s, const struct ls_config *values, int64_t step,
                           const ls_early_stop *stop, char *path_out, size_t path_bytes) {
    const ls_train_config *c = &s->config;
    char name[32], *texts[4] = {0};
    snprintf(name, sizeof name, "step-%09lld", (long long)step);
    if (snprintf(path_out, path_bytes, "%s/%s", c->out, name) >= (int)path_bytes)
        return LS_FAIL(LS_ERR_CONFIG, "out: the path '%s' is too long", c->out);
    ls_ckpt_file files[2];
    ls_ckpt_content content = {.step = step, .seed = (uint64_t)c->seed, .files = files};
    ls_status status = fill_content(s, values, stop, &content, texts);
    status = ls_comm_agree(s->comm, "describe the checkpoint", status);
    if (status == LS_OK) status = ls_ckpt_save(s->train, &content, path_out, NULL);
    if (status == LS_OK && ls_comm_rank(s->comm) == 0) {
        status = ls_ckpt_set_latest(c->out, name);
        if (status == LS_OK) status = remove_old(c->out, step, c->keep);
    }
    for (int i = 0; i < 4; i++) ls_free(texts[i]);
    return status;
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
