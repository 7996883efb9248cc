/* For each block of rows: logits = x W^T, their loss and gradient in the same memory, dx = dlogits W, dW += dlogits^T x. Every part is
 * the kernel that a node of its own would get, on the block's shapes, so a row has the bits it would have there.
 *
 * dW is a sum over rows, which a product cuts into k blocks by their number alone (ls_gemm_plan_k), adding one block after the other. Rows
 * are cut here exactly there, and each further block is added by the product's epilogue: the same additions in the same order. */
#include "op/cross_entropy_head/head_blocks.h"

#include "op/cross_entropy/cross_entropy_rows.h"
#include "op/cross_entropy_head/cross_entropy_head.h"
#include "op/matmul/gemm_engines.h"
#include "op/op.h"
#include <string.h>

enum { PART_LOGITS, PART_LOSS, PART_DX, PART_DW, PART_MORE_DW, N_PARTS, ALIGN_BYTES = 64 };

/* One op on a block of rows. Points into itself: never copied. */
typedef struct head_part {
    ls_sig sig;
    ls_type in[3], out[LS_MAX_OUT];
    ls_matmul_attr product;
    const ls_kernel *kernel;
} head_part;

typedef struct head_parts {
    int64_t rows;
    ls_type x, logits; /* of the block */
    head_part part[N_PARTS];
} head_parts;

static int64_t count_rows(const ls_sig *sig) {
    return ls_type_count(&sig->in[2]);
}

/* The engine under the kernel that multiplies x's dtype at this machine's level. */
static const ls_gemm_engine *find_engine(const ls_sig *sig) {
#ifdef LS_X86
    const ls_isa isa = ls_cpu_isa();
    const int is_bf16 = sig->in[0].dtype == LS_DTYPE_BF16;
    if (is_bf16 && isa >= LS_ISA_AMX) return &ls_gemm_engine_pairs_amx;
    if (is_bf16 && isa >= LS_ISA_AVX512BF16) return &ls_gemm_engine_pairs_avx512bf16;
    if (isa >= LS_ISA_AVX512) return &ls_gemm_engine_wide_avx512;
    if (isa >= LS_ISA_AVX2) return &ls_gemm_engine_wide_avx2;
#endif
    (void)sig;
    return &ls_gemm_engine_wide_base;
}

static int64_t choose_block(const ls_sig *sig, int reference) {
    const int64_t n = count_rows(sig);
    if (reference || n == 0) return n;
    const int64_t block = ls_gemm_plan_k(find_engine(sig), n).k_block;
    return block < n ? block : n;
}

int64_t ls_cross_entropy_head_block(const ls_sig *sig) {
    return choose_block(sig, sig->in[0].dtype == LS_DTYPE_F64);
}

static ls_status finish_part(head_part *p, const ls_op *op, const void *attr, int n_in,
                             int reference) {
    int n_out = 0;
    LS_TRY(op->infer(attr, n_in, p->in, &n_out, p->out));
    p->sig = (ls_sig){op, attr, n_in, n_out, p->in, p->out};
    if (!reference) return ls_kernel_choose(&p->sig, LS_DEVICE_CPU, ls_cpu_isa(), &p->kernel);
    p->kernel = ls_kernel_reference(op);
    return LS_OK;
}

static ls_status make_product(head_part *p, ls_type a, ls_type b, ls_matmul_attr attr,
                              int reference) {
    p->in[0] = a;
    p->in[1] = b;
    p->product = attr;
    p->product.alpha = 1;
    return finish_part(p, &ls_op_matmul, &p->product, 2 + attr.has_residual, reference);
}

/* `more`: added to what is there. */
static ls_status make_dw(head_parts *b, const ls_sig *sig, int more, int reference) {
    const ls_cross_entropy_head_attr *a = sig->attr;
    const ls_type *left = a->w_is_NK ? &b->logits : &b->x, *right = a->w_is_NK ? &b->x : &b->logits;
    head_part *p = &b->part[more ? PART_MORE_DW : PART_DW];
    p->in[2] = sig->out[LS_HEAD_DW];
    const ls_matmul_attr attr = {
        .transpose_a = 1, .has_residual = more, .out_dtype = (int)sig->out[LS_HEAD_DW].dtype};
    return make_product(p, *left, *right, attr, reference);
}

static ls_status make_parts(head_parts *b, const ls_sig *sig, int64_t rows, int reference) {
    const ls_cross_entropy_head_attr *a = sig->attr;
    const ls_type *w = &sig->in[1];
    const int64_t v = w->shape.dims[a->w_is_NK ? 0 : 1], d = w->shape.dims[a->w_is_NK ? 1 : 0];
    b->rows = rows;
    b->x = (ls_type){sig->in[0].dtype, {.n_dims = 2, .dims = {rows, d}}};
    b->logits = (ls_type){sig->in[0].dtype, {.n_dims = 2, .dims = {rows, v}}};
    LS_TRY(make_product(&b->part[PART_LOGITS], b->x, *w,
                        (ls_matmul_attr){.transpose_b = a->w_is_NK, .out_dtype = -1}, reference));
    head_part *loss = &b->part[PART_LOSS];
    loss->in[0] = b->logits;
    loss->in[1] = (ls_type){LS_DTYPE_I32, {.n_dims = 1, .dims = {rows}}};
    if (sig->n_in > 3) loss->in[2] = sig->in[3];
    LS_TRY(finish_part(loss, &ls_op_cross_entropy, &a->loss, sig->n_in - 1, reference));
    if (a->loss_only) return LS_OK;
    LS_TRY(make_product(&b->part[PART_DX], b->logits, *w,
                        (ls_matmul_attr){.transpose_b = !a->w_is_NK, .out_dtype = -1}, reference));
    LS_TRY(make_dw(b, sig, 0, reference));
    return make_dw(b, sig, 1, reference);
}

static size_t align_up(size_t bytes) {
    return (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
}

static size_t count_workspace(const head_parts *b, int n_threads) {
    size_t most = 0;
    for (int i = 0; i < N_PARTS && b->part[i].kernel; i++) {
        const head_part *p = &b->part[i];
        const size_t bytes =
            p->kernel->workspace_bytes ? p->kernel->workspace_bytes(&p->sig, n_threads) : 0;
        if (bytes > most) most = bytes;
    }
    return most;
}

size_t ls_head_workspace(const ls_sig *sig, int reference, int n_threads) {
    head_parts parts;
    const int64_t n = count_rows(sig), block = choose_block(sig, reference);
    if (n == 0) return 0;
    size_t most = 0;
    const int64_t sizes[2] = {n % block ? n % block : block, block};
    for (int i = 0; i < 2; i++) { /* a kernel's workspace may grow with fewer rows */
        memset(&parts, 0, sizeof parts);
        if (make_parts(&parts, sig, sizes[i], reference) != LS_OK) return 0;
        const size_t bytes = count_workspace(&parts, n_threads);
        if (bytes > most) most = bytes;
    }
    return align_up(ls_type_bytes(&parts.logits)) + most;
}

/* Element `first` on of a whole tensor, as a part's operand. */
static ls_tensor view(const ls_tensor *whole, int64_t first, const ls_type *type) {
    char *data = (char *)whole->data + (size_t)first * ls_dtype_bytes(type->dtype);
    return (ls_tensor){type->dtype, type->shape, data};
}

static ls_status run_part(const ls_launch *launch, const head_part *p, const ls_tensor *in,
                          ls_tensor *out, void *workspace) {
    ls_launch part = *launch;
    part.sig = &p->sig;
    part.in = in;
    part.out = out;
    part.workspace = workspace;
    return p->kernel->launch(&part);
}

/* Losses of the block's rows; the logits become their gradient. Sums over rows wait for the last block. */
static ls_status run_loss(const ls_launch *launch, const head_parts *b, int64_t first,
                          ls_tensor *logits, void *workspace) {
    const head_part *p = &b->part[PART_LOSS];
    double sums[2];
    ls_tensor in[3] = {*logits, view(&launch->in[2], first, &p->in[1])};
    if (launch->sig->n_in > 3) in[2] = launch->in[3];
    ls_tensor out[4] = {{p->out[0].dtype, p->out[0].shape, &sums[0]},
                        {p->out[1].dtype, p->out[1].shape, &sums[1]},
                        *logits,
                        view(&launch->out[LS_HEAD_ROWS], first, &p->out[3])};
    return run_part(launch, p, in, out, workspace);
}

static ls_status run_dw(const ls_launch *launch, const head_parts *b, int64_t first,
                        const ls_tensor *x, const ls_tensor *dlogits, void *workspace) {
    const ls_cross_entropy_head_attr *a = launch->sig->attr;
    const ls_tensor *left = a->w_is_NK ? dlogits : x, *right = a->w_is_NK ? x : dlogits;
    const ls_tensor in[3] = {*left, *right, launch->out[LS_HEAD_DW]};
    return run_part(launch, &b->part[first ? PART_MORE_DW : PART_DW], in, &launch->out[LS_HEAD_DW],
                    workspace);
}

static ls_status run_block(const ls_launch *launch, const head_parts *b, int64_t first) {
    const int64_t d = b->x.shape.dims[1];
    ls_tensor logits = {b->logits.dtype, b->logits.shape, launch->workspace};
    void *rest = (char *)launch->workspace + align_up(ls_type_bytes(&b->logits));
    const ls_tensor x = view(&launch->in[0], first * d, &b->x);
    LS_TRY(
        run_part(launch, &b->part[PART_LOGITS], (ls_tensor[2]){x, launch->in[1]}, &logits, rest));
    LS_TRY(run_loss(launch, b, first, &logits, rest));
    if (launch->sig->n_out <= LS_HEAD_DX) return LS_OK;
    ls_tensor dx = view(&launch->out[LS_HEAD_DX], first * d, &b->x);
    LS_TRY(run_part(launch, &b->part[PART_DX], (ls_tensor[2]){logits, launch->in[1]}, &dx, rest));
    return run_dw(launch, b, first, &x, &logits, rest);
}

/* What cross_entropy does with all rows before and after, on a launch of it without logits. */
static ls_status check_or_finish(const ls_launch *launch, int finishes) {
    const ls_cross_entropy_head_attr *a = launch->sig->attr;
    const ls_sig sig = {.op = &ls_op_cross_entropy, .attr = &a->loss};
    ls_type logits = launch->sig->in[0];
    logits.shape.dims[logits.shape.n_dims - 1] = launch->sig->in[1].shape.dims[a->w_is_NK ? 0 : 1];
    const ls_tensor in[2] = {{logits.dtype, logits.shape, NULL}, launch->in[2]};
    ls_tensor out[4] = {launch->out[LS_HEAD_LOSS],
                        launch->out[LS_HEAD_COUNT],
                        {logits.dtype, logits.shape, NULL},
                        launch->out[LS_HEAD_ROWS]};
    const ls_launch loss = {.sig = &sig, .in = in, .out = out};
    if (!finishes) return ls_cross_entropy_check(&loss);
    ls_cross_entropy_finish(&loss);
    return LS_OK;
}

ls_status ls_head_launch(const ls_launch *launch, int reference) {
    head_parts parts;
    const ls_sig *sig = launch->sig;
    const int64_t n = count_rows(sig), block = choose_block(sig, reference);
    LS_TRY(check_or_finish(launch, 0));
    if (n == 0 && sig->n_out > LS_HEAD_DX)
        memset(launch->out[LS_HEAD_DW].data, 0, ls_tensor_bytes(&launch->out[LS_HEAD_DW]));
    memset(&parts, 0, sizeof parts);
    for (int64_t first = 0; first < n; first += block) {
        const int64_t rows = n - first < block ? n - first : block;
        if (rows != parts.rows) LS_TRY(make_parts(&parts, sig, rows, reference));
        LS_TRY(run_block(launch, &parts, first));
    }
    return check_or_finish(launch, 1);
}
