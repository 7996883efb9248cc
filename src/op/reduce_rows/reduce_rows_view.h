/* x[.., N] as one reduction [1, M, N]; inside the room. */
#ifndef LS_OP_REDUCE_ROWS_VIEW_H
#define LS_OP_REDUCE_ROWS_VIEW_H
#include "op/copy.h"

static inline ls_dim_view reduce_rows_view(const ls_sig *sig) {
    const ls_shape *x = &sig->in[0].shape;
    ls_dim_view view = {1, 1, x->dims[x->n_dims - 1]};
    for (int i = 0; i + 1 < x->n_dims; i++) view.n *= x->dims[i];
    return view;
}

size_t ls_reduce_rows_workspace(const ls_sig *sig, int n_threads);

#endif
