/* Compressed images are unpacked once: plain files in the cache folder, with a note of what they were made of and with the numbers that only
 * a look at every pixel gives. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "train/source.h"
#include "train/source_note.h"

/* Paths in the cache. */
static const char folder_name[] = "images", note_name[] = "images/source.txt",
                  numbers_name[] = "images/statistics.txt";

static ls_status count_numbers(ls_prepared_images *p) {
    ls_images_statistics(p->train, &p->mean, &p->std);
    p->hash = ls_images_hash(p->train);
    return LS_OK;
}

/* Exact: hexadecimal floats. */
static ls_status save_numbers(const ls_prepared_images *p, const char *path) {
    char text[128];
    const int n = snprintf(text, sizeof text, "%a %a %016" PRIx64 "\n", p->mean, p->std, p->hash);
    return ls_file_write_atomic(path, text, (size_t)n);
}

static ls_status read_numbers(ls_prepared_images *p, const char *path) {
    char *text = NULL, *end = NULL;
    size_t bytes = 0;
    LS_TRY(ls_file_read(path, &text, &bytes));
    p->mean = strtod(text, &end);
    p->std = strtod(end, &end);
    p->hash = strtoull(end, &end, 16);
    const int is_whole = bytes > 0 && *end == '\n' && end == text + bytes - 1 && p->std >= 0;
    ls_free(text);
    return is_whole ? LS_OK
                    : LS_FAIL(LS_ERR_FORMAT, "%s: wanted mean, deviation and hash; remove the file",
                              path);
}

static ls_status save_unpacked(const ls_train_config *c, const ls_prepared_images *p,
                               const ls_images *test, ls_source_note *note) {
    char path[LS_PREPARE_PATH];
    LS_TRY(ls_prepare_path(c, folder_name, path));
    LS_TRY(ls_dir_make(path));
    LS_TRY(ls_images_save(p->train, path, LS_IMAGES_TRAIN));
    LS_TRY(ls_images_save(test, path, LS_IMAGES_TEST));
    LS_TRY(ls_prepare_path(c, numbers_name, path));
    LS_TRY(save_numbers(p, path));
    /* Last: without the note the rest does not count. */
    LS_TRY(ls_prepare_path(c, note_name, path));
    return ls_source_note_store(note, path);
}

/* A cache that cannot be written costs time at every start and nothing else. */
static ls_status keep_unpacked(const ls_train_config *c, const ls_prepared_images *p,
                               ls_source_note *note) {
    ls_images *test = NULL;
    LS_TRY(ls_images_open(c->data.path, LS_IMAGES_TEST, &test));
    const ls_status status = save_unpacked(c, p, test, note);
    ls_images_close(test);
    if (status == LS_OK || status == LS_ERR_NO_MEMORY) return status;
    ls_log(LS_LOG_WARN, "the images will be unpacked again at the next start: %s",
           ls_error_message());
    ls_error_clear();
    return LS_OK;
}

static ls_status open_kept(const ls_train_config *c, ls_prepared_images *p) {
    char path[LS_PREPARE_PATH];
    LS_TRY(ls_prepare_path(c, folder_name, path));
    p->folder = ls_strdup(path);
    if (!p->folder) return LS_ERR_NO_MEMORY;
    LS_TRY(ls_images_open(p->folder, LS_IMAGES_TRAIN, &p->train));
    LS_TRY(ls_prepare_path(c, numbers_name, path));
    return read_numbers(p, path);
}

static int is_packed(const char *path) {
    const size_t n = strlen(path);
    return n > 3 && strcmp(path + n - 3, ".gz") == 0;
}

static int has_packed(const ls_source_note *note) {
    int n = 0;
    for (int64_t i = 0; i < note->n_paths; i++) n += is_packed(note->paths[i]);
    return n > 0;
}

static ls_status open_given(const ls_train_config *c, ls_prepared_images *p, ls_source_note *note) {
    p->folder = ls_strdup(c->data.path);
    if (!p->folder) return LS_ERR_NO_MEMORY;
    if (has_packed(note)) LS_TRY(ls_source_note_hash(note));
    LS_TRY(ls_images_open(p->folder, LS_IMAGES_TRAIN, &p->train));
    LS_TRY(count_numbers(p));
    if (!ls_images_is_unpacked(p->train) || !note->is_hashed) return LS_OK;
    const ls_images_info info = ls_images_get_info(p->train);
    p->unpacked_bytes = info.n_images * (info.height * info.width + 1);
    return keep_unpacked(c, p, note);
}

static ls_status open_images(const ls_train_config *c, ls_prepared_images *p,
                             ls_source_note *note) {
    char path[LS_PREPARE_PATH];
    int is_kept = 0;
    LS_TRY(ls_prepare_path(c, note_name, path));
    LS_TRY(ls_source_note_matches(note, path, &is_kept));
    return is_kept ? open_kept(c, p) : open_given(c, p, note);
}

ls_status ls_prepare_images(const ls_train_config *c, ls_prepared_images *out) {
    ls_source_note note = {0};
    *out = (ls_prepared_images){0};
    ls_status status = LS_OK;
    /* What is not there is said as ls_images_open says it. */
    if (ls_path_is_dir(c->data.path)) {
        status = ls_source_note_init(c, &note);
        if (status == LS_OK) status = open_images(c, out, &note);
    } else {
        status = ls_images_open(c->data.path, LS_IMAGES_TRAIN, &out->train);
    }
    ls_source_note_deinit(&note);
    if (status != LS_OK) ls_prepared_images_close(out);
    return status;
}

void ls_prepared_images_close(ls_prepared_images *p) {
    ls_images_close(p->train);
    ls_free(p->folder);
    *p = (ls_prepared_images){0};
}
