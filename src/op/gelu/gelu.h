/* gelu: y = x * Phi(x), Phi the normal distribution function (erf form), or its tanh approximation
 * y = x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) (Hendrycks and Gimpel, arXiv 1606.08415). Any shape.
 * gelu_grad: dx from x and dy. Local. */
#ifndef LS_OP_GELU_H
#define LS_OP_GELU_H
#include "graph/node.h"

typedef struct ls_gelu_attr {
    int32_t tanh_form; /* 1: tanh approximation (GPT-2), 0: erf */
} ls_gelu_attr;

LS_API ls_value ls_gelu(ls_graph *graph, ls_value x, int tanh_form);

#endif
