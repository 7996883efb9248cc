/* Writing the manifest: JSON whose last member is the hash of all that stands before it. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "ckpt/ckpt.h"

const char *const ls_ckpt_role_names[] = {"none", "weight", "optimizer", "buffer"};

static void print_hash(uint64_t hash, char out[LS_CKPT_HEX + 1]) {
    (void)snprintf(out, LS_CKPT_HEX + 1, "%016" PRIx64, hash);
}

static json_t *numbers_json(const int64_t *numbers, int n, int zero) {
    json_t *array = json_array();
    for (int d = 0; array && d < n; d++)
        if (json_array_append_new(array, json_integer(zero ? 0 : numbers[d])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *hashes_json(const ls_ckpt_slot *slot, const uint64_t *hashes) {
    const int64_t n = ls_ckpt_grid_blocks(&slot->grid);
    char *text = ls_alloc((size_t)n * LS_CKPT_HEX + 1);
    if (!text) return NULL;
    for (int64_t k = 0; k < n; k++)
        print_hash(hashes[slot->first_hash + k], text + k * LS_CKPT_HEX);
    json_t *value = json_string(text);
    ls_free(text);
    return value;
}

static json_t *tensor_json(const ls_ckpt_layout *layout, const ls_ckpt_slot *slot,
                           const uint64_t *hashes) {
    const ls_shape *shape = &slot->type.shape;
    json_t *slice = json_pack(
        "{s:s, s:o, s:o, s:I, s:I, s:o}", "file", layout->shards[slot->shard].name, "start",
        numbers_json(shape->dims, shape->n_dims, 1), "shape",
        numbers_json(shape->dims, shape->n_dims, 0), "chunk", (json_int_t)slot->grid.chunk, "block",
        (json_int_t)slot->grid.block, "xxh3", hashes_json(slot, hashes));
    return json_pack("{s:s, s:s, s:o, s:s, s:[o]}", "name", slot->name, "dtype",
                     ls_dtype_name(slot->type.dtype), "shape",
                     numbers_json(shape->dims, shape->n_dims, 0), "role",
                     ls_ckpt_role_names[slot->role], "slices", slice);
}

static json_t *plain_file_json(const ls_ckpt_file *file) {
    char hash[LS_CKPT_HEX + 1];
    print_hash(ls_xxh3(file->data, file->bytes, 0), hash);
    return json_pack("{s:s, s:I, s:s}", "name", file->name, "bytes", (json_int_t)file->bytes,
                     "xxh3", hash);
}

static json_t *shard_json(const ls_ckpt_shard *shard) {
    char hash[LS_CKPT_HEX + 1];
    print_hash(ls_xxh3(shard->header, shard->header_bytes, 0), hash);
    return json_pack("{s:s, s:I, s:I, s:s}", "name", shard->name, "bytes", (json_int_t)shard->bytes,
                     "header_bytes", (json_int_t)shard->header_bytes, "header_xxh3", hash);
}

static int add_texts(json_t *root, const ls_ckpt_content *content, ls_status *status) {
    json_t *config = NULL, *trainer = NULL;
    *status = ls_json_parse(content->config_json, strlen(content->config_json),
                            "the run's configuration", &config);
    int failed = *status != LS_OK || json_object_set_new(root, "config", config) != 0;
    if (!failed && content->trainer_json) {
        *status = ls_json_parse(content->trainer_json, strlen(content->trainer_json),
                                "the trainer's state", &trainer);
        failed = *status != LS_OK || json_object_set_new(root, "trainer", trainer) != 0;
    }
    return failed;
}

static int add_head(json_t *root, const ls_ckpt_layout *layout, const ls_ckpt_content *content) {
    char seed[32];
    (void)snprintf(seed, sizeof seed, "%" PRIu64, content->seed);
    json_t *score = isfinite(content->score) ? json_real(content->score) : json_null();
    int failed = json_object_set_new(root, "format", json_string("lockstep checkpoint"));
    failed |= json_object_set_new(root, "version", json_integer(2));
    failed |= json_object_set_new(root, "written_by", json_string(LS_VERSION));
    failed |= json_object_set_new(root, "step", json_integer(content->step));
    failed |= json_object_set_new(root, "seed", json_string(seed));
    failed |= json_object_set_new(root, "score", score);
    failed |= json_object_set_new(root, "lanes", json_integer(layout->lanes));
    return failed;
}

static int add_lists(json_t *root, const ls_ckpt_layout *layout, const uint64_t *hashes,
                     const ls_ckpt_content *content) {
    json_t *files = json_array(), *tensors = json_array();
    int failed = 0;
    for (int s = 0; s < layout->n_shards; s++)
        failed |= json_array_append_new(files, shard_json(&layout->shards[s]));
    for (int i = 0; i < content->n_files; i++)
        failed |= json_array_append_new(files, plain_file_json(&content->files[i]));
    for (int i = 0; i < layout->n_slots; i++)
        failed |= json_array_append_new(tensors, tensor_json(layout, &layout->slots[i], hashes));
    failed |= json_object_set_new(root, "files", files);
    failed |= json_object_set_new(root, "tensors", tensors);
    return failed;
}

/* The text without its closing brace, then the hash of what stands before its digits. */
static ls_status seal(char *text, size_t bytes, char **out, size_t *bytes_out) {
    static const char start[] = ",\n \"manifest_xxh3\": \"", end[] = "\"\n}\n";
    const size_t body = bytes - 2; /* "\n}" */
    const size_t need = body + sizeof start + LS_CKPT_HEX + sizeof end;
    char *sealed = ls_alloc(need);
    if (!sealed) return LS_ERR_NO_MEMORY;
    memcpy(sealed, text, body);
    memcpy(sealed + body, start, sizeof start);
    const size_t hashed = body + sizeof start - 1;
    print_hash(ls_xxh3(sealed, hashed, 0), sealed + hashed);
    memcpy(sealed + hashed + LS_CKPT_HEX, end, sizeof end);
    *out = sealed;
    *bytes_out = hashed + LS_CKPT_HEX + sizeof end - 1;
    return LS_OK;
}

ls_status ls_ckpt_manifest_print(const ls_ckpt_layout *layout, const uint64_t *hashes,
                                 const ls_ckpt_content *content, char **text_out,
                                 size_t *bytes_out) {
    json_t *root = json_object();
    char *text = NULL;
    size_t bytes = 0;
    ls_status status = LS_OK;
    int failed = add_head(root, layout, content);
    if (!failed) failed = add_texts(root, content, &status);
    if (!failed) failed = add_lists(root, layout, hashes, content);
    if (failed && status == LS_OK)
        status = LS_FAIL(LS_ERR_NO_MEMORY, "checkpoint: out of memory while making the manifest");
    if (status == LS_OK) status = ls_json_dump(root, JSON_INDENT(1), &text, &bytes);
    if (status == LS_OK) status = seal(text, bytes, text_out, bytes_out);
    ls_free(text);
    json_decref(root);
    return status;
}
