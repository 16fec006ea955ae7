// Attention forward with the bits of class sm90 (NUMERICS 3, "Attention"), causal, with or without documents.
//
// Of non-finite scores: an allowed score of -Inf has p = +0; a row with an allowed NaN or +Inf, without a finite allowed
// score, or with Z = 0 gets NaN for o and lse.
//
// A CTA takes 128 query rows of one head at a time, two consumer warpgroups of 64 rows each, and walks the key blocks of 128
// from the first that a row may see to the diagonal. Keys and values come in two stages each by one producer warp.
//
//   turn of a warpgroup      S = Q K_j^T  and  O += P_{j-1} V_{j-1}    both issued, then the other has its turn
//   meanwhile                M' = max(M, rint(c max s)), an integer; p = EXP2(fma(s, c, -M')) on the FMA pipes;
//                            Z += V64(p); when P V is done: O *= EXP2(M - M') where M moved; P = BF(p), in registers
//
// A thread holds, of rows r and r + 8, the columns 8 i + 2 q and 8 i + 2 q + 1 (q its place in the quad): V64 over 128 columns
// is then register adds over i (64, 32, 16, 8), two shuffles (4, 2) and the last pair.
#ifndef SY_BENCH_GPU_ATTENTION_SM90_CUH
#define SY_BENCH_GPU_ATTENTION_SM90_CUH

#include "ptx.cuh"

namespace attention_sm90 {

enum { ROWS = 128, KEYS = 128, DV = 128, STAGES = 2, THREADS = 384 };

struct args {
    int sequences, seq_len, heads, kv_heads;
    float c;
    const int *doc_start; // [T] or NULL
    uint16_t *o;          // [T, heads, DV]
    float *lse;           // [T, heads]
};

struct maps { // of [sequences, seq_len, heads, d]; q and k in parts (nope, rope) of 128 and 64
    CUtensorMap q[2], k[2], v;
};

template <int DK> struct shared {
    alignas(1024) char q[ROWS * DK * 2];
    alignas(1024) char k[STAGES][KEYS * DK * 2];
    alignas(1024) char v[STAGES][KEYS * DV * 2];
    uint64_t q_full, q_empty, k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES];
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

// The longest rows first; heads of one key head side by side.
SY_DEV tile tile_at(const args &p, int t) {
    int across = p.heads * p.sequences, blocks = (p.seq_len + ROWS - 1) / ROWS, q = blocks - 1 - t / across;
    tile r = {t % across / p.heads, t % p.heads, q * ROWS, 0, q};
    if (p.doc_start)
        r.first = p.doc_start[r.sequence * p.seq_len + r.q0] / KEYS;
    return r;
}
SY_DEV int tiles_of(const args &p) { return p.heads * p.sequences * ((p.seq_len + ROWS - 1) / ROWS); }

// --- producer ------------------------------------------------------------------------------------------------------------

// 128 rows of d values: boxes of 64 values, one after the other.
template <int D> SY_DEV void load(uint32_t dst, const CUtensorMap *parts, uint32_t full, int head, int row, int sequence) {
    ptx::mbar_arrive_expect(full, 128 * D * 2);
#pragma unroll
    for (int i = 0; i < D / 64; i++)
        ptx::tma_load_4d(dst + i * 128 * 128, &parts[i / 2], full, i % 2 * 64, head, row, sequence);
}

template <int DK> SY_DEV void produce(const maps &map, const args &p, shared<DK> &s) {
    slot k = {0, 0}, v = {0, 0};
    int q_phase = 0;
    for (int t = blockIdx.x; t < tiles_of(p); t += gridDim.x, q_phase ^= 1) {
        tile a = tile_at(p, t);
        int kv = a.head / (p.heads / p.kv_heads);
        ptx::mbar_wait(ptx::shared(&s.q_empty), q_phase ^ 1);
        load<DK>(ptx::shared(s.q), map.q, ptx::shared(&s.q_full), a.head, a.q0, a.sequence);
        for (int j = a.first; j <= a.last; j++) {
            ptx::mbar_wait(ptx::shared(&s.k_empty[k.stage]), k.phase ^ 1);
            load<DK>(ptx::shared(s.k[k.stage]), map.k, ptx::shared(&s.k_full[k.stage]), kv, j * KEYS, a.sequence);
            k.next();
            ptx::mbar_wait(ptx::shared(&s.v_empty[v.stage]), v.phase ^ 1);
            load<DV>(ptx::shared(s.v[v.stage]), &map.v, ptx::shared(&s.v_full[v.stage]), kv, j * KEYS, a.sequence);
            v.next();
        }
    }
}

// --- softmax of a block ----------------------------------------------------------------------------------------------------

struct rows { // the two rows of a thread, r and r + 8
    float m[2], z[2], factor[2];
    int bad[2], row[2], lo[2];
    int moved;
};

SY_DEV void mask(float (&s)[64], const rows &w, int j0) {
    int column = j0 + threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < 64; i++) {
        int key = column + i / 4 * 8 + i % 2, r = i / 2 % 2;
        if (key > w.row[r] || key < w.lo[r])
            s[i] = -INFINITY;
    }
}

SY_DEV float quad_max(float x) {
    x = ptx::max_nan(x, __shfl_xor_sync(~0u, x, 1));
    return ptx::max_nan(x, __shfl_xor_sync(~0u, x, 2));
}

// M' of row r, what Z and O are multiplied by, and whether EXP2 needs its upper clamp: |M'| so large that fp32 rounds it away.
SY_DEV int move_max(const float (&s)[64], rows &w, int r, float c) {
    float top[4] = {s[2 * r], s[2 * r + 1], s[2 * r + 4], s[2 * r + 5]};
#pragma unroll
    for (int i = 2; i < 16; i++)
#pragma unroll
        for (int b = 0; b < 2; b++)
            top[i % 2 * 2 + b] = ptx::max_nan(top[i % 2 * 2 + b], s[4 * i + 2 * r + b]);
    float mx = quad_max(ptx::max_nan(ptx::max_nan(top[0], top[1]), ptx::max_nan(top[2], top[3])));
    w.bad[r] |= !(mx < INFINITY);
    float m = ptx::max_number(w.m[r], rintf(__fmul_rn(c, mx)));
    w.factor[r] = 1.0f;
    if (m != w.m[r]) {
        w.factor[r] = ptx::exp2_whole(__fsub_rn(w.m[r], m));
        w.z[r] = __fmul_rn(w.z[r], w.factor[r]);
        w.m[r] = m;
        w.moved = 1;
    }
    return !(fabsf(m) < 0x1p30f);
}

template <int CLAMP> SY_DEV void exponentials(float (&s)[64], const rows &w, float c) {
#pragma unroll
    for (int i = 0; i < 64; i++) {
        float x = ptx::max_number(__fmaf_rn(s[i], c, -w.m[i / 2 % 2]), -127.0f);
        s[i] = ptx::exp2_core(CLAMP ? ptx::min_number(x, 127.0f) : x);
    }
}

// V64 of row r's 128 values, depth first.
SY_DEV float sum_of_row(const float (&s)[64], int r) {
    float two[2];
#pragma unroll
    for (int b = 0; b < 2; b++) {
        float part[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const float *p = s + 2 * r + b + 4 * i; // groups i, i + 2, ...: 8 columns each
            float a0 = __fadd_rn(p[0], p[32]), a4 = __fadd_rn(p[16], p[48]);
            float a2 = __fadd_rn(p[8], p[40]), a6 = __fadd_rn(p[24], p[56]);
            part[i] = __fadd_rn(__fadd_rn(a0, a4), __fadd_rn(a2, a6));
        }
        two[b] = __fadd_rn(part[0], part[1]);
    }
#pragma unroll
    for (int h = 2; h >= 1; h--)
#pragma unroll
        for (int b = 0; b < 2; b++)
            two[b] = __fadd_rn(two[b], __shfl_xor_sync(~0u, two[b], h));
    return __fadd_rn(two[0], two[1]);
}

// Scores of a block become p.
SY_DEV void softmax(float (&s)[64], rows &w, float c, int j0, int masked) {
    if (masked)
        mask(s, w, j0);
    w.moved = 0;
    int wide = move_max(s, w, 0, c) | move_max(s, w, 1, c);
    if (__any_sync(~0u, wide))
        exponentials<1>(s, w, c);
    else
        exponentials<0>(s, w, c);
#pragma unroll
    for (int r = 0; r < 2; r++)
        w.z[r] = __fadd_rn(w.z[r], sum_of_row(s, r));
}

// --- products ----------------------------------------------------------------------------------------------------------------

template <int DK> SY_DEV void scores(float (&s)[64], uint32_t q, uint32_t k) {
    uint64_t a = ptx::descriptor(q, 16), b = ptx::descriptor(k, 16);
#pragma unroll
    for (int i = 0; i < DK / 16; i++) { // boxes of 64 values of k are 16384 bytes apart, 16 values 32 bytes
        int at = i / 4 * 1024 + i % 4 * 2;
        ptx::wgmma_m64n128k16(s, a + at, b + at, i > 0);
    }
}

SY_DEV void add_values(float (&o)[64], const uint32_t (&p)[32], uint32_t v) {
    uint64_t b = ptx::descriptor(v, 16384);
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++)
        ptx::wgmma_m64n128k16_ra(o, p + 4 * i, b + i * 128);
}

SY_DEV void pack(uint32_t (&p)[32], const float (&s)[64]) {
#pragma unroll
    for (int i = 0; i < 32; i++)
        p[i] = ptx::bf16_pair(s[2 * i], s[2 * i + 1]);
}

// --- result ------------------------------------------------------------------------------------------------------------------

// Lane q of a quad has a[k] of lane k's a[q].
SY_DEV void quad_transpose(uint32_t (&a)[4]) {
    int odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t t = __shfl_xor_sync(~0u, odd ? a[i] : a[i + 1], 1);
        a[i] = odd ? t : a[i];
        a[i + 1] = odd ? a[i + 1] : t;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t t = __shfl_xor_sync(~0u, high ? a[i] : a[i + 2], 2);
        a[i] = high ? t : a[i];
        a[i + 2] = high ? a[i + 2] : t;
    }
}

SY_DEV void store(const args &p, const tile &a, const rows &w, const float (&o)[64]) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int bad = w.bad[r] | !(w.z[r] > 0.0f);
        float inverse = bad ? NAN : __frcp_rn(w.z[r]);
        size_t at = ((size_t)a.sequence * p.seq_len + w.row[r]) * p.heads + a.head;
        if (threadIdx.x % 4 == 0 && w.row[r] < p.seq_len)
            p.lse[at] = bad ? NAN : __fadd_rn(w.m[r], ptx::log2_of(w.z[r]));
#pragma unroll
        for (int g = 0; g < 4; g++) {
            uint32_t v[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float *x = o + (4 * g + i) * 4 + 2 * r;
                v[i] = ptx::bf16_pair(__fmul_rn(x[0], inverse), __fmul_rn(x[1], inverse));
            }
            quad_transpose(v);
            if (w.row[r] < p.seq_len)
                *(uint4 *)(p.o + at * DV + (4 * g + threadIdx.x % 4) * 8) = make_uint4(v[0], v[1], v[2], v[3]);
        }
    }
}

// --- consumers -----------------------------------------------------------------------------------------------------------------

SY_DEV void release(uint64_t &bar) {
    if (threadIdx.x % 32 == 0)
        ptx::mbar_arrive(ptx::shared(&bar));
}

template <int DK> SY_DEV void attend(const args &p, shared<DK> &s, const tile &a, int group, slot &k, slot &v) {
    float sc[64], o[64];
    uint32_t pr[32];
    rows w = {};
    int base = a.q0 + group * 64 + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4, cut = 0;
    for (int r = 0; r < 2; r++) {
        w.m[r] = -INFINITY;
        w.row[r] = base + 8 * r;
        if (p.doc_start) {
            int last = p.seq_len - 1, end = a.q0 + group * 64 + 63;
            w.lo[r] = p.doc_start[a.sequence * p.seq_len + (w.row[r] < last ? w.row[r] : last)];
            cut = p.doc_start[a.sequence * p.seq_len + (end < last ? end : last)];
        }
    }
#pragma unroll
    for (int i = 0; i < 64; i++)
        o[i] = 0.0f;
    uint32_t q = ptx::shared(s.q) + group * 64 * 128;

    // The first block: no P yet.
    ptx::mbar_wait(ptx::shared(&s.k_full[k.stage]), k.phase);
    ptx::named_sync(1 + group, 256);
    ptx::wgmma_fence();
    scores<DK>(sc, q, ptx::shared(s.k[k.stage]));
    ptx::wgmma_commit();
    ptx::named_arrive(2 - group, 256);
    ptx::wgmma_wait<0>();
    release(s.k_empty[k.stage]);
    k.next();
    softmax(sc, w, p.c, a.first * KEYS, a.first == a.last || a.first * KEYS < cut);
    pack(pr, sc);

#pragma unroll 1
    for (int j = a.first + 1; j <= a.last; j++) {
        ptx::mbar_wait(ptx::shared(&s.k_full[k.stage]), k.phase);
        ptx::mbar_wait(ptx::shared(&s.v_full[v.stage]), v.phase);
        ptx::named_sync(1 + group, 256);
        ptx::wgmma_fence();
        scores<DK>(sc, q, ptx::shared(s.k[k.stage]));
        ptx::wgmma_commit();
        add_values(o, pr, ptx::shared(s.v[v.stage]));
        ptx::wgmma_commit();
        ptx::named_arrive(2 - group, 256);
        ptx::wgmma_wait<1>();
        release(s.k_empty[k.stage]);
        k.next();
        softmax(sc, w, p.c, j * KEYS, j == a.last || j * KEYS < cut);
        ptx::wgmma_wait<0>();
        release(s.v_empty[v.stage]);
        v.next();
        if (__any_sync(~0u, w.moved)) {
#pragma unroll
            for (int i = 0; i < 64; i++)
                o[i] = __fmul_rn(o[i], w.factor[i / 2 % 2]);
        }
        pack(pr, sc);
    }

    release(s.q_empty);
    ptx::mbar_wait(ptx::shared(&s.v_full[v.stage]), v.phase);
    ptx::wgmma_fence();
    add_values(o, pr, ptx::shared(s.v[v.stage]));
    ptx::wgmma_commit();
    ptx::wgmma_wait<0>();
    release(s.v_empty[v.stage]);
    v.next();
    store(p, a, w, o);
}

// --- the kernel ------------------------------------------------------------------------------------------------------------------

template <int DK>
__global__ void __launch_bounds__(THREADS, 1) kernel(const __grid_constant__ maps map, const __grid_constant__ args p) {
    extern __shared__ __align__(1024) char raw[];
    shared<DK> &s = *(shared<DK> *)raw;
    if (threadIdx.x == 0) {
        ptx::mbar_init(ptx::shared(&s.q_full), 1);
        ptx::mbar_init(ptx::shared(&s.q_empty), 8); // warps of the consumers
        for (int i = 0; i < STAGES; i++) {
            ptx::mbar_init(ptx::shared(&s.k_full[i]), 1);
            ptx::mbar_init(ptx::shared(&s.v_full[i]), 1);
            ptx::mbar_init(ptx::shared(&s.k_empty[i]), 8);
            ptx::mbar_init(ptx::shared(&s.v_empty[i]), 8);
        }
        ptx::mbar_init_done();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        ptx::registers_dec<40>();
        if (threadIdx.x == 0)
            produce<DK>(map, p, s);
    } else {
        ptx::registers_inc<232>();
        int group = threadIdx.x / 128 - 1, q_phase = 0;
        slot k = {0, 0}, v = {0, 0};
        if (group == 1)
            ptx::named_arrive(1, 256); // warpgroup 0 has the first turn
        for (int t = blockIdx.x; t < tiles_of(p); t += gridDim.x, q_phase ^= 1) {
            ptx::mbar_wait(ptx::shared(&s.q_full), q_phase);
            attend<DK>(p, s, tile_at(p, t), group, k, v);
        }
        if (group == 0)
            ptx::named_sync(1, 256); // the last turn that was given
    }
}

template <int DK> void launch(const maps &m, const args &p, int sms, cudaStream_t stream) {
    static int ready;
    int bytes = (int)sizeof(shared<DK>), tiles = p.heads * p.sequences * ((p.seq_len + ROWS - 1) / ROWS);
    if (!ready) {
        SY_CUDA(cudaFuncSetAttribute(kernel<DK>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
        ready = 1;
    }
    kernel<DK><<<tiles < sms ? tiles : sms, THREADS, bytes, stream>>>(m, p);
    SY_CUDA(cudaGetLastError());
}

// d values from `first` on of [sequences, seq_len, heads, row] rows.
inline CUtensorMap head_map(const uint16_t *p, long first, long d, long row, long heads, long seq_len, long sequences) {
    return tma_map(p + first, {4,
                               {(uint64_t)d, (uint64_t)heads, (uint64_t)seq_len, (uint64_t)sequences},
                               {1, (uint64_t)row, (uint64_t)(heads * row), (uint64_t)(seq_len * heads * row)},
                               {64, 1, 128, 1}});
}

} // namespace attention_sm90

#endif
