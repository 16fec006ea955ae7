/* Views carved from an arena: a matrix of rows, an fp32 vector. Data is NULL while the arena only
 * measures. */
#ifndef SY_DEVICE_CARVE_H
#define SY_DEVICE_CARVE_H

#include "base/arena.h"
#include "device/tensor.h"

static inline struct sy_mat sy_take_mat(struct sy_arena *a, const char *tag, int64_t rows, int64_t cols,
                                        enum sy_dtype t) {
    return sy_mat_of(sy_arena_take(a, tag, (size_t)(rows * cols), sy_dtype_bytes(t)), t, cols);
}

static inline float *sy_take_f32(struct sy_arena *a, const char *tag, int64_t n) {
    return sy_arena_take(a, tag, (size_t)n, sizeof(float));
}

#endif
