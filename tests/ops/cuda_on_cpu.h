/* Device code on a CPU, for machines without a GPU: src/ops/cuda compiled as C++ with SY_ON_CPU.
 *
 * A CUDA thread is a fiber. The blocks of a grid run one after another; the warps of a block in turn, each as
 * far as it comes without the others; the threads of a warp in turn, each until a barrier or an exchange.
 * Blocks and threads go up in one run and down in the next (sy_on_cpu_order): what needs a barrier and has
 * none, or a block that needs another before it, gives other bits in one of them. Shared memory whose size a
 * launch gives is poisoned for each block. A thread that leaves while its warp exchanges values, or any other
 * deadlock, aborts. It is no model of a GPU's memory: races between blocks that overlap do not show. Tensor
 * cores, TMA and mbarriers: ptx_on_cpu.h.
 */
#ifndef SY_TESTS_CUDA_ON_CPU_H
#define SY_TESTS_CUDA_ON_CPU_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

extern "C" {
#include "ops/ops.h"
#define X(name, type) void sy_cuda_##name(const struct sy_exec *x, const struct type *op);
SY_OPS_LIST(X)
#undef X
}

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint4 {
    unsigned x, y, z, w;
};
struct uint2 {
    unsigned x, y;
};
struct float2 {
    float x, y;
};
struct float4 {
    float x, y, z, w;
};
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

/* --- where the running thread is ------------------------------------------------------------------------ */

struct sy_on_cpu {
    dim3 thread, block, threads, grid;
    unsigned linear; /* of the thread in its block */
    char *shared;
};
extern struct sy_on_cpu sy_on_cpu;
extern "C" int sy_on_cpu_order; /* 0: threads go up; 1: down */

#define threadIdx sy_on_cpu.thread
#define blockIdx sy_on_cpu.block
#define blockDim sy_on_cpu.threads
#define gridDim sy_on_cpu.grid
#define SY_SHARED(type, name) type *name = (type *)sy_on_cpu.shared
#define SY_SHARED_1024(name) char *name = sy_on_cpu.shared

void sy_on_cpu_run(dim3 grid, dim3 threads, size_t shared, const std::function<void()> &kernel);
#define SY_LAUNCH(x, kernel, grid, threads, shared, ...) \
    ((void)(x), sy_on_cpu_run((grid), (threads), (shared), [=] { kernel(__VA_ARGS__); }))

/* --- barriers and exchanges ----------------------------------------------------------------------------- */

void __syncthreads();
int __syncthreads_or(int v);
int __syncthreads_count(int v);
void __syncwarp(unsigned mask = ~0u);

/* Until all of the warp (32), of the warpgroup (128) are here. */
void sy_on_cpu_wait_for(int threads);
/* The others' turn: of a thread that waits for memory to change. */
void sy_on_cpu_yield();

/* Each thread of the warp gives a word; all of them, by lane. Valid until the next exchange but one. */
const uint64_t *sy_on_cpu_exchange(uint64_t word);

template <class T> static inline uint64_t sy_word_of(T v) {
    uint64_t w = 0;
    memcpy(&w, &v, sizeof v);
    return w;
}
template <class T> static inline T sy_of_word(uint64_t w) {
    T v;
    memcpy(&v, &w, sizeof v);
    return v;
}
static inline int sy_on_cpu_lane() { return (int)(sy_on_cpu.linear % 32); }
template <class T> static inline T __shfl_sync(unsigned, T v, int lane) {
    return sy_of_word<T>(sy_on_cpu_exchange(sy_word_of(v))[lane]);
}
template <class T> static inline T __shfl_xor_sync(unsigned, T v, int lanes) {
    int lane = sy_on_cpu_lane() ^ lanes;
    return sy_of_word<T>(sy_on_cpu_exchange(sy_word_of(v))[lane]);
}
template <class T> static inline T __shfl_up_sync(unsigned, T v, int by) {
    int lane = sy_on_cpu_lane() >= by ? sy_on_cpu_lane() - by : sy_on_cpu_lane();
    return sy_of_word<T>(sy_on_cpu_exchange(sy_word_of(v))[lane]);
}
static inline unsigned __ballot_sync(unsigned, int v) {
    const uint64_t *w = sy_on_cpu_exchange(v != 0);
    unsigned bits = 0;
    for (int i = 0; i < 32; i++)
        bits |= (unsigned)w[i] << i;
    return bits;
}
static inline int __any_sync(unsigned mask, int v) { return __ballot_sync(mask, v) != 0; }
static inline unsigned __reduce_max_sync(unsigned, unsigned v) {
    const uint64_t *w = sy_on_cpu_exchange(v);
    unsigned most = 0;
    for (int i = 0; i < 32; i++)
        most = w[i] > most ? (unsigned)w[i] : most;
    return most;
}
static inline unsigned __reduce_min_sync(unsigned mask, unsigned v) { return ~__reduce_max_sync(mask, ~v); }

/* --- the rest ------------------------------------------------------------------------------------------- */

template <class T> static inline T sy_swap(T *at, T now) {
    T was = *at;
    *at = now;
    return was;
}
template <class T> static inline T atomicAdd(T *at, T v) { return sy_swap<T>(at, *at + v); }
template <class T> static inline T atomicOr(T *at, T v) { return sy_swap<T>(at, *at | v); }
template <class T> static inline T atomicMin(T *at, T v) { return sy_swap<T>(at, v < *at ? v : *at); }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __ffs(unsigned v) { return __builtin_ffs((int)v); }
template <class T> static inline T __ldg(const T *p) { return *p; }

static inline int sy_cuda_multiprocessors(const struct sy_exec *) { return 1; }
template <class T> static inline const T *sy_cuda_upload(const struct sy_exec *, const T *list, size_t) {
    return list;
}
static inline void *sy_cuda_workspace(const struct sy_exec *x, size_t bytes) {
    return bytes <= x->scratch_bytes ? x->scratch : nullptr;
}
static inline unsigned sy_cuda_blocks(int64_t n, int64_t per_block) {
    return (unsigned)((n + per_block - 1) / per_block);
}
static inline int64_t sy_cuda_rows(const struct sy_rows &r) {
    return r.offset ? r.offset[r.groups * r.sequences] : r.max_rows;
}

#endif
