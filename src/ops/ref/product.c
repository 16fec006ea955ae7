/* Outputs of a product, in blocks that stay in cache:
 *
 *     rows and columns
 *       block of k                      pieces of slices, in order
 *         the side that stays           packed: rows, if the right-hand side already is panels; else columns
 *           the other, bit by bit       a panel of nr columns as it lies; or mr rows, packed
 *             micro-tiles               the chains go on in their accumulators
 *
 *     c = acc + 0.0f + bias (rounded), or c + (acc + 0.0f)
 *
 * A block of k ends between steps of the chain, so that no bit depends on a size here or on the threads.
 * Where one has all of k, the side that stays is packed once.
 */
#include <stdatomic.h>

#include "ops/product_scratch.h"
#include "ops/ref/product_ahead.h"
#include "ops/ref/product_kernel.h"
#include "ops/ref/products.h"

struct work {
    const struct sy_exec *x;
    const struct product_kernel *t;
    const struct product *p;
    int columns_stay, in_one; /* in_one: one block has all of k */
    struct sy_mat c;          /* outputs, from row c_first on: the product's, or in scratch for its `after` */
    int64_t c_first;
    uint32_t *stays, *moves; /* [tiles][steps][lanes], or [panels][steps][nr]; rows of one micro-tile */
    float *sums;             /* of one micro-tile; or of all between blocks of k */
};

/* --- blocks of k ---------------------------------------------------------------------------------------- */

struct place {
    int64_t slice, at;
};
struct piece { /* rows at .. at + k - 1 of a slice, from `step` of their block on */
    struct k_slice s;
    int64_t at, k, step;
};
enum { PIECES = 64 };
struct block {
    int n, first, last; /* first, last: of the product's */
    int64_t steps;
    struct piece piece[PIECES];
};

/* The block that begins at *from, which becomes the place behind it. */
static void fill_block(const struct work *w, struct place *from, struct block *b) {
    const struct product *p = w->p;
    int64_t room = w->t->kc[w->columns_stay];
    b->first = from->slice == 0 && from->at == 0;
    b->n = 0;
    b->steps = 0;
    while (from->slice < p->n_slices && b->n < PIECES && room > 0) {
        struct k_slice s = p->slice(p, from->slice);
        int64_t k = least(s.k - from->at, room), padded = up_to(k, w->x->kb);
        if (k > 0)
            b->piece[b->n++] = (struct piece){s, from->at, k, b->steps};
        b->steps += padded / w->t->per_word;
        room -= padded;
        from->at += k;
        if (from->at == s.k)
            *from = (struct place){from->slice + 1, 0};
    }
    b->last = from->slice == p->n_slices;
}

/* --- packing -------------------------------------------------------------------------------------------- */

static void pack_rows(const struct work *w, const struct block *b, int64_t i, int64_t rows, uint32_t *dst) {
    for (int q = 0; q < b->n; q++) {
        const struct piece *c = &b->piece[q];
        w->t->pack(&(struct lanes){w->x->cls, sy_mat_cols(sy_mat_rows(c->s.a, i), c->at), rows, c->k,
                                   up_to(c->k, w->x->kb), 1},
                   dst + c->step * w->t->lanes, w->t->lanes);
    }
}

static int is_panels(const struct work *w, const struct piece *c) { return c->s.packed && w->t->panels; }

/* Columns j .. j+n-1 of the pieces that are not panels yet. */
static void pack_columns(const struct work *w, const struct block *b, int64_t j, int64_t n, uint32_t *dst) {
    int lanes = w->t->lanes, nr = w->t->nr;
    for (int q = 0; q < b->n; q++) {
        const struct piece *c = &b->piece[q];
        if (is_panels(w, c))
            continue;
        struct sy_mat m =
            c->s.packed ? sy_mat_of((void *)(uintptr_t)c->s.packed, c->s.b.dtype, w->p->n) : c->s.b;
        m = sy_mat_t(sy_mat_cols(sy_mat_rows(m, c->at), j));
        for (int l = 0; l < nr; l += lanes)
            w->t->pack(&(struct lanes){w->x->cls, sy_mat_rows(m, l), n > l ? least(n - l, lanes) : 0, c->k,
                                       up_to(c->k, w->x->kb), 0},
                       dst + c->step * nr + l, nr);
    }
}

/* --- micro-tiles ---------------------------------------------------------------------------------------- */

struct tile { /* rows i .. i+m-1, columns j .. j+n-1 of the product; of its panel the number-th */
    int64_t i, m, j, n, number;
    float *sums;
    int64_t sums_row;
    const char *soon; /* of struct ahead, or NULL */
};

static void *output(const struct work *w, int64_t i, int64_t j) {
    return sy_at(w->c.data, w->c.dtype, (i - w->c_first) * w->c.row + j);
}

/* What becomes of a row of sums where the kernel does not store it. */
static void finish_row(const struct work *w, int64_t i, int64_t j, int64_t n, float *sums) {
    const struct sy_exec *x = w->x;
    const struct product *p = w->p;
    void *c = output(w, i, j);
    if (p->fold) {
        float *fold = c;
        for (int64_t q = 0; q < n; q++)
            fold[q] = fold[q] + sums[q];
        return;
    }
    if (p->bias)
        for (int64_t q = 0; q < n; q++)
            sums[q] += p->bias[j + q];
    if (p->residual.data) {
        float residual[COLUMNS];
        round_all(x, n, sums);
        widen(p->residual.dtype, n, sy_at(p->residual.data, p->residual.dtype, i * p->residual.row + j),
              residual);
        for (int64_t q = 0; q < n; q++)
            sums[q] = residual[q] + sums[q];
    }
    narrow(x, w->c.dtype, n, sums, c);
}

/* Where a tile's chain begins in this block, and where it ends: in p->acc and c themselves where they are
 * nothing but the accumulators of whole panels. */
static struct micro ends_of(const struct work *w, const struct block *b, const struct tile *c) {
    const struct product *p = w->p;
    int whole = c->n == w->t->nr, is_c = b->last && whole && !p->bias && !p->residual.data;
    struct micro m = {.cls = w->x->cls, .from = c->sums, .from_row = c->sums_row};
    if (b->first && !p->acc) {
        m.from = NULL;
    } else if (b->first && whole) {
        m.from = p->acc + c->i * p->acc_row + c->j;
        m.from_row = p->acc_row;
    } else if (b->first) {
        for (int64_t r = 0; r < c->m; r++) {
            memset(c->sums + r * c->sums_row, 0, (size_t)w->t->nr * sizeof(float));
            memcpy(c->sums + r * c->sums_row, p->acc + (c->i + r) * p->acc_row + c->j,
                   (size_t)c->n * sizeof(float));
        }
    }
    m.end = !b->last                ? MICRO_CUT
            : !is_c                 ? MICRO_END
            : w->c.dtype == SY_BF16 ? MICRO_ROUND
            : p->fold               ? MICRO_FOLD
            : p->stream             ? MICRO_STREAM
                                    : MICRO_END;
    m.to = is_c ? output(w, c->i, c->j) : c->sums;
    m.to_row = is_c ? w->c.row : c->sums_row;
    return m;
}

/* What a tile fetches: the first two of a panel the next panel, or the next group's first, half of it each;
 * the others what they are told. */
static const char *fetched(const struct work *w, const struct tile *c, const struct piece *q,
                           const struct micro *run) {
    const char *next = (const char *)(run->b + up_to(q->s.k, w->x->kb) / w->t->per_word * w->t->nr);
    return c->number < 2 ? next + AHEAD_LINE * c->number * run->steps
           : c->soon     ? c->soon + AHEAD_LINE * q->step
                         : (const char *)run->b;
}

/* The chains of a tile over a block: in one go where all of it was packed here, else piece by piece. left,
 * right: what was packed; as arguments, for two words just stored and loaded as one vector wait for all
 * stores before. */
static void run_tile(const struct work *w, const struct block *b, const struct tile *c, const uint32_t *left,
                     const uint32_t *right) {
    const struct product_kernel *t = w->t;
    const struct micro ends = ends_of(w, b, c);
    int apart = 0;
    for (int q = 0; q < b->n; q++)
        apart |= is_panels(w, &b->piece[q]);
    for (int q = 0, n = apart ? b->n : 1; q < n; q++) {
        const struct piece *e = &b->piece[q];
        int64_t step = apart ? e->step : 0, end = q + 1 < n ? e[1].step : b->steps;
        struct micro run = ends;
        run.steps = end - step;
        run.a = left + step * t->lanes;
        if (apart && is_panels(w, e)) {
            int64_t panel = up_to(e->s.k, w->x->kb) / t->per_word * t->nr;
            run.b = (const uint32_t *)e->s.packed + c->j / t->nr * panel + e->at / t->per_word * t->nr;
            run.next = fetched(w, c, e, &run);
        } else {
            run.b = right + step * t->nr;
            run.next = c->soon ? c->soon + AHEAD_LINE * step : (const char *)run.b;
        }
        if (q > 0) {
            run.from = c->sums;
            run.from_row = c->sums_row;
        }
        if (q + 1 < n) {
            run.end = MICRO_CUT;
            run.to = c->sums;
            run.to_row = c->sums_row;
        }
        t->micro((int)c->m, &run);
    }
    for (int64_t r = 0; ends.to == c->sums && b->last && r < c->m; r++)
        finish_row(w, c->i + r, c->j, c->n, c->sums + r * c->sums_row);
}

/* --- blocks of outputs ---------------------------------------------------------------------------------- */

/* The tile in a block of outputs o: the tile-th of as equal ones as can be, in a panel. */
static struct tile tile_of(const struct work *w, const struct outputs *o, int64_t tile, int64_t panel) {
    const struct product_kernel *t = w->t;
    int64_t tiles = (o->m + t->mr - 1) / t->mr, first = o->m * tile / tiles, end = o->m * (tile + 1) / tiles;
    int64_t row = w->in_one ? t->nr : (o->n + t->nr - 1) / t->nr * t->nr;
    return (struct tile){.i = o->i + first,
                         .m = end - first,
                         .j = o->j + panel * t->nr,
                         .n = least(o->n - panel * t->nr, t->nr),
                         .number = tile,
                         .sums = w->in_one ? w->sums : w->sums + tile * t->mr * row + panel * t->nr,
                         .sums_row = row};
}

/* The rows of k behind a block's last, perhaps the next group's, as many: of both sides. */
static struct ahead behind(const struct block *b, const struct outputs *o, int64_t tiles) {
    struct ahead a = {0};
    if (b->n > 0 && b->last) {
        const struct piece *q = &b->piece[b->n - 1];
        int64_t first = q->at + q->k, rows = first - b->piece[0].at;
        for (int i = 0; i < b->n - 1; i++)
            rows += b->piece[i].k;
        ahead_add_rows(&a, sy_mat_cols(q->s.b, o->j), o->n, first, rows);
        ahead_add_rows(&a, sy_mat_t(sy_mat_rows(q->s.a, o->i)), o->m, first, rows);
    }
    ahead_spread(&a, b->steps, tiles / 2, tiles, 0);
    return a;
}

/* A block of outputs over a block of k. */
static void columns_stay(const struct work *w, const struct block *b, const struct outputs *o) {
    const struct product_kernel *t = w->t;
    int64_t tiles = (o->m + t->mr - 1) / t->mr, panels = (o->n + t->nr - 1) / t->nr;
    const struct ahead a = behind(b, o, tiles);
    for (int64_t q = 0; q < panels; q++)
        pack_columns(w, b, o->j + q * t->nr, least(o->n - q * t->nr, t->nr), w->stays + q * b->steps * t->nr);
    for (int64_t r = 0; r < tiles; r++)
        for (int64_t q = 0; q < panels; q++) {
            struct tile c = tile_of(w, o, r, q);
            c.soon = ahead_of(&a, r, q);
            if (q == 0)
                pack_rows(w, b, c.i, c.m, w->moves);
            run_tile(w, b, &c, w->moves, w->stays + q * b->steps * t->nr);
        }
}

/* What `after` touches of these rows, and the rows behind them, perhaps the next group's, as many. */
static struct ahead below(const struct work *w, const struct block *b, const struct outputs *o,
                          int64_t panels) {
    struct ahead a = {0};
    for (size_t i = 0; w->p->after && i < sizeof w->p->touched / sizeof *w->p->touched; i++)
        ahead_add_rows(&a, w->p->touched[i], w->p->touched[i].row, o->i, o->m);
    if (b->n > 0)
        ahead_add_rows(&a, b->piece[0].s.a, b->steps * w->t->per_word, o->i + o->m, o->m);
    ahead_spread(&a, b->steps, 0, panels, 2);
    return a;
}

static void rows_stay(const struct work *w, const struct block *b, const struct outputs *o) {
    const struct product_kernel *t = w->t;
    int64_t tiles = (o->m + t->mr - 1) / t->mr, panels = (o->n + t->nr - 1) / t->nr;
    const struct ahead a = below(w, b, o, panels);
    for (int64_t q = 0; q < panels; q++)
        for (int64_t r = 0; r < tiles; r++) {
            struct tile c = tile_of(w, o, r, q);
            uint32_t *left = w->stays + r * b->steps * t->lanes;
            c.soon = ahead_of(&a, q, r);
            if (q == 0)
                pack_rows(w, b, c.i, c.m, left);
            run_tile(w, b, &c, left, w->stays);
        }
}

/* Rows and columns of a block of outputs: what stays fills its buffer; the other side is all of it, or as
 * much as has sums between blocks of k. */
static struct outputs block_size(const struct work *w, int64_t steps, const struct outputs *o) {
    const struct product_kernel *t = w->t;
    int64_t most_m = o->m, most_n = o->n,
            all = w->in_one && steps ? steps : t->kc[w->columns_stay] / t->per_word;
    if (w->columns_stay) {
        most_n = t->stays / (all * t->nr) * t->nr;
        if (!w->in_one)
            most_m = SY_PRODUCT_SUMS / least(most_n, up_to(o->n, t->nr)) / t->mr * t->mr;
    } else {
        most_m = t->stays / (all * t->lanes) * t->mr;
        if (!w->in_one)
            most_n = SY_PRODUCT_SUMS / least(most_m, up_to(o->m, t->mr)) / t->nr * t->nr;
    }
    return (struct outputs){.m = least(most_m, o->m), .n = least(most_n, o->n)};
}

/* --- few rows ------------------------------------------------------------------------------------------- */

/* Where the left-hand side need not be packed, and the sums of a row are nobody's but this call's. */
static int is_few(const struct work *w, const struct outputs *o) {
    const struct product *p = w->p;
    if (!w->t->few || w->columns_stay || o->m > FEW_ROWS || p->n_slices != 1 || p->acc || p->fold || p->after)
        return 0;
    struct k_slice s = p->slice(p, 0);
    return s.a.col == 1 && s.k % w->x->kb == 0;
}

static void few_outputs(const struct work *w, const struct outputs *o) {
    const struct product_kernel *t = w->t;
    struct k_slice s = w->p->slice(w->p, 0);
    int64_t steps = s.k / t->per_word, panels = (o->n + t->nr - 1) / t->nr, n;
    for (int64_t q = 0; q < panels; q += n) {
        n = panels - q >= FEW_PANELS ? FEW_PANELS : 1;
        struct few f = {.steps = steps,
                        .a = sy_mat_rows(s.a, o->i),
                        .b = (const uint32_t *)s.packed + (o->j / t->nr + q) * steps * t->nr,
                        .to = w->sums,
                        .to_row = FEW_PANELS * t->nr};
        t->few((int)o->m, (int)n, &f);
        for (int64_t r = 0; r < o->m; r++)
            finish_row(w, o->i + r, o->j + q * t->nr, least(o->n - q * t->nr, n * t->nr),
                       f.to + r * f.to_row);
    }
}

/* --- all of them ---------------------------------------------------------------------------------------- */

static int all_panels(const struct product *p) {
    for (int64_t q = 0; q < p->n_slices; q++)
        if (!p->slice(p, q).packed)
            return 0;
    return 1;
}

void SY_FN(product_outputs)(const struct sy_exec *x, const struct product *p, const struct outputs *o,
                            void *scratch) {
    const struct product_kernel *t = SY_FN(product_kernel)(x->cls);
    uint32_t *stays = scratch, *moves = stays + SY_PRODUCT_STAYS;
    struct work w = {.x = x,
                     .t = t,
                     .p = p,
                     .columns_stay = !t->panels || !all_panels(p),
                     .c = p->c,
                     .stays = stays,
                     .moves = moves,
                     .sums = (float *)(moves + SY_PRODUCT_MOVES)};
    struct place end = {0, 0};
    struct block b;
    assert(x->scratch_bytes >= SY_PRODUCT_WORDS * sizeof *stays && p->c.col == 1 && o->j % t->nr == 0 &&
           t->stays <= SY_PRODUCT_STAYS && t->kc[0] / t->per_word * t->lanes <= SY_PRODUCT_MOVES);
    if (is_few(&w, o)) {
        few_outputs(&w, o);
        return;
    }
    fill_block(&w, &end, &b);
    w.in_one = b.last;
    struct outputs size = block_size(&w, b.steps, o);
    int64_t room = p->passing && p->n > 0 ? (SY_PRODUCT_SUMS - (int64_t)t->mr * t->nr) / p->n : 0; /* rows */
    int passes = w.in_one && room >= t->mr;
    if (passes) {
        w.c = sy_mat_of(w.sums + t->mr * t->nr, SY_F32, p->n);
        size.m = least(size.m, room / t->mr * t->mr);
    }
    for (int64_t i = 0; i < o->m; i += size.m) {
        struct outputs c = {.i = o->i + i, .m = least(o->m - i, size.m)};
        w.c_first = passes ? c.i : 0;
        for (int64_t j = 0; j < o->n; j += size.n) {
            c.j = o->j + j;
            c.n = least(o->n - j, size.n);
            end = (struct place){0, 0};
            do {
                fill_block(&w, &end, &b);
                (w.columns_stay ? columns_stay : rows_stay)(&w, &b, &c);
            } while (!b.last);
        }
        for (int64_t r = 0; p->after && r < c.m; r++)
            p->after(x, p->op, p->row + c.i + r, output(&w, c.i + r, 0), scratch);
    }
    if (p->stream)
        atomic_thread_fence(memory_order_seq_cst); /* such stores are ordered by no release */
}
