/* Dims that stay neighbours are merged first. Then either rows stay whole (the last dim stays last) and are copied, or the plane of
 * y's last dim and x's last dim is turned in tiles that fit the first-level cache. Tasks are (outer index, band of tiles). */
#include "op/transpose/transpose_copy.h"

#include "op/transpose/transpose.h"
#include <string.h>

enum { TRANSPOSE_TILE = 32 };

typedef struct turn_job {
    const char *x;
    char *y;
    int64_t size;               /* bytes of an element */
    int n_dims;                 /* of y after merging */
    int64_t dims[LS_MAX_DIMS];  /* of y */
    int64_t step[LS_MAX_DIMS];  /* elements of x from one index of y's dim to the next */
    int64_t place[LS_MAX_DIMS]; /* the same in y */
    int plane;                  /* y's dim with step 1; n_dims - 1 when rows stay whole */
    int64_t bands;              /* of tiles along `plane` */
} turn_job;

/* y's dims with their steps in x; neighbours in both are joined, dims of size 1 dropped. */
static void merge_dims(const ls_launch *launch, turn_job *job) {
    const ls_transpose_attr *a = launch->sig->attr;
    const ls_shape *x = &launch->in[0].shape;
    int64_t stride[LS_MAX_DIMS] = {0}, step = 1;
    for (int i = x->n_dims - 1; i >= 0; i--) {
        stride[i] = step;
        step *= x->dims[i];
    }
    for (int i = 0; i < a->n_dims; i++) {
        const int64_t n = x->dims[a->perm[i]], s = stride[a->perm[i]];
        const int last = job->n_dims - 1;
        if (n == 1) continue;
        if (last >= 0 && job->step[last] == n * s) {
            job->dims[last] *= n;
            job->step[last] = s;
        } else {
            job->dims[job->n_dims] = n;
            job->step[job->n_dims++] = s;
        }
    }
    step = 1;
    for (int i = job->n_dims - 1; i >= 0; i--) {
        job->place[i] = step;
        step *= job->dims[i];
        if (job->step[i] == 1) job->plane = i;
    }
}

/* Through a small buffer with rows of an odd length: x and y are then read and written along their lines, which matters where
 * their steps are powers of two and fall into few sets of the cache. */
#define TURN_TILE(type)                                                                        \
    do {                                                                                       \
        type tile[TRANSPOSE_TILE][TRANSPOSE_TILE + 1];                                         \
        for (int64_t j = 0; j < n_j; j++)                                                      \
            memcpy(tile[j], x + j * step * (int64_t)sizeof(type), (size_t)n_i * sizeof(type)); \
        for (int64_t i = 0; i < n_i; i++) {                                                    \
            type row[TRANSPOSE_TILE];                                                          \
            for (int64_t j = 0; j < n_j; j++) row[j] = tile[j][i];                             \
            memcpy(y + i * place * (int64_t)sizeof(type), row, (size_t)n_j * sizeof(type));    \
        }                                                                                      \
    } while (0)

/* n_i of the plane dim (adjacent in x) by n_j of the last dim (adjacent in y). */
static void turn_tile(const turn_job *job, const char *x, char *y, int64_t n_i, int64_t n_j) {
    const int64_t place = job->place[job->plane], step = job->step[job->n_dims - 1];
    switch (job->size) {
    case 1:
        TURN_TILE(uint8_t);
        break;
    case 2:
        TURN_TILE(uint16_t);
        break;
    case 4:
        TURN_TILE(uint32_t);
        break;
    default:
        TURN_TILE(uint64_t);
        break;
    }
}

static void turn_band(const turn_job *job, const char *x, char *y, int64_t band) {
    const int last = job->n_dims - 1;
    const int64_t i = band * TRANSPOSE_TILE, left_i = job->dims[job->plane] - i;
    const int64_t n_i = left_i < TRANSPOSE_TILE ? left_i : TRANSPOSE_TILE;
    for (int64_t j = 0; j < job->dims[last]; j += TRANSPOSE_TILE) {
        const int64_t left = job->dims[last] - j;
        turn_tile(job, x + (i + j * job->step[last]) * job->size,
                  y + (i * job->place[job->plane] + j) * job->size, n_i,
                  left < TRANSPOSE_TILE ? left : TRANSPOSE_TILE);
    }
}

static ls_status run_task(void *user, int64_t task, int worker) {
    const turn_job *job = user;
    int64_t rest = task / job->bands, from = 0, to = 0;
    (void)worker;
    for (int i = job->n_dims - 2; i >= 0; i--) {
        if (i == job->plane) continue;
        from += rest % job->dims[i] * job->step[i];
        to += rest % job->dims[i] * job->place[i];
        rest /= job->dims[i];
    }
    const char *x = job->x + from * job->size;
    char *y = job->y + to * job->size;
    if (job->plane == job->n_dims - 1)
        memcpy(y, x, (size_t)(job->dims[job->plane] * job->size));
    else
        turn_band(job, x, y, task % job->bands);
    return LS_OK;
}

ls_status ls_transpose_tiles(const ls_launch *launch) {
    const int64_t count = ls_shape_count(&launch->in[0].shape);
    turn_job job = {.x = launch->in[0].data, .y = launch->out[0].data, .bands = 1};
    job.size = (int64_t)ls_dtype_bytes(launch->in[0].dtype);
    merge_dims(launch, &job);
    if (count == 0) return LS_OK;
    if (job.n_dims <= 1) {
        memcpy(job.y, job.x, (size_t)(count * job.size));
        return LS_OK;
    }
    int64_t n_outer = count / job.dims[job.n_dims - 1];
    if (job.plane != job.n_dims - 1) {
        n_outer /= job.dims[job.plane];
        job.bands = (job.dims[job.plane] + TRANSPOSE_TILE - 1) / TRANSPOSE_TILE;
    }
    return ls_pool_run(launch->pool, n_outer * job.bands, run_task, &job);
}
