/* A device: bytes, copies, nothing of dtypes. cpu allocates and computes; fake only counts (for planning without a device).
 * Thread-safety: alloc, free and stats are thread-safe. Local. */
#ifndef LS_DEVICE_H
#define LS_DEVICE_H
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

typedef enum ls_device_kind {
    LS_DEVICE_CPU,
    LS_DEVICE_FAKE,
    LS_DEVICE_CUDA,
    LS_DEVICE_KIND_COUNT
} ls_device_kind;

typedef struct ls_device ls_device;

typedef struct ls_device_ops {
    const char *name; /* "cpu", "fake", "cuda" */
    ls_device_kind kind;
    ls_status (*create)(int ordinal, ls_device **out);
    void (*destroy)(ls_device *device);
    /* Zeroed memory aligned to 64 bytes at least (page for large blocks). */
    ls_status (*alloc)(ls_device *device, size_t bytes, void **out);
    void (*release)(ls_device *device, void *ptr, size_t bytes);
    ls_status (*copy_in)(ls_device *device, void *dst, const void *host_src, size_t bytes);
    ls_status (*copy_out)(ls_device *device, void *host_dst, const void *src, size_t bytes);
    ls_status (*synchronize)(ls_device *device);
} ls_device_ops;

struct ls_device {
    const ls_device_ops *ops;
    int ordinal;
    size_t allocated_bytes; /* now held */
    size_t peak_bytes;      /* most ever held */
    int64_t n_allocs;
};

extern const ls_device_ops ls_device_cpu_ops, ls_device_fake_ops, ls_device_cuda_ops;

/* "cpu", "fake" or "cuda"; cuda where it was not built, or has no GPU, is LS_ERR_UNSUPPORTED and says so. */
LS_API ls_status ls_device_create(const char *name, int ordinal, ls_device **out);
LS_API void ls_device_destroy(ls_device *device);
LS_API ls_status ls_device_alloc(ls_device *device, size_t bytes, void **out);
/* Counts memory that somebody else holds for this device (negative: gives it up), as alloc and release do. */
LS_API void ls_device_count(ls_device *device, int64_t bytes);
LS_API void ls_device_release(ls_device *device, void *ptr, size_t bytes);

#endif
