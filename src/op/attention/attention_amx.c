/* bf16 products on AMX tiles (tdpbf16ps: f32 sums, subnormals flushed); weights and score gradients are rounded to bf16 before
 * their products. */
#define ATTENTION_BF16 1
#define ATTENTION_AMX  1
#include "op/attention/attention_bwd.h"
#include "op/attention/attention_fwd.h"

extern const ls_kernel ls_kernel_attention_fwd_amx, ls_kernel_attention_grad_amx;

const ls_kernel ls_kernel_attention_fwd_amx = {.name = "attention_fwd_cpu_amx",
                                               .device = LS_DEVICE_CPU,
                                               .isa = LS_ISA_AMX,
                                               .refuses = attention_refuses,
                                               .workspace_bytes = fwd_workspace,
                                               .launch = fwd_launch};
const ls_kernel ls_kernel_attention_grad_amx = {.name = "attention_grad_cpu_amx",
                                                .device = LS_DEVICE_CPU,
                                                .isa = LS_ISA_AMX,
                                                .refuses = attention_refuses,
                                                .workspace_bytes = bwd_workspace,
                                                .launch = bwd_launch};
