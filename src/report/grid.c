/* Series in buckets of bounded number: see grid.h. */
#include "report/grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

sy_status sy_grid_init(int rows, int capacity, struct sy_grid *g) {
    *g = (struct sy_grid){.rows = rows, .capacity = capacity, .width = 1};
    g->bucket = calloc((size_t)rows * (size_t)capacity, sizeof *g->bucket);
    if (!g->bucket)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %d series of %d points", rows, capacity);
    return SY_OK;
}

void sy_grid_fini(struct sy_grid *g) {
    free(g->bucket);
    *g = (struct sy_grid){0};
}

/* `b` comes after `a`. */
static void join(struct sy_bucket *a, const struct sy_bucket *b) {
    if (b->n == 0)
        return;
    if (a->n == 0) {
        *a = *b;
        return;
    }
    a->min = b->min < a->min ? b->min : a->min;
    a->max = b->max > a->max ? b->max : a->max;
    a->last = b->last;
    a->at = b->at;
    a->sum += b->sum;
    a->n += b->n;
}

static void fold(struct sy_grid *g) {
    size_t rows = (size_t)g->rows;
    for (int c = 0; c < g->capacity; c += 2) {
        struct sy_bucket *to = g->bucket + (size_t)(c / 2) * rows, *from = g->bucket + (size_t)c * rows;
        for (size_t r = 0; r < rows; r++) {
            struct sy_bucket b = from[r];
            join(&b, &from[rows + r]);
            to[r] = b;
        }
    }
    memset(g->bucket + (size_t)(g->capacity / 2) * rows, 0,
           (size_t)(g->capacity - g->capacity / 2) * rows * sizeof *g->bucket);
    g->width *= 2;
    g->n = (g->n + 1) / 2;
}

void sy_grid_add(struct sy_grid *g, int row, int64_t step, double value) {
    if (g->n == 0)
        g->base = step;
    if (step < g->base)
        return;
    while ((step - g->base) / g->width >= g->capacity)
        fold(g);
    int c = (int)((step - g->base) / g->width);
    g->n = c + 1 > g->n ? c + 1 : g->n;
    if (isfinite(value))
        join(&g->bucket[(size_t)c * (size_t)g->rows + (size_t)row],
             &(struct sy_bucket){value, value, value, value, 1, step});
}

int sy_grid_columns(const struct sy_grid *g, int thin) { return (g->n + thin - 1) / thin; }

struct sy_bucket sy_grid_at(const struct sy_grid *g, int row, int column, int thin) {
    struct sy_bucket b = {0};
    for (int c = column * thin; c < (column + 1) * thin && c < g->n; c++)
        join(&b, &g->bucket[(size_t)c * (size_t)g->rows + (size_t)row]);
    return b;
}

struct sy_bucket sy_grid_all(const struct sy_grid *g, int row) {
    return g->n ? sy_grid_at(g, row, 0, g->n) : (struct sy_bucket){0};
}
