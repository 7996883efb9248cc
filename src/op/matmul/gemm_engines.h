/* The engines there are: f32 panels at every instruction-set level, pairs of bf16 and quads of bytes (u8 by i8, sums of s32) where an
 * instruction takes them. */
#ifndef LS_OP_GEMM_ENGINES_H
#define LS_OP_GEMM_ENGINES_H
#include "op/matmul/gemm.h"

extern const ls_gemm_engine ls_gemm_engine_wide_base;
#ifdef LS_X86
extern const ls_gemm_engine ls_gemm_engine_wide_avx2;
extern const ls_gemm_engine ls_gemm_engine_wide_avx512;
extern const ls_gemm_engine ls_gemm_engine_pairs_avx512bf16;
extern const ls_gemm_engine ls_gemm_engine_pairs_amx;
extern const ls_gemm_engine ls_gemm_engine_quads_avx512bf16;
extern const ls_gemm_engine ls_gemm_engine_quads_amx;
#endif

/* Does a matmul over the engine pack operand 1? Not for a few rows. */
LS_API int ls_matmul_packs(const ls_gemm_engine *engine, const ls_sig *sig);

/* Refusals of kernels over these engines (ls_kernel.refuses): operands 0 and 1 are multiplied. */
LS_API const char *ls_gemm_refuses_wide(const ls_sig *sig);
LS_API const char *ls_gemm_refuses_pairs(const ls_sig *sig);

#endif
