/* Rows are summed in blocks of FUSED_ROWS in row order, blocks in tree order: the order of op reduce_rows.
 * A tile of every value lies in a buffer of the first-level cache, which the next value takes over when nobody reads it again.
 * Which level's tile functions run follows from the level of this kernel, which the plan chose: fused_avx512bf16.c takes those of
 * avx512. */
#include "op/fused/fused.h"
#include "op/simd_bf16.h"
#include "op/tile.h"

#ifdef __AVX512BF16__
#define FUSED_STEP_LEVEL LS_ISA_AVX512
#else
#define FUSED_STEP_LEVEL LS_KERNEL_ISA_LEVEL
#endif

enum { FUSED_ROWS = 64 };

typedef struct fused_run { /* one step */
    ls_tile_fn fn;
    int n_tiled, first_result;
    ls_launch launch; /* the step's own attributes, types and scalars; position */
    ls_fused_sig sig;
    ls_tensor operands[LS_FUSED_STEP_IN]; /* data of the node's inputs only */
} fused_run;

typedef struct fused_job {
    const ls_launch *launch;
    const ls_fused_attr *attr;
    int64_t count;
    fused_run steps[LS_FUSED_STEPS];
    ls_type types[LS_FUSED_VALUES];
    int last_read[LS_FUSED_VALUES]; /* step; -1: none, n_steps: it leaves */
    int is_read[LS_FUSED_VALUES];   /* by a step */
    int buffer[LS_FUSED_VALUES];
    int64_t n_columns, n_blocks; /* with a sum */
    float *partial;              /* [n_blocks][n_columns] */
    int64_t ahead;               /* bytes of 16-bit elements to the tile after this one */
} fused_job;

static const ls_kernel *step_kernel(const ls_op *op) {
    for (const ls_kernel *const *k = op->kernels; k && *k; k++)
        if ((*k)->isa == FUSED_STEP_LEVEL && (*k)->tile) return *k;
    return NULL;
}

static const char *refuses(const ls_sig *sig) {
    const ls_fused_attr *a = sig->attr;
    ls_type types[LS_FUSED_VALUES];
    memcpy(types, sig->in, sizeof *types * (size_t)sig->n_in);
    if (ls_fused_types(a, types) != LS_OK) return "a step does not take its operands";
    for (int i = 0; i < a->n_steps; i++) {
        ls_fused_sig s;
        const ls_kernel *kernel = step_kernel(a->steps[i].op);
        ls_fused_step_sig(a, i, types, &s);
        if (!kernel) return "a step has no kernel of this level that runs by tiles";
        if (kernel->refuses && kernel->refuses(&s.sig)) return kernel->refuses(&s.sig);
    }
    return NULL;
}

static void prepare_step(fused_job *job, int i) {
    const ls_fused_step *step = &job->attr->steps[i];
    fused_run *run = &job->steps[i];
    ls_fused_step_sig(job->attr, i, job->types, &run->sig);
    run->fn = step_kernel(step->op)->tile(&run->sig.sig, &run->n_tiled);
    run->first_result = ls_fused_first_result(job->attr, i);
    for (int k = 0; k < step->n_in; k++) {
        const int v = step->in[k];
        if (v < job->attr->n_in) run->operands[k] = job->launch->in[v];
        job->last_read[v] = i;
        job->is_read[v] = 1;
    }
    run->launch = *job->launch;
    run->launch.sig = &run->sig.sig;
    run->launch.in = run->operands;
    run->launch.out = NULL;
}

/* A result may take the buffer of an operand that dies: tile functions read an element before they write it. */
static void assign_buffers(fused_job *job) {
    char taken[LS_FUSED_VALUES] = {0};
    for (int v = 0; v < LS_FUSED_VALUES; v++) job->buffer[v] = -1;
    for (int i = 0; i < job->attr->n_steps; i++) {
        const ls_fused_step *step = &job->attr->steps[i];
        const int first = job->steps[i].first_result;
        for (int k = 0; k < step->n_in + step->n_out; k++) {
            const int v = k < step->n_in ? step->in[k] : first + k - step->n_in;
            if (k == step->n_in)
                for (int j = 0; j < step->n_in; j++)
                    if (job->last_read[step->in[j]] == i) taken[job->buffer[step->in[j]]] = 0;
            if (job->buffer[v] >= 0) continue;
            int b = 0;
            while (taken[b]) b++;
            taken[b] = 1;
            job->buffer[v] = b;
        }
    }
}

static int64_t count_blocks(const ls_sig *sig) {
    const int64_t n = ls_type_count(&sig->out[sig->n_out - 1]);
    const int64_t n_rows = n ? ls_type_count(&sig->out[0]) / n : 0;
    return (n_rows + FUSED_ROWS - 1) / FUSED_ROWS;
}

static size_t workspace(const ls_sig *sig, int n_threads) {
    (void)n_threads;
    if (!((const ls_fused_attr *)sig->attr)->sum.value) return 0;
    return (size_t)(count_blocks(sig) * ls_type_count(&sig->out[sig->n_out - 1])) * sizeof(float);
}

static ls_status prepare(fused_job *job, const ls_launch *launch) {
    const ls_fused_attr *a = launch->sig->attr;
    job->launch = launch;
    job->attr = a;
    job->count = ls_type_count(&launch->sig->out[0]);
    memcpy(job->types, launch->sig->in, sizeof *job->types * (size_t)a->n_in);
    LS_TRY(ls_fused_types(a, job->types));
    for (int v = 0; v < LS_FUSED_VALUES; v++) job->last_read[v] = -1;
    for (int i = 0; i < a->n_steps; i++) prepare_step(job, i);
    for (int i = 0; i < a->n_out; i++) job->last_read[a->out[i]] = a->n_steps;
    assign_buffers(job);
    job->ahead = 2 * TILE_ELEMENTS;
    if (!a->sum.value) return LS_OK;
    job->is_read[a->sum.value] = 1;
    job->n_columns = ls_type_count(&launch->sig->out[a->n_out]);
    job->ahead = 2 * job->n_columns;
    job->n_blocks = count_blocks(launch->sig);
    job->partial = launch->workspace;
    return LS_OK;
}

/* Memory of leaving value v, when the last step may write there: f32, a whole tile. */
static float *direct_result(const fused_job *job, int v, int64_t first) {
    if (job->types[v].dtype != LS_DTYPE_F32 || job->is_read[v]) return NULL;
    for (int i = 0; i < job->attr->n_out; i++)
        if (job->attr->out[i] == v) return (float *)job->launch->out[i].data + first;
    return NULL;
}

/* row_load, row_round and row_store with bf16 in fewer instructions. `ahead` bytes further on lies what comes next: with rows of a matrix
 * taken in pieces the processor does not guess it. */
static void load_row(float *row, const ls_tensor *x, int64_t at, int64_t n, int64_t ahead) {
    const uint16_t *from = (const uint16_t *)x->data + at;
    int64_t i = 0;
    for (; x->dtype == LS_DTYPE_BF16 && i + V16_LANES <= n; i += V16_LANES) {
        __builtin_prefetch((const char *)(from + i) + ahead, 0, 2);
        v16_store_f32(row + i, v16_read(from, LS_DTYPE_BF16, i));
    }
    if (i < n) row_load(row + i, x->data, x->dtype, at + i, n - i, 0.0f);
}

static void round_row(float *row, ls_dtype dtype, int64_t n) {
    if (dtype != LS_DTYPE_BF16)
        row_round(row, dtype, n);
    else
        for (int64_t i = 0; i < n; i += V16_LANES)
            v16_store_f32(row + i, v16_round_bf16(v16_load_f32(row + i)));
}

static void store_row(const ls_tensor *y, int64_t at, const float *row, int64_t n, int64_t ahead) {
    uint16_t *to = (uint16_t *)y->data + at;
    int64_t i = 0;
    for (; y->dtype == LS_DTYPE_BF16 && i + V16_LANES <= n; i += V16_LANES) {
        __builtin_prefetch((const char *)(to + i) + ahead, 1, 2);
        v16_write(to, LS_DTYPE_BF16, i, v16_load_f32(row + i));
    }
    if (i < n) row_store(y->data, y->dtype, at + i, row + i, n - i);
}

static const float *load_operand(const fused_job *job, int v, int64_t first, int64_t n, int whole,
                                 float *buffer) {
    const ls_tensor *x = &job->launch->in[v];
    if (whole && x->dtype == LS_DTYPE_F32) return (const float *)x->data + first;
    load_row(buffer, x, first, n, job->ahead);
    return buffer;
}

/* Elements first .. first + n - 1; those of the value that is summed are added to acc (padded to whole vectors). */
static void run_fused_tile(const fused_job *job, int64_t first, int64_t n, float *acc) {
    float buffers[LS_FUSED_VALUES][TILE_ELEMENTS] __attribute__((aligned(64)));
    const float *at[LS_FUSED_VALUES] = {NULL};
    const ls_fused_attr *a = job->attr;
    const int64_t padded = (n + V16_LANES - 1) / V16_LANES * V16_LANES;
    for (int i = 0; i < a->n_steps; i++) {
        const fused_run *run = &job->steps[i];
        tile t = {.first = first, .n = padded, .launch = &run->launch};
        for (int k = 0; k < run->n_tiled; k++) {
            const int v = a->steps[i].in[k];
            if (!at[v])
                at[v] = load_operand(job, v, first, n, padded == n, buffers[job->buffer[v]]);
            t.in[k] = at[v];
        }
        for (int k = 0; k < a->steps[i].n_out; k++) {
            const int v = run->first_result + k;
            float *direct = NULL;
            if (i == a->n_steps - 1 && padded == n) direct = direct_result(job, v, first);
            t.out[k] = direct ? direct : buffers[job->buffer[v]];
            at[v] = t.out[k];
        }
        run->fn(&t);
        for (int k = 0; k < a->steps[i].n_out; k++)
            if (job->is_read[run->first_result + k])
                round_row(t.out[k], job->types[run->first_result + k].dtype, padded);
    }
    /* last: out[0] may lie over an input */
    for (int i = 0; i < a->n_out; i++) {
        const ls_tensor *y = &job->launch->out[i];
        if (at[a->out[i]] == buffers[job->buffer[a->out[i]]])
            store_row(y, first, at[a->out[i]], n, job->ahead);
    }
    if (acc) row_add(acc, at[a->sum.value], LS_DTYPE_F32, 0, padded);
}

static ls_status run_fused_task(void *user, int64_t task, int worker) {
    const fused_job *job = user;
    const int64_t begin = task * TILE_PER_TASK * TILE_ELEMENTS;
    const int64_t end = begin + TILE_PER_TASK * TILE_ELEMENTS;
    (void)worker;
    for (int64_t first = begin; first < end && first < job->count; first += TILE_ELEMENTS)
        run_fused_tile(job, first,
                       job->count - first < TILE_ELEMENTS ? job->count - first : TILE_ELEMENTS,
                       NULL);
    return LS_OK;
}

static int64_t count_chunks(const fused_job *job) {
    return (job->n_columns + TILE_ELEMENTS - 1) / TILE_ELEMENTS;
}

/* task = block of rows * chunks + chunk of columns */
static ls_status run_block_task(void *user, int64_t task, int worker) {
    const fused_job *job = user;
    const int64_t block = task / count_chunks(job),
                  column = task % count_chunks(job) * TILE_ELEMENTS;
    const int64_t left = job->n_columns - column, n = left < TILE_ELEMENTS ? left : TILE_ELEMENTS;
    const int64_t n_rows = job->count / job->n_columns, begin = block * FUSED_ROWS;
    float acc[TILE_ELEMENTS] __attribute__((aligned(64))) = {0};
    (void)worker;
    for (int64_t row = begin; row < begin + FUSED_ROWS && row < n_rows; row++)
        run_fused_tile(job, row * job->n_columns + column, n, acc);
    memcpy(job->partial + block * job->n_columns + column, acc, (size_t)n * sizeof *acc);
    return LS_OK;
}

/* Tree over the blocks of one chunk of columns. */
static ls_status run_tree_task(void *user, int64_t task, int worker) {
    const fused_job *job = user;
    const int64_t column = task * TILE_ELEMENTS, left = job->n_columns - column;
    const int64_t n = left < TILE_ELEMENTS ? left : TILE_ELEMENTS;
    const ls_tensor *y = &job->launch->out[job->attr->n_out];
    float acc[TILE_ELEMENTS] __attribute__((aligned(64))) = {0};
    float *at = job->partial + column;
    (void)worker;
    for (int64_t step = 1; step < job->n_blocks; step *= 2)
        for (int64_t b = 0; b + step < job->n_blocks; b += 2 * step) {
            row_load(acc, at + b * job->n_columns, LS_DTYPE_F32, 0, n, 0.0f);
            row_add(acc, at + (b + step) * job->n_columns, LS_DTYPE_F32, 0, n);
            row_store(at + b * job->n_columns, LS_DTYPE_F32, 0, acc, n);
        }
    if (job->n_blocks) row_load(acc, at, LS_DTYPE_F32, 0, n, 0.0f);
    row_store(y->data, y->dtype, column, acc, n);
    return LS_OK;
}

static ls_status launch(const ls_launch *launch) {
    fused_job job = {0};
    LS_TRY(prepare(&job, launch));
    if (job.attr->sum.value) {
        const int64_t chunks = count_chunks(&job);
        LS_TRY(ls_pool_run(launch->pool, job.n_blocks * chunks, run_block_task, &job));
        return ls_pool_run(launch->pool, chunks, run_tree_task, &job);
    }
    const int64_t per_task = TILE_PER_TASK * TILE_ELEMENTS;
    return ls_pool_run(launch->pool, (job.count + per_task - 1) / per_task, run_fused_task, &job);
}

LS_CPU_KERNEL(fused) = {LS_CPU_KERNEL_HEAD("fused"), .refuses = refuses,
                        .workspace_bytes = workspace, .launch = launch};
