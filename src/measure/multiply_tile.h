/* Register tiles that do nothing but multiply and add: what one instruction can reach.
 *
 * A tile multiplies `words` steps of A [step][mr] with B [step][nr], a word of 4 bytes holding one f32, a pair of bf16 or four int8, to
 * c [mr][nr]: it is the tile of the product kernels, and B streams from wherever it lies. From registers: the same operations on the same
 * registers over and over, added to c. Local, reentrant. */
#ifndef LS_MEASURE_MULTIPLY_TILE_H
#define LS_MEASURE_MULTIPLY_TILE_H
#include "op/matmul/gemm.h"

enum { LS_TILE_MAX_MR = 32, LS_TILE_MAX_NR = 32 };

typedef struct ls_multiply_tile {
    const char *dtype;            /* "f32", "bf16", "int8" */
    const char *instruction;      /* "vdpbf16ps" */
    ls_isa isa;                   /* least level */
    const ls_gemm_engine *engine; /* has mr, nr, and k_word: k's of a word */
    /* `words` is a multiple of 16; all pointers 64-byte aligned. */
    void (*registers)(int64_t words, const void *a, const void *b, void *c);
    int (*is_here)(void); /* NULL: the level says it all */
} ls_multiply_tile;

extern const ls_multiply_tile ls_multiply_tiles[];
extern const int ls_n_multiply_tiles;
void ls_multiply_tile_stream(const ls_multiply_tile *tile, int64_t words, const void *a,
                             const void *b, void *c);
/* Can this machine (as far as LOCKSTEP_ISA lets it) run the tile? */
int ls_multiply_tile_runs(const ls_multiply_tile *tile);

#endif
