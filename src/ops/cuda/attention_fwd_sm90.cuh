// Attention forward on wgmma and TMA with the bits of class sm90 (NUMERICS 3): heads of 64/64, 128/128 and
// 192/128 (nope 128 | rope 64, whose keys may be one tensor of all heads), documents, windows.
//
// A CTA takes 128 query rows of one head at a time, two consumer warpgroups of 64 rows each, and walks
// the key blocks of 128 from the first that a row may see to the diagonal. Keys and values come in two
// stages each by one producer warp.
//
//   products    S = Q K_j^T  and  O += P_{j-1} V_{j-1}, both issued at once
//   meanwhile   M' = max(M, rint(c max s)), an integer; p = EXP2(fma(s, c, -M')) on the FMA pipes;
//               Z += V64(p); when P V is done: O *= EXP2(M - M') where M moved; P = BF(p), in registers
//
// The two warpgroups take no turns: the softmax is what lasts, and a turn would keep one of them from it.
//
// In a block where a row may see no key, another row of the same tile can; NaN or Inf in such a value reaches
// the first row here (0 Inf), and not in the fallback. Finite values never differ.
#ifndef SY_OPS_CUDA_ATTENTION_FWD_SM90_CUH
#define SY_OPS_CUDA_ATTENTION_FWD_SM90_CUH

#include "ops/cuda/attention_heads.cuh"
#include "ops/cuda/attention_softmax.cuh"

namespace attention_fwd {

using namespace attention;

enum { ROWS = 128, KEYS = 128, STAGES = 2, THREADS = 384 };

struct maps { // q and k in parts (nope, rope) of 128 (or 64) and 64
    CUtensorMap q[2], k[2], v;
};

// Places in shared memory, from its base: Q, two stages of K and of V, barriers.
template <int DK, int DV> struct place {
    enum {
        Q_BYTES = ROWS * DK * 2,
        K_BYTES = KEYS * DK * 2,
        V_BYTES = KEYS * DV * 2,
        Q = 0,
        K = Q + Q_BYTES,
        V = K + STAGES * K_BYTES,
        Q_FULL = V + STAGES * V_BYTES,
        Q_EMPTY = Q_FULL + 8,
        K_FULL = Q_FULL + 16,
        K_EMPTY = K_FULL + STAGES * 8,
        V_FULL = K_EMPTY + STAGES * 8,
        V_EMPTY = V_FULL + STAGES * 8,
        BYTES = V_EMPTY + STAGES * 8
    };
};

struct slot { // a place in a ring of stages
    int stage, phase;
    SY_DEV void next() {
        stage ^= 1;
        phase ^= stage == 0;
    }
};

struct tile {
    int sequence, head, q0, first, last; // first query row; first and last key block
};

SY_DEV int tiles_of(const struct sy_attention &p) {
    return (int)(p.heads * p.sequences) * (((int)p.seq_len + ROWS - 1) / ROWS - (int)p.first / ROWS);
}
// The longest rows first, heads of one key head side by side.
SY_DEV tile tile_at(const struct sy_attention &p, int t) {
    int heads = (int)p.heads, across = heads * (int)p.sequences;
    int blocks = ((int)p.seq_len + ROWS - 1) / ROWS, q = blocks - 1 - t / across;
    tile r = {t % across / heads, t % heads, q * ROWS, 0, q};
    r.first = first_key(p, r.sequence, r.q0) / KEYS;
    return r;
}
// This CTA's tile of a round, or one beyond the last. Every other round runs backward, so that nobody has
// the longer ones.
SY_DEV int tile_of_round(int round) {
    return round * gridDim.x + (round & 1 ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
}

// --- producer ------------------------------------------------------------------------------------------

// 128 rows of D values: boxes of 64 values, one after the other. head: of each part.
template <int D>
SY_DEV void load(uint32_t dst, const CUtensorMap *parts, uint32_t full, const int (&head)[2], int row,
                 int sequence) {
    ptx::mbar_arrive_expect(full, 128 * D * 2);
#pragma unroll
    for (int i = 0; i < D / 64; i++)
        ptx::tma_load_4d(dst + i * 128 * 128, &parts[i / 2], full, i % 2 * 64, head[i / 2], row, sequence);
}

template <int DK, int DV> SY_DEV void produce(const maps &map, const struct sy_attention &p, uint32_t base) {
    typedef place<DK, DV> at;
    slot k = {0, 0}, v = {0, 0};
    int q_phase = 0;
    for (int round = 0; tile_of_round(round) < tiles_of(p); round++) {
        tile a = tile_at(p, tile_of_round(round));
        int kv = a.head / (int)(p.heads / p.kv_heads), q_head[2] = {a.head, a.head}, v_head[2] = {kv, kv};
        int k_head[2] = {p.slice[0].k.head ? kv : 0, p.slice[1].k.head ? kv : 0}; // 0: one of all heads
        ptx::mbar_wait(base + at::Q_EMPTY, q_phase ^ 1);
        load<DK>(base + at::Q, map.q, base + at::Q_FULL, q_head, a.q0, a.sequence);
#pragma unroll 1
        for (int j = a.first; j <= a.last; j++) {
            ptx::mbar_wait(base + at::K_EMPTY + k.stage * 8, k.phase ^ 1);
            load<DK>(base + at::K + k.stage * at::K_BYTES, map.k, base + at::K_FULL + k.stage * 8, k_head,
                     j * KEYS, a.sequence);
            k.next();
            ptx::mbar_wait(base + at::V_EMPTY + v.stage * 8, v.phase ^ 1);
            load<DV>(base + at::V + v.stage * at::V_BYTES, &map.v, base + at::V_FULL + v.stage * 8, v_head,
                     j * KEYS, a.sequence);
            v.next();
        }
        q_phase ^= 1;
    }
}

// --- products ------------------------------------------------------------------------------------------

template <int DK> SY_DEV void scores(float (&s)[64], uint32_t q, uint32_t k) {
    uint64_t a = ptx::descriptor(q, 16), b = ptx::descriptor(k, 16);
#pragma unroll
    for (int i = 0; i < DK / 16; i++) { // boxes of 64 values of k are 16384 bytes apart, 16 values 32 bytes
        int at = i / 4 * 1024 + i % 4 * 2;
        ptx::wgmma_ss<0>(s, a + at, b + at, i > 0);
    }
}

template <int N> SY_DEV void add_values(float (&o)[N], const uint32_t (&p)[32], uint32_t v) {
    uint64_t b = ptx::descriptor(v, 16384);
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++)
        ptx::wgmma_rs(o, p + 4 * i, b + i * 128);
}

SY_DEV void pack(uint32_t (&p)[32], const float (&s)[64]) {
#pragma unroll
    for (int i = 0; i < 32; i++)
        p[i] = ptx::bf16_pair(s[2 * i], s[2 * i + 1]);
}

// --- result --------------------------------------------------------------------------------------------

template <int N>
SY_DEV void store(const struct sy_attention &p, const tile &a, const rows &w, const float (&o)[N]) {
    float inverse[2];
    int64_t token = a.sequence * p.seq_len + w.row;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int bad = !(w.z[r] > 0.0f);
        inverse[r] = bad ? NAN : __frcp_rn(w.z[r]);
        if (threadIdx.x % 4 == 0 && w.row + 8 * r < p.seq_len)
            p.lse[(token + 8 * r) * p.heads + a.head] = bad ? NAN : __fadd_rn(w.m[r], sy_log2_f32(w.z[r]));
    }
    store_rows<N>(o, p.o, token, (int)p.seq_len - w.row, a.head, inverse);
}

// --- consumers -----------------------------------------------------------------------------------------

SY_DEV void release(uint32_t bar) {
    if (threadIdx.x % 32 == 0)
        ptx::mbar_arrive(bar);
}

// The rows of a thread; blocks that begin before `cut` have keys that a row of the warpgroup may not see.
SY_DEV void begin(const struct sy_attention &p, const tile &a, int group, rows &w, int &cut) {
    int first = a.q0 + group * 64, last = (int)p.seq_len - 1;
    cut = first_key(p, a.sequence, min(first + 63, last));
    begin_rows(w, first + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4);
    for (int r = 0; r < 2; r++)
        w.lo[r] = first_key(p, a.sequence, min(w.row + 8 * r, last));
}

template <int DK, int DV>
SY_DEV void attend(const struct sy_attention &p, uint32_t base, const tile &a, int group, slot &k, slot &v) {
    typedef place<DK, DV> at;
    float sc[64], o[DV / 2];
    uint32_t pr[32], q = base + at::Q + group * 64 * 128;
    rows w;
    int cut;
    begin(p, a, group, w, cut);
#pragma unroll
    for (int i = 0; i < DV / 2; i++)
        o[i] = 0.0f;

    // The first block: no P yet.
    ptx::mbar_wait(base + at::K_FULL + k.stage * 8, k.phase);
    ptx::wgmma_fence();
    scores<DK>(sc, q, base + at::K + k.stage * at::K_BYTES);
    ptx::wgmma_commit();
    ptx::wgmma_wait_for<0>(sc);
    release(base + at::K_EMPTY + k.stage * 8);
    k.next();
    if (a.first == a.last)
        release(base + at::Q_EMPTY);
    softmax(sc, w, p.c, a.first * KEYS, a.first == a.last || a.first * KEYS < cut);
    pack(pr, sc);

#pragma unroll 1
    for (int j = a.first + 1; j <= a.last; j++) {
        ptx::mbar_wait(base + at::K_FULL + k.stage * 8, k.phase);
        ptx::mbar_wait(base + at::V_FULL + v.stage * 8, v.phase);
        ptx::wgmma_fence();
        scores<DK>(sc, q, base + at::K + k.stage * at::K_BYTES);
        ptx::wgmma_commit();
        add_values(o, pr, base + at::V + v.stage * at::V_BYTES);
        ptx::wgmma_commit();
        end_sum(w);
        ptx::wgmma_wait_for<1>(sc);
        release(base + at::K_EMPTY + k.stage * 8);
        k.next();
        if (j == a.last)
            release(base + at::Q_EMPTY);
        softmax(sc, w, p.c, j * KEYS, j == a.last || j * KEYS < cut);
        ptx::wgmma_wait_for<0>(o);
        release(base + at::V_EMPTY + v.stage * 8);
        v.next();
        if (w.moved) {
#pragma unroll
            for (int i = 0; i < DV / 2; i++)
                o[i] = __fmul_rn(o[i], w.factor[i / 2 % 2]);
        }
        pack(pr, sc);
    }
    ptx::mbar_wait(base + at::V_FULL + v.stage * 8, v.phase);
    ptx::wgmma_fence();
    add_values(o, pr, base + at::V + v.stage * at::V_BYTES);
    ptx::wgmma_commit();
    end_sum(w);
    ptx::wgmma_wait_for<0>(o);
    release(base + at::V_EMPTY + v.stage * 8);
    v.next();
    store(p, a, w, o);
}

// --- the kernel ----------------------------------------------------------------------------------------

template <int DK, int DV>
__global__ void __launch_bounds__(THREADS, 1)
    kernel(const __grid_constant__ maps map, const __grid_constant__ struct sy_attention p) {
    SY_SHARED_1024(raw);
    typedef place<DK, DV> at;
    uint32_t base = ptx::shared(raw);
    asm volatile(
        ""
        : "+r"(base)); // kept in a register: else it is made anew, from the cluster's window, at each use
    if (threadIdx.x == 0) {
        ptx::mbar_init(base + at::Q_FULL, 1);
        ptx::mbar_init(base + at::Q_EMPTY, 8); // warps of the consumers
        for (int i = 0; i < STAGES; i++) {
            ptx::mbar_init(base + at::K_FULL + i * 8, 1);
            ptx::mbar_init(base + at::V_FULL + i * 8, 1);
            ptx::mbar_init(base + at::K_EMPTY + i * 8, 8);
            ptx::mbar_init(base + at::V_EMPTY + i * 8, 8);
        }
        ptx::mbar_init_done();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        ptx::registers_dec<40>();
        if (threadIdx.x == 0)
            produce<DK, DV>(map, p, base);
    } else {
        ptx::registers_inc<232>();
        int group = consumer(), q_phase = 0;
        slot k = {0, 0}, v = {0, 0};
        for (int round = 0; tile_of_round(round) < tiles_of(p); round++) {
            ptx::mbar_wait(base + at::Q_FULL, q_phase);
            attend<DK, DV>(p, base, tile_at(p, tile_of_round(round)), group, k, v);
            q_phase ^= 1;
        }
    }
}

} // namespace attention_fwd

#endif
