/* The kernels of an engine of bf16 pairs: included once by each of its files after GEMM, ISA and LEVEL are defined. */
#ifndef LS_OP_CONV2D_PAIRS_H
#define LS_OP_CONV2D_PAIRS_H
#include "op/conv2d/conv2d_pack.h"
#include "op/cpu_kernel.h"

static void pack_runs(const void *source, const int32_t *k_offset, int64_t n_k,
                      const ls_conv_run *runs, int n_runs, int64_t words, void *panel) {
    pack_runs_pairs(source, k_offset, n_k, runs, n_runs, words, GEMM.nr, panel);
}

static void copy_runs(const void *source, const ls_conv_run *runs, int n_runs, void *dst) {
    copy_runs_pairs(source, runs, n_runs, dst);
}

static const ls_conv_engine engine = {&GEMM, 1, pack_runs, copy_runs};

#define CONV_KERNEL(kernel, call)                                                              \
    static size_t kernel##_bytes(const ls_sig *sig, int n_threads) {                           \
        return call##_workspace(&engine, sig, n_threads);                                      \
    }                                                                                          \
    static ls_status launch_##kernel(const ls_launch *launch) {                                \
        return call(&engine, launch);                                                          \
    }                                                                                          \
    extern const ls_kernel LS_PASTE(ls_kernel_, kernel, ISA);                                  \
    const ls_kernel LS_PASTE(ls_kernel_, kernel, ISA) = {.name = #kernel "_cpu_" LS_TEXT(ISA), \
                                                         .device = LS_DEVICE_CPU,              \
                                                         .isa = LEVEL,                         \
                                                         .refuses = ls_gemm_refuses_pairs,     \
                                                         .workspace_bytes = kernel##_bytes,    \
                                                         .launch = launch_##kernel};
CONV_KERNEL(conv2d_fwd, ls_conv_forward)
CONV_KERNEL(conv2d_bwd_input, ls_conv_grad_input)
CONV_KERNEL(conv2d_bwd_weight, ls_conv_grad_weight)

#endif
