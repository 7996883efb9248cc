/* Forward attention: one task is a tile of TILE queries of one head. For kernel files only.
 *
 * Scores are kept transposed, S^T[key][query], so that a vector holds neighbouring queries: maxima, sums and the running
 * rescale need no work across lanes. Exponents are taken to base 2. */
#ifndef LS_OP_ATTENTION_FWD_H
#define LS_OP_ATTENTION_FWD_H
#include "op/attention/attention_tile.h"

/* One worker's memory. KP = head size padded to HEAD_ALIGN. */
typedef struct fwd_tiles {
    float *scores; /* S^T [TILE][TILE] */
    float *out;    /* [TILE][KP] */
    lane *queries; /* Q^T [KP / LANE_TERMS][TILE] */
    term *copy[2]; /* keys and values that cannot be used where they lie, [TILE][KP] */
    lane *weights; /* P^T [TILE / LANE_TERMS][TILE]; with one term a lane it lies over the scores */
    lane *pairs;   /* values [TILE / LANE_TERMS][KP] */
    float max[TILE], sum[TILE], rescale[TILE];
} fwd_tiles;

enum { FWD_TILES_BYTES = 4096 }; /* room for the struct itself at the head of a worker's memory */

typedef struct fwd_job {
    ls_attention_view view;
    char *workspace;
    size_t worker_bytes;
    int64_t n_tiles, head_pad;
    float scale; /* log2(e) / sqrt(K) */
} fwd_job;

static size_t fwd_worker_bytes(int64_t head_size) {
    const size_t head_pad = (size_t)round_up(head_size, HEAD_ALIGN);
    return FWD_TILES_BYTES + sizeof(float) * TILE * (2 * TILE + 5 * head_pad);
}

static fwd_tiles *fwd_tiles_of(const fwd_job *job, int worker) {
    char *base = job->workspace + (size_t)worker * job->worker_bytes;
    fwd_tiles *t = (fwd_tiles *)base;
    float *next = (float *)(base + FWD_TILES_BYTES);
    const int64_t tile = TILE * TILE, rows = TILE * job->head_pad;
    t->scores = next;
    t->weights = (lane *)(next += tile);
    t->out = next += tile;
    t->queries = (lane *)(next += rows);
    t->copy[0] = (term *)(next += rows);
    t->copy[1] = (term *)(next += rows);
    t->pairs = (lane *)(next += rows);
#ifndef ATTENTION_BF16
    t->weights = t->scores;
#endif
    return t;
}

/* Weights of keys r and r + 1 for a vector of queries. */
V16_INLINE void put_weights(fwd_tiles *t, int64_t r, int64_t query, vec low, vec high) {
#ifdef ATTENTION_BF16
    const v16u both = bf16_pairs(low, high);
    memcpy(t->weights + r / 2 * TILE + query, &both, sizeof both);
#else
    vec_store(t->weights + r * TILE + query, low);
    vec_store(t->weights + (r + 1) * TILE + query, high);
#endif
}

/* Largest scaled score of a vector of queries. Masked scores are written back as -inf. */
V16_INLINE vec find_top(fwd_tiles *t, const tile_pair *pair, int64_t query, float scale) {
    const int64_t end = seen_keys(pair, query), masked = first_masked(pair, query);
    vec top = (vec){0} - INFINITY;
    for (int64_t r = 0; r < masked; r++) top = larger(top, vec_load(t->scores + r * TILE + query));
    for (int64_t r = masked; r < end; r++) {
        float *at = t->scores + r * TILE + query;
        vec_store(at, mask_scores(pair, query, r, vec_load(at)));
        top = larger(top, vec_load(at));
    }
    return top * scale;
}

/* Softmax over the tile's keys for a vector of queries: S^T -> P^T, and the running maximum, sum and rescale. */
static void weigh_queries(fwd_tiles *t, const tile_pair *pair, int64_t query, float scale) {
    const int64_t end = seen_keys(pair, query);
    const vec before = vec_load(t->max + query);
    vec top = find_top(t, pair, query, scale), sums[2] = {{0}, {0}};
    if (pair->key_begin > 0) top = larger(before, top);
    for (int64_t r = 0; r < end; r += 2) {
        const float *at = t->scores + r * TILE + query;
        const vec low = power_of_two(vec_load(at) * scale - top);
        const vec high = power_of_two(vec_load(at + TILE) * scale - top);
        put_weights(t, r, query, low, high);
        sums[0] += low;
        sums[1] += high;
    }
    vec sum = sums[0] + sums[1];
    if (pair->key_begin > 0) {
        const vec rescale = power_of_two(before - top);
        vec_store(t->rescale + query, rescale);
        sum += vec_load(t->sum + query) * rescale;
    }
    vec_store(t->max + query, top);
    vec_store(t->sum + query, sum);
}

/* One tile of keys, from element k_at and v_at on. */
static void attend_keys(const fwd_job *job, fwd_tiles *t, const tile_pair *pair, int64_t k_at,
                        int64_t v_at) {
    const ls_attention_view *v = &job->view;
    const int64_t head_pad = job->head_pad, padded = pair->keys_padded;
    const term_rows keys =
        take_rows(t->copy[0], &v->k, k_at, pair->n_keys, padded, v->head_size, head_pad);
    const term_rows values =
        take_rows(t->copy[1], &v->v, v_at, pair->n_keys, padded, v->head_size, head_pad);
    multiply_by_queries(pair, keys, t->queries, t->scores, head_pad);
    for (int64_t query = 0; query < pair->queries_padded; query += VEC_LANES)
        weigh_queries(t, pair, query, job->scale);
    add_over_keys(pair, t->weights, pair_rows(t->pairs, values, padded, head_pad), t->out,
                  round_up(v->head_size, 16), head_pad, pair->key_begin > 0 ? t->rescale : NULL);
}

static void finish_queries(const fwd_job *job, const fwd_tiles *t, int64_t b, int64_t head,
                           int64_t begin, int64_t n) {
    const ls_attention_view *v = &job->view;
    float *lse = (float *)v->lse.data + (b * v->n_heads + head) * v->n_tokens + begin;
    float inverse[TILE];
    for (int64_t i = 0; i < n; i++) {
        inverse[i] = 1.0f / t->sum[i];
        lse[i] = (t->max[i] + log2f(t->sum[i])) * 0.693147181f;
    }
    const scaled_rows rows = {t->out, job->head_pad, n, v->head_size, inverse, 1.0f};
    store_rows(&v->out, ls_head_at(v, &v->out, b, begin, head), &rows);
}

/* What this task writes and what the one after it reads first. */
static ahead look_ahead(const fwd_job *job, int64_t task) {
    const ls_attention_view *v = &job->view;
    ahead a = {.n = 0};
    for (int i = 0; i < 2; i++, task++) {
        const int64_t begin = task % job->n_tiles * TILE, head = task / job->n_tiles % v->n_heads;
        const int64_t b = task / job->n_tiles / v->n_heads, left = v->n_tokens - begin;
        const int64_t n = left < TILE ? left : TILE, kv_head = head / (v->n_heads / v->n_kv_heads);
        if (b >= v->n_batch) break;
        if (i == 0) {
            add_ahead(&a, &v->out, ls_head_at(v, &v->out, b, begin, head), n, v->head_size, 1);
            continue;
        }
        add_ahead(&a, &v->q, ls_head_at(v, &v->q, b, begin, head), n, v->head_size, 0);
        add_ahead(&a, &v->k, ls_head_at(v, &v->k, b, begin, kv_head), n, v->head_size, 0);
        add_ahead(&a, &v->v, ls_head_at(v, &v->v, b, begin, kv_head), n, v->head_size, 0);
    }
    return a;
}

static ls_status attend_tile(void *user, int64_t task, int worker) {
    const fwd_job *job = user;
    const ls_attention_view *v = &job->view;
    fwd_tiles *t = fwd_tiles_of(job, worker);
    const int64_t begin = task % job->n_tiles * TILE, head = task / job->n_tiles % v->n_heads;
    const int64_t b = task / job->n_tiles / v->n_heads, left = v->n_tokens - begin;
    const int64_t n = left < TILE ? left : TILE, n_padded = round_up(n, SIDE_ALIGN);
    const int64_t kv_head = head / (v->n_heads / v->n_kv_heads);
    ahead next = look_ahead(job, task);
    transpose_lanes(t->queries,
                    take_rows(t->copy[0], &v->q, ls_head_at(v, &v->q, b, begin, head), n, n_padded,
                              v->head_size, job->head_pad),
                    n_padded, job->head_pad / LANE_TERMS);
    begin_products();
    const int64_t key_end = v->causal ? begin + n : v->n_tokens;
    for (int64_t key = 0; key < key_end; key += TILE) {
        const tile_pair pair = pair_tiles(v, begin, key, &next);
        attend_keys(job, t, &pair, ls_head_at(v, &v->k, b, key, kv_head),
                    ls_head_at(v, &v->v, b, key, kv_head));
    }
    end_products();
    finish_queries(job, t, b, head, begin, n);
    return LS_OK;
}

static size_t fwd_workspace(const ls_sig *sig, int n_threads) {
    return (size_t)n_threads * fwd_worker_bytes(ls_attention_sizes(sig).head_size);
}

static ls_status fwd_launch(const ls_launch *l) {
    fwd_job job = {.view = ls_attention_fwd_view(l), .workspace = l->workspace};
    const ls_attention_view *v = &job.view;
    job.worker_bytes = fwd_worker_bytes(v->head_size);
    job.head_pad = round_up(v->head_size, HEAD_ALIGN);
    job.n_tiles = (v->n_tokens + TILE - 1) / TILE;
    job.scale = (float)(1.4426950408889634 / sqrt((double)v->head_size));
    return ls_pool_run(l->pool, v->n_batch * v->n_heads * job.n_tiles, attend_tile, &job);
}

#endif
