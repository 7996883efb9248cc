/* matmul_packed: a matmul whose operand 1 comes packed. Types, cost and sums are matmul's own. */
#include "op/matmul/gemm_engines.h"
#include "op/op.h"
#include "op/pack/pack.h"

/* Operand 1 as it was before, for an `a` of inner dimension k. */
static ls_type plain_w(const ls_matmul_packed_attr *attr, const ls_type *packed, int64_t k) {
    const int turned = attr->product.transpose_b;
    return (ls_type){packed->dtype,
                     {.n_dims = 2, .dims = {turned ? attr->n : k, turned ? k : attr->n}}};
}

static int64_t inner_dim(const ls_type *a) {
    return a->shape.n_dims > 0 ? a->shape.dims[a->shape.n_dims - 1] : 0;
}

void ls_matmul_packed_plain(const ls_sig *sig, ls_plain_product *out) {
    const ls_matmul_packed_attr *attr = sig->attr;
    for (int i = 0; i < sig->n_in; i++) out->in[i] = sig->in[i];
    out->in[1] = plain_w(attr, &sig->in[1], inner_dim(&sig->in[0]));
    out->sig = (ls_sig){&ls_op_matmul, &attr->product, sig->n_in, sig->n_out, out->in, sig->out};
}

/* Is `packed` what op pack makes of such a w? */
static ls_status check_packed(const ls_matmul_packed_attr *attr, const ls_type *w,
                              const ls_type *packed) {
    const ls_pack_attr pack = {attr->form, attr->product.transpose_b};
    char got[128], want[128];
    int n_out;
    ls_type made;
    LS_TRY(ls_op_pack.infer(&pack, 1, w, &n_out, &made));
    if (made.dtype == packed->dtype && ls_shape_equal(&made.shape, &packed->shape)) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID,
                   "op matmul_packed: form %s lays a w of %lld columns out as %s %s, got %s %s",
                   ls_pack_form_name(attr->form), (long long)attr->n, ls_dtype_name(made.dtype),
                   ls_shape_print(&made.shape, want), ls_dtype_name(packed->dtype),
                   ls_shape_print(&packed->shape, got));
}

static ls_status infer(const void *opaque, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_matmul_packed_attr *attr = opaque;
    ls_type plain[4];
    if (attr->product.transpose_a || attr->product.sum_lead)
        return LS_FAIL(LS_ERR_INVALID,
                       "op matmul_packed: a transposed a has no weight to its right; use matmul");
    for (int i = 0; i < n_in; i++) plain[i] = in[i];
    plain[1] = plain_w(attr, &in[1], inner_dim(&in[0]));
    LS_TRY(check_packed(attr, &plain[1], &in[1]));
    return ls_op_matmul.infer(&attr->product, n_in, plain, n_out, out);
}

static void cost(const ls_sig *sig, ls_cost *out) {
    ls_plain_product plain;
    ls_cost product;
    ls_matmul_packed_plain(sig, &plain);
    ls_op_matmul.cost(&plain.sig, &product);
    ls_cost_default(sig, out);
    out->flops = product.flops;
}

static void print(const void *opaque, ls_text *out) {
    const ls_matmul_packed_attr *attr = opaque;
    ls_op_matmul.print(&attr->product, out);
    ls_text_append(out, " form=%s n=%lld", ls_pack_form_name(attr->form), (long long)attr->n);
}

/* --- reference: w out of its panels, then matmul's reference ------------------------------------------------------- */

static size_t workspace_ref(const ls_sig *sig, int n_threads) {
    ls_plain_product plain;
    (void)n_threads;
    ls_matmul_packed_plain(sig, &plain);
    return ls_type_bytes(&plain.in[1]);
}

static ls_status launch_ref(const ls_launch *launch) {
    ls_plain_product plain;
    ls_matmul_packed_plain(launch->sig, &plain);
    const ls_tensor *packed = &launch->in[1];
    const int by_columns = ((const ls_matmul_packed_attr *)launch->sig->attr)->product.transpose_b;
    ls_tensor in[4], w = {plain.in[1].dtype, plain.in[1].shape, launch->workspace};
    const int64_t *dims = packed->shape.dims, k_word = packed->shape.n_dims == 5 ? 2 : 1;
    const int64_t n_words = dims[2], nr = dims[3], count = ls_shape_count(&w.shape);
    for (int64_t i = 0; i < count; i++) {
        const int64_t inner = w.shape.dims[1];
        const int64_t k = by_columns ? i % inner : i / inner,
                      n = by_columns ? i / inner : i % inner;
        const int64_t word = k / k_word;
        const int64_t panel = word / n_words * dims[1] + n / nr;
        const int64_t at = ((panel * n_words + word % n_words) * nr + n % nr) * k_word + k % k_word;
        ls_tensor_set(&w, i, ls_tensor_get(packed, at));
    }
    for (int i = 0; i < launch->sig->n_in; i++) in[i] = i == 1 ? w : launch->in[i];
    ls_launch product = *launch;
    product.sig = &plain.sig;
    product.in = in;
    return ls_kernel_reference(&ls_op_matmul)->launch(&product);
}

/* --- the engines --------------------------------------------------------------------------------------------------- */

static const char *refuses(const ls_sig *sig) {
    const ls_matmul_packed_attr *attr = sig->attr;
    ls_plain_product plain;
    const char *why = ls_pack_form_refuses(attr->form);
    if (why) return why;
    ls_matmul_packed_plain(sig, &plain);
    return ls_pack_form_engine(attr->form)->k_word == 2 ? ls_gemm_refuses_pairs(&plain.sig)
                                                        : ls_gemm_refuses_wide(&plain.sig);
}

static size_t workspace_panels(const ls_sig *sig, int n_threads) {
    const ls_matmul_packed_attr *attr = sig->attr;
    ls_plain_product plain;
    ls_matmul_packed_plain(sig, &plain);
    return ls_matmul_packed_workspace_bytes(ls_pack_form_engine(attr->form), &plain.sig, n_threads);
}

static ls_status launch_panels(const ls_launch *launch) {
    const ls_matmul_packed_attr *attr = launch->sig->attr;
    ls_plain_product plain;
    ls_launch product = *launch;
    ls_matmul_packed_plain(launch->sig, &plain);
    product.sig = &plain.sig;
    return ls_matmul_packed_launch(ls_pack_form_engine(attr->form), &product);
}

static const ls_kernel matmul_packed_cpu_panels = {.name = "matmul_packed_cpu_panels",
                                                   .device = LS_DEVICE_CPU,
                                                   .refuses = refuses,
                                                   .workspace_bytes = workspace_panels,
                                                   .launch = launch_panels};
static const ls_kernel matmul_packed_ref = {.name = "matmul_packed_ref",
                                            .device = LS_DEVICE_CPU,
                                            .workspace_bytes = workspace_ref,
                                            .launch = launch_ref};
static const ls_kernel *const kernels[] = {&matmul_packed_cpu_panels, &matmul_packed_ref, NULL};

const ls_op ls_op_matmul_packed = {.name = "matmul_packed",
                                   .min_in = 2,
                                   .max_in = 4,
                                   .attr_bytes = sizeof(ls_matmul_packed_attr),
                                   .infer = infer,
                                   .cost = cost,
                                   .print = print,
                                   .kernels = kernels};

ls_value ls_matmul_packed(ls_graph *graph, const ls_value *in, int n_in,
                          const ls_matmul_packed_attr *attr, ls_value *outs) {
    return ls_graph_node(graph, &ls_op_matmul_packed, attr, in, n_in, outs);
}
