#include "op/op.h"

#include <string.h>

static const ls_op *const op_table[] = {
#define LS_OP(name) &ls_op_##name,
#include "op/op.def"
#undef LS_OP
    NULL};

int ls_op_count(void) {
    return (int)(sizeof op_table / sizeof op_table[0]) - 1;
}

const ls_op *ls_op_at(int i) {
    return op_table[i];
}

const ls_op *ls_op_find(const char *name) {
    for (int i = 0; op_table[i]; i++)
        if (strcmp(op_table[i]->name, name) == 0) return op_table[i];
    return NULL;
}

/* NULL when the kernel can run, otherwise why not. */
static const char *refusal(const ls_kernel *kernel, const ls_sig *sig, ls_device_kind device,
                           ls_isa isa) {
    if (kernel->device != device) return "another device";
    if (kernel->isa > isa) return "needs a newer instruction set";
    return kernel->refuses ? kernel->refuses(sig) : NULL;
}

static void print_types(const ls_sig *sig, ls_text *out) {
    char shape[128];
    for (int i = 0; i < sig->n_in; i++)
        ls_text_append(out, "%s%s%s", i ? ", " : "", ls_dtype_name(sig->in[i].dtype),
                       ls_shape_print(&sig->in[i].shape, shape));
}

ls_status ls_kernel_choose(const ls_sig *sig, ls_device_kind device, ls_isa isa,
                           const ls_kernel **out) {
    for (const ls_kernel *const *k = sig->op->kernels; k && *k; k++)
        if (!refusal(*k, sig, device, isa)) {
            *out = *k;
            return LS_OK;
        }
    ls_text types = {0};
    print_types(sig, &types);
    const ls_status status = LS_FAIL(LS_ERR_UNSUPPORTED, "op %s has no kernel here for inputs (%s)",
                                     sig->op->name, types.data ? types.data : "");
    ls_text_deinit(&types);
    return status;
}

const ls_kernel *ls_kernel_reference(const ls_op *op) {
    const ls_kernel *last = NULL;
    for (const ls_kernel *const *k = op->kernels; k && *k; k++) last = *k;
    return last;
}

ls_status ls_kernel_explain(const ls_sig *sig, ls_device_kind device, ls_isa isa, ls_text *out) {
    const ls_kernel *chosen;
    LS_TRY(ls_kernel_choose(sig, device, isa, &chosen));
    ls_text_append(out, "chosen %s", chosen->name);
    for (const ls_kernel *const *k = sig->op->kernels; *k && *k != chosen; k++)
        ls_text_append(out, "; refused %s: %s", (*k)->name, refusal(*k, sig, device, isa));
    return out->status;
}
