/* bf16 products with f32 sums (vdpbf16ps, which takes its bf16 operands as they are and flushes subnormals); weights and score
 * gradients are rounded to bf16 before their products. */
#define ATTENTION_BF16 1
#include "op/attention/attention_bwd.h"
#include "op/attention/attention_fwd.h"

extern const ls_kernel ls_kernel_attention_fwd_avx512bf16, ls_kernel_attention_grad_avx512bf16;

const ls_kernel ls_kernel_attention_fwd_avx512bf16 = {.name = "attention_fwd_cpu_avx512bf16",
                                                      .device = LS_DEVICE_CPU,
                                                      .isa = LS_ISA_AVX512BF16,
                                                      .refuses = attention_refuses,
                                                      .workspace_bytes = fwd_workspace,
                                                      .launch = fwd_launch};
const ls_kernel ls_kernel_attention_grad_avx512bf16 = {.name = "attention_grad_cpu_avx512bf16",
                                                       .device = LS_DEVICE_CPU,
                                                       .isa = LS_ISA_AVX512BF16,
                                                       .refuses = attention_refuses,
                                                       .workspace_bytes = bwd_workspace,
                                                       .launch = bwd_launch};
