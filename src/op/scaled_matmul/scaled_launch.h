/* From a launch to one blocked product of bytes. Local. */
#ifndef LS_OP_SCALED_LAUNCH_H
#define LS_OP_SCALED_LAUNCH_H
#include "op/matmul/gemm.h"
#include "op/scaled_matmul/scaled_matmul.h"

/* The engines of one instruction set. Packing of a i8 may add i8_shift (128 where the instruction wants unsigned bytes). */
typedef struct ls_scaled_engine {
    const ls_gemm_engine *u8, *i8;
    int32_t i8_shift;
    /* sums[n]: columns [first, first + n) of b, over all n_k of k. */
    void (*sum_columns)(const ls_gemm_operand *b, int64_t n_k, int64_t first, int64_t n,
                        int32_t *sums);
} ls_scaled_engine;

LS_API size_t ls_scaled_workspace_bytes(const ls_scaled_engine *engine, const ls_sig *sig,
                                        int n_threads);
LS_API ls_status ls_scaled_launch(const ls_scaled_engine *engine, const ls_launch *launch);

#endif
