/* safetensors files (https://github.com/huggingface/safetensors, format section of its README).
 * Every header field is checked before use: header length, JSON, dtype, shape, offsets, overlap, holes, overflow, duplicate names,
 * file length. Local; a reader may be used from several threads. */
#ifndef LOCKSTEP_SAFETENSORS_H
#define LOCKSTEP_SAFETENSORS_H
#include "lockstep/tensor.h"
#include <stddef.h>
#include <stdint.h>

typedef struct ls_safetensors ls_safetensors;

LS_API ls_status ls_safetensors_open(const char *path, ls_safetensors **out); /* maps the file */
LS_API ls_status ls_safetensors_parse(const void *data, size_t bytes, const char *what,
                                      ls_safetensors **out); /* borrows data */
LS_API void ls_safetensors_close(ls_safetensors *file);
LS_API int ls_safetensors_count(const ls_safetensors *file);
/* The i-th tensor in header order; name and data live as long as the file. */
LS_API const char *ls_safetensors_name(const ls_safetensors *file, int i);
LS_API ls_tensor ls_safetensors_tensor(const ls_safetensors *file, int i); /* data is read-only */
LS_API int64_t ls_safetensors_offset(const ls_safetensors *file,
                                     int i); /* of its bytes in the file */
LS_API int64_t
ls_safetensors_header_bytes(const ls_safetensors *file); /* tensors' bytes begin there */
LS_API ls_status ls_safetensors_find(const ls_safetensors *file, const char *name, ls_tensor *out);
/* Value of a "__metadata__" entry or NULL. */
LS_API const char *ls_safetensors_metadata(const ls_safetensors *file, const char *key);

typedef struct ls_named_tensor {
    const char *name;
    ls_tensor tensor;
} ls_named_tensor;
/* What comes before the tensors' bytes in a file of these (data may be NULL), for who writes the rest: length, JSON, blanks up to a
 * multiple of 64. The tensors follow in the order given, without gaps. *header_out is freed with ls_free. */
LS_API ls_status ls_safetensors_make_header(const char *path, const ls_named_tensor *tensors,
                                            int n_tensors, const char *const *metadata,
                                            char **header_out, size_t *bytes_out);
/* Writes atomically, tensors in the order given, 64-byte aligned data start; metadata is NULL or pairs key, value, ..., NULL. */
LS_API ls_status ls_safetensors_write(const char *path, const ls_named_tensor *tensors,
                                      int n_tensors, const char *const *metadata);

#endif
