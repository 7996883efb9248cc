#include "train/source_note.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/hash.h"

/* A file may change twice within what its file system takes for one moment: what changed so shortly before it was noted is hashed at the
 * next start. */
enum { SETTLED_MS = 2000 };
static const char content_label[] = "content XXH3 ";

static int64_t to_ms(struct timespec t) {
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static ls_status add_path(ls_source_note *n, const char *path) {
    LS_TRY(ls_array_reserve((void **)&n->paths, &n->capacity, n->n_paths + 1, sizeof *n->paths));
    n->paths[n->n_paths] = ls_strdup(path);
    if (!n->paths[n->n_paths]) return LS_ERR_NO_MEMORY;
    n->n_paths++;
    return LS_OK;
}

static ls_status describe_file(ls_source_note *n, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        return LS_FAIL(LS_ERR_NOT_FOUND, "'%s': no such file or folder", path);
    ls_text_append(&n->what, "%s, %lld bytes\n", path,
                   S_ISREG(st.st_mode) ? (long long)st.st_size : -1);
    ls_text_append(&n->stamps, "%s: modified %lld.%09ld, changed %lld.%09ld, file %llu\n", path,
                   (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec,
                   st.st_ctim.tv_nsec, (unsigned long long)st.st_ino);
    const int64_t modified = to_ms(st.st_mtim), changed = to_ms(st.st_ctim);
    if (modified > n->newest_ms) n->newest_ms = modified;
    if (changed > n->newest_ms) n->newest_ms = changed;
    if (S_ISREG(st.st_mode)) LS_TRY(add_path(n, path));
    return n->what.status != LS_OK ? n->what.status : n->stamps.status;
}

/* A folder's own time says nothing about changes within its files. */
static ls_status describe_folder(ls_source_note *n, const char *folder) {
    char **names = NULL;
    int n_names = 0;
    LS_TRY(ls_dir_list(folder, &names, &n_names));
    ls_status status = LS_OK;
    for (int i = 0; i < n_names; i++) {
        char *path = status == LS_OK ? ls_format("%s/%s", folder, names[i]) : NULL;
        if (status == LS_OK) status = path ? describe_file(n, path) : LS_ERR_NO_MEMORY;
        ls_free(path);
        ls_free(names[i]);
    }
    ls_free(names);
    return status;
}

static ls_status describe_data(ls_source_note *n, const char *path, const char *key) {
    if (!path) return LS_OK;
    if (!ls_path_exists(path))
        return LS_FAIL(LS_ERR_NOT_FOUND, "%s '%s': no such file or folder", key, path);
    return ls_path_is_dir(path) ? describe_folder(n, path) : describe_file(n, path);
}

/* Parts with files of their own. */
static ls_status describe_parts(ls_source_note *n, const ls_data_options *o) {
    if (o->stop_path) ls_text_append(&n->what, "stop %s\n", o->stop_path);
    LS_TRY(describe_data(n, o->stop_path, "data.stop_path"));
    if (o->held_path) ls_text_append(&n->what, "held %s\n", o->held_path);
    return describe_data(n, o->held_path, "data.held_path");
}

static int names_a_tokenizer_file(const ls_train_config *c) {
    return strcmp(c->data.tokenizer, "byte") != 0 && strcmp(c->data.tokenizer, "bpe") != 0;
}

ls_status ls_source_note_init(const ls_train_config *c, ls_source_note *n) {
    *n = (ls_source_note){0};
    if (!ls_path_exists(c->data.path))
        return LS_FAIL(
            LS_ERR_NOT_FOUND,
            "data.path '%s': no such file or folder; data.path=PATH names a text, a folder "
            "of texts, a token shard or a folder of IDX images",
            c->data.path);
    const int images = !ls_model_reads_tokens(c->model.kind);
    if (images)
        ls_text_append(&n->what, "images 1\n");
    else
        ls_text_append(&n->what, "source 3: tokenizer %s, vocab %lld, split %d\n",
                       c->data.tokenizer, (long long)c->data.vocab, c->data.split);
    LS_TRY(describe_data(n, c->data.path, "data.path"));
    LS_TRY(describe_parts(n, &c->data));
    if (images || !names_a_tokenizer_file(c)) return LS_OK;
    const ls_status status = describe_file(n, c->data.tokenizer);
    return status == LS_OK ? LS_OK : ls_error_prefix(status, "data.tokenizer");
}

void ls_source_note_deinit(ls_source_note *n) {
    for (int64_t i = 0; i < n->n_paths; i++) ls_free(n->paths[i]);
    ls_free(n->paths);
    ls_text_deinit(&n->what);
    ls_text_deinit(&n->stamps);
    *n = (ls_source_note){0};
}

ls_status ls_source_note_hash(ls_source_note *n) {
    if (n->is_hashed) return LS_OK;
    n->content = 0;
    for (int64_t i = 0; i < n->n_paths; i++) {
        ls_map map = {0};
        LS_TRY(ls_map_open(n->paths[i], &map));
        n->content = ls_xxh3(map.data, map.bytes, n->content);
        n->hashed_bytes += (int64_t)map.bytes;
        ls_map_close(&map);
    }
    n->is_hashed = 1;
    return LS_OK;
}

static int is_settled(const ls_source_note *n) {
    return ls_clock_unix_ms() - n->newest_ms > SETTLED_MS;
}

ls_status ls_source_note_store(const ls_source_note *n, const char *path) {
    ls_text text = {0};
    ls_text_append_bytes(&text, n->what.data, n->what.size);
    ls_text_append(&text, "%s%016" PRIx64 "\n", content_label, n->content);
    if (is_settled(n)) ls_text_append_bytes(&text, n->stamps.data, n->stamps.size);
    ls_status status = text.status;
    if (status == LS_OK) status = ls_file_write_atomic(path, text.data, text.size);
    ls_text_deinit(&text);
    return status;
}

/* The same bytes at another time: noted, so that they are not read again. A cache that cannot be written is as good. */
static ls_status compare_content(ls_source_note *n, const char *path, const char *stored,
                                 int *out) {
    char *end = NULL;
    LS_TRY(ls_source_note_hash(n));
    *out = strtoull(stored, &end, 16) == n->content && end == stored + 16;
    if (!*out || !is_settled(n)) return LS_OK;
    const ls_status status = ls_source_note_store(n, path);
    if (status == LS_ERR_NO_MEMORY) return status;
    ls_error_clear();
    return LS_OK;
}

ls_status ls_source_note_matches(ls_source_note *n, const char *path, int *out) {
    char *stored = NULL;
    size_t bytes = 0;
    const size_t label = sizeof content_label - 1, head = n->what.size + label + 16 + 1;
    *out = 0;
    if (!ls_path_exists(path)) return LS_OK;
    LS_TRY(ls_file_read(path, &stored, &bytes));
    ls_status status = LS_OK;
    if (bytes >= head && memcmp(stored, n->what.data, n->what.size) == 0 &&
        memcmp(stored + n->what.size, content_label, label) == 0) {
        *out = bytes == head + n->stamps.size &&
               memcmp(stored + head, n->stamps.data, n->stamps.size) == 0;
        if (!*out) status = compare_content(n, path, stored + n->what.size + label, out);
    }
    ls_free(stored);
    return status;
}
