// What the roles of gemm.cuh share: sizes, arguments, shared memory, and which tile is whose.
#ifndef SY_OPS_CUDA_GEMM_TILES_CUH
#define SY_OPS_CUDA_GEMM_TILES_CUH

#include <cuda.h>

#include "ops/cuda/cuda.cuh"
#include "ops/cuda/ptx.cuh"

namespace gemm {

enum layout { NT, NN, TN, TN_LIST };
enum epilogue {
    STORE,
    STORE_F32,
    SWIGLU,
    SWIGLU_BACK,
    ADD, // to a residual
    DIRECT,
    LEAF,
    FOLD,
    LEAF_ON, // from an accumulator
    FOLD_ON
};

// Which kernels take rows by their names: those of the routed experts' first product, forward and recomputed.
template <int LAYOUT, int EPI> SY_DEV constexpr int may_gather() {
    return LAYOUT == NT && (EPI == SWIGLU || EPI == STORE);
}
template <int EPI> SY_DEV constexpr int is_on() { return EPI == LEAF_ON || EPI == FOLD_ON; }

// A tile is BM rows and BN columns, a template parameter: 256, 128 or 64.
enum { BM = 128, BK = 64, MAX_GROUPS = 256, THREADS = 384 };
enum { A_BYTES = BM * BK * 2, BOX_BYTES = 64 * BK * 2 }; // a box: 64 columns of an MN-major operand
enum { STAGING_BYTES = 2048, STAGING = 2 };              // a warp's buffers: 16 rows of 64 bf16 columns
template <int BN> SY_DEV constexpr int half_bytes() { return BN / 2 * BK * 2; } // of a stage's B
template <int BN> SY_DEV constexpr int stages() { return BN == 256 ? 4 : BN == 128 ? 6 : 8; } // 192 KB
// Stages behind a tile's blocks of k, 64 columns each: what SWIGLU_BACK, ADD and FOLD store from.
template <int BN> SY_DEV constexpr int tail_stages() { return BN / 64; }

struct problem;

struct named { // A's rows (sy_named_rows); route NULL: as they stand
    const char *base;
    const int32_t *route;
    int64_t row_bytes;
    int top_k, columns;
};

struct args {
    struct sy_rows rows;
    int64_t first, n_segments;      // TN: of each group
    int m_tiles;                    // TN: of one group; else each group's own
    int n_tiles;                    //
    int band;                       // tiles run down so many row tiles, then to the next columns
    int n_maps, blocks[SY_DX_MAPS]; // NT, NN: blocks of k of each map; in TN each group's own
    int m, n;                       // TN: sizes of C; n also bounds the columns of the others
    struct sy_mat y, residual;      // DIRECT
    const float *bias;              // DIRECT; or NULL
    const float *acc;               // ON: [groups, m, n]
    float *c;                       // TN: [groups, m, n]
    int64_t acc_step, c_step;
    named by_name;
    const problem *list; // TN_LIST: [rows.groups], in the device's memory

    const float *w; // SWIGLU_BACK: [rows] or NULL
    float *block;   // SWIGLU_BACK: [blocks of 128 columns, max_rows] or NULL
};

// c: STORE, ADD, LEAF, FOLD 0; SWIGLU g, u, h; SWIGLU_BACK dg, du, hw. b: SWIGLU W1, W3; else of each map.
// tail: SWIGLU_BACK g, u; ADD the residual; FOLD C.
struct maps {
    CUtensorMap a[SY_DX_MAPS], b[SY_DX_MAPS], c[3], tail[2];
};

struct problem { // of TN_LIST: C [m, n] over rows start .. end - 1
    maps map;
    int m, n, m_tiles, n_tiles, start, end;
};

template <int BN> struct shared {
    alignas(1024) char stage[stages<BN>()][A_BYTES + 2 * half_bytes<BN>()];
    alignas(1024) char staging[8][STAGING][STAGING_BYTES];
    uint64_t full[stages<BN>()], empty[stages<BN>()];
    int offset[MAX_GROUPS + 1], first[MAX_GROUPS + 1]; // of a group: its first row, its first tile
    uint16_t pieces[MAX_GROUPS];                       // TN: its pieces of 16 rows
};

// --- stages -------------------------------------------------------------------------------------------

template <int BN> SY_DEV void next_stage(int &stage, int &phase) {
    if (++stage == stages<BN>()) {
        stage = 0;
        phase ^= 1;
    }
}

template <int EPI, int BN> SY_DEV int tail_of(int blocks) { // FOLD without rows: nothing changes
    return EPI == SWIGLU_BACK || EPI == ADD || (EPI == FOLD && blocks > 0) ? tail_stages<BN>() : 0;
}

// A warp is done with a stage: both CTAs' producers may write it.
template <int BN> SY_DEV void release(shared<BN> &s, int stage) {
    int lane = threadIdx.x % 32;
    if (lane < 2)
        ptx::mbar_arrive_remote(ptx::shared(&s.empty[stage]), lane);
}

// The same once all but the last N groups of this warp's stores have read their memory.
template <int N, int BN> SY_DEV void release_behind(shared<BN> &s, int stage) {
    if (threadIdx.x % 32 == 0)
        ptx::tma_store_wait_read<N>();
    __syncwarp();
    release(s, stage);
}

// Goes on to the tail's next stage, and releases the one before this.
template <int BN> SY_DEV void leave_behind(shared<BN> &s, int box, int &before, int &stage, int &phase) {
    if (box > 0)
        release_behind<1>(s, before);
    before = stage;
    next_stage<BN>(stage, phase);
}

// --- tiles --------------------------------------------------------------------------------------------

struct tile {
    int group, m, n; // row tile (in its group), column tile
    int dead;        // computed for the sake of the pair, stored nowhere
};

// Of a group's C: TN's are alike, TN_LIST's are problems of their own.
template <int LAYOUT> SY_DEV int m_of(const args &p, int g) { return LAYOUT == TN_LIST ? p.list[g].m : p.m; }
template <int LAYOUT> SY_DEV int n_of(const args &p, int g) { return LAYOUT == TN_LIST ? p.list[g].n : p.n; }
template <int LAYOUT> SY_DEV int m_tiles_of(const args &p, int g) {
    return LAYOUT == TN_LIST ? p.list[g].m_tiles : p.m_tiles;
}
template <int LAYOUT> SY_DEV int n_tiles_of(const args &p, int g) {
    return LAYOUT == TN_LIST ? p.list[g].n_tiles : p.n_tiles;
}
template <int LAYOUT> SY_DEV const maps &maps_of(const maps &map, const args &p, int g) {
    return LAYOUT == TN_LIST ? p.list[g].map : map;
}

template <int LAYOUT, int BN> SY_DEV int end_of(const shared<BN> &s, int g) {
    return LAYOUT >= TN ? s.offset[g] + 16 * s.pieces[g] : s.offset[g + 1];
}

template <int LAYOUT, int BN> SY_DEV int group_tiles(const args &p, const shared<BN> &s, int g) {
    if (LAYOUT >= TN)
        return (m_tiles_of<LAYOUT>(p, g) * n_tiles_of<LAYOUT>(p, g) + 1) / 2 *
               2; // even: a pair has the same k
    return (s.offset[g + 1] - s.offset[g] + BM - 1) / BM * p.n_tiles;
}

// Tile t; cursor: a group not after t's.
template <int LAYOUT, int BN> SY_DEV tile tile_at(const args &p, const shared<BN> &s, int t, int &cursor) {
    int groups = (int)p.rows.groups;
    tile r = {0, 0, 0, t >= s.first[groups]};
    if (r.dead)
        t--; // the pair's other tile
    while (t >= s.first[cursor + 1])
        cursor++;
    r.group = cursor;
    int u = t - s.first[cursor], n_tiles = n_tiles_of<LAYOUT>(p, cursor), mt;
    mt = LAYOUT >= TN ? m_tiles_of<LAYOUT>(p, cursor)
                      : (s.offset[cursor + 1] - s.offset[cursor] + BM - 1) / BM;
    if (LAYOUT >= TN && u >= mt * n_tiles) {
        r.dead = 1;
        u--;
    }
    int band = u / (p.band * n_tiles), left = mt - band * p.band, rows = left < p.band ? left : p.band;
    u -= band * p.band * n_tiles;
    r.m = band * p.band + u % rows;
    r.n = u / rows;
    return r;
}

// Blocks of k of a group's tiles, over all maps.
template <int LAYOUT, int BN> SY_DEV int blocks_of(const args &p, const shared<BN> &s, int g) {
    if (LAYOUT >= TN)
        return (16 * s.pieces[g] + BK - 1) / BK;
    return p.blocks[0] + p.blocks[1] + p.blocks[2] + p.blocks[3];
}

// First row and end of a group's rows; TN: of its segments.
template <int LAYOUT> SY_DEV void rows_of(const args &p, int64_t g, int &start, int &end) {
    const struct sy_rows &r = p.rows;
    if (LAYOUT == TN_LIST) {
        start = p.list[g].start;
        end = p.list[g].end;
        return;
    }
    int64_t first = LAYOUT >= TN ? p.first : 0, n = LAYOUT >= TN ? p.n_segments : r.sequences;
    if (r.offset) {
        start = (int)r.offset[g * r.sequences + first];
        end = (int)r.offset[g * r.sequences + first + n];
    } else {
        start = (int)(r.max_rows / r.sequences * first);
        end = n == r.sequences ? (int)r.max_rows : start + (int)(r.max_rows / r.sequences * n);
    }
}

// offset, end and first of the groups, by warp 0.
template <int LAYOUT, int BN> SY_DEV void count_tiles(const args &p, shared<BN> &s) {
    int lane = threadIdx.x, sum = 0, groups = (int)p.rows.groups;
    for (int g = lane; g < groups; g += 32) {
        int start, end;
        rows_of<LAYOUT>(p, g, start, end);
        s.offset[g] = start;
        if (LAYOUT >= TN)
            s.pieces[g] = (uint16_t)((end - start) / 16);
        else if (g == groups - 1)
            s.offset[groups] = end;
    }
    __syncwarp();
    if (lane == 0)
        s.first[0] = 0;
    for (int base = 0; base < groups; base += 32) {
        int g = base + lane, n = g < groups ? group_tiles<LAYOUT>(p, s, g) : 0;
        for (int h = 1; h < 32; h *= 2) {
            int before = __shfl_up_sync(~0u, n, h);
            n += lane >= h ? before : 0;
        }
        if (g < groups)
            s.first[g + 1] = sum + n;
        sum += __shfl_sync(~0u, n, 31);
    }
}

} // namespace gemm

#endif
