/* swiglu: y = silu(gate) * up, gate and up of one shape (Shazeer, arXiv 2002.05202).
 * swiglu_grad: dgate and dup from gate, up and dy. Local. */
#ifndef LS_OP_SWIGLU_H
#define LS_OP_SWIGLU_H
#include "graph/node.h"

LS_API ls_value ls_swiglu(ls_graph *graph, ls_value gate, ls_value up);

#endif
