#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/hash.h"
#include "base/json.h"
#include "ckpt/ckpt.h"

typedef struct entry {
    ls_ckpt_value value;
    uint64_t xxh3;
} entry;

struct ls_ckpt {
    ls_arena *arena;
    json_t *manifest;
    const char *dir;
    int64_t step;
    uint64_t seed;
    char *config, *trainer;
    ls_safetensors *weights, *optimizer; /* optimizer may be NULL */
    entry *entries;
    int n_entries;
};

static ls_status parse_hex(const char *what, const char *text, uint64_t *out) {
    char *end = NULL;
    *out = strtoull(text, &end, 16);
    if (strlen(text) == 16 && end == text + 16) return LS_OK;
    return LS_FAIL(LS_ERR_FORMAT, "%s: a tensor's xxh3 must be 16 hexadecimal digits, got '%s'",
                   what, text);
}

/* Same shape and dtype in the manifest and in the tensor file? */
static ls_status check_entry(const char *what, const json_t *item, const ls_named_tensor *named) {
    const char *dtype_name;
    json_t *shape;
    ls_dtype dtype;
    LS_TRY(ls_json_get_string(item, what, "dtype", &dtype_name));
    LS_TRY(ls_json_get_array(item, what, "shape", &shape));
    const ls_status known = ls_dtype_parse(dtype_name, &dtype);
    if (known != LS_OK) return ls_error_prefix(known, "%s: tensor '%s'", what, named->name);
    int same =
        dtype == named->tensor.dtype && (int)json_array_size(shape) == named->tensor.shape.n_dims;
    for (int d = 0; same && d < named->tensor.shape.n_dims; d++)
        same = json_integer_value(json_array_get(shape, (size_t)d)) == named->tensor.shape.dims[d];
    if (same) return LS_OK;
    return LS_FAIL(LS_ERR_FORMAT,
                   "%s: tensor '%s' has another dtype or shape in its file than in the manifest",
                   what, named->name);
}

static ls_status read_entry(ls_ckpt *c, const char *what, const json_t *item, entry *out) {
    const char *name, *file, *hash;
    LS_TRY(ls_json_get_string(item, what, "name", &name));
    LS_TRY(ls_json_get_string(item, what, "file", &file));
    LS_TRY(ls_json_get_string(item, what, "xxh3", &hash));
    LS_TRY(parse_hex(what, hash, &out->xxh3));
    const int optimizer = strcmp(file, LS_CKPT_OPTIMIZER) == 0;
    if (!optimizer && strcmp(file, LS_CKPT_WEIGHTS) != 0)
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s: tensor '%s' names file '%s'; this version knows %s and %s", what, name,
                       file, LS_CKPT_WEIGHTS, LS_CKPT_OPTIMIZER);
    if (optimizer && !c->optimizer)
        return LS_FAIL(LS_ERR_FORMAT, "%s: the manifest lists '%s' in %s, but that file is missing",
                       what, name, file);
    out->value.named.name = name;
    const char *role = json_string_value(json_object_get(item, "role"));
    out->value.role = optimizer                             ? LS_ROLE_OPTIMIZER
                      : role && strcmp(role, "buffer") == 0 ? LS_ROLE_BUFFER
                                                            : LS_ROLE_WEIGHT;
    const ls_safetensors *tensors = optimizer ? c->optimizer : c->weights;
    if (ls_safetensors_find(tensors, name, &out->value.named.tensor) != LS_OK)
        return LS_FAIL(LS_ERR_FORMAT, "%s lists tensor '%s', which %s does not hold", what, name,
                       file);
    return check_entry(what, item, &out->value.named);
}

static ls_status dump_member(const json_t *manifest, const char *key, char **out) {
    const json_t *value = json_object_get(manifest, key);
    return json_is_object(value) ? ls_json_dump(value, 0, out, NULL) : LS_OK;
}

static ls_status read_manifest(ls_ckpt *c, const char *what) {
    const char *format, *seed;
    int64_t version;
    json_t *tensors;
    LS_TRY(ls_json_get_string(c->manifest, what, "format", &format));
    LS_TRY(ls_json_get_int(c->manifest, what, "version", &version));
    if (strcmp(format, "lockstep checkpoint") != 0 || version != 1)
        return LS_FAIL(
            LS_ERR_FORMAT,
            "%s: expected format 'lockstep checkpoint' version 1, found '%s' version %lld", what,
            format, (long long)version);
    LS_TRY(ls_json_get_int(c->manifest, what, "step", &c->step));
    if (c->step < 0)
        return LS_FAIL(LS_ERR_FORMAT, "%s: step %lld is negative", what, (long long)c->step);
    LS_TRY(ls_json_get_string(c->manifest, what, "seed", &seed));
    char *end = NULL;
    c->seed = strtoull(seed, &end, 10);
    if (*seed < '0' || *seed > '9' || *end)
        return LS_FAIL(LS_ERR_FORMAT, "%s: seed '%s' is not a number", what, seed);
    json_t *config;
    LS_TRY(ls_json_get_object(c->manifest, what, "config", &config));
    LS_TRY(dump_member(c->manifest, "config", &c->config));
    LS_TRY(dump_member(c->manifest, "trainer", &c->trainer));
    LS_TRY(ls_json_get_array(c->manifest, what, "tensors", &tensors));
    const int n = (int)json_array_size(tensors);
    c->entries = ls_arena_alloc(c->arena, sizeof *c->entries * (size_t)(n + 1));
    if (!c->entries) return LS_ERR_NO_MEMORY;
    for (; c->n_entries < n; c->n_entries++)
        LS_TRY(read_entry(c, what, json_array_get(tensors, (size_t)c->n_entries),
                          &c->entries[c->n_entries]));
    const int in_files =
        ls_safetensors_count(c->weights) + (c->optimizer ? ls_safetensors_count(c->optimizer) : 0);
    if (in_files != n)
        return LS_FAIL(LS_ERR_FORMAT, "%s lists %d tensors, but the files hold %d", what, n,
                       in_files);
    return LS_OK;
}

static ls_status open_files(ls_ckpt *c, const char *dir) {
    char path[LS_CKPT_PATH];
    LS_TRY(ls_arena_create(&c->arena));
    c->dir = ls_arena_strdup(c->arena, dir);
    if (!c->dir) return LS_ERR_NO_MEMORY;
    LS_TRY(ls_ckpt_path(dir, LS_CKPT_MANIFEST, path));
    if (!ls_path_exists(path))
        return LS_FAIL(LS_ERR_NOT_FOUND, "'%s' is not a checkpoint: it has no %s", dir,
                       LS_CKPT_MANIFEST);
    LS_TRY(ls_json_read(path, &c->manifest));
    const char *what = ls_arena_strdup(c->arena, path);
    if (!what) return LS_ERR_NO_MEMORY;
    LS_TRY(ls_ckpt_path(dir, LS_CKPT_WEIGHTS, path));
    LS_TRY(ls_safetensors_open(path, &c->weights));
    LS_TRY(ls_ckpt_path(dir, LS_CKPT_OPTIMIZER, path));
    if (ls_path_exists(path)) LS_TRY(ls_safetensors_open(path, &c->optimizer));
    return read_manifest(c, what);
}

ls_status ls_ckpt_open(const char *dir, ls_ckpt **out) {
    ls_ckpt *c = ls_alloc(sizeof *c);
    if (!c) return LS_ERR_NO_MEMORY;
    const ls_status status = open_files(c, dir);
    if (status != LS_OK) {
        ls_ckpt_close(c);
        return status;
    }
    *out = c;
    return LS_OK;
}

void ls_ckpt_close(ls_ckpt *c) {
    if (!c) return;
    ls_safetensors_close(c->weights);
    ls_safetensors_close(c->optimizer);
    json_decref(c->manifest);
    ls_free(c->config);
    ls_free(c->trainer);
    ls_arena_destroy(c->arena);
    ls_free(c);
}

int64_t ls_ckpt_step(const ls_ckpt *c) {
    return c->step;
}
uint64_t ls_ckpt_seed(const ls_ckpt *c) {
    return c->seed;
}
const char *ls_ckpt_dir(const ls_ckpt *c) {
    return c->dir;
}
const char *ls_ckpt_config(const ls_ckpt *c) {
    return c->config ? c->config : "{}";
}
const char *ls_ckpt_trainer(const ls_ckpt *c) {
    return c->trainer;
}
int ls_ckpt_count(const ls_ckpt *c) {
    return c->n_entries;
}
ls_named_tensor ls_ckpt_tensor(const ls_ckpt *c, int i) {
    return c->entries[i].value.named;
}

static ls_status check_hash(const ls_ckpt *c, const entry *e) {
    const ls_tensor *t = &e->value.named.tensor;
    const uint64_t found = ls_xxh3(t->data, ls_tensor_bytes(t), 0);
    if (found == e->xxh3) return LS_OK;
    return LS_FAIL(LS_ERR_FORMAT,
                   "checkpoint '%s' is damaged: tensor '%s' hashes to %016" PRIx64
                   ", the manifest says %016" PRIx64 "; use an older checkpoint",
                   c->dir, e->value.named.name, found, e->xxh3);
}

static const entry *find_entry(const ls_ckpt *c, const char *name) {
    for (int i = 0; i < c->n_entries; i++)
        if (strcmp(c->entries[i].value.named.name, name) == 0) return &c->entries[i];
    return NULL;
}

ls_status ls_ckpt_load(const ls_ckpt *c, ls_program *p, int weights_only) {
    const ls_graph *g = p->plan->graph;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_info *info = &g->values[v];
        if (info->kind != LS_VALUE_PARAM && info->kind != LS_VALUE_STATE) continue;
        if (p->rank->places[v].region == LS_REGION_NONE) continue;
        const entry *e = find_entry(c, info->name);
        if (!e && weights_only && info->kind == LS_VALUE_STATE) continue;
        if (!e)
            return LS_FAIL(LS_ERR_FORMAT,
                           "checkpoint '%s' has no tensor '%s', which the model needs", c->dir,
                           info->name);
        LS_TRY(check_hash(c, e));
        const ls_status status = ls_program_store(p, info->name, &e->value.named.tensor);
        if (status != LS_OK) return ls_error_prefix(status, "checkpoint '%s'", c->dir);
    }
    return LS_OK;
}

ls_status ls_ckpt_verify(const ls_ckpt *c) {
    for (int i = 0; i < c->n_entries; i++) LS_TRY(check_hash(c, &c->entries[i]));
    const char *stored = NULL;
    char found[65];
    LS_TRY(ls_json_get_string(c->manifest, c->dir, "weights_sha256", &stored));
    LS_TRY(ls_ckpt_hash_weights(c, found));
    if (strcmp(stored, found) == 0) return LS_OK;
    return LS_FAIL(LS_ERR_FORMAT, "checkpoint '%s': weights hash to %s, the manifest says %s",
                   c->dir, found, stored);
}

ls_status ls_ckpt_hash_weights(const ls_ckpt *c, char hex_out[65]) {
    ls_ckpt_value *values = ls_alloc(sizeof *values * (size_t)(c->n_entries + 1));
    if (!values) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < c->n_entries; i++) values[i] = c->entries[i].value;
    const ls_status status = ls_ckpt_hash_values(values, c->n_entries, hex_out);
    ls_free(values);
    return status;
}

ls_status ls_ckpt_set_latest(const char *root, const char *name) {
    char path[LS_CKPT_PATH];
    LS_TRY(ls_ckpt_path(root, "latest", path));
    return ls_file_write_atomic(path, name, strlen(name));
}

ls_status ls_ckpt_find_latest(const char *root, char **path_out) {
    char path[LS_CKPT_PATH];
    LS_TRY(ls_ckpt_path(root, LS_CKPT_MANIFEST, path));
    if (ls_path_exists(path)) {
        *path_out = ls_strdup(root);
        return *path_out ? LS_OK : LS_ERR_NO_MEMORY;
    }
    LS_TRY(ls_ckpt_path(root, "latest", path));
    if (!ls_path_exists(path))
        return LS_FAIL(LS_ERR_NOT_FOUND,
                       "'%s' holds no checkpoint: neither %s nor 'latest' is there", root,
                       LS_CKPT_MANIFEST);
    char *name = NULL;
    size_t bytes;
    LS_TRY(ls_file_read(path, &name, &bytes));
    ls_status status = LS_OK;
    if (!*name || strchr(name, '/') || strchr(name, '\n') || strlen(name) != bytes)
        status = LS_FAIL(LS_ERR_FORMAT, "'%s' should name a folder beside it, found '%.100s'", path,
                         name);
    if (status == LS_OK) {
        *path_out = ls_format("%s/%s", root, name);
        if (!*path_out) status = LS_ERR_NO_MEMORY;
    }
    ls_free(name);
    return status;
}
