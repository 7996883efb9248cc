/* Gradient rule of matmul. */
#ifndef LS_OP_MATMUL_GRAD_H
#define LS_OP_MATMUL_GRAD_H
#include "op/matmul/matmul.h"

LS_API ls_status ls_matmul_grad(ls_grad *grad);

#endif
