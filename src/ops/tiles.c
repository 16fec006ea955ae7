/* The choice of a product's tile: see tiles.h. */
#include "ops/tiles.h"

#include <stddef.h>

enum { ROWS = 128 };            /* of a tile */
static const double NEAR = 1.5; /* a row of the table is also of so many times the rows, or less */

static const struct {
    const char *name;
    int least, percent[3]; /* of tiles of 256, 128, 64 columns */
} products[] = {
#define X(name, of_128, of_64) {#name, SY_LEAST_##name, {100, of_128, of_64}},
    SY_PRODUCT_LIST(X)
#undef X
};

const char *sy_product_name(enum sy_product product) { return products[product].name; }
int sy_product_least(enum sy_product product) { return products[product].least; }
int sy_product_same(const struct sy_product_shape *a, const struct sy_product_shape *b) {
    return a->product == b->product && a->m == b->m && a->n == b->n && a->k == b->k && a->groups == b->groups;
}

/* --- measured ------------------------------------------------------------------------------------------- */

const struct sy_tile_row sy_tile_table[] = {
#define X(multiprocessors, product, m, n, k, groups, columns, band) \
    {multiprocessors, {SY_PRODUCT_##product, m, n, k, groups}, {columns, band}},
#include "ops/tiles.def"
#undef X
};
const int sy_tile_rows = (int)(sizeof sy_tile_table / sizeof *sy_tile_table);

/* How many times the rows of one are those of the other, the larger to the smaller; 0: shapes that differ in
 * more than their rows. */
static double times_of(const struct sy_product_shape *a, const struct sy_product_shape *b) {
    int tn = a->product >= SY_PRODUCT_tn_leaf;
    struct sy_product_shape as_a = *b;
    *(tn ? &as_a.k : &as_a.m) = tn ? a->k : a->m;
    double x = (double)(tn ? a->k : a->m), y = (double)(tn ? b->k : b->m);
    return sy_product_same(a, &as_a) && x > 0 && y > 0 ? (x > y ? x / y : y / x) : 0;
}

struct sy_tile_size sy_tile_measured(const struct sy_tile_row *rows, int n, int multiprocessors,
                                     const struct sy_product_shape *shape) {
    struct sy_tile_size size = {0, 0};
    double nearest = NEAR;
    for (int i = n - 1; i >= 0; i--) {
        double times = times_of(&rows[i].shape, shape);
        if (rows[i].multiprocessors != multiprocessors || times == 0 || times >= nearest)
            continue;
        nearest = times;
        size = rows[i].size;
    }
    return size;
}

/* --- the rule ------------------------------------------------------------------------------------------- */

/* Cycles of a tile of 256 columns a block of 64 of k; and of what comes before and behind a tile's blocks. */
enum { BLOCK = 1100 };
static const struct { int columns, fixed; } widths[] = {{256, 4000}, {128, 2500}, {64, 1800}};

static int64_t blocks(int64_t n, int64_t block) { return (n + block - 1) / block; }

/* A single round takes as long as a tile does; of many the last one costs a part, as multiprocessors that are
 * done leave power to the others. */
static double cost(int multiprocessors, const struct sy_product_shape *s, int i) {
    int tn = s->product >= SY_PRODUCT_tn_leaf, list = s->product >= SY_PRODUCT_list_leaf;
    int64_t columns = blocks(s->n, widths[i].columns), k = s->k, tiles;
    if (tn) { /* each group has its part of the rows */
        k = list ? k : blocks(k, s->groups);
        tiles = blocks(s->m, ROWS) * columns * (list ? 1 : s->groups);
    } else { /* half a tile is lost at the end of each group */
        tiles = (blocks(s->m, ROWS) + (s->groups > 1 ? s->groups / 2 : 0)) * columns;
    }
    if (tiles == 0)
        return 0;
    double rounds = (double)blocks(tiles, multiprocessors), part = (double)tiles / multiprocessors;
    rounds = part + (rounds - part) / rounds;
    double block = BLOCK * widths[i].columns / 256.0 * products[s->product].percent[i] / 100.0;
    return rounds * ((double)blocks(k, 64) * block + widths[i].fixed);
}

struct sy_tile_size sy_tile_rule(int multiprocessors, const struct sy_product_shape *shape) {
    struct sy_tile_size best = {widths[0].columns, SY_TILE_BAND};
    double least = cost(multiprocessors, shape, 0);
    for (int i = 1; i < (int)(sizeof widths / sizeof *widths); i++) {
        double c = cost(multiprocessors, shape, i);
        if (widths[i].columns < products[shape->product].least || c >= least)
            continue;
        least = c;
        best.columns = widths[i].columns;
    }
    return best;
}

/* --- the choice ----------------------------------------------------------------------------------------- */

struct sy_tile_size sy_tile_choose(struct sy_tuning *tuning, int multiprocessors,
                                   const struct sy_product_shape *shape) {
    if (tuning && tuning->n < SY_TUNED_MOST)
        tuning->seen[tuning->n++] = *shape;
    if (tuning)
        tuning->multiprocessors = multiprocessors;
    if (tuning && tuning->forced.columns) {
        struct sy_tile_size size = tuning->forced;
        if (size.columns < products[shape->product].least)
            size.columns = products[shape->product].least;
        return size;
    }
    struct sy_tile_size size = sy_tile_measured(sy_tile_table, sy_tile_rows, multiprocessors, shape);
    return size.columns ? size : sy_tile_rule(multiprocessors, shape);
}
