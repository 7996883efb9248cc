#include "op/fused/fused.h"

#include <string.h>

#include "op/cpu_kernel.h"
#include "op/elementwise.h"
#include "op/op.h"

int ls_fused_first_result(const ls_fused_attr *attr, int i) {
    int v = attr->n_in;
    for (int s = 0; s < i; s++) v += attr->steps[s].n_out;
    return v;
}

void ls_fused_step_sig(const ls_fused_attr *attr, int i, const ls_type *types, ls_fused_sig *out) {
    const ls_fused_step *step = &attr->steps[i];
    const int first = ls_fused_first_result(attr, i);
    for (int k = 0; k < step->n_in; k++) out->in[k] = types[step->in[k]];
    for (int k = 0; k < step->n_out; k++) out->out[k] = types[first + k];
    out->sig = (ls_sig){step->op,   step->op->attr_bytes ? step->attr : NULL,
                        step->n_in, step->n_out,
                        out->in,    out->out};
}

int ls_fused_accepts(const ls_sig *sig) {
    const ls_op *op = sig->op;
    if (!(op->flags & LS_OP_ELEMENTWISE) || op->alias || op == &ls_op_fused) return 0;
    if (op->attr_bytes > LS_FUSED_ATTR_BYTES || sig->n_in > LS_FUSED_STEP_IN ||
        sig->n_out > LS_FUSED_STEP_OUT)
        return 0;
    int n_tiles = 0, n_fast = 0;
    for (const ls_kernel *const *k = op->kernels; k[0] && k[1]; k++) {
        n_fast++;
        n_tiles += (*k)->tile && !((*k)->refuses && (*k)->refuses(sig));
    }
    return n_fast > 0 && n_tiles == n_fast;
}

static ls_status check_counts(const ls_fused_attr *a, int n_in) {
    if (a->n_in != n_in || a->n_in < 1 || a->n_in > LS_FUSED_IN)
        return LS_FAIL(LS_ERR_INVALID, "op fused: made for %d inputs (1 to %d), got %d", a->n_in,
                       LS_FUSED_IN, n_in);
    if (a->n_steps < 1 || a->n_steps > LS_FUSED_STEPS)
        return LS_FAIL(LS_ERR_INVALID, "op fused: 1 to %d steps, got %d", LS_FUSED_STEPS,
                       a->n_steps);
    if (a->n_out < 1 || a->n_out > LS_FUSED_OUT)
        return LS_FAIL(LS_ERR_INVALID, "op fused: 1 to %d results, got %d", LS_FUSED_OUT, a->n_out);
    return LS_OK;
}

/* A scalar is an input of the node and never element by element. */
static ls_status check_operands(const ls_fused_attr *a, int i, const ls_type *types) {
    const ls_fused_step *step = &a->steps[i];
    const int first = ls_fused_first_result(a, i);
    if (!step->op || step->n_in < 1 || step->n_in > LS_FUSED_STEP_IN)
        return LS_FAIL(LS_ERR_INVALID, "op fused: step %d takes 1 to %d operands, got %d", i,
                       LS_FUSED_STEP_IN, step->n_in);
    for (int k = 0; k < step->n_in; k++)
        if (step->in[k] < 0 || step->in[k] >= first)
            return LS_FAIL(LS_ERR_INVALID,
                           "op fused: step %d (%s) reads value %d; inputs and earlier results are "
                           "0 to %d",
                           i, step->op->name, step->in[k], first - 1);
    if (types[step->in[0]].shape.n_dims == 0)
        return LS_FAIL(LS_ERR_INVALID,
                       "op fused: step %d (%s) works on a scalar; chains are of tensors with at "
                       "least one dim",
                       i, step->op->name);
    return LS_OK;
}

static ls_status infer_step(const ls_fused_attr *a, int i, ls_type *types) {
    const ls_fused_step *step = &a->steps[i];
    const int first = ls_fused_first_result(a, i);
    ls_type in[LS_FUSED_STEP_IN], out[LS_MAX_OUT];
    int n_out = 0;
    LS_TRY(check_operands(a, i, types));
    for (int k = 0; k < step->n_in; k++) in[k] = types[step->in[k]];
    if (step->n_in < step->op->min_in || (step->op->max_in >= 0 && step->n_in > step->op->max_in))
        return LS_FAIL(LS_ERR_INVALID, "op fused: step %d: op %s takes %d to %d inputs, got %d", i,
                       step->op->name, step->op->min_in, step->op->max_in, step->n_in);
    const ls_sig sig = {step->op, step->op->attr_bytes ? step->attr : NULL, step->n_in, 0, in, out};
    if (!(step->op->flags & LS_OP_ELEMENTWISE) || step->op == &ls_op_fused ||
        step->op->attr_bytes > LS_FUSED_ATTR_BYTES)
        return LS_FAIL(LS_ERR_INVALID, "op fused: step %d: op %s cannot be a step of a chain", i,
                       step->op->name);
    const ls_status status = step->op->infer(sig.attr, step->n_in, in, &n_out, out);
    if (status != LS_OK) return ls_error_prefix(status, "op fused: step %d", i);
    if (n_out != step->n_out || n_out > LS_FUSED_STEP_OUT)
        return LS_FAIL(LS_ERR_INVALID, "op fused: step %d: op %s has %d results, got %d", i,
                       step->op->name, n_out, step->n_out);
    for (int k = 0; k < n_out; k++) {
        LS_TRY(ls_infer_same_shape("fused", &in[0], &out[k]));
        types[first + k] = out[k];
    }
    return LS_OK;
}

ls_status ls_fused_types(const ls_fused_attr *a, ls_type *types) {
    for (int i = 0; i < a->n_steps; i++) {
        LS_TRY(infer_step(a, i, types));
        LS_TRY(ls_infer_same_shape("fused", &types[a->steps[0].in[0]], &types[a->steps[i].in[0]]));
    }
    return LS_OK;
}

/* [the last dim of the value] */
static ls_status infer_sum(const ls_fused_attr *a, const ls_type *types, ls_type *out) {
    int leaves = 0;
    for (int i = 0; i < a->n_out; i++) leaves |= a->out[i] == a->sum.value;
    if (!leaves)
        return LS_FAIL(LS_ERR_INVALID, "op fused: value %d is summed but does not leave",
                       a->sum.value);
    const ls_shape *x = &types[a->sum.value].shape;
    *out = (ls_type){(ls_dtype)a->sum.dtype, {1, {x->dims[x->n_dims - 1]}}};
    return ls_infer_float("fused", "the sum", out);
}

static ls_status infer(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_fused_attr *a = attr;
    ls_type types[LS_FUSED_VALUES];
    LS_TRY(check_counts(a, n_in));
    memcpy(types, in, sizeof *types * (size_t)n_in);
    LS_TRY(ls_fused_types(a, types));
    const int n_values = ls_fused_first_result(a, a->n_steps);
    for (int i = 0; i < a->n_out; i++) {
        if (a->out[i] < a->n_in || a->out[i] >= n_values)
            return LS_FAIL(LS_ERR_INVALID,
                           "op fused: result %d is value %d; results of steps are %d to %d", i,
                           a->out[i], a->n_in, n_values - 1);
        for (int k = 0; k < i; k++)
            if (a->out[k] == a->out[i])
                return LS_FAIL(LS_ERR_INVALID, "op fused: results %d and %d are both value %d", k,
                               i, a->out[i]);
        out[i] = types[a->out[i]];
    }
    *n_out = a->n_out;
    return a->sum.value ? infer_sum(a, types, &out[(*n_out)++]) : LS_OK;
}

/* What each step's own rule says; a step without one takes whole operands only. */
static ls_status shard(const ls_sig *sig, const int *in_split, int *out_split) {
    const ls_fused_attr *a = sig->attr;
    ls_type types[LS_FUSED_VALUES];
    int split[LS_FUSED_VALUES];
    memcpy(types, sig->in, sizeof *types * (size_t)sig->n_in);
    LS_TRY(ls_fused_types(a, types));
    memcpy(split, in_split, sizeof *split * (size_t)a->n_in);
    for (int i = 0; i < a->n_steps; i++) {
        const ls_fused_step *step = &a->steps[i];
        const int first = ls_fused_first_result(a, i);
        int from[LS_FUSED_STEP_IN], is_split = 0;
        ls_fused_sig s;
        ls_fused_step_sig(a, i, types, &s);
        for (int k = 0; k < step->n_in; k++) {
            from[k] = split[step->in[k]];
            is_split |= from[k] != LS_SHARD_REPLICATED;
        }
        for (int k = 0; k < step->n_out; k++) split[first + k] = LS_SHARD_REPLICATED;
        if (!is_split) continue;
        if (!step->op->shard)
            return LS_FAIL(LS_ERR_UNSUPPORTED, "op fused: step %d: op %s takes whole operands only",
                           i, step->op->name);
        LS_TRY(step->op->shard(&s.sig, from, split + first));
    }
    for (int i = 0; i < a->n_out; i++) out_split[i] = split[a->out[i]];
    const int summed = split[a->sum.value], last = sig->in[0].shape.n_dims - 1;
    if (a->sum.value)
        out_split[a->n_out] = summed == last ? 0 : summed >= 0 ? LS_SHARD_PARTIAL : summed;
    return LS_OK;
}

/* The steps' operations; only what the node reads and writes moves. */
static void cost(const ls_sig *sig, ls_cost *out) {
    const ls_fused_attr *a = sig->attr;
    ls_type types[LS_FUSED_VALUES];
    ls_cost_default(sig, out);
    memcpy(types, sig->in, sizeof *types * (size_t)sig->n_in);
    if (ls_fused_types(a, types) != LS_OK) return;
    for (int i = 0; i < a->n_steps; i++) {
        ls_fused_sig s;
        ls_cost step = {0};
        ls_fused_step_sig(a, i, types, &s);
        if (a->steps[i].op->cost) a->steps[i].op->cost(&s.sig, &step);
        out->flops += step.flops;
    }
    if (a->sum.value) out->flops += (double)ls_type_count(&types[a->sum.value]);
}

/* "3=add(0,1) 4=scale(3){factor=2} out=4" */
static void print(const void *attr, ls_text *out) {
    const ls_fused_attr *a = attr;
    for (int i = 0, v = a->n_in; i < a->n_steps; i++) {
        const ls_fused_step *step = &a->steps[i];
        for (int k = 0; k < step->n_out; k++) ls_text_append(out, "%s%d", k ? "," : "", v++);
        ls_text_append(out, "=%s(", step->op->name);
        for (int k = 0; k < step->n_in; k++) ls_text_append(out, "%s%d", k ? "," : "", step->in[k]);
        ls_text_append(out, ")");
        if (step->op->print && step->op->attr_bytes) {
            ls_text_append(out, "{");
            step->op->print(step->attr, out);
            ls_text_append(out, "}");
        }
        ls_text_append(out, " ");
    }
    ls_text_append(out, "out=");
    for (int i = 0; i < a->n_out; i++) ls_text_append(out, "%s%d", i ? "," : "", a->out[i]);
    if (a->sum.value)
        ls_text_append(out, " sum=%d:%s", a->sum.value, ls_dtype_name((ls_dtype)a->sum.dtype));
}

/* --- reference: each step's reference kernel over the whole tensors, results in the workspace ------------------------ */

static size_t whole_bytes(const ls_type *type) {
    return (ls_type_bytes(type) + 63) / 64 * 64;
}

static size_t ref_workspace(const ls_sig *sig, int n_threads) {
    const ls_fused_attr *a = sig->attr;
    ls_type types[LS_FUSED_VALUES];
    size_t bytes = 0, most = 0;
    (void)n_threads;
    memcpy(types, sig->in, sizeof *types * (size_t)sig->n_in);
    if (ls_fused_types(a, types) != LS_OK) return 0;
    for (int v = a->n_in; v < ls_fused_first_result(a, a->n_steps); v++)
        bytes += whole_bytes(&types[v]);
    for (int i = 0; i < a->n_steps; i++) {
        const ls_kernel *ref = ls_kernel_reference(a->steps[i].op);
        ls_fused_sig s;
        ls_fused_step_sig(a, i, types, &s);
        const size_t own = ref->workspace_bytes ? ref->workspace_bytes(&s.sig, 1) : 0;
        most = own > most ? own : most;
    }
    return bytes + most;
}

static ls_status launch_step_ref(const ls_launch *l, int i, const ls_type *types, ls_tensor *values,
                                 void *workspace) {
    const ls_fused_attr *a = l->sig->attr;
    const int first = ls_fused_first_result(a, i);
    ls_tensor in[LS_FUSED_STEP_IN];
    ls_fused_sig s;
    ls_fused_step_sig(a, i, types, &s);
    for (int k = 0; k < a->steps[i].n_in; k++) in[k] = values[a->steps[i].in[k]];
    ls_launch step = *l;
    step.sig = &s.sig;
    step.in = in;
    step.out = values + first;
    step.workspace = workspace;
    return ls_kernel_reference(a->steps[i].op)->launch(&step);
}

static void sum_rows_ref(const ls_tensor *x, ls_tensor *y) {
    const int64_t n = ls_shape_count(&y->shape), count = ls_shape_count(&x->shape);
    for (int64_t j = 0; j < n; j++) {
        double sum = 0;
        for (int64_t at = j; at < count; at += n) sum += ls_tensor_get(x, at);
        ls_tensor_set(y, j, sum);
    }
}

static ls_status launch_ref(const ls_launch *l) {
    const ls_fused_attr *a = l->sig->attr;
    ls_type types[LS_FUSED_VALUES];
    ls_tensor values[LS_FUSED_VALUES];
    char *at = l->workspace;
    memcpy(types, l->sig->in, sizeof *types * (size_t)a->n_in);
    memcpy(values, l->in, sizeof *values * (size_t)a->n_in);
    LS_TRY(ls_fused_types(a, types));
    for (int v = a->n_in; v < ls_fused_first_result(a, a->n_steps); v++) {
        values[v] = (ls_tensor){types[v].dtype, types[v].shape, at};
        at += whole_bytes(&types[v]);
    }
    for (int i = 0; i < a->n_steps; i++) LS_TRY(launch_step_ref(l, i, types, values, at));
    if (a->sum.value) sum_rows_ref(&values[a->sum.value], &l->out[a->n_out]);
    /* last: out[0] may lie over an input */
    for (int i = 0; i < a->n_out; i++)
        memcpy(l->out[i].data, values[a->out[i]].data, ls_type_bytes(&types[a->out[i]]));
    return LS_OK;
}

static const ls_kernel fused_ref = {.name = "fused_ref",
                                    .device = LS_DEVICE_CPU,
                                    .workspace_bytes = ref_workspace,
                                    .launch = launch_ref};

LS_DECLARE_CPU_KERNELS(fused)
#ifdef LS_X86
extern const ls_kernel ls_kernel_fused_avx512bf16;
#endif
static const ls_kernel *const kernels[] = {
#ifdef LS_X86
    &ls_kernel_fused_avx512bf16,
#endif
    LS_CPU_KERNELS(fused), &fused_ref, NULL};

/* All inputs of a tile are read before a result is written, so out[0] may lie over any of them. */
const ls_op ls_op_fused = {.name = "fused",
                           .min_in = 1,
                           .max_in = LS_FUSED_IN,
                           .attr_bytes = sizeof(ls_fused_attr),
                           .flags = LS_OP_ELEMENTWISE | LS_OP_RANDOM,
                           .infer = infer,
                           .shard = shard,
                           .cost = cost,
                           .print = print,
                           .may_overwrite = (1u << LS_FUSED_IN) - 1,
                           .kernels = kernels};
