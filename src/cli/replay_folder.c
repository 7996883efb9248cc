#include "cli/replay_folder.h"
#include "base/alloc.h"
#include "base/config.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "train/source.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_STEPS_NAMED = 40 };

/* What a run's folder tells. */
typedef struct run_record {
    char *folder;
    ls_hash_record *records; /* ascending steps */
    int64_t n_records, capacity;
    int64_t *checkpoints; /* steps, ascending */
    int64_t n_checkpoints, checkpoints_capacity;
} run_record;

static void free_run(run_record *run) {
    for (int64_t i = 0; i < run->n_records; i++) ls_free(run->records[i].ranks);
    ls_free(run->records);
    ls_free(run->checkpoints);
    ls_free(run->folder);
}

/* --- records ---------------------------------------------------------------------------------------------------------- */

/* A run that began again at an earlier step wrote its steps once more: the last record of a step counts. */
static ls_status keep_record(run_record *run, const ls_hash_record *record) {
    while (run->n_records > 0 && run->records[run->n_records - 1].step >= record->step)
        ls_free(run->records[--run->n_records].ranks);
    LS_TRY(ls_array_reserve((void **)&run->records, &run->capacity, run->n_records + 1,
                            sizeof *record));
    run->records[run->n_records++] = *record;
    return LS_OK;
}

static ls_status read_line(run_record *run, const char *line, size_t bytes, const char *what) {
    json_t *object = NULL;
    ls_hash_record record;
    ls_status status = ls_json_parse(line, bytes, what, &object);
    if (status != LS_OK) return status;
    const char *kind = json_string_value(json_object_get(object, "kind"));
    if (kind && strcmp(kind, "hash") == 0) {
        status = ls_hash_parse(object, what, &record);
        if (status == LS_OK) {
            status = keep_record(run, &record);
            if (status != LS_OK) ls_free(record.ranks);
        }
    }
    json_decref(object);
    return status;
}

static ls_status read_records(run_record *run) {
    char *path = ls_format("%s/metrics.jsonl", run->folder), *text = NULL;
    size_t bytes = 0;
    if (!path) return LS_ERR_NO_MEMORY;
    ls_status status = ls_file_read(path, &text, &bytes);
    /* A torn last line has no end. */
    for (char *line = text, *end; status == LS_OK && (end = strchr(line, '\n')); line = end + 1)
        status = read_line(run, line, (size_t)(end - line), path);
    ls_free(text);
    ls_free(path);
    return status;
}

/* --- checkpoints ------------------------------------------------------------------------------------------------------ */

static char *checkpoint_path(const run_record *run, int64_t step) {
    return ls_format("%s/step-%09lld", run->folder, (long long)step);
}

static ls_status list_checkpoints(run_record *run) {
    char **names = NULL;
    int n = 0;
    LS_TRY(ls_dir_list(run->folder, &names, &n));
    ls_status status = LS_OK;
    for (int i = 0; i < n; i++) {
        const char *digits = strncmp(names[i], "step-", 5) == 0 ? names[i] + 5 : "";
        if (status == LS_OK && *digits && strspn(digits, "0123456789") == strlen(digits)) {
            status = ls_array_reserve((void **)&run->checkpoints, &run->checkpoints_capacity,
                                      run->n_checkpoints + 1, sizeof *run->checkpoints);
            if (status == LS_OK) run->checkpoints[run->n_checkpoints++] = strtoll(digits, NULL, 10);
        }
        ls_free(names[i]);
    }
    ls_free(names);
    return status;
}

/* DIR is a run's folder, or a checkpoint in one. */
static ls_status open_run(const char *dir, run_record *run) {
    char *manifest = ls_format("%s/%s", dir, LS_CKPT_MANIFEST);
    if (!manifest) return LS_ERR_NO_MEMORY;
    run->folder = ls_format("%s%s", dir, ls_path_exists(manifest) ? "/.." : "");
    ls_free(manifest);
    if (!run->folder) return LS_ERR_NO_MEMORY;
    LS_TRY(read_records(run));
    return list_checkpoints(run);
}

/* --- what to compute -------------------------------------------------------------------------------------------------- */

static ls_status find_record(const run_record *run, int64_t step, int64_t *index_out) {
    ls_text steps = {0};
    for (int64_t i = 0; i < run->n_records; i++) {
        if (run->records[i].step == step) {
            *index_out = i;
            ls_text_deinit(&steps);
            return LS_OK;
        }
        if (i < MOST_STEPS_NAMED)
            ls_text_append(&steps, "%s%lld", i ? ", " : "", (long long)run->records[i].step);
    }
    const int64_t n = run->n_records;
    ls_status status = steps.status;
    if (status == LS_OK && n == 0)
        status = LS_FAIL(LS_ERR_NOT_FOUND,
                         "replay: %s/metrics.jsonl has no hashes; a run records them with "
                         "hash_every=N",
                         run->folder);
    else if (status == LS_OK)
        status = LS_FAIL(LS_ERR_NOT_FOUND,
                         "replay: step %lld has no record; records are there for steps %s%s%.0lld",
                         (long long)step, steps.data, n > MOST_STEPS_NAMED ? ", ... " : "",
                         n > MOST_STEPS_NAMED ? (long long)run->records[n - 1].step : 0LL);
    ls_text_deinit(&steps);
    return status;
}

/* Newest checkpoint at or before `step` (-1: none), and the one whose configuration made the steps after it: what was given to
 * `resume` is stored in the next. */
static ls_status choose_checkpoints(const run_record *run, int64_t step, int64_t *begin_out,
                                    int64_t *config_out) {
    *begin_out = *config_out = -1;
    for (int64_t i = 0; i < run->n_checkpoints; i++) {
        if (run->checkpoints[i] <= step) *begin_out = *config_out = run->checkpoints[i];
        if (run->checkpoints[i] > step) {
            *config_out = run->checkpoints[i];
            break;
        }
    }
    if (*config_out >= 0) return LS_OK;
    return LS_FAIL(LS_ERR_NOT_FOUND,
                   "replay: %s holds no checkpoint, so neither a state to begin "
                   "with nor the run's configuration",
                   run->folder);
}

/* --- all of it --------------------------------------------------------------------------------------------------------- */

/* Nothing is written to the run's folder: its tokens must be there, and be those of the data as it is now. */
static ls_status check_data(const ls_replay_request *request, const ls_train_config *config) {
    int is_current;
    if (!ls_model_reads_tokens(config->model.kind)) return LS_OK;
    for (int i = 0; i < request->n_assignments; i++)
        if (strncmp(request->assignments[i], "data.cache=", 11) == 0) return LS_OK;
    LS_TRY(ls_prepare_is_current(config, &is_current));
    if (is_current) return LS_OK;
    return LS_FAIL(LS_ERR_NOT_FOUND,
                   "replay: the run's tokens are not there any more, or not those of '%s' as it is "
                   "now; data.cache=DIR prepares them in a folder of your choice",
                   config->data.path);
}

/* The configuration in checkpoint `step`, for the folder as it is now. */
static ls_status read_config(const ls_replay_request *request, const run_record *run, int64_t step,
                             ls_train_config *config, ls_config **values) {
    char *path = checkpoint_path(run, step);
    ls_ckpt *ckpt = NULL;
    if (!path) return LS_ERR_NO_MEMORY;
    ls_status status = ls_ckpt_open(path, &ckpt);
    if (status == LS_OK)
        status =
            ls_train_config_from_json(ls_ckpt_config(ckpt), "the checkpoint's configuration",
                                      request->assignments, request->n_assignments, config, values);
    ls_ckpt_close(ckpt);
    ls_free(path);
    if (status != LS_OK) return status;
    config->out = run->folder;
    return check_data(request, config);
}

static ls_status replay_from(const ls_replay_request *request, const run_record *run,
                             const ls_train_config *config, int64_t begin, int64_t last,
                             ls_replay_finding *finding_out, int *ranks_out) {
    const ls_hash_record *record = &run->records[last];
    int64_t first = last;
    while (first > 0 && run->records[first - 1].step > (begin < 0 ? 0 : begin)) first--;
    char *path = begin < 0 ? NULL : checkpoint_path(run, begin);
    if (begin >= 0 && !path) return LS_ERR_NO_MEMORY;
    const ls_replay_options options = {
        .checkpoint = path,
        .records = run->records + first,
        .n_records = (int)(last - first + 1),
        .ranks = request->ranks ? (int)request->ranks : record->size,
        .hosts = request->ranks == 0 || request->ranks == record->size ? record->hosts : 1,
        .zero = record->zero};
    if (!request->quiet)
        ls_log(LS_LOG_INFO, "replay: steps %lld to %lld with %d rank%s, from %s",
               (long long)(begin < 0 ? 0 : begin) + 1, (long long)record->step, options.ranks,
               options.ranks == 1 ? "" : "s", path ? path : "the first values");
    *ranks_out = options.ranks;
    const ls_status status = ls_replay(config, &options, finding_out);
    ls_free(path);
    return status;
}

static ls_status replay_run(const ls_replay_request *request, const run_record *run,
                            ls_replay_finding *finding_out, int *ranks_out) {
    int64_t last, begin, config_step;
    ls_train_config config;
    ls_config *values = NULL;
    LS_TRY(find_record(run, request->step, &last));
    const int64_t latest =
        request->from >= 0 && request->from < request->step ? request->from : request->step - 1;
    LS_TRY(choose_checkpoints(run, latest, &begin, &config_step));
    ls_status status = read_config(request, run, config_step, &config, &values);
    if (status == LS_OK)
        status = replay_from(request, run, &config, begin, last, finding_out, ranks_out);
    ls_config_destroy(values);
    return status;
}

ls_status ls_replay_folder(const ls_replay_request *request, ls_replay_finding *finding_out,
                           int *ranks_out) {
    run_record run = {0};
    ls_status status = open_run(request->dir, &run);
    if (status == LS_OK) status = replay_run(request, &run, finding_out, ranks_out);
    free_run(&run);
    return status;
}
