/* Forward and input gradient: a pixel of the result is a sum over the taps that meet the source.
 *
 * forward: y[p, q] = sum over (r, s) of x[p stride + r - padding, q stride + s - padding] w[.., r, s], matrices of [B, C] and [C, O].
 * input gradient: dx[h, w] = sum over the (r, s) with h + padding - r = p stride, w + padding - s = q stride of dy[p, q] w[.., r, s], of [B, O]
 * and [O, C]. Taps ascend (r, then s), channels ascend within a tap. */
#include "op/conv2d/conv2d_engine.h"
#include "op/conv2d/conv2d_memory.h"
#include "tensor/half.h"
#include <string.h>

enum { TASK_ROWS = 64, PACK_WORDS = 16, PACK_COLS = 16 };

typedef struct tap_job {
    const ls_conv_engine *engine;
    ls_conv_shape shape;
    int is_grad;
    int64_t n_k, n_cols;     /* channels of the source and of the result */
    int64_t height, width;   /* pixels of the result */
    int64_t words;           /* of a tap */
    int64_t rows, row_bytes; /* images and bytes of one in the source (or its copy) */
    int64_t n_panels, panel_bytes;
    int64_t n_group, n_groups;    /* pixels of a task, tasks of a panel */
    const void *source, *weights; /* as they come */
    ls_dtype source_dtype, weights_dtype, out_dtype;
    char *out;
    char *copy;   /* of the source, or NULL */
    char *packed; /* [n_panels][taps][words][cols] */
    float *bias;  /* padded, or NULL */
    char *taps;   /* of each worker */
    size_t taps_bytes, total_bytes;
} tap_job;

/* --- layout ------------------------------------------------------------------------------------------------------ */

/* The source is read where it lies if its elements are the engine's and its rows are whole words. */
static int needs_copy(const ls_conv_engine *e, int64_t n_k, int64_t n_rows, ls_dtype dtype) {
    const int64_t step = e->k_step * (e->is_pairs ? 2 : 1);
    return n_k % step || n_rows < e->least_rows || (!e->is_pairs && dtype != LS_DTYPE_F32);
}

static tap_job make_job(const ls_conv_engine *e, const ls_sig *sig, int is_grad, void *workspace,
                        int n_threads) {
    tap_job job = {.engine = e, .is_grad = is_grad};
    job.shape = is_grad ? ls_conv_shape_grad_input(sig) : ls_conv_shape_forward(sig);
    const ls_conv_shape *v = &job.shape;
    job.n_k = is_grad ? v->o : v->c;
    job.n_cols = is_grad ? v->c : v->o;
    job.height = is_grad ? v->h : v->p;
    job.width = is_grad ? v->w : v->q;
    job.source_dtype = sig->in[0].dtype;
    job.weights_dtype = sig->in[1].dtype;
    job.out_dtype = sig->out[0].dtype;
    const int64_t per_word = e->is_pairs ? 2 : 1;
    job.words = divide_up(divide_up(job.n_k, per_word), e->k_step) * e->k_step;
    job.rows = v->b;
    job.row_bytes = job.n_k * (int64_t)(e->is_pairs ? sizeof(uint16_t) : sizeof(float));
    job.n_panels = divide_up(job.n_cols, e->cols);
    job.panel_bytes = v->r * v->s * job.words * e->cols * CONV_WORD_BYTES;
    job.n_group = max_of(TASK_ROWS / max_of(v->b, 1), 1);
    job.n_groups = divide_up(job.height * job.width, job.n_group);
    job.taps_bytes = (size_t)(v->r * v->s) * sizeof(ls_conv_tap);
    cursor at = {workspace, 0};
    job.packed = take(&at, (size_t)(job.n_panels * job.panel_bytes));
    job.taps = take(&at, (size_t)n_threads * job.taps_bytes);
    if (sig->n_in > 2) job.bias = take(&at, (size_t)(job.n_panels * e->cols) * sizeof(float));
    if (needs_copy(e, job.n_k, v->b, job.source_dtype)) {
        const int64_t pixels = is_grad ? v->p * v->q : v->h * v->w;
        job.rows = max_of(v->b, e->least_rows);
        job.row_bytes = job.words * CONV_WORD_BYTES;
        job.copy = take(&at, (size_t)(pixels * job.rows * job.row_bytes));
    }
    job.total_bytes = at.used;
    return job;
}

/* --- operands ---------------------------------------------------------------------------------------------------- */

static ls_status copy_pixel(void *user, int64_t pixel, int worker) {
    const tap_job *job = user;
    const int64_t n = job->shape.b * job->n_k * (int64_t)ls_dtype_bytes(job->source_dtype);
    (void)worker;
    const ls_conv_copy copy = {.from = (const char *)job->source + pixel * n,
                               .dtype = job->source_dtype,
                               .n_rows = job->shape.b,
                               .n_cols = job->n_k,
                               .to = job->copy + pixel * job->rows * job->row_bytes,
                               .rows = job->rows,
                               .cols = job->words * (job->engine->is_pairs ? 2 : 1)};
    job->engine->copy(&copy);
    return LS_OK;
}

static float read_wide(const void *data, ls_dtype dtype, int64_t at) {
    if (dtype == LS_DTYPE_F32) return ((const float *)data)[at];
    const uint16_t bits = ((const uint16_t *)data)[at];
    return dtype == LS_DTYPE_BF16 ? half_from_bf16(bits) : half_from_f16(bits);
}

/* A k of one tap for n columns, `step` apart in the tensor, to words that lie side by side. */
static void pack_columns(const tap_job *job, int64_t from, int64_t step, int64_t n, char *at) {
    const uint16_t *narrow = (const uint16_t *)job->weights + from;
    if (job->engine->is_pairs)
        for (int64_t i = 0; i < n; i++)
            memcpy(at + i * CONV_WORD_BYTES, &narrow[i * step], sizeof *narrow);
    else
        for (int64_t i = 0; i < n; i++) {
            const float x = read_wide(job->weights, job->weights_dtype, from + i * step);
            memcpy(at + i * CONV_WORD_BYTES, &x, sizeof x);
        }
}

/* PACK_WORDS words of all taps of a panel, PACK_COLS columns at a time: what is read of the tensor, tap after tap, stays in the first-level
 * cache, also where its steps are powers of two. */
static ls_status pack_weights(void *user, int64_t task, int worker) {
    const tap_job *job = user;
    const ls_conv_shape *v = &job->shape;
    const int64_t per_panel = divide_up(job->words, PACK_WORDS), cols = job->engine->cols;
    const int64_t col0 = task / per_panel * cols, word0 = task % per_panel * PACK_WORDS;
    const int64_t n_words = min_of(PACK_WORDS, job->words - word0), n_taps = v->r * v->s;
    const int64_t per_word = job->engine->is_pairs ? 2 : 1, n = min_of(cols, job->n_cols - col0);
    const int64_t k0 = word0 * per_word, k_end = min_of(k0 + n_words * per_word, job->n_k);
    const int64_t col_step = job->is_grad ? n_taps : v->c * n_taps;
    const int64_t k_step = job->is_grad ? v->c * n_taps : n_taps;
    const int has_gaps = n < cols || k_end - k0 < n_words * per_word;
    char *panel = job->packed + task / per_panel * job->panel_bytes;
    (void)worker;
    for (int64_t i = 0; i < divide_up(n, PACK_COLS) * n_taps; i++) {
        const int64_t tap = i % n_taps, col = i / n_taps * PACK_COLS;
        char *to = panel + (tap * job->words + word0) * cols * CONV_WORD_BYTES;
        if (has_gaps && col == 0) memset(to, 0, (size_t)(n_words * cols * CONV_WORD_BYTES));
        for (int64_t k = k0; k < k_end; k++)
            pack_columns(job, (col0 + col) * col_step + k * k_step + tap, col_step,
                         min_of(PACK_COLS, n - col),
                         to + ((k - k0) / per_word * cols + col) * CONV_WORD_BYTES +
                             k % per_word * (int64_t)sizeof(uint16_t));
    }
    return LS_OK;
}

static void widen_bias(const tap_job *job, const ls_tensor *bias) {
    for (int64_t i = 0; i < job->n_panels * job->engine->cols; i++)
        job->bias[i] = i < job->n_cols ? read_wide(bias->data, bias->dtype, i) : 0;
}

/* --- pixels ------------------------------------------------------------------------------------------------------ */

/* The source's coordinate that tap r of the result's coordinate i meets, or -1. */
static int64_t meet(const tap_job *job, int64_t i, int64_t r, int64_t size) {
    const ls_conv_shape *v = &job->shape;
    if (!job->is_grad) {
        const int64_t at = i * v->stride + r - v->padding;
        return at < size ? at : -1;
    }
    const int64_t up = i + v->padding - r;
    return up < 0 || up % v->stride || up / v->stride >= size ? -1 : up / v->stride;
}

static int find_taps(const tap_job *job, int64_t pixel, ls_conv_tap *taps) {
    const ls_conv_shape *v = &job->shape;
    const int64_t i = pixel / job->width, j = pixel % job->width;
    const int64_t height = job->is_grad ? v->p : v->h, width = job->is_grad ? v->q : v->w;
    const int64_t tap_bytes = job->words * job->engine->cols * CONV_WORD_BYTES;
    int n = 0;
    for (int64_t r = 0; r < v->r; r++) {
        const int64_t y = meet(job, i, r, height);
        for (int64_t s = 0; y >= 0 && s < v->s; s++) {
            const int64_t x = meet(job, j, s, width);
            if (x < 0) continue;
            taps[n++] = (ls_conv_tap){(y * width + x) * job->rows * job->row_bytes,
                                      (r * v->s + s) * tap_bytes};
        }
    }
    return n;
}

/* All images of a pixel, by the channels of a panel, in tiles of about as many rows each. */
static void run_pixel(const tap_job *job, int64_t panel, int64_t pixel, ls_conv_tap *taps) {
    const ls_conv_engine *e = job->engine;
    const int64_t bytes = (int64_t)ls_dtype_bytes(job->out_dtype), col = panel * e->cols;
    const int64_t n_rows = job->shape.b, n_tiles = divide_up(n_rows, e->rows);
    const char *source = job->copy ? job->copy : job->source;
    ls_conv_sum sum = {.row_bytes = job->row_bytes,
                       .weights = job->packed + panel * job->panel_bytes,
                       .taps = taps,
                       .n_taps = find_taps(job, pixel, taps),
                       .words = job->words,
                       .n_cols = (int)min_of(e->cols, job->n_cols - col),
                       .bias = job->bias ? job->bias + col : NULL,
                       .out_dtype = job->out_dtype,
                       .out_row_bytes = job->n_cols * bytes};
    for (int64_t i = 0; i < n_tiles; i++) {
        const int64_t row = n_rows * i / n_tiles;
        sum.n_rows = (int)(n_rows * (i + 1) / n_tiles - row);
        sum.source = source + row * job->row_bytes;
        sum.out = job->out + ((pixel * n_rows + row) * job->n_cols + col) * bytes;
        e->sum(&sum);
    }
}

static ls_status run_group(void *user, int64_t task, int worker) {
    const tap_job *job = user;
    const int64_t panel = task / job->n_groups, first = task % job->n_groups * job->n_group;
    const int64_t end = min_of(first + job->n_group, job->height * job->width);
    ls_conv_tap *taps = (ls_conv_tap *)(job->taps + (size_t)worker * job->taps_bytes);
    if (job->engine->begin) job->engine->begin();
    for (int64_t pixel = first; pixel < end; pixel++) run_pixel(job, panel, pixel, taps);
    if (job->engine->end) job->engine->end();
    return LS_OK;
}

static ls_status run_taps(const ls_conv_engine *engine, const ls_launch *launch, int is_grad) {
    tap_job job =
        make_job(engine, launch->sig, is_grad, launch->workspace, ls_pool_threads(launch->pool));
    const ls_conv_shape *v = &job.shape;
    if (ls_type_count(&launch->sig->out[0]) == 0) return LS_OK;
    job.source = launch->in[0].data;
    job.weights = launch->in[1].data;
    job.out = launch->out[0].data;
    if (job.bias) widen_bias(&job, &launch->in[2]);
    if (job.copy)
        LS_TRY(ls_pool_run(launch->pool, is_grad ? v->p * v->q : v->h * v->w, copy_pixel, &job));
    LS_TRY(ls_pool_run(launch->pool, job.n_panels * divide_up(job.words, PACK_WORDS), pack_weights,
                       &job));
    return ls_pool_run(launch->pool, job.n_panels * job.n_groups, run_group, &job);
}

size_t ls_conv_forward_workspace(const ls_conv_engine *engine, const ls_sig *sig, int n_threads) {
    return make_job(engine, sig, 0, NULL, n_threads).total_bytes;
}

ls_status ls_conv_forward(const ls_conv_engine *engine, const ls_launch *launch) {
    return run_taps(engine, launch, 0);
}

size_t ls_conv_grad_input_workspace(const ls_conv_engine *engine, const ls_sig *sig,
                                    int n_threads) {
    return make_job(engine, sig, 1, NULL, n_threads).total_bytes;
}

ls_status ls_conv_grad_input(const ls_conv_engine *engine, const ls_launch *launch) {
    return run_taps(engine, launch, 1);
}
