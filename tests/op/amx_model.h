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

/* Relaxed: an order among the threads, which the processor does not give them, would hide a kernel's races. */
#define model_count(counter, n) atomic_fetch_add_explicit(counter, n, memory_order_relaxed)

static inline void note_fault(const char *text, int tile) {
    if (model_count(&model_n_faults, 1) == 0)
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
    if (model_now.palette) model_count(&model_live, -1);
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
    model_count(&model_n_configs, 1);
    if (bad) note_fault(bad, -1);
    if (bad || bytes[0] == 0) return;
    model_now.palette = 1;
    model_count(&model_live, 1);
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
    model_count(&model_n_products, 1);
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

/* Registers are no memory: no kernel can point beyond one, and no other thread sees it. So the sums below are made on copies, and sanitizers
 * leave them alone; what a kernel reads and writes goes through model_load and model_store, which they watch. */
#define MODEL_REGISTERS \
    __attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined")))

enum { MODEL_COLS = MODEL_ROW_BYTES / 4 };

/* Subnormal inputs count as zero, subnormal results become zero. */
MODEL_REGISTERS static inline float flush(float x) {
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

/* Of a tile's words, the halves apart: [row][half][word]. */
typedef struct model_halves {
    float at[MODEL_ROWS][2][MODEL_COLS];
} model_halves;

MODEL_REGISTERS static inline void widen_bf16(int tile, model_halves *to) {
    for (int i = 0; i < MODEL_ROWS; i++) {
        uint32_t words[MODEL_COLS];
        memcpy(words, model_now.tile[tile][i], sizeof words);
        for (int n = 0; n < MODEL_COLS; n++) {
            const uint32_t bits[2] = {words[n] << 16, words[n] & 0xffff0000u};
            float x[2];
            memcpy(x, bits, sizeof x);
            to->at[i][0][n] = flush(x[0]);
            to->at[i][1][n] = flush(x[1]);
        }
    }
}

/* Even and odd k are summed apart from zero, each product rounded once into its sum; the two sums meet, then c is added. */
MODEL_REGISTERS static inline void add_bf16(float *c, const model_halves *a, int m,
                                            const model_halves *b, int n_k, int n_cols) {
    float sum[2][MODEL_COLS] = {{0}};
    for (int k = 0; k < n_k; k++)
        for (int odd = 0; odd < 2; odd++)
            for (int n = 0; n < n_cols; n++)
                sum[odd][n] = flush(fmaf(a->at[m][odd][k], b->at[k][odd][n], sum[odd][n]));
    for (int n = 0; n < n_cols; n++) c[n] = flush(c[n] + flush(sum[0][n] + sum[1][n]));
}

MODEL_REGISTERS static inline void multiply_bf16(int tile_c, int tile_a, int tile_b) {
    model_halves a, b;
    float c[MODEL_COLS];
    widen_bf16(tile_a, &a);
    widen_bf16(tile_b, &b);
    for (int m = 0; m < model_now.rows[tile_c]; m++) {
        memcpy(c, model_now.tile[tile_c][m], sizeof c);
        add_bf16(c, &a, m, &b, model_now.rows[tile_b], model_now.row_bytes[tile_c] / 4);
        memcpy(model_now.tile[tile_c][m], c, sizeof c);
    }
}

/* Sums of four bytes; s32 that wraps. */
MODEL_REGISTERS static inline void multiply_bytes(int tile_c, int tile_a, int tile_b,
                                                  int a_is_signed) {
    const model_thread *t = &model_now;
    uint32_t c[MODEL_COLS];
    for (int m = 0; m < t->rows[tile_c]; m++) {
        memcpy(c, t->tile[tile_c][m], sizeof c);
        for (int k = 0; k < t->rows[tile_b]; k++)
            for (int n = 0; n < t->row_bytes[tile_c] / 4; n++)
                for (int i = 0; i < 4; i++) {
                    const unsigned char a = t->tile[tile_a][m][4 * k + i];
                    const int x = a_is_signed ? (int8_t)a : a;
                    c[n] += (uint32_t)(x * (int8_t)t->tile[tile_b][k][4 * n + i]);
                }
        memcpy(model_now.tile[tile_c][m], c, sizeof c);
    }
}

enum { MODEL_BF16, MODEL_US8, MODEL_SS8 };

static inline void model_multiply(int kind, int tile_c, int tile_a, int tile_b) {
    if (!product_is_legal(tile_c, tile_a, tile_b)) return;
    if (kind == MODEL_BF16)
        multiply_bf16(tile_c, tile_a, tile_b);
    else
        multiply_bytes(tile_c, tile_a, tile_b, kind == MODEL_SS8);
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
