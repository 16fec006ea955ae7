// Epilogues of gemm.cuh, a warp's 16 x BN outputs in d: group i of 8 columns is d[4 i..4 i + 3],
// the first two in row lane / 4, the others 8 rows below, columns 2 (lane % 4) and the next.
#ifndef SY_OPS_CUDA_GEMM_EPILOGUE_CUH
#define SY_OPS_CUDA_GEMM_EPILOGUE_CUH

#include "ops/cuda/gemm_tiles.cuh"
#include "ops/cuda/mma.cuh"

namespace gemm {

// The next staging buffer of this warp, once the store before the last has read it.
template <int BN> SY_DEV uint32_t staging(shared<BN> &s, int warp, int &turn) {
    if (threadIdx.x % 32 == 0)
        ptx::tma_store_wait_read<STAGING - 1>();
    __syncwarp();
    uint32_t at = ptx::shared(s.staging[warp][turn]);
    turn = (turn + 1) % STAGING;
    return at;
}

SY_DEV uint32_t at_16_columns(uint32_t at, int j) {
    int lane = threadIdx.x % 32, row = lane / 8 % 2 * 8 + lane % 8, column = 2 * j + lane / 16;
    return at + row * 128 + ((column ^ (row & 7)) << 4);
}

// Pairs of 16 columns: group i of 8 columns in v[2 i] (rows 0..7) and v[2 i + 1] (rows 8..15); columns 16
// j.. of the box.
SY_DEV void put_16_columns(uint32_t at, int j, const uint32_t (&v)[4]) {
    ptx::stmatrix_x4(at_16_columns(at, j), v[0], v[1], v[2], v[3]);
}

SY_DEV void send(uint32_t at, const CUtensorMap *m, int column, int row) {
    ptx::fence_proxy_async();
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        ptx::tma_store_2d(m, at, column, row);
        ptx::tma_store_commit();
    }
}

template <int BN>
SY_DEV void store_bf16(shared<BN> &s, const CUtensorMap *m, int warp, int &turn, const float (&d)[BN / 2],
                       int n0, int n, int row) {
#pragma unroll
    for (int box = 0; box < BN / 64; box++) {
        if (n0 + box * 64 >= n)
            break;
        uint32_t at = staging(s, warp, turn);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float *q = d + box * 32 + j * 8;
            uint32_t v[4] = {ptx::bf16_pair(q[0], q[1]), ptx::bf16_pair(q[2], q[3]),
                             ptx::bf16_pair(q[4], q[5]), ptx::bf16_pair(q[6], q[7])};
            put_16_columns(at, j, v);
        }
        send(at, m, n0 + box * 64, row);
    }
}

// The largest |g| of pairs, in each half; NaN are the largest.
template <int N> SY_DEV uint32_t largest(uint32_t most, const uint32_t (&g)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++)
        most = __vmaxu2(most, g[i] & 0x7fff7fffu);
    return most;
}
// All |g| of the warp are at most 87: EXP needs no clamps, and 1 + EXP(-g) < RECIPROCAL_MAX.
SY_DEV int is_ordinary(uint32_t most) { return !__any_sync(~0u, max(most & 0xffffu, most >> 16) > 0x42aeu); }

SY_DEV float sigmoid(float g) { // of an ordinary g
    return ptx::reciprocal(__fadd_rn(1.0f, sy_exp2_core_f32(__fmul_rn(-g, 1.44269504f))));
}

// h = BF((g SIG(g)) u) of a pair from the stored g and u.
template <int ORDINARY> SY_DEV uint32_t gate_pair(uint32_t g, uint32_t u) {
    float a = ptx::bf16_low(g), b = ptx::bf16_high(g);
    float sa = __fmul_rn(a, ORDINARY ? sigmoid(a) : ptx::sig(a));
    float sb = __fmul_rn(b, ORDINARY ? sigmoid(b) : ptx::sig(b));
    return ptx::bf16_pair(__fmul_rn(sa, ptx::bf16_low(u)), __fmul_rn(sb, ptx::bf16_high(u)));
}

// Of any g: from local memory, one pair at a time, so that it takes no registers.
SY_DEV void gate_any(const uint32_t (&g)[16], const uint32_t (&u)[16], uint32_t (&h)[16]) {
    uint32_t at[3][16];
#pragma unroll
    for (int i = 0; i < 16; i++) {
        at[0][i] = g[i];
        at[1][i] = u[i];
    }
#pragma unroll 1
    for (int i = 0; i < 16; i++)
        at[2][i] = gate_pair<0>(at[0][i], at[1][i]);
#pragma unroll
    for (int i = 0; i < 16; i++)
        h[i] = at[2][i];
}

SY_DEV void gate(const uint32_t (&g)[16], const uint32_t (&u)[16], uint32_t (&h)[16]) {
    if (is_ordinary(largest(0, g))) {
#pragma unroll
        for (int i = 0; i < 16; i++)
            h[i] = gate_pair<1>(g[i], u[i]);
    } else {
        gate_any(g, u, h);
    }
}

SY_DEV void put_box(uint32_t at, const uint32_t (&v)[16]) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint32_t four[4] = {v[4 * j], v[4 * j + 1], v[4 * j + 2], v[4 * j + 3]};
        put_16_columns(at, j, four);
    }
}

template <int BN>
SY_DEV void store_swiglu(shared<BN> &s, const CUtensorMap *m, int warp, int &turn, const float (&d)[BN / 2],
                         int n0, int n, int row) {
#pragma unroll
    for (int box = 0; box < BN / 128; box++) {
        int column = n0 + box * 64;
        if (column >= n)
            break;
        uint32_t g[16], u[16], h[16];
#pragma unroll
        for (int i = 0; i < 16; i++) {
            g[i] = ptx::bf16_pair(d[box * 32 + 2 * i], d[box * 32 + 2 * i + 1]);
            u[i] = ptx::bf16_pair(d[BN / 4 + box * 32 + 2 * i], d[BN / 4 + box * 32 + 2 * i + 1]);
        }
        uint32_t at = staging(s, warp, turn);
        put_box(at, g);
        send(at, &m[0], column, row);
        at = staging(s, warp, turn);
        put_box(at, u);
        send(at, &m[1], column, row);
        gate(g, u, h);
        at = staging(s, warp, turn);
        put_box(at, h);
        send(at, &m[2], column, row);
    }
}

// y = BF(residual + BF(chain)): the residual lies in the tail's stages, 64 columns in each, and y takes its
// place.
SY_DEV uint32_t add_pair(uint32_t r, float a, float b) {
    uint32_t v = ptx::bf16_pair(a, b);
    return ptx::bf16_pair(__fadd_rn(ptx::bf16_low(r), ptx::bf16_low(v)),
                          __fadd_rn(ptx::bf16_high(r), ptx::bf16_high(v)));
}

template <int BN>
SY_DEV void store_added(shared<BN> &s, const CUtensorMap *m, int warp, const float (&d)[BN / 2], int n0,
                        int n, int row, int &stage, int &phase) {
    int before = 0;
#pragma unroll
    for (int box = 0; box < tail_stages<BN>(); box++) {
        int column = n0 + box * 64;
        uint32_t at = ptx::shared(s.stage[stage]) + warp * STAGING_BYTES;
        ptx::mbar_wait(ptx::shared(&s.full[stage]), phase);
        if (column < n) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float *q = d + box * 32 + j * 8;
                uint32_t r[4], v[4];
                ptx::ldmatrix_x4(r, at_16_columns(at, j));
#pragma unroll
                for (int i = 0; i < 4; i++)
                    v[i] = add_pair(r[i], q[2 * i], q[2 * i + 1]);
                put_16_columns(at, j, v);
            }
            send(at, m, column, row);
        }
        leave_behind(s, box, before, stage, phase);
    }
    release_behind<0>(s, before);
}

// Any y: fp32 or bf16, with a bias, with a residual: BF(residual + BF(chain + bias)); from the registers, two
// columns at a time where they are aligned.
SY_DEV float stored(float v) { return ptx::bf16_low(ptx::bf16_pair(v, 0.0f)); }
SY_DEV float residual_at(const struct sy_mat &m, int64_t at) {
    return ptx::bf16_low(((const uint16_t *)m.data)[at]);
}

SY_DEV float finish(const args &p, float v, int row, int column) {
    if (p.bias)
        v = __fadd_rn(v, p.bias[column]);
    if (p.residual.data)
        v = __fadd_rn(residual_at(p.residual, row * p.residual.row + column), stored(v));
    return v;
}

SY_DEV void put_direct(const struct sy_mat &y, int64_t at, float a, float b, int both) {
    if (y.dtype == SY_F32) {
        float *to = (float *)y.data + at;
        if (both && y.row % 2 == 0) {
            *(float2 *)to = make_float2(a, b);
            return;
        }
        to[0] = a;
        if (both)
            to[1] = b;
    } else {
        uint16_t *to = (uint16_t *)y.data + at;
        uint32_t v = ptx::bf16_pair(a, b);
        if (both && y.row % 2 == 0) {
            *(uint32_t *)to = v;
            return;
        }
        to[0] = (uint16_t)v;
        if (both)
            to[1] = (uint16_t)(v >> 16);
    }
}

template <int N>
SY_DEV void store_direct(const args &p, const float (&d)[N], int row, int rows_end, int column) {
    int lane = threadIdx.x % 32;
    row += lane / 4;
    column += lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < N / 2; i++) {
        int r = row + i % 2 * 8, q = column + i / 2 * 8;
        if (r >= rows_end || q >= p.n)
            continue;
        int both = q + 1 < p.n;
        float a = finish(p, d[2 * i], r, q), b = both ? finish(p, d[2 * i + 1], r, q + 1) : 0.0f;
        put_direct(p.y, r * p.y.row + q, a, b, both);
    }
}

// fp32 outputs of a thread: two columns at a time; four threads write 32 bytes of a row. Streaming hints:
// C must not push the operands out of L2 (with plain accesses FOLD took 1.7 times as long).
template <int N> SY_DEV void load_fp32(const float *c, int m, int n, float (&d)[N], int row, int column) {
    int lane = threadIdx.x % 32;
    row += lane / 4;
    column += lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < N / 2; i++) {
        int r = row + i % 2 * 8, q = column + i / 2 * 8;
        float2 v = r < m && q < n ? __ldcs((const float2 *)(c + (size_t)r * n + q)) : make_float2(0.0f, 0.0f);
        d[2 * i] = v.x;
        d[2 * i + 1] = v.y;
    }
}

template <int EPI, int N>
SY_DEV void store_on(float *c, int m, int n, const float (&d)[N], int row, int column) {
    int lane = threadIdx.x % 32;
    row += lane / 4;
    column += lane % 4 * 2;
    const int BATCH = EPI == FOLD_ON ? 4 : 16; // reads in flight: the compiler moves none before a store
#pragma unroll
    for (int first = 0; first < N / 2; first += BATCH) {
        float2 v[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            int r = row + i % 2 * 8, q = column + (first + i) / 2 * 8;
            v[i] = EPI == FOLD_ON && r < m && q < n ? __ldcs((const float2 *)(c + (size_t)r * n + q))
                                                    : make_float2(0.0f, 0.0f);
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            int r = row + i % 2 * 8, q = column + (first + i) / 2 * 8;
            float2 leaf = {d[2 * (first + i)], d[2 * (first + i) + 1]};
            if (EPI == FOLD_ON)
                leaf = make_float2(__fadd_rn(v[i].x, leaf.x), __fadd_rn(v[i].y, leaf.y));
            if (r < m && q < n)
                __stcs((float2 *)(c + (size_t)r * n + q), leaf);
        }
    }
}

} // namespace gemm

#endif
