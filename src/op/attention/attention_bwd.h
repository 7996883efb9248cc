/* Backward attention: one task is one key/value head of one batch row with all its query heads, so that every sum has one
 * owner. For kernel files only. Formulas in attention_grad.c; scores and their gradient are kept transposed as in forward. */
#ifndef LS_OP_ATTENTION_BWD_H
#define LS_OP_ATTENTION_BWD_H
#include "op/attention/attention_tile.h"

/* One worker's memory. KP = head size padded. With one term a lane the gradient of the scores lies over that of the weights, and
 * the weights over the scores. */
typedef struct bwd_tiles {
    float *scores, *dweights; /* S^T, dP^T [TILE][TILE] */
    term *weights, *dscores;  /* P^T, dS^T [TILE][TILE]: rows of terms along queries */
    lane *dscore_pairs;       /* dS^T [TILE / LANE_TERMS][TILE]: lanes along keys */
    lane *queries, *douts;    /* Q^T, dO^T [KP / LANE_TERMS][TILE] */
    term *copy[4];  /* rows that cannot be used where they lie: q, dout, k, v [TILE][KP] */
    lane *pairs[3]; /* q, dout, k [TILE / LANE_TERMS][KP] */
    lane_rows query_rows, dout_rows;
    float *dq;                    /* [TILE][KP] */
    float *dk, *dv;               /* [T padded to TILE][KP] */
    float lse[TILE], delta[TILE]; /* lse to base 2 */
} bwd_tiles;

enum { BWD_TILES_BYTES = 4096 };

typedef struct bwd_job {
    ls_attention_view view;
    char *workspace;
    size_t worker_bytes;
    int64_t head_pad, tokens_pad;
    float scale, scale_base_2; /* 1 / sqrt(K), and times log2(e) */
} bwd_job;

static size_t bwd_worker_bytes(int64_t head_size, int64_t n_tokens) {
    const size_t head_pad = (size_t)round_up(head_size, HEAD_ALIGN);
    const size_t tokens = (size_t)round_up(n_tokens, TILE);
    return BWD_TILES_BYTES +
           sizeof(float) * (TILE * (5 * TILE + 10 * head_pad) + 2 * tokens * head_pad);
}

static bwd_tiles *bwd_tiles_of(const bwd_job *job, int worker) {
    char *base = job->workspace + (size_t)worker * job->worker_bytes;
    bwd_tiles *t = (bwd_tiles *)base;
    float *next = (float *)(base + BWD_TILES_BYTES);
    const int64_t tile = TILE * TILE, rows = TILE * job->head_pad;
    t->scores = next;
    t->dweights = next += tile;
    t->weights = (term *)(next += tile);
    t->dscores = (term *)(next += tile);
    t->dscore_pairs = (lane *)(next += tile);
    t->queries = (lane *)(next += tile);
    t->douts = (lane *)(next += rows);
    for (int i = 0; i < 4; i++) t->copy[i] = (term *)(next += rows);
    for (int i = 0; i < 3; i++) t->pairs[i] = (lane *)(next += rows);
    t->dq = next += rows;
    t->dk = next += rows;
    t->dv = next + job->tokens_pad * job->head_pad;
#ifndef ATTENTION_BF16
    t->weights = t->scores;
    t->dscores = t->dscore_pairs = t->dweights;
#endif
    return t;
}

/* Weights p and score gradients ds of keys r and r + 1 for a vector of queries. */
V16_INLINE void put_gradients(bwd_tiles *t, int64_t r, int64_t query, const vec p[2],
                              const vec ds[2]) {
    for (int i = 0; i < 2; i++) {
        const int64_t at = (r + i) * TILE + query;
#ifdef ATTENTION_BF16
        v16h_store(t->weights + at, bf16_terms(p[i]));
        v16h_store(t->dscores + at, bf16_terms(ds[i]));
#else
        vec_store(t->weights + at, p[i]);
        vec_store(t->dscores + at, ds[i]);
#endif
    }
#ifdef ATTENTION_BF16
    const v16u both = bf16_pairs(ds[0], ds[1]);
    memcpy(t->dscore_pairs + r / 2 * TILE + query, &both, sizeof both);
#endif
}

static void differentiate_scores(const bwd_job *job, bwd_tiles *t, const tile_pair *pair,
                                 int64_t query) {
    const vec lse = vec_load(t->lse + query), delta = vec_load(t->delta + query);
    const int64_t end = seen_keys(pair, query), masked = first_masked(pair, query);
    for (int64_t r = masked; r < end; r++) {
        float *at = t->scores + r * TILE + query;
        vec_store(at, mask_scores(pair, query, r, vec_load(at)));
    }
    for (int64_t r = 0; r < end; r += 2) {
        vec p[2], ds[2];
        for (int i = 0; i < 2; i++) {
            const int64_t at = (r + i) * TILE + query;
            p[i] = power_of_two(vec_load(t->scores + at) * job->scale_base_2 - lse);
            ds[i] = p[i] * (vec_load(t->dweights + at) - delta);
        }
        put_gradients(t, r, query, p, ds);
    }
}

/* One tile of keys, from element k_at and v_at on. */
static void differentiate_keys(const bwd_job *job, bwd_tiles *t, const tile_pair *pair,
                               int64_t k_at, int64_t v_at) {
    const ls_attention_view *v = &job->view;
    const int64_t head_pad = job->head_pad, padded = pair->keys_padded;
    const int64_t n_cols = round_up(v->head_size, 16);
    const term_rows keys =
        take_rows(t->copy[2], &v->k, k_at, pair->n_keys, padded, v->head_size, head_pad);
    const term_rows values =
        take_rows(t->copy[3], &v->v, v_at, pair->n_keys, padded, v->head_size, head_pad);
    multiply_by_queries(pair, keys, t->queries, t->scores, head_pad);
    multiply_by_queries(pair, values, t->douts, t->dweights, head_pad);
    for (int64_t query = 0; query < pair->queries_padded; query += VEC_LANES)
        differentiate_scores(job, t, pair, query);
    add_over_queries(pair, t->weights, t->dout_rows, t->dv, n_cols, head_pad);
    add_over_queries(pair, t->dscores, t->query_rows, t->dk, n_cols, head_pad);
    add_over_keys(pair, t->dscore_pairs, pair_rows(t->pairs[2], keys, padded, head_pad), t->dq,
                  n_cols, head_pad, NULL);
}

V16_INLINE float multiply_rows(const ls_head_rows *o, ls_dtype o_dtype, int64_t o_at,
                               const ls_head_rows *up, ls_dtype up_dtype, int64_t up_at,
                               int64_t size) {
    v16 sum = v16_set(0);
    for (int64_t c = 0; c < size; c += 16) {
        const int64_t n = size - c < 16 ? size - c : 16;
        sum += v16_read_n(o->data, o_dtype, o_at + c, n, 0) *
               v16_read_n(up->data, up_dtype, up_at + c, n, 0);
    }
    return v16_sum(sum);
}

/* delta = rowsum(dO * O) and the base-2 log-sum-exp of n queries; zeros (P = 1, dO = 0) in the padding. */
static void load_statistics(const bwd_job *job, bwd_tiles *t, int64_t b, int64_t head,
                            int64_t begin, int64_t n) {
    const ls_attention_view *v = &job->view;
    const float *lse = (const float *)v->lse.data + (b * v->n_heads + head) * v->n_tokens + begin;
    const ls_head_rows *o = &v->out, *up = &v->dout;
    const int is_bf16 = o->dtype == LS_DTYPE_BF16 && up->dtype == LS_DTYPE_BF16;
    int64_t o_at = ls_head_at(v, o, b, begin, head), up_at = ls_head_at(v, up, b, begin, head);
    for (int64_t i = 0; i < TILE; i++) {
        t->lse[i] = t->delta[i] = 0;
        if (i >= n) continue;
        t->lse[i] = lse[i] * 1.44269504f;
        t->delta[i] =
            is_bf16 ? multiply_rows(o, LS_DTYPE_BF16, o_at, up, LS_DTYPE_BF16, up_at, v->head_size)
                    : multiply_rows(o, o->dtype, o_at, up, up->dtype, up_at, v->head_size);
        o_at += o->row_stride;
        up_at += up->row_stride;
    }
}

static void load_queries(const bwd_job *job, bwd_tiles *t, int64_t b, int64_t head, int64_t begin,
                         int64_t n) {
    const ls_attention_view *v = &job->view;
    const int64_t pad = job->head_pad, n_padded = round_up(n, SIDE_ALIGN);
    const term_rows q = take_rows(t->copy[0], &v->q, ls_head_at(v, &v->q, b, begin, head), n,
                                  n_padded, v->head_size, pad);
    const term_rows up = take_rows(t->copy[1], &v->dout, ls_head_at(v, &v->dout, b, begin, head), n,
                                   n_padded, v->head_size, pad);
    transpose_lanes(t->queries, q, n_padded, pad / LANE_TERMS);
    transpose_lanes(t->douts, up, n_padded, pad / LANE_TERMS);
    t->query_rows = pair_rows(t->pairs[0], q, n_padded, pad);
    t->dout_rows = pair_rows(t->pairs[1], up, n_padded, pad);
    load_statistics(job, t, b, head, begin, n);
}

static void add_queries(const bwd_job *job, int64_t b, int64_t head, int64_t begin, ahead *a) {
    const ls_attention_view *v = &job->view;
    const int64_t left = v->n_tokens - begin, n = left < TILE ? left : TILE;
    const int64_t kv_head = head / (v->n_heads / v->n_kv_heads);
    if (b >= v->n_batch) return;
    add_ahead(a, &v->q, ls_head_at(v, &v->q, b, begin, head), n, v->head_size, 0);
    add_ahead(a, &v->dout, ls_head_at(v, &v->dout, b, begin, head), n, v->head_size, 0);
    add_ahead(a, &v->out, ls_head_at(v, &v->out, b, begin, head), n, v->head_size, 0);
    add_ahead(a, &v->k, ls_head_at(v, &v->k, b, begin, kv_head), n, v->head_size, 0);
    add_ahead(a, &v->v, ls_head_at(v, &v->v, b, begin, kv_head), n, v->head_size, 0);
}

/* What a tile of queries writes and what the next one reads first. */
static ahead look_ahead_bwd(const bwd_job *job, int64_t b, int64_t head, int64_t begin, int64_t n) {
    const ls_attention_view *v = &job->view;
    const int64_t kv_head = head / (v->n_heads / v->n_kv_heads);
    ahead a = {.n = 0};
    add_ahead(&a, &v->dq, ls_head_at(v, &v->dq, b, begin, head), n, v->head_size, 1);
    add_ahead(&a, &v->dk, ls_head_at(v, &v->dk, b, begin, kv_head), n, v->head_size, 1);
    add_ahead(&a, &v->dv, ls_head_at(v, &v->dv, b, begin, kv_head), n, v->head_size, 1);
    if (begin + TILE < v->n_tokens)
        add_queries(job, b, head, begin + TILE, &a);
    else
        add_queries(job, b + (head + 1) / v->n_heads, (head + 1) % v->n_heads, 0, &a);
    return a;
}

/* One tile of queries of one head: dQ is finished, dK and dV grow. */
static void differentiate_queries(const bwd_job *job, bwd_tiles *t, int64_t b, int64_t head,
                                  int64_t begin) {
    const ls_attention_view *v = &job->view;
    const int64_t left = v->n_tokens - begin, n = left < TILE ? left : TILE, pad = job->head_pad;
    const int64_t kv_head = head / (v->n_heads / v->n_kv_heads);
    const int64_t key_end = v->causal ? begin + n : v->n_tokens;
    load_queries(job, t, b, head, begin, n);
    ahead next = look_ahead_bwd(job, b, head, begin, n);
    for (int64_t key = 0; key < key_end; key += TILE) {
        const tile_pair pair = pair_tiles(v, begin, key, &next);
        differentiate_keys(job, t, &pair, ls_head_at(v, &v->k, b, key, kv_head),
                           ls_head_at(v, &v->v, b, key, kv_head));
    }
    const scaled_rows dq = {t->dq, pad, n, v->head_size, NULL, job->scale};
    store_rows(&v->dq, ls_head_at(v, &v->dq, b, begin, head), &dq);
}

static ls_status differentiate_head(void *user, int64_t task, int worker) {
    const bwd_job *job = user;
    const ls_attention_view *v = &job->view;
    bwd_tiles *t = bwd_tiles_of(job, worker);
    const int64_t b = task / v->n_kv_heads, kv_head = task % v->n_kv_heads;
    const int64_t per_group = v->n_heads / v->n_kv_heads;
    memset(t->dk, 0, (size_t)(2 * job->tokens_pad * job->head_pad) * sizeof *t->dk);
    begin_products();
    for (int64_t head = kv_head * per_group; head < (kv_head + 1) * per_group; head++)
        for (int64_t begin = 0; begin < v->n_tokens; begin += TILE)
            differentiate_queries(job, t, b, head, begin);
    end_products();
    const scaled_rows dk = {t->dk, job->head_pad, v->n_tokens, v->head_size, NULL, job->scale};
    const scaled_rows dv = {t->dv, job->head_pad, v->n_tokens, v->head_size, NULL, 1.0f};
    store_rows(&v->dk, ls_head_at(v, &v->dk, b, 0, kv_head), &dk);
    store_rows(&v->dv, ls_head_at(v, &v->dv, b, 0, kv_head), &dv);
    return LS_OK;
}

static size_t bwd_workspace(const ls_sig *sig, int n_threads) {
    const ls_attention_view sizes = ls_attention_sizes(sig);
    return (size_t)n_threads * bwd_worker_bytes(sizes.head_size, sizes.n_tokens);
}

static ls_status bwd_launch(const ls_launch *l) {
    bwd_job job = {.view = ls_attention_grad_view(l), .workspace = l->workspace};
    const ls_attention_view *v = &job.view;
    job.worker_bytes = bwd_worker_bytes(v->head_size, v->n_tokens);
    job.head_pad = round_up(v->head_size, HEAD_ALIGN);
    job.tokens_pad = round_up(v->n_tokens, TILE);
    job.scale = (float)(1.0 / sqrt((double)v->head_size));
    job.scale_base_2 = (float)(1.4426950408889634 / sqrt((double)v->head_size));
    return ls_pool_run(l->pool, v->n_batch * v->n_kv_heads, differentiate_head, &job);
}

#endif
