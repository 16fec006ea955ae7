// What the roles of gemm_sm90.cuh share: sizes, arguments, shared memory, and which tile is whose.
#ifndef SY_BENCH_GPU_GEMM_TILES_CUH
#define SY_BENCH_GPU_GEMM_TILES_CUH

#include "host.cuh"

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
    int u = t - s.first[cursor],
        mt = LAYOUT == TN ? p.m_tiles : (s.offset[cursor + 1] - s.offset[cursor] + BM - 1) / BM;
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

} // namespace gemm_sm90

#endif
