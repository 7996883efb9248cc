/* AMX: 32 x 32 results in a 2 x 2 block of tiles, 16 pairs of bf16 along k at a time. A is packed as tiles
 * [step][32 rows][16 words], B as rows of pairs [word][32 columns]. */
#include "op/cpu_kernel.h"
#include "op/matmul/amx_product.h"
#include "op/matmul/gemm_engines.h"
#include "op/matmul/gemm_pack.h"
#include "op/matmul/gemm_store.h"

static void run_tile(int64_t words, int n_rows, const void *a, const void *b, float *c) {
    (void)n_rows;
    amx_sum_packed(AMX_BF16, words, a, b, c);
}

static void run_whole(const ls_gemm_whole *tile) {
    amx_run_whole(AMX_BF16, tile);
}

static void end_tiles(void) {
    v16_stream_end();
    amx_end();
}

/* One tile of A from rows whose k's are neighbours. */
static void pack_tile_k_inner(const ls_gemm_operand *a, int64_t row, int64_t n_rows, int64_t k,
                              int64_t n_k, uint32_t *dst) {
    for (int i = 0; i < 16; i++) {
        const v16u words = load_pairs(a->data, (row + i) * a->ld + k, i < n_rows ? n_k : 0);
        store_words(dst + i * STEP_WORDS, words, 16);
    }
}

/* One tile of A from a transposed operand: pairs of neighbouring k rows, then turned. */
static void pack_tile_i_inner(const ls_gemm_operand *a, int64_t row, int64_t n_rows, int64_t k,
                              int64_t n_k, uint32_t *dst) {
    v16u r[16];
    for (int w = 0; w < 16; w++) {
        const int64_t at = (k + 2 * w) * a->ld + row;
        r[w] = join_rows(load_halves(a->data, at, 2 * w < n_k ? n_rows : 0),
                         load_halves(a->data, at + a->ld, 2 * w + 1 < n_k ? n_rows : 0));
    }
    turn_square(r);
    for (int i = 0; i < 16; i++) store_words(dst + i * STEP_WORDS, r[i], 16);
}

static void pack_a(const ls_gemm_operand *a, const int64_t range[4], int64_t words, void *dst) {
    uint32_t *to = dst;
    for (int64_t i = 0; i < range[1]; i += MR) {
        for (int64_t w = 0; w < words; w += STEP_WORDS) {
            for (int half = 0; half < 2; half++, to += TILE_WORDS) {
                const int64_t row = i + 16 * half, k = 2 * w;
                if (a->k_inner)
                    pack_tile_k_inner(a, range[0] + row, range[1] - row, range[2] + k, range[3] - k,
                                      to);
                else
                    pack_tile_i_inner(a, range[0] + row, range[1] - row, range[2] + k, range[3] - k,
                                      to);
            }
        }
    }
}

static void pack_b(const ls_gemm_operand *b, const int64_t range[4], int64_t words, void *dst) {
    pack_panels(b, range, words, NR, 1, dst);
}

static void store(const ls_gemm_out *out, const ls_gemm_tile *tile) {
    store_tile(out, tile, NR);
}

const ls_gemm_engine ls_gemm_engine_pairs_amx = {.mr = MR,
                                                 .nr = NR,
                                                 .k_word = 2,
                                                 .k_step = STEP_WORDS,
                                                 .k_block = K_BLOCK,
                                                 .pack_a = pack_a,
                                                 .pack_b = pack_b,
                                                 .tile = run_tile,
                                                 .store = store,
                                                 .begin = amx_begin,
                                                 .end = end_tiles,
                                                 .whole = run_whole,
                                                 .in_place_dtype = LS_DTYPE_BF16};

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    return ls_matmul_workspace_bytes(&ls_gemm_engine_pairs_amx, sig, n_threads);
}

static ls_status launch_matmul(const ls_launch *launch) {
    return ls_matmul_launch(&ls_gemm_engine_pairs_amx, launch);
}

extern const ls_kernel ls_kernel_matmul_fwd_amx;
const ls_kernel ls_kernel_matmul_fwd_amx = {.name = "matmul_fwd_cpu_amx_32x32",
                                            .device = LS_DEVICE_CPU,
                                            .isa = LS_ISA_AMX,
                                            .refuses = ls_gemm_refuses_pairs,
                                            .workspace_bytes = workspace_bytes,
                                            .launch = launch_matmul};
