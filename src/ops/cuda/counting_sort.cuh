/* A stable counting sort of routes by (expert, sequence, token), on the device alone. A sequence is cut into
 * parts, one a block:
 *
 *     count    block (part, sequence): how many of its routes go to each expert
 *     lay_out  one block: segments start at multiples of `segment`; in each, routes before those of a part;
 *              the tiles of each expert
 *     place    block (part, sequence): in shared memory one bit a (token, expert); a route's row is its
 *              segment's first, the routes of the parts before and the bits below its own
 */
#ifndef SY_OPS_CUDA_COUNTING_SORT_CUH
#define SY_OPS_CUDA_COUNTING_SORT_CUH

#include "ops/cuda/scan.cuh"

enum {
    SY_SORT_THREADS = SY_SCAN_THREADS,
    SY_SORT_BLOCKS = 64,        /* parts of all sequences, about */
    SY_SORT_TOKENS = 128,       /* of a part, at least */
    SY_SORT_SHARED = 96 * 1024, /* bytes that a block may have for bits */
    SY_SORT_TOGETHER = 4        /* ids of a thread that are loaded together */
};

struct sy_sort {
    int64_t experts, sequences, segment;
    int64_t *offset, *count; /* count: or NULL */
    struct sy_tile *tile;
    int64_t *n_tiles;
    int64_t max_rows, *overflow; /* more rows: there are none, *overflow says how many; NULL: never more */
    int64_t parts;               /* of a sequence */
    int64_t words;               /* of a part: 32 tokens each */
    uint32_t *before; /* [parts, experts, sequences] workspace: counts, then sums of those before */
};

/* Cuts sequences of up to `tokens` into few parts that fill the GPU, or more where the bits of one would not
 * fit. 0: there is no workspace. */
static inline int sy_sort_cut(const struct sy_exec *x, int64_t tokens, struct sy_sort *s) {
    int64_t segments = s->experts * s->sequences, held, most = sy_cuda_blocks(tokens, SY_SORT_TOKENS), least;
    s->parts = s->words = 1;
    if (segments == 0)
        return 1;
    held = SY_SORT_SHARED / (2 * s->experts * (int64_t)sizeof(uint32_t)); /* words of an expert */
    least = sy_cuda_blocks(tokens, held > 0 ? 32 * held : 32);
    s->parts = sy_cuda_blocks(SY_SORT_BLOCKS, s->sequences);
    s->parts = s->parts < most ? s->parts : most;
    s->parts = s->parts > least ? s->parts : least;
    s->parts = s->parts > 0 ? s->parts : 1;
    s->words = sy_cuda_blocks(sy_cuda_blocks(tokens, s->parts), 32);
    s->before = (uint32_t *)sy_cuda_workspace(x, (size_t)(s->parts * segments) * sizeof *s->before);
    return s->before != nullptr;
}

/* Blocks of count and place, and their shared memory. */
static inline dim3 sy_sort_grid(const struct sy_sort &s) {
    return dim3((unsigned)s.parts, (unsigned)s.sequences);
}
static inline size_t sy_sort_count_bytes(const struct sy_sort &s) {
    return (size_t)s.experts * sizeof(uint32_t);
}
static inline size_t sy_sort_place_bytes(const struct sy_sort &s) {
    return (size_t)(2 * s.experts * s.words) * sizeof(uint32_t);
}

/* --- count ---------------------------------------------------------------------------------------------- */

struct sy_part {        /* tokens first .. end - 1 of a sequence, numbers within it */
    const int32_t *ids; /* of the sequence, [tokens, top_k]; a token's are distinct */
    uint32_t first, end, top_k;
    int32_t first_expert; /* those of the sort: first_expert .. first_expert + experts - 1 */
    uint32_t experts;
};

SY_DEV struct sy_part sy_my_part(const struct sy_sort &s, const int32_t *ids, int64_t tokens, int64_t top_k,
                                 int64_t first_expert) {
    uint32_t n = (uint32_t)tokens, size = (n + gridDim.x - 1) / gridDim.x, first = blockIdx.x * size;
    return (struct sy_part){.ids = ids,
                            .first = first,
                            .end = first + size < n ? first + size : n,
                            .top_k = (uint32_t)top_k,
                            .first_expert = (int32_t)first_expert,
                            .experts = (uint32_t)s.experts};
}

/* do_route(route of the sequence, expert of the sort) for those of this thread. */
template <class F> SY_DEV void sy_part_routes(const struct sy_part &p, F do_route) {
    uint32_t end = p.end * p.top_k;
    for (uint32_t at = p.first * p.top_k + threadIdx.x; at < end; at += SY_SORT_TOGETHER * SY_SORT_THREADS) {
        uint32_t e[SY_SORT_TOGETHER];
#pragma unroll
        for (int k = 0; k < SY_SORT_TOGETHER; k++) {
            uint32_t i = at + k * SY_SORT_THREADS;
            e[k] = i < end ? (uint32_t)(p.ids[i] - p.first_expert) : p.experts;
        }
#pragma unroll
        for (int k = 0; k < SY_SORT_TOGETHER; k++)
            if (e[k] < p.experts)
                do_route(at + k * SY_SORT_THREADS, e[k]);
    }
}

/* Of expert e in the sequence of this block. */
SY_DEV int64_t sy_my_segment(const struct sy_sort &s, uint32_t e) { return e * s.sequences + blockIdx.y; }
SY_DEV uint32_t *sy_before_mine(const struct sy_sort &s, uint32_t e) {
    return s.before + blockIdx.x * s.experts * s.sequences + sy_my_segment(s, e);
}

/* count: [experts] shared. */
SY_DEV void sy_count_part(const struct sy_sort &s, const struct sy_part &p, uint32_t *count) {
    for (uint32_t e = threadIdx.x; e < p.experts; e += SY_SORT_THREADS)
        count[e] = 0;
    __syncthreads();
    sy_part_routes(p, [&](uint32_t, uint32_t e) { atomicAdd(&count[e], 1u); });
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < p.experts; e += SY_SORT_THREADS)
        *sy_before_mine(s, e) = count[e];
}

/* --- where segments start ------------------------------------------------------------------------------- */

/* The routes of segment i; counts of its parts become sums of those before. */
SY_DEV int64_t sy_sum_parts(const struct sy_sort &s, int64_t i) {
    enum { TOGETHER = 16 };
    int64_t bins = s.experts * s.sequences;
    uint32_t sum = 0;
    for (int64_t first = 0; first < s.parts; first += TOGETHER) {
        uint32_t *at = s.before + first * bins + i, n[TOGETHER];
#pragma unroll
        for (int k = 0; k < TOGETHER; k++)
            n[k] = first + k < s.parts ? at[k * bins] : 0;
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            if (first + k < s.parts)
                at[k * bins] = sum;
            sum += n[k];
        }
    }
    return sum;
}

/* Whether the segments have more rows than may be; then there are none. */
SY_DEV int sy_overflows(const struct sy_sort &s) {
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

SY_DEV void sy_lay_out_tiles(const struct sy_sort &s) {
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

SY_KERNEL(SY_SORT_THREADS) sy_lay_out(struct sy_sort s) {
    int64_t bins = s.experts * s.sequences, at = 0, all;
    for (int64_t i = threadIdx.x; i < bins; i += SY_SORT_THREADS)
        s.offset[i] = sy_sum_parts(s, i); /* for this thread alone, until they are starts */
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

/* --- place ---------------------------------------------------------------------------------------------- */

/* do_route(route of the sequence, row) for each of the part, do_padding(row) behind the last part.
 * bit: [words, experts] shared, twice: the bits, and the row of the first of each word. */
template <class F, class G>
SY_DEV void sy_place_part(const struct sy_sort &s, const struct sy_part &p, uint32_t *bit, F do_route,
                          G do_padding) {
    uint32_t n = (uint32_t)s.words * p.experts, *row = bit + n;
    for (uint32_t i = threadIdx.x; i < n; i += SY_SORT_THREADS)
        bit[i] = 0;
    __syncthreads();
    sy_part_routes(p, [&](uint32_t i, uint32_t e) {
        uint32_t t = i / p.top_k - p.first;
        atomicOr(&bit[t / 32 * p.experts + e], 1u << t % 32);
    });
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < p.experts; e += SY_SORT_THREADS) {
        const int64_t *offset = s.offset + sy_my_segment(s, e);
        uint32_t at = (uint32_t)offset[0] + *sy_before_mine(s, e), end = (uint32_t)offset[1];
        for (uint32_t i = e; i < n; i += p.experts) {
            row[i] = at;
            at += (uint32_t)__popc(bit[i]);
        }
        for (; blockIdx.x == gridDim.x - 1 && at < end; at++)
            do_padding(at);
    }
    __syncthreads();
    sy_part_routes(p, [&](uint32_t i, uint32_t e) {
        uint32_t t = i / p.top_k - p.first, at = t / 32 * p.experts + e;
        do_route(i, row[at] + (uint32_t)__popc(bit[at] & ((1u << t % 32) - 1u)));
    });
}

#endif
