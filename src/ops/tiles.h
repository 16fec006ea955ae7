/* Which tile a product of a GPU takes (ops/cuda/gemm.cuh): 128 rows by how many columns, and how many row
 * tiles it runs down before it goes to the next columns. Bits never depend on it, times do:
 *
 *     tiles.def   shapes that were measured, and such as differ by less than half in their rows alone:
 *                 `switchyard bench tune` writes it
 *     the rule    all others: how often the multiprocessors must go round, times what a tile takes
 *
 * Host code without CUDA, so that tests are of every machine. */
#ifndef SY_OPS_TILES_H
#define SY_OPS_TILES_H

#include <stdint.h>

/* X(name, percent of a 256-column tile's time that an output takes in tiles of 128 and of 64 columns; 0: no
 * such tiles). nt: y = x W^T; nn: dx = dy W; tn: dW = dy^T x of groups; list: of dense matrices in one launch.
 * Measured on an H200, in large products (`switchyard bench tune`). */
#define SY_PRODUCT_LIST(X)    \
    X(nt, 104, 166)           \
    X(nt_f32, 107, 167)       \
    X(nt_add, 105, 170)       \
    X(nt_swiglu, 128, 0)      \
    X(nn, 103, 0)             \
    X(nn_swiglu_back, 102, 0) \
    X(tn_leaf, 107, 0)        \
    X(tn_fold, 107, 0)        \
    X(list_leaf, 104, 0)      \
    X(list_fold, 104, 0)

enum sy_product {
#define X(name, of_128, of_64) SY_PRODUCT_##name,
    SY_PRODUCT_LIST(X)
#undef X
        SY_N_PRODUCTS
};

/* Fewest columns of a tile: those that kernels are built for. */
enum {
#define X(name, of_128, of_64) SY_LEAST_##name = (of_64) > 0 ? 64 : 128,
    SY_PRODUCT_LIST(X)
#undef X
};

/* C [m, n], chains of k. Bounds: nt, nn: m is that of the rows of all groups; tn: k is, and each group has a
 * C. list: n that of the widest, m such that m n is what all have together. */
struct sy_product_shape {
    enum sy_product product;
    int64_t m, n, k, groups;
};

struct sy_tile_size {
    int columns, band; /* columns 256, 128 or 64; row tiles of a band */
};

enum { SY_TILE_BAND = 16 };

struct sy_tile_row { /* what was measured on GPUs with so many multiprocessors */
    int multiprocessors;
    struct sy_product_shape shape;
    struct sy_tile_size size;
};
extern const struct sy_tile_row sy_tile_table[];
extern const int sy_tile_rows;

/* Of an exec whose products are measured: which tile they are to take, columns 0: the one they would; and the
 * shapes of those that were enqueued. */
enum { SY_TUNED_MOST = 8 };
struct sy_tuning {
    struct sy_tile_size forced;
    int multiprocessors, n;
    struct sy_product_shape seen[SY_TUNED_MOST];
};

const char *sy_product_name(enum sy_product product);
int sy_product_least(enum sy_product product); /* columns */
int sy_product_same(const struct sy_product_shape *a, const struct sy_product_shape *b);

/* Local. By the row of the nearest shape: the same but for its rows, which are less than 1.5 times as many, or
 * as few; of several the last. columns 0: there is none. */
struct sy_tile_size sy_tile_measured(const struct sy_tile_row *rows, int n, int multiprocessors,
                                     const struct sy_product_shape *shape);
/* Local. By the table if it has the shape, else by the rule. tuning: NULL but where products are measured. */
struct sy_tile_size sy_tile_choose(struct sy_tuning *tuning, int multiprocessors,
                                   const struct sy_product_shape *shape);
/* Local. By the rule alone. */
struct sy_tile_size sy_tile_rule(int multiprocessors, const struct sy_product_shape *shape);

#endif
