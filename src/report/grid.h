/* Many series over the same steps, in bounded memory: rows x columns of buckets.
 *
 *     column c holds steps base + c width … base + (c + 1) width - 1
 *
 * A step beyond the last column folds neighbours together and doubles the width, as often as it takes, so
 * that one pass over a file of any length is enough. A bucket keeps values that were there: the smallest, the
 * largest, the last; the mean is for a smoothed line alone.
 */
#ifndef SY_REPORT_GRID_H
#define SY_REPORT_GRID_H

#include "base/status.h"

struct sy_bucket {
    double min, max, last, sum;
    int64_t n, at; /* values; the last one's step */
};

struct sy_grid {
    int rows, capacity, n; /* columns: at most, in use; capacity is even */
    int64_t base, width;
    struct sy_bucket *bucket; /* [capacity, rows]; n 0: nothing came */
};

/* Local. Errors: ERR_MEMORY. Free with sy_grid_fini. */
sy_status sy_grid_init(int rows, int capacity, struct sy_grid *out);
void sy_grid_fini(struct sy_grid *grid);

/* Local. A value of a row at a step, no smaller than the first one given. What is not finite is left out, but
 * its column counts. */
void sy_grid_add(struct sy_grid *grid, int row, int64_t step, double value);

/* Columns when `thin` of them become one, and the bucket of such a column. */
int sy_grid_columns(const struct sy_grid *grid, int thin);
struct sy_bucket sy_grid_at(const struct sy_grid *grid, int row, int column, int thin);

/* Local. min, max, last and number of all values of a row; n 0: none. */
struct sy_bucket sy_grid_all(const struct sy_grid *grid, int row);

#endif
