#include "op/cast/cast.h"
#include "op/tile.h"

/* Results of this many bytes and more are written past the caches: the copies of a large model's weights are not there any more when
 * they are read, unless the next node does. `make bench` times both. */
enum { CAST_STREAM_BYTES = 2 << 20, CAST_STREAM_BYTES_READ_NEXT = 16 << 20 };

static void copy_tile(const tile *t) {
    for (int64_t i = 0; i < t->n; i += V16_LANES)
        v16_store_f32(t->out[0] + i, v16_load_f32(t->in[0] + i));
}

static ls_tile_fn tile_of(const ls_sig *sig, int *n_tiled_out) {
    (void)sig;
    *n_tiled_out = 1;
    return copy_tile;
}

typedef struct cast_job {
    const ls_tensor *in, *out;
    int64_t count;
    int stream; /* to bf16: the result is aligned to 64 bytes and large */
} cast_job;

enum { CAST_TASK_ELEMENTS = TILE_PER_TASK * TILE_ELEMENTS };

V16_INLINE void put_bf16(uint16_t *to, v16h x, int stream) {
    if (stream)
        v16h_stream(to, x);
    else
        v16h_store(to, x);
}

V16_INLINE void narrow(const cast_job *job, int64_t first, int64_t n, int stream) {
    const float *from = (const float *)job->in->data + first;
    uint16_t *to = (uint16_t *)job->out->data + first;
    int64_t i = 0;
    for (; i + V16_LANES <= n; i += V16_LANES)
        put_bf16(to + i, v16_to_bf16(v16_load_f32(from + i)), stream);
    if (i < n) v16h_store_n(to + i, v16_to_bf16(v16_load_f32_n(from + i, n - i, 0)), n - i);
}

/* f32 to bf16, without a stop in a buffer. */
static ls_status narrow_task(void *user, int64_t task, int worker) {
    const cast_job *job = user;
    const int64_t first = task * CAST_TASK_ELEMENTS, left = job->count - first;
    const int64_t n = left < CAST_TASK_ELEMENTS ? left : CAST_TASK_ELEMENTS;
    (void)worker;
    if (!job->stream) {
        narrow(job, first, n, 0);
        return LS_OK;
    }
    narrow(job, first, n, 1);
    v16_stream_end();
    return LS_OK;
}

static ls_status launch(const ls_launch *l) {
    cast_job job = {.in = &l->in[0], .out = &l->out[0], .count = ls_type_count(&l->sig->out[0])};
    if (job.in->dtype != LS_DTYPE_F32 || job.out->dtype != LS_DTYPE_BF16)
        return launch_tiles(l, tile_of);
    const ls_cast_attr *attr = l->sig->attr;
    const size_t most = attr->read_next ? CAST_STREAM_BYTES_READ_NEXT : CAST_STREAM_BYTES;
    job.stream = ls_tensor_bytes(job.out) >= most && (uintptr_t)job.out->data % 64 == 0;
    return ls_pool_run(l->pool, (job.count + CAST_TASK_ELEMENTS - 1) / CAST_TASK_ELEMENTS,
                       narrow_task, &job);
}

LS_CPU_KERNEL(cast_fwd) = {LS_CPU_KERNEL_HEAD("cast_fwd"), .refuses = ls_refuses_wide,
                           .launch = launch, .tile = tile_of};
