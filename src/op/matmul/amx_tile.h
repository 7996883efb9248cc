/* The eight AMX tile registers: 16 rows of 64 bytes each. With LS_AMX_EMULATE the same operations in plain C, so that a kernel
 * can be tested where there is no AMX (Intel Architecture Instruction Set Extensions Programming Reference, chapter 3).
 *
 * A tile configuration belongs to a thread: amx_begin before the first tile operation, amx_end after the last. */
#ifndef LS_OP_AMX_TILE_H
#define LS_OP_AMX_TILE_H
#include <stdint.h>

enum { AMX_ROWS = 16, AMX_ROW_BYTES = 64, AMX_TILES = 8 };

/* The operand of ldtilecfg. */
typedef struct amx_config {
    uint8_t palette, start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_config;

static inline amx_config amx_full_config(void) {
    amx_config config = {.palette = 1};
    for (int i = 0; i < AMX_TILES; i++) {
        config.row_bytes[i] = AMX_ROW_BYTES;
        config.rows[i] = AMX_ROWS;
    }
    return config;
}

#ifndef LS_AMX_EMULATE
#include <immintrin.h>

/* GCC 12's tile intrinsics do not tell the compiler what memory a load reads: stores to it must be kept, and come first. */
static inline void amx_read_fence(const void *data) {
    __asm__ volatile("" : : "r"(data) : "memory");
}
static inline void amx_begin(void) {
    const amx_config config = amx_full_config();
    amx_read_fence(&config);
    _tile_loadconfig(&config);
}
static inline void amx_end(void) {
    _tile_release();
}
/* Tile numbers are constants. amx_multiply: c += a b over 16 pairs of bf16, b in rows of pairs. */
#define amx_zero(tile) _tile_zero(tile)
#define amx_load(tile, data, stride)     \
    do {                                 \
        amx_read_fence(data);            \
        _tile_loadd(tile, data, stride); \
    } while (0)
#define amx_store(tile, data, stride)        _tile_stored(tile, data, stride)
#define amx_multiply(tile_c, tile_a, tile_b) _tile_dpbf16ps(tile_c, tile_a, tile_b)

#else
#include <math.h>
#include <string.h>

typedef struct amx_state {
    amx_config config;
    unsigned char tile[AMX_TILES][AMX_ROWS][AMX_ROW_BYTES];
} amx_state;
static _Thread_local amx_state amx_now;

static inline void amx_begin(void) {
    amx_now.config = amx_full_config();
    memset(amx_now.tile, 0, sizeof amx_now.tile);
}
static inline void amx_end(void) {
    memset(&amx_now, 0, sizeof amx_now);
}
/* Without a configuration the processor faults; here results become NaN. */
static inline void amx_zero(int tile) {
    memset(amx_now.tile[tile], amx_now.config.palette == 1 ? 0 : 0xff, sizeof amx_now.tile[tile]);
}
static inline void amx_load(int tile, const void *data, int64_t stride) {
    for (int i = 0; i < amx_now.config.rows[tile]; i++)
        memcpy(amx_now.tile[tile][i], (const char *)data + i * stride,
               amx_now.config.row_bytes[tile]);
}
static inline void amx_store(int tile, void *data, int64_t stride) {
    for (int i = 0; i < AMX_ROWS; i++)
        memcpy((char *)data + i * stride, amx_now.tile[tile][i], AMX_ROW_BYTES);
}
/* Subnormal inputs count as zero, subnormal results become zero. */
static inline float amx_flush(float x) {
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}
static inline float amx_widen(uint16_t bits) {
    const uint32_t word = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &word, sizeof x);
    return amx_flush(x);
}
/* Even and odd k are summed apart, each product rounded once into its sum; the two sums meet at the end. */
static inline float amx_dot(const uint16_t *a_row, int tile_b, int n) {
    float sum[2] = {0, 0};
    for (int k = 0; k < AMX_ROW_BYTES / 4; k++) {
        uint16_t b[2];
        memcpy(b, amx_now.tile[tile_b][k] + 4 * n, sizeof b);
        for (int odd = 0; odd < 2; odd++)
            sum[odd] = amx_flush(fmaf(amx_widen(a_row[2 * k + odd]), amx_widen(b[odd]), sum[odd]));
    }
    return amx_flush(sum[0] + sum[1]);
}
static inline void amx_multiply(int tile_c, int tile_a, int tile_b) {
    for (int m = 0; m < AMX_ROWS; m++) {
        float row[AMX_ROW_BYTES / 4];
        uint16_t a[AMX_ROW_BYTES / 2];
        memcpy(row, amx_now.tile[tile_c][m], sizeof row);
        memcpy(a, amx_now.tile[tile_a][m], sizeof a);
        for (int n = 0; n < AMX_ROW_BYTES / 4; n++)
            row[n] = amx_flush(row[n] + amx_dot(a, tile_b, n));
        memcpy(amx_now.tile[tile_c][m], row, sizeof row);
    }
}
#endif
#endif
