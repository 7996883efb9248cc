/* The tiles of attention: rows of a head made ready for products, a tile of keys against a tile of queries, and the products
 * between them. For kernel files only. */
#ifndef LS_OP_ATTENTION_TILE_H
#define LS_OP_ATTENTION_TILE_H
#include "op/attention/attention_product.h"

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
#ifdef __AVX512BF16__
    return (v16h)_mm512_cvtneps_pbh((__m512)x);
#else
    return v16_to_bf16(x);
#endif
}
/* Lane i: (low[i], high[i]). */
V16_INLINE v16u bf16_pairs(v16 low, v16 high) {
#ifdef __AVX512BF16__
    const v16u narrow = (v16u)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    const __m512i order = _mm512_set_epi32(
        0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009, 0x180008, 0x170007,
        0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
    return (v16u)_mm512_permutexvar_epi16(order, (__m512i)narrow);
#else
    return __builtin_convertvector(bf16_terms(low), v16u) |
           __builtin_convertvector(bf16_terms(high), v16u) << 16;
#endif
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

/* f32 rows, ld apart, to be taken times `scale` (and row_scale[r] when given). */
typedef struct scaled_rows {
    const float *data;
    int64_t ld, n, size;
    const float *row_scale;
    float scale;
} scaled_rows;

V16_INLINE void store_rows_as(const ls_head_rows *rows, ls_dtype dtype, int64_t at,
                              const scaled_rows *from) {
    const float *src = from->data;
    for (int64_t r = 0; r < from->n; r++, at += rows->row_stride, src += from->ld) {
        const float factor = from->row_scale ? from->scale * from->row_scale[r] : from->scale;
        int64_t i = 0;
        for (; i + 16 <= from->size; i += 16)
            v16_write(rows->data, dtype, at + i, v16_load_f32(src + i) * factor);
        if (i < from->size)
            v16_store_n(rows->data, dtype, at + i, v16_load_f32(src + i) * factor, from->size - i);
    }
}

/* To the rows of a head, from element `at` on. */
static void store_rows(const ls_head_rows *rows, int64_t at, const scaled_rows *from) {
    if (rows->dtype == LS_DTYPE_F32)
        store_rows_as(rows, LS_DTYPE_F32, at, from);
    else if (rows->dtype == LS_DTYPE_BF16)
        store_rows_as(rows, LS_DTYPE_BF16, at, from);
    else
        store_rows_as(rows, LS_DTYPE_F16, at, from);
}

/* A tile of keys against a tile of queries. On the diagonal of causal attention key r is seen by queries >= r of the tile, so
 * the products leave out what lies above it in blocks of 16. */
typedef struct tile_pair {
    int64_t key_begin, n_keys, keys_padded, queries_padded; /* padded to SIDE_ALIGN */
    int diagonal;
    ahead *ahead;
} tile_pair;

static inline tile_pair pair_tiles(const ls_attention_view *view, int64_t query_begin,
                                   int64_t key_begin, ahead *next) {
    const int64_t queries = view->n_tokens - query_begin, keys = view->n_tokens - key_begin;
    tile_pair pair = {key_begin, keys < TILE ? keys : TILE, 0, round_up(queries, SIDE_ALIGN), 0,
                      next};
    if (pair.queries_padded > TILE) pair.queries_padded = TILE;
    pair.keys_padded = round_up(pair.n_keys, SIDE_ALIGN);
    pair.diagonal = view->causal && key_begin == query_begin;
    return pair;
}

/* Rows of S^T that some query of the vector at `query` sees, and the first of them that needs a mask. */
static inline int64_t seen_keys(const tile_pair *pair, int64_t query) {
    const int64_t end = query / 16 * 16 + 16;
    return pair->diagonal && SKIPS_BLOCKS && end < pair->keys_padded ? end : pair->keys_padded;
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
                 .n_depth = head_pad / LANE_TERMS,
                 .ahead = pair->ahead};
    if (!pair->diagonal || !SKIPS_BLOCKS) {
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
                 .scale = rescale,
                 .ahead = pair->ahead};
    if (!pair->diagonal || !SKIPS_BLOCKS) {
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
                 .accumulate = 1,
                 .ahead = pair->ahead};
    if (!pair->diagonal || !SKIPS_BLOCKS) {
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
#if defined(ATTENTION_BF16) && !defined(ATTENTION_AMX)
    if (ls_cpu_isa() == LS_ISA_AMX)
        return "vdpbf16ps is slower than f32 multiply-adds on processors with AMX";
#endif
    return NULL;
}

#endif
