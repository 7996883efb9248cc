/* Tiles of each instruction from registers; from memory they are the product kernels' own. */
#include "measure/multiply_tile.h"

#include "op/matmul/gemm_engines.h"
#include <string.h>

void ls_multiply_tile_stream(const ls_multiply_tile *tile, int64_t words, const void *a,
                             const void *b, void *c) {
    const ls_gemm_engine *e = tile->engine;
    if (e->begin) e->begin();
    e->tile(words, e->mr, a, b, c);
    if (e->end) e->end();
}

/* --- any machine: vectors of four, multiply and add apart ------------------------------------------------------------- */

typedef float v4 __attribute__((vector_size(16)));
enum { BASE_SUMS = 8 };

static void registers_base(int64_t words, const void *a, const void *b, void *c) {
    v4 sum[BASE_SUMS], y[2], x[2];
    memcpy(sum, c, sizeof sum);
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    for (int64_t w = 0; w < words; w++) {
#pragma GCC unroll 8
        for (int i = 0; i < BASE_SUMS; i++) sum[i] += x[i >> 1 & 1] * y[i & 1];
    }
    memcpy(c, sum, sizeof sum);
}

#if defined(LS_X86)
#include <immintrin.h>

/* --- AVX2 ------------------------------------------------------------------------------------------------------------ */

#define AVX2 __attribute__((target("avx2,fma")))
AVX2 static void registers_avx2(int64_t words, const void *a, const void *b, void *c_tile) {
    const __m256 x0 = _mm256_load_ps(a), x1 = _mm256_load_ps((const float *)a + 8);
    const __m256 y0 = _mm256_load_ps(b), y1 = _mm256_load_ps((const float *)b + 8);
    float *c = c_tile;
    __m256 sum[12];
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++) sum[i] = _mm256_load_ps(c + i * 8);
    for (int64_t w = 0; w < words; w++) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            sum[i] = _mm256_fmadd_ps(i & 2 ? x1 : x0, i & 1 ? y1 : y0, sum[i]);
    }
#pragma GCC unroll 12
    for (int i = 0; i < 12; i++) _mm256_store_ps(c + i * 8, sum[i]);
}

/* --- AVX-512: f32, pairs of bf16, four int8 in one shape --------------------------------------------------------------- */

#define AVX512      __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define AVX512_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
enum { WIDE_SUMS = 24 };

AVX512 static void registers_f32(int64_t words, const void *a, const void *b, void *c_tile) {
    const __m512 x0 = _mm512_load_ps(a), x1 = _mm512_load_ps((const float *)a + 16);
    const __m512 y0 = _mm512_load_ps(b), y1 = _mm512_load_ps((const float *)b + 16);
    float *c = c_tile;
    __m512 sum[WIDE_SUMS];
#pragma GCC unroll 24
    for (int i = 0; i < WIDE_SUMS; i++) sum[i] = _mm512_load_ps(c + i * 16);
    for (int64_t w = 0; w < words; w++) {
#pragma GCC unroll 24
        for (int i = 0; i < WIDE_SUMS; i++)
            sum[i] = _mm512_fmadd_ps(i & 2 ? x1 : x0, i & 1 ? y1 : y0, sum[i]);
    }
#pragma GCC unroll 24
    for (int i = 0; i < WIDE_SUMS; i++) _mm512_store_ps(c + i * 16, sum[i]);
}

AVX512_BF16 static void registers_bf16(int64_t words, const void *a, const void *b, void *c_tile) {
    const __m512i *a2 = a, *b2 = b;
    const __m512bh x0 = (__m512bh)_mm512_load_si512(a2), x1 = (__m512bh)_mm512_load_si512(a2 + 1);
    const __m512bh y0 = (__m512bh)_mm512_load_si512(b2), y1 = (__m512bh)_mm512_load_si512(b2 + 1);
    float *c = c_tile;
    __m512 sum[WIDE_SUMS];
#pragma GCC unroll 24
    for (int i = 0; i < WIDE_SUMS; i++) sum[i] = _mm512_load_ps(c + i * 16);
    for (int64_t w = 0; w < words; w++) {
#pragma GCC unroll 24
        for (int i = 0; i < WIDE_SUMS; i++)
            sum[i] = _mm512_dpbf16_ps(sum[i], i & 2 ? x1 : x0, i & 1 ? y1 : y0);
    }
#pragma GCC unroll 24
    for (int i = 0; i < WIDE_SUMS; i++) _mm512_store_ps(c + i * 16, sum[i]);
}

AVX512_VNNI static void registers_int8(int64_t words, const void *a, const void *b, void *c_tile) {
    const __m512i *a2 = a, *b2 = b;
    const __m512i x0 = _mm512_load_si512(a2), x1 = _mm512_load_si512(a2 + 1);
    const __m512i y0 = _mm512_load_si512(b2), y1 = _mm512_load_si512(b2 + 1);
    __m512i *c = c_tile, sum[WIDE_SUMS];
#pragma GCC unroll 24
    for (int i = 0; i < WIDE_SUMS; i++) sum[i] = _mm512_load_si512(c + i);
    for (int64_t w = 0; w < words; w++) {
#pragma GCC unroll 24
        for (int i = 0; i < WIDE_SUMS; i++)
            sum[i] = _mm512_dpbusd_epi32(sum[i], i & 2 ? x1 : x0, i & 1 ? y1 : y0);
    }
#pragma GCC unroll 24
    for (int i = 0; i < WIDE_SUMS; i++) _mm512_store_si512(c + i, sum[i]);
}

static int has_vnni(void) {
    return __builtin_cpu_supports("avx512vnni") != 0;
}

/* --- AMX: a 2 x 2 block of tiles, 16 words along k at a time ----------------------------------------------------------- */

#define AMX __attribute__((target("amx-tile,amx-bf16,amx-int8")))
enum { AMX_NR = 32, AMX_STEP = 16, AMX_TILE_WORDS = 256 };

/* The operand of ldtilecfg. */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

AMX static void begin_tiles(void) {
    tile_config config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
}

/* The sums start at zero: what came before does not change how fast they grow. */
AMX static void zero_sums(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

AMX static void load_factors(const uint32_t *a, const uint32_t *b) {
    __asm__ volatile("" : : "r"(a), "r"(b) : "memory");
    _tile_loadd(4, a, 64);
    _tile_loadd(5, a + AMX_TILE_WORDS, 64);
    _tile_loadd(6, b, 128);
    _tile_loadd(7, b + 16, 128);
}

AMX static void store_sums(uint32_t *c) {
    _tile_stored(0, c, 128);
    _tile_stored(1, c + 16, 128);
    _tile_stored(2, c + 16 * AMX_NR, 128);
    _tile_stored(3, c + 16 * AMX_NR + 16, 128);
    _tile_release();
}

AMX static void registers_amx_bf16(int64_t words, const void *a, const void *b, void *c) {
    begin_tiles();
    zero_sums();
    load_factors(a, b);
    for (int64_t w = 0; w < words; w += AMX_STEP) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    store_sums(c);
}

AMX static void registers_amx_int8(int64_t words, const void *a, const void *b, void *c) {
    begin_tiles();
    zero_sums();
    load_factors(a, b);
    for (int64_t w = 0; w < words; w += AMX_STEP) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    store_sums(c);
}
#endif

const ls_multiply_tile ls_multiply_tiles[] = {
#if defined(LS_X86)
    {"f32", "mulps addps", LS_ISA_BASE, &ls_gemm_engine_wide_base, registers_base, NULL},
    {"f32", "vfmadd ymm", LS_ISA_AVX2, &ls_gemm_engine_wide_avx2, registers_avx2, NULL},
    {"f32", "vfmadd zmm", LS_ISA_AVX512, &ls_gemm_engine_wide_avx512, registers_f32, NULL},
    {"bf16", "vdpbf16ps zmm", LS_ISA_AVX512, &ls_gemm_engine_pairs_avx512bf16, registers_bf16,
     ls_cpu_has_vdpbf16ps},
    {"bf16", "tdpbf16ps", LS_ISA_AMX, &ls_gemm_engine_pairs_amx, registers_amx_bf16, NULL},
    {"int8", "vpdpbusd zmm", LS_ISA_AVX512, &ls_gemm_engine_quads_avx512bf16, registers_int8,
     has_vnni},
    {"int8", "tdpbusd", LS_ISA_AMX, &ls_gemm_engine_quads_amx, registers_amx_int8, NULL},
#else
    {"f32", "multiply, add", LS_ISA_BASE, &ls_gemm_engine_wide_base, registers_base, NULL},
#endif
};
const int ls_n_multiply_tiles = sizeof ls_multiply_tiles / sizeof ls_multiply_tiles[0];

int ls_multiply_tile_runs(const ls_multiply_tile *tile) {
    return tile->isa <= ls_cpu_isa() && (!tile->is_here || tile->is_here());
}
