/* A device without memory, for planning: it hands out addresses that nobody may touch, and counts. */
#include "base/alloc.h"
#include "device/device.h"
#include <stdatomic.h>

/* Far above the lowest page, so that no fake address looks like NULL plus an offset; huge-page steps keep blocks apart. */
static const uintptr_t first_address = (uintptr_t)1 << 30;
static const size_t step_bytes = (size_t)2 << 20;

typedef struct fake_device {
    ls_device device; /* first, so that the two addresses are the same */
    _Atomic uintptr_t next_address;
} fake_device;

static ls_status create_fake(int ordinal, ls_device **out) {
    if (ordinal < 0)
        return LS_FAIL(LS_ERR_INVALID, "fake device %d was asked for; use 0 or more", ordinal);
    fake_device *fake = ls_alloc(sizeof *fake);
    if (!fake) return LS_ERR_NO_MEMORY;
    fake->device.ops = &ls_device_fake_ops;
    fake->device.ordinal = ordinal;
    atomic_init(&fake->next_address, first_address);
    *out = &fake->device;
    return LS_OK;
}

static void destroy_fake(ls_device *device) {
    ls_free(device);
}

static ls_status alloc_fake(ls_device *device, size_t bytes, void **out) {
    fake_device *fake = (fake_device *)device;
    if (bytes > PTRDIFF_MAX - step_bytes)
        return LS_FAIL(LS_ERR_NO_MEMORY, "fake device %d: %zu bytes fit no address space",
                       device->ordinal, bytes);
    const size_t span = (bytes / step_bytes + 1) * step_bytes;
    *out = (void *)atomic_fetch_add(&fake->next_address, span);
    return LS_OK;
}

static void release_fake(ls_device *device, void *ptr, size_t bytes) {
    (void)device, (void)ptr, (void)bytes;
}

static ls_status copy_in_fake(ls_device *device, void *dst, const void *src, size_t bytes) {
    (void)device, (void)dst, (void)src, (void)bytes;
    return LS_OK;
}

/* What would come back is not there: pretending would hand the caller bytes that nobody computed. */
static ls_status copy_out_fake(ls_device *device, void *dst, const void *src, size_t bytes) {
    (void)dst, (void)src;
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "fake device %d holds no bytes, so %zu cannot be read from it; "
                   "use device 'cpu'",
                   device->ordinal, bytes);
}

static ls_status synchronize_fake(ls_device *device) {
    (void)device;
    return LS_OK;
}

const ls_device_ops ls_device_fake_ops = {
    .name = "fake",
    .kind = LS_DEVICE_FAKE,
    .create = create_fake,
    .destroy = destroy_fake,
    .alloc = alloc_fake,
    .release = release_fake,
    .copy_in = copy_in_fake,
    .copy_out = copy_out_fake,
    .synchronize = synchronize_fake,
};
