/* Writing safetensors: the header as JSON padded with blanks, then the tensors' bytes without gaps. */
#include "base/alloc.h"
#include "base/fs.h"
#include "base/json.h"
#include "lockstep/safetensors.h"
#include "tensor/safetensors_internal.h"
#include <string.h>

static ls_status fail_memory(const char *path) {
    return LS_FAIL(LS_ERR_NO_MEMORY, "%s: out of memory while making the header", path);
}

/* jansson answers NULL to bad UTF-8 as to lack of memory. */
static ls_status check_text(const char *path, const char *text) {
    const int64_t refused = ls_alloc_n_refused();
    json_t *value = json_string(text);
    json_decref(value);
    if (!value && ls_alloc_n_refused() == refused)
        return LS_FAIL(LS_ERR_INVALID, "%s: a name or metadata text is not UTF-8: '%s'", path,
                       text);
    return value ? LS_OK : fail_memory(path);
}

static ls_status add_text(json_t *object, const char *path, const char *key, const char *text) {
    LS_TRY(check_text(path, key));
    LS_TRY(check_text(path, text));
    if (json_object_get(object, key))
        return LS_FAIL(LS_ERR_INVALID, "%s: metadata '%s' was given twice", path, key);
    if (json_object_set_new(object, key, json_string(text)) != 0) return fail_memory(path);
    return LS_OK;
}

static ls_status add_metadata(json_t *root, const char *path, const char *const *metadata) {
    json_t *object = json_object();
    if (json_object_set_new(root, "__metadata__", object) != 0) return fail_memory(path);
    for (; *metadata; metadata += 2) {
        if (!metadata[1])
            return LS_FAIL(LS_ERR_INVALID, "%s: metadata '%s' has no value", path, metadata[0]);
        LS_TRY(add_text(object, path, metadata[0], metadata[1]));
    }
    return LS_OK;
}

static json_t *shape_to_json(const ls_shape *shape) {
    json_t *array = json_array();
    for (int i = 0; array && i < shape->n_dims; i++)
        if (json_array_append_new(array, json_integer(shape->dims[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *entry_to_json(const ls_tensor *tensor, int64_t begin) {
    const int64_t end = begin + (int64_t)ls_tensor_bytes(tensor);
    json_t *offsets = json_array();
    int failed = json_array_append_new(offsets, json_integer(begin));
    failed |= json_array_append_new(offsets, json_integer(end));
    json_t *entry = json_object();
    const char *dtype = ls_safetensors_dtype_name(tensor->dtype);
    failed |= json_object_set_new(entry, "dtype", json_string(dtype));
    failed |= json_object_set_new(entry, "shape", shape_to_json(&tensor->shape));
    failed |= json_object_set_new(entry, "data_offsets", offsets);
    if (!failed) return entry;
    json_decref(entry);
    return NULL;
}

static ls_status check_tensor(const char *path, const ls_named_tensor *named) {
    ls_shape shape;
    LS_TRY(check_text(path, named->name));
    if (strcmp(named->name, "__metadata__") == 0)
        return LS_FAIL(LS_ERR_INVALID, "%s: no tensor may be named __metadata__", path);
    if ((unsigned)named->tensor.dtype >= LS_DTYPE_COUNT)
        return LS_FAIL(LS_ERR_INVALID, "%s: tensor '%s' has an unknown dtype", path, named->name);
    if (ls_shape_make(named->tensor.shape.n_dims, named->tensor.shape.dims, &shape) != LS_OK)
        return ls_error_prefix(LS_ERR_INVALID, "%s: tensor '%s'", path, named->name);
    return LS_OK;
}

static ls_status add_tensors(json_t *root, const char *path, const ls_named_tensor *tensors,
                             int n_tensors) {
    int64_t begin = 0;
    for (int i = 0; i < n_tensors; i++) {
        LS_TRY(check_tensor(path, &tensors[i]));
        if (json_object_get(root, tensors[i].name))
            return LS_FAIL(LS_ERR_INVALID, "%s: two tensors are named '%s'", path, tensors[i].name);
        json_t *entry = entry_to_json(&tensors[i].tensor, begin);
        if (json_object_set_new(root, tensors[i].name, entry) != 0) return fail_memory(path);
        begin += (int64_t)ls_tensor_bytes(&tensors[i].tensor);
    }
    return LS_OK;
}

/* The length, the JSON, and blanks until the data begins at a multiple of 64. */
static ls_status print_header(const char *path, const json_t *root, char **header_out,
                              size_t *bytes_out) {
    char *text;
    size_t bytes;
    LS_TRY(ls_json_dump(root, JSON_COMPACT, &text, &bytes));
    const size_t pad = (DATA_ALIGNMENT - (LENGTH_BYTES + bytes) % DATA_ALIGNMENT) % DATA_ALIGNMENT;
    const uint64_t length = bytes + pad;
    ls_status status = LS_OK;
    if (length > LARGEST_HEADER_BYTES)
        status =
            LS_FAIL(LS_ERR_INVALID, "%s: the header would take %zu bytes; the format allows %d",
                    path, bytes, (int)LARGEST_HEADER_BYTES);
    char *header = status == LS_OK ? ls_alloc(LENGTH_BYTES + length) : NULL;
    if (status == LS_OK && !header) status = LS_ERR_NO_MEMORY;
    if (header) {
        memcpy(header, &length, LENGTH_BYTES);
        memcpy(header + LENGTH_BYTES, text, bytes);
        memset(header + LENGTH_BYTES + bytes, ' ', pad);
        *header_out = header;
        *bytes_out = LENGTH_BYTES + length;
    }
    ls_free(text);
    return status;
}

ls_status ls_safetensors_make_header(const char *path, const ls_named_tensor *tensors,
                                     int n_tensors, const char *const *metadata, char **header_out,
                                     size_t *bytes_out) {
    json_t *root = json_object();
    if (!root) return fail_memory(path);
    ls_status status = metadata ? add_metadata(root, path, metadata) : LS_OK;
    if (status == LS_OK) status = add_tensors(root, path, tensors, n_tensors);
    if (status == LS_OK) status = print_header(path, root, header_out, bytes_out);
    json_decref(root);
    return status;
}

static ls_status check_data(const char *path, const ls_named_tensor *tensors, int n_tensors) {
    for (int i = 0; i < n_tensors; i++)
        if (!tensors[i].tensor.data && ls_tensor_bytes(&tensors[i].tensor) > 0)
            return LS_FAIL(LS_ERR_INVALID, "%s: tensor '%s' has no data", path, tensors[i].name);
    return LS_OK;
}

static ls_status write_file(const char *path, const char *header, size_t header_bytes,
                            const ls_named_tensor *tensors, int n_tensors) {
    ls_file_writer *writer;
    LS_TRY(ls_file_writer_begin(path, &writer));
    ls_status status = ls_file_writer_write(writer, header, header_bytes);
    for (int i = 0; status == LS_OK && i < n_tensors; i++)
        status = ls_file_writer_write(writer, tensors[i].tensor.data,
                                      ls_tensor_bytes(&tensors[i].tensor));
    if (status == LS_OK) return ls_file_writer_commit(writer);
    ls_file_writer_abort(writer);
    return status;
}

ls_status ls_safetensors_write(const char *path, const ls_named_tensor *tensors, int n_tensors,
                               const char *const *metadata) {
    char *header = NULL;
    size_t bytes = 0;
    LS_TRY(ls_safetensors_make_header(path, tensors, n_tensors, metadata, &header, &bytes));
    ls_status status = check_data(path, tensors, n_tensors);
    if (status == LS_OK) status = write_file(path, header, bytes, tensors, n_tensors);
    ls_free(header);
    return status;
}
