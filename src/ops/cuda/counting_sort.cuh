/* A stable counting sort of routes by (expert, sequence, token), on the device alone.
 *
 *     count    block (8 experts, sequence): in shared memory one bit a (expert, token); its population
 *     lay_out  one block: segments start at multiples of `segment`; the tiles of each expert
 *     place    as count; a route's row is its segment's first and the bits below its own
 *
 * No workspace: `offset` carries the counts from count to lay_out. */
#ifndef SY_OPS_CUDA_COUNTING_SORT_CUH
#define SY_OPS_CUDA_COUNTING_SORT_CUH

#include "ops/cuda/scan.cuh"

enum { SY_SORT_EXPERTS = 8, SY_SORT_THREADS = SY_SCAN_THREADS }; /* experts of a block */

/* --- bits ----------------------------------------------------------------------------------------------- */

struct sy_bits {        /* of one sequence's routes to `experts` of them, at most 8, from id `first` on */
    const int32_t *ids; /* [n] */
    int64_t n, top_k;   /* a token's ids are distinct */
    int64_t first, experts;
    int64_t words;         /* of an expert: 32 tokens each */
    uint32_t *bit, *below; /* [8, words] shared; below: bits of the words before */
};

/* Bytes of shared memory for sequences of up to `tokens`. */
static inline size_t sy_bits_bytes(int64_t tokens) {
    return (size_t)(2 * SY_SORT_EXPERTS * ((tokens + 31) / 32)) * sizeof(uint32_t);
}
SY_DEV void sy_bits_place(struct sy_bits *m, uint32_t *shared, int64_t tokens) {
    m->words = (tokens + 31) / 32;
    m->bit = shared;
    m->below = shared + SY_SORT_EXPERTS * m->words;
}

/* do_route(route, expert of the block) for those of this thread that go there: ids are loaded 8 at a time. */
template <class F> SY_DEV void sy_bits_routes(const struct sy_bits &m, F do_route) {
    for (int64_t at = threadIdx.x; at < m.n; at += 8 * (int)SY_SORT_THREADS) {
        int64_t e[8];
#pragma unroll
        for (int k = 0; k < 8; k++)
            e[k] = at + k * SY_SORT_THREADS < m.n ? m.ids[at + k * SY_SORT_THREADS] - m.first : -1;
#pragma unroll
        for (int k = 0; k < 8; k++)
            if (e[k] >= 0 && e[k] < m.experts)
                do_route(at + k * SY_SORT_THREADS, e[k]);
    }
}

/* All threads of the block. Warp e < 8 gets how many routes go to expert e of the block. */
SY_DEV uint32_t sy_bits_make(const struct sy_bits &m) {
    for (int64_t i = threadIdx.x; i < SY_SORT_EXPERTS * m.words; i += SY_SORT_THREADS)
        m.bit[i] = 0;
    __syncthreads();
    sy_bits_routes(m, [&](int64_t i, int64_t e) {
        uint32_t t = (uint32_t)i / (uint32_t)m.top_k;
        atomicOr(&m.bit[e * m.words + t / 32], 1u << t % 32);
    });
    __syncthreads();
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, carry = 0;
    int64_t row = warp * m.words;
    for (int64_t at = 0; warp < SY_SORT_EXPERTS && at < m.words; at += 32) {
        uint32_t mine = at + lane < m.words ? (uint32_t)__popc(m.bit[row + at + lane]) : 0, sum = mine;
        for (int h = 1; h < 32; h *= 2) {
            uint32_t other = __shfl_up_sync(~0u, sum, h);
            sum += lane >= (uint32_t)h ? other : 0;
        }
        if (at + lane < m.words)
            m.below[row + at + lane] = carry + sum - mine;
        carry += __shfl_sync(~0u, sum, 31);
    }
    return carry;
}

/* How many tokens before t go to expert e of the block. After a barrier. */
SY_DEV uint32_t sy_bits_rank(const struct sy_bits &m, int64_t e, uint32_t t) {
    int64_t word = e * m.words + t / 32;
    return m.below[word] + (uint32_t)__popc(m.bit[word] & ((1u << t % 32) - 1u));
}

/* --- where segments start ------------------------------------------------------------------------------- */

struct sy_segments {
    int64_t experts, sequences, segment;
    int64_t *offset, *count; /* offset: the counts at first; count: or NULL */
    struct sy_tile *tile;
    int64_t *n_tiles;
    int64_t max_rows, *overflow; /* more rows: there are none, *overflow says how many; NULL: never more */
};

/* Whether the segments have more rows than may be; then there are none. */
SY_DEV int sy_overflows(const struct sy_segments &s) {
    int64_t bins = s.experts * s.sequences, rows = 0, all;
    if (!s.overflow)
        return 0;
    for (int64_t first = 0; first < bins; first += SY_SORT_THREADS, rows += all)
        sy_sum_before(first + threadIdx.x < bins ? s.offset[first + threadIdx.x] : 0, &all);
    if (rows <= s.max_rows)
        return 0;
    for (int64_t i = threadIdx.x; i <= bins; i += SY_SORT_THREADS)
        s.offset[i] = 0;
    if (threadIdx.x == 0) {
        *s.overflow = *s.overflow ? *s.overflow : rows;
        *s.n_tiles = 0;
    }
    return 1;
}

SY_DEV void sy_lay_out_tiles(const struct sy_segments &s) {
    int64_t at = 0, all;
    for (int64_t first = 0; first < s.experts; first += SY_SORT_THREADS, at += all) {
        int64_t e = first + threadIdx.x, lo = 0, hi = 0;
        if (e < s.experts) {
            lo = s.offset[e * s.sequences];
            hi = s.offset[(e + 1) * s.sequences];
        }
        int64_t tile = at + sy_sum_before((hi - lo + SY_TILE_ROWS - 1) / SY_TILE_ROWS, &all);
        for (int64_t row = lo; row < hi; row += SY_TILE_ROWS)
            s.tile[tile++] = (struct sy_tile){.group = e, .first = row};
    }
    if (threadIdx.x == 0)
        *s.n_tiles = at;
}

SY_KERNEL(SY_SORT_THREADS) sy_lay_out(struct sy_segments s) {
    int64_t bins = s.experts * s.sequences, at = 0, all;
    if (sy_overflows(s))
        return;
    for (int64_t first = 0; first < bins; first += SY_SORT_THREADS, at += all) {
        int64_t i = first + threadIdx.x, count = i < bins ? s.offset[i] : 0;
        int64_t start = at + sy_sum_before((count + s.segment - 1) / s.segment * s.segment, &all);
        if (i < bins)
            s.offset[i] = start;
        if (i < bins && s.count)
            s.count[i] = count;
    }
    if (threadIdx.x == 0)
        s.offset[bins] = at;
    __syncthreads();
    sy_lay_out_tiles(s);
}

#endif
