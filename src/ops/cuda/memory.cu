/* Moving bits: fill, copies of rows, rows between the order of a message and that of an owner. */
#include "ops/cuda/values.cuh"

SY_KERNEL(SY_THREADS) fill_words(struct sy_fill op, int whole) {
    uint32_t *to = (uint32_t *)op.data;
    int64_t me = (int64_t)blockIdx.x * SY_THREADS + threadIdx.x, step = (int64_t)gridDim.x * SY_THREADS;
    int64_t wide = whole ? op.n / 4 : 0;
    for (int64_t i = me; i < wide; i += step)
        ((uint4 *)to)[i] = make_uint4(op.word, op.word, op.word, op.word);
    for (int64_t i = 4 * wide + me; i < op.n; i += step)
        to[i] = op.word;
}

extern "C" void sy_cuda_fill(const struct sy_exec *x, const struct sy_fill *op) {
    if (op->n > 0)
        SY_LAUNCH(x, fill_words, sy_blocks_for(x, op->n, 4), SY_THREADS, 0, *op, sy_aligned(op->data));
}

/* --- rows of bytes -------------------------------------------------------------------------------------- */

template <class Unit> SY_KERNEL(SY_THREADS) copy_rows(struct sy_copy op) {
    int64_t units = op.bytes / (int64_t)sizeof(Unit), step = (int64_t)gridDim.x * SY_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * SY_THREADS + threadIdx.x; i < op.rows * units; i += step) {
        int64_t row = op.rows == 1 ? 0 : i / units, at = i - row * units;
        ((Unit *)((char *)op.to + row * op.to_row))[at] =
            ((const Unit *)((const char *)op.from + row * op.from_row))[at];
    }
}

extern "C" void sy_cuda_copy(const struct sy_exec *x, const struct sy_copy *op) {
    int64_t bytes = op->rows * op->bytes;
    uint64_t all = (uint64_t)(uintptr_t)op->from | (uint64_t)(uintptr_t)op->to | (uint64_t)op->bytes;
    if (op->rows > 1)
        all |= (uint64_t)op->from_row | (uint64_t)op->to_row;
    if (bytes <= 0)
        return;
    if (all % 16 == 0)
        SY_LAUNCH(x, copy_rows<uint4>, sy_blocks_for(x, bytes / 16, 1), SY_THREADS, 0, *op);
    else if (all % 4 == 0)
        SY_LAUNCH(x, copy_rows<uint32_t>, sy_blocks_for(x, bytes / 4, 1), SY_THREADS, 0, *op);
    else
        SY_LAUNCH(x, copy_rows<uint8_t>, sy_blocks_for(x, bytes, 1), SY_THREADS, 0, *op);
}

/* --- segments ------------------------------------------------------------------------------------------- */

enum { BLOCKS_OF_SEGMENT = 16 };

SY_KERNEL(SY_THREADS) move_rows(struct sy_move_segments op) {
    int64_t s = blockIdx.x, n = op.rows[s] * op.row_bytes, step = (int64_t)gridDim.y * SY_THREADS,
            me = (int64_t)blockIdx.y * SY_THREADS + threadIdx.x;
    const char *from = (const char *)op.from + op.from_at[s] * op.row_bytes;
    char *to = (char *)op.to + op.to_at[s] * op.row_bytes;
    int64_t wide = (((uint64_t)(uintptr_t)from | (uint64_t)(uintptr_t)to) & 15) == 0 ? n / 16 : 0;
    for (int64_t i = me; i < wide; i += step)
        ((uint4 *)to)[i] = ((const uint4 *)from)[i];
    for (int64_t i = 16 * wide + me; i < n; i += step)
        to[i] = from[i];
}

SY_KERNEL(SY_THREADS) clear_bytes(char *to, int64_t n) {
    int64_t me = (int64_t)blockIdx.x * SY_THREADS + threadIdx.x, step = (int64_t)gridDim.x * SY_THREADS;
    int64_t wide = ((uint64_t)(uintptr_t)to & 15) == 0 ? n / 16 : 0;
    for (int64_t i = me; i < wide; i += step)
        ((uint4 *)to)[i] = make_uint4(0, 0, 0, 0);
    for (int64_t i = 16 * wide + me; i < n; i += step)
        to[i] = 0;
}

extern "C" void sy_cuda_move_segments(const struct sy_exec *x, const struct sy_move_segments *op) {
    int64_t clear = op->clear_rows * op->row_bytes;
    if (clear > 0)
        SY_LAUNCH(x, clear_bytes, sy_blocks_for(x, clear, 16), SY_THREADS, 0, (char *)op->to, clear);
    if (op->segments > 0 && op->row_bytes > 0)
        SY_LAUNCH(x, move_rows, dim3((unsigned)op->segments, BLOCKS_OF_SEGMENT), SY_THREADS, 0, *op);
}
