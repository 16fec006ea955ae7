/* How kernels of ops/cuda are launched and how their work is dealt.
 *
 *     SY_LAUNCH(x, kernel, grid, threads, shared bytes, arguments...);     keeps a failure for the next wait
 *
 * With SY_ON_CPU the same sources run on a CPU, for machines without a GPU: the build of the tests includes
 * tests/ops/cuda_on_cpu.h and ptx_on_cpu.h before them, in place of what CUDA has.
 */
#ifndef SY_OPS_CUDA_LAUNCH_CUH
#define SY_OPS_CUDA_LAUNCH_CUH

#ifndef SY_ON_CPU
#include "ops/cuda/cuda.cuh"
#define SY_LAUNCH(x, kernel, grid, threads, shared, ...)                         \
    do {                                                                         \
        sy_allow_shared(x, (const void *)kernel, shared);                        \
        kernel<<<(grid), (threads), (shared), sy_cuda_stream(x)>>>(__VA_ARGS__); \
        sy_cuda_check_launch(x);                                                 \
    } while (0)
/* A block has more than 48 KB of shared memory where it is asked for, on each GPU. */
static inline void sy_allow_shared(const struct sy_exec *x, const void *kernel, size_t bytes) {
    if (bytes <= 48 * 1024)
        return;
    sy_cuda_stream(x);
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}
/* The block's shared memory whose size the launch gives. */
#define SY_SHARED(type, name)                                        \
    extern __shared__ __align__(16) unsigned char sy_shared_bytes[]; \
    type *name = (type *)sy_shared_bytes
/* The same for TMA and wgmma, whose swizzle wants 1024 bytes. */
#define SY_SHARED_1024(name)                                 \
    extern __shared__ __align__(1024) char sy_shared_1024[]; \
    char *name = sy_shared_1024
#endif

/* The variant <1> of a kernel where `fast` holds, else <0>. */
#define SY_LAUNCH_FAST(x, fast, kernel, ...)      \
    do {                                          \
        if (fast)                                 \
            SY_LAUNCH(x, kernel<1>, __VA_ARGS__); \
        else                                      \
            SY_LAUNCH(x, kernel<0>, __VA_ARGS__); \
    } while (0)

#ifndef SY_DEV
#define SY_DEV __device__ __forceinline__
#endif

/* Registers as the code needs them: what ptxas guesses to be worth a spill is none. */
#define SY_KERNEL(threads) static __global__ void __launch_bounds__(threads, 1)
/* As few that a multiprocessor holds so many blocks. */
#define SY_KERNEL_OF(threads, blocks) static __global__ void __launch_bounds__(threads, blocks)

/* Of a list of tensors: as many blocks as the GPU holds at once. */
#define SY_LIST_KERNEL SY_KERNEL_OF(SY_THREADS, SY_RESIDENT)

enum { SY_THREADS = 256, SY_RESIDENT = 4 };

/* Whether 16 bytes at a time can be read from p on, also a multiple of the strides (in bytes) on. */
static inline int sy_aligned(const void *p, int64_t stride = 0, int64_t other = 0) {
    return (((uint64_t)(uintptr_t)p | (uint64_t)stride | (uint64_t)other) & 15) == 0;
}
static inline int sy_aligned(const struct sy_mat &m) {
    return sy_aligned(m.data, m.row * (int64_t)sy_dtype_bytes(m.dtype));
}
static inline int sy_aligned(const struct sy_heads &m) {
    int64_t size = (int64_t)sy_dtype_bytes(m.dtype);
    return sy_aligned(m.data, m.token * size, m.head * size);
}

/* --- rows x units --------------------------------------------------------------------------------------- */

/* Blocks of 256 threads: x over the units of a row (again and again if these are more), y over rows. */
struct sy_row_grid {
    dim3 grid, threads;
};
static inline struct sy_row_grid sy_rows_by_units(int64_t rows, int64_t units) {
    unsigned across = 1;
    while (across < units && across < SY_THREADS)
        across *= 2;
    return (struct sy_row_grid){dim3(sy_cuda_blocks(rows, SY_THREADS / across)),
                                dim3(across, SY_THREADS / across)};
}
SY_DEV int64_t sy_my_row() { return (int64_t)blockIdx.x * blockDim.y + threadIdx.y; }

/* Blocks of 256 threads over n elements, `each` a thread at a time: what the GPU holds at once, or fewer. */
static inline unsigned sy_blocks_for(const struct sy_exec *x, int64_t n, int64_t each) {
    unsigned most = 8 * (unsigned)sy_cuda_multiprocessors(x), blocks = sy_cuda_blocks(n, each * SY_THREADS);
    return blocks < most ? blocks : most;
}

/* --- lists of tensors ----------------------------------------------------------------------------------- */

/* The chunks of all items, dealt to the blocks in turn: do_chunk(item, first element, end). Items are short
 * beside the GPU, so the turn goes on from one to the next. All threads of a block call. */
template <class Item, class F>
SY_DEV void sy_deal(const Item *items, int n_items, int64_t chunk, F do_chunk) {
    uint32_t turn = 0, lane = threadIdx.x % 32;
    for (int at = 0; at < n_items; at += 32) {
        int64_t mine = at + (int)lane < n_items ? items[at + lane].n : 0;
        for (int j = 0; j < 32 && at + j < n_items; j++) {
            int64_t n = __shfl_sync(~0u, mine, j);
            uint32_t chunks = (uint32_t)((n + chunk - 1) / chunk);
            uint32_t first = blockIdx.x >= turn ? blockIdx.x - turn : blockIdx.x + gridDim.x - turn;
            for (uint32_t c = first; c < chunks; c += gridDim.x) {
                int64_t lo = c * chunk, hi = lo + chunk < n ? lo + chunk : n;
                do_chunk(items[at + j], lo, hi);
            }
            turn = (turn + chunks) % gridDim.x;
        }
    }
}

/* Blocks for a list of n elements in all. */
template <class Item>
static inline unsigned sy_blocks_of_list(const struct sy_exec *x, const Item *items, int n_items,
                                         int64_t chunk) {
    unsigned most = SY_RESIDENT * (unsigned)sy_cuda_multiprocessors(x);
    int64_t chunks = 0;
    for (int k = 0; k < n_items; k++)
        chunks += (items[k].n + chunk - 1) / chunk;
    return chunks < most ? (unsigned)chunks : most;
}

#endif
