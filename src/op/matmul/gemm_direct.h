/* Products of a few rows with B read in place, for kernel files with AVX2 or AVX-512: no panel is written, so a weight crosses the memory
 * bus once and nothing else does. Words, their order and the instruction are the tile's; so are the bits. For after gemm_tile.h and
 * gemm_pack.h; before it a file defines
 *   enum { DIRECT_K };                                     k's in a word
 *   JOIN_COLUMNS(dtype, row, ld_bytes, n_k, n_columns, out)
 *                                                          word_vec out[2]: a word of each of NR columns, of n_k rows of k (DIRECT_K at
 *                                                          most)
 *   LOAD_WORDS(dtype, row, n_bytes)                        turned: LANES words of k's neighbours, zero behind n_bytes */
#ifndef LS_OP_GEMM_DIRECT_H
#define LS_OP_GEMM_DIRECT_H
#include "op/matmul/gemm_pack.h"
#include "op/matmul/gemm_tile.h"

enum { DIRECT_AHEAD = 32 /* rows of k asked for before their turn */ };
/* Rows of a pass over B, and of all passes that pay: where neighbours of a row of B are columns, and where they are k's, which each pass
 * has to turn. */
#if defined(__AVX512F__)
enum { DIRECT_ROWS = 12, DIRECT_GROUPS = 8, ROWS_K_APART = 24, ROWS_K_TOGETHER = 12 };
#else
enum { DIRECT_ROWS = 4, DIRECT_GROUPS = 4, ROWS_K_APART = 8, ROWS_K_TOGETHER = 12 };
#endif

/* Of an element of B, whose dtype is a constant where these are inlined. */
V16_INLINE int64_t direct_bytes(ls_dtype dtype) {
    return dtype == LS_DTYPE_F32 ? 4 : dtype == LS_DTYPE_I8 ? 1 : 2;
}

/* To the first level, or `far` (a constant) to the second: what comes in many rows at once has no place in the first. */
V16_INLINE void ask_for(const char *base, int64_t at, int far) {
    const void *line = (const void *)((uintptr_t)base + (uintptr_t)at);
    if (far)
        __builtin_prefetch(line, 0, 2);
    else
        __builtin_prefetch(line, 0, 3);
}

/* Rows of k that one word is made of. */
typedef struct direct_word {
    const char *row;
    int64_t ld, n_k, n_columns;
} direct_word;

/* One word of NR * groups columns. The last group may have fewer than NR columns only if there is one. */
V16_INLINE void add_word(direct_word at, ls_dtype dtype, int rows, int groups, const uint32_t *a,
                         vec *sum) {
#pragma GCC unroll 8
    for (int g = 0; g < groups; g++) {
        word_vec y[2];
        JOIN_COLUMNS(dtype, at.row + g * NR * direct_bytes(dtype), at.ld, at.n_k, at.n_columns, y);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            const word_vec x = (word_vec){0} + a[i];
            vec *to = sum + 2 * (g * rows + i);
            to[0] = MULTIPLY_WORD(to[0], x, y[0]);
            to[1] = MULTIPLY_WORD(to[1], x, y[1]);
        }
    }
}

/* What all groups have in common. */
typedef struct direct_call {
    const ls_gemm_operand *b;
    int64_t words;
    const uint32_t *a; /* [words][rows] */
} direct_call;

/* B with rows of k. c is [groups][rows][NR]. */
V16_INLINE void direct_columns(const direct_call *call, const int64_t range[4], ls_dtype dtype,
                               int rows, int groups, float *c) {
    const ls_gemm_operand *b = call->b;
    const int64_t bytes = direct_bytes(dtype), ld = b->ld * bytes;
    const int64_t n = range[1] < NR ? range[1] : NR;
    const int64_t whole = n == NR ? range[3] / DIRECT_K : 0;
    const uint32_t *a = call->a;
    direct_word at = {(const char *)b->data + (range[2] * b->ld + range[0]) * bytes, ld, DIRECT_K,
                      NR};
    vec sum[2 * (DIRECT_ROWS > DIRECT_GROUPS ? DIRECT_ROWS : DIRECT_GROUPS)];
#pragma GCC unroll 24
    for (int i = 0; i < 2 * rows * groups; i++) sum[i] = (vec){0};
    for (int64_t w = 0; w < whole; w++, a += rows, at.row += DIRECT_K * ld) {
#pragma GCC unroll 4
        for (int i = 0; i < DIRECT_K; i++)
#pragma GCC unroll 16
            for (int line = 0; line < groups * NR * bytes; line += 64)
                ask_for(at.row, (DIRECT_AHEAD + i) * ld + line, groups * NR * bytes >= 128);
        add_word(at, dtype, rows, groups, a, sum);
    }
    at.n_columns = n;
    for (int64_t w = whole; w < call->words; w++, a += rows, at.row += DIRECT_K * ld) {
        const int64_t left = range[3] - w * DIRECT_K;
        at.n_k = left < DIRECT_K ? left : DIRECT_K;
        add_word(at, dtype, rows, groups, a, sum);
    }
#pragma GCC unroll 24
    for (int i = 0; i < 2 * rows * groups; i++) ((vec *)c)[i] = sum[i];
}

/* Lines of rows that come next, asked for one row after the other as memory has them. */
typedef struct line_walk {
    const char *row;
    int64_t ld, n_bytes, at;
} line_walk;

V16_INLINE void ask_for_line(line_walk *next) {
    ask_for(next->row, next->at, 1);
    next->at += 64;
    if (next->at >= next->n_bytes) {
        next->at = 0;
        next->row += next->ld;
    }
}

/* Rows of a B with rows of columns: n of them from `first` on, ld bytes apart, with n_bytes, so `words` words, of k. */
typedef struct turned_rows {
    const char *first;
    int64_t ld, n, n_bytes, words;
} turned_rows;

/* LANES words from word w on of LANES rows, turned: r[i] is word w + i of each row. Asks for as many lines as these are. */
V16_INLINE void load_turned(const turned_rows *b, ls_dtype dtype, int64_t w, line_walk *next,
                            turned r[LANES]) {
    const int64_t word_bytes = DIRECT_K * direct_bytes(dtype), bytes = LANES * word_bytes;
    const int64_t left = b->n_bytes - w * word_bytes;
    const char *row = b->first + w * word_bytes;
    if (b->n >= LANES && left >= bytes) {
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            r[i] = LOAD_WORDS(dtype, row + i * b->ld, bytes);
            if (i * bytes % 64 == 0) ask_for_line(next);
        }
    } else {
        for (int i = 0; i < LANES; i++)
            r[i] = LOAD_WORDS(dtype, row + (i < b->n ? i * b->ld : 0), i < b->n ? left : 0);
    }
    turn_square(r);
}

V16_INLINE void add_turned(const turned r[LANES], int64_t n_words, int rows, const uint32_t *a,
                           vec *sum) {
#pragma GCC unroll 16
    for (int w = 0; w < n_words; w++)
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++)
            sum[i] = MULTIPLY_WORD(sum[i], (word_vec){0} + a[w * rows + i], (word_vec)r[w]);
}

typedef struct turned_call {
    const uint32_t *a; /* [words][rows] */
    line_walk next;
} turned_call;

/* LANES words from word w on of LANES rows of B. */
V16_INLINE void add_square(const turned_rows *b, ls_dtype dtype, int64_t w, int rows,
                           turned_call *call, vec *sum) {
    turned r[LANES];
    load_turned(b, dtype, w, &call->next, r);
    if (b->words - w >= LANES)
        add_turned(r, LANES, rows, call->a + w * rows, sum);
    else
        add_turned(r, b->words - w, rows, call->a + w * rows, sum);
}

/* LANES * halves (1 or 2) rows of B, or the n that are left. c is [rows][NR]. */
V16_INLINE void direct_turned(turned_rows b, ls_dtype dtype, int rows, int halves,
                              const uint32_t *a, float *c) {
    /* A line's words of one half before those of the other: rows a page apart compete for the same few places of the first level. */
    const int64_t line_words = 64 / (DIRECT_K * direct_bytes(dtype));
    const int64_t line = line_words > LANES ? line_words : LANES;
    vec sum[2][DIRECT_ROWS];
    const turned_rows half[2] = {b,
                                 {b.first + LANES * b.ld, b.ld, b.n - LANES, b.n_bytes, b.words}};
    turned_call call = {
        a, {(const char *)((uintptr_t)b.first + (uintptr_t)(NR * b.ld)), b.ld, b.n_bytes, 0}};
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) sum[0][i] = sum[1][i] = (vec){0};
    for (int64_t from = 0; from < b.words; from += line) {
        const int64_t to = from + line < b.words ? from + line : b.words;
#pragma GCC unroll 2
        for (int h = 0; h < halves; h++) {
            add_square(&half[h], dtype, from, rows, &call, sum[h]);
#pragma GCC unroll 1
            for (int64_t w = from + LANES; line > LANES && w < to; w += LANES)
                add_square(&half[h], dtype, w, rows, &call, sum[h]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int h = 0; h < halves; h++) ((vec *)c)[2 * i + h] = sum[h][i];
}

/* One group: both halves at once (the sums of few rows wait for one another), or as many sums as there are registers for. */
V16_INLINE void turn_group(const direct_call *call, const int64_t range[4], ls_dtype dtype,
                           int rows, float *c) {
    const ls_gemm_operand *b = call->b;
    const int64_t bytes = direct_bytes(dtype);
    turned_rows here = {(const char *)b->data + (range[0] * b->ld + range[2]) * bytes,
                        b->ld * bytes, range[1], range[3] * bytes, call->words};
    if (rows <= DIRECT_ROWS / 3 || rows <= 2) {
        direct_turned(here, dtype, rows, 2, call->a, c);
        return;
    }
    direct_turned(here, dtype, rows, 1, call->a, c);
    here.first += LANES * here.ld;
    here.n -= LANES;
    direct_turned(here, dtype, rows, 1, call->a, c + LANES);
}

/* As many groups of NR columns at once as there are registers for, the rest one by one. */
V16_INLINE void direct_groups(const direct_call *call, const int64_t range[4], ls_dtype dtype,
                              int rows, float *c) {
    const int groups = rows < DIRECT_GROUPS ? DIRECT_GROUPS / rows : 1;
    const int step = groups * NR;
    int64_t rest[4] = {range[0], range[1], range[2], range[3]};
    for (; !call->b->k_inner && rest[1] >= step; rest[0] += step, rest[1] -= step, c += rows * step)
        direct_columns(call, rest, dtype, rows, groups, c);
    for (; rest[1] > 0; rest[0] += NR, rest[1] -= NR, c += rows * NR) {
        if (call->b->k_inner)
            turn_group(call, rest, dtype, rows, c);
        else
            direct_columns(call, rest, dtype, rows, 1, c);
    }
}

/* ls_gemm_engine.direct of one dtype of B. Each number of rows is a function of its own, for a compiler's time grows faster than a function
 * does. */
#define DIRECT_ROWS_OF(word, dtype, rows)                            \
    static __attribute__((noinline)) void direct_##word##_##rows(    \
        const direct_call *call, const int64_t range[4], float *c) { \
        direct_groups(call, range, dtype, rows, c);                  \
    }
#define DIRECT_FEW_OF(word, dtype) \
    DIRECT_ROWS_OF(word, dtype, 1) \
    DIRECT_ROWS_OF(word, dtype, 2) \
    DIRECT_ROWS_OF(word, dtype, 4)
#if defined(__AVX512F__)
#define DIRECT_OF(word, dtype)                                                      \
    DIRECT_FEW_OF(word, dtype)                                                      \
    DIRECT_ROWS_OF(word, dtype, 8)                                                  \
    DIRECT_ROWS_OF(word, dtype, 12)                                                 \
    static const direct_fn direct_##word[] = {direct_##word##_1, direct_##word##_2, \
                                              direct_##word##_4, direct_##word##_8, \
                                              direct_##word##_12};
#else
#define DIRECT_OF(word, dtype)                                                      \
    DIRECT_FEW_OF(word, dtype)                                                      \
    static const direct_fn direct_##word[] = {direct_##word##_1, direct_##word##_2, \
                                              direct_##word##_4};
#endif
typedef void (*direct_fn)(const direct_call *call, const int64_t range[4], float *c);

/* Of the functions of a dtype, that of n_rows. */
static inline direct_fn direct_of_rows(const direct_fn *of, int n_rows) {
    return of[n_rows <= 2 ? n_rows - 1 : n_rows <= 4 ? 2 : n_rows <= 8 ? 3 : 4];
}

/* Panels of a B with rows of k, from whole lines. */
V16_INLINE void pack_joined(const ls_gemm_operand *b, const int64_t range[4], ls_dtype dtype,
                            int64_t words, void *dst) {
    enum { STRIP_WORDS = 8 };
    const int64_t bytes = direct_bytes(dtype), ld = b->ld * bytes;
    const char *data = (const char *)b->data + (range[2] * b->ld + range[0]) * bytes;
    for (int64_t w0 = 0; w0 < words; w0 += STRIP_WORDS) {
        const int64_t end = w0 + STRIP_WORDS < words ? w0 + STRIP_WORDS : words;
        word_vec *to = dst;
        for (int64_t j = 0; j < range[1]; j += NR, to += words * VECS) {
            const int64_t n = range[1] - j;
            for (int64_t w = w0; w < end; w++) {
                const char *row = data + w * DIRECT_K * ld + j * bytes;
                const int64_t left = range[3] - w * DIRECT_K;
                if (left >= DIRECT_K && n >= NR)
                    JOIN_COLUMNS(dtype, row, ld, DIRECT_K, NR, to + w * VECS);
                else
                    JOIN_COLUMNS(dtype, row, ld, left, n, to + w * VECS);
            }
        }
    }
}

/* An engine of tiles, few rows and streams, with the file's pack_a, pack_b, store and run_direct. a_dtype is read in place by tiles. */
#define DIRECT_ENGINE(a_dtype, b_dtypes)                                                           \
    {                                                                                              \
        .mr = MR, .nr = NR, .k_word = DIRECT_K, .k_step = 1, .k_block = K_BLOCK,                   \
        .group_panels = 1, .pack_a = pack_a, .pack_b = pack_b, .tile = run_tile, .store = store,   \
        .end = end_streams, .whole = run_whole, .in_place_dtype = (a_dtype), .direct = run_direct, \
        .direct_rows = DIRECT_ROWS, .direct_most = {ROWS_K_APART, ROWS_K_TOGETHER},                \
        .direct_dtypes = (b_dtypes)                                                                \
    }

#endif
