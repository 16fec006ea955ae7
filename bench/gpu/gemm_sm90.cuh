// One family of bf16 products with the bits of class sm90 (NUMERICS 1): every output is one chain, its blocks of 16 values of
// k in ascending order in one wgmma accumulator. No split-K, no partial sums, no atomics.
//
//   layout   C = A B^T             A                 B                  groups are
//   NT       y = x W^T             [rows, k]         [E, n, k]          segments of rows, starts at multiples of 16
//   NN       dx = dy W             [rows, k]         [E, k, n]          the same
//   TN       dW = dy^T x           [k, m]            [k, n]             segments of k; one C [m, n] for each
//
// A CTA is a producer warp and two consumer warpgroups of 64 x 256 outputs each; 128 x 256 x 64 a stage, four stages:
//
//   producer   wait empty[s] -> expect bytes -> TMA of A (128 x 64) and of B's two halves (128 x 64 each)
//   consumers  wait full[s]  -> 4 wgmma m64n256k16 -> when the stage before is done: arrive at its empty in both CTAs
//
// Two CTAs are a cluster and take neighbouring tiles, the same k blocks in step. Where both tiles have the same columns each
// CTA loads one half of B for both (multicast); where they do not, each loads its own. Tiles run down at most BAND row tiles,
// then to the next columns, so that neighbours mostly share B and a wave's operands stay in L2.
//
// Epilogues: STORE BF of the chain; SWIGLU, a tile holds 128 columns of g = x W1^T and the same of u = x W3^T (two boxes, the
// weights are not interleaved) and stores g, u and h = BF((g SIG(g)) u); LEAF stores fp32, FOLD adds to fp32 (TN).
// A warp owns 16 rows and sends them by its own TMA store or not at all; a warpgroup without rows skips its products.
#ifndef SY_BENCH_GPU_GEMM_SM90_CUH
#define SY_BENCH_GPU_GEMM_SM90_CUH

#include "ptx.cuh"

namespace gemm_sm90 {

enum layout { NT, NN, TN };
enum epilogue { STORE, SWIGLU, LEAF, FOLD };

#ifndef GEMM_BAND
#define GEMM_BAND 16
#endif
enum { BM = 128, BN = 256, BK = 64, STAGES = 4, BAND = GEMM_BAND, MAX_GROUPS = 256, THREADS = 384 };
enum { A_BYTES = BM * BK * 2, HALF_BYTES = BN / 2 * BK * 2, STAGE_BYTES = A_BYTES + 2 * HALF_BYTES };
enum { STAGING_BYTES = 2048, STAGING = 2 }; // a warp's buffers: 16 rows of 64 bf16 columns

struct args {
    int groups;
    const int *offsets; // [groups + 1] on the device
    int m_tiles;        // TN: of one group; else each group's own
    int n_tiles;
    int k_blocks; // NT, NN; in TN each group's own
    int m, n;     // TN: sizes of C; n also bounds the columns of the others
    float *c;     // LEAF, FOLD: [groups, m, n]
};

struct maps { // c: STORE 0; SWIGLU g, u, h. b: SWIGLU W1, W3
    CUtensorMap a, b[2], c[3];
};

struct shared {
    alignas(1024) char stage[STAGES][STAGE_BYTES];
    alignas(1024) char staging[8][STAGING][STAGING_BYTES];
    uint64_t full[STAGES], empty[STAGES];
    int offset[MAX_GROUPS + 1], first[MAX_GROUPS + 1];
};

struct tile {
    int group, m, n; // row tile (in its group), column tile
    int dead;        // computed for the sake of the pair, stored nowhere
};

template <int LAYOUT> SY_DEV int group_tiles(const args &p, const shared &s, int g) {
    if (LAYOUT == TN)
        return (p.m_tiles * p.n_tiles + 1) / 2 * 2; // even: a pair has the same k
    return (s.offset[g + 1] - s.offset[g] + BM - 1) / BM * p.n_tiles;
}

// Tile t; cursor: a group not after t's.
template <int LAYOUT> SY_DEV tile tile_at(const args &p, const shared &s, int t, int &cursor) {
    tile r = {0, 0, 0, t >= s.first[p.groups]};
    if (r.dead)
        t--; // the pair's other tile
    while (t >= s.first[cursor + 1])
        cursor++;
    r.group = cursor;
    int u = t - s.first[cursor], mt = LAYOUT == TN ? p.m_tiles : (s.offset[cursor + 1] - s.offset[cursor] + BM - 1) / BM;
    if (LAYOUT == TN && u >= mt * p.n_tiles) {
        r.dead = 1;
        u--;
    }
    int band = u / (BAND * p.n_tiles), left = mt - band * BAND, rows = left < BAND ? left : BAND;
    u -= band * BAND * p.n_tiles;
    r.m = band * BAND + u % rows;
    r.n = u / rows;
    return r;
}

template <int LAYOUT> SY_DEV int blocks_of(const args &p, const shared &s, int g) {
    return LAYOUT == TN ? (s.offset[g + 1] - s.offset[g] + BK - 1) / BK : p.k_blocks;
}

// --- producer ----------------------------------------------------------------------------------------------------------

template <int LAYOUT, int EPI>
SY_DEV void load_half(const maps &map, uint32_t dst, uint32_t full, int share, int half, int n0, int k, int g) {
    const CUtensorMap *m = &map.b[EPI == SWIGLU ? half : 0];
    int n = EPI == SWIGLU ? n0 / 2 : n0 + half * (BN / 2), boxes = LAYOUT == NT ? 1 : 2;
    dst += half * HALF_BYTES;
    for (int i = 0; i < boxes; i++) {
        int c0 = LAYOUT == NT ? k : n + i * 64, c1 = LAYOUT == NT ? n : k, c2 = LAYOUT == TN ? 0 : g;
        uint32_t at = dst + i * (HALF_BYTES / 2);
        if (share)
            ptx::tma_load_3d_multicast(at, m, full, 3, c0, c1, c2);
        else
            ptx::tma_load_3d(at, m, full, c0, c1, c2);
    }
}

template <int LAYOUT, int EPI> SY_DEV void produce(const maps &map, const args &p, shared &s) {
    int rank = ptx::cluster_rank(), mine = 0, other = 0, stage = 0, phase = 0;
    for (int t = blockIdx.x; t - rank < s.first[p.groups]; t += gridDim.x) {
        tile a = tile_at<LAYOUT>(p, s, t, mine), b = tile_at<LAYOUT>(p, s, t ^ 1, other);
        int share = a.group == b.group && a.n == b.n, blocks = blocks_of<LAYOUT>(p, s, a.group), start = s.offset[a.group];
#pragma unroll 1
        for (int i = 0; i < blocks; i++) {
            uint32_t full = ptx::shared(&s.full[stage]), at = ptx::shared(s.stage[stage]);
            int k = i * BK + (LAYOUT == TN ? start : 0);
            ptx::mbar_wait(ptx::shared(&s.empty[stage]), phase ^ 1);
            ptx::mbar_arrive_expect(full, STAGE_BYTES);
            if (LAYOUT == TN) {
                ptx::tma_load_3d(at, &map.a, full, a.m * BM, k, 0);
                ptx::tma_load_3d(at + A_BYTES / 2, &map.a, full, a.m * BM + 64, k, 0);
            } else {
                ptx::tma_load_3d(at, &map.a, full, k, start + a.m * BM, 0);
            }
            if (share) {
                load_half<LAYOUT, EPI>(map, at + A_BYTES, full, 1, rank, a.n * BN, k, a.group);
            } else {
                load_half<LAYOUT, EPI>(map, at + A_BYTES, full, 0, 0, a.n * BN, k, a.group);
                load_half<LAYOUT, EPI>(map, at + A_BYTES, full, 0, 1, a.n * BN, k, a.group);
            }
            if (++stage == STAGES) {
                stage = 0;
                phase ^= 1;
            }
        }
    }
}

// --- consumers: products -------------------------------------------------------------------------------------------------

// A warp is done with a stage: both CTAs' producers may write it.
SY_DEV void release(shared &s, int stage) {
    int lane = threadIdx.x % 32;
    if (lane < 2)
        ptx::mbar_arrive_remote(ptx::shared(&s.empty[stage]), lane);
}

template <int LAYOUT> SY_DEV void multiply(shared &s, int stage, int group, int step, float (&d)[128], int go_on) {
    uint32_t at = ptx::shared(s.stage[stage]);
    uint64_t a = ptx::descriptor(at + group * (A_BYTES / 2), A_BYTES / 2);
    uint64_t b = ptx::descriptor(at + A_BYTES, HALF_BYTES / 2);
    ptx::wgmma_m64n256k16<LAYOUT == TN, LAYOUT != NT>(d, a + step * (LAYOUT == TN ? 128 : 2), b + step * (LAYOUT == NT ? 2 : 128),
                                                      go_on);
}

SY_DEV void next_stage(int &stage, int &phase) {
    if (++stage == STAGES) {
        stage = 0;
        phase ^= 1;
    }
}

// The chain of one tile: whole blocks, then the last one's `rest` steps of 16 (TN: what the segment still has; else 0).
template <int LAYOUT>
SY_DEV void chain(shared &s, int whole, int rest, int group, float (&d)[128], int &stage, int &phase) {
    int before = -1;
    for (int i = 0; i < whole; i++) {
        ptx::mbar_wait(ptx::shared(&s.full[stage]), phase);
        ptx::wgmma_fence();
#pragma unroll
        for (int step = 0; step < BK / 16; step++)
            multiply<LAYOUT>(s, stage, group, step, d, i > 0 || step > 0);
        ptx::wgmma_commit();
        ptx::wgmma_wait<1>();
        if (i > 0)
            release(s, before);
        before = stage;
        next_stage(stage, phase);
    }
    if (LAYOUT == TN && rest > 0) {
        ptx::mbar_wait(ptx::shared(&s.full[stage]), phase);
        for (int step = 0; step < rest; step++) {
            ptx::wgmma_fence();
            multiply<LAYOUT>(s, stage, group, step, d, whole > 0 || step > 0);
            ptx::wgmma_commit();
        }
        ptx::wgmma_wait<0>();
        if (whole > 0)
            release(s, before);
        before = stage;
        next_stage(stage, phase);
    }
    ptx::wgmma_wait<0>();
    if (before >= 0)
        release(s, before);
}

SY_DEV void skip(shared &s, int blocks, int &stage, int &phase) {
    for (int i = 0; i < blocks; i++) {
        ptx::mbar_wait(ptx::shared(&s.full[stage]), phase);
        release(s, stage);
        next_stage(stage, phase);
    }
}

// --- consumers: epilogues ------------------------------------------------------------------------------------------------

// The next staging buffer of this warp, once the store before the last has read it.
SY_DEV uint32_t staging(shared &s, int warp, int &turn) {
    if (threadIdx.x % 32 == 0)
        ptx::tma_store_wait_read<STAGING - 1>();
    __syncwarp();
    uint32_t at = ptx::shared(s.staging[warp][turn]);
    turn = (turn + 1) % STAGING;
    return at;
}

// Pairs of 16 columns: group i of 8 columns in v[2 i] (rows 0..7) and v[2 i + 1] (rows 8..15); columns 16 j.. of the box.
SY_DEV void put_16_columns(uint32_t at, int j, const uint32_t (&v)[4]) {
    int lane = threadIdx.x % 32, row = lane / 8 % 2 * 8 + lane % 8, column = 2 * j + lane / 16;
    ptx::stmatrix_x4(at + row * 128 + ((column ^ (row & 7)) << 4), v[0], v[1], v[2], v[3]);
}

SY_DEV void send(uint32_t at, const CUtensorMap *m, int column, int row) {
    ptx::fence_proxy_async();
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        ptx::tma_store_2d(m, at, column, row);
        ptx::tma_store_commit();
    }
}

SY_DEV void store_bf16(shared &s, const CUtensorMap *m, int warp, int &turn, const float (&d)[128], int n0, int n, int row) {
#pragma unroll
    for (int box = 0; box < 4; box++) {
        if (n0 + box * 64 >= n)
            break;
        uint32_t at = staging(s, warp, turn);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float *q = d + box * 32 + j * 8;
            uint32_t v[4] = {ptx::bf16_pair(q[0], q[1]), ptx::bf16_pair(q[2], q[3]), ptx::bf16_pair(q[4], q[5]),
                             ptx::bf16_pair(q[6], q[7])};
            put_16_columns(at, j, v);
        }
        send(at, m, n0 + box * 64, row);
    }
}

// 1 + EXP(-g); above RECIPROCAL_MAX only where SIG(g) is subnormal.
SY_DEV float sig_denominator(float g) {
    return __fadd_rn(1.0f, ptx::exp2_whole(__fmul_rn(-g, 1.44269504f)));
}

// u becomes h = BF((g SIG(g)) u), all from the stored g and u.
template <int EXACT> SY_DEV int gate(const uint32_t (&g)[16], const uint32_t (&u)[16], uint32_t (&h)[16]) {
    float largest = 0.0f;
#pragma unroll
    for (int i = 0; i < 16; i++) {
        float a = ptx::bf16_low(g[i]), b = ptx::bf16_high(g[i]), da = sig_denominator(a), db = sig_denominator(b);
        largest = ptx::max_number(largest, ptx::max_number(da, db));
        float sa = __fmul_rn(a, EXACT ? __frcp_rn(da) : ptx::reciprocal(da));
        float sb = __fmul_rn(b, EXACT ? __frcp_rn(db) : ptx::reciprocal(db));
        h[i] = ptx::bf16_pair(__fmul_rn(sa, ptx::bf16_low(u[i])), __fmul_rn(sb, ptx::bf16_high(u[i])));
    }
    return largest < RECIPROCAL_MAX;
}

SY_DEV void put_box(uint32_t at, const uint32_t (&v)[16]) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint32_t four[4] = {v[4 * j], v[4 * j + 1], v[4 * j + 2], v[4 * j + 3]};
        put_16_columns(at, j, four);
    }
}

SY_DEV void store_swiglu(shared &s, const CUtensorMap *m, int warp, int &turn, const float (&d)[128], int n0, int n, int row) {
#pragma unroll
    for (int box = 0; box < 2; box++) {
        int column = n0 + box * 64;
        if (column >= n)
            break;
        uint32_t g[16], u[16], h[16];
#pragma unroll
        for (int i = 0; i < 16; i++) {
            g[i] = ptx::bf16_pair(d[box * 32 + 2 * i], d[box * 32 + 2 * i + 1]);
            u[i] = ptx::bf16_pair(d[64 + box * 32 + 2 * i], d[64 + box * 32 + 2 * i + 1]);
        }
        uint32_t at = staging(s, warp, turn);
        put_box(at, g);
        send(at, &m[0], column, row);
        at = staging(s, warp, turn);
        put_box(at, u);
        send(at, &m[1], column, row);
        if (__any_sync(~0u, !gate<0>(g, u, h)))
            gate<1>(g, u, h);
        at = staging(s, warp, turn);
        put_box(at, h);
        send(at, &m[2], column, row);
    }
}

// fp32 outputs of a thread: two columns at a time; four threads write 32 bytes of a row. Streaming hints: C must not push the
// operands out of L2 (with plain accesses FOLD took 1.7 times as long).
template <int EPI> SY_DEV void store_fp32(float *c, int m, int n, const float (&d)[128], int row, int column) {
    int lane = threadIdx.x % 32;
    row += lane / 4;
    column += lane % 4 * 2;
    const int BATCH = 16; // reads in flight: the compiler moves none of them before a store
#pragma unroll
    for (int first = 0; first < 64; first += BATCH) {
        float2 v[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            int r = row + i % 2 * 8, q = column + (first + i) / 2 * 8;
            v[i] = EPI == FOLD && r < m && q < n ? __ldcs((const float2 *)(c + (size_t)r * n + q)) : make_float2(0.0f, 0.0f);
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            int r = row + i % 2 * 8, q = column + (first + i) / 2 * 8;
            float2 leaf = {d[2 * (first + i)], d[2 * (first + i) + 1]};
            if (EPI == FOLD)
                leaf = make_float2(__fadd_rn(v[i].x, leaf.x), __fadd_rn(v[i].y, leaf.y));
            if (r < m && q < n)
                __stcs((float2 *)(c + (size_t)r * n + q), leaf);
        }
    }
}

template <int LAYOUT, int EPI> SY_DEV void consume(const maps &map, const args &p, shared &s) {
    int group = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 - 4, rank = ptx::cluster_rank(), cursor = 0;
    int stage = 0, phase = 0, turn = 0;
    float d[128];
    for (int t = blockIdx.x; t - rank < s.first[p.groups]; t += gridDim.x) {
        tile a = tile_at<LAYOUT>(p, s, t, cursor);
        int start = s.offset[a.group], end = s.offset[a.group + 1];
        int blocks = __shfl_sync(~0u, blocks_of<LAYOUT>(p, s, a.group), 0); // the same in all lanes, for the compiler
        int row = (LAYOUT == TN ? 0 : start) + a.m * BM + group * 64, rows_end = LAYOUT == TN ? p.m : end;
        if (a.dead || row >= rows_end) {
            skip(s, blocks, stage, phase);
            continue;
        }
        if (LAYOUT == TN && blocks == 0)
            for (int i = 0; i < 128; i++)
                d[i] = 0.0f;
        int rest = LAYOUT == TN ? __shfl_sync(~0u, (end - start) % BK / 16, 0) : 0;
        chain<LAYOUT>(s, rest ? blocks - 1 : blocks, rest, group, d, stage, phase);
        row += warp % 4 * 16;
        if (row >= rows_end)
            continue;
        if (EPI == STORE)
            store_bf16(s, &map.c[0], warp, turn, d, a.n * BN, p.n, row);
        else if (EPI == SWIGLU)
            store_swiglu(s, map.c, warp, turn, d, a.n * BN / 2, p.n, row);
        else
            store_fp32<EPI>(p.c + (size_t)a.group * p.m * p.n, p.m, p.n, d, row, a.n * BN);
    }
    ptx::tma_store_wait<0>();
}

// --- the kernel ------------------------------------------------------------------------------------------------------------

// offset and first of the groups, by warp 0.
template <int LAYOUT> SY_DEV void count_tiles(const args &p, shared &s) {
    int lane = threadIdx.x, sum = 0;
    for (int g = lane; g <= p.groups; g += 32)
        s.offset[g] = p.offsets[g];
    __syncwarp();
    if (lane == 0)
        s.first[0] = 0;
    for (int base = 0; base < p.groups; base += 32) {
        int g = base + lane, n = g < p.groups ? group_tiles<LAYOUT>(p, s, g) : 0;
        for (int h = 1; h < 32; h *= 2) {
            int before = __shfl_up_sync(~0u, n, h);
            n += lane >= h ? before : 0;
        }
        if (g < p.groups)
            s.first[g + 1] = sum + n;
        sum += __shfl_sync(~0u, n, 31);
    }
}

template <int LAYOUT, int EPI>
__global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(THREADS, 1)
    kernel(const __grid_constant__ maps map, const __grid_constant__ args p) {
    extern __shared__ __align__(1024) char raw[];
    shared &s = *(shared *)raw;
    if (threadIdx.x < 32)
        count_tiles<LAYOUT>(p, s);
    if (threadIdx.x == 32) {
        for (int i = 0; i < STAGES; i++) {
            ptx::mbar_init(ptx::shared(&s.full[i]), 1);
            ptx::mbar_init(ptx::shared(&s.empty[i]), 2 * 8); // warps of the consumers of both CTAs
        }
        ptx::mbar_init_done();
    }
    __syncthreads();
    ptx::cluster_sync();
    if (threadIdx.x < 128) {
        ptx::registers_dec<40>();
        if (threadIdx.x == 0)
            produce<LAYOUT, EPI>(map, p, s);
        __syncwarp();
    } else {
        ptx::registers_inc<232>();
        consume<LAYOUT, EPI>(map, p, s);
        __syncwarp();
    }
    ptx::cluster_sync(); // neither leaves while the other may still write into it
}

// --- host --------------------------------------------------------------------------------------------------------------------

template <int LAYOUT, int EPI> void launch(const maps &m, const args &p, int sms, cudaStream_t stream) {
    static int ready;
    if (!ready) {
        SY_CUDA(cudaFuncSetAttribute(kernel<LAYOUT, EPI>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)sizeof(shared)));
        ready = 1;
    }
    kernel<LAYOUT, EPI><<<sms / 2 * 2, THREADS, sizeof(shared), stream>>>(m, p);
    SY_CUDA(cudaGetLastError());
}

// Boxes: operands 64 values along a row of 128 bytes; K-major 128 rows, MN-major 64 values of k.
inline CUtensorMap operand(const void *p, int mn_major, long inner, long outer, long row, long groups, long group_stride) {
    return tma_map(p, {3,
                       {(uint64_t)inner, (uint64_t)outer, (uint64_t)groups},
                       {1, (uint64_t)row, (uint64_t)group_stride},
                       {64, mn_major ? 64u : 128u, 1}});
}
inline CUtensorMap result(const void *p, long columns, long rows, long row) {
    return tma_map(p, {2, {(uint64_t)columns, (uint64_t)rows}, {1, (uint64_t)row}, {64, 16}});
}

} // namespace gemm_sm90

#endif
