/* Reading safetensors. Layout: 8 bytes header length N (little-endian), N bytes of JSON, then the tensors' bytes.
 * Nothing of the header is believed before it was checked against the file. */
#include "lockstep/safetensors.h"
#include "base/alloc.h"
#include "base/fs.h"
#include "base/json.h"
#include "tensor/safetensors_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "safetensors data is little-endian and is read in place");

typedef struct st_entry {
    const char *name; /* in the header's JSON */
    ls_tensor tensor;
    int64_t begin, end; /* of the data, after the header */
    void *copy;         /* aligned copy of data that lies unaligned in the file, or NULL */
} st_entry;

struct ls_safetensors {
    ls_map map;    /* of ls_safetensors_open */
    json_t *root;  /* holds names and metadata */
    json_t *pairs; /* "__metadata__" or NULL; borrowed from root */
    st_entry *entries;
    const st_entry **by_name; /* sorted */
    int n_entries;
    int64_t header_bytes; /* with the length before it */
};

/* What is being read, for messages and checks. */
typedef struct st_source {
    const char *what;
    const unsigned char *data; /* after the header */
    int64_t data_bytes;
    char label[384]; /* "<what>: tensor '<name>'" of the entry being read */
} st_source;

/* The keys of an entry are dtype, shape and data_offsets, and no others. */
static ls_status check_keys(const st_source *source, json_t *info) {
    if (!json_is_object(info))
        return LS_FAIL(LS_ERR_FORMAT, "%s: its entry is not an object", source->label);
    const char *key;
    json_t *value;
    json_object_foreach(info, key, value) {
        (void)value;
        if (strcmp(key, "dtype") != 0 && strcmp(key, "shape") != 0 &&
            strcmp(key, "data_offsets") != 0)
            return LS_FAIL(LS_ERR_FORMAT,
                           "%s: unknown key '%s'; dtype, shape and "
                           "data_offsets are known",
                           source->label, key);
    }
    return LS_OK;
}

static ls_status read_dtype(const st_source *source, st_entry *entry, json_t *info) {
    const char *name;
    LS_TRY(ls_json_get_string(info, source->label, "dtype", &name));
    for (int i = 0; i < LS_DTYPE_COUNT; i++)
        if (strcmp(name, ls_safetensors_dtype_name((ls_dtype)i)) == 0) {
            entry->tensor.dtype = (ls_dtype)i;
            return LS_OK;
        }
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "%s has dtype %s, which is not supported; "
                   "F64, F32, F16, BF16, I64, I32, I8, U8 and BOOL are",
                   source->label, name);
}

static ls_status read_shape(const st_source *source, st_entry *entry, json_t *info) {
    json_t *array;
    LS_TRY(ls_json_get_array(info, source->label, "shape", &array));
    const size_t n_dims = json_array_size(array);
    if (n_dims > LS_MAX_DIMS)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "%s has %zu dimensions; at most %d are "
                       "supported",
                       source->label, n_dims, (int)LS_MAX_DIMS);
    int64_t dims[LS_MAX_DIMS];
    for (size_t i = 0; i < n_dims; i++) {
        const json_t *dim = json_array_get(array, i);
        if (!json_is_integer(dim))
            return LS_FAIL(LS_ERR_FORMAT, "%s: its shape holds more than integers", source->label);
        dims[i] = json_integer_value(dim);
    }
    if (ls_shape_make((int)n_dims, dims, &entry->tensor.shape) != LS_OK)
        return ls_error_prefix(LS_ERR_FORMAT, "%s", source->label);
    return LS_OK;
}

static ls_status read_offsets(const st_source *source, st_entry *entry, json_t *info) {
    json_t *array;
    LS_TRY(ls_json_get_array(info, source->label, "data_offsets", &array));
    const json_t *begin = json_array_get(array, 0), *end = json_array_get(array, 1);
    if (json_array_size(array) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return LS_FAIL(LS_ERR_FORMAT, "%s: data_offsets must be two integers", source->label);
    entry->begin = json_integer_value(begin);
    entry->end = json_integer_value(end);
    if (entry->begin < 0 || entry->end < entry->begin || entry->end > source->data_bytes)
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s: data_offsets [%lld, %lld] do not lie in the "
                       "%lld bytes of data; the file may be truncated",
                       source->label, (long long)entry->begin, (long long)entry->end,
                       (long long)source->data_bytes);
    const size_t need = ls_tensor_bytes(&entry->tensor);
    if ((uint64_t)(entry->end - entry->begin) != need)
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s: its dtype and shape need %zu bytes, its "
                       "data_offsets span %lld",
                       source->label, need, (long long)(entry->end - entry->begin));
    return LS_OK;
}

/* Points the tensor at its bytes, or at an aligned copy: a file may put an f64 at an odd address. */
static ls_status place_data(const st_source *source, st_entry *entry) {
    static const unsigned char nothing[8];
    const size_t bytes = (size_t)(entry->end - entry->begin);
    const unsigned char *at = bytes ? source->data + entry->begin : nothing;
    if (bytes && (uintptr_t)at % ls_dtype_bytes(entry->tensor.dtype) != 0) {
        entry->copy = ls_alloc(bytes);
        if (!entry->copy) return LS_ERR_NO_MEMORY;
        memcpy(entry->copy, at, bytes);
        at = entry->copy;
    }
    entry->tensor.data = (void *)(uintptr_t)at;
    return LS_OK;
}

static ls_status read_entry(st_source *source, const char *name, json_t *info, st_entry *entry) {
    snprintf(source->label, sizeof source->label, "%.180s: tensor '%.180s'", source->what, name);
    entry->name = name;
    LS_TRY(check_keys(source, info));
    LS_TRY(read_dtype(source, entry, info));
    LS_TRY(read_shape(source, entry, info));
    return read_offsets(source, entry, info);
}

static ls_status check_metadata(const st_source *source, json_t *pairs) {
    if (!json_is_object(pairs))
        return LS_FAIL(LS_ERR_FORMAT, "%s: __metadata__ must be an object", source->what);
    const char *key;
    json_t *value;
    json_object_foreach(pairs, key, value) {
        if (!json_is_string(value))
            return LS_FAIL(LS_ERR_FORMAT, "%s: __metadata__ \"%s\" must be a string", source->what,
                           key);
    }
    return LS_OK;
}

static int compare_begin(const void *a, const void *b) {
    const st_entry *x = *(const st_entry *const *)a, *y = *(const st_entry *const *)b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static int compare_name(const void *a, const void *b) {
    return strcmp((*(const st_entry *const *)a)->name, (*(const st_entry *const *)b)->name);
}

/* Every byte of the data belongs to exactly one tensor. */
static ls_status check_coverage(const st_source *source, const st_entry **sorted, int n) {
    int64_t at = 0;
    for (int i = 0; i < n; i++) {
        if (sorted[i]->begin != at)
            return LS_FAIL(LS_ERR_FORMAT,
                           "%s: tensor '%s' begins at byte %lld of the data, where "
                           "%lld was expected: tensors %s",
                           source->what, sorted[i]->name, (long long)sorted[i]->begin,
                           (long long)at, sorted[i]->begin < at ? "overlap" : "leave a hole");
        at = sorted[i]->end;
    }
    if (at != source->data_bytes)
        return LS_FAIL(LS_ERR_FORMAT, "%s: %lld bytes after the last tensor belong to none",
                       source->what, (long long)(source->data_bytes - at));
    return LS_OK;
}

static ls_status read_entries(ls_safetensors *file, st_source *source) {
    const size_t n = json_object_size(file->root);
    file->entries = ls_alloc(n * sizeof *file->entries);
    file->by_name = ls_alloc(n * sizeof *file->by_name);
    if (!file->entries || !file->by_name) return LS_ERR_NO_MEMORY;
    const char *name;
    json_t *info;
    json_object_foreach(file->root, name, info) {
        if (strcmp(name, "__metadata__") == 0) {
            LS_TRY(check_metadata(source, info));
            file->pairs = info;
            continue;
        }
        st_entry *entry = &file->entries[file->n_entries];
        LS_TRY(read_entry(source, name, info, entry));
        file->by_name[file->n_entries++] = entry;
    }
    const size_t n_entries = (size_t)file->n_entries;
    if (n_entries) qsort(file->by_name, n_entries, sizeof *file->by_name, compare_begin);
    LS_TRY(check_coverage(source, file->by_name, file->n_entries));
    if (n_entries) qsort(file->by_name, n_entries, sizeof *file->by_name, compare_name);
    for (int i = 0; i < file->n_entries; i++) LS_TRY(place_data(source, &file->entries[i]));
    return LS_OK;
}

static ls_status check_header_length(const unsigned char *data, size_t bytes, const char *what,
                                     size_t *header_out) {
    if (bytes < LENGTH_BYTES)
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s: %zu bytes are too few for a safetensors file; it is "
                       "truncated or something else",
                       what, bytes);
    uint64_t length;
    memcpy(&length, data, sizeof length);
    if (length > LARGEST_HEADER_BYTES)
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s: the header length reads %llu, more than the %d allowed; "
                       "this is no safetensors file",
                       what, (unsigned long long)length, (int)LARGEST_HEADER_BYTES);
    if (length > bytes - LENGTH_BYTES)
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s: the header should be %llu bytes long, but only %zu "
                       "follow; the file is truncated",
                       what, (unsigned long long)length, bytes - LENGTH_BYTES);
    if (length == 0 || data[LENGTH_BYTES] != '{')
        return LS_FAIL(LS_ERR_FORMAT, "%s: the header does not begin with '{'", what);
    *header_out = (size_t)length;
    return LS_OK;
}

static ls_status parse(ls_safetensors *file, const unsigned char *data, size_t bytes,
                       const char *what) {
    size_t header_bytes = 0;
    LS_TRY(check_header_length(data, bytes, what, &header_bytes));
    LS_TRY(ls_json_parse((const char *)data + LENGTH_BYTES, header_bytes, what, &file->root));
    file->header_bytes = (int64_t)(LENGTH_BYTES + header_bytes);
    st_source source = {
        .what = what,
        .data = data + LENGTH_BYTES + header_bytes,
        .data_bytes = (int64_t)(bytes - LENGTH_BYTES - header_bytes),
    };
    return read_entries(file, &source);
}

ls_status ls_safetensors_parse(const void *data, size_t bytes, const char *what,
                               ls_safetensors **out) {
    ls_safetensors *file = ls_alloc(sizeof *file);
    if (!file) return LS_ERR_NO_MEMORY;
    const ls_status status = parse(file, data, bytes, what);
    if (status != LS_OK) {
        ls_safetensors_close(file);
        return status;
    }
    *out = file;
    return LS_OK;
}

ls_status ls_safetensors_open(const char *path, ls_safetensors **out) {
    ls_map map;
    LS_TRY(ls_map_open(path, &map));
    ls_safetensors *file;
    const ls_status status = ls_safetensors_parse(map.data, map.bytes, path, &file);
    if (status != LS_OK) {
        ls_map_close(&map);
        return status;
    }
    file->map = map;
    *out = file;
    return LS_OK;
}

void ls_safetensors_close(ls_safetensors *file) {
    if (!file) return;
    for (int i = 0; i < file->n_entries; i++) ls_free(file->entries[i].copy);
    ls_free(file->entries);
    ls_free(file->by_name);
    json_decref(file->root);
    ls_map_close(&file->map);
    ls_free(file);
}

int ls_safetensors_count(const ls_safetensors *file) {
    return file->n_entries;
}

const char *ls_safetensors_name(const ls_safetensors *file, int i) {
    return file->entries[i].name;
}

ls_tensor ls_safetensors_tensor(const ls_safetensors *file, int i) {
    return file->entries[i].tensor;
}

int64_t ls_safetensors_offset(const ls_safetensors *file, int i) {
    return file->header_bytes + file->entries[i].begin;
}

int64_t ls_safetensors_header_bytes(const ls_safetensors *file) {
    return file->header_bytes;
}

ls_status ls_safetensors_find(const ls_safetensors *file, const char *name, ls_tensor *out) {
    int low = 0, high = file->n_entries;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        const int order = strcmp(name, file->by_name[middle]->name);
        if (order == 0) {
            *out = file->by_name[middle]->tensor;
            return LS_OK;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return LS_FAIL(LS_ERR_NOT_FOUND, "there is no tensor '%s' among the %d of this file", name,
                   file->n_entries);
}

const char *ls_safetensors_metadata(const ls_safetensors *file, const char *key) {
    return json_string_value(json_object_get(file->pairs, key));
}
