/* RMSNorm of narrow rows, such as those of heads, 8 threads a row, which keep it in registers: n pieces of 64
 * elements, 8 of each a thread, as in norm.cu. */
#ifndef SY_OPS_CUDA_NORM_NARROW_CUH
#define SY_OPS_CUDA_NORM_NARROW_CUH

#include "ops/cuda/values.cuh"

enum { NARROW_THREADS = 128, NARROW_ROWS = NARROW_THREADS / (int)SY_ROW_THREADS };

struct narrow_row {
    int64_t row, token, head;
    int d, first; /* elements, none beyond the last row; the thread's first: the next piece is 64 on */
};
static SY_DEV struct narrow_row narrow_row(int64_t rows, int64_t heads, int64_t d) {
    struct narrow_row r = {.row = (int64_t)blockIdx.x * NARROW_ROWS + threadIdx.x / SY_ROW_THREADS};
    r.token = heads == 1 ? r.row : (uint32_t)r.row / (uint32_t)heads;
    r.head = r.row - r.token * heads;
    r.d = r.row < rows ? (int)d : 0;
    r.first = threadIdx.x % SY_ROW_THREADS * SY_WIDE;
    return r;
}
static SY_DEV int has(const struct narrow_row &r, int k) { return r.first + 64 * k < r.d; }

template <int n> static SY_DEV void load_row(const struct narrow_row &r, const void *row, uint4 u[n]) {
#pragma unroll
    for (int k = 0; k < n; k++)
        u[k] =
            has(r, k) ? *(const uint4 *)((const uint16_t *)row + r.first + 64 * k) : make_uint4(0, 0, 0, 0);
}
static SY_DEV void gains(const struct narrow_row &r, const float *g, int k, float v[SY_WIDE]) {
    sy_load8_of<1>(g, r.first + 64 * k, r.d, 1, v);
}
static SY_DEV void store_piece(const struct narrow_row &r, void *row, int k, const float v[SY_WIDE]) {
    sy_store8<1>(row, SY_BF16, r.first + 64 * k, r.d, 1, v);
}

template <int n> SY_KERNEL_OF(NARROW_THREADS, 8) narrow_norm_rows(struct sy_rmsnorm_fwd op, float inverse_d) {
    struct narrow_row at = narrow_row(op.tokens * op.heads, op.heads, op.d);
    float lane[SY_WIDE] = {0}, v[SY_WIDE], g[SY_WIDE];
    uint4 u[n];
    load_row<n>(at, sy_head_row(op.x, at.token, at.head), u);
#pragma unroll
    for (int k = 0; k < n; k++) {
        if (!has(at, k))
            continue;
        sy_widen8(u[k], v);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            lane[j] = fmaf(v[j], v[j], lane[j]);
    }
    float r = 1.0f / sqrtf(fmaf(sy_v64_of(lane), inverse_d, op.eps));
    if (at.first == 0 && at.d > 0 && op.r)
        op.r[at.row] = r;
#pragma unroll
    for (int k = 0; k < n; k++) {
        if (!has(at, k))
            continue;
        sy_widen8(u[k], v);
        gains(at, op.g, k, g);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            v[j] = v[j] * r * g[j];
        store_piece(at, sy_head_row_out(op.y, at.token, at.head), k, v);
    }
}

template <int n>
SY_KERNEL_OF(NARROW_THREADS, 8)
narrow_norm_rows_back(struct sy_rmsnorm_bwd op, float inverse_d) {
    struct narrow_row at = narrow_row(op.tokens * op.heads, op.heads, op.d);
    float lane[SY_WIDE] = {0}, x[SY_WIDE], t[SY_WIDE], g[SY_WIDE], r = at.d > 0 ? op.r[at.row] : 0.0f;
    uint4 ux[n], udy[n];
    load_row<n>(at, sy_head_row(op.x, at.token, at.head), ux);
    load_row<n>(at, sy_head_row(op.dy, at.token, at.head), udy);
#pragma unroll
    for (int k = 0; k < n; k++) {
        if (!has(at, k))
            continue;
        sy_widen8(ux[k], x);
        sy_widen8(udy[k], t);
        gains(at, op.g, k, g);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            lane[j] = fmaf(t[j] * g[j], x[j], lane[j]);
    }
    float k_of = sy_v64_of(lane) * r * r * inverse_d;
#pragma unroll
    for (int k = 0; k < n; k++) {
        if (!has(at, k))
            continue;
        sy_widen8(ux[k], x);
        sy_widen8(udy[k], t);
        gains(at, op.g, k, g);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            t[j] = r * fmaf(-k_of, x[j], t[j] * g[j]);
        store_piece(at, sy_head_row_out(op.dx, at.token, at.head), k, t);
    }
}

/* Whether rows of d may be taken so: whole, in bf16, at most two pieces. */
template <class... M> static inline int is_narrow(int64_t d, const float *g, const M &...m) {
    return d <= 128 && sy_aligned(g) && sy_is_fast(d, m...);
}

/* 1 if it was launched. */
static inline int norm_narrow(const struct sy_exec *x, const struct sy_rmsnorm_fwd *op) {
    unsigned blocks = sy_cuda_blocks(op->tokens * op->heads, NARROW_ROWS);
    float inverse_d = (float)(1.0 / (double)op->d);
    if (!is_narrow(op->d, op->g, op->x, op->y))
        return 0;
    if (op->d <= 64)
        SY_LAUNCH(x, narrow_norm_rows<1>, blocks, NARROW_THREADS, 0, *op, inverse_d);
    else
        SY_LAUNCH(x, narrow_norm_rows<2>, blocks, NARROW_THREADS, 0, *op, inverse_d);
    return 1;
}
static inline int norm_narrow_back(const struct sy_exec *x, const struct sy_rmsnorm_bwd *op) {
    unsigned blocks = sy_cuda_blocks(op->tokens * op->heads, NARROW_ROWS);
    float inverse_d = (float)(1.0 / (double)op->d);
    if (op->residual.data || !is_narrow(op->d, op->g, op->x, op->dy, op->dx))
        return 0;
    if (op->d <= 64)
        SY_LAUNCH(x, narrow_norm_rows_back<1>, blocks, NARROW_THREADS, 0, *op, inverse_d);
    else
        SY_LAUNCH(x, narrow_norm_rows_back<2>, blocks, NARROW_THREADS, 0, *op, inverse_d);
    return 1;
}

#endif
