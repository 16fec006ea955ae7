// linear_dw by the TMA product: one problem with its groups, or dense ones as a list in one launch. 0:
// nothing was done.
#include "ops/cuda/gemm_launch.cuh"
#include "ops/cuda/products.cuh"

using namespace gemm;

// Segments are whole blocks of 16 rows; C is read and written by TMA, from an accumulator two columns at a
// time.
static int fits(const struct sy_dw &q) {
    const struct sy_rows &r = q.rows;
    int whole = r.offset || r.max_rows / r.sequences % 16 == 0;
    int pairs = q.n % 2 == 0 && q.c_step % 2 == 0 && q.acc_step % 2 == 0 && (uintptr_t)q.c % 8 == 0 &&
                (uintptr_t)q.acc % 8 == 0;
    int c = q.acc ? pairs : addressable_f32(q.c, q.n, q.c_step);
    int counted = r.max_rows / 16 <= UINT16_MAX; // shared.pieces
    return rows_fit(r) && whole && counted && c && addressable(q.dy) && addressable(q.x);
}

// Tiles of a C, an even number.
static int64_t pairs_of(int m_tiles, int n_tiles) { return ((int64_t)m_tiles * n_tiles + 1) / 2 * 2; }

// Operands and C of a problem that fits.
static maps maps_for(const struct sy_exec *x, const struct sy_dw &q) {
    maps m = {};
    m.a[0] = operand(x, q.dy, MN_MAJOR, q.m, q.rows.max_rows, 1, 0);
    m.b[0] = operand(x, q.x, MN_MAJOR, q.n, q.rows.max_rows, 1, 0);
    if (!q.acc) {
        m.c[0] = fp32(x, q.c, q.n, q.m, q.n, q.rows.groups, q.c_step, 16);
        if (q.fold)
            m.tail[0] = fp32(x, q.c, q.n, q.m, q.n, q.rows.groups, q.c_step, BM);
    }
    return m;
}

int sy_cuda_linear_dw_gemm(const struct sy_exec *x, const struct sy_dw *q) {
    args p = {};
    if (!fits(*q))
        return 0;
    maps m = maps_for(x, *q);
    sy_tile_size tile = WHOLE;
    if (!q->acc)
        tile = tile_for(x, q->fold ? SY_PRODUCT_tn_fold : SY_PRODUCT_tn_leaf, q->m, q->n, q->rows.max_rows,
                        q->rows.groups);
    p.rows = q->rows;
    p.first = q->first;
    p.n_segments = q->n_segments;
    p.m = (int)q->m;
    p.n = (int)q->n;
    p.m_tiles = gemm::blocks(q->m, BM);
    p.n_tiles = gemm::blocks(q->n, tile.columns);
    p.band = tile.band;
    p.n_maps = 1;
    p.acc = q->acc;
    p.acc_step = q->acc_step;
    p.c = q->c;
    p.c_step = q->c_step;
    int64_t tiles = q->rows.groups * pairs_of(p.m_tiles, p.n_tiles);
    if (q->acc)
        (q->fold ? tn_fold_on : tn_leaf_on)(x, m, p, tiles);
    else if (q->fold)
        launch<TN, FOLD, SY_LEAST_tn_fold>(x, "linear_dw", m, p, tiles, tile.columns);
    else
        launch<TN, LEAF, SY_LEAST_tn_leaf>(x, "linear_dw", m, p, tiles, tile.columns);
    return 1;
}

// --- lists ---------------------------------------------------------------------------------------------

enum { MOST = 32 };

static int listed(const struct sy_dw &q, int fold) {
    return q.rows.groups == 1 && !q.rows.offset && !q.acc && !q.fold == !fold && fits(q);
}

static problem problem_of(const struct sy_exec *x, const struct sy_dw &q, int columns) {
    int64_t each = q.rows.max_rows / q.rows.sequences;
    problem r = {};
    r.map = maps_for(x, q);
    r.m = (int)q.m;
    r.n = (int)q.n;
    r.m_tiles = gemm::blocks(q.m, BM);
    r.n_tiles = gemm::blocks(q.n, columns);
    r.start = (int)(each * q.first);
    r.end = (int)(each * (q.first + q.n_segments));
    return r;
}

static void launch_list(const struct sy_exec *x, const args &p, int fold, int64_t tiles, int columns) {
    const maps none = {};
    if (fold)
        launch<TN_LIST, FOLD, SY_LEAST_list_fold>(x, "linear_dw", none, p, tiles, columns);
    else
        launch<TN_LIST, LEAF, SY_LEAST_list_leaf>(x, "linear_dw", none, p, tiles, columns);
}

// One tile for all: their outputs together, as wide as the widest.
static sy_tile_size tile_of_list(const struct sy_exec *x, const struct sy_dw *q, int n) {
    int64_t outputs = 0, widest = 0, k = 0;
    for (int i = 0; i < n; i++) {
        int64_t rows = q[i].rows.max_rows / q[i].rows.sequences * q[i].n_segments;
        outputs += q[i].m * q[i].n;
        widest = q[i].n > widest ? q[i].n : widest;
        k = rows > k ? rows : k;
    }
    return tile_for(x, q->fold ? SY_PRODUCT_list_fold : SY_PRODUCT_list_leaf, gemm::blocks(outputs, widest),
                    widest, k, n);
}

int sy_cuda_linear_dw_list(const struct sy_exec *x, const struct sy_dw *q, int n) {
    problem list[MOST];
    args p = {};
    int64_t tiles = 0;
    int length = 0, most = 0;
    while (most < n && most < MOST && listed(q[most], q[0].fold))
        most++;
    if (most == 0)
        return 0;
    sy_tile_size tile = tile_of_list(x, q, most);
    while (length < most) {
        problem one = problem_of(x, q[length], tile.columns);
        int at = length++;
        for (; at > 0 && list[at - 1].end - list[at - 1].start < one.end - one.start; at--)
            list[at] = list[at - 1]; // longest first
        list[at] = one;
        tiles += pairs_of(one.m_tiles, one.n_tiles);
    }
    p.rows.groups = length;
    p.band = tile.band;
    p.list = sy_cuda_upload(x, list, (size_t)length);
    if (p.list) // else the next wait says why
        launch_list(x, p, q[0].fold, tiles, tile.columns);
    return length;
}
