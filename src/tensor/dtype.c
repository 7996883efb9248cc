/* Names and sizes of dtypes, and the two 16-bit float formats. */
#include "lockstep/tensor.h"
#include <string.h>
#include <strings.h>

size_t ls_dtype_bytes(ls_dtype dtype) {
    static const unsigned char bytes[LS_DTYPE_COUNT] = {
#define BYTES_ROW(upper, lower, n, st) [LS_DTYPE_##upper] = n,
        LS_DTYPE_MAP(BYTES_ROW)
#undef BYTES_ROW
    };
    return (unsigned)dtype < LS_DTYPE_COUNT ? bytes[dtype] : 0;
}

const char *ls_dtype_name(ls_dtype dtype) {
    static const char *const names[LS_DTYPE_COUNT] = {
#define NAME_ROW(upper, lower, n, st) [LS_DTYPE_##upper] = #lower,
        LS_DTYPE_MAP(NAME_ROW)
#undef NAME_ROW
    };
    return (unsigned)dtype < LS_DTYPE_COUNT ? names[dtype] : "unknown";
}

ls_status ls_dtype_parse(const char *name, ls_dtype *out) {
    for (int i = 0; i < LS_DTYPE_COUNT; i++)
        if (strcasecmp(name, ls_dtype_name((ls_dtype)i)) == 0) {
            *out = (ls_dtype)i;
            return LS_OK;
        }
    return LS_FAIL(
        LS_ERR_UNSUPPORTED,
        "dtype '%s' is not supported; f64, f32, f16, bf16, i64, i32, i8, u8 and bool are", name);
}

int ls_dtype_is_float(ls_dtype dtype) {
    return dtype == LS_DTYPE_F32 || dtype == LS_DTYPE_BF16 || dtype == LS_DTYPE_F16 ||
           dtype == LS_DTYPE_F64;
}
