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
    term *keys;    /* [TILE][KP] */
    term *values;  /* [TILE][KP] */
    lane *weights; /* P^T [TILE / LANE_TERMS][TILE]; with one term a lane it lies over the scores */
    lane *pairs;   /* values, [TILE / LANE_TERMS][KP]; with one term a lane the values themselves */
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
    t->keys = (term *)(next += rows);
    t->values = (term *)(next += rows);
    t->pairs = (lane *)(next += rows);
#ifndef ATTENTION_BF16
    t->weights = t->scores;
    t->pairs = t->values;
#endif
    return t;
}

/* Weights of keys r and r + 1 (or of r alone) for 16 queries. */
V16_INLINE void put_weights(fwd_tiles *t, int64_t r, int64_t query, v16 low, v16 high) {
#ifdef ATTENTION_BF16
    const v16u both = bf16_pairs(low, high);
    memcpy(t->weights + r / 2 * TILE + query, &both, sizeof both);
#else
    v16_store_f32(t->weights + r * TILE + query, low);
    v16_store_f32(t->weights + (r + 1) * TILE + query, high);
#endif
}

/* Softmax over the step's keys for 16 queries: S^T -> P^T, and the running maximum, sum and rescale. */
static void weigh_queries(fwd_tiles *t, const key_step *step, int64_t query, float scale) {
    const int is_first = step->begin == 0;
    v16 top = v16_set(-INFINITY);
    for (int64_t r = 0; r < step->n_keys; r++)
        top = larger(top, mask_scores(step, query, r, v16_load_f32(t->scores + r * TILE + query)));
    top = top * scale;
    const v16 before = v16_load_f32(t->max + query);
    if (!is_first) top = larger(before, top);
    v16 sum = v16_set(0);
    for (int64_t r = 0; r < step->n_padded; r += 2) {
        v16 p[2];
        for (int i = 0; i < 2; i++) {
            const v16 s = v16_load_f32(t->scores + (r + i) * TILE + query);
            p[i] = power_of_two(mask_scores(step, query, r + i, s) * scale - top);
            if (r + i >= step->n_keys) p[i] = v16_set(0);
            sum += p[i];
        }
        put_weights(t, r, query, p[0], p[1]);
    }
    if (!is_first) {
        const v16 rescale = power_of_two(before - top);
        v16_store_f32(t->rescale + query, rescale);
        sum += v16_load_f32(t->sum + query) * rescale;
    }
    v16_store_f32(t->max + query, top);
    v16_store_f32(t->sum + query, sum);
}

static void attend_keys(const fwd_job *job, fwd_tiles *t, const key_step *step, int64_t n_padded) {
    const int64_t head_pad = job->head_pad, first = step->first_query;
    multiply(&(product){.a = (const lane *)t->keys,
                        .a_row = head_pad / LANE_TERMS,
                        .a_depth = 1,
                        .b = t->queries + first,
                        .b_ld = TILE,
                        .c = t->scores + first,
                        .c_ld = TILE,
                        .n_rows = step->n_padded,
                        .n_cols = n_padded - first,
                        .n_depth = head_pad / LANE_TERMS});
    for (int64_t query = first; query < n_padded; query += 16)
        weigh_queries(t, step, query, job->scale);
    multiply(&(product){.a = t->weights + first,
                        .a_row = 1,
                        .a_depth = TILE,
                        .b = t->pairs,
                        .b_ld = head_pad,
                        .c = t->out + first * head_pad,
                        .c_ld = head_pad,
                        .n_rows = n_padded - first,
                        .n_cols = round_up(job->view.head_size, 16),
                        .n_depth = step->n_padded / LANE_TERMS,
                        .accumulate = step->begin > 0,
                        .scale = step->begin > 0 ? t->rescale + first : NULL});
}

static void finish_queries(const fwd_job *job, fwd_tiles *t, const int64_t at[3], int64_t n) {
    const ls_attention_view *v = &job->view;
    float *lse = (float *)v->lse.data + (at[0] * v->n_heads + at[1]) * v->n_tokens + at[2];
    float inverse[TILE];
    for (int64_t i = 0; i < n; i++) {
        inverse[i] = 1.0f / t->sum[i];
        lse[i] = (t->max[i] + log2f(t->sum[i])) * 0.693147181f;
    }
    store_rows(&v->out, ls_head_at(v, &v->out, at[0], at[2], at[1]), n, v->head_size, t->out,
               job->head_pad, inverse, 1.0f, t->scores);
}

static ls_status attend_tile(void *user, int64_t task, int worker) {
    const fwd_job *job = user;
    const ls_attention_view *v = &job->view;
    fwd_tiles *t = fwd_tiles_of(job, worker);
    const int64_t begin = task % job->n_tiles * TILE, head = task / job->n_tiles % v->n_heads;
    const int64_t b = task / job->n_tiles / v->n_heads, left = v->n_tokens - begin;
    const int64_t n = left < TILE ? left : TILE, n_padded = round_up(n, 16);
    const int64_t kv_head = head / (v->n_heads / v->n_kv_heads), size = v->head_size;
    pack_rows(t->keys, &v->q, ls_head_at(v, &v->q, b, begin, head), n, n_padded, size,
              job->head_pad);
    transpose_lanes(t->queries, (const lane *)t->keys, n_padded, job->head_pad / LANE_TERMS);
    const int64_t key_end = v->causal ? begin + n : v->n_tokens;
    for (int64_t key = 0; key < key_end;) {
        const key_step step = next_keys(v, begin, key);
        pack_rows(t->keys, &v->k, ls_head_at(v, &v->k, b, key, kv_head), step.n_keys, step.n_padded,
                  size, job->head_pad);
        pack_rows(t->values, &v->v, ls_head_at(v, &v->v, b, key, kv_head), step.n_keys,
                  step.n_padded, size, job->head_pad);
#ifdef ATTENTION_BF16
        pair_rows(t->pairs, t->values, step.n_padded, job->head_pad);
#endif
        attend_keys(job, t, &step, n_padded);
        key += step.n_keys;
    }
    finish_queries(job, t, (int64_t[]){b, head, begin}, n);
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
