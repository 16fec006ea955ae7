// Rows of A by their names, for the producers of gemm.cuh, NT: a stage's 128 rows x 64 of k in the layout
// that TMA would give them, 128 bytes a row under the swizzle. A thread copies 16 bytes of eight rows,
// which are a tile's: they are looked up once. Rows that are not there, and columns, are zeros.
#ifndef SY_OPS_CUDA_GEMM_GATHER_CUH
#define SY_OPS_CUDA_GEMM_GATHER_CUH

#include "ops/cuda/gemm_tiles.cuh"

namespace gemm {

struct gathered {
    static const int ROWS = 8; // of a thread, 16 apart
    const char *row[ROWS];     // NULL: zeros

    SY_DEV static int chunk() { return threadIdx.x % 8; }
    SY_DEV static int first() { return threadIdx.x / 8; }

    // The tile's rows from .. end - 1.
    SY_DEV void begin(const named &q, int from, int end) {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            int at = from + first() + i * 16, route = at < end ? q.route[at] : -1;
            row[i] =
                route < 0 ? nullptr : q.base + (int64_t)((uint32_t)route / (uint32_t)q.top_k) * q.row_bytes;
        }
    }
    SY_DEV void copy(const named &q, uint32_t stage, int k) const {
        uint32_t to = stage + first() * 128 + ((chunk() ^ (first() & 7)) << 4);
        int column = k + chunk() * 8;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            int in = row[i] && column < q.columns;
            ptx::copy_16(to + i * 2048, in ? row[i] + column * 2 : q.base, in ? 16 : 0);
        }
    }
};

} // namespace gemm

#endif
