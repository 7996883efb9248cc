/* reshape: the same elements under another shape of the same count; a view. Any dtype. Local. */
#ifndef LS_OP_RESHAPE_H
#define LS_OP_RESHAPE_H
#include "graph/node.h"

typedef struct ls_reshape_attr {
    ls_shape shape; /* dims past n_dims are 0 */
} ls_reshape_attr;

/* x itself when it has the shape already. */
LS_API ls_value ls_reshape(ls_graph *graph, ls_value x, ls_shape shape);

#endif
