/* Rows of groups and segments, and the three products over them. See ops.h for what an op is. */
#ifndef SY_OPS_OP_ROWS_H
#define SY_OPS_OP_ROWS_H

#include "device/tensor.h"

/* --- rows: what the host knows of a batch's rows are bounds, never counts ------------------------------- */

/* A tile of the rows of one group: rows first .. first + SY_TILE_ROWS - 1, or to the end of the group. */
enum { SY_TILE_ROWS = 64 };
struct sy_tile {
    int64_t group, first;
};

/* Rows of groups x sequences segments, group by group. Dense: offset NULL, one group, max_rows rows in equal
 * segments. Grouped (routed rows): offset and tiles are written by route_sort or route_forced and read by ops
 * alone. */
struct sy_rows {
    int64_t groups, sequences;
    int64_t max_rows; /* a bound; dense: exact */
    /* [groups * sequences + 1] first row of (group, sequence); the last: rows in all */
    const int64_t *offset;
    const struct sy_tile *tile; /* at most max_rows / SY_TILE_ROWS + groups */
    const int64_t *n_tiles;     /* [1] */
};

static inline struct sy_rows sy_rows_dense(int64_t sequences, int64_t rows) {
    return (struct sy_rows){.groups = 1, .sequences = sequences, .max_rows = rows};
}

/* --- products ------------------------------------------------------------------------------------------- */

/* The right-hand side [k, n] of a product: group g's is m, g * step elements on. packed: the same in the
 * tier's own order (op pack), g * packed_step bytes on; NULL: read from m. */
struct sy_operand {
    struct sy_mat m;
    int64_t step;
    const void *packed;
    int64_t packed_step;
};

/* packed = m in the order that this tier's products read; sy_ops.pack_bytes(x, m, k, n) bytes a group. */
struct sy_pack {
    int64_t groups, k, n;
    struct sy_operand b; /* packed is not read */
    void *packed;
    int64_t packed_step;
};

enum sy_epilogue {
    SY_EPILOGUE_NONE,
    SY_EPILOGUE_SWIGLU,     /* linear: y = g | u, s = g SIG(g), h = BF(s u) */
    SY_EPILOGUE_SWIGLU_BACK /* linear_dx: below */
};

/* Rows by name: row i of a product is row route[i] / top_k of the matrix that is given, +0 where route[i] is
 * negative, as permute would have copied it. route NULL: row i. For ops that gather (sy_ops.gathers). */
struct sy_named_rows {
    const int32_t *route; /* [rows] */
    int64_t top_k;
};

struct sy_linear { /* y = BF(CHAIN over k of (x, w of the row's group) + bias) */
    struct sy_rows rows;
    int64_t k, n;
    struct sy_mat x; /* [rows, k] stored */
    struct sy_operand w;
    const float *bias; /* [n] or NULL */
    struct sy_mat y;   /* [rows, n] stored or fp32 */
    enum sy_epilogue epilogue;
    struct sy_mat h; /* SWIGLU: [rows, n / 2] stored */
    /* data NULL: none; else y = BF(residual + BF(chain + bias)); [rows, n] stored; may be y */
    struct sy_mat residual;
    struct sy_named_rows named; /* x's */
};

enum { SY_DX_MAPS = 4 };
struct sy_dx_map { /* one map of the input, y = x w^T: dy [rows, k] stored, w [k, n]; k: the map's outputs */
    struct sy_mat dy;
    struct sy_operand w;
    int64_t k;
};

/* dx = BF(one CHAIN over the outputs of the maps, in order, each padded to KB by itself). SWIGLU_BACK: the
 * chain a' stays fp32 and is the gradient of h, f = n wide, before the route's weight: a = w a' (w
 * given) or a'; du = BF(a s), dg = BF((a u)(SIG(g) fma(g, 1 - SIG(g), 1))). With w: dw = B64 over f of a' h,
 * hw = BF(w h). Without: hw = h. */
struct sy_linear_dx {
    struct sy_rows rows;
    int64_t n;
    int n_maps;
    struct sy_dx_map map[SY_DX_MAPS];
    struct sy_mat dx; /* [rows, n] stored or fp32; not with SWIGLU_BACK */
    enum sy_epilogue epilogue;
    struct sy_mat gu;  /* [rows, 2f] stored: g | u */
    struct sy_mat a;   /* [rows, f] fp32 workspace: what it holds then is nobody's */
    const float *w;    /* [rows] or NULL */
    struct sy_mat dgu; /* [rows, 2f] stored */
    struct sy_mat hw;  /* [rows, f] stored: the rows of W2's weight gradient */
    float *dw;         /* [rows] or NULL */
};

/* A leaf, or a piece of one, of a weight's gradient: CHAIN over segments first .. first + n - 1 of each
 * group's rows of (dy, x), each segment padded to KB by itself. Problems of one call write to different
 * memory. */
struct sy_dw {
    struct sy_rows rows;
    int64_t first, n_segments;
    int64_t m, n;     /* outputs, inputs of the map */
    struct sy_mat dy; /* [rows, m] stored */
    struct sy_mat x;  /* [rows, n] stored */
    /* [groups, m, n], acc_step apart: the chain goes on from here; NULL: from +0. May be c unless fold */
    const float *acc;
    int64_t acc_step;
    float *c; /* [groups, m, n], c_step apart: c = chain, +0 where a group has no rows; fold: c = c + chain */
    int64_t c_step;
    int fold;
};
struct sy_linear_dw {
    const struct sy_dw *problem;
    int n_problems;
};

#endif
