/* Ops that sum a row by V64: RMSNorm, dot products of rows, the gradient of the sigmoid gate. A row has 8
 * threads, a warp 4 rows, a block 16. A row is read twice. Threads of a row beyond the last go along without
 * elements. Wide and narrow rows of a norm have kernels of their own: norm_wide.cuh, norm_narrow.cuh. */
#include "ops/cuda/norm_narrow.cuh"
#include "ops/cuda/norm_wide.cuh"

enum { THREADS = 128, ROWS = THREADS / (int)SY_ROW_THREADS };
enum { TOGETHER = 4, STEP = 64 * TOGETHER }; /* pieces of 64 elements that are loaded together */

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

struct operand {
    const void *row;
    enum sy_dtype t;
};

/* The thread's 8 elements of TOGETHER pieces from element i on. */
template <int fast>
static SY_DEV void load_pieces(const struct my_row &r, struct operand a, int64_t i, int whole,
                               float v[TOGETHER][SY_WIDE]) {
#pragma unroll
    for (int k = 0; k < TOGETHER; k++)
        if (i + 64 * k < r.d)
            sy_load8<fast>(a.row, a.t, i + 64 * k, r.d, whole, v[k]);
}

/* V64 of the products of two rows; g: of the first row's products with g. */
template <int fast>
static SY_DEV float dot_of(const struct my_row &r, struct operand a, struct operand b, const float *g,
                           int whole) {
    float lane[SY_WIDE] = {0}, va[TOGETHER][SY_WIDE], vb[TOGETHER][SY_WIDE], vg[SY_WIDE];
    for (int64_t i = r.first; i < r.d; i += STEP) {
        load_pieces<fast>(r, a, i, whole, va);
        if (b.row != a.row)
            load_pieces<fast>(r, b, i, whole, vb);
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            if (i + 64 * k >= r.d)
                continue;
            if (g)
                sy_load8_of<fast>(g, i + 64 * k, r.d, whole, vg);
#pragma unroll
            for (int j = 0; j < SY_WIDE; j++)
                lane[j] =
                    fmaf(g ? va[k][j] * vg[j] : va[k][j], b.row != a.row ? vb[k][j] : va[k][j], lane[j]);
        }
    }
    return sy_v64_of(lane);
}

/* --- RMSNorm: r = 1/sqrt(fma(V64(x x), fp32(1/d), eps)); y = BF((x r) g) -------------------------------- */

template <int fast> SY_KERNEL(THREADS) norm_rows(struct sy_rmsnorm_fwd op, float inverse_d, int whole) {
    struct my_row at = my_row(op.tokens * op.heads, op.heads, op.d);
    struct operand x = {sy_head_row(op.x, at.token, at.head), op.x.dtype};
    void *y = sy_head_row_out(op.y, at.token, at.head);
    float v[TOGETHER][SY_WIDE], g[SY_WIDE];
    float sum = dot_of<fast>(at, x, x, nullptr, whole);
    float r = 1.0f / sqrtf(fmaf(sum, inverse_d, op.eps));
    if (leads(at) && op.r)
        op.r[at.row] = r;
    for (int64_t i = at.first; i < at.d; i += STEP) {
        load_pieces<fast>(at, x, i, whole, v);
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            if (i + 64 * k >= at.d)
                continue;
            sy_load8_of<fast>(op.g, i + 64 * k, at.d, whole, g);
#pragma unroll
            for (int j = 0; j < SY_WIDE; j++)
                v[k][j] = v[k][j] * r * g[j];
            sy_store8<fast>(y, op.y.dtype, i + 64 * k, at.d, whole, v[k]);
        }
    }
}

extern "C" void sy_cuda_rmsnorm_fwd(const struct sy_exec *x, const struct sy_rmsnorm_fwd *op) {
    int64_t rows = op->tokens * op->heads;
    int whole = sy_aligned(op->x) && sy_aligned(op->y) && sy_aligned(op->g);
    if (rows > 0 && !norm_wide(x, op) && !norm_narrow(x, op))
        SY_LAUNCH_FAST(x, whole && sy_is_fast(op->d, op->x, op->y), norm_rows, sy_cuda_blocks(rows, ROWS),
                       THREADS, 0, *op, (float)(1.0 / (double)op->d), whole);
}

/* t = dy g; k = ((V64(t x) r) r) fp32(1/d); dx = BF(r fma(-k, x, t)), or BF(residual + that) */
template <int fast> SY_KERNEL(THREADS) norm_rows_back(struct sy_rmsnorm_bwd op, float inverse_d, int whole) {
    struct my_row at = my_row(op.tokens * op.heads, op.heads, op.d);
    struct operand x = {sy_head_row(op.x, at.token, at.head), op.x.dtype};
    struct operand dy = {sy_head_row(op.dy, at.token, at.head), op.dy.dtype};
    void *dx = sy_head_row_out(op.dx, at.token, at.head);
    float v[TOGETHER][SY_WIDE], t[TOGETHER][SY_WIDE], g[SY_WIDE];
    float sum = dot_of<fast>(at, dy, x, op.g, whole);
    float r = at.d > 0 ? op.r[at.row] : 0.0f, k_of = sum * r * r * inverse_d;
    for (int64_t i = at.first; i < at.d; i += STEP) {
        load_pieces<fast>(at, x, i, whole, v);
        load_pieces<fast>(at, dy, i, whole, t);
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            if (i + 64 * k >= at.d)
                continue;
            sy_load8_of<fast>(op.g, i + 64 * k, at.d, whole, g);
#pragma unroll
            for (int j = 0; j < SY_WIDE; j++)
                t[k][j] = r * fmaf(-k_of, v[k][j], t[k][j] * g[j]);
            if (op.residual.data) {
                sy_load8<fast>(sy_head_row(op.residual, at.token, at.head), op.residual.dtype, i + 64 * k,
                               at.d, whole, g);
#pragma unroll
                for (int j = 0; j < SY_WIDE; j++)
                    t[k][j] = g[j] + (op.dx.dtype == SY_BF16 ? sy_bf(t[k][j]) : t[k][j]);
            }
            sy_store8<fast>(dx, op.dx.dtype, i + 64 * k, at.d, whole, t[k]);
        }
    }
}

extern "C" void sy_cuda_rmsnorm_bwd(const struct sy_exec *x, const struct sy_rmsnorm_bwd *op) {
    int64_t rows = op->tokens * op->heads;
    int whole = sy_aligned(op->x) && sy_aligned(op->dy) && sy_aligned(op->dx) && sy_aligned(op->g) &&
                (!op->residual.data || sy_aligned(op->residual));
    if (rows > 0 && !norm_wide_back(x, op) && !norm_narrow_back(x, op))
        SY_LAUNCH_FAST(x,
                       whole && sy_is_fast(op->d, op->x, op->dy, op->dx) &&
                           (!op->residual.data || sy_is_fast(op->d, op->residual)),
                       norm_rows_back, sy_cuda_blocks(rows, ROWS), THREADS, 0, *op,
                       (float)(1.0 / (double)op->d), whole);
}

/* --- y[r] = V64(a b) ------------------------------------------------------------------------------------ */

template <int fast> SY_KERNEL(THREADS) dot_rows(struct sy_rowdot op, int whole) {
    struct my_row at = my_row(sy_cuda_rows(op.rows), 1, op.d);
    struct operand a = {sy_row(op.a, at.row), op.a.dtype}, b = {sy_row(op.b, at.row), op.b.dtype};
    float sum = dot_of<fast>(at, a, b, nullptr, whole);
    if (leads(at))
        op.y[at.row] = sum;
}

extern "C" void sy_cuda_rowdot(const struct sy_exec *x, const struct sy_rowdot *op) {
    if (op->rows.max_rows > 0)
        SY_LAUNCH_FAST(x, sy_is_fast(op->d, op->a, op->b), dot_rows, sy_cuda_blocks(op->rows.max_rows, ROWS),
                       THREADS, 0, *op, sy_aligned(op->a) && sy_aligned(op->b));
}

/* --- the gate back: dl = BF(V64(dy y) (s (1 - s))), dy_in = BF(s dy), s = SIG(logit) -------------------- */

template <int fast> SY_KERNEL(THREADS) gate_rows_back(struct sy_sigmoid_gate_bwd op, int whole) {
    struct my_row at = my_row(op.rows, 1, op.d);
    struct operand dy = {sy_row(op.dy, at.row), op.dy.dtype}, y = {sy_row(op.y_in, at.row), op.y_in.dtype};
    void *out = sy_row_out(op.dy_in, at.row);
    float v[TOGETHER][SY_WIDE], s = at.d > 0 ? sy_sig_f32(op.logit[at.row]) : 0.0f;
    float sum = dot_of<fast>(at, dy, y, nullptr, whole);
    if (leads(at))
        sy_store1(sy_row_out(op.dlogit, at.row), op.dlogit.dtype, 0, sum * (s * (1.0f - s)));
    for (int64_t i = at.first; i < at.d; i += STEP) {
        load_pieces<fast>(at, dy, i, whole, v);
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) {
            if (i + 64 * k >= at.d)
                continue;
#pragma unroll
            for (int j = 0; j < SY_WIDE; j++)
                v[k][j] = s * v[k][j];
            sy_store8<fast>(out, op.dy_in.dtype, i + 64 * k, at.d, whole, v[k]);
        }
    }
}

extern "C" void sy_cuda_sigmoid_gate_bwd(const struct sy_exec *x, const struct sy_sigmoid_gate_bwd *op) {
    int whole = sy_aligned(op->y_in) && sy_aligned(op->dy) && sy_aligned(op->dy_in);
    if (op->rows > 0)
        SY_LAUNCH_FAST(x, sy_is_fast(op->d, op->y_in, op->dy, op->dy_in), gate_rows_back,
                       sy_cuda_blocks(op->rows, ROWS), THREADS, 0, *op, whole);
}
