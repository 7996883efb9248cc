#include "op/cpu_kernel.h"
#include "op/rope/rope.h"
#include "op/simd.h"

/* A task is ROPE_POSITIONS neighbouring positions of every batch row, whose rows follow each other in memory. Cosines and sines of the first
 * position come from the library, those of the next ones by turning in double (the error stays under 1e-13): both depend on the task
 * alone. */
enum { ROPE_POSITIONS = 32 };

typedef struct rope_job {
    const ls_launch *launch;
    const ls_rope_attr *attr;
    int64_t n_positions, n_heads, size, size_pad;
} rope_job;

/* One worker's memory. */
typedef struct turn_table {
    double *cos, *sin, *step_cos, *step_sin; /* [K / 2] */
    float *cos_f32,
        *sin_f32; /* [ROPE_POSITIONS, K padded] laid out like the rows: one factor an element */
    float *row, *swapped; /* [K] */
} turn_table;

static size_t worker_bytes(int64_t size) {
    const size_t pad = (size_t)(size + V16_LANES - 1) / V16_LANES * V16_LANES;
    return pad * (2 * sizeof(double) + (2 * ROPE_POSITIONS + 2) * sizeof(float));
}

static turn_table table_of(const rope_job *job, int worker) {
    const int64_t pad = job->size_pad;
    char *base = (char *)job->launch->workspace + (size_t)worker * worker_bytes(job->size);
    double *wide = (double *)base;
    float *narrow = (float *)(wide + 2 * pad);
    float *rows = narrow + 2 * ROPE_POSITIONS * pad;
    return (turn_table){.cos = wide,
                        .sin = wide + pad / 2,
                        .step_cos = wide + pad,
                        .step_sin = wide + pad + pad / 2,
                        .cos_f32 = narrow,
                        .sin_f32 = narrow + ROPE_POSITIONS * pad,
                        .row = rows,
                        .swapped = rows + pad};
}

static void begin_table(const rope_job *job, int64_t position, const turn_table *t) {
    const double inverse = job->attr->inverse ? -1.0 : 1.0;
    for (int64_t i = 0; i < job->size / 2; i++) {
        const double angle = pow(job->attr->theta, -2.0 * (double)i / (double)job->size);
        t->cos[i] = cos((double)position * angle);
        t->sin[i] = inverse * sin((double)position * angle);
        t->step_cos[i] = cos(angle);
        t->step_sin[i] = inverse * sin(angle);
    }
}

static void step_table(const rope_job *job, const turn_table *t) {
    for (int64_t i = 0; i < job->size / 2; i++) {
        const double c = t->cos[i] * t->step_cos[i] - t->sin[i] * t->step_sin[i];
        t->sin[i] = t->sin[i] * t->step_cos[i] + t->cos[i] * t->step_sin[i];
        t->cos[i] = c;
    }
}

/* y[e] = x[e] * cos[e] + x[partner of e] * sin[e], the sign being part of sin. */
static void spread_table(const rope_job *job, const turn_table *t, int64_t position) {
    const int64_t half = job->size / 2;
    float *cos_f32 = t->cos_f32 + position * job->size_pad;
    float *sin_f32 = t->sin_f32 + position * job->size_pad;
    for (int64_t i = 0; i < half; i++) {
        const int64_t first = job->attr->interleaved ? 2 * i : i;
        const int64_t second = job->attr->interleaved ? first + 1 : i + half;
        cos_f32[first] = cos_f32[second] = (float)t->cos[i];
        sin_f32[first] = -(float)t->sin[i];
        sin_f32[second] = (float)t->sin[i];
    }
}

static void swap_partners(const rope_job *job, const float *row, float *swapped) {
    const int64_t half = job->size / 2;
    if (job->attr->interleaved) {
        for (int64_t i = 0; i < half; i++) {
            swapped[2 * i] = row[2 * i + 1];
            swapped[2 * i + 1] = row[2 * i];
        }
        return;
    }
    memcpy(swapped, row + half, (size_t)half * sizeof *row);
    memcpy(swapped + half, row, (size_t)half * sizeof *row);
}

/* A row from element `at` on, and the factors of its position. */
typedef struct turned_row {
    int64_t at;
    const float *cos, *sin;
} turned_row;

static void turn_any(const rope_job *job, const turned_row *r, const turn_table *t) {
    const ls_tensor *x = &job->launch->in[0];
    ls_tensor *y = &job->launch->out[0];
    row_load(t->row, x->data, x->dtype, r->at, job->size, 0);
    swap_partners(job, t->row, t->swapped);
    for (int64_t i = 0; i < job->size; i += 16) {
        const v16 partner = v16_load_f32(t->swapped + i) * v16_load_f32(r->sin + i);
        v16_store_f32(t->row + i, v16_load_f32(t->row + i) * v16_load_f32(r->cos + i) + partner);
    }
    row_store(y->data, y->dtype, r->at, t->row, job->size);
}

/* Halves of whole vectors, partners in registers. The result may lie over the operand. */
V16_INLINE void turn_halves_as(const rope_job *job, ls_dtype dtype, const turned_row *r) {
    const void *x = job->launch->in[0].data;
    void *y = job->launch->out[0].data;
    const int64_t half = job->size / 2;
    for (int64_t i = 0, k = half; i < half; i += V16_LANES, k += V16_LANES) {
        const v16 low = v16_load(x, dtype, r->at + i), high = v16_load(x, dtype, r->at + k);
        const v16 to_low = high * v16_load_f32(r->sin + i),
                  to_high = low * v16_load_f32(r->sin + k);
        v16_store(y, dtype, r->at + i, low * v16_load_f32(r->cos + i) + to_low);
        v16_store(y, dtype, r->at + k, high * v16_load_f32(r->cos + k) + to_high);
    }
}

static void turn_row(const rope_job *job, const turned_row *r, const turn_table *t) {
    const ls_dtype dtype = job->launch->in[0].dtype;
    if (job->attr->interleaved || job->size / 2 % V16_LANES != 0)
        turn_any(job, r, t);
    else if (dtype == LS_DTYPE_F32)
        turn_halves_as(job, LS_DTYPE_F32, r);
    else if (dtype == LS_DTYPE_BF16)
        turn_halves_as(job, LS_DTYPE_BF16, r);
    else
        turn_halves_as(job, LS_DTYPE_F16, r);
}

static ls_status turn_positions(void *user, int64_t task, int worker) {
    const rope_job *job = user;
    const turn_table t = table_of(job, worker);
    const int64_t begin = task * ROPE_POSITIONS, left = job->n_positions - begin;
    const int64_t n = left < ROPE_POSITIONS ? left : ROPE_POSITIONS;
    begin_table(job, job->attr->position_offset + begin, &t);
    for (int64_t p = 0; p < n; p++) {
        spread_table(job, &t, p);
        step_table(job, &t);
    }
    for (int64_t b = 0; b < job->launch->in[0].shape.dims[0]; b++)
        for (int64_t i = 0; i < n * job->n_heads; i++) {
            const int64_t p = i / job->n_heads;
            const turned_row row = {((b * job->n_positions + begin) * job->n_heads + i) * job->size,
                                    t.cos_f32 + p * job->size_pad, t.sin_f32 + p * job->size_pad};
            turn_row(job, &row, &t);
        }
    return LS_OK;
}

static size_t workspace(const ls_sig *sig, int n_threads) {
    return (size_t)n_threads * worker_bytes(sig->in[0].shape.dims[3]);
}

static const char *refuses(const ls_sig *sig) {
    return v16_accepts(sig->in[0].dtype) ? NULL : "x is not f32, bf16 or f16";
}

static ls_status launch(const ls_launch *l) {
    const int64_t *dims = l->in[0].shape.dims;
    rope_job job = {l, l->sig->attr, dims[1], dims[2], dims[3], 0};
    job.size_pad = (job.size + V16_LANES - 1) / V16_LANES * V16_LANES;
    return ls_pool_run(l->pool, (dims[1] + ROPE_POSITIONS - 1) / ROPE_POSITIONS, turn_positions,
                       &job);
}

LS_CPU_KERNEL(rope) = {LS_CPU_KERNEL_HEAD("rope"), .refuses = refuses, .workspace_bytes = workspace,
                       .launch = launch};
