/* What two checkpoints have in common, tensor by tensor. */
#include <math.h>
#include <string.h>

#include "ckpt/ckpt.h"

/* Elements compared at once, in each checkpoint. */
enum { STRIDE = 1 << 20 };

static void compare_elements(const ls_tensor *a, const ls_tensor *b, int64_t n,
                             ls_ckpt_difference *out) {
    const size_t size = ls_dtype_bytes(a->dtype);
    for (int64_t i = 0; i < n; i++) {
        if (memcmp((char *)a->data + (size_t)i * size, (char *)b->data + (size_t)i * size, size) ==
            0)
            continue;
        const double x = ls_tensor_get(a, i), y = ls_tensor_get(b, i), gap = fabs(x - y);
        const double most = fmax(fabs(x), fabs(y));
        out->n_different++;
        if (!isfinite(gap)) out->n_not_finite++;
        if (isfinite(gap) && gap > out->largest) out->largest = gap;
        if (isfinite(gap) && most > 0 && gap / most > out->largest_relative)
            out->largest_relative = gap / most;
    }
}

static ls_status compare_data(const ls_ckpt *a, const ls_ckpt *b, const ls_ckpt_entry *x,
                              const ls_ckpt_entry *y, ls_ckpt_difference *out) {
    const int64_t count = ls_type_count(&x->type);
    const size_t bytes = STRIDE * ls_dtype_bytes(x->type.dtype);
    ls_tensor s = {x->type.dtype, {1, {STRIDE}}, ls_alloc(bytes)};
    ls_tensor t = {x->type.dtype, {1, {STRIDE}}, ls_alloc(bytes)};
    ls_status status = s.data && t.data ? LS_OK : LS_ERR_NO_MEMORY;
    for (int64_t at = 0; status == LS_OK && at < count; at += STRIDE) {
        const int64_t n = count - at < STRIDE ? count - at : STRIDE;
        status = ls_ckpt_read_entry(a, x, at, n, s.data);
        if (status == LS_OK) status = ls_ckpt_read_entry(b, y, at, n, t.data);
        if (status == LS_OK) compare_elements(&s, &t, n, out);
    }
    ls_free(s.data);
    ls_free(t.data);
    return status;
}

static ls_ckpt_tensor_info info_of(const ls_ckpt_entry *e) {
    return (ls_ckpt_tensor_info){e->name, e->role, e->type.dtype, e->type.shape, e->n_slices};
}

ls_status ls_ckpt_diff(const ls_ckpt *a, const ls_ckpt *b, ls_ckpt_diff_fn fn, void *user) {
    for (int i = 0, j = 0; i < a->n_entries || j < b->n_entries;) {
        const ls_ckpt_entry *x = i < a->n_entries ? a->by_name[i] : NULL;
        const ls_ckpt_entry *y = j < b->n_entries ? b->by_name[j] : NULL;
        const int order = !x ? 1 : !y ? -1 : strcmp(x->name, y->name);
        ls_ckpt_difference d = {.in_a = order <= 0, .in_b = order >= 0};
        if (d.in_a) d.a = info_of(x);
        if (d.in_b) d.b = info_of(y);
        d.name = d.in_a ? x->name : y->name;
        d.alike = order == 0 && x->type.dtype == y->type.dtype &&
                  ls_shape_equal(&x->type.shape, &y->type.shape);
        if (d.alike) LS_TRY(compare_data(a, b, x, y, &d));
        LS_TRY(fn(user, &d));
        i += d.in_a;
        j += d.in_b;
    }
    return LS_OK;
}
