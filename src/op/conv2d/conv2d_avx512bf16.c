/* Convolution of bf16 with vdpbf16ps. */
#define GEMM  ls_gemm_engine_pairs_avx512bf16
#define ISA   avx512bf16
#define LEVEL LS_ISA_AVX512BF16
#include "op/conv2d/conv2d_pairs.h"
