/* pack: types, reference, the kernel over every engine's packing. */
#include "op/pack/pack.h"
#include "op/op.h"

static ls_status check_form(const ls_pack_attr *attr, ls_dtype dtype) {
    const ls_gemm_engine *engine = ls_pack_form_engine(attr->form);
    if (!engine)
        return LS_FAIL(LS_ERR_INVALID, "op pack: form %d is not one of this build's", attr->form);
    const int pairs = engine->k_word == 2;
    const int fits = pairs
                         ? dtype == LS_DTYPE_BF16
                         : dtype == LS_DTYPE_F32 || dtype == LS_DTYPE_BF16 || dtype == LS_DTYPE_F16;
    if (fits) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "op pack: form %s takes a weight of %s, got %s",
                   ls_pack_form_name(attr->form), pairs ? "bf16" : "f32, bf16 or f16",
                   ls_dtype_name(dtype));
}

static ls_status infer(const void *opaque, int n_in, const ls_type *in, int *n_out, ls_type *out) {
    const ls_pack_attr *attr = opaque;
    (void)n_in;
    LS_TRY(ls_infer_dims("pack", "w", &in[0], 2));
    LS_TRY(check_form(attr, in[0].dtype));
    const ls_gemm_engine *engine = ls_pack_form_engine(attr->form);
    const int64_t n = in[0].shape.dims[attr->w_is_NK ? 0 : 1];
    const ls_gemm_k_plan plan = ls_gemm_plan_k(engine, in[0].shape.dims[attr->w_is_NK ? 1 : 0]);
    const int pairs = engine->k_word == 2;
    *n_out = 1;
    out[0] = (ls_type){pairs ? LS_DTYPE_BF16 : LS_DTYPE_F32,
                       {.n_dims = 4 + pairs,
                        .dims = {plan.n_blocks, (n + engine->nr - 1) / engine->nr, plan.words,
                                 engine->nr, pairs ? 2 : 0}}};
    return LS_OK;
}

static void print(const void *opaque, ls_text *out) {
    const ls_pack_attr *attr = opaque;
    ls_text_append(out, "form=%s w_is_NK=%d", ls_pack_form_name(attr->form), attr->w_is_NK);
}

/* packed[.., w, c, h] = w[k, n] with k = (block words + w) k_word + h, n = panel NR + c; zero past the edges. */
static ls_status launch_ref(const ls_launch *launch) {
    const ls_pack_attr *attr = launch->sig->attr;
    const int64_t *dims = launch->out[0].shape.dims;
    const ls_shape *w = &launch->in[0].shape;
    const int64_t n = w->dims[attr->w_is_NK ? 0 : 1], k = w->dims[attr->w_is_NK ? 1 : 0];
    const int64_t k_word = launch->out[0].shape.n_dims == 5 ? 2 : 1, words = dims[2], nr = dims[3];
    const int64_t count = ls_shape_count(&launch->out[0].shape);
    for (int64_t i = 0; i < count; i++) {
        const int64_t half = i % k_word, c = i / k_word % nr, word = i / k_word / nr % words;
        const int64_t panel = i / k_word / nr / words;
        const int64_t row = (panel / dims[1] * words + word) * k_word + half;
        const int64_t col = panel % dims[1] * nr + c;
        const int64_t at = attr->w_is_NK ? col * k + row : row * n + col;
        ls_tensor_set(&launch->out[0], i,
                      row < k && col < n ? ls_tensor_get(&launch->in[0], at) : 0);
    }
    return LS_OK;
}

static const char *refuses(const ls_sig *sig) {
    return ls_pack_form_refuses(((const ls_pack_attr *)sig->attr)->form);
}

static size_t workspace_panels(const ls_sig *sig, int n_threads) {
    const ls_pack_attr *attr = sig->attr;
    const int64_t k = sig->in[0].shape.dims[attr->w_is_NK ? 1 : 0];
    return ls_gemm_pack_workspace_bytes(ls_pack_form_engine(attr->form), k, n_threads);
}

static ls_status launch_panels(const ls_launch *launch) {
    const ls_pack_attr *attr = launch->sig->attr;
    const ls_tensor *w = &launch->in[0];
    const int64_t n = w->shape.dims[attr->w_is_NK ? 0 : 1];
    const int64_t k = w->shape.dims[attr->w_is_NK ? 1 : 0];
    const ls_gemm_operand b = {w->data, w->dtype, attr->w_is_NK ? k : n, attr->w_is_NK};
    return ls_gemm_pack_b(ls_pack_form_engine(attr->form), &b, n, k, launch->out[0].data,
                          launch->workspace, launch->pool);
}

static const ls_kernel pack_cpu_panels = {.name = "pack_cpu_panels",
                                          .device = LS_DEVICE_CPU,
                                          .refuses = refuses,
                                          .workspace_bytes = workspace_panels,
                                          .launch = launch_panels};
static const ls_kernel pack_ref = {
    .name = "pack_ref", .device = LS_DEVICE_CPU, .launch = launch_ref};
static const ls_kernel *const kernels[] = {&pack_cpu_panels, &pack_ref, NULL};

const ls_op ls_op_pack = {.name = "pack",
                          .min_in = 1,
                          .max_in = 1,
                          .attr_bytes = sizeof(ls_pack_attr),
                          .flags = LS_OP_KEEP_F32,
                          .infer = infer,
                          .print = print,
                          .kernels = kernels};

ls_value ls_pack(ls_graph *graph, ls_value w, const ls_pack_attr *attr) {
    return ls_graph_node(graph, &ls_op_pack, attr, &w, 1, NULL);
}
