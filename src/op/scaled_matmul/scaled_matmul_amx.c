/* AMX: 32 x 32 sums in a 2 x 2 block of tiles, 16 words of four bytes along k at a time; tdpbusd for a of u8, tdpbssd for i8. A is packed
 * as tiles [step][32 rows][16 words], B as rows of words [word][32 columns]. */
#include "op/cpu_kernel.h"
#include "op/matmul/amx_product.h"
#include "op/matmul/gemm_engines.h"
#include "op/scaled_matmul/scaled_launch.h"
#include "op/scaled_matmul/scaled_pack.h"

static void run_tile_u8(int64_t words, int n_rows, const void *a, const void *b, float *c) {
    (void)n_rows;
    amx_sum_packed(AMX_U8, words, a, b, c);
}

static void run_tile_i8(int64_t words, int n_rows, const void *a, const void *b, float *c) {
    (void)n_rows;
    amx_sum_packed(AMX_I8, words, a, b, c);
}

static void run_whole_u8(const ls_gemm_whole *tile) {
    amx_run_whole(AMX_U8, tile);
}

static void run_whole_i8(const ls_gemm_whole *tile) {
    amx_run_whole(AMX_I8, tile);
}

static void pack_a(const ls_gemm_operand *a, const int64_t range[4], int64_t words, void *dst) {
    uint32_t *to = dst;
    for (int64_t i = 0; i < range[1]; i += MR)
        for (int64_t w = 0; w < words; w += STEP_WORDS)
            for (int64_t row = i; row < i + MR; row++, to += STEP_WORDS) {
                const int64_t at = (range[0] + row) * a->ld + range[2] + 4 * w;
                store_words(to, load_quads(a, at, row < range[1] ? range[3] - 4 * w : 0, 0), 16);
            }
}

static void pack_b(const ls_gemm_operand *b, const int64_t range[4], int64_t words, void *dst) {
    pack_byte_panels(b, range, words, NR, 4, 0, dst);
}

static void store(const ls_gemm_out *out, const ls_gemm_tile *tile) {
    store_sums(out, tile, NR);
}

#define ENGINE(run, run_whole, dtype)                                                        \
    {                                                                                        \
        .mr = MR, .nr = NR, .k_word = 4, .k_step = STEP_WORDS, .k_block = K_BLOCK,           \
        .pack_a = pack_a, .pack_b = pack_b, .tile = run, .store = store, .begin = amx_begin, \
        .end = amx_end, .whole = run_whole, .in_place_dtype = dtype                          \
    }
const ls_gemm_engine ls_gemm_engine_quads_amx = ENGINE(run_tile_u8, run_whole_u8, LS_DTYPE_U8);
static const ls_gemm_engine i8_engine = ENGINE(run_tile_i8, run_whole_i8, LS_DTYPE_I8);
static const ls_scaled_engine engine = {&ls_gemm_engine_quads_amx, &i8_engine, 0, sum_columns};

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    return ls_scaled_workspace_bytes(&engine, sig, n_threads);
}

static ls_status launch_matmul(const ls_launch *launch) {
    return ls_scaled_launch(&engine, launch);
}

extern const ls_kernel ls_kernel_scaled_matmul_amx;
const ls_kernel ls_kernel_scaled_matmul_amx = {.name = "scaled_matmul_cpu_amx_32x32",
                                               .device = LS_DEVICE_CPU,
                                               .isa = LS_ISA_AMX,
                                               .workspace_bytes = workspace_bytes,
                                               .launch = launch_matmul};
