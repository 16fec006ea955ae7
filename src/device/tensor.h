/* Views of memory: values, not owners. An element type is a property of the view, never of a function.
 *
 * sy_mat    element (i, j) at data + i*row + j*col            (strides in elements)
 * sy_heads  element (t, h, i) at data + t*token + h*head + i  (a head's values are contiguous)
 */
#ifndef SY_DEVICE_TENSOR_H
#define SY_DEVICE_TENSOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum sy_dtype { SY_F32, SY_BF16 };

static inline size_t sy_dtype_bytes(enum sy_dtype t) { return t == SY_F32 ? 4 : 2; }

struct sy_mat {
    void *data;
    enum sy_dtype dtype;
    int64_t row, col;
};

struct sy_heads {
    void *data;
    enum sy_dtype dtype;
    int64_t token, head;
};

static inline void *sy_at(void *data, enum sy_dtype t, int64_t index) {
    return (char *)data + index * (int64_t)sy_dtype_bytes(t);
}

/* Rows from `i` on. */
static inline struct sy_mat sy_mat_rows(struct sy_mat m, int64_t i) {
    m.data = sy_at(m.data, m.dtype, i * m.row);
    return m;
}

/* Columns from `j` on. */
static inline struct sy_mat sy_mat_cols(struct sy_mat m, int64_t j) {
    m.data = sy_at(m.data, m.dtype, j * m.col);
    return m;
}

static inline struct sy_mat sy_mat_t(struct sy_mat m) {
    int64_t r = m.row;
    m.row = m.col;
    m.col = r;
    return m;
}

/* A row-major [*, cols] matrix. */
static inline struct sy_mat sy_mat_of(void *data, enum sy_dtype t, int64_t cols) {
    return (struct sy_mat){data, t, cols, 1};
}

/* Heads of a row-major [T, row] matrix: the first head at column `first`, one every `head` columns (0: one
 * shared head). */
static inline struct sy_heads sy_heads_of(struct sy_mat m, int64_t first, int64_t head) {
    return (struct sy_heads){sy_at(m.data, m.dtype, first), m.dtype, m.row, head};
}

#endif
