/* NVIDIA GPUs as devices: what the rest of the program may know of them. In a build without CUDA
 * (cuda_absent.c) none is there.
 *
 * One stream a device: ops and copies run in the order in which they were enqueued; only `wait` waits.
 */
#ifndef SY_DEVICE_CUDA_H
#define SY_DEVICE_CUDA_H

#include "device/memory.h"

/* What a GPU is. */
struct sy_cuda_about {
    char name[128], uuid[40]; /* uuid: GPU-xxxxxxxx-xxxx-... */
    int major, minor;         /* compute capability */
    int multiprocessors;
    size_t memory, memory_free; /* bytes; free: 0 where nothing of ours has opened the GPU yet */
    int driver, runtime;        /* CUDA versions, 1000 major + 10 minor */
};

/* Local. GPUs that the driver shows, of any kind; why: a static or thread-local line when there are none. */
int sy_device_cuda_count(const char **why);

/* Local. Errors: ERR_UNAVAILABLE. */
sy_status sy_device_cuda_about(int ordinal, struct sy_cuda_about *out);

/* Local. The first GPU that this build has kernels for (compute capability 9.0), or -1. */
int sy_device_cuda_first(void);

/* Local. GPU `ordinal`, or the first that this build has kernels for with -1; segments of 16 rows. Errors:
 * ERR_UNAVAILABLE no CUDA in this build, no driver, no such GPU, another compute capability; ERR_MEMORY.
 * Owned by the caller: sy_device_destroy. */
sy_status sy_device_cuda_create(int ordinal, struct sy_device **out);

/* Local. How often the host waited for the device since its creation; 0 of another device. */
int64_t sy_device_cuda_waits(const struct sy_device *device);

#endif
