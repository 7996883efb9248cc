/* The eight AMX tile registers: 16 rows of 64 bytes each. Tests compile the kernels a second time on a model of the instructions
 * (tests/op/amx_model.h).
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

#ifdef __x86_64__
#include <immintrin.h>
#endif

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
/* c += a b over 16 words of four bytes, a unsigned or signed, b signed. */
#define amx_multiply_u8(tile_c, tile_a, tile_b) _tile_dpbusd(tile_c, tile_a, tile_b)
#define amx_multiply_i8(tile_c, tile_a, tile_b) _tile_dpbssd(tile_c, tile_a, tile_b)

#endif
