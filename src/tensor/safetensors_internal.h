/* What reader and writer of safetensors share. */
#ifndef LS_TENSOR_SAFETENSORS_INTERNAL_H
#define LS_TENSOR_SAFETENSORS_INTERNAL_H
#include "lockstep/tensor.h"

/* The limit on the header is the format's own. */
enum { LENGTH_BYTES = 8, LARGEST_HEADER_BYTES = 100000000, DATA_ALIGNMENT = 64 };

static inline const char *ls_safetensors_dtype_name(ls_dtype dtype) {
    static const char *const names[LS_DTYPE_COUNT] = {
#define NAME_ROW(upper, lower, n, st) [LS_DTYPE_##upper] = st,
        LS_DTYPE_MAP(NAME_ROW)
#undef NAME_ROW
    };
    return (unsigned)dtype < LS_DTYPE_COUNT ? names[dtype] : "";
}

#endif
