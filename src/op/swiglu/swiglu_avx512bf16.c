/* The kernels of swiglu_cpu.c, with the instruction that rounds to bf16; the same bits. They take every dtype, as a step of a chain must
 * (op/fused). */
#define LS_KERNEL_ISA       avx512bf16
#define LS_KERNEL_ISA_LEVEL LS_ISA_AVX512BF16
#include "op/swiglu/swiglu_cpu.c"
