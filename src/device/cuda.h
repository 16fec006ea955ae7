/* NVIDIA GPUs as devices: what the rest of the program may know of them. In a build without CUDA
 * (cuda_absent.c) none is there.
 *
 * One stream a device: ops and copies run in the order in which they were enqueued; only `wait` waits.
 */
#ifndef SY_DEVICE_CUDA_H
#define SY_DEVICE_CUDA_H

#include "device/memory.h"

/* Segments start at multiples of as many rows; how large a temporary is (memory.h); and what an op may
 * use as workspace, whatever its sizes: one that would need more works in pieces. */
#define SY_CUDA_BUSY_SUMS ((int64_t)5 << 29) /* 4 sequences of 4096 tokens and 160 000 words */
enum { SY_CUDA_SEGMENT = 16, SY_CUDA_BUSY = 1 << 28, SY_CUDA_WORKSPACE = 64 << 20 };

/* What a GPU is. */
struct sy_cuda_about {
    char name[128], uuid[40]; /* uuid: GPU-xxxxxxxx-xxxx-... */
    int major, minor;         /* compute capability */
    int usable;               /* this build has kernels for it */
    int multiprocessors;
    size_t memory;       /* bytes */
    int driver, runtime; /* CUDA versions, 1000 major + 10 minor */
};

/* Local. GPUs that the driver shows, of any kind; why: a static or thread-local line when there are none. */
int sy_device_cuda_count(const char **why);

/* Local. Errors: ERR_UNAVAILABLE. */
sy_status sy_device_cuda_about(int ordinal, struct sy_cuda_about *out);

/* Local. The n-th GPU, from 0, that this build has kernels for (compute capability 9.0), or -1; the first. */
int sy_device_cuda_nth(int n);
static inline int sy_device_cuda_first(void) { return sy_device_cuda_nth(0); }

/* Local. GPU `ordinal`, or the first that this build has kernels for with -1; Errors:
 * ERR_UNAVAILABLE no CUDA in this build, no driver, no such GPU, another compute capability; ERR_MEMORY.
 * Owned by the caller: sy_device_destroy. */
sy_status sy_device_cuda_create(int ordinal, struct sy_device **out);

/* Local. This GPU copies from and to that one without the host, where the machine lets it. */
void sy_device_cuda_meet(const struct sy_device *device, int other);

/* Local. Copies bytes that nothing works on, each side of any GPU or the host, and waits. ERR_RUNTIME. */
sy_status sy_device_cuda_move(void *to, const void *from, size_t bytes);

/* Which GPU a device is; NULL: it is none. */
const struct sy_cuda_about *sy_device_cuda_is(const struct sy_device *device);

/* A GPU as plans see it: its rules for memory, no memory of its own. */
const struct sy_device *sy_device_cuda_planned(void);

/* Stamps of the stream: when it came to a place between what was enqueued, in seconds of the host's clock
 * (base/clock.h). Local, all three. begin: waits, and forgets the stamps before. stamp: enqueues one; -1:
 * none (no memory, another device). stamped: 1 and its time, after a wait; else 0. */
void sy_device_cuda_stamps_begin(const struct sy_device *device);
int64_t sy_device_cuda_stamp(const struct sy_device *device);
int sy_device_cuda_stamped(const struct sy_device *device, int64_t stamp, double *seconds);

/* What the host did since the device's creation. */
struct sy_cuda_counts {
    int64_t waits, launches;
    double waited; /* seconds */
};
/* Local. All 0 of another device. */
struct sy_cuda_counts sy_device_cuda_counts(const struct sy_device *device);

#endif
