/* The small matrix products and packed tiles of attention. For kernel files only.
 *
 * A lane is 32 bits: one f32, or with ATTENTION_BF16 a pair of bf16 neighbouring along the summed dim, so that one
 * multiply-add instruction (vdpbf16ps) takes two terms. LANE_TERMS is 1 or 2. Sums are always f32.
 * Tiles are at most TILE x TILE, their sides padded with zeros to multiples of 16. */
#ifndef LS_OP_ATTENTION_TILE_H
#define LS_OP_ATTENTION_TILE_H
#include "op/attention/attention_view.h"
#include "op/cpu_kernel.h"
#include "op/simd.h"

enum { TILE = 64, MAX_HEAD_SIZE = 1024 /* a row fits in a tile */ };

#if defined(__AVX512F__)
enum { VEC_LANES = 16, PANEL_VECS = 4 };
#elif defined(__AVX__)
enum { VEC_LANES = 8, PANEL_VECS = 2 };
#else
enum { VEC_LANES = 4, PANEL_VECS = 2 };
#endif
typedef float vec __attribute__((vector_size(4 * VEC_LANES)));
typedef int32_t veci __attribute__((vector_size(4 * VEC_LANES)));
typedef float vec_any __attribute__((vector_size(4 * VEC_LANES), aligned(4), may_alias));

#ifdef ATTENTION_BF16
enum { LANE_TERMS = 2, HEAD_ALIGN = 32 };
typedef uint32_t lane __attribute__((may_alias));
typedef uint16_t term;
V16_INLINE vec multiply_add(lane a, const lane *b, vec sum) {
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)a),
                                 (__m512bh)_mm512_loadu_si512(b));
}
#else
enum { LANE_TERMS = 1, HEAD_ALIGN = 16 };
typedef float lane;
typedef float term;
V16_INLINE vec multiply_add(lane a, const lane *b, vec sum) {
    return a * (vec) * (const vec_any *)b + sum;
}
#endif

static inline int64_t round_up(int64_t n, int64_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

/* c[i][j] = sum over d of a[i][d] * b[d][j], plus c[i][j] * scale[i] when accumulating (scale NULL: one).
 * a[i][d] is lane a[i * a_row + d * a_depth]. n_rows is a multiple of 8, n_cols of 16. */
typedef struct product {
    const lane *a, *b;
    float *c;
    const float *scale;
    int64_t a_row, a_depth, b_ld, c_ld;
    int64_t n_rows, n_cols, n_depth; /* n_depth in lanes */
    int accumulate;
} product;

V16_INLINE void multiply_panel(const product *p, int64_t row, int64_t col, const int n_rows,
                               const int n_vecs) {
    vec sum[8][PANEL_VECS];
    const lane *a = p->a + row * p->a_row, *b = p->b + col;
    const int64_t a_row = p->a_row, a_depth = p->a_depth, b_ld = p->b_ld, c_ld = p->c_ld;
    float *c = p->c + row * c_ld + col;
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            sum[i][j] = (vec){0};
            if (p->accumulate) sum[i][j] = (vec) * (vec_any *)(c + i * c_ld + j * VEC_LANES);
            if (p->scale) sum[i][j] *= p->scale[row + i];
        }
    for (int64_t d = 0; d < p->n_depth; d++, a += a_depth, b += b_ld) {
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < n_vecs; j++)
                sum[i][j] = multiply_add(a[i * a_row], b + j * VEC_LANES, sum[i][j]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++)
            *(vec_any *)(c + i * c_ld + j * VEC_LANES) = (vec_any)sum[i][j];
}

/* All rows of a panel of n_vecs columns, register blocks of about 16 sums. */
static void multiply_column(const product *p, int64_t col, int64_t n_vecs) {
    if (n_vecs == PANEL_VECS)
        for (int64_t row = 0; row < p->n_rows; row += 4) multiply_panel(p, row, col, 4, PANEL_VECS);
#if defined(__AVX512F__)
    else if (n_vecs == 3)
        for (int64_t row = 0; row < p->n_rows; row += 8) multiply_panel(p, row, col, 8, 3);
    else if (n_vecs == 2)
        for (int64_t row = 0; row < p->n_rows; row += 8) multiply_panel(p, row, col, 8, 2);
    else
        for (int64_t row = 0; row < p->n_rows; row += 8) multiply_panel(p, row, col, 8, 1);
#endif
}

static void multiply(const product *p) {
    const int64_t n_vecs = p->n_cols / VEC_LANES;
    for (int64_t v = 0; v < n_vecs;) {
        int64_t take = n_vecs - v < PANEL_VECS ? n_vecs - v : PANEL_VECS;
        if (n_vecs - v == PANEL_VECS + 1 && PANEL_VECS == 4) take = 3;
        multiply_column(p, v * VEC_LANES, take);
        v += take;
    }
}

V16_INLINE vec vec_load(const float *p) {
    return (vec) * (const vec_any *)p;
}
V16_INLINE void vec_store(float *p, vec x) {
    *(vec_any *)p = (vec_any)x;
}
V16_INLINE vec vec_select(veci mask, vec yes, vec no) {
#if defined(__AVX512F__)
    return v16_select(mask, yes, no);
#else
    return (vec)((mask & (veci)yes) | (~mask & (veci)no));
#endif
}

/* Larger of two; a NaN in b comes through. */
V16_INLINE vec larger(vec a, vec b) {
#if defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return vec_select(a > b, a, b);
#endif
}

/* 2^x for x < 127, relative error 1e-7; zero below -126 (at the latest below -150); NaN stays. */
V16_INLINE vec power_of_two(vec x) {
    const vec low = larger((vec){0} - 200.0f, x);
#if defined(__AVX512F__)
    const vec whole = (vec)_mm512_roundscale_ps((__m512)low, 0);
#else
    const vec shifted = low + 12582912.0f; /* 1.5 * 2^23 rounds to a whole number */
    const vec whole = shifted - 12582912.0f;
#endif
    const vec r = low - whole;
    vec p = 1.326472731e-03f * r + 9.671512991e-03f;
    p = p * r + 5.550733581e-02f;
    p = p * r + 2.402224243e-01f;
    p = p * r + 6.931470037e-01f;
    p = p * r + 1.0f;
#if defined(__AVX512F__)
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)whole);
#else
    const vec y = p * (vec)(((veci)shifted - 0x4b400000 + 127) << 23);
    return vec_select(x < -126.0f, (vec){0}, y);
#endif
}

/* dst[c][r] = src[r][c] for 16 x 16 lanes. */
static inline void transpose_16(float *dst, int64_t dst_ld, const float *src, int64_t src_ld) {
#if defined(__AVX512F__)
    v16 x[16], y[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) x[i] = v16_load_f32(src + i * src_ld);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        y[i] = (v16)_mm512_unpacklo_ps((__m512)x[i], (__m512)x[i + 1]);
        y[i + 1] = (v16)_mm512_unpackhi_ps((__m512)x[i], (__m512)x[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        x[i] = (v16)_mm512_unpacklo_pd((__m512d)y[i], (__m512d)y[i + 2]);
        x[i + 1] = (v16)_mm512_unpackhi_pd((__m512d)y[i], (__m512d)y[i + 2]);
        x[i + 2] = (v16)_mm512_unpacklo_pd((__m512d)y[i + 1], (__m512d)y[i + 3]);
        x[i + 3] = (v16)_mm512_unpackhi_pd((__m512d)y[i + 1], (__m512d)y[i + 3]);
    }
    /* x[4g + c] holds column 4l + c of rows 4g..4g+3 in its 128-bit quarter l */
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const __m512 a = (__m512)_mm512_shuffle_f32x4((__m512)x[c], (__m512)x[4 + c], 0x88);
        const __m512 b = (__m512)_mm512_shuffle_f32x4((__m512)x[c], (__m512)x[4 + c], 0xdd);
        const __m512 d = (__m512)_mm512_shuffle_f32x4((__m512)x[8 + c], (__m512)x[12 + c], 0x88);
        const __m512 e = (__m512)_mm512_shuffle_f32x4((__m512)x[8 + c], (__m512)x[12 + c], 0xdd);
        v16_store_f32(dst + c * dst_ld, (v16)_mm512_shuffle_f32x4(a, d, 0x88));
        v16_store_f32(dst + (8 + c) * dst_ld, (v16)_mm512_shuffle_f32x4(a, d, 0xdd));
        v16_store_f32(dst + (4 + c) * dst_ld, (v16)_mm512_shuffle_f32x4(b, e, 0x88));
        v16_store_f32(dst + (12 + c) * dst_ld, (v16)_mm512_shuffle_f32x4(b, e, 0xdd));
    }
#else
    for (int r = 0; r < 16; r++)
        for (int c = 0; c < 16; c++) dst[c * dst_ld + r] = src[r * src_ld + c];
#endif
}

/* Rows of terms, or of lanes made of two rows of terms, `ld` elements apart. */
typedef struct term_rows {
    const term *data;
    int64_t ld;
} term_rows;
typedef struct lane_rows {
    const lane *data;
    int64_t ld;
} lane_rows;

/* dst[c][r] = src[r][c], lanes; both sides multiples of 16; dst rows are TILE apart. */
static void transpose_lanes(lane *dst, term_rows src, int64_t n_rows, int64_t n_cols) {
    const int64_t ld = src.ld / LANE_TERMS;
    for (int64_t r = 0; r < n_rows; r += 16)
        for (int64_t c = 0; c < n_cols; c += 16)
            transpose_16((float *)dst + c * TILE + r, TILE,
                         (const float *)(const void *)src.data + r * ld + c, ld);
}

/* n_rows rows of `size` elements from element `at` on as terms [n_padded][n_cols], zeros outside: where they lie when they
 * need no change, else in `copy`. */
static term_rows take_rows(term *copy, const ls_head_rows *rows, int64_t at, int64_t n_rows,
                           int64_t n_padded, int64_t size, int64_t n_cols) {
    const ls_dtype own = LANE_TERMS == 2 ? LS_DTYPE_BF16 : LS_DTYPE_F32;
    const int is_aligned = (uintptr_t)rows->data % sizeof(lane) == 0;
    if (rows->dtype == own && n_rows == n_padded && size == n_cols && is_aligned)
        return (term_rows){(const term *)rows->data + at, rows->row_stride};
    for (int64_t r = 0; r < n_rows; r++) {
        term *row = copy + r * n_cols;
#ifdef ATTENTION_BF16
        memcpy(row, (const uint16_t *)rows->data + at + r * rows->row_stride,
               (size_t)size * sizeof *row);
#else
        row_load(row, rows->data, rows->dtype, at + r * rows->row_stride, size, 0);
#endif
        for (int64_t i = LANE_TERMS == 1 ? round_up(size, 16) : size; i < n_cols; i++) row[i] = 0;
    }
    memset(copy + n_rows * n_cols, 0, (size_t)((n_padded - n_rows) * n_cols) * sizeof *copy);
    return (term_rows){copy, n_cols};
}

#ifdef ATTENTION_BF16
V16_INLINE v16h bf16_terms(v16 x) {
    return (v16h)_mm512_cvtneps_pbh((__m512)x);
}
/* Lane i: (low[i], high[i]). */
V16_INLINE v16u bf16_pairs(v16 low, v16 high) {
    const v16u narrow = (v16u)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    const __m512i order = _mm512_set_epi32(
        0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009, 0x180008, 0x170007,
        0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
    return (v16u)_mm512_permutexvar_epi16(order, (__m512i)narrow);
}
/* Pairs of rows as lanes: copy[r][c] = (src[2r][c], src[2r + 1][c]). */
static lane_rows pair_rows(lane *copy, term_rows src, int64_t n_rows, int64_t n_cols) {
    for (int64_t r = 0; r < n_rows; r += 2)
        for (int64_t c = 0; c < n_cols; c += 16) {
            const term *from = src.data + r * src.ld + c;
            const v16u low = __builtin_convertvector(v16h_load(from), v16u);
            const v16u high = __builtin_convertvector(v16h_load(from + src.ld), v16u);
            const v16u both = low | high << 16;
            memcpy(copy + r / 2 * n_cols + c, &both, sizeof both);
        }
    return (lane_rows){copy, n_cols};
}
#else
/* With one term a lane the rows are their own lanes. */
static lane_rows pair_rows(lane *copy, term_rows src, int64_t n_rows, int64_t n_cols) {
    (void)copy, (void)n_rows, (void)n_cols;
    return (lane_rows){src.data, src.ld};
}
#endif

/* n_rows f32 rows, src_ld apart, times `scale` (and row_scale[r] when given), to the rows of a head. */
static void store_rows(const ls_head_rows *rows, int64_t at, int64_t n_rows, int64_t size,
                       const float *src, int64_t src_ld, const float *row_scale, float scale) {
    float row[MAX_HEAD_SIZE];
    for (int64_t r = 0; r < n_rows; r++) {
        const float factor = row_scale ? scale * row_scale[r] : scale;
        for (int64_t i = 0; i < size; i += 16)
            v16_store_f32(row + i, v16_load_f32(src + r * src_ld + i) * factor);
        row_store(rows->data, rows->dtype, at + r * rows->row_stride, row, size);
    }
}

/* A tile of keys against a tile of queries. On the diagonal of causal attention key r is seen by queries >= r of the tile, so
 * the products leave out what lies above it in blocks of 16. */
typedef struct tile_pair {
    int64_t key_begin, n_keys, keys_padded, queries_padded; /* padded: multiples of 16 */
    int diagonal;
} tile_pair;

static inline tile_pair pair_tiles(const ls_attention_view *view, int64_t query_begin,
                                   int64_t key_begin) {
    const int64_t queries = view->n_tokens - query_begin, keys = view->n_tokens - key_begin;
    tile_pair pair = {key_begin, keys < TILE ? keys : TILE, 0, round_up(queries, 16), 0};
    if (pair.queries_padded > TILE) pair.queries_padded = TILE;
    pair.keys_padded = round_up(pair.n_keys, 16);
    pair.diagonal = view->causal && key_begin == query_begin;
    return pair;
}

/* Rows of S^T that some query of the vector at `query` sees, and the first of them that needs a mask. */
static inline int64_t seen_keys(const tile_pair *pair, int64_t query) {
    return pair->diagonal && query < pair->keys_padded ? query / 16 * 16 + 16 : pair->keys_padded;
}
static inline int64_t first_masked(const tile_pair *pair, int64_t query) {
    return pair->diagonal ? query / 16 * 16 : pair->n_keys / 16 * 16;
}

/* Scores of the vector of queries from `query` on against key r, -inf where they may not see it. */
V16_INLINE vec mask_scores(const tile_pair *pair, int64_t query, int64_t r, vec scores) {
    veci position;
    for (int i = 0; i < VEC_LANES; i++) position[i] = i;
    const int64_t first_seen = pair->diagonal ? r - query : r < pair->n_keys ? 0 : VEC_LANES;
    return vec_select(position < (int32_t)first_seen, (vec){0} - INFINITY, scores);
}

/* c[key][query] = rows of terms (keys or values) times columns (Q^T or dO^T). */
static void multiply_by_queries(const tile_pair *pair, term_rows rows, const lane *columns,
                                float *c, int64_t head_pad) {
    product p = {.a = (const lane *)(const void *)rows.data,
                 .a_row = rows.ld / LANE_TERMS,
                 .a_depth = 1,
                 .b = columns,
                 .b_ld = TILE,
                 .c = c,
                 .c_ld = TILE,
                 .n_rows = pair->keys_padded,
                 .n_cols = pair->queries_padded,
                 .n_depth = head_pad / LANE_TERMS};
    if (!pair->diagonal) {
        multiply(&p);
        return;
    }
    p.n_rows = 16;
    for (int64_t r = 0; r < pair->keys_padded; r += 16) {
        multiply(&p);
        p.a += 16 * p.a_row;
        p.b += 16;
        p.c += 16 * TILE + 16;
        p.n_cols -= 16;
    }
}

/* c[query][..] += factors (P^T or dS^T, lanes along keys) transposed times rows of values or keys. */
static void add_over_keys(const tile_pair *pair, const lane *factors, lane_rows rows, float *c,
                          int64_t n_cols, int64_t head_pad, const float *rescale) {
    product p = {.a = factors,
                 .a_row = 1,
                 .a_depth = TILE,
                 .b = rows.data,
                 .b_ld = rows.ld,
                 .c = c,
                 .c_ld = head_pad,
                 .n_rows = pair->queries_padded,
                 .n_cols = n_cols,
                 .n_depth = pair->keys_padded / LANE_TERMS,
                 .accumulate = pair->key_begin > 0,
                 .scale = rescale};
    if (!pair->diagonal) {
        multiply(&p);
        return;
    }
    p.n_rows = 16;
    for (int64_t q = 0; q < pair->queries_padded; q += 16) {
        p.n_depth = seen_keys(pair, q) / LANE_TERMS;
        multiply(&p);
        p.a += 16;
        p.c += 16 * head_pad;
        if (p.scale) p.scale += 16;
    }
}

/* c[key][..] += factors (P^T or dS^T, terms along queries) times rows of dO or Q. */
static void add_over_queries(const tile_pair *pair, const term *factors, lane_rows rows, float *c,
                             int64_t n_cols, int64_t head_pad) {
    product p = {.a = (const lane *)(const void *)factors,
                 .a_row = TILE / LANE_TERMS,
                 .a_depth = 1,
                 .b = rows.data,
                 .b_ld = rows.ld,
                 .c = c + pair->key_begin * head_pad,
                 .c_ld = head_pad,
                 .n_rows = pair->keys_padded,
                 .n_cols = n_cols,
                 .n_depth = pair->queries_padded / LANE_TERMS,
                 .accumulate = 1};
    if (!pair->diagonal) {
        multiply(&p);
        return;
    }
    p.n_rows = 16;
    for (int64_t r = 0; r < pair->keys_padded; r += 16) {
        multiply(&p);
        p.a += 16 * p.a_row + 16 / LANE_TERMS;
        p.b += 16 / LANE_TERMS * rows.ld;
        p.c += 16 * head_pad;
        p.n_depth -= 16 / LANE_TERMS;
    }
}

static inline const char *attention_refuses(const ls_sig *sig) {
    if (ls_attention_sizes(sig).head_size > MAX_HEAD_SIZE) return "head size above 1024";
    for (int i = 0; i < sig->n_in; i++) {
        const ls_type *type = &sig->in[i];
#ifdef ATTENTION_BF16
        /* in backward the log-sum-exp is the last but one */
        const int is_lse = sig->n_in >= 4 && i == sig->n_in - 2;
        if (!is_lse && type->dtype != LS_DTYPE_BF16) return "an input is not bf16";
#endif
        if (!v16_accepts(type->dtype)) return "an input is not f32, bf16 or f16";
    }
#ifdef ATTENTION_BF16
    if (ls_cpu_isa() == LS_ISA_AMX)
        return "vdpbf16ps is slower than f32 multiply-adds on processors with AMX";
#endif
    return NULL;
}

#endif
