/* Text to tokenizer and token shards, kept in a cache folder with a note of what they were made of. */
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "train/source.h"
#include "train/source_note.h"

enum { PATH_BYTES = LS_PREPARE_PATH };
static const char *const part_names[] = {"all", "train", "stop", "held"};

ls_status ls_prepare_path(const ls_train_config *c, const char *name, char out[LS_PREPARE_PATH]) {
    const int n = c->data.cache ? snprintf(out, PATH_BYTES, "%s/%s", c->data.cache, name)
                                : snprintf(out, PATH_BYTES, "%s/data/%s", c->out, name);
    if (n < PATH_BYTES) return LS_OK;
    return LS_FAIL(LS_ERR_CONFIG, "data.cache: the path is longer than %d bytes", PATH_BYTES);
}

static ls_status open_dataset(const ls_train_config *c, ls_split part, ls_dataset **out) {
    ls_dataset_options options = {0};
    ls_data_part_range(c, part, &options.begin, &options.end);
    return ls_dataset_open(ls_data_part_path(c, part), &options, out);
}

static ls_status make_tokenizer(const ls_train_config *c, ls_progress_fn progress, void *user,
                                ls_tokenizer **out) {
    if (strcmp(c->data.tokenizer, "byte") == 0) return ls_tokenizer_create_bytes(1, out);
    if (strcmp(c->data.tokenizer, "bpe") != 0) return ls_tokenizer_open(c->data.tokenizer, out);
    ls_dataset *dataset = NULL;
    LS_TRY(open_dataset(c, LS_SPLIT_TRAIN, &dataset));
    const ls_tokenizer_train_options options = {(int32_t)c->data.vocab, 0, progress, user};
    const ls_status status = ls_tokenizer_train(dataset, &options, out);
    ls_dataset_close(dataset);
    return status;
}

static ls_status make_shard(const ls_train_config *c, ls_split part, const ls_tokenizer *tokenizer,
                            const ls_tokens_options *options, int64_t *bytes_out) {
    char name[32], path[PATH_BYTES];
    snprintf(name, sizeof name, "%s.tok", part_names[part]);
    LS_TRY(ls_prepare_path(c, name, path));
    ls_dataset *dataset = NULL;
    LS_TRY(open_dataset(c, part, &dataset));
    ls_tokens_info info;
    const ls_status status = ls_tokens_encode_file(dataset, tokenizer, options, path, &info);
    ls_dataset_close(dataset);
    if (status == LS_OK) *bytes_out += info.n_text_bytes;
    return status;
}

static ls_status fill_cache(const ls_train_config *c, ls_source_note *note, ls_progress_fn progress,
                            void *user, int64_t *bytes_out) {
    char path[PATH_BYTES];
    LS_TRY(ls_source_note_hash(note));
    LS_TRY(ls_prepare_path(c, "", path));
    LS_TRY(ls_dir_make(path));
    ls_tokenizer *tokenizer = NULL;
    LS_TRY(make_tokenizer(c, progress, user, &tokenizer));
    ls_status status = ls_prepare_path(c, "tokenizer.json", path);
    if (status == LS_OK) status = ls_tokenizer_save(tokenizer, path);
    const ls_tokens_options options = {ls_tokenizer_eot(tokenizer) >= 0, progress, user};
    for (ls_split part = LS_SPLIT_TRAIN; status == LS_OK && part <= LS_SPLIT_HELD; part++)
        if (ls_data_has_part(c, part)) status = make_shard(c, part, tokenizer, &options, bytes_out);
    ls_tokenizer_destroy(tokenizer);
    /* Last: without the note the cache does not count. */
    if (status == LS_OK) status = ls_prepare_path(c, "source.txt", path);
    return status == LS_OK ? ls_source_note_store(note, path) : status;
}

static ls_status open_cache(const ls_train_config *c, ls_prepared *out) {
    char path[PATH_BYTES], name[32];
    LS_TRY(ls_prepare_path(c, "tokenizer.json", path));
    LS_TRY(ls_tokenizer_open(path, &out->tokenizer));
    for (ls_split part = LS_SPLIT_TRAIN; part <= LS_SPLIT_HELD; part++) {
        if (!ls_data_has_part(c, part)) continue;
        snprintf(name, sizeof name, "%s.tok", part_names[part]);
        LS_TRY(ls_prepare_path(c, name, path));
        LS_TRY(ls_tokens_open(path, &out->parts[part]));
    }
    return LS_OK;
}

/* Ready-made shards: data.path is the training part; the tokenizer must be named. */
static ls_status open_shards(const ls_train_config *c, ls_prepared *out) {
    if (strcmp(c->data.tokenizer, "bpe") == 0)
        return LS_FAIL(LS_ERR_CONFIG,
                       "data.path '%s' is a token shard: data.tokenizer must be 'byte' or the "
                       "tokenizer.json it was made with",
                       c->data.path);
    LS_TRY(make_tokenizer(c, NULL, NULL, &out->tokenizer));
    LS_TRY(ls_tokens_open(c->data.path, &out->parts[LS_SPLIT_TRAIN]));
    if (c->data.stop_path) LS_TRY(ls_tokens_open(c->data.stop_path, &out->parts[LS_SPLIT_STOP]));
    if (c->data.held_path) LS_TRY(ls_tokens_open(c->data.held_path, &out->parts[LS_SPLIT_HELD]));
    return LS_OK;
}

static ls_status cache_is_current(const ls_train_config *c, ls_source_note *note, int *out) {
    char path[PATH_BYTES];
    LS_TRY(ls_prepare_path(c, "source.txt", path));
    return ls_source_note_matches(note, path, out);
}

ls_status ls_prepare_is_current(const ls_train_config *c, int *out) {
    ls_source_note note;
    *out = 1;
    if (ls_data_is_shard(c->data.path)) return LS_OK;
    ls_status status = ls_source_note_init(c, &note);
    if (status == LS_OK) status = cache_is_current(c, &note, out);
    ls_source_note_deinit(&note);
    return status;
}

static ls_status prepare_cache(const ls_train_config *c, ls_progress_fn progress, void *user,
                               ls_prepared *out) {
    ls_source_note note;
    int current = 0;
    ls_status status = ls_source_note_init(c, &note);
    if (status == LS_OK) status = cache_is_current(c, &note, &current);
    if (status == LS_OK && !current)
        status = fill_cache(c, &note, progress, user, &out->encoded_bytes);
    ls_source_note_deinit(&note);
    return status == LS_OK ? open_cache(c, out) : status;
}

ls_status ls_prepare_text(const ls_train_config *c, ls_progress_fn progress, void *user,
                          ls_prepared *out) {
    *out = (ls_prepared){0};
    const ls_status status = ls_data_is_shard(c->data.path) ? open_shards(c, out)
                                                            : prepare_cache(c, progress, user, out);
    if (status != LS_OK) ls_prepared_close(out);
    return status;
}

void ls_prepared_close(ls_prepared *prepared) {
    for (int i = 0; i < 4; i++) ls_tokens_close(prepared->parts[i]);
    ls_tokenizer_destroy(prepared->tokenizer);
    *prepared = (ls_prepared){0};
}

ls_status ls_train_prepare(const ls_train_config *config, ls_progress_fn progress, void *user) {
    if (!ls_model_reads_tokens(config->model.kind)) {
        ls_prepared_images images;
        LS_TRY(ls_prepare_images(config, &images));
        ls_prepared_images_close(&images);
        return LS_OK;
    }
    ls_prepared prepared;
    LS_TRY(ls_prepare_text(config, progress, user, &prepared));
    ls_prepared_close(&prepared);
    return LS_OK;
}
