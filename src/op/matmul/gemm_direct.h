/* Products of a few rows with B read in place, for kernel files with AVX-512: no panel is written, so a weight crosses the memory bus once
 * and nothing else does. Words, their order and the instruction are the tile's; so are the bits. For after gemm_tile.h; before it a file
 * defines
 *   enum { DIRECT_K };                                     k's in a word
 *   JOIN_COLUMNS(row, ld_bytes, n_k, n_columns, out)       word_vec out[2]: a word of each of 32 columns, of n_k rows of k (DIRECT_K at most) */
#ifndef LS_OP_GEMM_DIRECT_H
#define LS_OP_GEMM_DIRECT_H
#include "op/matmul/gemm_pack.h"
#include "op/matmul/gemm_tile.h"

enum {
    DIRECT_BYTES = 4 / DIRECT_K, /* of an element of B */
    DIRECT_GROUP_BYTES = NR * DIRECT_BYTES,
    DIRECT_AHEAD = 32, /* rows of k asked for before their turn */
    DIRECT_SUMS = 24
};

V16_INLINE void ask_for(const char *base, int64_t at) {
    __builtin_prefetch((const void *)((uintptr_t)base + (uintptr_t)at), 0, 3);
}

/* One word of NR * groups columns. The last group may have fewer than NR columns only if there is one. */
V16_INLINE void add_word(const char *row, int64_t ld, int64_t n_k, int64_t n_columns, int rows,
                         int groups, const uint32_t *a, vec *sum) {
#pragma GCC unroll 8
    for (int g = 0; g < groups; g++) {
        word_vec y[2];
        JOIN_COLUMNS(row + g * DIRECT_GROUP_BYTES, ld, n_k, n_columns, y);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            const word_vec x = (word_vec){0} + a[i];
            vec *to = sum + 2 * (g * rows + i);
            to[0] = MULTIPLY_WORD(to[0], x, y[0]);
            to[1] = MULTIPLY_WORD(to[1], x, y[1]);
        }
    }
}

/* B with rows of k. a is [words][rows], c [groups][rows][NR]. */
V16_INLINE void direct_columns(const ls_gemm_operand *b, const int64_t range[4], int64_t words,
                               int rows, int groups, const uint32_t *a, float *c) {
    const int64_t ld = b->ld * DIRECT_BYTES, n = range[1] < NR ? range[1] : NR;
    const int64_t whole = n == NR ? range[3] / DIRECT_K : 0;
    const char *row = (const char *)b->data + (range[2] * b->ld + range[0]) * DIRECT_BYTES;
    vec sum[DIRECT_SUMS];
#pragma GCC unroll 24
    for (int i = 0; i < 2 * rows * groups; i++) sum[i] = (vec){0};
    for (int64_t w = 0; w < whole; w++, a += rows, row += DIRECT_K * ld) {
#pragma GCC unroll 4
        for (int i = 0; i < DIRECT_K; i++)
#pragma GCC unroll 16
            for (int at = 0; at < groups * DIRECT_GROUP_BYTES; at += 64)
                ask_for(row, (DIRECT_AHEAD + i) * ld + at);
        add_word(row, ld, DIRECT_K, NR, rows, groups, a, sum);
    }
    for (int64_t w = whole; w < words; w++, a += rows, row += DIRECT_K * ld) {
        const int64_t left = range[3] - w * DIRECT_K;
        add_word(row, ld, left < DIRECT_K ? left : DIRECT_K, n, rows, groups, a, sum);
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
    ask_for(next->row, next->at);
    next->at += 64;
    if (next->at >= next->n_bytes) {
        next->at = 0;
        next->row += next->ld;
    }
}

/* 16 words of 16 rows, turned: r[w] is word w of each row. n rows of n_bytes are there. */
V16_INLINE void load_turned(const char *row, int64_t ld, int64_t n, int64_t n_bytes,
                            line_walk *next, v16u r[16]) {
    if (n >= 16 && n_bytes >= 64) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            r[i] = (v16u)_mm512_loadu_si512(row + i * ld);
            ask_for_line(next);
        }
    } else {
        const uint64_t all = ~UINT64_C(0);
        const uint64_t mask = n_bytes >= 64 ? all : n_bytes > 0 ? all >> (64 - n_bytes) : 0;
        for (int i = 0; i < 16; i++)
            r[i] = (v16u)_mm512_maskz_loadu_epi8(i < n ? mask : 0, row + (i < n ? i * ld : 0));
    }
    transpose_words(r);
}

V16_INLINE void add_turned(const v16u r[16], int64_t n_words, int rows, const uint32_t *a,
                           vec *sum) {
#pragma GCC unroll 16
    for (int w = 0; w < n_words; w++)
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++)
            sum[i] = MULTIPLY_WORD(sum[i], (word_vec){0} + a[w * rows + i], (word_vec)r[w]);
}

/* Rows of a B with rows of columns: n of them from `first` on, ld bytes apart, with n_bytes, so `words` words, of k. */
typedef struct turned_rows {
    const char *first;
    int64_t ld, n, n_bytes, words;
} turned_rows;

/* 16 * halves (1 or 2) rows of B, or the n that are left. c is [rows][NR]. */
V16_INLINE void direct_turned(turned_rows b, int rows, int halves, const uint32_t *a, float *c) {
    vec sum[2][MR];
    line_walk next = {(const char *)((uintptr_t)b.first + (uintptr_t)(NR * b.ld)), b.ld, b.n_bytes,
                      0};
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) sum[0][i] = sum[1][i] = (vec){0};
    for (int64_t w = 0; w < b.words; w += 16, a += 16 * rows) {
#pragma GCC unroll 2
        for (int h = 0; h < halves; h++) {
            v16u r[16];
            load_turned(b.first + 16 * h * b.ld + 4 * w, b.ld, b.n - 16 * h, b.n_bytes - 4 * w,
                        &next, r);
            if (b.words - w >= 16)
                add_turned(r, 16, rows, a, sum[h]);
            else
                add_turned(r, b.words - w, rows, a, sum[h]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int h = 0; h < halves; h++) ((vec *)c)[2 * i + h] = sum[h][i];
}

/* One group: both halves at once (the sums of few rows wait for one another), or as many sums as there are registers for. */
V16_INLINE void turn_group(const ls_gemm_operand *b, const int64_t range[4], int64_t words,
                           int rows, const uint32_t *a, float *c) {
    const char *first = (const char *)b->data + (range[0] * b->ld + range[2]) * DIRECT_BYTES;
    turned_rows here = {first, b->ld * DIRECT_BYTES, range[1], range[3] * DIRECT_BYTES, words};
    if (rows <= 4) {
        direct_turned(here, rows, 2, a, c);
        return;
    }
    direct_turned(here, rows, 1, a, c);
    here.first += 16 * here.ld;
    here.n -= 16;
    direct_turned(here, rows, 1, a, c + 16);
}

/* As many groups of NR columns at once as there are registers for, the rest one by one. */
V16_INLINE void direct_groups(const ls_gemm_operand *b, const int64_t range[4], int64_t words,
                              int rows, int groups, const uint32_t *a, float *c) {
    const int step = groups * NR;
    int64_t rest[4] = {range[0], range[1], range[2], range[3]};
    for (; !b->k_inner && rest[1] >= step; rest[0] += step, rest[1] -= step, c += rows * step)
        direct_columns(b, rest, words, rows, groups, a, c);
    for (; rest[1] > 0; rest[0] += NR, rest[1] -= NR, c += rows * NR) {
        if (b->k_inner)
            turn_group(b, rest, words, rows, a, c);
        else
            direct_columns(b, rest, words, rows, 1, a, c);
    }
}

/* ls_gemm_engine.direct. */
static void run_direct(const ls_gemm_operand *b, const int64_t range[4], int64_t words, int n_rows,
                       const uint32_t *a, float *c) {
    if (n_rows == 1)
        direct_groups(b, range, words, 1, 8, a, c);
    else if (n_rows == 2)
        direct_groups(b, range, words, 2, 4, a, c);
    else if (n_rows == 4)
        direct_groups(b, range, words, 4, 2, a, c);
    else if (n_rows == 8)
        direct_groups(b, range, words, 8, 1, a, c);
    else
        direct_groups(b, range, words, 12, 1, a, c);
}

/* Panels of a B with rows of k, from whole lines. */
V16_INLINE void pack_joined(const ls_gemm_operand *b, const int64_t range[4], int64_t words,
                            void *dst) {
    enum { STRIP_WORDS = 8 };
    const int64_t ld = b->ld * DIRECT_BYTES;
    const char *data = (const char *)b->data + (range[2] * b->ld + range[0]) * DIRECT_BYTES;
    for (int64_t w0 = 0; w0 < words; w0 += STRIP_WORDS) {
        const int64_t end = w0 + STRIP_WORDS < words ? w0 + STRIP_WORDS : words;
        word_vec *to = dst;
        for (int64_t j = 0; j < range[1]; j += NR, to += words * VECS) {
            const int64_t n = range[1] - j;
            for (int64_t w = w0; w < end; w++) {
                const char *row = data + w * DIRECT_K * ld + j * DIRECT_BYTES;
                const int64_t left = range[3] - w * DIRECT_K;
                if (left >= DIRECT_K && n >= NR)
                    JOIN_COLUMNS(row, ld, DIRECT_K, NR, to + w * VECS);
                else
                    JOIN_COLUMNS(row, ld, left, n, to + w * VECS);
            }
        }
    }
}

/* An engine of tiles, few rows and streams, with the file's pack_a, pack_b and store. a_dtype is read in place by tiles, b_dtype by few
 * rows. */
#define DIRECT_ENGINE(a_dtype, b_dtype)                                                            \
    {                                                                                              \
        .mr = MR, .nr = NR, .k_word = DIRECT_K, .k_step = 1, .k_block = K_BLOCK,                   \
        .group_panels = 1, .pack_a = pack_a, .pack_b = pack_b, .tile = run_tile, .store = store,   \
        .end = end_streams, .whole = run_whole, .in_place_dtype = (a_dtype), .direct = run_direct, \
        .direct_dtype = (b_dtype)                                                                  \
    }

#endif
