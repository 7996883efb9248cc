/* Choosing a device, and the counting that all devices share. */
#include "device/device.h"
#include <string.h>

static const ls_device_ops *const known_devices[] = {
    &ls_device_cpu_ops,
    &ls_device_fake_ops,
#ifdef LS_CUDA
    &ls_device_cuda_ops,
#endif
};
enum { N_KNOWN = sizeof known_devices / sizeof known_devices[0] };

ls_status ls_device_create(const char *name, int ordinal, ls_device **out) {
    for (int i = 0; i < N_KNOWN; i++)
        if (strcmp(name, known_devices[i]->name) == 0)
            return known_devices[i]->create(ordinal, out);
    if (strcmp(name, "cuda") == 0)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "device 'cuda' was asked for, but this build has no CUDA; "
                       "build with -DLS_CUDA=ON, or use device 'cpu'");
    return LS_FAIL(LS_ERR_INVALID, "device '%s' is not known; use cpu, fake or cuda", name);
}

void ls_device_destroy(ls_device *device) {
    if (device) device->ops->destroy(device);
}

/* The counters are plain members in the header, for readers; here they change by atomic operations. */
static void count_alloc(ls_device *device, size_t bytes) {
    const size_t held = __atomic_add_fetch(&device->allocated_bytes, bytes, __ATOMIC_RELAXED);
    size_t peak = __atomic_load_n(&device->peak_bytes, __ATOMIC_RELAXED);
    while (held > peak && !__atomic_compare_exchange_n(&device->peak_bytes, &peak, held, 1,
                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    __atomic_add_fetch(&device->n_allocs, 1, __ATOMIC_RELAXED);
}

void ls_device_count(ls_device *device, int64_t bytes) {
    if (bytes > 0)
        count_alloc(device, (size_t)bytes);
    else
        __atomic_sub_fetch(&device->allocated_bytes, (size_t)-bytes, __ATOMIC_RELAXED);
}

ls_status ls_device_alloc(ls_device *device, size_t bytes, void **out) {
    void *ptr;
    LS_TRY(device->ops->alloc(device, bytes, &ptr));
    count_alloc(device, bytes);
    *out = ptr;
    return LS_OK;
}

void ls_device_release(ls_device *device, void *ptr, size_t bytes) {
    if (!ptr) return;
    device->ops->release(device, ptr, bytes);
    __atomic_sub_fetch(&device->allocated_bytes, bytes, __ATOMIC_RELAXED);
}
