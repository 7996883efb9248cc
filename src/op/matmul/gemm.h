/* Blocked matrix product from packed panels: what all fast matmul and conv2d kernels share.
 *
 * C[m, n] = A[m, k] B[k, n]. An engine brings the packing, the register tile and the epilogue of one instruction set;
 * gemm.c brings the loops. k is cut into blocks by its length alone and each element is summed in ascending k, so a row's bits
 * depend neither on the thread count nor on the other rows.
 * Packed data are words of 4 bytes: one f32, a pair of bf16 along k, or bytes (op/scaled_matmul). Local, reentrant. */
#ifndef LS_OP_GEMM_H
#define LS_OP_GEMM_H
#include "op/matmul/matmul.h"

enum { LS_GEMM_MOST_NEAR = 4 /* sums, result, result 1, residual */ };

typedef struct ls_gemm_operand {
    const void *data;
    ls_dtype dtype;
    int64_t ld;  /* elements */
    int k_inner; /* 1: element (i, k) is data[i * ld + k]; 0: data[k * ld + i] */
} ls_gemm_operand;

/* Integer engines: c and acc hold s32, and the result is
 * (sum - (zero + row_zero[m]) col_sum[n]) row_scale[m] col_scale[n] + bias (f32). */
typedef struct ls_gemm_scaled {
    const float *row_scale, *col_scale; /* [m], [n] */
    const int32_t *row_zero;            /* [m] or NULL */
    int32_t zero;
    const int32_t *col_sum; /* [n]: of b over k; NULL when there is nothing to take out */
} ls_gemm_scaled;

typedef struct ls_gemm_out {
    void *data;
    ls_dtype dtype;
    int64_t ld;
    float alpha;
    ls_activation activation;
    ls_dtype bias_dtype;
    const void *bias; /* [n], or [m] with bias_by_row; or NULL */
    int bias_by_row;
    const void *residual;         /* dtype and ld of the result, or NULL */
    void *pre;                    /* the same, or NULL */
    const ls_gemm_scaled *scaled; /* integer engines; else NULL */
} ls_gemm_out;

typedef struct ls_gemm {
    int64_t m, n, k;
    ls_gemm_operand a; /* i is the row */
    ls_gemm_operand b; /* i is the column */
    ls_gemm_out out;
    const void *packed_b; /* b as ls_gemm_pack_b lays it out; NULL: the product packs it itself */
} ls_gemm;

/* One finished register tile on its way out. `acc` is where sums over several k blocks live (element 0, 0 of the tile). */
typedef struct ls_gemm_tile {
    const float *c; /* [mr][nr] */
    int64_t row, col;
    int n_rows, n_cols;
    float *acc;
    int64_t acc_ld;
    int first, last; /* k block */
} ls_gemm_tile;

/* Rows of memory, line by line. */
typedef struct ls_gemm_walk {
    const char *row;
    int64_t ld, row_bytes, at; /* at: bytes of the row that were asked for */
    int64_t n;                 /* lines to ask for */
} ls_gemm_walk;

/* Lines that will be wanted soon, asked for one by one while a tile is computed: all at once they would keep its own loads waiting. `far`
 * (B to be packed, panels to come) goes to the second-level cache; `near`, where the tile's sums go, to the first, last. */
typedef struct ls_gemm_ask {
    ls_gemm_walk far, near[LS_GEMM_MOST_NEAR];
    int n_near; /* walks, none of them empty */
} ls_gemm_ask;

static inline void ls_gemm_ask_next(ls_gemm_walk *walk, int is_far) {
    const char *line = walk->row + walk->at;
    const int64_t at = walk->at + 64;
    const int is_end = at >= walk->row_bytes;
    if (is_far)
        __builtin_prefetch(line, 0, 2);
    else
        __builtin_prefetch(line, 0, 3);
    walk->row += is_end ? walk->ld : 0;
    walk->at = is_end ? 0 : at;
    walk->n--;
}

static inline void ls_gemm_ask_all(ls_gemm_ask *ask) {
    while (ask->far.n > 0) ls_gemm_ask_next(&ask->far, 1);
    for (int i = 0; i < ask->n_near; i++)
        while (ask->near[i].n > 0) ls_gemm_ask_next(&ask->near[i], 0);
}

/* A whole tile, mr rows by nr columns: to[mr][to_ld] = from[mr][from_ld] (nothing, if NULL) + sum over words. */
typedef struct ls_gemm_whole {
    int64_t words;
    const void *a, *b;
    int64_t
        a_bytes; /* from row to row of an A read in place, of in_place_dtype with k's neighbours and complete words; 0: packed */
    float *to;
    const float *from;
    int64_t to_ld, from_ld;
    int streams;      /* past the caches; rows of `to` lie at multiples of 64 bytes */
    ls_gemm_ask *ask; /* is used up */
} ls_gemm_whole;

#define LS_GEMM_DTYPE(dtype) (1u << (dtype))

typedef struct ls_gemm_engine {
    int mr, nr;  /* register tile; nr is a multiple of 16 */
    int k_word;  /* k's in a word: 1 or 2 */
    int k_step;  /* words the tile kernel takes at a time */
    int k_block; /* most words of a block */
    /* Most panels of B that go through the blocks of k together (gemm.c, "resident a"); 0: as many as fit beside a block of A. */
    int group_panels;
    /* Rows (columns) [i0, i0 + n_i) and k [k0, k0 + n_k) as panels of mr (nr), zero-padded to `words` words each. */
    void (*pack_a)(const ls_gemm_operand *a, const int64_t range[4], int64_t words, void *dst);
    void (*pack_b)(const ls_gemm_operand *b, const int64_t range[4], int64_t words, void *dst);
    /* c[mr][nr] = sum over words; rows from n_rows on may be left as they are. */
    void (*tile)(int64_t words, int n_rows, const void *a, const void *b, float *c);
    void (*store)(const ls_gemm_out *out, const ls_gemm_tile *tile);
    void (*begin)(void); /* on each worker around its tiles; may be NULL */
    void (*end)(void);
    /* The rest may be NULL. */
    void (*whole)(const ls_gemm_whole *tile);
    ls_dtype in_place_dtype; /* of A; LS_DTYPE_COUNT: none */
    /* B in place: columns and k's of `range` by n_rows (1, 2, 4, 8, 12; direct_rows at most) of a[words][n_rows] to
     * c[groups of nr columns][n_rows][nr]. */
    void (*direct)(const ls_gemm_operand *b, const int64_t range[4], int64_t words, int n_rows,
                   const uint32_t *a, float *c);
    int direct_rows;
    int direct_most[2];     /* rows of A up to which this pays; index: b.k_inner */
    unsigned direct_dtypes; /* of B: a bit of each, LS_GEMM_DTYPE */
} ls_gemm_engine;

/* How k is cut: a function of k alone, since it fixes the order of the sums. */
typedef struct ls_gemm_k_plan {
    int64_t k_block,
        words; /* k's and words of a block; the last block may be shorter and is padded */
    int64_t n_blocks;
} ls_gemm_k_plan;
LS_API ls_gemm_k_plan ls_gemm_plan_k(const ls_gemm_engine *engine, int64_t k);

LS_API size_t ls_gemm_workspace_bytes(const ls_gemm_engine *engine, const ls_gemm *gemm,
                                      int n_threads);
LS_API ls_status ls_gemm_run(const ls_gemm_engine *engine, const ls_gemm *gemm, void *workspace,
                             ls_pool *pool);

/* All of b [k, n] for several products: block of k by block (ls_gemm_plan_k), in each panel by panel of nr columns, in each word by word;
 * zero where there are no columns or k's. 64-byte aligned. */
LS_API size_t ls_gemm_packed_bytes(const ls_gemm_engine *engine, int64_t n, int64_t k);
LS_API size_t ls_gemm_pack_workspace_bytes(const ls_gemm_engine *engine, int64_t k, int n_threads);
LS_API ls_status ls_gemm_pack_b(const ls_gemm_engine *engine, const ls_gemm_operand *b, int64_t n,
                                int64_t k, void *dst, void *workspace, ls_pool *pool);

/* A whole matmul launch (batches, transposes, epilogue) with one engine. */
LS_API size_t ls_matmul_workspace_bytes(const ls_gemm_engine *engine, const ls_sig *sig,
                                        int n_threads);
LS_API ls_status ls_matmul_launch(const ls_gemm_engine *engine, const ls_launch *launch);
/* The same with operand 1 in 2 dims, laid out by ls_gemm_pack_b; signature and launch are those of the plain product. */
LS_API size_t ls_matmul_packed_workspace_bytes(const ls_gemm_engine *engine, const ls_sig *sig,
                                               int n_threads);
LS_API ls_status ls_matmul_packed_launch(const ls_gemm_engine *engine, const ls_launch *launch);

#endif
