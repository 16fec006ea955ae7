/* RMSNorm of wide rows, a warp a row, which it keeps in registers: thread t has the pairs t, t + 32, .. of
 * it, which are lanes 2t and 2t + 1 of V64. So no row is read twice: with all rows of a batch at once on the
 * GPU, the second time it would come from memory. */
#ifndef SY_OPS_CUDA_NORM_WIDE_CUH
#define SY_OPS_CUDA_NORM_WIDE_CUH

#include "ops/cuda/values.cuh"

enum { WIDE_THREADS = 128, WIDE_ROWS = WIDE_THREADS / 32 };
enum { TOGETHER_WIDE = 16 }; /* pairs of a residual that are loaded together */
enum { WIDE_FROM = 512 };    /* narrower rows are not worth a warp */

struct wide_row {
    int64_t row, token, head;
    int d, first; /* the thread's first element; the next pair is 64 on */
};
static SY_DEV struct wide_row wide_row(int64_t heads, int64_t d) {
    struct wide_row r = {.row = (int64_t)blockIdx.x * WIDE_ROWS + threadIdx.x / 32};
    r.token = heads == 1 ? r.row : (uint32_t)r.row / (uint32_t)heads;
    r.head = r.row - r.token * heads;
    r.d = (int)d;
    r.first = threadIdx.x % 32 * 2;
    return r;
}

static SY_DEV float low_of(uint32_t u) { return sy_f32_from_bits(u << 16); }
static SY_DEV float high_of(uint32_t u) { return sy_f32_from_bits(u & 0xffff0000u); }

/* n pairs from the thread's first after `from` elements on. */
template <int n>
static SY_DEV void load_pairs(const struct wide_row &r, const void *row, uint32_t u[n], int from = 0) {
#pragma unroll
    for (int k = 0; k < n; k++) {
        int i = r.first + from + 64 * k;
        u[k] = i < r.d ? *(const uint32_t *)((const uint16_t *)row + i) : 0;
    }
}
static SY_DEV float2 gain_of(const struct wide_row &r, const float *g, int k) {
    return __ldg((const float2 *)(g + r.first + 64 * k));
}

/* V64 of which thread t has the lanes 2t and 2t + 1; all get it. */
static SY_DEV float sum_pairs(float low, float high) {
    float v[2] = {low, high};
    sy_halve<1>(v, threadIdx.x & 16, 16); /* h = 32: the lanes of one parity are kept */
#pragma unroll
    for (int h = 8; h >= 1; h /= 2) /* h = 16, 8, 4, 2 */
        v[0] += __shfl_xor_sync(~0u, v[0], h);
    return v[0] + __shfl_xor_sync(~0u, v[0], 16);
}

template <int n>
SY_KERNEL_OF(WIDE_THREADS, n > 32   ? 5
                           : n > 16 ? 8
                                    : 12)
wide_norm_rows(struct sy_rmsnorm_fwd op, float inverse_d) {
    struct wide_row at = wide_row(op.heads, op.d);
    if (at.row >= op.tokens * op.heads)
        return;
    uint32_t u[n];
    float low = 0.0f, high = 0.0f;
    load_pairs<n>(at, sy_head_row(op.x, at.token, at.head), u);
#pragma unroll
    for (int k = 0; k < n; k++) {
        low = fmaf(low_of(u[k]), low_of(u[k]), low);
        high = fmaf(high_of(u[k]), high_of(u[k]), high);
    }
    float r = 1.0f / sqrtf(fmaf(sum_pairs(low, high), inverse_d, op.eps));
    if (at.first == 0 && op.r)
        op.r[at.row] = r;
    uint16_t *y = (uint16_t *)sy_head_row_out(op.y, at.token, at.head) + at.first;
#pragma unroll
    for (int k = 0; k < n; k++)
        if (at.first + 64 * k < at.d) {
            float2 g = gain_of(at, op.g, k);
            *(uint32_t *)(y + 64 * k) = sy_narrow2(low_of(u[k]) * r * g.x, high_of(u[k]) * r * g.y);
        }
}

/* added: to a residual. */
template <int n, int added>
SY_KERNEL_OF(WIDE_THREADS, n > 16 ? 5 - added : 8 - 2 * added)
wide_norm_rows_back(struct sy_rmsnorm_bwd op, float inverse_d) {
    struct wide_row at = wide_row(op.heads, op.d);
    if (at.row >= op.tokens * op.heads)
        return;
    uint32_t x[n], dy[n];
    float low = 0.0f, high = 0.0f, r = op.r[at.row];
    load_pairs<n>(at, sy_head_row(op.x, at.token, at.head), x);
    load_pairs<n>(at, sy_head_row(op.dy, at.token, at.head), dy);
#pragma unroll
    for (int k = 0; k < n; k++)
        if (at.first + 64 * k < at.d) {
            float2 g = gain_of(at, op.g, k);
            low = fmaf(low_of(dy[k]) * g.x, low_of(x[k]), low);
            high = fmaf(high_of(dy[k]) * g.y, high_of(x[k]), high);
        }
    float k_of = sum_pairs(low, high) * r * r * inverse_d;
    uint16_t *dx = (uint16_t *)sy_head_row_out(op.dx, at.token, at.head) + at.first;
    const void *residual = added ? sy_head_row(op.residual, at.token, at.head) : nullptr;
    uint32_t own[TOGETHER_WIDE];
#pragma unroll
    for (int k = 0; k < n; k++) {
        if (added && k % TOGETHER_WIDE == 0)
            load_pairs<TOGETHER_WIDE>(at, residual, own, 64 * k);
        if (at.first + 64 * k < at.d) {
            float2 g = gain_of(at, op.g, k);
            uint32_t u = sy_narrow2(r * fmaf(-k_of, low_of(x[k]), low_of(dy[k]) * g.x),
                                    r * fmaf(-k_of, high_of(x[k]), high_of(dy[k]) * g.y));
            if (added)
                u = sy_narrow2(low_of(own[k % TOGETHER_WIDE]) + low_of(u),
                               high_of(own[k % TOGETHER_WIDE]) + high_of(u));
            *(uint32_t *)(dx + 64 * k) = u;
        }
    }
}

/* Whether rows of d may be taken so: wide, in pairs that lie together, at most `pairs` a thread. */
template <class... M> static inline int is_wide(int64_t d, int64_t pairs, const float *g, const M &...m) {
    return d >= WIDE_FROM && d <= 64 * pairs && sy_aligned(g) && sy_is_fast(d, m...);
}

/* 1 if it was launched. */
static inline int norm_wide(const struct sy_exec *x, const struct sy_rmsnorm_fwd *op) {
    unsigned blocks = sy_cuda_blocks(op->tokens * op->heads, WIDE_ROWS);
    float inverse_d = (float)(1.0 / (double)op->d);
    if (!is_wide(op->d, 64, op->g, op->x, op->y))
        return 0;
    if (op->d <= 64 * 16)
        SY_LAUNCH(x, wide_norm_rows<16>, blocks, WIDE_THREADS, 0, *op, inverse_d);
    else if (op->d <= 64 * 32)
        SY_LAUNCH(x, wide_norm_rows<32>, blocks, WIDE_THREADS, 0, *op, inverse_d);
    else
        SY_LAUNCH(x, wide_norm_rows<64>, blocks, WIDE_THREADS, 0, *op, inverse_d);
    return 1;
}
static inline int norm_wide_back(const struct sy_exec *x, const struct sy_rmsnorm_bwd *op) {
    unsigned blocks = sy_cuda_blocks(op->tokens * op->heads, WIDE_ROWS);
    float inverse_d = (float)(1.0 / (double)op->d);
    if (!is_wide(op->d, 32, op->g, op->x, op->dy, op->dx) ||
        (op->residual.data && !is_wide(op->d, 32, op->g, op->residual)))
        return 0;
    if (op->d <= 64 * 16 && op->residual.data)
        SY_LAUNCH(x, (wide_norm_rows_back<16, 1>), blocks, WIDE_THREADS, 0, *op, inverse_d);
    else if (op->d <= 64 * 16)
        SY_LAUNCH(x, (wide_norm_rows_back<16, 0>), blocks, WIDE_THREADS, 0, *op, inverse_d);
    else if (op->residual.data)
        SY_LAUNCH(x, (wide_norm_rows_back<32, 1>), blocks, WIDE_THREADS, 0, *op, inverse_d);
    else
        SY_LAUNCH(x, (wide_norm_rows_back<32, 0>), blocks, WIDE_THREADS, 0, *op, inverse_d);
    return 1;
}

#endif
