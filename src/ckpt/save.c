#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/hash.h"
#include "base/json.h"
#include "ckpt/ckpt.h"

/* A value's whole tensor in host memory. Those who do not write use one buffer for all that they must fetch with the others. */
static ls_status fetch_value(ls_program *p, const ls_value_info *info, const ls_place *place,
                             ls_arena *arena, void **data_out) {
    const ls_type type = ls_value_whole_type(info);
    const size_t bytes = ls_type_bytes(&type);
    if (!info->piece && p->device->ops->kind == LS_DEVICE_CPU) {
        *data_out = ls_program_address(p, place, 0, 0);
        return LS_OK;
    }
    const int keeps = p->member == 0;
    void *data = keeps ? ls_arena_alloc(arena, bytes + 1) : ls_alloc(bytes + 1);
    if (!data) return LS_ERR_NO_MEMORY;
    const ls_status status = ls_program_fetch(p, info->name, data, bytes);
    if (!keeps) ls_free(data);
    *data_out = keeps ? data : NULL;
    return status;
}

/* Host copies of a program's persistent values, in graph order. Collective. */
static ls_status fetch_values(ls_program *p, ls_arena *arena, ls_ckpt_value **values_out,
                              int *n_out) {
    const ls_graph *g = p->plan->graph;
    ls_ckpt_value *values = ls_arena_alloc(arena, sizeof *values * (size_t)(g->n_values + 1));
    if (!values) return LS_ERR_NO_MEMORY;
    int n = 0;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_info *info = &g->values[v];
        if (info->kind != LS_VALUE_PARAM && info->kind != LS_VALUE_STATE) continue;
        if (p->rank->places[v].region == LS_REGION_NONE) continue;
        const ls_type type = ls_value_whole_type(info);
        void *data = NULL;
        LS_TRY(fetch_value(p, info, &p->rank->places[v], arena, &data));
        values[n++] = (ls_ckpt_value){{info->name, {type.dtype, type.shape, data}}, info->role};
    }
    *values_out = values;
    *n_out = n;
    return LS_OK;
}

static const char *const role_names[] = {"none", "weight", "optimizer", "buffer"};

static json_t *describe_tensor(const ls_ckpt_value *value) {
    const ls_tensor *t = &value->named.tensor;
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, ls_xxh3(t->data, ls_tensor_bytes(t), 0));
    json_t *shape = json_array();
    int failed = shape == NULL;
    for (int d = 0; !failed && d < t->shape.n_dims; d++)
        failed = json_array_append_new(shape, json_integer(t->shape.dims[d]));
    if (failed) {
        json_decref(shape);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:s}", "name", value->named.name, "dtype",
                     ls_dtype_name(t->dtype), "shape", shape, "file", ls_ckpt_file_of(value->role),
                     "role", role_names[value->role], "xxh3", hash);
}

static ls_status write_manifest(const ls_ckpt_value *values, int n, const ls_ckpt_content *content,
                                const char *hash, const char *path) {
    json_t *config = NULL, *trainer = NULL;
    LS_TRY(ls_json_parse(content->config_json, strlen(content->config_json),
                         "the run's configuration", &config));
    ls_status status = LS_OK;
    if (content->trainer_json)
        status = ls_json_parse(content->trainer_json, strlen(content->trainer_json),
                               "the trainer's state", &trainer);
    char seed[32];
    snprintf(seed, sizeof seed, "%" PRIu64, content->seed);
    json_t *tensors = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(tensors, describe_tensor(&values[i]));
    json_t *root = json_pack("{s:s, s:i, s:s, s:I, s:s, s:s, s:o, s:o*, s:o}", "format",
                             "lockstep checkpoint", "version", 1, "written_by", LS_VERSION, "step",
                             (json_int_t)content->step, "seed", seed, "weights_sha256", hash,
                             "config", config, "trainer", trainer, "tensors", tensors);
    char *text = NULL;
    size_t bytes = 0;
    if (status == LS_OK && (!root || json_array_size(tensors) != (size_t)n))
        status = LS_FAIL(LS_ERR_NO_MEMORY, "checkpoint: out of memory while writing the manifest");
    if (status == LS_OK) status = ls_json_dump(root, JSON_INDENT(1), &text, &bytes);
    if (status == LS_OK) status = ls_file_write_atomic(path, text, bytes);
    ls_free(text);
    json_decref(root);
    return status;
}

static ls_status write_tensors(const ls_ckpt_value *values, int n, int weights, const char *path) {
    ls_named_tensor *list = ls_alloc(sizeof *list * (size_t)(n + 1));
    if (!list) return LS_ERR_NO_MEMORY;
    int count = 0;
    for (int i = 0; i < n; i++)
        if ((values[i].role == LS_ROLE_OPTIMIZER) != weights) list[count++] = values[i].named;
    static const char *const metadata[] = {"format", "pt", "written_by", "lockstep " LS_VERSION,
                                           NULL};
    const ls_status status =
        count || weights ? ls_safetensors_write(path, list, count, metadata) : LS_OK;
    ls_free(list);
    return status;
}

static ls_status write_folder(const ls_ckpt_value *values, int n, const ls_ckpt_content *content,
                              const char *dir) {
    char path[LS_CKPT_PATH];
    char hash[65];
    LS_TRY(ls_ckpt_hash_values(values, n, hash));
    LS_TRY(ls_dir_make(dir));
    LS_TRY(ls_ckpt_path(dir, LS_CKPT_WEIGHTS, path));
    LS_TRY(write_tensors(values, n, 1, path));
    LS_TRY(ls_ckpt_path(dir, LS_CKPT_OPTIMIZER, path));
    LS_TRY(write_tensors(values, n, 0, path));
    for (int i = 0; i < content->n_files; i++) {
        LS_TRY(ls_ckpt_path(dir, content->files[i].name, path));
        LS_TRY(ls_file_write_atomic(path, content->files[i].data, content->files[i].bytes));
    }
    LS_TRY(ls_ckpt_path(dir, LS_CKPT_MANIFEST, path));
    LS_TRY(write_manifest(values, n, content, hash, path));
    return ls_dir_sync(dir);
}

/* rename(2) replaces no full folder: old and new are swapped in one step. Where the file system cannot, the old one steps
 * aside first and goes once the new one stands. */
static ls_status swap_in(const char *temporary, const char *dir) {
    char aside[LS_CKPT_PATH];
    if (!ls_path_exists(dir)) return ls_path_rename(temporary, dir);
    const ls_status swapped = ls_path_exchange(temporary, dir);
    if (swapped == LS_OK) return ls_dir_remove(temporary);
    if (swapped != LS_ERR_UNSUPPORTED) return swapped;
    if (snprintf(aside, sizeof aside, "%s.old.%ld", dir, (long)getpid()) >= (int)sizeof aside)
        return LS_FAIL(LS_ERR_INVALID, "checkpoint '%s': the path is too long", dir);
    LS_TRY(ls_path_rename(dir, aside));
    const ls_status status = ls_path_rename(temporary, dir);
    if (status != LS_OK) {
        (void)!rename(aside, dir);
        return status;
    }
    return ls_dir_remove(aside);
}

ls_status ls_ckpt_save(ls_program *program, const ls_ckpt_content *content, const char *dir,
                       const ls_ckpt_save_options *options) {
    (void)options;
    char temporary[LS_CKPT_PATH];
    if (snprintf(temporary, sizeof temporary, "%s.tmp.%ld", dir, (long)getpid()) >=
        (int)sizeof temporary)
        return LS_FAIL(LS_ERR_INVALID, "checkpoint '%s': the path is too long", dir);
    ls_arena *arena;
    LS_TRY(ls_arena_create(&arena));
    ls_ckpt_value *values = NULL;
    int n = 0;
    ls_status status = fetch_values(program, arena, &values, &n);
    const int writes = program->member == 0;
    if (status == LS_OK && writes && ls_path_exists(temporary)) status = ls_dir_remove(temporary);
    if (status == LS_OK && writes) status = write_folder(values, n, content, temporary);
    if (status == LS_OK && writes) status = swap_in(temporary, dir);
    if (status != LS_OK && writes) {
        ls_error_prefix(status, "saving checkpoint '%s'", dir);
        ls_ckpt_discard(temporary);
    }
    ls_arena_destroy(arena);
    return program->plan->n_members > 1 ? ls_comm_agree(program->comm, "save a checkpoint", status)
                                        : status;
}

/* Starts like what a run writes in its folder? */
static int is_run_file(const char *name) {
    static const char *const starts[] = {"step-", "latest.", "metrics.jsonl.", "loss.svg."};
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0) return 1;
    return 0;
}

/* "step-000000012.tmp.345": a name that only a save that was cut short leaves behind. ".old." counts once its successor
 * stands: until then it is the checkpoint. */
static int is_leftover(const char *root, const char *name) {
    const char *mark = strstr(name, ".tmp.");
    const int is_old = mark == NULL;
    if (is_old) mark = strstr(name, ".old.");
    if (!is_run_file(name) || !mark || !mark[5] ||
        strspn(mark + 5, "0123456789") != strlen(mark + 5))
        return 0;
    char path[LS_CKPT_PATH];
    if (!is_old) return 1;
    const int n = snprintf(path, sizeof path, "%s/%.*s", root, (int)(mark - name), name);
    return n < (int)sizeof path && ls_path_exists(path);
}

ls_status ls_ckpt_sweep(const char *root) {
    char **names = NULL, path[LS_CKPT_PATH];
    int n = 0;
    LS_TRY(ls_dir_list(root, &names, &n));
    ls_status status = LS_OK;
    for (int i = 0; i < n; i++) {
        if (status == LS_OK && is_leftover(root, names[i])) {
            status = ls_ckpt_path(root, names[i], path);
            if (status == LS_OK && ls_path_is_dir(path))
                status = ls_dir_remove(path);
            else if (status == LS_OK)
                (void)unlink(path); /* a file that stays does no harm */
        }
        ls_free(names[i]);
    }
    ls_free(names);
    return status;
}
