/* Weight gradient: dw[r, s] = sum over pixels (p, q) that tap (r, s) meets of x^T dy, matrices of [B, C] and [B, O], with k the images.
 *
 * The order of a sum follows from the shape alone. Rows of pixels are dealt to parts; within a part they ascend, in blocks of at most
 * BLOCK_IMAGES (whole rows, or whole pixels of a row), each summed alone (pixels, then images, ascending) and then added. Parts are added as
 * a binary tree. */
#include "op/conv2d/conv2d_engine.h"
#include "op/conv2d/conv2d_memory.h"
#include <string.h>

enum {
    MAX_PARTS = 16,
    PART_ELEMENTS =
        256
        << 10, /* of x and dy that a part reads: in bf16 half of a second-level cache of 1 MiB */
    BLOCK_IMAGES = 1024,
    LANES = 16 /* channels of dy that are added at a time */
};

/* x or dy as the tiles take it: where it lies, or a copy. */
typedef struct operand {
    const ls_tensor *tensor;
    int64_t n_pixels, n_channels, channels; /* channels: of the copy, padded */
    char *copy;                             /* NULL: read where it lies */
    const char *data;
    int64_t pixel_bytes, step; /* step: from word to word; turned: from channel to channel */
} operand;

typedef struct weight_job {
    const ls_conv_engine *engine;
    ls_conv_shape shape;
    int64_t words; /* of the images of a pixel */
    operand x, dy, *copied;
    int64_t n_panels, n_parts;
    int64_t n_lines, n_block; /* rows of a block; pixels of one, if a row is not whole */
    int64_t part_count;       /* [taps][C][channels of dy] */
    float *parts;
    size_t total_bytes;
    const ls_launch *launch;
} weight_job;

/* --- layout ------------------------------------------------------------------------------------------------------ */

/* is_x: the operand whose channels become rows of tiles. */
static operand lay_out(const weight_job *job, int is_x, ls_dtype dtype, cursor *at) {
    const ls_conv_engine *e = job->engine;
    const ls_conv_shape *v = &job->shape;
    operand o = {.n_pixels = is_x ? v->h * v->w : v->p * v->q, .n_channels = is_x ? v->c : v->o};
    const int turned = is_x && e->is_turned;
    o.channels = is_x && !turned ? o.n_channels : divide_up(o.n_channels, LANES) * LANES;
    o.step = (turned ? job->words : o.channels) * CONV_WORD_BYTES;
    o.pixel_bytes = (turned ? o.channels : job->words) * o.step;
    if (e->is_pairs || dtype != LS_DTYPE_F32 || o.channels != o.n_channels)
        o.copy = take(at, (size_t)(o.n_pixels * o.pixel_bytes));
    return o;
}

static int64_t count_parts(const ls_conv_shape *v) {
    const int64_t weights = v->r * v->s * v->c * v->o;
    const int64_t elements = v->b * (v->h * v->w * v->c + v->p * v->q * v->o);
    const int64_t most = min_of(min_of(v->p, MAX_PARTS), elements / max_of(2 * weights, 1));
    return max_of(min_of(divide_up(elements, PART_ELEMENTS), most), 1);
}

static weight_job make_job(const ls_conv_engine *e, const ls_sig *sig, void *workspace) {
    weight_job job = {.engine = e, .shape = ls_conv_shape_grad_weight(sig)};
    const ls_conv_shape *v = &job.shape;
    cursor at = {workspace, 0};
    job.words = divide_up(divide_up(v->b, e->is_pairs ? 2 : 1), e->k_step) * e->k_step;
    job.dy = lay_out(&job, 0, sig->in[0].dtype, &at);
    job.x = lay_out(&job, 1, sig->in[1].dtype, &at);
    job.n_panels = divide_up(v->o, e->cols);
    job.n_parts = count_parts(v);
    job.n_block = max_of(BLOCK_IMAGES / max_of(v->b, 1), 1);
    job.n_lines = max_of(job.n_block / v->q, 1);
    job.part_count = v->r * v->s * v->c * job.dy.channels;
    job.parts = take(&at, (size_t)(job.n_parts * job.part_count) * sizeof(float));
    job.total_bytes = at.used;
    return job;
}

static ls_status copy_pixel(void *user, int64_t pixel, int worker) {
    const weight_job *job = user;
    const ls_conv_engine *e = job->engine;
    const operand *o = job->copied;
    const int64_t bytes = job->shape.b * o->n_channels * (int64_t)ls_dtype_bytes(o->tensor->dtype);
    (void)worker;
    const ls_conv_copy copy = {.from = (const char *)o->tensor->data + pixel * bytes,
                               .dtype = o->tensor->dtype,
                               .n_rows = job->shape.b,
                               .n_cols = o->n_channels,
                               .to = o->copy + pixel * o->pixel_bytes,
                               .rows = job->words * (e->is_pairs ? 2 : 1),
                               .cols = o->channels};
    if (!e->is_pairs)
        e->copy(&copy);
    else if (o == &job->x && e->is_turned)
        e->turn(&copy);
    else
        e->pair(&copy);
    return LS_OK;
}

static ls_status prepare(weight_job *job, operand *o, const ls_tensor *tensor) {
    o->tensor = tensor;
    o->data = o->copy ? o->copy : tensor->data;
    job->copied = o;
    return o->copy ? ls_pool_run(job->launch->pool, o->n_pixels, copy_pixel, job) : LS_OK;
}

/* --- products ---------------------------------------------------------------------------------------------------- */

/* Coordinates i of dy with 0 <= i stride + r - padding < size: [out[0], out[1]) within [first, end). */
static void find_range(const ls_conv_shape *v, int64_t r, int64_t size, int64_t out[2]) {
    const int64_t low = v->padding - r, high = size + v->padding - r;
    out[0] = max_of(out[0], low > 0 ? divide_up(low, v->stride) : 0);
    out[1] = min_of(out[1], high > 0 ? divide_up(high, v->stride) : 0);
}

/* All channels of x against a panel, over product's lines and pixels of dy from (p, q) on. */
static void add_block(const weight_job *job, const int64_t tap[2], const int64_t at[2],
                      ls_conv_product *product) {
    const ls_conv_engine *e = job->engine;
    const ls_conv_shape *v = &job->shape;
    const int64_t y = at[0] * v->stride + tap[0] - v->padding;
    const int64_t x = at[1] * v->stride + tap[1] - v->padding;
    const char *from = job->x.data + (y * v->w + x) * job->x.pixel_bytes;
    const char *dy = product->dy;
    float *sums = product->sums;
    const int64_t channel_bytes = e->is_turned ? job->x.step : CONV_WORD_BYTES;
    const int64_t n_tiles = divide_up(v->c, e->rows);
    product->dy += (at[0] * v->q + at[1]) * job->dy.pixel_bytes;
    for (int64_t i = 0; i < n_tiles; i++) {
        const int64_t c = min_of(e->is_turned ? i * e->rows : v->c * i / n_tiles, v->c);
        const int64_t end = e->is_turned ? c + e->rows : v->c * (i + 1) / n_tiles;
        product->n_rows = (int)(min_of(end, v->c) - c);
        product->x = from + c * channel_bytes;
        product->sums = sums + c * product->ld;
        e->product(product);
    }
    product->dy = dy;
    product->sums = sums;
    product->first = 0;
}

/* One tap's weights of one panel, over the rows of one part. */
static void run_tap(const weight_job *job, int64_t part, int64_t tap, int64_t panel) {
    const ls_conv_engine *e = job->engine;
    const ls_conv_shape *v = &job->shape;
    const int64_t taps[2] = {tap / v->s, tap % v->s}, col = panel * e->cols;
    int64_t p[2] = {v->p * part / job->n_parts, v->p * (part + 1) / job->n_parts}, q[2] = {0, v->q};
    find_range(v, taps[0], v->h, p);
    find_range(v, taps[1], v->w, q);
    ls_conv_product product = {.dy = job->dy.data + col * CONV_WORD_BYTES,
                               .x_line_bytes = v->stride * v->w * job->x.pixel_bytes,
                               .dy_line_bytes = v->q * job->dy.pixel_bytes,
                               .x_pixel_bytes = v->stride * job->x.pixel_bytes,
                               .dy_pixel_bytes = job->dy.pixel_bytes,
                               .words = job->words,
                               .x_step = job->x.step,
                               .dy_step = job->dy.step,
                               .n_cols = (int)min_of(e->cols, job->dy.channels - col),
                               .sums = job->parts + part * job->part_count +
                                       tap * v->c * job->dy.channels + col,
                               .ld = job->dy.channels,
                               .first = 1};
    for (int64_t i = p[0]; i < p[1]; i += job->n_lines)
        for (int64_t j = q[0]; j < q[1]; j += job->n_block) {
            product.n_lines = min_of(job->n_lines, p[1] - i);
            product.n_pixels = min_of(job->n_block, q[1] - j);
            add_block(job, taps, (int64_t[2]){i, j}, &product);
        }
    if (product.first)
        for (int64_t c = 0; c < v->c; c++)
            memset(product.sums + c * product.ld, 0, (size_t)product.n_cols * sizeof(float));
}

static ls_status run_task(void *user, int64_t task, int worker) {
    const weight_job *job = user;
    const int64_t n_taps = job->shape.r * job->shape.s, panel = task % job->n_panels;
    const int64_t tap = task / job->n_panels % n_taps, part = task / job->n_panels / n_taps;
    (void)worker;
    if (job->engine->begin) job->engine->begin();
    run_tap(job, part, tap, panel);
    if (job->engine->end) job->engine->end();
    return LS_OK;
}

/* --- results ----------------------------------------------------------------------------------------------------- */

/* Asks for the lines that the next tap will need: they are too far apart for the processor to guess. */
static void ask_ahead(const weight_job *job, int64_t at) {
    if (at < job->part_count)
        for (int64_t i = 0; i < job->n_parts; i++)
            __builtin_prefetch(job->parts + i * job->part_count + at);
}

/* LANES elements of every part, neighbours added until one is left, which is sum[0]. */
static void add_parts(const weight_job *job, int64_t at, float sum[MAX_PARTS][LANES]) {
    int64_t n = job->n_parts;
    for (int64_t i = 0; i < n; i++)
        memcpy(sum[i], job->parts + i * job->part_count + at, sizeof sum[i]);
    for (; n > 1; n = (n + 1) / 2)
        for (int64_t i = 0; 2 * i < n; i++)
            if (2 * i + 1 < n)
                for (int k = 0; k < LANES; k++) sum[i][k] = sum[2 * i][k] + sum[2 * i + 1][k];
            else
                memmove(sum[i], sum[2 * i], sizeof sum[i]);
}

/* dw of LANES channels of dy: sums are [tap][c][o], dw is [o][c][tap]; LANES c's at a time, so that both stay in the first-level cache. */
static ls_status write_channels(void *user, int64_t task, int worker) {
    const weight_job *job = user;
    const ls_conv_shape *v = &job->shape;
    const int64_t o0 = task * LANES, n = min_of(LANES, v->o - o0), n_taps = v->r * v->s;
    const int64_t step = v->c * n_taps, first = o0 * step;
    ls_tensor *dw = &job->launch->out[0];
    float sum[MAX_PARTS][LANES];
    (void)worker;
    for (int64_t i = 0; i < divide_up(v->c, LANES) * n_taps; i++) {
        const int64_t tap = i % n_taps, c0 = i / n_taps * LANES;
        for (int64_t c = c0; c < min_of(c0 + LANES, v->c); c++) {
            const int64_t to = first + c * n_taps + tap;
            const int64_t at = (tap * v->c + c) * job->dy.channels + o0;
            ask_ahead(job, at + v->c * job->dy.channels);
            add_parts(job, at, sum);
            if (dw->dtype == LS_DTYPE_F32)
                for (int64_t k = 0; k < n; k++) ((float *)dw->data)[to + k * step] = sum[0][k];
            else
                for (int64_t k = 0; k < n; k++) ls_tensor_set(dw, to + k * step, sum[0][k]);
        }
    }
    return LS_OK;
}

/* dbias: pixels, then images, ascending, in f64. */
static ls_status add_bias(void *user, int64_t channel, int worker) {
    const weight_job *job = user;
    const ls_tensor *dy = &job->launch->in[0];
    double sum = 0;
    (void)worker;
    for (int64_t i = 0; i < job->dy.n_pixels * job->shape.b; i++)
        sum += ls_tensor_get(dy, i * job->shape.o + channel);
    ls_tensor_set(&job->launch->out[1], channel, sum);
    return LS_OK;
}

size_t ls_conv_grad_weight_workspace(const ls_conv_engine *engine, const ls_sig *sig,
                                     int n_threads) {
    (void)n_threads;
    return make_job(engine, sig, NULL).total_bytes;
}

ls_status ls_conv_grad_weight(const ls_conv_engine *engine, const ls_launch *launch) {
    weight_job job = make_job(engine, launch->sig, launch->workspace);
    const ls_conv_shape *v = &job.shape;
    ls_pool *pool = launch->pool;
    job.launch = launch;
    LS_TRY(prepare(&job, &job.dy, &launch->in[0]));
    LS_TRY(prepare(&job, &job.x, &launch->in[1]));
    LS_TRY(ls_pool_run(pool, job.n_parts * v->r * v->s * job.n_panels, run_task, &job));
    LS_TRY(ls_pool_run(pool, divide_up(v->o, LANES), write_channels, &job));
    return launch->sig->n_out > 1 ? ls_pool_run(pool, v->o, add_bias, &job) : LS_OK;
}
