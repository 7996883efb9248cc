/* AMX in plain C, after the operation sections of LDTILECFG, TILELOADD, TILESTORED, TDPBF16PS, TDPBUSD and TDPBSSD in Intel's Architecture
 * Instruction Set Extensions Programming Reference (319433). A test includes this header before a kernel's source: the source's own
 * intrinsics then run here, on any machine.
 *
 * Where the processor would fault, the model notes the first fault and goes on with NaN. A fault is also a configuration that a thread
 * never released (model_live). Thread-safe. */
#ifndef LS_TEST_AMX_MODEL_H
#define LS_TEST_AMX_MODEL_H
#ifdef __x86_64__
#include <immintrin.h>
#endif
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MODEL_TILES = 8, MODEL_ROWS = 16, MODEL_ROW_BYTES = 64 };

typedef struct model_thread {
    int palette, rows[MODEL_TILES], row_bytes[MODEL_TILES];
    unsigned char tile[MODEL_TILES][MODEL_ROWS][MODEL_ROW_BYTES];
} model_thread;

static _Thread_local model_thread model_now;
static atomic_int model_live;        /* threads that hold a configuration */
static atomic_long model_n_configs;  /* ldtilecfg executed */
static atomic_long model_n_products; /* tdp... executed */
static atomic_int model_n_faults;
static char model_fault_text[160]; /* of the first */

static inline void note_fault(const char *text, int tile) {
    if (atomic_fetch_add(&model_n_faults, 1) == 0)
        snprintf(model_fault_text, sizeof model_fault_text, "%s (tile %d)", text, tile);
}

static inline void model_reset(void) {
    atomic_store(&model_n_faults, 0);
    atomic_store(&model_n_configs, 0);
    atomic_store(&model_n_products, 0);
    model_fault_text[0] = 0;
}

/* --- configuration ------------------------------------------------------------------------------------------------- */

static inline void release_tiles(void) {
    if (model_now.palette) atomic_fetch_sub(&model_live, 1);
    memset(&model_now, 0, sizeof model_now);
}

static inline const char *find_bad_config(const unsigned char *bytes) {
    for (int i = 2; i < 16; i++)
        if (bytes[i]) return "ldtilecfg: reserved bytes are not zero";
    if (bytes[0] > 1) return "ldtilecfg: palette is not 0 or 1";
    for (int i = 0; i < 16; i++) {
        const int row_bytes = bytes[16 + 2 * i] | bytes[17 + 2 * i] << 8, rows = bytes[48 + i];
        if (i >= MODEL_TILES && (row_bytes || rows)) return "ldtilecfg: there are 8 tiles";
        if (row_bytes > MODEL_ROW_BYTES || rows > MODEL_ROWS) return "ldtilecfg: tile too large";
        if (!row_bytes != !rows) return "ldtilecfg: rows without bytes or bytes without rows";
    }
    return NULL;
}

static inline void model_loadconfig(const void *config) {
    const unsigned char *bytes = config;
    const char *bad = find_bad_config(bytes);
    release_tiles();
    atomic_fetch_add(&model_n_configs, 1);
    if (bad) note_fault(bad, -1);
    if (bad || bytes[0] == 0) return;
    model_now.palette = 1;
    atomic_fetch_add(&model_live, 1);
    for (int i = 0; i < MODEL_TILES; i++) {
        model_now.row_bytes[i] = bytes[16 + 2 * i] | bytes[17 + 2 * i] << 8;
        model_now.rows[i] = bytes[48 + i];
    }
}

static inline int tile_is_usable(const char *text, int tile) {
    if (tile >= 0 && tile < MODEL_TILES && model_now.palette && model_now.rows[tile]) return 1;
    note_fault(text, tile);
    if (tile >= 0 && tile < MODEL_TILES)
        memset(model_now.tile[tile], 0xff, sizeof model_now.tile[tile]);
    return 0;
}

/* --- moves ---------------------------------------------------------------------------------------------------------- */

static inline void model_zero(int tile) {
    if (tile_is_usable("tilezero of a tile without configuration", tile))
        memset(model_now.tile[tile], 0, sizeof model_now.tile[tile]);
}

static inline void model_load(int tile, const void *data, int64_t stride) {
    if (!tile_is_usable("tileload of a tile without configuration", tile)) return;
    memset(model_now.tile[tile], 0, sizeof model_now.tile[tile]);
    for (int i = 0; i < model_now.rows[tile]; i++)
        memcpy(model_now.tile[tile][i], (const char *)data + i * stride,
               (size_t)model_now.row_bytes[tile]);
}

static inline void model_store(int tile, void *data, int64_t stride) {
    const int usable = tile_is_usable("tilestore of a tile without configuration", tile);
    for (int i = 0; i < (usable ? model_now.rows[tile] : MODEL_ROWS); i++)
        memcpy((char *)data + i * stride, model_now.tile[tile][i],
               usable ? (size_t)model_now.row_bytes[tile] : MODEL_ROW_BYTES);
}

/* --- products ------------------------------------------------------------------------------------------------------- */

/* c[rows of a][row bytes of b] += a b, where a row of b holds, for each column, the words that a word of a meets. */
static inline int product_is_legal(int c, int a, int b) {
    const model_thread *t = &model_now;
    atomic_fetch_add(&model_n_products, 1);
    if (!tile_is_usable("product into a tile without configuration", c) ||
        !tile_is_usable("product of a tile without configuration", a) ||
        !tile_is_usable("product with a tile without configuration", b))
        return 0;
    const char *bad = NULL;
    if (c == a || c == b || a == b) bad = "product: tiles are not distinct";
    if (t->row_bytes[c] % 4 || t->row_bytes[a] % 4 || t->row_bytes[b] % 4)
        bad = "product: row bytes are not a multiple of 4";
    if (t->rows[a] != t->rows[c]) bad = "product: rows of a are not those of the result";
    if (t->row_bytes[b] != t->row_bytes[c]) bad = "product: columns of b are not the result's";
    if (t->row_bytes[a] / 4 != t->rows[b]) bad = "product: words of a are not the rows of b";
    if (!bad) return 1;
    note_fault(bad, c);
    memset(model_now.tile[c], 0xff, sizeof model_now.tile[c]);
    return 0;
}

/* Subnormal inputs count as zero, subnormal results become zero. */
static inline float flush(float x) {
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

static inline float widen_bf16(const unsigned char *at) {
    const uint32_t word = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 24;
    float x;
    memcpy(&x, &word, sizeof x);
    return flush(x);
}

/* Even and odd k are summed apart from zero, each product rounded once into its sum; the two sums meet, then c is added. */
static inline float add_bf16(float c, const unsigned char *a, int tile_b, int n) {
    const model_thread *t = &model_now;
    float sum[2] = {0, 0};
    for (int k = 0; k < t->rows[tile_b]; k++)
        for (int odd = 0; odd < 2; odd++)
            sum[odd] = flush(fmaf(widen_bf16(a + 4 * k + 2 * odd),
                                  widen_bf16(t->tile[tile_b][k] + 4 * n + 2 * odd), sum[odd]));
    return flush(c + flush(sum[0] + sum[1]));
}

/* Sums of four bytes; s32 that wraps. */
static inline uint32_t add_bytes(uint32_t c, const unsigned char *a, int tile_b, int n,
                                 int a_is_signed) {
    for (int k = 0; k < model_now.rows[tile_b]; k++)
        for (int i = 0; i < 4; i++) {
            const int x = a_is_signed ? (int8_t)a[4 * k + i] : a[4 * k + i];
            c += (uint32_t)(x * (int8_t)model_now.tile[tile_b][k][4 * n + i]);
        }
    return c;
}

enum { MODEL_BF16, MODEL_US8, MODEL_SS8 };

static inline void model_multiply(int kind, int tile_c, int tile_a, int tile_b) {
    if (!product_is_legal(tile_c, tile_a, tile_b)) return;
    for (int m = 0; m < model_now.rows[tile_c]; m++)
        for (int n = 0; n < model_now.row_bytes[tile_c] / 4; n++) {
            unsigned char *at = model_now.tile[tile_c][m] + 4 * n;
            const unsigned char *a = model_now.tile[tile_a][m];
            float x;
            uint32_t bits;
            memcpy(&x, at, sizeof x);
            memcpy(&bits, at, sizeof bits);
            if (kind == MODEL_BF16) x = add_bf16(x, a, tile_b, n);
            bits = add_bytes(bits, a, tile_b, n, kind == MODEL_SS8);
            memcpy(at, kind == MODEL_BF16 ? (void *)&x : (void *)&bits, sizeof bits);
        }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbusd
#undef _tile_dpbssd
#define _tile_loadconfig        model_loadconfig
#define _tile_release           release_tiles
#define _tile_zero              model_zero
#define _tile_loadd             model_load
#define _tile_stored            model_store
#define _tile_dpbf16ps(c, a, b) model_multiply(MODEL_BF16, c, a, b)
#define _tile_dpbusd(c, a, b)   model_multiply(MODEL_US8, c, a, b)
#define _tile_dpbssd(c, a, b)   model_multiply(MODEL_SS8, c, a, b)
#endif
