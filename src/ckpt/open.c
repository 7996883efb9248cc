/* Opening: the manifest against its own hash, the files against the manifest. Tensors' bytes are not read. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "ckpt/ckpt.h"

int ls_ckpt_is_hex(const char *text, size_t digits) {
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

uint64_t ls_ckpt_hex_hash(const char *hex) {
    uint64_t hash = 0;
    for (int i = 0; i < LS_CKPT_HEX; i++)
        hash = hash << 4 | (uint64_t)(hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10);
    return hash;
}

/* From version 2 on the text ends with the hash of what stands before it. */
static ls_status check_seal(const char *text, size_t bytes, const char *what) {
    static const char end[] = "\"\n}\n", start[] = "\"manifest_xxh3\": \"";
    const size_t n_end = sizeof end - 1, n_start = sizeof start - 1;
    char hex[LS_CKPT_HEX + 1] = "";
    if (bytes > n_start + LS_CKPT_HEX + n_end) {
        const char *digits = text + bytes - n_end - LS_CKPT_HEX;
        memcpy(hex, digits, LS_CKPT_HEX);
        if (memcmp(text + bytes - n_end, end, n_end) == 0 &&
            memcmp(digits - n_start, start, n_start) == 0 && ls_ckpt_is_hex(hex, LS_CKPT_HEX) &&
            ls_xxh3(text, (size_t)(digits - text), 0) == ls_ckpt_hex_hash(hex))
            return LS_OK;
    }
    return LS_FAIL(LS_ERR_FORMAT,
                   "%s is damaged or cut short: it does not end with the hash of what it says",
                   what);
}

ls_status ls_ckpt_manifest_parse(const char *text, size_t bytes, const char *what, json_t **out) {
    const ls_status sealed = check_seal(text, bytes, what);
    if (sealed == LS_OK) return ls_json_parse(text, bytes, what, out);
    /* Version 1 had no seal. A damaged text of version 2 does not pass for one: its layout is another. */
    json_t *root = NULL;
    const ls_status status = ls_json_parse(text, bytes, what, &root);
    if (status == LS_ERR_NO_MEMORY) return status;
    if (status == LS_OK && json_integer_value(json_object_get(root, "version")) == 1 &&
        !json_object_get(root, "manifest_xxh3")) {
        *out = root;
        return LS_OK;
    }
    json_decref(root);
    return check_seal(text, bytes, what);
}

static ls_status dump_member(const json_t *manifest, const char *key, char **out) {
    const json_t *value = json_object_get(manifest, key);
    return json_is_object(value) ? ls_json_dump(value, 0, out, NULL) : LS_OK;
}

static ls_status read_seed(ls_ckpt *c, const char *what) {
    const char *seed;
    LS_TRY(ls_json_get_string(c->manifest, what, "seed", &seed));
    char *end = NULL;
    c->seed = strtoull(seed, &end, 10);
    if (*seed < '0' || *seed > '9' || *end)
        return LS_FAIL(LS_ERR_FORMAT, "%s: seed '%s' is not a number", what, seed);
    return LS_OK;
}

static ls_status read_head(ls_ckpt *c, const char *what) {
    const char *format;
    int64_t version;
    json_t *config;
    LS_TRY(ls_json_get_string(c->manifest, what, "format", &format));
    LS_TRY(ls_json_get_int(c->manifest, what, "version", &version));
    if (strcmp(format, "lockstep checkpoint") != 0 || version < 1 || version > 2)
        return LS_FAIL(
            LS_ERR_FORMAT,
            "%s: expected format 'lockstep checkpoint' version 1 or 2, found '%s' version "
            "%lld; this is lockstep " LS_VERSION,
            what, format, (long long)version);
    c->version = (int)version;
    LS_TRY(ls_json_get_int(c->manifest, what, "step", &c->step));
    if (c->step < 0)
        return LS_FAIL(LS_ERR_FORMAT, "%s: step %lld is negative", what, (long long)c->step);
    LS_TRY(read_seed(c, what));
    LS_TRY(ls_json_get_object(c->manifest, what, "config", &config));
    const json_t *lanes = json_object_get(c->version == 1 ? config : c->manifest, "lanes");
    c->lanes = json_is_integer(lanes) ? (int)json_integer_value(lanes) : 0;
    const json_t *score = json_object_get(c->manifest, "score");
    c->score = json_is_number(score) ? json_number_value(score) : NAN;
    c->written_by = json_string_value(json_object_get(c->manifest, "written_by"));
    LS_TRY(dump_member(c->manifest, "config", &c->config));
    return dump_member(c->manifest, "trainer", &c->trainer);
}

static ls_status open_alone(ls_ckpt *c, const char *dir) {
    char path[LS_CKPT_PATH], *text = NULL;
    size_t bytes = 0;
    LS_TRY(ls_arena_create(&c->arena));
    c->dir = ls_arena_strdup(c->arena, dir);
    if (!c->dir) return LS_ERR_NO_MEMORY;
    LS_TRY(ls_ckpt_path(dir, LS_CKPT_MANIFEST, path));
    if (!ls_path_exists(path))
        return LS_FAIL(LS_ERR_NOT_FOUND, "'%s' is no checkpoint: %s is missing", dir,
                       LS_CKPT_MANIFEST);
    LS_TRY(ls_file_read(path, &text, &bytes));
    const ls_status status = ls_ckpt_manifest_parse(text, bytes, path, &c->manifest);
    ls_free(text);
    LS_TRY(status);
    LS_TRY(read_head(c, path));
    return ls_ckpt_read_entries(c, path);
}

ls_status ls_ckpt_open_alone(const char *dir, ls_ckpt **out) {
    ls_ckpt *c = ls_alloc(sizeof *c);
    if (!c) return LS_ERR_NO_MEMORY;
    const ls_status status = open_alone(c, dir);
    if (status != LS_OK) {
        ls_ckpt_close(c);
        return status;
    }
    *out = c;
    return LS_OK;
}

ls_status ls_ckpt_open(const char *dir, ls_ckpt **out) {
    const ls_status status = ls_ckpt_open_alone(dir, out);
    return status == LS_OK ? LS_OK : ls_ckpt_hint_older(status, dir);
}

void ls_ckpt_close(ls_ckpt *c) {
    if (!c) return;
    for (int f = 0; f < c->n_files; f++) {
        ls_file_close(c->files[f].file);
        ls_safetensors_close(c->files[f].tensors);
    }
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
int ls_ckpt_lanes(const ls_ckpt *c) {
    return c->lanes;
}
double ls_ckpt_score(const ls_ckpt *c) {
    return c->score;
}
const char *ls_ckpt_written_by(const ls_ckpt *c) {
    return c->written_by ? c->written_by : "unknown";
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
ls_ckpt_tensor_info ls_ckpt_tensor(const ls_ckpt *c, int i) {
    const ls_ckpt_entry *e = &c->entries[i];
    return (ls_ckpt_tensor_info){e->name, e->role, e->type.dtype, e->type.shape, e->n_slices};
}
int64_t ls_ckpt_bytes_read(const ls_ckpt *c) {
    return c->bytes_read;
}
int ls_ckpt_file_count(const ls_ckpt *c) {
    return c->n_files;
}
ls_ckpt_file_info ls_ckpt_file_at(const ls_ckpt *c, int i) {
    const ls_ckpt_source *f = &c->files[i];
    return (ls_ckpt_file_info){f->name, f->bytes,
                               f->tensors ? ls_safetensors_count(f->tensors) : -1};
}
ls_ckpt_slice_info ls_ckpt_slice_at(const ls_ckpt *c, int i, int s) {
    const ls_ckpt_slice *slice = &c->entries[i].slices[s];
    ls_ckpt_slice_info info = {.file = c->files[slice->file].name,
                               .shape = slice->shape,
                               .n_blocks = ls_ckpt_grid_blocks(&slice->grid)};
    memcpy(info.start, slice->start, sizeof info.start);
    return info;
}
