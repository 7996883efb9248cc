/* Kernels compiled once per instruction-set level.
 *
 * A file src/op/<op>/<op>_cpu.c is compiled for base, avx2 and avx512 with LS_KERNEL_ISA set to that word. It defines its
 * kernels as
 *     LS_CPU_KERNEL(gelu_fwd) = { LS_CPU_KERNEL_HEAD("gelu_fwd"), .refuses = ..., .launch = ... };
 * and the op file lists them, best first, with
 *     LS_DECLARE_CPU_KERNELS(gelu_fwd)
 *     static const ls_kernel *const kernels[] = { LS_CPU_KERNELS(gelu_fwd), &gelu_fwd_ref, NULL };
 */
#ifndef LS_OP_CPU_KERNEL_H
#define LS_OP_CPU_KERNEL_H
#include "graph/op.h"

#define LS_PASTE_(a, b, c) a##b##_##c
#define LS_PASTE(a, b, c)  LS_PASTE_(a, b, c)
#define LS_TEXT_(x)        #x
#define LS_TEXT(x)         LS_TEXT_(x)

#ifdef LS_KERNEL_ISA
#define LS_CPU_KERNEL(kernel)                                           \
    extern const ls_kernel LS_PASTE(ls_kernel_, kernel, LS_KERNEL_ISA); \
    const ls_kernel LS_PASTE(ls_kernel_, kernel, LS_KERNEL_ISA)
#define LS_CPU_KERNEL_HEAD(text) \
    .name = text "_cpu_" LS_TEXT(LS_KERNEL_ISA), .device = LS_DEVICE_CPU, .isa = LS_KERNEL_ISA_LEVEL
#endif

#ifdef LS_X86
#define LS_DECLARE_CPU_KERNELS(kernel)                \
    extern const ls_kernel ls_kernel_##kernel##_base; \
    extern const ls_kernel ls_kernel_##kernel##_avx2; \
    extern const ls_kernel ls_kernel_##kernel##_avx512;
#define LS_CPU_KERNELS(kernel) \
    &ls_kernel_##kernel##_avx512, &ls_kernel_##kernel##_avx2, &ls_kernel_##kernel##_base
#else
#define LS_DECLARE_CPU_KERNELS(kernel) extern const ls_kernel ls_kernel_##kernel##_base;
#define LS_CPU_KERNELS(kernel)         &ls_kernel_##kernel##_base
#endif

#endif
