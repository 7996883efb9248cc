/* Forward and input gradient: both are sums over taps of a padded source.
 *
 * forward: y[o, p, q] = sum over (c, r, s) of w[o, c, r, s] x[c, p stride + r - padding, q stride + s - padding].
 * input gradient: dx[c, h, w] takes only the taps r = h + padding (mod stride): for each phase of (h, w) a dense sum over
 * (o, r, s) of dy, so no multiplication by an inserted zero. Each such grid of pixels is one product of matrices. */
#include "op/conv2d/conv2d_memory.h"
#include "op/conv2d/conv2d_planes.h"
#include <string.h>

enum { WORD_BYTES = CONV_WORD_BYTES, GROUP_PIXELS = 256 };

typedef struct tap_grid {
    int64_t rows, cols; /* pixels of the result in this grid */
    int64_t n_k;
    ls_gemm_k_plan k;
    int64_t out_first, out_row, out_col; /* elements in a channel of the result */
    int32_t *k_offset;                   /* [n_k], elements of the source */
    char *matrix; /* [m][n_k] in the dtype of w; the input gradient gathers it */
    char *packed; /* panels of the matrix, block after block */
} tap_grid;

typedef struct tap_job {
    const ls_conv_engine *engine;
    ls_conv_shape shape;
    int is_grad;
    int64_t m;         /* channels of the result */
    int64_t n_group;   /* images of a task */
    int64_t image_out; /* elements of an image of the result */
    ls_conv_planes planes;
    size_t source_bytes; /* of one image's planes */
    ls_gemm_out out;
    const char *source, *weights;
    ls_dtype source_dtype, weights_dtype;
    int64_t n_grids;
    tap_grid *grids;
    char *scratch;
    size_t scratch_bytes, panel_bytes;
    size_t total_bytes;
} tap_job;

/* A worker's own memory. */
typedef struct tap_scratch {
    char *source, *panel;
    float *c, *acc;
    char *tile_out; /* a tile in the result's dtype, for results that are not side by side */
    ls_conv_run *runs;
    int64_t *out_at; /* of each run: element of the result, channel 0 */
} tap_scratch;

static size_t element_bytes(const ls_conv_engine *engine) {
    return engine->is_pairs ? sizeof(uint16_t) : sizeof(float);
}

/* --- layout ------------------------------------------------------------------------------------------------------ */

/* Taps r with (a + padding - r) % stride == 0. */
static int64_t count_taps(int64_t size, int64_t a, const ls_conv_shape *v) {
    int64_t n = 0;
    for (int64_t r = 0; r < size; r++) n += (a + v->padding - r) % v->stride == 0;
    return n;
}

static tap_grid make_grid(const tap_job *job, int64_t index) {
    const ls_conv_shape *v = &job->shape;
    tap_grid g = {0};
    if (!job->is_grad) {
        g = (tap_grid){.rows = v->p, .cols = v->q, .out_row = v->q, .out_col = 1};
        g.n_k = v->c * v->r * v->s;
    } else {
        const int64_t a = index / v->stride, b = index % v->stride;
        g.rows = a < v->h ? divide_up(v->h - a, v->stride) : 0;
        g.cols = b < v->w ? divide_up(v->w - b, v->stride) : 0;
        g.out_first = a * v->w + b;
        g.out_row = v->stride * v->w;
        g.out_col = v->stride;
        g.n_k = v->o * count_taps(v->r, a, v) * count_taps(v->s, b, v);
    }
    g.k = ls_gemm_plan_k(job->engine->gemm, g.n_k);
    return g;
}

/* The planes of dy: one phase, with room for the furthest tap on every side. */
static ls_conv_planes planes_of_grad(const ls_conv_shape *v) {
    const int64_t top = divide_up(max_of(v->r, v->s) - 1, v->stride);
    const int64_t beyond = (v->stride - 1 + v->padding) / v->stride;
    return (ls_conv_planes){.channels = v->o,
                            .height = v->p,
                            .width = v->q,
                            .stride = 1,
                            .padding = top,
                            .rows = top + max_of(v->p, (v->h - 1) / v->stride + beyond + 1),
                            .cols = top + max_of(v->q, (v->w - 1) / v->stride + beyond + 1)};
}

static void lay_out_grid(tap_job *job, cursor *at, int64_t index) {
    const ls_gemm_engine *e = job->engine->gemm;
    tap_grid g = make_grid(job, index);
    g.k_offset = take(at, (size_t)g.n_k * sizeof *g.k_offset);
    if (job->is_grad)
        g.matrix = take(at, (size_t)(job->m * g.n_k) * ls_dtype_bytes(job->weights_dtype));
    g.packed = take(
        at, (size_t)(divide_up(job->m, e->mr) * e->mr * g.k.words * g.k.n_blocks * WORD_BYTES));
    job->panel_bytes = (size_t)max_of((int64_t)job->panel_bytes, g.k.words * e->nr * WORD_BYTES);
    if (job->grids) job->grids[index] = g;
}

static tap_scratch lay_out_scratch(const tap_job *job, cursor *at) {
    const ls_gemm_engine *e = job->engine->gemm;
    const size_t slack = LS_CONV_SLACK * WORD_BYTES;
    tap_scratch s;
    s.source = take(at, (size_t)job->n_group * job->source_bytes + slack);
    s.panel = take(at, job->panel_bytes + slack);
    s.c = take(at, (size_t)(e->mr * e->nr) * sizeof(float) + slack);
    s.acc = take(at, (size_t)(divide_up(job->m, e->mr) * e->mr * e->nr) * sizeof(float));
    s.tile_out = take(at, (size_t)(e->mr * e->nr) * sizeof(float));
    s.runs = take(at, (size_t)e->nr * sizeof *s.runs);
    s.out_at = take(at, (size_t)e->nr * sizeof *s.out_at);
    return s;
}

static tap_job make_job(const ls_conv_engine *engine, const ls_sig *sig, int is_grad,
                        void *workspace, int n_threads) {
    tap_job job = {.engine = engine, .is_grad = is_grad};
    job.shape = is_grad ? ls_conv_shape_grad_input(sig) : ls_conv_shape_forward(sig);
    const ls_conv_shape *v = &job.shape;
    job.m = is_grad ? v->c : v->o;
    job.image_out = is_grad ? v->c * v->h * v->w : v->o * v->p * v->q;
    job.planes = is_grad ? planes_of_grad(v) : ls_conv_planes_forward(v);
    job.source_bytes = (size_t)ls_conv_planes_count(&job.planes) * element_bytes(engine);
    job.source_dtype = sig->in[0].dtype;
    job.weights_dtype = sig->in[1].dtype;
    job.n_grids = is_grad ? v->stride * v->stride : 1;
    const int64_t pixels = max_of(is_grad ? v->h * v->w / (v->stride * v->stride) : v->p * v->q, 1);
    job.n_group = max_of(min_of(divide_up(GROUP_PIXELS, pixels), v->b), 1);
    job.out = (ls_gemm_out){.dtype = sig->out[0].dtype, .alpha = 1, .bias_by_row = 1};
    job.out.ld = is_grad ? v->h * v->w : v->p * v->q;
    cursor at = {workspace, 0};
    job.grids = take(&at, (size_t)job.n_grids * sizeof *job.grids);
    for (int64_t i = 0; i < job.n_grids; i++) lay_out_grid(&job, &at, i);
    cursor own = {NULL, 0};
    (void)lay_out_scratch(&job, &own);
    job.scratch_bytes = own.used;
    job.scratch = take(&at, (size_t)n_threads * own.used);
    job.total_bytes = at.used;
    return job;
}

/* --- weights ----------------------------------------------------------------------------------------------------- */

static void fill_offsets_forward(const tap_job *job, tap_grid *g) {
    const ls_conv_shape *v = &job->shape;
    int64_t k = 0;
    for (int64_t c = 0; c < v->c; c++)
        for (int64_t r = 0; r < v->r; r++)
            for (int64_t s = 0; s < v->s; s++)
                g->k_offset[k++] = (int32_t)ls_conv_planes_tap(&job->planes, c, r, s);
}

/* Offsets and the matrix [c][(o, r, s)] of the grid of phase (a, b). */
static void gather_grad(const tap_job *job, tap_grid *g, int64_t index) {
    const ls_conv_shape *v = &job->shape;
    const int64_t a = index / v->stride, b = index % v->stride, top = job->planes.padding;
    const size_t bytes = ls_dtype_bytes(job->weights_dtype);
    int64_t k = 0;
    for (int64_t o = 0; o < v->o; o++)
        for (int64_t r = 0; r < v->r; r++)
            for (int64_t s = 0; s < v->s; s++) {
                const int64_t up = a + v->padding - r, left = b + v->padding - s;
                if (up % v->stride || left % v->stride) continue;
                g->k_offset[k] = (int32_t)ls_conv_planes_tap(&job->planes, o, top + up / v->stride,
                                                             top + left / v->stride);
                for (int64_t c = 0; c < v->c; c++)
                    memcpy(g->matrix + (size_t)(c * g->n_k + k) * bytes,
                           job->weights + (size_t)(((o * v->c + c) * v->r + r) * v->s + s) * bytes,
                           bytes);
                k++;
            }
}

/* A grid's panels of weights. */
static ls_status pack_weights(void *user, int64_t task, int worker) {
    const tap_job *job = user;
    const ls_gemm_engine *e = job->engine->gemm;
    tap_grid *g = &job->grids[task];
    (void)worker;
    if (job->is_grad)
        gather_grad(job, g, task);
    else
        fill_offsets_forward(job, g);
    const ls_gemm_operand a = {job->is_grad ? g->matrix : job->weights, job->weights_dtype, g->n_k,
                               1};
    char *dst = g->packed;
    for (int64_t kb = 0; kb < g->k.n_blocks; kb++) {
        const int64_t k0 = kb * g->k.k_block;
        const int64_t range[4] = {0, job->m, k0, min_of(g->k.k_block, g->n_k - k0)};
        e->pack_a(&a, range, g->k.words, dst);
        dst += divide_up(job->m, e->mr) * e->mr * g->k.words * WORD_BYTES;
    }
    return LS_OK;
}

/* --- pixels ------------------------------------------------------------------------------------------------------ */

/* Pixels [j0, j0 + n) of the group's images, row piece by row piece. */
static int find_runs(const tap_job *job, const tap_grid *g, int64_t j0, int64_t n, tap_scratch *s) {
    const int64_t plane = g->rows * g->cols;
    const int64_t image_step = ls_conv_planes_count(&job->planes);
    int n_runs = 0;
    for (int64_t j = j0; j < j0 + n;) {
        const int64_t image = j / plane, row = j % plane / g->cols, col = j % g->cols;
        const int64_t length = min_of(g->cols - col, j0 + n - j);
        s->runs[n_runs] = (ls_conv_run){(int32_t)(j - j0), (int32_t)length,
                                        image * image_step + row * job->planes.cols + col};
        s->out_at[n_runs++] =
            image * job->image_out + g->out_first + row * g->out_row + col * g->out_col;
        j += length;
    }
    return n_runs;
}

/* One register tile to the result, the pixels of which lie side by side in pieces. */
static void store_pieces(const tap_job *job, ls_gemm_tile tile, char *out, const tap_scratch *s,
                         int n_runs) {
    ls_gemm_out to = job->out;
    const float *c = tile.c;
    float *acc = tile.acc;
    for (int i = 0; i < n_runs;) {
        const int first = i;
        int length = s->runs[i].length;
        for (i++; i < n_runs && s->out_at[i] == s->out_at[first] + length; i++)
            length += s->runs[i].length;
        to.data = out + s->out_at[first] * (int64_t)ls_dtype_bytes(to.dtype);
        tile.c = c + s->runs[first].to;
        tile.acc = acc ? acc + s->runs[first].to : NULL;
        tile.n_cols = length;
        job->engine->gemm->store(&to, &tile);
    }
}

/* The same for a result whose neighbours are `out_col` apart: by way of a tile in the result's dtype. */
static void store_scattered(const tap_job *job, const tap_grid *g, ls_gemm_tile tile, char *out,
                            const tap_scratch *s, int n_runs) {
    const int nr = job->engine->gemm->nr;
    const size_t bytes = ls_dtype_bytes(job->out.dtype);
    ls_gemm_out to = job->out;
    const int64_t row0 = tile.row;
    to.data = s->tile_out;
    to.ld = nr;
    tile.row = 0;
    job->engine->gemm->store(&to, &tile);
    for (int row = 0; row < tile.n_rows; row++)
        for (int i = 0; i < n_runs; i++) {
            const char *from = s->tile_out + (size_t)(row * nr + s->runs[i].to) * bytes;
            char *at = out + (size_t)((row0 + row) * job->out.ld + s->out_at[i]) * bytes;
            const size_t step = (size_t)g->out_col * bytes;
            if (bytes == 2)
                for (int j = 0; j < s->runs[i].length; j++)
                    memcpy(at + (size_t)j * step, from + 2 * j, 2);
            else
                for (int j = 0; j < s->runs[i].length; j++)
                    memcpy(at + (size_t)j * step, from + 4 * j, 4);
        }
}

/* All channels of up to nr pixels. */
static void run_pixels(const tap_job *job, const tap_grid *g, int64_t j0, int64_t n, char *out,
                       tap_scratch *s) {
    const ls_gemm_engine *e = job->engine->gemm;
    const int n_runs = find_runs(job, g, j0, n, s);
    const char *weights = g->packed;
    for (int64_t kb = 0; kb < g->k.n_blocks; kb++) {
        const int64_t k0 = kb * g->k.k_block;
        job->engine->pack_runs(s->source, g->k_offset + k0, min_of(g->k.k_block, g->n_k - k0),
                               s->runs, n_runs, g->k.words, s->panel);
        for (int64_t row = 0; row < job->m; row += e->mr) {
            const int last = kb + 1 == g->k.n_blocks;
            const ls_gemm_tile tile = {.c = s->c,
                                       .row = row,
                                       .n_rows = (int)min_of(e->mr, job->m - row),
                                       .n_cols = (int)n,
                                       .acc = g->k.n_blocks > 1 ? s->acc + row * e->nr : NULL,
                                       .acc_ld = e->nr,
                                       .first = kb == 0,
                                       .last = last};
            e->tile(g->k.words, tile.n_rows, weights, s->panel, s->c);
            weights += g->k.words * e->mr * WORD_BYTES;
            if (!last)
                e->store(&job->out, &tile);
            else if (g->out_col == 1)
                store_pieces(job, tile, out, s, n_runs);
            else
                store_scattered(job, g, tile, out, s, n_runs);
        }
    }
}

/* A group of images. */
static ls_status run_group(void *user, int64_t task, int worker) {
    const tap_job *job = user;
    const ls_gemm_engine *e = job->engine->gemm;
    cursor at = {job->scratch + (size_t)worker * job->scratch_bytes, 0};
    tap_scratch s = lay_out_scratch(job, &at);
    const int64_t first = task * job->n_group, n = min_of(job->n_group, job->shape.b - first);
    const ls_conv_planes *planes = &job->planes;
    const int64_t image_bytes = planes->channels * planes->height * planes->width *
                                (int64_t)ls_dtype_bytes(job->source_dtype);
    char *out =
        (char *)job->out.data + first * job->image_out * (int64_t)ls_dtype_bytes(job->out.dtype);
    for (int64_t i = 0; i < n; i++)
        ls_conv_planes_fill(planes, job->source + (first + i) * image_bytes, job->source_dtype,
                            job->engine->is_pairs, s.source + (size_t)i * job->source_bytes);
    if (e->begin) e->begin();
    for (int64_t i = 0; i < job->n_grids; i++) {
        const tap_grid *g = &job->grids[i];
        const int64_t pixels = n * g->rows * g->cols;
        for (int64_t j0 = 0; j0 < pixels; j0 += e->nr)
            run_pixels(job, g, j0, min_of(e->nr, pixels - j0), out, &s);
    }
    if (e->end) e->end();
    return LS_OK;
}

static ls_status run_taps(const ls_conv_engine *engine, const ls_launch *launch, int is_grad) {
    tap_job job =
        make_job(engine, launch->sig, is_grad, launch->workspace, ls_pool_threads(launch->pool));
    if (ls_type_count(&launch->sig->out[0]) == 0) return LS_OK;
    job.source = launch->in[0].data;
    job.weights = launch->in[1].data;
    job.out.data = launch->out[0].data;
    if (launch->sig->n_in > 2) {
        job.out.bias = launch->in[2].data;
        job.out.bias_dtype = launch->in[2].dtype;
    }
    LS_TRY(ls_pool_run(launch->pool, job.n_grids, pack_weights, &job));
    return ls_pool_run(launch->pool, divide_up(job.shape.b, job.n_group), run_group, &job);
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
