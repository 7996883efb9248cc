/* The manifest's lists: files (there, of the right size, headers and plain files with the right hash) and tensors with the slices they
 * are stored in. Nothing is believed before it was checked. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "ckpt/ckpt.h"

static ls_status read_hash(const json_t *item, const char *what, const char *key, uint64_t *out) {
    const char *text;
    LS_TRY(ls_json_get_string(item, what, key, &text));
    if (!ls_ckpt_is_hex(text, LS_CKPT_HEX))
        return LS_FAIL(LS_ERR_FORMAT, "%s: %s must be 16 hexadecimal digits, got '%.40s'", what,
                       key, text);
    *out = ls_ckpt_hex_hash(text);
    return LS_OK;
}

static int is_bad_name(const char *name) {
    return !*name || *name == '.' || strchr(name, '/') != NULL;
}

/* Opens the file, whose size must be the manifest's (bytes < 0: any). */
static ls_status open_source(ls_ckpt *c, const char *what, ls_ckpt_source *source, char *path) {
    int64_t found;
    if (is_bad_name(source->name))
        return LS_FAIL(LS_ERR_FORMAT, "%s: '%.100s' is no name of a file beside it", what,
                       source->name);
    LS_TRY(ls_ckpt_path(c->dir, source->name, path));
    if (!ls_path_exists(path))
        return LS_FAIL(LS_ERR_FORMAT, "%s lists the file '%s', which is missing", what,
                       source->name);
    LS_TRY(ls_file_open(path, 0, &source->file));
    LS_TRY(ls_file_size(source->file, &found));
    if (source->bytes < 0) source->bytes = found;
    if (found == source->bytes) return LS_OK;
    return LS_FAIL(LS_ERR_FORMAT, "%s has %lld bytes, %s says %lld: it is truncated or another's",
                   path, (long long)found, what, (long long)source->bytes);
}

/* Bytes first .. first + bytes - 1 have this hash? */
static ls_status check_bytes(const ls_ckpt_source *source, const char *path, int64_t bytes,
                             const char *part) {
    char *data = ls_alloc((size_t)bytes + 1);
    if (!data) return LS_ERR_NO_MEMORY;
    ls_status status = ls_file_pread(source->file, data, (size_t)bytes, 0);
    if (status == LS_OK && ls_xxh3(data, (size_t)bytes, 0) != source->hash)
        status =
            LS_FAIL(LS_ERR_FORMAT, "%s is damaged: %s (%lld bytes) has another hash than %s says",
                    path, part, (long long)bytes, LS_CKPT_MANIFEST);
    ls_free(data);
    return status;
}

static ls_status read_file(ls_ckpt *c, const char *what, const json_t *item) {
    char path[LS_CKPT_PATH];
    ls_ckpt_source *source = &c->files[c->n_files++];
    int64_t header_bytes = 0;
    LS_TRY(ls_json_get_string(item, what, "name", &source->name));
    LS_TRY(ls_json_get_int(item, what, "bytes", &source->bytes));
    const int is_plain = json_object_get(item, "header_bytes") == NULL;
    LS_TRY(read_hash(item, what, is_plain ? "xxh3" : "header_xxh3", &source->hash));
    if (!is_plain) LS_TRY(ls_json_get_int(item, what, "header_bytes", &header_bytes));
    if (source->bytes < 0 || header_bytes < 0 || header_bytes > source->bytes)
        return LS_FAIL(LS_ERR_FORMAT, "%s: file '%.100s' has impossible sizes", what, source->name);
    LS_TRY(open_source(c, what, source, path));
    if (is_plain) return check_bytes(source, path, source->bytes, "the file");
    LS_TRY(check_bytes(source, path, header_bytes, "the header"));
    LS_TRY(ls_safetensors_open(path, &source->tensors));
    if (ls_safetensors_header_bytes(source->tensors) == header_bytes) return LS_OK;
    return LS_FAIL(LS_ERR_FORMAT, "%s: its header has %lld bytes, %s says %lld", path,
                   (long long)ls_safetensors_header_bytes(source->tensors), what,
                   (long long)header_bytes);
}

/* Version 1 lists no files: it knew two. */
static ls_status read_files_of_version_1(ls_ckpt *c, const char *what) {
    static const char *const names[] = {LS_CKPT_WEIGHTS, LS_CKPT_OPTIMIZER};
    char path[LS_CKPT_PATH];
    c->files = ls_arena_alloc(c->arena, sizeof *c->files * 2);
    if (!c->files) return LS_ERR_NO_MEMORY;
    for (int f = 0; f < 2; f++) {
        LS_TRY(ls_ckpt_path(c->dir, names[f], path));
        if (f == 1 && !ls_path_exists(path)) continue;
        ls_ckpt_source *source = &c->files[c->n_files++];
        *source = (ls_ckpt_source){.name = names[f], .bytes = -1};
        LS_TRY(open_source(c, what, source, path));
        LS_TRY(ls_safetensors_open(path, &source->tensors));
    }
    return LS_OK;
}

static ls_status read_files(ls_ckpt *c, const char *what) {
    json_t *list;
    if (c->version == 1) return read_files_of_version_1(c, what);
    LS_TRY(ls_json_get_array(c->manifest, what, "files", &list));
    const size_t n = json_array_size(list);
    c->files = ls_arena_alloc(c->arena, sizeof *c->files * (n + 1));
    if (!c->files) return LS_ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) LS_TRY(read_file(c, what, json_array_get(list, i)));
    return LS_OK;
}

/* --- tensors --- */

static ls_status read_numbers(const json_t *item, const char *what, const char *key, int64_t *out,
                              int *n_out) {
    json_t *list;
    LS_TRY(ls_json_get_array(item, what, key, &list));
    const size_t n = json_array_size(list);
    if (n > LS_MAX_DIMS)
        return LS_FAIL(LS_ERR_FORMAT, "%s: \"%s\" has %zu dimensions; at most %d are supported",
                       what, key, n, (int)LS_MAX_DIMS);
    for (size_t d = 0; d < n; d++) {
        const json_t *number = json_array_get(list, d);
        if (!json_is_integer(number) || json_integer_value(number) < 0)
            return LS_FAIL(LS_ERR_FORMAT, "%s: \"%s\" holds more than counts", what, key);
        out[d] = json_integer_value(number);
    }
    *n_out = (int)n;
    return LS_OK;
}

static ls_status read_shape(const json_t *item, const char *what, ls_shape *out) {
    int64_t dims[LS_MAX_DIMS] = {0};
    int n;
    LS_TRY(read_numbers(item, what, "shape", dims, &n));
    const ls_status status = ls_shape_make(n, dims, out);
    return status == LS_OK ? LS_OK : ls_error_prefix(LS_ERR_FORMAT, "%s", what);
}

static int find_file(const ls_ckpt *c, const char *name) {
    for (int f = 0; f < c->n_files; f++)
        if (c->files[f].tensors && strcmp(c->files[f].name, name) == 0) return f;
    return -1;
}

/* Where the slice's bytes are: the tensor of its file that has its name, shape and dtype. */
static ls_status place_slice(ls_ckpt *c, const char *what, const ls_ckpt_entry *e, const char *file,
                             const char *stored, ls_ckpt_slice *slice) {
    char want[128], got[128];
    slice->file = find_file(c, file);
    if (slice->file < 0)
        return LS_FAIL(LS_ERR_FORMAT, "%s is in '%.100s', which is no tensor file of the manifest",
                       what, file);
    ls_ckpt_source *source = &c->files[slice->file];
    const int n = ls_safetensors_count(source->tensors);
    for (int i = 0; i < n; i++) {
        if (strcmp(ls_safetensors_name(source->tensors, i), stored) != 0) continue;
        const ls_tensor t = ls_safetensors_tensor(source->tensors, i);
        if (t.dtype != e->type.dtype || !ls_shape_equal(&t.shape, &slice->shape))
            return LS_FAIL(LS_ERR_FORMAT, "%s is %s%s in %s, but %s%s in the manifest", what,
                           ls_dtype_name(t.dtype), ls_shape_print(&t.shape, got), file,
                           ls_dtype_name(e->type.dtype), ls_shape_print(&slice->shape, want));
        slice->offset = ls_safetensors_offset(source->tensors, i);
        source->n_slices++;
        return LS_OK;
    }
    return LS_FAIL(LS_ERR_FORMAT, "%s: %s does not hold '%s'", what, file, stored);
}

static ls_status check_slice_box(const char *what, const ls_ckpt_entry *e,
                                 const ls_ckpt_slice *slice, int n_start) {
    const ls_shape *whole = &e->type.shape;
    int fits = slice->shape.n_dims == whole->n_dims && n_start == whole->n_dims;
    for (int d = 0; fits && d < whole->n_dims; d++)
        fits = slice->start[d] <= whole->dims[d] &&
               slice->shape.dims[d] <= whole->dims[d] - slice->start[d];
    if (fits) return LS_OK;
    return LS_FAIL(LS_ERR_FORMAT, "%s: a slice does not lie in the tensor", what);
}

static ls_status read_slice(ls_ckpt *c, const char *what, const json_t *item,
                            const ls_ckpt_entry *e, ls_ckpt_slice *slice) {
    const char *file, *stored = json_string_value(json_object_get(item, "tensor"));
    int n_start;
    LS_TRY(ls_json_get_string(item, what, "file", &file));
    LS_TRY(read_numbers(item, what, "start", slice->start, &n_start));
    LS_TRY(read_shape(item, what, &slice->shape));
    LS_TRY(check_slice_box(what, e, slice, n_start));
    LS_TRY(ls_json_get_int(item, what, "chunk", &slice->grid.chunk));
    LS_TRY(ls_json_get_int(item, what, "block", &slice->grid.block));
    LS_TRY(ls_json_get_string(item, what, "xxh3", &slice->hex));
    slice->grid.count = ls_shape_count(&slice->shape);
    if (slice->grid.block < 1 || slice->grid.chunk < slice->grid.block ||
        slice->grid.chunk > (int64_t)1 << 56)
        return LS_FAIL(LS_ERR_FORMAT, "%s: impossible sizes of blocks", what);
    const size_t n = (size_t)ls_ckpt_grid_blocks(&slice->grid);
    if (!ls_ckpt_is_hex(slice->hex, n * LS_CKPT_HEX))
        return LS_FAIL(LS_ERR_FORMAT, "%s: xxh3 must be %zu hexadecimal digits", what,
                       n * LS_CKPT_HEX);
    return place_slice(c, what, e, file, stored ? stored : e->name, slice);
}

/* One slice, one block. */
static ls_status read_slice_of_version_1(ls_ckpt *c, const char *what, const json_t *item,
                                         const ls_ckpt_entry *e, ls_ckpt_slice *slice) {
    const char *file;
    LS_TRY(ls_json_get_string(item, what, "file", &file));
    LS_TRY(ls_json_get_string(item, what, "xxh3", &slice->hex));
    if (!ls_ckpt_is_hex(slice->hex, LS_CKPT_HEX))
        return LS_FAIL(LS_ERR_FORMAT, "%s: xxh3 must be 16 hexadecimal digits, got '%.40s'", what,
                       slice->hex);
    slice->shape = e->type.shape;
    slice->grid.count = ls_shape_count(&slice->shape);
    slice->grid.chunk = slice->grid.block = slice->grid.count ? slice->grid.count : 1;
    return place_slice(c, what, e, file, e->name, slice);
}

static int do_overlap(const ls_ckpt_slice *a, const ls_ckpt_slice *b) {
    for (int d = 0; d < a->shape.n_dims; d++)
        if (a->start[d] + a->shape.dims[d] <= b->start[d] ||
            b->start[d] + b->shape.dims[d] <= a->start[d])
            return 0;
    return 1;
}

/* Every element is in exactly one slice. */
static ls_status check_cover(const char *what, const ls_ckpt_entry *e) {
    int64_t count = 0;
    int overlap = 0;
    for (int i = 0; i < e->n_slices; i++) {
        count += e->slices[i].grid.count;
        for (int k = 0; k < i && e->slices[i].grid.count; k++)
            overlap |= e->slices[k].grid.count && do_overlap(&e->slices[i], &e->slices[k]);
    }
    if (!overlap && count == ls_type_count(&e->type)) return LS_OK;
    return LS_FAIL(LS_ERR_FORMAT, "%s: its slices %s", what,
                   overlap ? "overlap" : "do not hold all of it");
}

static ls_status read_role(const json_t *item, const char *what, ls_role *out) {
    const char *role;
    LS_TRY(ls_json_get_string(item, what, "role", &role));
    for (int r = 1; r < 4; r++)
        if (strcmp(role, ls_ckpt_role_names[r]) == 0) {
            *out = (ls_role)r;
            return LS_OK;
        }
    return LS_FAIL(LS_ERR_FORMAT, "%s: role '%.40s' is not weight, optimizer or buffer", what,
                   role);
}

static ls_status read_slices(ls_ckpt *c, const char *what, const json_t *item, ls_ckpt_entry *e) {
    json_t *list = NULL;
    if (c->version > 1) LS_TRY(ls_json_get_array(item, what, "slices", &list));
    const size_t n = list ? json_array_size(list) : 1;
    e->slices = ls_arena_alloc(c->arena, sizeof *e->slices * (n + 1));
    if (!e->slices) return LS_ERR_NO_MEMORY;
    e->n_slices = (int)n;
    if (!list) return read_slice_of_version_1(c, what, item, e, &e->slices[0]);
    for (size_t i = 0; i < n; i++)
        LS_TRY(read_slice(c, what, json_array_get(list, i), e, &e->slices[i]));
    return check_cover(what, e);
}

static ls_status read_entry(ls_ckpt *c, const char *path, const json_t *item, ls_ckpt_entry *e) {
    const char *dtype;
    char what[LS_CKPT_PATH + 256];
    LS_TRY(ls_json_get_string(item, path, "name", &e->name));
    (void)snprintf(what, sizeof what, "%s: tensor '%.200s'", path, e->name);
    LS_TRY(ls_json_get_string(item, what, "dtype", &dtype));
    if (ls_dtype_parse(dtype, &e->type.dtype) != LS_OK)
        return ls_error_prefix(LS_ERR_FORMAT, "%s", what);
    LS_TRY(read_shape(item, what, &e->type.shape));
    LS_TRY(read_role(item, what, &e->role));
    return read_slices(c, what, item, e);
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const ls_ckpt_entry *const *)a)->name,
                  (*(const ls_ckpt_entry *const *)b)->name);
}

static ls_status sort_entries(ls_ckpt *c, const char *what) {
    for (int i = 0; i < c->n_entries; i++) c->by_name[i] = &c->entries[i];
    if (c->n_entries > 1)
        qsort(c->by_name, (size_t)c->n_entries, sizeof *c->by_name, compare_names);
    for (int i = 1; i < c->n_entries; i++)
        if (strcmp(c->by_name[i - 1]->name, c->by_name[i]->name) == 0)
            return LS_FAIL(LS_ERR_FORMAT, "%s lists tensor '%s' twice", what, c->by_name[i]->name);
    return LS_OK;
}

ls_status ls_ckpt_read_entries(ls_ckpt *c, const char *what) {
    json_t *list;
    LS_TRY(read_files(c, what));
    LS_TRY(ls_json_get_array(c->manifest, what, "tensors", &list));
    const size_t n = json_array_size(list);
    c->entries = ls_arena_alloc(c->arena, sizeof *c->entries * (n + 1));
    c->by_name = ls_arena_alloc(c->arena, sizeof *c->by_name * (n + 1));
    if (!c->entries || !c->by_name) return LS_ERR_NO_MEMORY;
    for (; c->n_entries < (int)n; c->n_entries++)
        LS_TRY(read_entry(c, what, json_array_get(list, (size_t)c->n_entries),
                          &c->entries[c->n_entries]));
    for (int f = 0; f < c->n_files; f++)
        if (c->files[f].tensors &&
            c->files[f].n_slices != ls_safetensors_count(c->files[f].tensors))
            return LS_FAIL(LS_ERR_FORMAT, "%s lists %d tensors of %s, which holds %d", what,
                           c->files[f].n_slices, c->files[f].name,
                           ls_safetensors_count(c->files[f].tensors));
    return sort_entries(c, what);
}

const ls_ckpt_entry *ls_ckpt_find_entry(const ls_ckpt *c, const char *name) {
    const ls_ckpt_entry key = {.name = name}, *at = &key;
    const ls_ckpt_entry *const *found =
        c->n_entries
            ? bsearch(&at, c->by_name, (size_t)c->n_entries, sizeof *c->by_name, compare_names)
            : NULL;
    return found ? *found : NULL;
}
