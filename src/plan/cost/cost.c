#include "plan/cost/cost.h"

#include <stdio.h>
#include <string.h>

#include "op/matmul/matmul.h"
#include "op/op.h"
#include "op/pack/pack.h"

/* Below this a kernel runs on the calling thread alone. */
static const double shared_out_bytes = 64 << 10, shared_out_flops = 1e6;

ls_cost ls_cost_of(const ls_sig *sig) {
    ls_cost cost;
    if (sig->op->cost)
        sig->op->cost(sig, &cost);
    else
        ls_cost_default(sig, &cost);
    return cost;
}

ls_dtype ls_cost_dtype(const ls_sig *sig) {
    for (int i = 0; i < sig->n_in; i++)
        if (ls_dtype_is_float(sig->in[i].dtype)) return sig->in[i].dtype;
    for (int i = 0; i < sig->n_out; i++)
        if (ls_dtype_is_float(sig->out[i].dtype)) return sig->out[i].dtype;
    return LS_DTYPE_F32;
}

/* A matmul, whoever packed its right operand. */
static const ls_matmul_attr *product_of(const ls_sig *sig) {
    if (sig->op == &ls_op_matmul) return sig->attr;
    const ls_matmul_packed_attr *packed = sig->attr;
    return sig->op == &ls_op_matmul_packed ? &packed->product : NULL;
}

void ls_cost_kind(const ls_sig *sig, char out[LS_MACHINE_CLASS_BYTES]) {
    const char *dtype = ls_dtype_name(ls_cost_dtype(sig));
    const ls_matmul_attr *a = product_of(sig);
    if (a) {
        snprintf(out, LS_MACHINE_CLASS_BYTES, "matmul %s %c%c", dtype, a->transpose_a ? 't' : 'n',
                 a->transpose_b ? 't' : 'n');
        return;
    }
    snprintf(out, LS_MACHINE_CLASS_BYTES, "%s %s", sig->op->name, dtype);
}

double ls_cost_overhead(const ls_machine *m, const ls_cost *cost, int threads) {
    const double bytes = cost->bytes_read + cost->bytes_written;
    if (threads <= 1 || (bytes < shared_out_bytes && cost->flops < shared_out_flops)) return 0;
    return m->fork_join.median;
}
