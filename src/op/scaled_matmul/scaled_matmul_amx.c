/* AMX: 32 x 32 sums in a 2 x 2 block of tiles, 16 words of four bytes along k at a time; tdpbusd for a of u8, tdpbssd for i8. A is packed
 * as tiles [step][32 rows][16 words], B as rows of words [word][32 columns]. */
#include "op/cpu_kernel.h"
#include "op/matmul/amx_tile.h"
#include "op/scaled_matmul/scaled_launch.h"
#include "op/scaled_matmul/scaled_pack.h"

enum { MR = 32, NR = 32, STEP_WORDS = 16, K_BLOCK = 512, TILE_WORDS = 16 * 16 };
enum { C_STRIDE = NR * 4, B_STRIDE = NR * 4, A_STRIDE = STEP_WORDS * 4 };

/* The two instructions differ in nothing else. */
#define RUN_TILE(name, multiply)                                                          \
    static void name(int64_t words, int n_rows, const void *a_panel, const void *b_panel, \
                     float *c) {                                                          \
        const uint32_t *a = a_panel, *b = b_panel;                                        \
        (void)n_rows;                                                                     \
        amx_zero(0);                                                                      \
        amx_zero(1);                                                                      \
        amx_zero(2);                                                                      \
        amx_zero(3);                                                                      \
        for (int64_t w = 0; w < words; w += STEP_WORDS) {                                 \
            amx_load(6, b, B_STRIDE);                                                     \
            amx_load(4, a, A_STRIDE);                                                     \
            multiply(0, 4, 6);                                                            \
            amx_load(7, b + 16, B_STRIDE);                                                \
            multiply(1, 4, 7);                                                            \
            amx_load(5, a + TILE_WORDS, A_STRIDE);                                        \
            multiply(2, 5, 6);                                                            \
            multiply(3, 5, 7);                                                            \
            a += 2 * TILE_WORDS;                                                          \
            b += 2 * TILE_WORDS;                                                          \
        }                                                                                 \
        amx_store(0, c, C_STRIDE);                                                        \
        amx_store(1, c + 16, C_STRIDE);                                                   \
        amx_store(2, c + 16 * NR, C_STRIDE);                                              \
        amx_store(3, c + 16 * NR + 16, C_STRIDE);                                         \
    }
RUN_TILE(run_tile_u8, amx_multiply_u8)
RUN_TILE(run_tile_i8, amx_multiply_i8)

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

#define ENGINE(run)                                                                          \
    {                                                                                        \
        .mr = MR, .nr = NR, .k_word = 4, .k_step = STEP_WORDS, .k_block = K_BLOCK,           \
        .pack_a = pack_a, .pack_b = pack_b, .tile = run, .store = store, .begin = amx_begin, \
        .end = amx_end                                                                       \
    }
static const ls_gemm_engine u8_engine = ENGINE(run_tile_u8), i8_engine = ENGINE(run_tile_i8);
static const ls_scaled_engine engine = {&u8_engine, &i8_engine, 0};

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
