/* An NVIDIA GPU through the CUDA run-time library: memory and copies on the device's default stream. Compiled with LS_CUDA only. */
#include "base/alloc.h"
#include "device/device.h"
#include <cuda_runtime_api.h>
#include <stdio.h>

/* What was asked, and what CUDA said, as the status that fits. */
static ls_status fail_cuda(cudaError_t error, int ordinal, const char *asked) {
    const char *said = cudaGetErrorString(error);
    (void)
        cudaGetLastError(); /* an error that can be recovered from must not show again in the next call */
    switch (error) {
    case cudaErrorMemoryAllocation:
        return LS_FAIL(LS_ERR_NO_MEMORY, "cuda device %d: %s: %s; ask for less, or split the work",
                       ordinal, asked, said);
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorStubLibrary:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorInitializationError:
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "device 'cuda' was asked for, but no GPU can be used here: %s; use device "
                       "'cpu', or a machine with an NVIDIA GPU and its driver",
                       said);
    default:
        return LS_FAIL(LS_ERR_INTERNAL, "cuda device %d: %s: %s", ordinal, asked, said);
    }
}

static ls_status select_device(const ls_device *device) {
    const cudaError_t error = cudaSetDevice(device->ordinal);
    return error ? fail_cuda(error, device->ordinal, "choosing the device") : LS_OK;
}

/* The first call that needs a context makes one: here, so that a broken driver shows when the device is made. */
static ls_status check_device(int ordinal) {
    int n_devices = 0;
    cudaError_t error = cudaGetDeviceCount(&n_devices);
    if (error) return fail_cuda(error, ordinal, "counting devices");
    if (n_devices == 0) return fail_cuda(cudaErrorNoDevice, ordinal, "counting devices");
    if (ordinal < 0 || ordinal >= n_devices)
        return LS_FAIL(LS_ERR_INVALID, "cuda device %d was asked for; this machine has 0 to %d",
                       ordinal, n_devices - 1);
    error = cudaSetDevice(ordinal);
    if (!error) error = cudaFree(NULL);
    return error ? fail_cuda(error, ordinal, "starting the device") : LS_OK;
}

static ls_status create_cuda(int ordinal, ls_device **out) {
    LS_TRY(check_device(ordinal));
    ls_device *device = ls_alloc(sizeof *device);
    if (!device) return LS_ERR_NO_MEMORY;
    device->ops = &ls_device_cuda_ops;
    device->ordinal = ordinal;
    *out = device;
    return LS_OK;
}

static void destroy_cuda(ls_device *device) {
    ls_free(device);
}

static ls_status alloc_cuda(ls_device *device, size_t bytes, void **out) {
    LS_TRY(select_device(device));
    char asked[64];
    (void)snprintf(asked, sizeof asked, "allocating %zu bytes", bytes);
    void *ptr = NULL;
    cudaError_t error = cudaMalloc(&ptr, bytes ? bytes : 1);
    if (!error) error = cudaMemset(ptr, 0, bytes);
    if (error) {
        (void)cudaFree(ptr);
        return fail_cuda(error, device->ordinal, asked);
    }
    *out = ptr;
    return LS_OK;
}

static void release_cuda(ls_device *device, void *ptr, size_t bytes) {
    (void)bytes;
    if (cudaSetDevice(device->ordinal) == cudaSuccess) (void)cudaFree(ptr);
}

static ls_status copy(ls_device *device, void *dst, const void *src, size_t bytes,
                      enum cudaMemcpyKind kind, const char *direction) {
    LS_TRY(select_device(device));
    char asked[64];
    (void)snprintf(asked, sizeof asked, "copying %zu bytes %s", bytes, direction);
    const cudaError_t error = bytes ? cudaMemcpy(dst, src, bytes, kind) : cudaSuccess;
    return error ? fail_cuda(error, device->ordinal, asked) : LS_OK;
}

static ls_status copy_in_cuda(ls_device *device, void *dst, const void *host_src, size_t bytes) {
    return copy(device, dst, host_src, bytes, cudaMemcpyHostToDevice, "to the device");
}

static ls_status copy_out_cuda(ls_device *device, void *host_dst, const void *src, size_t bytes) {
    return copy(device, host_dst, src, bytes, cudaMemcpyDeviceToHost, "from the device");
}

static ls_status synchronize_cuda(ls_device *device) {
    LS_TRY(select_device(device));
    const cudaError_t error = cudaDeviceSynchronize();
    return error ? fail_cuda(error, device->ordinal, "waiting for the device") : LS_OK;
}

const ls_device_ops ls_device_cuda_ops = {
    .name = "cuda",
    .kind = LS_DEVICE_CUDA,
    .create = create_cuda,
    .destroy = destroy_cuda,
    .alloc = alloc_cuda,
    .release = release_cuda,
    .copy_in = copy_in_cuda,
    .copy_out = copy_out_cuda,
    .synchronize = synchronize_cuda,
};
