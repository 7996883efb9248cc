/* What elementwise ops share: the reference loop, inference, cost and sharding rules. The vector loop of their CPU kernels is
 * op/tile.h. Local, reentrant. */
#ifndef LS_OP_ELEMENTWISE_H
#define LS_OP_ELEMENTWISE_H
#include "graph/node.h"
#include "graph/op.h"

enum { LS_ELEMENT_MAX = 8 }; /* inputs of one elementwise op */

/* One element of every input to one element of every output. */
typedef void (*ls_element_fn)(const double *in, double *out, const void *attr);

/* Reference kernel in double: out[j][i] from in[k][i]; an input with one element stands for all of them. */
LS_API ls_status ls_elementwise_ref(const ls_launch *launch, ls_element_fn fn);

/* All inputs float, of one shape and one dtype; one output like the first. */
LS_API ls_status ls_elementwise_infer(const char *op, int n_in, const ls_type *in, int *n_out,
                                      ls_type *out);
/* For functions that are not linear: alike splits pass, a partial sum is refused. */
LS_API ls_status ls_elementwise_shard(const ls_sig *sig, const int *in_split, int *out_split);
/* Every operand moved once, `flops` per element of out[0]. */
LS_API void ls_elementwise_cost(const ls_sig *sig, double flops, ls_cost *out);

/* The gradient `value` of in[i] in the dtype the graph wants it in. */
LS_API ls_value ls_grad_fit(const ls_grad *grad, int i, ls_value value);
/* "dtype f64" and the like for kernels that take f32, bf16 and f16 only; NULL when all operands are of these. */
LS_API const char *ls_refuses_wide(const ls_sig *sig);

/* Sum of n terms (stride 1) by one fixed binary tree over the index: the left half is the largest power of two below n. */
LS_API double ls_tree_sum(const double *terms, int64_t n);

#endif
