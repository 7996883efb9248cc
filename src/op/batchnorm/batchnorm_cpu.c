/* Rows are cut into blocks of BLOCK_ROWS, which are the tasks; a vector holds sixteen channels of a row. A block's sums are f32, of every
 * CHAINS-th row each; blocks are added in f64, ascending. So the thread count changes no bit. */
#include "op/batchnorm/batchnorm.h"

#include "op/cpu_kernel.h"
#include "op/simd.h"

enum { BLOCK_ROWS = 128, CHAINS = 4, LANES = V16_LANES };
enum { MIXED = -1 }; /* operands of several dtypes, or a rare one */
enum { MEAN, FACTOR, SHIFT, SLOPE = SHIFT, MEAN_DY, N_VECTORS };

typedef struct norm_job {
    const ls_launch *launch;
    const ls_tensor *x, *dy;
    const ls_tensor *more, *relu; /* backward: second term of dy, relu's result; or NULL */
    const ls_tensor *residual;    /* forward, or NULL */
    int relus;                    /* forward: negatives become 0 */
    int dtype;                    /* of x, y and all like them, or MIXED */
    ls_tensor *y;
    ls_channels n;
    int64_t padded, n_blocks; /* channels, in whole vectors */
    float *vectors;           /* [N_VECTORS][padded] */
    float *sums[2];           /* [n_blocks][padded] */
    double eps;
} norm_job;

static int64_t count_padded(const ls_channels *n) {
    return (n->n_channels + LANES - 1) / LANES * LANES;
}

static int64_t count_blocks(const ls_channels *n) {
    return (n->n_rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
}

static size_t workspace_bytes(const ls_sig *sig, int n_threads) {
    const ls_channels n = ls_channels_of(&sig->in[0].shape);
    (void)n_threads;
    return (size_t)(count_padded(&n) * (2 * count_blocks(&n) + N_VECTORS)) * sizeof(float);
}

static int64_t rows_of(const norm_job *job, int64_t block) {
    const int64_t left = job->n.n_rows - block * BLOCK_ROWS;
    return left < BLOCK_ROWS ? left : BLOCK_ROWS;
}

/* dtype and, but for the last vector of a row, n are constants. */
/* What inner loops read of a tensor, in registers. */
typedef struct elements {
    void *data;
    ls_dtype dtype;
} elements;

V16_INLINE elements elements_of(const ls_tensor *t) {
    return (elements){t->data, t->dtype};
}

V16_INLINE v16 load_at(const elements *t, int dtype, int64_t at, int64_t n) {
    return v16_load_n(t->data, dtype == MIXED ? t->dtype : (ls_dtype)dtype, at, n, 0);
}

V16_INLINE void store_at(const elements *t, int dtype, int64_t at, v16 x, int64_t n) {
    v16_store_n(t->data, dtype == MIXED ? t->dtype : (ls_dtype)dtype, at, x, n);
}

/* As a store and a load would leave it; of a NaN only what a bf16 holds counts. */
V16_INLINE v16 round_as(const elements *t, int dtype, v16 x) {
    const ls_dtype to = dtype == MIXED ? t->dtype : (ls_dtype)dtype;
    if (to == LS_DTYPE_F16) return v16_from_f16(v16_to_f16(x));
    if (to != LS_DTYPE_BF16) return x;
    const v16u bits = (v16u)x;
    const v16u rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    return v16_select(v16_is_nan(x), x, (v16)rounded);
}

/* x, or 0 where gate is 0 or less. */
V16_INLINE v16 pass_gate(v16 gate, v16 x) {
#ifdef __AVX512F__ /* GCC 12 takes the mask of a comparison through a vector */
    const __m512 zero = _mm512_setzero_ps();
    return (v16)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(zero, (__m512)gate, _CMP_NGE_UQ), (__m512)x);
#else
    return v16_select(v16_ge(v16_set(0), gate), v16_set(0), x);
#endif
}

V16_INLINE v16 add_chains(const v16 sum[CHAINS]) {
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Runs fn(job, block, channel, n, dtype) over the vectors of a block with n and dtype as constants. */
#define RUN_VECTORS(fn, job, block)                                                             \
    do {                                                                                        \
        const int64_t whole = (job)->n.n_channels / LANES * LANES;                              \
        const int64_t rest = (job)->n.n_channels - whole;                                       \
        if ((job)->dtype == LS_DTYPE_BF16)                                                      \
            for (int64_t c = 0; c < whole; c += LANES) fn(job, block, c, LANES, LS_DTYPE_BF16); \
        else if ((job)->dtype == LS_DTYPE_F32)                                                  \
            for (int64_t c = 0; c < whole; c += LANES) fn(job, block, c, LANES, LS_DTYPE_F32);  \
        else                                                                                    \
            for (int64_t c = 0; c < whole; c += LANES) fn(job, block, c, LANES, MIXED);         \
        if (rest) fn(job, block, whole, rest, MIXED);                                           \
    } while (0)

/* --- forward ----------------------------------------------------------------------------------------------------- */

/* A block's sum, and its squared distances from its own mean. */
V16_INLINE void measure_vector(const norm_job *job, int64_t block, int64_t c, int64_t n,
                               int dtype) {
    const int64_t n_rows = rows_of(job, block), step = job->n.n_channels;
    const int64_t first = block * BLOCK_ROWS * step + c;
    const elements x = elements_of(job->x);
    v16 sum[CHAINS], square[CHAINS];
    for (int i = 0; i < CHAINS; i++) sum[i] = square[i] = v16_set(0);
    int64_t i = 0;
    for (; i + CHAINS <= n_rows; i += CHAINS)
        for (int k = 0; k < CHAINS; k++) sum[k] += load_at(&x, dtype, first + (i + k) * step, n);
    for (; i < n_rows; i++) sum[0] += load_at(&x, dtype, first + i * step, n);
    const v16 total = add_chains(sum), mean = total / (float)n_rows;
    for (i = 0; i + CHAINS <= n_rows; i += CHAINS)
        for (int k = 0; k < CHAINS; k++) {
            const v16 d = load_at(&x, dtype, first + (i + k) * step, n) - mean;
            square[k] += d * d;
        }
    for (; i < n_rows; i++) {
        const v16 d = load_at(&x, dtype, first + i * step, n) - mean;
        square[0] += d * d;
    }
    v16_store_f32(job->sums[0] + block * job->padded + c, total);
    v16_store_f32(job->sums[1] + block * job->padded + c, add_chains(square));
}

static ls_status measure_block(void *user, int64_t block, int worker) {
    const norm_job *job = user;
    (void)worker;
    RUN_VECTORS(measure_vector, job, block);
    return LS_OK;
}

/* The blocks' means m and squares become the channel's: sum (x - mean)^2 = sum (x - m)^2 + 2 (m - mean) sum (x - m) + n (m - mean)^2. */
static void join_blocks(const norm_job *job, int64_t c, double *mean_out, double *var_out) {
    const double count = (double)job->n.n_rows;
    double sum = 0, squares = 0;
    for (int64_t b = 0; b < job->n_blocks; b++) sum += job->sums[0][b * job->padded + c];
    const double mean = sum / count;
    for (int64_t b = 0; b < job->n_blocks; b++) {
        const double n = (double)rows_of(job, b);
        const float part = job->sums[0][b * job->padded + c], m = part / (float)n;
        const double away = m - mean;
        squares += job->sums[1][b * job->padded + c] + 2 * away * (part - n * m) + n * away * away;
    }
    *mean_out = mean;
    *var_out = squares < 0 ? 0 : squares / count;
}

static float vector_get(const ls_tensor *vector, int64_t c) {
    return (float)ls_tensor_get(vector, c);
}

static void set_affine(const norm_job *job, int64_t c, float mean, float rstd) {
    job->vectors[MEAN * job->padded + c] = mean;
    job->vectors[FACTOR * job->padded + c] = rstd * vector_get(&job->launch->in[1], c);
    job->vectors[SHIFT * job->padded + c] = vector_get(&job->launch->in[2], c);
}

static ls_status finish_statistics(void *user, int64_t task, int worker) {
    const norm_job *job = user;
    const ls_launch *l = job->launch;
    (void)worker;
    for (int64_t c = task * LANES; c < (task + 1) * LANES && c < job->n.n_channels; c++) {
        double mean, var;
        join_blocks(job, c, &mean, &var);
        const float rstd = (float)(1.0 / sqrt(var + job->eps));
        ((float *)l->out[1].data)[c] = (float)mean;
        ((float *)l->out[2].data)[c] = (float)var;
        ((float *)l->out[3].data)[c] = rstd;
        set_affine(job, c, (float)mean, rstd);
    }
    return LS_OK;
}

V16_INLINE v16 vector_at(const norm_job *job, int which, int64_t c) {
    return v16_load_f32(job->vectors + which * job->padded + c);
}

/* y = (x - mean) * factor + shift and what comes behind the norm, which sees y as it would be in memory. */
V16_INLINE void write_vector(const norm_job *job, int64_t block, int64_t c, int64_t n, int dtype) {
    const int64_t n_rows = rows_of(job, block), step = job->n.n_channels;
    const int64_t first = block * BLOCK_ROWS * step + c;
    const v16 mean = vector_at(job, MEAN, c), factor = vector_at(job, FACTOR, c);
    const v16 shift = vector_at(job, SHIFT, c);
    const elements x = elements_of(job->x), to = elements_of(job->y);
    const elements residual = job->residual ? elements_of(job->residual) : x;
    const int adds = job->residual != NULL, relus = job->relus;
    for (int64_t i = 0, at = first; i < n_rows; i++, at += step) {
        v16 y = (load_at(&x, dtype, at, n) - mean) * factor + shift;
        if (adds) y = round_as(&to, dtype, y) + load_at(&residual, dtype, at, n);
        store_at(&to, dtype, at, relus ? pass_gate(y, y) : y, n);
    }
}

static ls_status write_block(void *user, int64_t block, int worker) {
    const norm_job *job = user;
    (void)worker;
    RUN_VECTORS(write_vector, job, block);
    return LS_OK;
}

/* --- backward ---------------------------------------------------------------------------------------------------- */

/* What dy is made of, in registers. */
typedef struct dy_terms {
    elements dy, more, relu;
    int has_more, has_relu;
} dy_terms;

V16_INLINE dy_terms terms_of(const norm_job *job) {
    return (dy_terms){.dy = elements_of(job->dy),
                      .more = elements_of(job->more ? job->more : job->dy),
                      .relu = elements_of(job->relu ? job->relu : job->dy),
                      .has_more = job->more != NULL,
                      .has_relu = job->relu != NULL};
}

/* dy: the sum of its terms, 0 where relu's result is. */
V16_INLINE v16 load_dy(const dy_terms *t, int dtype, int64_t at, int64_t n) {
    v16 dy = load_at(&t->dy, dtype, at, n);
    if (t->has_more) dy = round_as(&t->dy, dtype, dy + load_at(&t->more, dtype, at, n));
    return t->has_relu ? pass_gate(load_at(&t->relu, dtype, at, n), dy) : dy;
}

/* A block's sum dy * (x - mean) and sum dy. */
V16_INLINE void sum_vector(const norm_job *job, int64_t block, int64_t c, int64_t n, int dtype) {
    const int64_t n_rows = rows_of(job, block), step = job->n.n_channels;
    const int64_t first = block * BLOCK_ROWS * step + c;
    const v16 mean = vector_at(job, MEAN, c);
    const dy_terms terms = terms_of(job);
    const elements x = elements_of(job->x);
    v16 product[CHAINS], plain[CHAINS];
    int64_t i = 0, at = first;
    for (int k = 0; k < CHAINS; k++) product[k] = plain[k] = v16_set(0);
    for (; i + CHAINS <= n_rows; i += CHAINS)
        for (int k = 0; k < CHAINS; k++, at += step) {
            const v16 dy = load_dy(&terms, dtype, at, n);
            product[k] += dy * (load_at(&x, dtype, at, n) - mean);
            plain[k] += dy;
        }
    for (; i < n_rows; i++, at += step) {
        const v16 dy = load_dy(&terms, dtype, at, n);
        product[0] += dy * (load_at(&x, dtype, at, n) - mean);
        plain[0] += dy;
    }
    v16_store_f32(job->sums[0] + block * job->padded + c, add_chains(product));
    v16_store_f32(job->sums[1] + block * job->padded + c, add_chains(plain));
}

static ls_status sum_block(void *user, int64_t block, int worker) {
    const norm_job *job = user;
    (void)worker;
    RUN_VECTORS(sum_vector, job, block);
    return LS_OK;
}

static ls_status finish_sums(void *user, int64_t task, int worker) {
    const norm_job *job = user;
    const ls_launch *l = job->launch;
    const double count = (double)job->n.n_rows;
    (void)worker;
    for (int64_t c = task * LANES; c < (task + 1) * LANES && c < job->n.n_channels; c++) {
        const float rstd = vector_get(&l->in[3], c);
        double sums[2] = {0, 0};
        for (int64_t b = 0; b < job->n_blocks; b++)
            for (int i = 0; i < 2; i++) sums[i] += job->sums[i][b * job->padded + c];
        const double dgamma = sums[0] * rstd;
        job->vectors[FACTOR * job->padded + c] = rstd * vector_get(&l->in[1], c);
        job->vectors[SLOPE * job->padded + c] = (float)(dgamma / count) * rstd;
        job->vectors[MEAN_DY * job->padded + c] = (float)(sums[1] / count);
        ls_tensor_set(&l->out[1], c, dgamma);
        ls_tensor_set(&l->out[2], c, sums[1]);
    }
    return LS_OK;
}

V16_INLINE void differentiate_vector(const norm_job *job, int64_t block, int64_t c, int64_t n,
                                     int dtype) {
    const int64_t n_rows = rows_of(job, block), step = job->n.n_channels;
    const int64_t first = block * BLOCK_ROWS * step + c;
    const v16 mean = vector_at(job, MEAN, c), factor = vector_at(job, FACTOR, c);
    const v16 slope = vector_at(job, SLOPE, c), mean_dy = vector_at(job, MEAN_DY, c);
    const dy_terms terms = terms_of(job);
    const elements x = elements_of(job->x), dx = elements_of(job->y);
    for (int64_t i = 0, at = first; i < n_rows; i++, at += step) {
        const v16 centered = load_at(&x, dtype, at, n) - mean;
        const v16 dy = load_dy(&terms, dtype, at, n);
        store_at(&dx, dtype, at, factor * (dy - mean_dy - centered * slope), n);
    }
}

static ls_status differentiate_block(void *user, int64_t block, int worker) {
    const norm_job *job = user;
    (void)worker;
    RUN_VECTORS(differentiate_vector, job, block);
    return LS_OK;
}

/* --- launches ---------------------------------------------------------------------------------------------------- */

static const char *refuses(const ls_sig *sig) {
    for (int i = 0; i < sig->n_in; i++)
        if (!v16_accepts(sig->in[i].dtype)) return "an input is not f32, bf16 or f16";
    return NULL;
}

static int common_dtype(const norm_job *job) {
    const ls_tensor *like[] = {job->y, job->dy, job->more, job->relu, job->residual};
    for (size_t i = 0; i < sizeof like / sizeof like[0]; i++)
        if (like[i] && like[i]->dtype != job->x->dtype) return MIXED;
    return job->x->dtype;
}

static void set_job(norm_job *job, const ls_launch *l) {
    job->launch = l;
    job->x = &l->in[0];
    job->y = &l->out[0];
    job->n = ls_channels_of(&job->x->shape);
    job->padded = count_padded(&job->n);
    job->n_blocks = count_blocks(&job->n);
    job->vectors = l->workspace;
    job->sums[0] = job->vectors + N_VECTORS * job->padded;
    job->sums[1] = job->sums[0] + job->n_blocks * job->padded;
    job->dtype = common_dtype(job);
}

static norm_job norm_job_of(const ls_launch *l) {
    const ls_batchnorm_attr *a = l->sig->attr;
    norm_job job = {.eps = a->eps, .relus = a->relu};
    if (a->has_residual) job.residual = &l->in[l->sig->n_in - 1];
    set_job(&job, l);
    return job;
}

static ls_status fwd_launch(const ls_launch *l) {
    norm_job job = norm_job_of(l);
    LS_TRY(ls_pool_run(l->pool, job.n_blocks, measure_block, &job));
    LS_TRY(ls_pool_run(l->pool, job.padded / LANES, finish_statistics, &job));
    return ls_pool_run(l->pool, job.n_blocks, write_block, &job);
}

static ls_status eval_launch(const ls_launch *l) {
    norm_job job = norm_job_of(l);
    for (int64_t c = 0; c < job.n.n_channels; c++)
        set_affine(&job, c, vector_get(&l->in[3], c),
                   (float)(1.0 / sqrt(ls_tensor_get(&l->in[4], c) + job.eps)));
    return ls_pool_run(l->pool, job.n_blocks, write_block, &job);
}

static ls_status grad_launch(const ls_launch *l) {
    const ls_batchnorm_grad_attr *a = l->sig->attr;
    norm_job job = {.dy = &l->in[4]};
    if (a->has_more) job.more = &l->in[5];
    if (a->relu) job.relu = &l->in[l->sig->n_in - 1];
    set_job(&job, l);
    for (int64_t c = 0; c < job.n.n_channels; c++)
        job.vectors[MEAN * job.padded + c] = vector_get(&l->in[2], c);
    LS_TRY(ls_pool_run(l->pool, job.n_blocks, sum_block, &job));
    LS_TRY(ls_pool_run(l->pool, job.padded / LANES, finish_sums, &job));
    return ls_pool_run(l->pool, job.n_blocks, differentiate_block, &job);
}

LS_CPU_KERNEL(batchnorm) = {LS_CPU_KERNEL_HEAD("batchnorm"), .refuses = refuses,
                            .workspace_bytes = workspace_bytes, .launch = fwd_launch};
LS_CPU_KERNEL(batchnorm_eval) = {LS_CPU_KERNEL_HEAD("batchnorm_eval"), .refuses = refuses,
                                 .workspace_bytes = workspace_bytes, .launch = eval_launch};
LS_CPU_KERNEL(batchnorm_grad) = {LS_CPU_KERNEL_HEAD("batchnorm_grad"), .refuses = refuses,
                                 .workspace_bytes = workspace_bytes, .launch = grad_launch};
