/* Weight gradient: dw[o, (c, r, s)] = sum over images and pixels of dy[o, pixel] x[c, pixel shifted by (r, s)]: a product whose
 * long inner dim is the pixels. The batch is cut into parts by its size alone; each part is summed in order into its own f32
 * buffer and the parts are added as a binary tree, so the thread count changes no bit. */
#include "op/conv2d/conv2d_memory.h"
#include "op/conv2d/conv2d_planes.h"
#include <string.h>

enum { MAX_PARTS = 16, ADD_BLOCK = 4096 };

typedef struct weight_job {
    const ls_conv_engine *engine;
    ls_conv_shape shape;
    ls_conv_planes planes;
    int64_t n_taps; /* C R S */
    int64_t n_pixels;
    ls_gemm_k_plan k;
    int64_t n_parts, part_count; /* part_count: elements of a part: dw, then dbias */
    float *parts;
    int32_t *offset; /* [n_taps] */
    char *scratch;
    size_t scratch_bytes, total_bytes;
    const ls_launch *launch;
} weight_job;

typedef struct weight_scratch {
    char *source; /* planes of one image */
    char *rows;   /* [nr][k_block] pixels of nr taps */
    char *a, *b;  /* panels */
    float *c;
    ls_conv_run *runs;
} weight_scratch;

static size_t element_bytes(const ls_conv_engine *engine) {
    return engine->is_pairs ? sizeof(uint16_t) : sizeof(float);
}

static weight_scratch lay_out(const weight_job *job, cursor *at) {
    const ls_gemm_engine *e = job->engine->gemm;
    const size_t bytes = element_bytes(job->engine), slack = LS_CONV_SLACK * CONV_WORD_BYTES;
    const int64_t m = divide_up(job->shape.o, e->mr) * e->mr;
    weight_scratch s;
    s.source = take(at, (size_t)ls_conv_planes_count(&job->planes) * bytes + slack);
    s.rows = take(at, (size_t)(e->nr * job->k.k_block) * bytes + slack);
    s.a = take(at, (size_t)(m * job->k.words * job->k.n_blocks * CONV_WORD_BYTES));
    s.b = take(at, (size_t)(e->nr * job->k.words * CONV_WORD_BYTES));
    s.c = take(at, (size_t)(e->mr * e->nr) * sizeof(float));
    s.runs = take(at, (size_t)(job->k.k_block + 1) * sizeof *s.runs);
    return s;
}

static weight_job make_job(const ls_conv_engine *engine, const ls_sig *sig, void *workspace,
                           int n_threads) {
    weight_job job = {.engine = engine, .shape = ls_conv_shape_grad_weight(sig)};
    const ls_conv_shape *v = &job.shape;
    job.planes = ls_conv_planes_forward(v);
    job.n_taps = v->c * v->r * v->s;
    job.n_pixels = v->p * v->q;
    job.k = ls_gemm_plan_k(engine->gemm, job.n_pixels);
    job.n_parts = max_of(min_of(v->b, MAX_PARTS), 1);
    job.part_count = v->o * job.n_taps + v->o;
    cursor at = {workspace, 0}, own = {NULL, 0};
    job.parts = take(&at, (size_t)(job.n_parts * job.part_count) * sizeof(float));
    job.offset = take(&at, (size_t)job.n_taps * sizeof(int32_t));
    (void)lay_out(&job, &own);
    job.scratch_bytes = own.used;
    job.scratch = take(&at, (size_t)n_threads * own.used);
    job.total_bytes = at.used;
    return job;
}

/* Pixels [k0, k0 + n) as runs of the planes. */
static int find_runs(const weight_job *job, int64_t k0, int64_t n, ls_conv_run *runs) {
    const int64_t cols = job->shape.q;
    int n_runs = 0;
    for (int64_t k = k0; k < k0 + n;) {
        const int64_t row = k / cols, col = k % cols, length = min_of(cols - col, k0 + n - k);
        runs[n_runs++] =
            (ls_conv_run){(int32_t)(k - k0), (int32_t)length, row * job->planes.cols + col};
        k += length;
    }
    return n_runs;
}

/* The panel of B of taps [j0, j0 + n) over one block of pixels. */
static void pack_taps(const weight_job *job, int64_t j0, int64_t n, int64_t n_k, int n_runs,
                      const weight_scratch *s) {
    const ls_conv_engine *engine = job->engine;
    const size_t bytes = element_bytes(engine);
    for (int64_t j = 0; j < n; j++)
        engine->copy_runs(s->source + (size_t)job->offset[j0 + j] * bytes, s->runs, n_runs,
                          s->rows + (size_t)(j * job->k.k_block) * bytes);
    const ls_gemm_operand b = {s->rows, engine->is_pairs ? LS_DTYPE_BF16 : LS_DTYPE_F32,
                               job->k.k_block, 1};
    engine->gemm->pack_b(&b, (int64_t[4]){0, n, 0, n_k}, job->k.words, s->b);
}

/* Adds one block of pixels of one image to the part. A is packed. */
static void add_block(const weight_job *job, int64_t k0, int is_first, const char *a, float *part,
                      const weight_scratch *s) {
    const ls_gemm_engine *e = job->engine->gemm;
    const int64_t n_k = min_of(job->k.k_block, job->n_pixels - k0), m = job->shape.o;
    const ls_gemm_out unused = {.dtype = LS_DTYPE_F32, .alpha = 1};
    const int n_runs = find_runs(job, k0, n_k, s->runs);
    for (int64_t j0 = 0; j0 < job->n_taps; j0 += e->nr) {
        const int64_t n = min_of(e->nr, job->n_taps - j0);
        const char *panel = a;
        pack_taps(job, j0, n, n_k, n_runs, s);
        for (int64_t row = 0; row < m; row += e->mr) {
            const ls_gemm_tile tile = {.c = s->c,
                                       .n_rows = (int)min_of(e->mr, m - row),
                                       .n_cols = (int)n,
                                       .acc = part + row * job->n_taps + j0,
                                       .acc_ld = job->n_taps,
                                       .first = is_first};
            e->tile(job->k.words, tile.n_rows, panel, s->b, s->c);
            e->store(&unused, &tile);
            panel += job->k.words * e->mr * CONV_WORD_BYTES;
        }
    }
}

static float sum_pixels(const ls_tensor *dy, int64_t at, int64_t n) {
    float row[256], sum = 0;
    for (int64_t i = 0; i < n; i += 256) {
        const int64_t count = min_of(256, n - i);
        ls_convert(row, LS_DTYPE_F32,
                   (const char *)dy->data + (at + i) * (int64_t)ls_dtype_bytes(dy->dtype),
                   dy->dtype, count);
        float part = 0;
        for (int64_t k = 0; k < count; k++) part += row[k];
        sum += part;
    }
    return sum;
}

static void add_bias(const weight_job *job, int64_t image, int is_first, float *sums) {
    const int64_t m = job->shape.o;
    for (int64_t o = 0; o < m; o++) {
        const float sum =
            sum_pixels(&job->launch->in[0], (image * m + o) * job->n_pixels, job->n_pixels);
        sums[o] = is_first ? sum : sums[o] + sum;
    }
}

static void add_image(const weight_job *job, int64_t image, int is_first, float *part,
                      const weight_scratch *s) {
    const ls_gemm_engine *e = job->engine->gemm;
    const ls_conv_shape *v = &job->shape;
    const ls_tensor *dy = &job->launch->in[0], *x = &job->launch->in[1];
    const ls_gemm_operand a = {(const char *)dy->data + image * v->o * job->n_pixels *
                                                            (int64_t)ls_dtype_bytes(dy->dtype),
                               dy->dtype, job->n_pixels, 1};
    ls_conv_planes_fill(&job->planes,
                        (const char *)x->data +
                            image * v->c * v->h * v->w * (int64_t)ls_dtype_bytes(x->dtype),
                        x->dtype, job->engine->is_pairs, s->source);
    for (int64_t k0 = 0; k0 < job->n_pixels; k0 += job->k.k_block) {
        const int64_t range[4] = {0, v->o, k0, min_of(job->k.k_block, job->n_pixels - k0)};
        e->pack_a(&a, range, job->k.words, s->a);
        add_block(job, k0, is_first && k0 == 0, s->a, part, s);
    }
    const ls_conv2d_grad_weight_attr *attr = job->launch->sig->attr;
    if (attr->has_bias) add_bias(job, image, is_first, part + v->o * job->n_taps);
}

static ls_status run_part(void *user, int64_t task, int worker) {
    const weight_job *job = user;
    const ls_gemm_engine *e = job->engine->gemm;
    cursor at = {job->scratch + (size_t)worker * job->scratch_bytes, 0};
    const weight_scratch s = lay_out(job, &at);
    float *part = job->parts + task * job->part_count;
    const int64_t first = job->shape.b * task / job->n_parts;
    const int64_t end = job->shape.b * (task + 1) / job->n_parts;
    if (e->begin) e->begin();
    for (int64_t image = first; image < end; image++)
        add_image(job, image, image == first, part, &s);
    if (e->end) e->end();
    return LS_OK;
}

/* parts[i] += parts[i + half] for a block of elements, halving until one part is left. */
static ls_status add_parts(void *user, int64_t task, int worker) {
    const weight_job *job = user;
    const int64_t first = task * ADD_BLOCK, end = min_of(first + ADD_BLOCK, job->part_count);
    (void)worker;
    for (int64_t n = job->n_parts; n > 1; n = (n + 1) / 2)
        for (int64_t i = 0; 2 * i + 1 < n; i++) {
            /* pairs of neighbours, kept at the front: i <- 2 i + (2 i + 1) */
            float *to = job->parts + i * job->part_count;
            const float *a = job->parts + 2 * i * job->part_count, *b = a + job->part_count;
            for (int64_t k = first; k < end; k++) to[k] = a[k] + b[k];
            if (2 * i + 3 == n)
                memcpy(to + job->part_count + first, b + job->part_count + first,
                       (size_t)(end - first) * sizeof(float));
        }
    return LS_OK;
}

size_t ls_conv_grad_weight_workspace(const ls_conv_engine *engine, const ls_sig *sig,
                                     int n_threads) {
    return make_job(engine, sig, NULL, n_threads).total_bytes;
}

ls_status ls_conv_grad_weight(const ls_conv_engine *engine, const ls_launch *launch) {
    weight_job job =
        make_job(engine, launch->sig, launch->workspace, ls_pool_threads(launch->pool));
    const ls_conv_shape *v = &job.shape;
    const int64_t n_weights = v->o * job.n_taps;
    job.launch = launch;
    int64_t k = 0;
    for (int64_t c = 0; c < v->c; c++)
        for (int64_t r = 0; r < v->r; r++)
            for (int64_t s = 0; s < v->s; s++)
                job.offset[k++] = (int32_t)ls_conv_planes_tap(&job.planes, c, r, s);
    if (v->b == 0)
        memset(job.parts, 0, (size_t)job.part_count * sizeof(float));
    else
        LS_TRY(ls_pool_run(launch->pool, job.n_parts, run_part, &job));
    LS_TRY(ls_pool_run(launch->pool, divide_up(job.part_count, ADD_BLOCK), add_parts, &job));
    ls_convert(launch->out[0].data, launch->out[0].dtype, job.parts, LS_DTYPE_F32, n_weights);
    if (launch->sig->n_out > 1)
        ls_convert(launch->out[1].data, launch->out[1].dtype, job.parts + n_weights, LS_DTYPE_F32,
                   v->o);
    return LS_OK;
}
