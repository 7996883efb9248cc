#include "op/elementwise.h"

#include "op/cast/cast.h"

ls_status ls_elementwise_ref(const ls_launch *launch, ls_element_fn fn) {
    const ls_sig *sig = launch->sig;
    const int64_t n = ls_type_count(&sig->out[0]);
    double in[LS_ELEMENT_MAX] = {0}, out[LS_MAX_OUT] = {0};
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < sig->n_in; k++)
            in[k] = ls_tensor_get(&launch->in[k], ls_type_count(&sig->in[k]) == 1 ? 0 : i);
        fn(in, out, sig->attr);
        for (int k = 0; k < sig->n_out; k++) ls_tensor_set(&launch->out[k], i, out[k]);
    }
    return LS_OK;
}

ls_status ls_elementwise_infer(const char *op, int n_in, const ls_type *in, int *n_out,
                               ls_type *out) {
    for (int i = 0; i < n_in; i++) {
        LS_TRY(ls_infer_float(op, "every input", &in[i]));
        LS_TRY(ls_infer_same_shape(op, &in[0], &in[i]));
        if (in[i].dtype != in[0].dtype)
            return LS_FAIL(LS_ERR_INVALID,
                           "op %s: inputs must have one dtype, got %s and %s; cast one of them", op,
                           ls_dtype_name(in[0].dtype), ls_dtype_name(in[i].dtype));
    }
    *n_out = 1;
    out[0] = in[0];
    return LS_OK;
}

ls_status ls_elementwise_shard(const ls_sig *sig, const int *in_split, int *out_split) {
    for (int i = 0; i < sig->n_in; i++)
        if (in_split[i] == LS_SHARD_PARTIAL)
            return LS_FAIL(
                LS_ERR_UNSUPPORTED,
                "op %s is not linear: input %d is a partial sum and must be reduced first",
                sig->op->name, i);
    return ls_shard_elementwise(sig, in_split, out_split);
}

void ls_elementwise_cost(const ls_sig *sig, double flops, ls_cost *out) {
    ls_cost_default(sig, out);
    out->flops = flops * (double)ls_type_count(&sig->out[0]);
}

ls_value ls_grad_fit(const ls_grad *grad, int i, ls_value value) {
    if (value == LS_VALUE_NONE) return value;
    return ls_cast(grad->graph, value, ls_graph_grad_dtype(grad->graph, grad->in[i]));
}

static int is_narrow_float(ls_dtype dtype) {
    return dtype == LS_DTYPE_F32 || dtype == LS_DTYPE_BF16 || dtype == LS_DTYPE_F16;
}

const char *ls_refuses_wide(const ls_sig *sig) {
    for (int i = 0; i < sig->n_in; i++)
        if (!is_narrow_float(sig->in[i].dtype)) return "an input is not f32, bf16 or f16";
    for (int i = 0; i < sig->n_out; i++)
        if (!is_narrow_float(sig->out[i].dtype)) return "an output is not f32, bf16 or f16";
    return NULL;
}

double ls_tree_sum(const double *terms, int64_t n) {
    if (n <= 0) return 0;
    if (n == 1) return terms[0];
    int64_t left = 1;
    while (left * 2 < n) left *= 2;
    return ls_tree_sum(terms, left) + ls_tree_sum(terms + left, n - left);
}
