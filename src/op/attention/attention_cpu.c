#include "op/attention/attention_bwd.h"
#include "op/attention/attention_fwd.h"

LS_CPU_KERNEL(attention_fwd) = {LS_CPU_KERNEL_HEAD("attention_fwd"), .refuses = attention_refuses,
                                .workspace_bytes = fwd_workspace, .launch = fwd_launch};
LS_CPU_KERNEL(attention_grad) = {LS_CPU_KERNEL_HEAD("attention_grad"), .refuses = attention_refuses,
                                 .workspace_bytes = bwd_workspace, .launch = bwd_launch};
