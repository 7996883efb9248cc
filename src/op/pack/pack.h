/* Weights laid out for the products that read them: as matmul packs operand 1 for itself, but once for several products.
 *
 *     packed = pack(w)                      w [K, N], or [N, K] with w_is_NK
 *     out = matmul_packed(a, packed, ..)    the matmul of a and w, with the same bits
 *
 * packed is [blocks, panels, words, NR] f32, or [blocks, panels, words, NR, 2] bf16 (pairs along k): element (k, n) of the [K, N] matrix lies
 * in block k / (words x k's of a word), panel n / NR. NR and the blocks of k are those of a form: of one matmul engine, so of one level of
 * instructions. A plan chooses it for the machine that makes the plan. Local. */
#ifndef LS_OP_PACK_H
#define LS_OP_PACK_H
#include "op/matmul/gemm.h"

typedef enum ls_pack_form {
    LS_PACK_WIDE_BASE, /* f32; bf16 and f16 are widened */
    LS_PACK_WIDE_AVX2,
    LS_PACK_WIDE_AVX512,
    LS_PACK_PAIRS_AVX512BF16, /* pairs of bf16 */
    LS_PACK_PAIRS_AMX,
    LS_PACK_FORM_COUNT,
    LS_PACK_FORM_NONE = -1
} ls_pack_form;

typedef struct ls_pack_attr {
    int form; /* ls_pack_form */
    int w_is_NK;
} ls_pack_attr;

typedef struct ls_matmul_packed_attr {
    int64_t n;              /* columns of w */
    ls_matmul_attr product; /* of the matmul that it is; transpose_a 0, operand 1 in 2 dims */
    int form;
} ls_matmul_packed_attr;

LS_API const char *ls_pack_form_name(int form); /* "pairs_avx512bf16" */
/* The engine, or NULL when this build has none of the form. */
LS_API const ls_gemm_engine *ls_pack_form_engine(int form);
/* NULL when this machine can run the form; otherwise why not. */
LS_API const char *ls_pack_form_refuses(int form);
/* The form in which kernel `kernel` packs operand 1 of a matmul; NONE when it packs none, or not all of a matrix that the batch shares. */
LS_API int ls_pack_form_of(const ls_sig *matmul, const ls_kernel *kernel);
/* Bytes of the w of a matmul in the form. */
LS_API int64_t ls_pack_form_bytes(int form, const ls_sig *matmul);

LS_API ls_value ls_pack(ls_graph *graph, ls_value w, const ls_pack_attr *attr);
/* `in` are the matmul's operands with the packed one in place of operand 1. outs as ls_graph_node has it. */
LS_API ls_value ls_matmul_packed(ls_graph *graph, const ls_value *in, int n_in,
                                 const ls_matmul_packed_attr *attr, ls_value *outs);
/* The plain product that a matmul_packed is, with operand 1 as [K, N] or [N, K] of the packed dtype. Points into itself: not to be copied. */
typedef struct ls_plain_product {
    ls_type in[4];
    ls_sig sig;
} ls_plain_product;
LS_API void ls_matmul_packed_plain(const ls_sig *sig, ls_plain_product *out);

#endif
