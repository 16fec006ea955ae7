/* What src/ops/cuda/ptx.cuh, mma.cuh and wgmma.cuh wrap, on a CPU (cuda_on_cpu.h): tensor cores, TMA,
 * mbarriers.
 *
 * A product is one step of CHAIN for each output (sy_on_cpu_step). What is asynchronous on a GPU is done at
 * once: TMA when it is asked for, a product when the last thread of its warp or warpgroup comes. So a wait
 * too few does not show, but one too many stands still; layouts, swizzles, counts of barriers and orders of
 * sums do show. A shared address is a place from the block's shared memory on.
 */
#ifndef SY_TESTS_PTX_ON_CPU_H
#define SY_TESTS_PTX_ON_CPU_H

#include <stdio.h>
#include <stdlib.h>

#include "ops/cuda/tensor_map.cuh"

#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

struct int2 {
    int x, y;
};

static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline int __float_as_int(float x) { return sy_of_word<int>(sy_word_of(x)); }
static inline unsigned __float_as_uint(float x) { return sy_of_word<unsigned>(sy_word_of(x)); }
static inline float __int_as_float(int u) { return sy_of_word<float>(sy_word_of(u)); }
static inline float __uint_as_float(unsigned u) { return sy_of_word<float>(sy_word_of(u)); }
template <class T> static inline T max(T a, T b) { return a > b ? a : b; }
template <class T> static inline T min(T a, T b) { return a < b ? a : b; }
static inline int __vimax3_s32(int a, int b, int c) { return max(max(a, b), c); }
static inline unsigned __vimax3_u32(unsigned a, unsigned b, unsigned c) { return max(max(a, b), c); }
static inline int __all_sync(unsigned mask, int v) { return __ballot_sync(mask, v) == ~0u; }

/* acc[m, n] = acc + a[m, 16] b[16, n]: one step of class sm90; m a multiple of 16, n of 32. */
extern "C" void sy_on_cpu_step(int m, int n, const float *a, const float *b, float *acc);

/* --- several threads, one thing ------------------------------------------------------------------------- */

/* The threads of a warp or warpgroup each give an argument; the last one does it for all. */
template <class A, class F> static inline void sy_on_cpu_together(int threads, A *mine, F all) {
    static void *arg[1024];
    static int there[32];
    unsigned first = sy_on_cpu.linear / (unsigned)threads * (unsigned)threads;
    arg[sy_on_cpu.linear] = mine;
    if (++there[first / 32] == threads) {
        there[first / 32] = 0;
        all((A **)&arg[first]);
    }
    sy_on_cpu_wait_for(threads);
}

namespace ptx {

static inline void wrong(const char *what) {
    fprintf(stderr, "ptx_on_cpu: %s\n", what);
    abort();
}
SY_DEV uint32_t shared(const void *p) { return (uint32_t)((const char *)p - sy_on_cpu.shared); }
template <class T> static inline T *place(uint32_t at) {
    if (at % sizeof(T))
        wrong("an address is not aligned");
    return (T *)(sy_on_cpu.shared + (int32_t)at);
}
SY_DEV float2 shared_float2(uint32_t at) { return *place<float2>(at); }
SY_DEV int2 shared_int2(uint32_t at) { return *place<int2>(at); }
SY_DEV float widened(uint32_t b) { return __uint_as_float(b << 16); }

SY_DEV void named_sync(int, int threads) { sy_on_cpu_wait_for(threads); }
template <int N> SY_DEV void registers_inc() {}
template <int N> SY_DEV void registers_dec() {}
SY_DEV void fence_proxy_async() {}
SY_DEV void wgmma_fence() {}
SY_DEV void wgmma_commit() {}
SY_DEV void tma_store_commit() {}
template <int N> SY_DEV void wgmma_wait() {}
template <int N, int K> SY_DEV void wgmma_wait_for(float (&)[K]) {}
template <int N> SY_DEV void tma_store_wait_read() {}
template <int N> SY_DEV void tma_store_wait() {}

SY_DEV float max_number(float a, float b) { return fmaxf(a, b); }
SY_DEV float min_number(float a, float b) { return fminf(a, b); }
SY_DEV float max_nan(float a, float b) { return a != a ? a : b != b ? b : max(a, b); }
SY_DEV uint32_t bf16_of(float x) {
    uint32_t u = __float_as_uint(x);
    return (u & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
}
SY_DEV uint32_t bf16_pair(float lo, float hi) { return bf16_of(lo) | bf16_of(hi) << 16; }

/* --- mbarriers, TMA ------------------------------------------------------------------------------------- */

struct barrier { /* 8 bytes of shared memory */
    uint8_t count, pending, phase, unused;
    int32_t bytes;
};
SY_DEV void settle(barrier *b) {
    if (b->pending == 0 && b->bytes == 0) {
        b->phase ^= 1;
        b->pending = b->count;
    }
}
SY_DEV void mbar_init(uint32_t bar, uint32_t count) {
    *place<barrier>(bar) = {(uint8_t)count, (uint8_t)count, 0, 0, 0};
}
SY_DEV void mbar_init_done() {}
SY_DEV void mbar_arrive_expect(uint32_t bar, uint32_t bytes) {
    barrier *b = place<barrier>(bar);
    if (b->pending == 0)
        wrong("more arrivals than a barrier counts");
    b->pending--;
    b->bytes += (int32_t)bytes;
    settle(b);
}
SY_DEV void mbar_arrive(uint32_t bar) { mbar_arrive_expect(bar, 0); }
SY_DEV void arrived(uint32_t bar, uint32_t bytes) {
    place<barrier>(bar)->bytes -= (int32_t)bytes;
    settle(place<barrier>(bar));
}
SY_DEV void mbar_wait(uint32_t bar, uint32_t parity) {
    while (place<barrier>(bar)->phase == parity)
        sy_on_cpu_yield();
}

SY_DEV uint32_t swizzled(uint32_t at) { return at ^ (at >> 7 & 7) << 4; }

SY_DEV void tma_load_4d(uint32_t dst, const CUtensorMap *m, uint32_t bar, int c0, int c1, int c2, int c3) {
    if (m->rank != 4 || m->box[0] != 64 || m->box[1] != 1 || m->box[3] != 1 || dst % 1024)
        wrong("a box that attention does not load");
    for (int r = 0; r < m->box[2]; r++)
        for (int i = 0; i < 64; i++) {
            int64_t x[4] = {c0 + i, c1, c2 + r, c3}, at = x[0];
            int in = x[0] < m->size[0];
            for (int d = 1; d < 4; d++) {
                in &= x[d] >= 0 && x[d] < m->size[d];
                at += x[d] * m->stride[d];
            }
            *place<uint16_t>(swizzled(dst + (uint32_t)(r * 64 + i) * 2)) =
                in ? ((const uint16_t *)m->base)[at] : 0;
        }
    arrived(bar, (uint32_t)m->box[2] * 128);
}
SY_DEV void bulk_load(uint32_t dst, const void *src, uint32_t bytes, uint32_t bar) {
    if ((dst | bytes | (uintptr_t)src) % 16)
        wrong("bulk_load: not aligned");
    memcpy(place<char>(dst), src, bytes);
    arrived(bar, bytes);
}
SY_DEV void bulk_store(void *dst, uint32_t src, uint32_t bytes) {
    if ((src | bytes | (uintptr_t)dst) % 16)
        wrong("bulk_store: not aligned");
    memcpy(dst, place<char>(src), bytes);
}

/* --- matrices of 8 x 8 ---------------------------------------------------------------------------------- */

struct matrices {
    uint32_t at, word[4];
};
/* Lane l's two values of matrix k, in shared memory. */
SY_DEV uint16_t *value_of(matrices **all, int k, int l, int e, int trans) {
    int row = trans ? l % 4 * 2 + e : l / 4, column = trans ? l / 4 : l % 4 * 2 + e;
    if (all[8 * k + row]->at % 16)
        wrong("a row of a matrix is not aligned");
    return place<uint16_t>(all[8 * k + row]->at) + column;
}
SY_DEV void load_matrices(uint32_t (&r)[4], uint32_t at, int trans) {
    matrices mine = {at, {0, 0, 0, 0}};
    sy_on_cpu_together(32, &mine, [trans](matrices **all) {
        for (int i = 0; i < 32 * 8; i++)
            all[i / 8]->word[i / 2 % 4] |= (uint32_t)*value_of(all, i / 2 % 4, i / 8, i % 2, trans)
                                           << i % 2 * 16;
    });
    memcpy(r, mine.word, sizeof r);
}
SY_DEV void ldmatrix_x4(uint32_t (&r)[4], uint32_t at) { load_matrices(r, at, 0); }
SY_DEV void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t at) { load_matrices(r, at, 1); }
SY_DEV void stmatrix_x4_trans(uint32_t at, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    matrices mine = {at, {a, b, c, d}};
    sy_on_cpu_together(32, &mine, [](matrices **all) {
        for (int i = 0; i < 32 * 8; i++)
            *value_of(all, i / 2 % 4, i / 8, i % 2, 1) =
                (uint16_t)(all[i / 8]->word[i / 2 % 4] >> i % 2 * 16);
    });
}

/* --- products ------------------------------------------------------------------------------------------- */

struct factors {
    float *d;
    const uint32_t *a, *b; /* in registers, or NULL */
    uint64_t at_a, at_b;
    int go_on;
};
/* Where thread t of a warp or warpgroup has a value of its 16 rows: see attention_tile.cuh. */
SY_DEV int row_of(int t, int i) { return t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8; }
SY_DEV int column_of(int t, int i) { return i / 4 * 8 + t % 4 * 2 + i % 2; }

SY_DEV void rows_of_a(const uint32_t *a, int t, float *to) {
    for (int i = 0; i < 8; i++) {
        int row = t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, k = t % 4 * 2 + i % 2 + i / 4 * 8;
        to[row * 16 + k] = widened(a[i / 2] >> i % 2 * 16 & 0xffff);
    }
}
SY_DEV float operand(uint64_t d, int mn_major, int mn, int k) {
    uint32_t start = (uint32_t)(d & 0x3fff) << 4, block = (uint32_t)(d >> 16 & 0x3fff) << 4;
    uint32_t eight = (uint32_t)(d >> 32 & 0x3fff) << 4;
    uint32_t at = mn_major ? start + mn / 64 * block + k / 8 * eight + k % 8 * 128 + mn % 64 * 2
                           : start + mn / 8 * eight + mn % 8 * 128 + k * 2;
    return widened(*place<uint16_t>(swizzled(at)));
}

/* The rows of `threads` threads times n columns. */
SY_DEV void multiply(factors **all, int threads, int n, int b_mn) {
    static float a[64 * 16], b[16 * 256], c[64 * 256];
    int m = threads / 2, width = (n + 31) / 32 * 32;
    memset(b, 0, sizeof b);
    for (int t = 0; t < threads; t++) {
        const factors *f = all[t];
        if (f->at_a != all[0]->at_a || f->at_b != all[0]->at_b || f->go_on != all[0]->go_on)
            wrong("threads of a warpgroup multiply different things");
        if (f->a)
            rows_of_a(f->a, t, a);
        for (int i = 0; f->b && i < 4; i++)
            b[(t % 4 * 2 + i % 2 + i / 2 * 8) * width + t / 4] = widened(f->b[i / 2] >> i % 2 * 16 & 0xffff);
        for (int i = 0; i < n / 2; i++)
            c[row_of(t, i) * width + column_of(t, i)] = f->go_on ? f->d[i] : 0.0f;
    }
    for (int i = 0; !all[0]->a && i < m * 16; i++)
        a[i] = operand(all[0]->at_a, 0, i / 16, i % 16);
    for (int i = 0; !all[0]->b && i < 16 * n; i++)
        b[i / n * width + i % n] = operand(all[0]->at_b, b_mn, i % n, i / n);
    sy_on_cpu_step(m, width, a, b, c);
    for (int t = 0; t < threads; t++)
        for (int i = 0; i < n / 2; i++)
            all[t]->d[i] = c[row_of(t, i) * width + column_of(t, i)];
}

SY_DEV void mma_m16n8k16(float *d, const uint32_t *a, const uint32_t *b) {
    factors mine = {d, a, b, 0, 0, 1};
    sy_on_cpu_together(32, &mine, [](factors **all) { multiply(all, 32, 8, 0); });
}
template <int B_MN, int K> SY_DEV void wgmma_ss(float (&d)[K], uint64_t a, uint64_t b, int go_on) {
    factors mine = {d, NULL, NULL, a, b, go_on};
    sy_on_cpu_together(128, &mine, [](factors **all) { multiply(all, 128, 2 * K, B_MN); });
}
template <int K> SY_DEV void wgmma_first(float (&d)[K], uint64_t a, uint64_t b) { wgmma_ss<0>(d, a, b, 0); }
template <int K> SY_DEV void wgmma_rs(float (&d)[K], const uint32_t *a, uint64_t b) {
    factors mine = {d, a, NULL, 0, b, 1};
    sy_on_cpu_together(128, &mine, [](factors **all) { multiply(all, 128, 2 * K, 1); });
}

SY_DEV uint64_t descriptor(uint32_t at, uint32_t block_bytes) {
    return (uint64_t)((at & 0x3ffff) >> 4) | (uint64_t)(block_bytes >> 4) << 16 | (uint64_t)(1024 >> 4) << 32;
}

} // namespace ptx

#endif
