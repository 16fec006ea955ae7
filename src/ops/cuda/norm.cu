/* Ops that sum a row by V64: RMSNorm, dot products of rows, the gradient of the sigmoid gate. A row has 8
 * threads, a warp 4 rows, a block 32. A row is read twice: the second time it comes from a cache. Threads of
 * a row beyond the last go along without elements. */
#include "ops/cuda/values.cuh"

enum { ROWS = SY_THREADS / (int)SY_ROW_THREADS };

struct my_row {
    int64_t row, token, head;
    int64_t d; /* elements: none beyond the last row */
    int first; /* the thread's first element; the next is 64 on */
};

static SY_DEV struct my_row my_row(int64_t rows, int64_t heads, int64_t d) {
    struct my_row r;
    r.row = (int64_t)blockIdx.x * ROWS + threadIdx.x / SY_ROW_THREADS;
    r.d = r.row < rows ? d : 0;
    r.token = heads == 1 ? r.row : (uint32_t)r.row / (uint32_t)heads;
    r.head = r.row - r.token * heads;
    r.first = threadIdx.x % SY_ROW_THREADS * SY_WIDE;
    return r;
}
static SY_DEV int leads(const struct my_row &r) { return r.first == 0 && r.d > 0; }

/* V64 of the products of two rows. */
static SY_DEV float dot_of(const struct my_row &r, const void *a, enum sy_dtype ta, const void *b,
                           enum sy_dtype tb, int whole) {
    float lane[SY_WIDE] = {0}, va[SY_WIDE], vb[SY_WIDE];
#pragma unroll 4
    for (int64_t i = r.first; i < r.d; i += 64) {
        sy_load8(a, ta, i, r.d, whole, va);
        sy_load8(b, tb, i, r.d, whole, vb);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            lane[j] = fmaf(va[j], vb[j], lane[j]);
    }
    return sy_v64_of(lane);
}

/* --- RMSNorm: r = 1/sqrt(fma(V64(x x), fp32(1/d), eps)); y = BF((x r) g) -------------------------------- */

SY_KERNEL(SY_THREADS) norm_rows(struct sy_rmsnorm_fwd op, float inverse_d, int whole) {
    struct my_row at = my_row(op.tokens * op.heads, op.heads, op.d);
    const void *x = sy_head_row(op.x, at.token, at.head);
    void *y = sy_head_row_out(op.y, at.token, at.head);
    float lane[SY_WIDE] = {0}, v[SY_WIDE], g[SY_WIDE];
#pragma unroll 4
    for (int64_t i = at.first; i < at.d; i += 64) {
        sy_load8(x, op.x.dtype, i, at.d, whole, v);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            lane[j] = fmaf(v[j], v[j], lane[j]);
    }
    float r = 1.0f / sqrtf(fmaf(sy_v64_of(lane), inverse_d, op.eps));
    if (leads(at) && op.r)
        op.r[at.row] = r;
#pragma unroll 4
    for (int64_t i = at.first; i < at.d; i += 64) {
        sy_load8(x, op.x.dtype, i, at.d, whole, v);
        sy_load8(op.g, SY_F32, i, at.d, whole, g);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            v[j] = v[j] * r * g[j];
        sy_store8(y, op.y.dtype, i, at.d, whole, v);
    }
}

extern "C" void sy_cuda_rmsnorm_fwd(const struct sy_exec *x, const struct sy_rmsnorm_fwd *op) {
    int64_t rows = op->tokens * op->heads;
    int whole = sy_aligned(op->x) && sy_aligned(op->y) && sy_aligned(op->g);
    if (rows > 0)
        SY_LAUNCH(x, norm_rows, sy_cuda_blocks(rows, ROWS), SY_THREADS, 0, *op, (float)(1.0 / (double)op->d),
                  whole);
}

/* t = dy g; k = ((V64(t x) r) r) fp32(1/d); dx = BF(r fma(-k, x, t)) */
SY_KERNEL(SY_THREADS) norm_rows_back(struct sy_rmsnorm_bwd op, float inverse_d, int whole) {
    struct my_row at = my_row(op.tokens * op.heads, op.heads, op.d);
    const void *x = sy_head_row(op.x, at.token, at.head), *dy = sy_head_row(op.dy, at.token, at.head);
    void *dx = sy_head_row_out(op.dx, at.token, at.head);
    float lane[SY_WIDE] = {0}, v[SY_WIDE], t[SY_WIDE], g[SY_WIDE];
#pragma unroll 2
    for (int64_t i = at.first; i < at.d; i += 64) {
        sy_load8(x, op.x.dtype, i, at.d, whole, v);
        sy_load8(dy, op.dy.dtype, i, at.d, whole, t);
        sy_load8(op.g, SY_F32, i, at.d, whole, g);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            lane[j] = fmaf(t[j] * g[j], v[j], lane[j]);
    }
    float sum = sy_v64_of(lane), r = at.d > 0 ? op.r[at.row] : 0.0f, k = sum * r * r * inverse_d;
#pragma unroll 2
    for (int64_t i = at.first; i < at.d; i += 64) {
        sy_load8(x, op.x.dtype, i, at.d, whole, v);
        sy_load8(dy, op.dy.dtype, i, at.d, whole, t);
        sy_load8(op.g, SY_F32, i, at.d, whole, g);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            t[j] = r * fmaf(-k, v[j], t[j] * g[j]);
        sy_store8(dx, op.dx.dtype, i, at.d, whole, t);
    }
}

extern "C" void sy_cuda_rmsnorm_bwd(const struct sy_exec *x, const struct sy_rmsnorm_bwd *op) {
    int64_t rows = op->tokens * op->heads;
    int whole = sy_aligned(op->x) && sy_aligned(op->dy) && sy_aligned(op->dx) && sy_aligned(op->g);
    if (rows > 0)
        SY_LAUNCH(x, norm_rows_back, sy_cuda_blocks(rows, ROWS), SY_THREADS, 0, *op,
                  (float)(1.0 / (double)op->d), whole);
}

/* --- y[r] = V64(a b) ------------------------------------------------------------------------------------ */

SY_KERNEL(SY_THREADS) dot_rows(struct sy_rowdot op, int whole) {
    struct my_row at = my_row(sy_cuda_rows(op.rows), 1, op.d);
    float sum = dot_of(at, sy_row(op.a, at.row), op.a.dtype, sy_row(op.b, at.row), op.b.dtype, whole);
    if (leads(at))
        op.y[at.row] = sum;
}

extern "C" void sy_cuda_rowdot(const struct sy_exec *x, const struct sy_rowdot *op) {
    if (op->rows.max_rows > 0)
        SY_LAUNCH(x, dot_rows, sy_cuda_blocks(op->rows.max_rows, ROWS), SY_THREADS, 0, *op,
                  sy_aligned(op->a) && sy_aligned(op->b));
}

/* --- the gate back: dl = BF(V64(dy y) (s (1 - s))), dy_in = BF(s dy), s = SIG(logit) -------------------- */

SY_KERNEL(SY_THREADS) gate_rows_back(struct sy_sigmoid_gate_bwd op, int whole) {
    struct my_row at = my_row(op.rows, 1, op.d);
    const void *dy = sy_row(op.dy, at.row);
    float sum = dot_of(at, dy, op.dy.dtype, sy_row(op.y_in, at.row), op.y_in.dtype, whole), v[SY_WIDE];
    float s = at.d > 0 ? sy_sig_f32(op.logit[at.row]) : 0.0f;
    if (leads(at))
        sy_store1(sy_row_out(op.dlogit, at.row), op.dlogit.dtype, 0, sum * (s * (1.0f - s)));
    for (int64_t i = at.first; i < at.d; i += 64) {
        sy_load8(dy, op.dy.dtype, i, at.d, whole, v);
#pragma unroll
        for (int j = 0; j < SY_WIDE; j++)
            v[j] = s * v[j];
        sy_store8(sy_row_out(op.dy_in, at.row), op.dy_in.dtype, i, at.d, whole, v);
    }
}

extern "C" void sy_cuda_sigmoid_gate_bwd(const struct sy_exec *x, const struct sy_sigmoid_gate_bwd *op) {
    int whole = sy_aligned(op->y_in) && sy_aligned(op->dy) && sy_aligned(op->dy_in);
    if (op->rows > 0)
        SY_LAUNCH(x, gate_rows_back, sy_cuda_blocks(op->rows, ROWS), SY_THREADS, 0, *op, whole);
}
