// PTX of Hopper, each instruction wrapped once and named: mbarrier, TMA, wgmma, setmaxnreg, fences,
// clusters.
//
// References: PTX ISA 9.0, "mbarrier", "cp.async.bulk.tensor", "Asynchronous warpgroup-level matrix
// instructions". Shared memory addresses are 32-bit. Matrices in shared memory have rows of 128 bytes
// under the 128-byte swizzle, their blocks aligned to 1024 bytes: a K-major operand keeps 64 values of k
// in a row, an MN-major one 64 rows (or columns) of the output.
#ifndef SY_OPS_CUDA_PTX_CUH
#define SY_OPS_CUDA_PTX_CUH

#include "base/fmath.h"

#ifndef SY_ON_CPU
#include <cuda.h>
#include <cuda_runtime.h>
#include <stdint.h>

#define SY_DEV __device__ __forceinline__

namespace ptx {

SY_DEV uint32_t shared(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
SY_DEV uint32_t cluster_rank() {
    uint32_t r;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return r;
}

SY_DEV float2 shared_float2(uint32_t at) {
    float2 v;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(at));
    return v;
}
SY_DEV void put_shared_float2(uint32_t at, float2 v) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(at), "f"(v.x), "f"(v.y) : "memory");
}
SY_DEV int2 shared_int2(uint32_t at) {
    int2 v;
    asm volatile("ld.shared.v2.s32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(at));
    return v;
}

// --- clusters, registers, named barriers ---------------------------------------------------------------

SY_DEV void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
}
template <int N> SY_DEV void registers_inc() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> SY_DEV void registers_dec() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }
SY_DEV void named_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
SY_DEV void named_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// --- mbarrier ------------------------------------------------------------------------------------------

SY_DEV void mbar_init(uint32_t bar, uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}
SY_DEV void mbar_init_done() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
SY_DEV void mbar_arrive(uint32_t bar) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}
SY_DEV void mbar_arrive_expect(uint32_t bar, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}
// Arrives at the same barrier of another CTA of the cluster. The default scope, on purpose: with
// .release.cluster each arrival is a MEMBAR, which took a fifth of a product's time; what it orders here
// are reads that wgmma has finished.
SY_DEV void mbar_arrive_remote(uint32_t bar, uint32_t rank) {
    asm volatile("{\n.reg .b32 r;\nmapa.shared::cluster.u32 r, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [r];\n}" ::"r"(bar),
                 "r"(rank)
                 : "memory");
}
// Waits until the phase of this parity has completed.
SY_DEV void mbar_wait(uint32_t bar, uint32_t parity) {
    asm volatile("{\n.reg .pred p;\nWAIT:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@p bra DONE;\nbra WAIT;\nDONE:\n}" ::"r"(bar),
                 "r"(parity)
                 : "memory");
}

// --- TMA: boxes of a tensor into shared memory and back ------------------------------------------------

SY_DEV void tma_prefetch_map(const CUtensorMap *m) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(m) : "memory");
}
SY_DEV void tma_load_3d(uint32_t dst, const CUtensorMap *m, uint32_t bar, int c0, int c1, int c2) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, "
                 "{%3, %4, %5}], [%2];" ::"r"(dst),
                 "l"(m), "r"(bar), "r"(c0), "r"(c1), "r"(c2)
                 : "memory");
}
SY_DEV void tma_load_4d(uint32_t dst, const CUtensorMap *m, uint32_t bar, int c0, int c1, int c2, int c3) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, "
                 "{%3, %4, %5, %6}], [%2];" ::"r"(dst),
                 "l"(m), "r"(bar), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
                 : "memory");
}
// Into the same place of every CTA in mask; each one's barrier counts the bytes.
SY_DEV void tma_load_3d_multicast(uint32_t dst, const CUtensorMap *m, uint32_t bar, uint16_t mask, int c0,
                                  int c1, int c2) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
        "[%0], [%1, {%4, %5, %6}], [%2], %3;" ::"r"(dst),
        "l"(m), "r"(bar), "h"(mask), "r"(c0), "r"(c1), "r"(c2)
        : "memory");
}
// For data that no one reads again soon: the first to leave L2.
SY_DEV uint64_t evict_first() {
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0;" : "=l"(policy));
    return policy;
}
SY_DEV void tma_load_3d(uint32_t dst, const CUtensorMap *m, uint32_t bar, int c0, int c1, int c2,
                        uint64_t policy) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(dst),
                 "l"(m), "r"(bar), "r"(c0), "r"(c1), "r"(c2), "l"(policy)
                 : "memory");
}
SY_DEV void tma_store_3d(const CUtensorMap *m, uint32_t src, int c0, int c1, int c2, uint64_t policy) {
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group.L2::cache_hint [%0, {%2, %3, %4}], "
                 "[%1], %5;" ::"l"(m),
                 "r"(src), "r"(c0), "r"(c1), "r"(c2), "l"(policy)
                 : "memory");
}
SY_DEV void tma_store_2d(const CUtensorMap *m, uint32_t src, int c0, int c1) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(m),
                 "r"(src), "r"(c0), "r"(c1)
                 : "memory");
}
// Whole bytes, in multiples of 16, both sides aligned to 16.
SY_DEV void bulk_load(uint32_t dst, const void *src, uint32_t bytes, uint32_t bar) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(dst),
        "l"(__cvta_generic_to_global(src)), "r"(bytes), "r"(bar)
        : "memory");
}
SY_DEV void bulk_store(void *dst, uint32_t src, uint32_t bytes) {
    asm volatile(
        "cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(__cvta_generic_to_global(dst)),
        "r"(src), "r"(bytes)
        : "memory");
}
SY_DEV void tma_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until at most N stores of this thread have not yet read their shared memory.
template <int N> SY_DEV void tma_store_wait_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
}
template <int N> SY_DEV void tma_store_wait() {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
}
// Ordinary stores to shared memory before it are seen by TMA and wgmma after it.
SY_DEV void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// 16 bytes to shared memory, without a register on the way: `bytes`, 16 or 0, are read, the others are zeros.
// The barrier counts one arrival of each thread, once its copies before it are there.
SY_DEV void copy_16(uint32_t dst, const void *src, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst),
                 "l"(__cvta_generic_to_global(src)), "r"(bytes)
                 : "memory");
}
SY_DEV void copies_arrive(uint32_t bar) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(bar) : "memory");
}

SY_DEV void stmatrix_x4(uint32_t at, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(a), "r"(b),
                 "r"(c), "r"(d)
                 : "memory");
}
SY_DEV void stmatrix_x4_trans(uint32_t at, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(a),
                 "r"(b), "r"(c), "r"(d)
                 : "memory");
}

// --- wgmma ---------------------------------------------------------------------------------------------

SY_DEV void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
SY_DEV void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> SY_DEV void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

// Matrix descriptor under the 128-byte swizzle: eight rows are 1024 bytes; block_bytes lies between the
// 64-wide blocks of an MN-major operand (a K-major one has no use for it). 16 values of k further: + 32
// bytes K-major, + 2048 bytes MN-major.
SY_DEV uint64_t descriptor(uint32_t at, uint32_t block_bytes) {
    return (uint64_t)((at & 0x3ffff) >> 4) | (uint64_t)(block_bytes >> 4) << 16 |
           (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}

// --- arithmetic of one instruction ----------------------------------------------------------------------

SY_DEV float max_number(float a, float b) { // NaN loses
    float r;
    asm("max.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}
SY_DEV float min_number(float a, float b) {
    float r;
    asm("min.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}
SY_DEV float max_nan(float a, float b) { // NaN wins
    float r;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
}
// Two values rounded to bf16, the first in the low half.
SY_DEV uint32_t bf16_pair(float lo, float hi) {
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}
// 1/d correctly rounded for d from 1 to below RECIPROCAL_MAX, without the branches of __frcp_rn:
// gemm_sm90 check compares all 2^23 fractions.
#define RECIPROCAL_MAX 0x1p126f
SY_DEV float reciprocal(float d) {
    float r;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(d));
    return __fmaf_rn(__fmaf_rn(-d, r, 1.0f), r, r);
}

} // namespace ptx

#endif

// --- shared arithmetic (NUMERICS 2) --------------------------------------------------------------------

namespace ptx {

SY_DEV float bf16_low(uint32_t pair) { return __uint_as_float(pair << 16); }
SY_DEV float bf16_high(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

// sy_exp2_f32 and sy_sig_f32 with the GPU's own minimum, maximum and reciprocal.
SY_DEV float exp2_whole(float x) { return sy_exp2_core_f32(min_number(max_number(x, -127.0f), 127.0f)); }
SY_DEV float sig(float x) { return __frcp_rn(__fadd_rn(1.0f, exp2_whole(__fmul_rn(-x, 1.44269504f)))); }

} // namespace ptx

#endif
