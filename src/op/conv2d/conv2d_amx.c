/* Convolution of bf16 with AMX tiles. */
#define GEMM  ls_gemm_engine_pairs_amx
#define ISA   amx
#define LEVEL LS_ISA_AMX
#include "op/conv2d/conv2d_pairs.h"
