/* How gemm.c shares the work of a product (gemm.c says what the ways are), and the arithmetic that plans are made with. Local. */
#ifndef LS_OP_GEMM_PLAN_H
#define LS_OP_GEMM_PLAN_H
#include "op/matmul/gemm.h"

enum {
    WORD_BYTES = 4,
    PACK_PANELS = 4, /* panels of B a task packs: whole lines of memory */
};

typedef struct ls_gemm_plan {
    int64_t k_block, words; /* k's and words of a block (the last block may be shorter, padded) */
    int64_t n_k_blocks;
    int a_in_place; /* whole tiles of A are not packed */
    int resident_a;
    size_t sum_bytes; /* of a task, over k blocks */
    int64_t round;    /* blocks of k that a task goes through */
    int in_rounds;    /* not all blocks at once: sums lie in acc or the result */
    int64_t group;    /* panels of B packed at once (resident a), most of a task (shared b) */
    int64_t n_tasks;  /* for all panels (resident a) */
    int64_t n_chunk;  /* columns of B packed at a time (shared b) */
    int64_t m_block, n_split; /* rows and column shares of a task (shared b) */
    size_t shared_bytes;      /* A (resident) or the chunk of B */
    size_t panel_bytes;       /* a worker's own panel(s) */
    size_t scratch_bytes;     /* a worker's: panels, tile, sums */
    size_t acc_bytes;         /* [m, n_chunk], or [m, n] (in rounds), sums over k blocks */
} ls_gemm_plan;

static inline int64_t divide_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static inline int64_t round_up(int64_t a, int64_t b) {
    return divide_up(a, b) * b;
}

static inline int64_t min_of(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t max_of(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Sums over k blocks can live in the result itself. */
static inline int is_plain(const ls_gemm_out *out) {
    return out->dtype == LS_DTYPE_F32 && out->alpha == 1.0f && out->activation == LS_ACT_NONE &&
           !out->bias && !out->residual && !out->scaled;
}

ls_gemm_plan ls_gemm_make_plan(const ls_gemm_engine *engine, const ls_gemm *gemm, int n_threads);

#endif
