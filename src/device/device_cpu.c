/* The processor: blocks of 2 MiB and more come from the system with huge pages asked for, smaller ones from the heap. */
#include "base/alloc.h"
#include "device/device.h"
#include <string.h>

static const size_t pages_from_bytes = (size_t)2 << 20;

static ls_status create_cpu(int ordinal, ls_device **out) {
    if (ordinal != 0)
        return LS_FAIL(LS_ERR_INVALID, "cpu device %d was asked for; there is only cpu device 0",
                       ordinal);
    ls_device *device = ls_alloc(sizeof *device);
    if (!device) return LS_ERR_NO_MEMORY;
    device->ops = &ls_device_cpu_ops;
    *out = device;
    return LS_OK;
}

static void destroy_cpu(ls_device *device) {
    ls_free(device);
}

static ls_status alloc_cpu(ls_device *device, size_t bytes, void **out) {
    (void)device;
    void *ptr = bytes >= pages_from_bytes ? ls_alloc_pages(bytes) : ls_alloc(bytes);
    if (!ptr) return LS_ERR_NO_MEMORY;
    *out = ptr;
    return LS_OK;
}

static void release_cpu(ls_device *device, void *ptr, size_t bytes) {
    (void)device;
    if (bytes >= pages_from_bytes)
        ls_free_pages(ptr, bytes);
    else
        ls_free(ptr);
}

static ls_status copy_cpu(ls_device *device, void *dst, const void *src, size_t bytes) {
    (void)device;
    if (bytes) memcpy(dst, src, bytes);
    return LS_OK;
}

static ls_status synchronize_cpu(ls_device *device) {
    (void)device;
    return LS_OK;
}

const ls_device_ops ls_device_cpu_ops = {
    .name = "cpu",
    .kind = LS_DEVICE_CPU,
    .create = create_cpu,
    .destroy = destroy_cpu,
    .alloc = alloc_cpu,
    .release = release_cpu,
    .copy_in = copy_cpu,
    .copy_out = copy_cpu,
    .synchronize = synchronize_cpu,
};
