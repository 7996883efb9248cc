/* A checkpoint written again: other files, or its weights alone in another format. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "ckpt/ckpt.h"

typedef struct converter {
    const ls_ckpt *from;
    const ls_ckpt_convert_options *options;
    ls_arena *arena;
    ls_ckpt_layout layout;
    const ls_ckpt_entry **entries; /* per slot */
    uint64_t *hashes;
    ls_ckpt_content content;
    const char *temporary;
} converter;

static int is_taken(const ls_ckpt_entry *e, const ls_ckpt_convert_options *options) {
    return !options->weights_only || e->role != LS_ROLE_OPTIMIZER;
}

static ls_status list_slots(converter *c) {
    const int n = c->from->n_entries;
    c->layout.lanes = c->from->lanes;
    c->layout.slots = ls_arena_alloc(c->arena, sizeof *c->layout.slots * (size_t)(n + 1));
    c->entries = ls_arena_alloc(c->arena, sizeof *c->entries * (size_t)(n + 1));
    if (!c->layout.slots || !c->entries) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < n; i++) {
        const ls_ckpt_entry *e = &c->from->entries[i];
        if (!is_taken(e, c->options)) continue;
        ls_ckpt_slot *slot = &c->layout.slots[c->layout.n_slots];
        c->entries[c->layout.n_slots++] = e;
        *slot = (ls_ckpt_slot){.name = e->name, .role = e->role, .type = e->type};
        if (c->options->dtype >= 0 && e->role == LS_ROLE_WEIGHT && ls_dtype_is_float(e->type.dtype))
            slot->type.dtype = (ls_dtype)c->options->dtype;
        slot->grid = ls_ckpt_grid_make(&slot->type, c->from->lanes > 0 ? c->from->lanes : 1);
        slot->first_hash = c->layout.n_blocks;
        c->layout.n_blocks += ls_ckpt_grid_blocks(&slot->grid);
    }
    c->hashes = ls_arena_alloc(c->arena, sizeof *c->hashes * (size_t)(c->layout.n_blocks + 1));
    return c->hashes ? LS_OK : LS_ERR_NO_MEMORY;
}

/* The new dtype in the model's description. */
static ls_status set_torch_dtype(ls_ckpt_file *file, ls_dtype dtype, ls_arena *arena) {
    static const char *const names[LS_DTYPE_COUNT] = {
        [LS_DTYPE_F32] = "float32", [LS_DTYPE_BF16] = "bfloat16", [LS_DTYPE_F16] = "float16"};
    json_t *root = NULL;
    char *text = NULL;
    LS_TRY(ls_json_parse(file->data, file->bytes, file->name, &root));
    ls_status status = LS_OK;
    if (json_object_get(root, "torch_dtype")) {
        if (json_object_set_new(root, "torch_dtype", json_string(names[dtype])) != 0)
            status = LS_FAIL(LS_ERR_NO_MEMORY, "%s: out of memory", file->name);
        if (status == LS_OK) status = ls_json_dump(root, JSON_INDENT(2), &text, NULL);
        if (status == LS_OK && !(file->data = ls_arena_strdup(arena, text)))
            status = LS_ERR_NO_MEMORY;
        if (status == LS_OK) file->bytes = strlen(file->data);
    }
    ls_free(text);
    json_decref(root);
    return status;
}

/* Plain files come along, but the indices, which are made again. */
static ls_status take_files(converter *c) {
    static const char ending[] = ".index.json";
    const ls_ckpt *from = c->from;
    ls_ckpt_file *files = ls_arena_alloc(c->arena, sizeof *files * (size_t)(from->n_files + 2));
    if (!files) return LS_ERR_NO_MEMORY;
    int n = 0;
    for (int f = 0; f < from->n_files; f++) {
        const ls_ckpt_source *source = &from->files[f];
        const size_t length = strlen(source->name), end = sizeof ending - 1;
        if (source->tensors || (length > end && strcmp(source->name + length - end, ending) == 0))
            continue;
        char *data = ls_arena_alloc(c->arena, (size_t)source->bytes + 1);
        if (!data) return LS_ERR_NO_MEMORY;
        LS_TRY(ls_file_pread(source->file, data, (size_t)source->bytes, 0));
        files[n] = (ls_ckpt_file){source->name, data, (size_t)source->bytes};
        if (c->options->dtype >= 0 && strcmp(source->name, "config.json") == 0)
            LS_TRY(set_torch_dtype(&files[n], (ls_dtype)c->options->dtype, c->arena));
        n++;
    }
    for (int optimizer = 0; optimizer < 2; optimizer++) {
        char *text = NULL;
        LS_TRY(ls_ckpt_layout_index(&c->layout, optimizer, &text));
        if (!text) continue;
        char *kept = ls_arena_strdup(c->arena, text);
        ls_free(text);
        if (!kept) return LS_ERR_NO_MEMORY;
        files[n++] = (ls_ckpt_file){optimizer ? "optimizer.safetensors.index.json"
                                              : "model.safetensors.index.json",
                                    kept, strlen(kept)};
    }
    c->content = (ls_ckpt_content){.step = from->step,
                                   .seed = from->seed,
                                   .config_json = ls_ckpt_config(from),
                                   .trainer_json = from->trainer,
                                   .files = files,
                                   .n_files = n,
                                   .score = from->score};
    return LS_OK;
}

static void hash_slot(converter *c, const ls_ckpt_slot *slot, const char *data) {
    const int64_t n = ls_ckpt_grid_blocks(&slot->grid);
    const size_t size = ls_dtype_bytes(slot->type.dtype);
    for (int64_t k = 0; k < n; k++) {
        int64_t count;
        const int64_t first = ls_ckpt_grid_block(&slot->grid, k, &count);
        c->hashes[slot->first_hash + k] =
            ls_xxh3(data + (size_t)first * size, (size_t)count * size, 0);
    }
}

/* One tensor is in memory at a time, twice when it is converted. */
static ls_status write_slot(converter *c, int i, ls_file *file) {
    const ls_ckpt_slot *slot = &c->layout.slots[i];
    const ls_ckpt_entry *e = c->entries[i];
    const int64_t count = ls_type_count(&e->type);
    const size_t bytes = ls_type_bytes(&slot->type);
    char *data = ls_alloc(ls_type_bytes(&e->type) + 1), *other = NULL;
    if (!data) return LS_ERR_NO_MEMORY;
    ls_status status = ls_ckpt_read_entry(c->from, e, 0, count, data);
    if (status == LS_OK && slot->type.dtype != e->type.dtype) {
        other = ls_alloc(bytes + 1);
        if (other)
            ls_convert(other, slot->type.dtype, data, e->type.dtype, count);
        else
            status = LS_ERR_NO_MEMORY;
    }
    const char *out = other ? other : data;
    if (status == LS_OK) hash_slot(c, slot, out);
    if (status == LS_OK) status = ls_file_pwrite(file, out, bytes, slot->offset);
    ls_free(data);
    ls_free(other);
    return status;
}

static ls_status write_shard(converter *c, int s) {
    const ls_ckpt_shard *shard = &c->layout.shards[s];
    char path[LS_CKPT_PATH];
    ls_file *file = NULL;
    LS_TRY(ls_ckpt_path(c->temporary, shard->name, path));
    LS_TRY(ls_file_create(path, shard->bytes, &file));
    ls_status status = ls_file_pwrite(file, shard->header, shard->header_bytes, 0);
    for (int i = 0; status == LS_OK && i < c->layout.n_slots; i++)
        if (c->layout.slots[i].shard == s) status = write_slot(c, i, file);
    if (status == LS_OK) status = ls_file_sync(file);
    ls_file_close(file);
    return status;
}

static ls_status write_folder(converter *c) {
    char path[LS_CKPT_PATH], *text = NULL;
    size_t bytes;
    if (ls_path_exists(c->temporary)) LS_TRY(ls_dir_remove(c->temporary));
    LS_TRY(ls_dir_make(c->temporary));
    for (int s = 0; s < c->layout.n_shards; s++) LS_TRY(write_shard(c, s));
    for (int i = 0; i < c->content.n_files; i++) {
        LS_TRY(ls_ckpt_path(c->temporary, c->content.files[i].name, path));
        LS_TRY(ls_file_write_atomic(path, c->content.files[i].data, c->content.files[i].bytes));
    }
    if (!c->options->weights_only) {
        LS_TRY(ls_ckpt_path(c->temporary, LS_CKPT_MANIFEST, path));
        LS_TRY(ls_ckpt_manifest_print(&c->layout, c->hashes, &c->content, &text, &bytes));
        const ls_status status = ls_file_write_atomic(path, text, bytes);
        ls_free(text);
        LS_TRY(status);
    }
    return ls_dir_sync(c->temporary);
}

static ls_status convert(converter *c, const char *out) {
    LS_TRY(ls_arena_create(&c->arena));
    c->temporary = ls_arena_format(c->arena, "%s.tmp.%ld", out, (long)getpid());
    if (!c->temporary) return LS_ERR_NO_MEMORY;
    LS_TRY(list_slots(c));
    LS_TRY(ls_ckpt_layout_deal(&c->layout, c->options->shard_bytes, c->arena));
    LS_TRY(take_files(c));
    ls_status status = write_folder(c);
    if (status == LS_OK) status = ls_path_rename(c->temporary, out);
    if (status != LS_OK) ls_ckpt_discard(c->temporary);
    return status;
}

ls_status ls_ckpt_convert(const ls_ckpt *from, const char *out,
                          const ls_ckpt_convert_options *options) {
    converter c = {.from = from, .options = options};
    if (options->dtype >= 0 && !options->weights_only)
        return LS_FAIL(LS_ERR_INVALID,
                       "a run goes on from its exact weights only: another dtype is for weights "
                       "alone (weights only)");
    if (options->dtype >= 0 && !ls_dtype_is_float((ls_dtype)options->dtype))
        return LS_FAIL(LS_ERR_INVALID, "weights can be f32, bf16 or f16");
    if (ls_path_exists(out))
        return LS_FAIL(LS_ERR_INVALID, "'%s' is there already; give a new name", out);
    const ls_status status = convert(&c, out);
    ls_arena_destroy(c.arena);
    return status == LS_OK ? LS_OK : ls_error_prefix(status, "converting '%s'", from->dir);
}
