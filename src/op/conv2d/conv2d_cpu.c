/* Convolution in f32 (bf16 and f16 are widened with the padding). */
#include "op/conv2d/conv2d_pack.h"
#include "op/cpu_kernel.h"

#define GEMM LS_PASTE(ls_gemm_engine_, wide, LS_KERNEL_ISA)

static void pack_runs(const void *source, const int32_t *k_offset, int64_t n_k,
                      const ls_conv_run *runs, int n_runs, int64_t words, void *panel) {
    pack_runs_wide(source, k_offset, n_k, runs, n_runs, words, GEMM.nr, panel);
}

static void copy_runs(const void *source, const ls_conv_run *runs, int n_runs, void *dst) {
    copy_runs_wide(source, runs, n_runs, dst);
}

static const ls_conv_engine engine = {&GEMM, 0, pack_runs, copy_runs};

#define CONV_KERNEL(kernel, call)                                                          \
    static size_t kernel##_bytes(const ls_sig *sig, int n_threads) {                       \
        return call##_workspace(&engine, sig, n_threads);                                  \
    }                                                                                      \
    static ls_status launch_##kernel(const ls_launch *launch) {                            \
        return call(&engine, launch);                                                      \
    }                                                                                      \
    LS_CPU_KERNEL(kernel) = {LS_CPU_KERNEL_HEAD(#kernel), .refuses = ls_gemm_refuses_wide, \
                             .workspace_bytes = kernel##_bytes, .launch = launch_##kernel};
CONV_KERNEL(conv2d_fwd, ls_conv_forward)
CONV_KERNEL(conv2d_bwd_input, ls_conv_grad_input)
CONV_KERNEL(conv2d_bwd_weight, ls_conv_grad_weight)
