/* The kernels of an engine of bf16 pairs, for its file. */
#ifndef LS_OP_CONV2D_PAIRS_H
#define LS_OP_CONV2D_PAIRS_H
#include "op/conv2d/conv2d_tile.h"
#include <immintrin.h>

#define CONV_KERNEL(kernel, call, isa_name, level)                                   \
    static size_t kernel##_bytes(const ls_sig *sig, int n_threads) {                 \
        return call##_workspace(&engine, sig, n_threads);                            \
    }                                                                                \
    static ls_status launch_##kernel(const ls_launch *launch) {                      \
        return call(&engine, launch);                                                \
    }                                                                                \
    extern const ls_kernel LS_PASTE(ls_kernel_, kernel, isa_name);                   \
    const ls_kernel LS_PASTE(ls_kernel_, kernel,                                     \
                             isa_name) = {.name = #kernel "_cpu_" LS_TEXT(isa_name), \
                                          .device = LS_DEVICE_CPU,                   \
                                          .isa = level,                              \
                                          .refuses = ls_gemm_refuses_pairs,          \
                                          .workspace_bytes = kernel##_bytes,         \
                                          .launch = launch_##kernel};
#define CONV_KERNELS(isa_name, level)                                  \
    CONV_KERNEL(conv2d_fwd, ls_conv_forward, isa_name, level)          \
    CONV_KERNEL(conv2d_bwd_input, ls_conv_grad_input, isa_name, level) \
    CONV_KERNEL(conv2d_bwd_weight, ls_conv_grad_weight, isa_name, level)

#endif
