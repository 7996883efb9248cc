/* The kernels of softmax_cpu.c for bf16, with the instruction that rounds to it. */
#define LS_KERNEL_ISA       avx512bf16
#define LS_KERNEL_ISA_LEVEL LS_ISA_AVX512BF16
#include "op/softmax/softmax_cpu.c"
