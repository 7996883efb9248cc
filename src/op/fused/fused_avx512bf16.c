/* The kernel of fused_cpu.c, with the instruction that rounds to bf16; the same bits. */
#define LS_KERNEL_ISA       avx512bf16
#define LS_KERNEL_ISA_LEVEL LS_ISA_AVX512BF16
#include "op/fused/fused_cpu.c"
