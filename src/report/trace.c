/* A row of a grid as a path: the line of each column's last value, the band from min to max, and a smoothed
 * line that only draws. See page.h. */
#include <math.h>

#include "report/page.h"

/* The middle of a column on the x axis. */
static int x_of(const struct sy_page *p, const struct sy_grid *g, int column, int thin) {
    double width = (double)(g->width * thin);
    double middle = (double)g->base + column * width + (width - 1) / 2;
    return (int)lround(sy_axis_at(&p->x, middle) * SY_BOX_W);
}

static int y_of(const struct sy_trace *t, double v) {
    if (t->y.is_log && v <= 0)
        return SY_BOX_H;
    return (int)lround((1 - sy_axis_at(&t->y, v)) * SY_BOX_H);
}

void sy_put_line(struct sy_page *p, const struct sy_trace *t) {
    int drawn = 0, n = sy_grid_columns(t->grid, t->thin);
    int sparse = sy_grid_all(t->grid, t->row).n * 2 < sy_grid_all(t->grid, SY_CURVE_loss).n;
    for (int c = 0; c < n; c++) {
        struct sy_bucket b = sy_grid_at(t->grid, t->row, c, t->thin);
        if (b.n)
            sy_page_put(p, "%c%d %d", drawn ? 'L' : 'M', x_of(p, t->grid, c, t->thin), y_of(t, b.last));
        if (b.n && !drawn)
            sy_page_put(p, "h0");
        drawn = b.n || (drawn && sparse); /* a held-out loss is not of every step */
    }
}

void sy_put_band(struct sy_page *p, const struct sy_trace *t) {
    int n = sy_grid_columns(t->grid, t->thin);
    for (int c = 0; c < n;) {
        int end = c;
        while (end < n && sy_grid_at(t->grid, t->row, end, t->thin).n)
            end++;
        for (int i = c; i < end; i++)
            sy_page_put(p, "%c%d %d", i > c ? 'L' : 'M', x_of(p, t->grid, i, t->thin),
                        y_of(t, sy_grid_at(t->grid, t->row, i, t->thin).max));
        for (int i = end - 1; i >= c; i--)
            sy_page_put(p, "L%d %d", x_of(p, t->grid, i, t->thin),
                        y_of(t, sy_grid_at(t->grid, t->row, i, t->thin).min));
        if (end > c)
            sy_page_put(p, "Z");
        c = end + 1;
    }
}

/* The mean of what is around a column, the nearer the heavier: of a fortieth of the run, less at its ends. */
void sy_put_smooth(struct sy_page *p, const struct sy_trace *t) {
    int n = sy_grid_columns(t->grid, t->thin), half = n / 80 + 1, drawn = 0;
    for (int c = 0; c < n; c++) {
        double sum = 0, weight = 0;
        int reach = c < half ? c : n - 1 - c < half ? n - 1 - c : half; /* as far to both sides: no lag */
        for (int i = c - reach; i <= c + reach; i++) {
            struct sy_bucket b = sy_grid_at(t->grid, t->row, i, t->thin);
            double w = reach + 1 - (i < c ? c - i : i - c);
            sum += w * b.sum;
            weight += w * (double)b.n;
        }
        if (weight > 0)
            sy_page_put(p, "%c%d %d", drawn++ ? 'L' : 'M', x_of(p, t->grid, c, t->thin),
                        y_of(t, sum / weight));
    }
}
