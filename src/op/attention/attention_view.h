/* Where the heads of q, k, v, out and their gradients lie, packed or separate. Read-only: thread-safe, Local. */
#ifndef LS_OP_ATTENTION_VIEW_H
#define LS_OP_ATTENTION_VIEW_H
#include "op/attention/attention.h"

/* Rows of one operand: element (b, t, h, i) is at offset + (b * T + t) * row_stride + h * K + i. */
typedef struct ls_head_rows {
    void *data;
    ls_dtype dtype;
    int64_t offset, row_stride;
} ls_head_rows;

typedef struct ls_attention_view {
    int64_t n_batch, n_tokens, n_heads, n_kv_heads, head_size;
    int causal;
    ls_head_rows q, k, v;    /* inputs */
    ls_head_rows out, dout;  /* result or input; dout in backward only */
    ls_head_rows dq, dk, dv; /* backward only */
    ls_tensor lse;
} ls_attention_view;

/* Sizes only. */
ls_attention_view ls_attention_sizes(const ls_sig *sig);
ls_attention_view ls_attention_fwd_view(const ls_launch *launch);
ls_attention_view ls_attention_grad_view(const ls_launch *launch);
/* Element index of (b, t, head, 0). */
static inline int64_t ls_head_at(const ls_attention_view *view, const ls_head_rows *rows, int64_t b,
                                 int64_t t, int64_t head) {
    return rows->offset + (b * view->n_tokens + t) * rows->row_stride + head * view->head_size;
}
/* Checks q, k, v (or qkv) of attention or attention_grad and gives the types of out and lse. */
ls_status ls_attention_infer(const char *op, const ls_attention_attr *attr, int is_packed,
                             const ls_type *in, ls_type *out, ls_type *lse);

#endif
