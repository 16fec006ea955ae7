/* Numbers as the reference computes with them (docs/NUMERICS.md 2), in device code of class sm90: the stored
 * type is bf16, subnormals are kept, a product is fused where the page says fma (compiled with --fmad=false).
 * EXP2, SIG, LOG and the functions in fp64 are those of base/fmath.h.
 *
 * A thread takes 8 elements of a row at a time: 16 bytes where the row allows it (`whole`), else one by one;
 * those beyond the end are +0. V64 is summed by 8 threads, thread t of them with the lanes 8t .. 8t + 7, so
 * that a warp has 4 rows.
 */
#ifndef SY_OPS_CUDA_VALUES_CUH
#define SY_OPS_CUDA_VALUES_CUH

#include "base/fmath.h"
#include "ops/cuda/launch.cuh"

enum { SY_WIDE = 8, SY_ROW_THREADS = 64 / SY_WIDE };

/* The first of a thread's 8 columns, again and again, in a grid of rows by columns. */
#define SY_FOR_MY_COLUMNS(i, d) \
    for (int64_t i = SY_WIDE * threadIdx.x; i < (d); i += SY_WIDE * (int64_t)blockDim.x)

static inline struct sy_row_grid sy_rows_by_columns(int64_t rows, int64_t d) {
    return sy_rows_by_units(rows, (d + SY_WIDE - 1) / SY_WIDE);
}

/* --- the stored type ------------------------------------------------------------------------------------ */

SY_DEV float sy_widen(uint32_t b) { return sy_f32_from_bits(b << 16); }

/* BF of lo and hi: round to nearest even, NaN stays NaN. */
SY_DEV uint32_t sy_narrow2(float lo, float hi) {
#ifdef __CUDA_ARCH__
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
#else
    uint32_t r[2], u[2] = {sy_f32_bits(lo), sy_f32_bits(hi)};
    for (int i = 0; i < 2; i++)
        r[i] = (u[i] & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (u[i] + 0x7fffu + (u[i] >> 16 & 1u)) >> 16;
    return r[0] | r[1] << 16;
#endif
}
SY_DEV uint16_t sy_narrow(float x) { return (uint16_t)sy_narrow2(x, 0.0f); }
SY_DEV float sy_bf(float x) { return sy_widen(sy_narrow(x)); }

/* --- elements of a row ---------------------------------------------------------------------------------- */

SY_DEV const void *sy_row(const struct sy_mat &m, int64_t r) {
    return (const char *)m.data + r * m.row * (m.dtype == SY_F32 ? 4 : 2);
}
SY_DEV void *sy_row_out(const struct sy_mat &m, int64_t r) { return (void *)sy_row(m, r); }
SY_DEV const void *sy_head_row(const struct sy_heads &m, int64_t t, int64_t h) {
    return (const char *)m.data + (t * m.token + h * m.head) * (m.dtype == SY_F32 ? 4 : 2);
}
SY_DEV void *sy_head_row_out(const struct sy_heads &m, int64_t t, int64_t h) {
    return (void *)sy_head_row(m, t, h);
}

SY_DEV float sy_load1(const void *row, enum sy_dtype t, int64_t i) {
    return t == SY_F32 ? ((const float *)row)[i] : sy_widen(((const uint16_t *)row)[i]);
}
SY_DEV void sy_store1(void *row, enum sy_dtype t, int64_t i, float v) {
    if (t == SY_F32)
        ((float *)row)[i] = v;
    else
        ((uint16_t *)row)[i] = sy_narrow(v);
}

SY_DEV void sy_widen8(const uint4 &u, float v[SY_WIDE]) {
    const uint32_t w[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
    for (int j = 0; j < 4; j++) {
        v[2 * j] = sy_f32_from_bits(w[j] << 16);
        v[2 * j + 1] = sy_f32_from_bits(w[j] & 0xffff0000u);
    }
}

/* A kernel's variant `fast`: all rows are whole, in bf16, and of a multiple of 8 elements. It loads without a
 * branch, so that many loads of a thread are on the way together; the other variant takes any row. */
template <class... M> static inline int sy_is_fast(int64_t d, const M &...m) {
    return d % SY_WIDE == 0 && ((sy_aligned(m) && m.dtype == SY_BF16) && ...);
}

/* v = elements i .. i + 7 of a row of n. */
template <int fast = 0>
SY_DEV void sy_load8(const void *row, enum sy_dtype t, int64_t i, int64_t n, int whole, float v[SY_WIDE]) {
    if (fast || (whole && i + SY_WIDE <= n && t == SY_BF16)) {
        sy_widen8(*(const uint4 *)((const uint16_t *)row + i), v);
    } else if (whole && i + SY_WIDE <= n) {
        float4 a = *(const float4 *)((const float *)row + i),
               b = *(const float4 *)((const float *)row + i + 4);
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    } else {
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            v[j] = i + j < n ? sy_load1(row, t, i + j) : 0.0f;
    }
}

template <int fast = 0>
SY_DEV void sy_store8(void *row, enum sy_dtype t, int64_t i, int64_t n, int whole, const float v[SY_WIDE]) {
    if (fast || (whole && i + SY_WIDE <= n && t == SY_BF16)) {
        *(uint4 *)((uint16_t *)row + i) = make_uint4(sy_narrow2(v[0], v[1]), sy_narrow2(v[2], v[3]),
                                                     sy_narrow2(v[4], v[5]), sy_narrow2(v[6], v[7]));
    } else if (whole && i + SY_WIDE <= n) {
        *(float4 *)((float *)row + i) = make_float4(v[0], v[1], v[2], v[3]);
        *(float4 *)((float *)row + i + 4) = make_float4(v[4], v[5], v[6], v[7]);
    } else {
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            if (i + j < n)
                sy_store1(row, t, i + j, v[j]);
    }
}

/* The same of floats that the kernel does not write. */
template <int fast>
SY_DEV void sy_load8_of(const float *x, int64_t i, int64_t n, int whole, float v[SY_WIDE]) {
    if (fast) {
        float4 a = __ldg((const float4 *)(x + i)), b = __ldg((const float4 *)(x + i + 4));
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    } else {
        sy_load8(x, SY_F32, i, n, whole, v);
    }
}

/* The bits of 8 elements; from NULL: zeros. */
SY_DEV void sy_copy8(void *to, const void *from, enum sy_dtype t, int64_t i, int64_t n, int whole) {
    int64_t size = t == SY_F32 ? 4 : 2;
    if (whole && i + SY_WIDE <= n) {
        for (int64_t at = i * size; at < (i + SY_WIDE) * size; at += 16)
            *(uint4 *)((char *)to + at) =
                from ? *(const uint4 *)((const char *)from + at) : make_uint4(0, 0, 0, 0);
        return;
    }
    for (int64_t at = i; at < n && at < i + SY_WIDE; at++)
        if (t == SY_F32)
            ((uint32_t *)to)[at] = from ? ((const uint32_t *)from)[at] : 0;
        else
            ((uint16_t *)to)[at] = from ? ((const uint16_t *)from)[at] : (uint16_t)0;
}

/* --- sums of rows --------------------------------------------------------------------------------------- */

/* A step of a sum over threads: of v[0 .. 2 n - 1] this thread keeps half, the upper one if `upper`, and
 * gives the other to the thread `away`, whose half of the same it adds. */
template <int n> SY_DEV void sy_halve(float *v, int upper, int away) {
#pragma unroll
    for (int j = 0; j < n; j++) {
        float mine = upper ? v[j + n] : v[j], theirs = upper ? v[j] : v[j + n];
        v[j] = mine + __shfl_xor_sync(~0u, theirs, away);
    }
}

/* What V64's 64 lanes are halved to: thread t of 8 has the lanes 8t .. 8t + 7. Until one is left a thread, it
 * also halves how many it has: then h = 4, 2, 1 are between threads again. All 8 get the sum, as a + b is
 * b + a. All threads of the warp call. */
SY_DEV float sy_v64_of(float lane[SY_WIDE]) {
    int t = threadIdx.x;
    sy_halve<4>(lane, t & 4, 4); /* h = 32; lanes 4 (t & 4) .. are kept */
    sy_halve<2>(lane, t & 2, 2); /* h = 16 */
    sy_halve<1>(lane, t & 1, 1); /* h = 8; lane t of 8 */
    float sum = lane[0];
#pragma unroll
    for (int h = 4; h >= 1; h /= 2)
        sum += __shfl_xor_sync(~0u, sum, h);
    return sum;
}

/* The same by a whole warp: thread t has the lanes t and t + 32. */
SY_DEV float sy_v64_of_warp(float low, float high) {
    float sum = low + high;
#pragma unroll
    for (int h = 16; h >= 1; h /= 2)
        sum += __shfl_xor_sync(~0u, sum, h);
    return sum;
}

/* NaN loses. */
SY_DEV float sy_max_of_warp(float v) {
#pragma unroll
    for (int h = 16; h >= 1; h /= 2)
        v = fmaxf(v, __shfl_xor_sync(~0u, v, h));
    return v;
}

template <class T> SY_DEV T sy_sum_of_warp(T v) { /* of integers */
#pragma unroll
    for (int h = 16; h >= 1; h /= 2)
        v += __shfl_xor_sync(~0u, v, h);
    return v;
}

/* --- order ---------------------------------------------------------------------------------------------- */

/* Words in the order of the values: larger is better; -0 is +0; NaN 2, below all; never 0 or 1. */
SY_DEV uint32_t sy_order(float v) {
    uint32_t u = sy_f32_bits(v + 0.0f);
    return v != v ? 2 : u ^ ((uint32_t)((int32_t)u >> 31) | 0x80000000u);
}
SY_DEV float sy_of_order(uint32_t order) {
    return sy_f32_from_bits(order >> 31 ? order ^ 0x80000000u : ~order);
}

/* The same with the index: equal values, the lower one first. Keys of a row are distinct. */
SY_DEV uint64_t sy_order_at(uint32_t order, uint32_t index) { return (uint64_t)order << 32 | ~index; }
SY_DEV uint32_t sy_order_index(uint64_t key) { return ~(uint32_t)key; }

SY_DEV uint64_t sy_best_of_warp(uint64_t key) {
    uint32_t high = __reduce_max_sync(~0u, (uint32_t)(key >> 32));
    uint32_t low = __reduce_max_sync(~0u, (uint32_t)(key >> 32) == high ? (uint32_t)key : 0);
    return (uint64_t)high << 32 | low;
}

/* --- integers that ops count ---------------------------------------------------------------------------- */

SY_DEV void sy_add_i64(int64_t *at, int64_t v) {
    if (v)
        atomicAdd((unsigned long long *)at, (unsigned long long)v);
}
/* *at becomes key if that is lower or *at is -1, none. */
SY_DEV void sy_lower_i64(int64_t *at, int64_t key) {
    atomicMin((unsigned long long *)at, (unsigned long long)key);
}

/* How a step names a token (struct sy_tally). */
SY_DEV int64_t sy_token_key(const int32_t *place, int64_t t, int64_t seq_len, int64_t layer, int64_t layers) {
    int64_t sequence = place ? place[t / seq_len] : t / seq_len;
    return (sequence * seq_len + t % seq_len) * layers + layer;
}

#endif
