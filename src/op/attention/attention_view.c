#include "op/attention/attention_view.h"

static ls_status infer_packed(const char *op, const ls_attention_attr *attr, const ls_type *in,
                              ls_type *out, ls_type *lse) {
    char shape[128];
    LS_TRY(ls_infer_float(op, "qkv", &in[0]));
    LS_TRY(ls_infer_dims(op, "qkv [B, T, 3*H*K]", &in[0], 3));
    const int64_t *dims = in[0].shape.dims;
    if (attr->n_heads < 1 || dims[2] < 1 || dims[2] % (3 * (int64_t)attr->n_heads))
        return LS_FAIL(
            LS_ERR_INVALID,
            "op %s: the last dim of qkv must be a multiple of 3 * %d heads, got shape %s", op,
            attr->n_heads, ls_shape_print(&in[0].shape, shape));
    *out = (ls_type){in[0].dtype, {3, {dims[0], dims[1], dims[2] / 3}}};
    *lse = (ls_type){LS_DTYPE_F32, {3, {dims[0], attr->n_heads, dims[1]}}};
    return LS_OK;
}

static ls_status infer_separate(const char *op, const ls_type *in, ls_type *out, ls_type *lse) {
    static const char *const names[] = {"q [B, T, H, K]", "k [B, T, G, K]", "v [B, T, G, K]"};
    char q_shape[128], k_shape[128];
    for (int i = 0; i < 3; i++) {
        LS_TRY(ls_infer_float(op, names[i], &in[i]));
        LS_TRY(ls_infer_dims(op, names[i], &in[i], 4));
        if (in[i].dtype != in[0].dtype)
            return LS_FAIL(LS_ERR_INVALID, "op %s: q, k and v must have one dtype, got %s and %s",
                           op, ls_dtype_name(in[0].dtype), ls_dtype_name(in[i].dtype));
    }
    const int64_t *q = in[0].shape.dims, *k = in[1].shape.dims;
    LS_TRY(ls_infer_same_shape(op, &in[1], &in[2]));
    if (q[0] != k[0] || q[1] != k[1] || q[3] != k[3] || q[3] < 1)
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: q and k must agree in batch, tokens and head size (at least 1), got "
                       "%s and %s",
                       op, ls_shape_print(&in[0].shape, q_shape),
                       ls_shape_print(&in[1].shape, k_shape));
    if (k[2] < 1 || q[2] < 1 || q[2] % k[2])
        return LS_FAIL(LS_ERR_INVALID,
                       "op %s: the number of query heads must be a multiple of the number of "
                       "key/value heads, got %lld and %lld",
                       op, (long long)q[2], (long long)k[2]);
    *out = in[0];
    *lse = (ls_type){LS_DTYPE_F32, {3, {q[0], q[2], q[1]}}};
    return LS_OK;
}

ls_status ls_attention_infer(const char *op, const ls_attention_attr *attr, int is_packed,
                             const ls_type *in, ls_type *out, ls_type *lse) {
    LS_TRY(is_packed ? infer_packed(op, attr, in, out, lse) : infer_separate(op, in, out, lse));
    if (in[0].dtype == LS_DTYPE_F64) lse->dtype = LS_DTYPE_F64;
    return LS_OK;
}

ls_attention_view ls_attention_sizes(const ls_sig *sig) {
    const ls_attention_attr *attr = sig->attr;
    const int64_t *dims = sig->in[0].shape.dims;
    ls_attention_view view = {.n_batch = dims[0], .n_tokens = dims[1], .causal = attr->causal};
    const int is_packed = sig->in[0].shape.n_dims == 3;
    view.n_heads = is_packed ? attr->n_heads : dims[2];
    view.n_kv_heads = is_packed ? attr->n_heads : sig->in[1].shape.dims[2];
    view.head_size = is_packed ? dims[2] / (3 * view.n_heads) : dims[3];
    return view;
}

static ls_head_rows rows_of(const ls_tensor *tensor, int64_t offset, int64_t row_stride) {
    return (ls_head_rows){tensor->data, tensor->dtype, offset, row_stride};
}

/* q, k, v from one packed tensor or from three. */
static void set_qkv(const ls_attention_view *view, const ls_tensor *t, int is_packed,
                    ls_head_rows *q, ls_head_rows *k, ls_head_rows *v) {
    const int64_t row = view->n_heads * view->head_size;
    const int64_t kv_row = view->n_kv_heads * view->head_size;
    *q = rows_of(&t[0], 0, is_packed ? 3 * row : row);
    *k = is_packed ? rows_of(&t[0], row, 3 * row) : rows_of(&t[1], 0, kv_row);
    *v = is_packed ? rows_of(&t[0], 2 * row, 3 * row) : rows_of(&t[2], 0, kv_row);
}

ls_attention_view ls_attention_fwd_view(const ls_launch *l) {
    ls_attention_view view = ls_attention_sizes(l->sig);
    set_qkv(&view, l->in, l->sig->n_in == 1, &view.q, &view.k, &view.v);
    view.out = rows_of(&l->out[0], 0, view.n_heads * view.head_size);
    view.lse = l->out[1];
    return view;
}

ls_attention_view ls_attention_grad_view(const ls_launch *l) {
    ls_attention_view view = ls_attention_sizes(l->sig);
    const int is_packed = l->sig->n_in == 4, first = is_packed ? 1 : 3;
    const int64_t row = view.n_heads * view.head_size;
    set_qkv(&view, l->in, is_packed, &view.q, &view.k, &view.v);
    set_qkv(&view, l->out, is_packed, &view.dq, &view.dk, &view.dv);
    view.out = rows_of(&l->in[first], 0, row);
    view.lse = l->in[first + 1];
    view.dout = rows_of(&l->in[first + 2], 0, row);
    return view;
}
