/* The forms: one for every engine that a matmul kernel is made of. */
#include "op/cpu_kernel.h"
#include "op/matmul/gemm_engines.h"
#include "op/matmul/matmul_shape.h"
#include "op/pack/pack.h"

LS_DECLARE_CPU_KERNELS(matmul_fwd)
#ifdef LS_X86
extern const ls_kernel ls_kernel_matmul_fwd_amx, ls_kernel_matmul_fwd_avx512bf16;
#endif

typedef struct form_info {
    const char *name;
    ls_isa isa;
    const ls_gemm_engine *engine;
    const ls_kernel *kernel; /* of matmul, that packs so */
} form_info;

static const form_info forms[LS_PACK_FORM_COUNT] = {
    [LS_PACK_WIDE_BASE] = {"wide_base", LS_ISA_BASE, &ls_gemm_engine_wide_base,
                           &ls_kernel_matmul_fwd_base},
#ifdef LS_X86
    [LS_PACK_WIDE_AVX2] = {"wide_avx2", LS_ISA_AVX2, &ls_gemm_engine_wide_avx2,
                           &ls_kernel_matmul_fwd_avx2},
    [LS_PACK_WIDE_AVX512] = {"wide_avx512", LS_ISA_AVX512, &ls_gemm_engine_wide_avx512,
                             &ls_kernel_matmul_fwd_avx512},
    [LS_PACK_PAIRS_AVX512BF16] = {"pairs_avx512bf16", LS_ISA_AVX512BF16,
                                  &ls_gemm_engine_pairs_avx512bf16,
                                  &ls_kernel_matmul_fwd_avx512bf16},
    [LS_PACK_PAIRS_AMX] = {"pairs_amx", LS_ISA_AMX, &ls_gemm_engine_pairs_amx,
                           &ls_kernel_matmul_fwd_amx},
#endif
};

const ls_gemm_engine *ls_pack_form_engine(int form) {
    return form >= 0 && form < LS_PACK_FORM_COUNT ? forms[form].engine : NULL;
}

const char *ls_pack_form_name(int form) {
    return ls_pack_form_engine(form) ? forms[form].name : "unknown";
}

const char *ls_pack_form_refuses(int form) {
    if (!ls_pack_form_engine(form)) return "this build has no such form";
    return forms[form].isa > ls_cpu_isa() ? "the form is of a newer instruction set" : NULL;
}

int ls_pack_form_of(const ls_sig *sig, const ls_kernel *kernel) {
    const ls_matmul_attr *attr = sig->attr;
    if (attr->transpose_a || attr->sum_lead || sig->in[1].shape.n_dims != 2)
        return LS_PACK_FORM_NONE;
    for (int i = 0; i < LS_PACK_FORM_COUNT; i++)
        if (forms[i].engine && forms[i].kernel == kernel)
            return ls_matmul_packs(forms[i].engine, sig) ? i : LS_PACK_FORM_NONE;
    return LS_PACK_FORM_NONE;
}

int64_t ls_pack_form_bytes(int form, const ls_sig *sig) {
    const ls_matmul_shape shape = ls_matmul_shape_of(sig);
    return (int64_t)ls_gemm_packed_bytes(ls_pack_form_engine(form), shape.n, shape.k);
}
