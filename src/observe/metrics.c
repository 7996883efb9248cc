#include "observe/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"

struct ls_metrics {
    ls_file_log *log;
    ls_tensorboard *board;
    ls_text line;
};

/* Does the line stay: a record of ours, before `limit`, that a run writes on its way? A "final" one is written at the end of
 * every part of a run; what is no record at all goes. */
static ls_status stays(const char *line, size_t bytes, int64_t limit, int *out) {
    json_t *record = NULL;
    *out = 0;
    const ls_status status = ls_json_parse(line, bytes, "metrics.jsonl", &record);
    if (status == LS_ERR_NO_MEMORY) return status;
    if (status != LS_OK) return LS_OK;
    const json_t *step = json_object_get(record, "step");
    const char *kind = json_string_value(json_object_get(record, "kind"));
    *out = json_is_integer(step) && json_integer_value(step) < limit && kind &&
           strcmp(kind, "final") != 0;
    json_decref(record);
    return LS_OK;
}

/* Rewrites the file without records at or past `limit`, and without a torn last line. */
static ls_status drop_records(const char *path, int64_t limit) {
    char *text = NULL;
    size_t bytes = 0;
    if (!ls_path_exists(path)) return LS_OK;
    LS_TRY(ls_file_read(path, &text, &bytes));
    ls_text kept = {0};
    ls_status status = LS_OK;
    for (char *line = text, *end; status == LS_OK && (end = strchr(line, '\n')); line = end + 1) {
        int keep;
        status = stays(line, (size_t)(end - line), limit, &keep);
        if (status == LS_OK && keep) ls_text_append_bytes(&kept, line, (size_t)(end - line) + 1);
    }
    ls_free(text);
    if (status == LS_OK) status = kept.status;
    if (status == LS_OK) status = ls_file_write_atomic(path, kept.data ? kept.data : "", kept.size);
    ls_text_deinit(&kept);
    return status;
}

static ls_status open_log(ls_metrics *m, const char *dir, int64_t keep_below) {
    char *path = ls_format("%s/metrics.jsonl", dir);
    if (!path) return LS_ERR_NO_MEMORY;
    ls_status status = keep_below >= 0 ? drop_records(path, keep_below) : LS_OK;
    if (status == LS_OK) status = ls_file_log_open(path, keep_below < 0, &m->log);
    ls_free(path);
    return status;
}

ls_status ls_metrics_open(const char *dir, int tensorboard, int64_t keep_below, ls_metrics **out) {
    ls_metrics *m = ls_alloc(sizeof *m);
    if (!m) return LS_ERR_NO_MEMORY;
    ls_status status = open_log(m, dir, keep_below);
    if (status == LS_OK && tensorboard) status = ls_tensorboard_open(dir, &m->board);
    if (status != LS_OK) {
        ls_metrics_close(m);
        return status;
    }
    *out = m;
    return LS_OK;
}

static void begin_line(ls_metrics *m, const char *kind, int64_t step) {
    m->line.size = 0;
    ls_text_append(&m->line, "{\"kind\":\"%s\",\"step\":%lld,\"unix_ms\":%lld", kind,
                   (long long)step, (long long)ls_clock_unix_ms());
}

static ls_status end_line(ls_metrics *m) {
    ls_text_append(&m->line, "}\n");
    LS_TRY(m->line.status);
    return ls_file_log_write(m->log, m->line.data, m->line.size);
}

ls_status ls_metrics_write_members(ls_metrics *m, const char *kind, int64_t step,
                                   const char *members) {
    begin_line(m, kind, step);
    ls_text_append(&m->line, ",%s", members);
    return end_line(m);
}

ls_status ls_metrics_write(ls_metrics *m, const char *kind, int64_t step, const ls_metric *items,
                           int n_items) {
    begin_line(m, kind, step);
    for (int i = 0; i < n_items; i++) {
        if (isfinite(items[i].value))
            ls_text_append(&m->line, ",\"%s\":%.9g", items[i].name, items[i].value);
        else
            ls_text_append(&m->line, ",\"%s\":null", items[i].name);
    }
    LS_TRY(end_line(m));
    return m->board ? ls_tensorboard_write(m->board, step, items, n_items) : LS_OK;
}

void ls_metrics_close(ls_metrics *m) {
    if (!m) return;
    ls_file_log_close(m->log);
    ls_tensorboard_close(m->board);
    ls_text_deinit(&m->line);
    ls_free(m);
}
