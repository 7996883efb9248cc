/* The way of ls_gemm_run for a few rows. Local. */
#ifndef LS_OP_GEMM_DIRECT_RUN_H
#define LS_OP_GEMM_DIRECT_RUN_H
#include "op/matmul/gemm_plan.h"

int ls_gemm_is_direct(const ls_gemm_engine *engine, const ls_gemm *gemm);
size_t ls_gemm_direct_workspace_bytes(const ls_gemm_engine *engine, const ls_gemm *gemm,
                                      int n_threads);
ls_status ls_gemm_direct_run(const ls_gemm_engine *engine, const ls_gemm *gemm, void *workspace,
                             ls_pool *pool);

#endif
