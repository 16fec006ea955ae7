// Attention backward on wgmma and TMA with the bits of class sm90 (NUMERICS 3), in five products:
//
//     terms      D = V64(do o), lse and the first key of each query, side by side in the workspace
//     keys       a CTA owns 128 keys of a key head, each of two warpgroups 64 of them; over the group's heads
//                ascending, queries ascending, QB at a time, with keys as the rows of all that it makes:
//                    S = K Q^T   P = EXP2(S c - lse)   dP = V dO^T   dS = BF(P (dP - D))
//                    dV += BF(P) dO   dK += dS Q   and dS goes to the workspace
//     queries    (attention_dq_sm90.cuh) dQ = dS K, a triangular product
//
// The contract rounds ds to BF before both products, so that the bits are those of a recomputation.
#ifndef SY_OPS_CUDA_ATTENTION_BWD_SM90_CUH
#define SY_OPS_CUDA_ATTENTION_BWD_SM90_CUH

#include "ops/cuda/attention_heads.cuh"
#include "ops/cuda/attention_workspace.h"

namespace attention_bwd {

using namespace attention;

enum { SIDE = SY_DS_TILE, BOX = 64, ROW_BYTES = SY_DS_ROW_BYTES, STAGES = 3, THREADS = 384 };

struct maps { // boxes of 64 values: of 128 keys, of QB queries; parts of 128 (or 64) and 64
    CUtensorMap k[2], v, q[2], d_o;
};

// --- workspace -----------------------------------------------------------------------------------------

// Some (sequence, key-value head) units, from `first` on, and the workspace.
struct units {
    char *terms, *ds;
    int first, n;
};
// Places in rows of ds: a pair's length; the row of query i of box b of key tile t of a pair.
SY_DEV int64_t pair_rows(const struct sy_attention &p) {
    return sy_ds_before(&p, sy_ds_tiles(&p)) / ROW_BYTES;
}
SY_DEV int64_t ds_row(const struct sy_attention &p, int64_t pair_of_units, int t, int b, int i) {
    int64_t rows = (sy_ds_tiles(&p) - t) * SIDE;
    return pair_of_units * pair_rows(p) + sy_ds_before(&p, t) / ROW_BYTES + b * rows + i - (int64_t)t * SIDE;
}
SY_DEV float *terms_at(const struct sy_attention &p, const units &u, int64_t pair) {
    return (float *)(u.terms + pair * sy_ds_terms_bytes(&p));
}

// --- terms: eight threads a query ----------------------------------------------------------------------

SY_DEV void add_products(float (&lane)[8], const uint4 &a, const uint4 &b) {
    const uint32_t x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        lane[2 * i] = __fmaf_rn(ptx::bf16_low(x[i]), ptx::bf16_low(y[i]), lane[2 * i]);
        lane[2 * i + 1] = __fmaf_rn(ptx::bf16_high(x[i]), ptx::bf16_high(y[i]), lane[2 * i + 1]);
    }
}

// Thread l of eight has lanes 8 l .. 8 l + 7 of V64.
SY_DEV float end_v64(float (&lane)[8]) {
#pragma unroll
    for (int h = 4; h >= 1; h /= 2)
#pragma unroll
        for (int i = 0; i < 8; i++)
            lane[i] = __fadd_rn(lane[i], __shfl_xor_sync(~0u, lane[i], h));
#pragma unroll
    for (int h = 4; h >= 1; h /= 2)
#pragma unroll
        for (int i = 0; i < h; i++)
            lane[i] = __fadd_rn(lane[i], lane[i + h]);
    return lane[0];
}

enum { TERM_THREADS = 256, TERM_QUERIES = TERM_THREADS / 8 };

template <int DV>
__global__ void __launch_bounds__(TERM_THREADS)
    terms(const __grid_constant__ struct sy_attention p, const units u) {
    int64_t rows = sy_ds_term_rows(&p), at = (int64_t)blockIdx.x * TERM_QUERIES + threadIdx.x / 8;
    int i = (int)(at % rows), there = i < p.seq_len, l = threadIdx.x % 8;
    int64_t pair = at / rows, sequence = pair / p.heads, head = pair % p.heads;
    int64_t token = sequence * p.seq_len + i;
    float lane[8] = {};
    there &= sequence < p.sequences;
    if (there) {
        const uint4 *g = (const uint4 *)values(p.d_o, token, head) + l;
        const uint4 *o = (const uint4 *)values(p.o, token, head) + l;
#pragma unroll
        for (int k = 0; k < DV / 8; k += 8)
            add_products(lane, g[k], o[k]);
    }
    float d = end_v64(lane);
    if (l == 0 && sequence < p.sequences) {
        float *to = terms_at(p, u, pair) + i;
        to[0] = there ? p.lse[token * p.heads + head] : 0.0f;
        to[rows] = d;
        to[2 * rows] = __int_as_float(there ? first_key(p, sequence, i) : 0);
    }
}

// --- keys ----------------------------------------------------------------------------------------------

// Places in shared memory, from its base: K, V, stages of (Q, dO, terms), dS of each warpgroup in two
// buffers, barriers.
template <int DK, int DV, int QB> struct place {
    enum {
        Q_BYTES = QB * DK * 2,
        G_BYTES = QB * DV * 2,
        TERM_BYTES = QB * 4,
        DS_BYTES = QB * ROW_BYTES,
        K = 0,
        V = K + SIDE * DK * 2,
        Q = V + SIDE * DV * 2,
        G = Q + STAGES * Q_BYTES,
        DS = G + STAGES * G_BYTES,
        TERMS = DS + 4 * DS_BYTES,
        KV_FULL = TERMS + STAGES * 3 * TERM_BYTES,
        FULL = KV_FULL + 8,
        EMPTY = FULL + STAGES * 8,
        BYTES = EMPTY + STAGES * 8,
        STAGE_BYTES = Q_BYTES + G_BYTES + 3 * TERM_BYTES
    };
};

template <int STAGES> struct slot { // a place in a ring
    int stage, phase;
    SY_DEV void next() {
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        phase ^= stage == 0;
    }
};

struct tile { // of keys: j0 the first, t its number; queries from j0 to before `end` see some of them
    int unit, sequence, kv, t, j0, end;
};
// The first tiles, which most queries see, first. Whole tiles of queries, as dS is read: those whose first
// query sees a key of this one, which are side by side.
SY_DEV tile tile_at(const struct sy_attention &p, const units &u) {
    tile a;
    a.unit = blockIdx.x % u.n;
    a.t = blockIdx.x / u.n;
    a.sequence = (u.first + a.unit) / (int)p.kv_heads;
    a.kv = (u.first + a.unit) % (int)p.kv_heads;
    a.j0 = a.t * SIDE;
    int low = a.t, high = (int)sy_ds_tiles(&p); // low sees it, high does not
    while (high - low > 1 && (p.doc_start || p.window > 0)) {
        int middle = (low + high) / 2;
        if (first_key(p, a.sequence, middle * SIDE) < a.j0 + SIDE)
            low = middle;
        else
            high = middle;
    }
    a.end = min(high * SIDE, (int)p.seq_len);
    return a;
}

// `rows` rows of D values of a head: boxes of 64 values, one after the other.
template <int D, int ROWS>
SY_DEV void load(uint32_t dst, const CUtensorMap *parts, uint32_t full, const int (&head)[2], int row,
                 int sequence) {
#pragma unroll
    for (int i = 0; i < D / BOX; i++)
        ptx::tma_load_4d(dst + i * ROWS * ROW_BYTES, &parts[i / 2], full, i % 2 * BOX, head[i / 2], row,
                         sequence);
}

template <int DK, int DV, int QB>
SY_DEV void produce(const maps &map, const struct sy_attention &p, const units &u, const tile &a,
                    uint32_t base) {
    typedef place<DK, DV, QB> at;
    int k_head[2] = {p.slice[0].k.head ? a.kv : 0, p.slice[1].k.head ? a.kv : 0}; // 0: one of all heads
    int v_head[2] = {a.kv, a.kv}, group = (int)(p.heads / p.kv_heads);
    int64_t rows = sy_ds_term_rows(&p);
    slot<STAGES> s = {0, 0};
    ptx::mbar_arrive_expect(base + at::KV_FULL, SIDE * (DK + DV) * 2);
    load<DK, SIDE>(base + at::K, map.k, base + at::KV_FULL, k_head, a.j0, a.sequence);
    load<DV, SIDE>(base + at::V, &map.v, base + at::KV_FULL, v_head, a.j0, a.sequence);
    for (int h = 0; h < group; h++) {
        int head[2] = {a.kv * group + h, a.kv * group + h};
        const float *terms = terms_at(p, u, a.sequence * p.heads + head[0]);
#pragma unroll 1
        for (int i = a.j0; i < a.end; i += QB) {
            uint32_t full = base + at::FULL + s.stage * 8;
            ptx::mbar_wait(base + at::EMPTY + s.stage * 8, s.phase ^ 1);
            ptx::mbar_arrive_expect(full, at::STAGE_BYTES);
            load<DK, QB>(base + at::Q + s.stage * at::Q_BYTES, map.q, full, head, i, a.sequence);
            load<DV, QB>(base + at::G + s.stage * at::G_BYTES, &map.d_o, full, head, i, a.sequence);
#pragma unroll
            for (int k = 0; k < 3; k++)
                ptx::bulk_load(base + at::TERMS + (s.stage * 3 + k) * at::TERM_BYTES, terms + k * rows + i,
                               at::TERM_BYTES, full);
            s.next();
        }
    }
}

// acc = a b^T of 64 keys and QB queries over D values: boxes of 128 keys and of QB queries.
template <int D, int QB> SY_DEV void product_nt(float (&acc)[QB / 2], uint32_t keys, uint32_t queries) {
    uint64_t a = ptx::descriptor(keys, 16), b = ptx::descriptor(queries, 16);
    ptx::wgmma_first(acc, a, b);
#pragma unroll
    for (int i = 1; i < D / 16; i++)
        ptx::wgmma_ss<0>(acc, a + i / 4 * (SIDE * ROW_BYTES / 16) + i % 4 * 2,
                         b + i / 4 * (QB * ROW_BYTES / 16) + i % 4 * 2, 1);
}
// acc += a b, a 64 x QB in registers, b's QB rows in boxes of 64 columns.
template <int QB, int N>
SY_DEV void product_nn(float (&acc)[N], const uint32_t (&a)[QB / 4], uint32_t queries) {
    uint64_t b = ptx::descriptor(queries, QB * ROW_BYTES);
#pragma unroll
    for (int i = 0; i < QB / 16; i++)
        ptx::wgmma_rs(acc, a + 4 * i, b + i * (16 * ROW_BYTES / 16));
}

template <int N> SY_DEV void clear(float (&acc)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++)
        acc[i] = 0.0f;
}

template <int N> SY_DEV void pack(uint32_t (&to)[N / 2], const float (&s)[N]) {
#pragma unroll
    for (int i = 0; i < N / 2; i++)
        to[i] = ptx::bf16_pair(s[2 * i], s[2 * i + 1]);
}

// +0 where a query may not see the thread's key (or that + 8); lo: the first key of each query.
template <int N> SY_DEV void mask(float (&s)[N], uint32_t lo, int key, int i0) {
#pragma unroll
    for (int n = 0; n < N / 4; n++) {
        int column = 8 * n + threadIdx.x % 4 * 2;
        int2 l = ptx::shared_int2(lo + 4 * column);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int row = key + i / 2 * 8, seen = (row <= i0 + column + i % 2) & (row >= (i % 2 ? l.y : l.x));
            s[4 * n + i] = seen ? s[4 * n + i] : 0.0f;
        }
    }
}

template <int N> SY_DEV void probabilities(float (&s)[N], uint32_t lse, float c) {
#pragma unroll
    for (int n = 0; n < N / 4; n++) {
        float2 l = ptx::shared_float2(lse + 32 * n + threadIdx.x % 4 * 8);
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[4 * n + i] = ptx::exp2_whole(__fmaf_rn(s[4 * n + i], c, i % 2 ? -l.y : -l.x));
    }
}

// dp becomes ds.
template <int N> SY_DEV void gradients(float (&dp)[N], const float (&p)[N], uint32_t d) {
#pragma unroll
    for (int n = 0; n < N / 4; n++) {
        float2 l = ptx::shared_float2(d + 32 * n + threadIdx.x % 4 * 8);
#pragma unroll
        for (int i = 0; i < 4; i++)
            dp[4 * n + i] = __fmul_rn(p[4 * n + i], __fsub_rn(dp[4 * n + i], i % 2 ? l.y : l.x));
    }
}

// dS of the warpgroup, transposed, to rows of queries under the swizzle.
template <int QB> SY_DEV void stage_ds(uint32_t at, const uint32_t (&ds)[QB / 4]) {
    int lane = threadIdx.x % 32, chunk = threadIdx.x / 32 % 4 * 2 + lane / 8 % 2,
        row = lane / 16 * 8 + lane % 8;
    uint32_t to = at + row * ROW_BYTES + (chunk ^ row % 8) * 16;
#pragma unroll
    for (int i = 0; i < QB / 16; i++)
        ptx::stmatrix_x4_trans(to + i * 16 * ROW_BYTES, ds[4 * i], ds[4 * i + 1], ds[4 * i + 2],
                               ds[4 * i + 3]);
}

template <int DK, int DV>
SY_DEV void store(const struct sy_attention &p, const tile &a, int key, const float (&dk)[DK / 2],
                  const float (&dv)[DV / 2]) {
    int64_t token = a.sequence * p.seq_len + key;
    int left = (int)p.seq_len - key;
    float scale[2] = {p.scale, p.scale}, one[2] = {1.0f, 1.0f};
    const int nope = DK < 128 ? DK : 128;
    store_rows<nope / 2>(dk, p.slice[0].dk, token, left, a.kv, scale);
    if (DK > nope)
        store_rows<(DK - nope) / 2>(dk + nope / 2, p.slice[1].dk, token, left, a.kv, scale);
    store_rows<DV / 2>(dv, p.d_v, token, left, a.kv, one);
}

// Products of a step, in the order in which they run: S | dP, while P is made | dV, while dS is made | dK,
// while dS is stored.
template <int DK, int DV, int QB>
SY_DEV void consume(const struct sy_attention &p, const units &u, const tile &a, uint32_t base, int w) {
    typedef place<DK, DV, QB> at;
    float dk[DK / 2], dv[DV / 2], s[QB / 2], dp[QB / 2];
    uint32_t pr[QB / 4], ds[QB / 4], k = base + at::K + w * BOX * ROW_BYTES,
                                     v = base + at::V + w * BOX * ROW_BYTES;
    int first = a.j0 + w * BOX, key = first + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    int steps = (a.end - a.j0 + QB - 1) / QB, total = steps * (int)(p.heads / p.kv_heads);
    int i0 = a.j0, buffer = 0;
    int64_t row = ds_row(p, a.unit * (p.heads / p.kv_heads), a.t, w, i0);
    slot<STAGES> st = {0, 0};
    clear(dk);
    clear(dv);
    ptx::wgmma_wait_for<0>(dk); // zero before the first product starts, in the compiler's eyes, too
    ptx::wgmma_wait_for<0>(dv);
    ptx::mbar_wait(base + at::KV_FULL, 0);
#pragma unroll 1
    for (int left = total; left > 0; left--) {
        uint32_t q = base + at::Q + st.stage * at::Q_BYTES, g = base + at::G + st.stage * at::G_BYTES;
        uint32_t lse = base + at::TERMS + st.stage * 3 * at::TERM_BYTES, d = lse + at::TERM_BYTES;
        ptx::mbar_wait(base + at::FULL + st.stage * 8, st.phase);
        if (DK > 128) // no registers for dS and S at a time
            ptx::wgmma_wait_for<0>(dk);
        ptx::wgmma_fence();
        product_nt<DK, QB>(s, k, q);
        ptx::wgmma_commit();
        ptx::wgmma_wait_for<0>(s);
        __syncwarp(); // all lanes have read their terms
        if (left < total && threadIdx.x % 32 == 0) // dK of the step before is done, too
            ptx::mbar_arrive(base + at::EMPTY + (st.stage == 0 ? STAGES - 1 : st.stage - 1) * 8);
        ptx::wgmma_fence();
        product_nt<DV, QB>(dp, v, g);
        ptx::wgmma_commit();
        int masked = i0 < first + BOX - 1 || i0 + QB > p.seq_len ||
                     ptx::shared_int2(d + 2 * at::TERM_BYTES - 8).y > first;
        probabilities(s, lse, p.c);
        if (masked)
            mask(s, d + at::TERM_BYTES, key, i0);
        pack(pr, s);
        ptx::wgmma_fence();
        product_nn<QB>(dv, pr, g);
        ptx::wgmma_commit();
        ptx::wgmma_wait_for<1>(dp);
        gradients(dp, s, d);
        if (masked)
            mask(dp, d + at::TERM_BYTES, key, i0);
        pack(ds, dp);
        ptx::wgmma_fence();
        product_nn<QB>(dk, ds, q);
        ptx::wgmma_commit();

        char *to = u.ds + row * ROW_BYTES;
        int rows = min(QB, (int)sy_ds_tiles(&p) * SIDE - i0);
        row += QB;
        i0 += QB;
        if (i0 >= a.end) { // the next head
            i0 = a.j0;
            row += pair_rows(p) - steps * QB;
        }
        uint32_t out = base + at::DS + (2 * w + buffer) * at::DS_BYTES;
        stage_ds<QB>(out, ds);
        ptx::fence_proxy_async();
        if (threadIdx.x % 128 == 0)
            ptx::tma_store_wait_read<0>();
        ptx::named_sync(1 + w, 128); // dS is there; the other buffer has been read
        if (threadIdx.x % 128 == 0) {
            ptx::bulk_store(to, out, rows * ROW_BYTES);
            ptx::tma_store_commit();
        }
        buffer ^= 1;
        st.next();
    }
    ptx::wgmma_wait_for<0>(dk);
    ptx::wgmma_wait_for<0>(dv);
    store<DK, DV>(p, a, key, dk, dv);
    if (threadIdx.x % 128 == 0)
        ptx::tma_store_wait<0>();
}

template <int DK, int DV, int QB>
__global__ void __launch_bounds__(THREADS, 1)
    keys(const __grid_constant__ maps map, const __grid_constant__ struct sy_attention p, const units u) {
    SY_SHARED_1024(raw);
    typedef place<DK, DV, QB> at;
    uint32_t base = ptx::shared(raw);
    if (threadIdx.x == 0) {
        ptx::mbar_init(base + at::KV_FULL, 1);
        for (int i = 0; i < STAGES; i++) {
            ptx::mbar_init(base + at::FULL + i * 8, 1);
            ptx::mbar_init(base + at::EMPTY + i * 8, 8); // warps of the consumers
        }
        ptx::mbar_init_done();
    }
    __syncthreads();
    tile a = tile_at(p, u);
    if (threadIdx.x < 128) {
        ptx::registers_dec<24>();
        if (threadIdx.x == 0)
            produce<DK, DV, QB>(map, p, u, a, base);
    } else {
        ptx::registers_inc<240>();
        consume<DK, DV, QB>(p, u, a, base, consumer());
    }
}

} // namespace attention_bwd

#endif
