/* A build without CUDA: no GPU is there, and how to get one. See cuda.h. */
#include "device/cuda.h"

static const char how[] = "this build has no CUDA: `make configure CUDA=1 && make` where nvcc is";

int sy_device_cuda_count(const char **why) {
    *why = how;
    return 0;
}

sy_status sy_device_cuda_about(int ordinal, struct sy_cuda_about *out) {
    (void)out;
    SY_FAIL(SY_ERR_UNAVAILABLE, "cuda:%d: %s", ordinal, how);
}

int sy_device_cuda_nth(int n) {
    (void)n;
    return -1;
}

void sy_device_cuda_meet(const struct sy_device *device, int other) { (void)device, (void)other; }

sy_status sy_device_cuda_move(void *to, const void *from, size_t bytes) {
    (void)to, (void)from, (void)bytes;
    SY_FAIL(SY_ERR_UNAVAILABLE, "%s", how);
}

sy_status sy_device_cuda_create(int ordinal, struct sy_device **out) {
    (void)ordinal;
    *out = NULL;
    SY_FAIL(SY_ERR_UNAVAILABLE, "run.device = cuda: %s; or use run.device=cpu", how);
}

const struct sy_device *sy_device_cuda_planned(void) {
    static const struct sy_device planned = {
        .name = "cuda", .segment = SY_CUDA_SEGMENT, .busy = SY_CUDA_BUSY, .busy_sums = SY_CUDA_BUSY_SUMS};
    return &planned;
}

const struct sy_cuda_about *sy_device_cuda_is(const struct sy_device *device) {
    (void)device;
    return NULL;
}

struct sy_cuda_counts sy_device_cuda_counts(const struct sy_device *device) {
    (void)device;
    return (struct sy_cuda_counts){0};
}

void sy_device_cuda_stamps_begin(const struct sy_device *device) { (void)device; }

int64_t sy_device_cuda_stamp(const struct sy_device *device) {
    (void)device;
    return -1;
}

int sy_device_cuda_stamped(const struct sy_device *device, int64_t stamp, double *seconds) {
    (void)device, (void)stamp, (void)seconds;
    return 0;
}
