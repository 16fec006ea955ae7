/* Made-up rows of groups and calls of products: see calls_make.h. */
#include <assert.h>

#include "ops/calls_make.h"

/* --- rows ----------------------------------------------------------------------------------------------- */

static struct sy_make_rows grouped(struct sy_make *m, int64_t most) {
    int typical = m->size == SY_CALL_TYPICAL, large = m->size != SY_CALL_EDGE;
    int64_t groups = large ? 8 : 1 + sy_make_below(m, 6), sequences = large ? 2 : 1 + sy_make_below(m, 4);
    int64_t multiple = m->x->device->segment, none = sy_make_below(m, 2 * groups);
    struct sy_make_rows r = {.bins = groups * sequences};
    assert(r.bins <= SY_CALL_BINS);
    for (int64_t i = 0; i < r.bins; i++) {
        int empty = !typical && (i / sequences == none || sy_make_below(m, 4) == 0);
        r.count[i] = typical ? most : empty ? 0 : sy_make_below(m, most + 1);
        r.start[i + 1] = r.start[i] + (r.count[i] + multiple - 1) / multiple * multiple;
    }
    int64_t max_rows = r.start[r.bins] + sy_make_gap(m), max_tiles = max_rows / SY_TILE_ROWS + groups;
    int64_t *offset = sy_make_i64(m, "offset", r.bins + 1, 0), *n_tiles = sy_make_i64(m, "n_tiles", 1, 0);
    struct sy_tile *tile = sy_make_take(m, "tile", SY_WORDS_BYTES, max_tiles, sizeof *tile);
    r.rows = (struct sy_rows){.groups = groups, .sequences = sequences, .max_rows = max_rows};
    r.rows.offset = offset;
    r.rows.tile = tile;
    r.rows.n_tiles = n_tiles;
    if (!m->filling)
        return r;
    struct sy_tile *tiles = sy_make_host(m, tile);
    int64_t *n = sy_make_host(m, n_tiles);
    memcpy(sy_make_host(m, offset), r.start, (size_t)(r.bins + 1) * sizeof *offset);
    for (int64_t g = 0; g < groups; g++)
        for (int64_t i = r.start[g * sequences]; i < r.start[(g + 1) * sequences]; i += SY_TILE_ROWS)
            tiles[(*n)++] = (struct sy_tile){g, i};
    return r;
}

struct sy_make_rows sy_make_some_rows(struct sy_make *m, int64_t most, int always_grouped) {
    if (always_grouped || m->size != SY_CALL_EDGE || sy_make_below(m, 2))
        return grouped(m, most);
    int64_t sequences = 1 + sy_make_below(m, 3), each = sy_make_below(m, most + 1);
    if (m->whole && sy_make_below(m, 2))
        each = each / 16 * 16;
    struct sy_make_rows r = {.rows = sy_rows_dense(sequences, sequences * each), .bins = sequences};
    for (int64_t s = 0; s < sequences; s++) {
        r.count[s] = each;
        r.start[s + 1] = r.start[s] + each;
    }
    return r;
}

void sy_make_padding(struct sy_make *m, const struct sy_make_rows *r, struct sy_mat a, int64_t cols) {
    if (!m->filling)
        return;
    struct sy_mat h = a;
    h.data = sy_make_host(m, a.data);
    for (int64_t b = 0; b < r->bins; b++)
        for (int64_t i = r->start[b] + r->count[b]; i < r->start[b + 1]; i++)
            for (int64_t j = 0; j < cols; j++)
                memset(sy_at(h.data, h.dtype, i * h.row + j * h.col), 0, sy_dtype_bytes(h.dtype));
}

/* --- operands ------------------------------------------------------------------------------------------- */

/* [rows, cols] by rows or by columns. */
static struct sy_mat turned(struct sy_make *m, const char *name, int64_t rows, int64_t cols, int columns) {
    if (!columns)
        return sy_make_mat(m, name, m->x->dtype, rows, cols, SY_HOLDS_ANY);
    return sy_mat_t(sy_make_mat(m, name, m->x->dtype, cols, rows, SY_HOLDS_ANY));
}

/* groups of [k, n], a step apart: one matrix of all of them. */
static struct sy_operand plain_operand(struct sy_make *m, int64_t groups, int64_t k, int64_t n, int columns) {
    struct sy_operand o = {.m =
                               columns ? turned(m, "w", k, groups * n, 1) : turned(m, "w", groups * k, n, 0)};
    o.step = columns ? n * o.m.col : k * o.m.row;
    return o;
}

/* A region in any tier's call, used or not, so that calls of two tiers have the same ones. */
static void take_packed(struct sy_make *m, int64_t groups, int64_t k, int64_t n, struct sy_operand *o) {
    size_t bytes = m->x->ops->pack_bytes(m->x, o->m, k, n);
    int64_t step = (int64_t)(bytes + 64) / 64 * 64;
    void *packed = sy_make_take(m, "packed", SY_WORDS_PRIVATE, groups * step, 1);
    o->packed = bytes ? packed : NULL;
    o->packed_step = bytes ? step : 0;
}

void sy_make_operand(struct sy_make *m, int64_t groups, int64_t k, int64_t n, struct sy_operand *view) {
    int packed = m->size == SY_CALL_TYPICAL || sy_make_below(m, 2);
    *view = plain_operand(m, groups, k, n, m->size == SY_CALL_TYPICAL || sy_make_below(m, 2));
    if (packed)
        take_packed(m, groups, k, n, view);
    if (!view->packed_step)
        return;
    struct sy_call *c = m->c;
    c->operand[c->n_operands].view = view;
    c->operand[c->n_operands].groups = groups;
    c->operand[c->n_operands].k = k;
    c->operand[c->n_operands++].n = n;
}

/* Rows of x by name for half of the calls: ops that gather get what they name, in another order, and the
 * names; the others, from the same numbers, the rows as they are. Rows of padding are nobody's. */
static void name_rows(struct sy_make *m, const struct sy_make_rows *r, struct sy_linear *op) {
    int64_t rows = r->rows.max_rows, top_k = 1 + sy_make_below(m, 3);
    if (op->x.col != 1 || rows < 1 || sy_make_below(m, 2) == 0)
        return;
    int32_t *route = sy_make_i32(m, "route", rows, 1);
    struct sy_mat there = sy_make_mat(m, "named", op->x.dtype, rows, op->k, SY_HOLDS_ANY);
    sy_make_padding(m, r, op->x, op->k);
    if (m->filling) {
        int32_t *names = sy_make_host(m, route);
        const char *from = sy_make_host(m, op->x.data);
        char *to = sy_make_host(m, there.data);
        size_t size = sy_dtype_bytes(op->x.dtype);
        for (int64_t i = 0; i < rows; i++)
            names[i] = -1;
        for (int64_t b = 0; b < r->bins; b++)
            for (int64_t i = r->start[b]; i < r->start[b] + r->count[b]; i++) {
                int64_t token = rows - 1 - i; /* another order */
                names[i] = (int32_t)(token * top_k + i % top_k);
                memcpy(to + (size_t)(token * there.row) * size, from + (size_t)(i * op->x.row) * size,
                       (size_t)op->k * size);
            }
    }
    if (!m->x->ops->gathers)
        return;
    op->x = there;
    op->named = (struct sy_named_rows){route, top_k};
}

/* --- products ------------------------------------------------------------------------------------------- */

enum { MANY_SIDE = 768, MANY_ROWS = 900 };

static int64_t many(struct sy_make *m) { return MANY_SIDE + 8 * sy_make_below(m, 64); }

static int64_t depth(struct sy_make *m) {
    if (m->size == SY_CALL_MANY)
        return many(m);
    return m->size == SY_CALL_TYPICAL ? 256 : sy_make_below(m, 8) == 0 ? 600 : sy_make_side(m, 256);
}

/* Rows of a segment: at most so many. */
static int64_t most_rows(const struct sy_make *m) {
    return m->size == SY_CALL_MANY ? MANY_ROWS : m->size == SY_CALL_TYPICAL ? 16 : 60;
}

/* Some calls have columns for several tiles. */
static int64_t columns(struct sy_make *m) {
    if (m->size == SY_CALL_MANY)
        return many(m);
    int64_t n = sy_make_side(m, 128);
    return m->size == SY_CALL_EDGE && sy_make_below(m, 4) == 0 ? 4 * n + 8 : n;
}

void sy_make_linear(struct sy_make *m, struct sy_linear *op) {
    m->whole = m->size == SY_CALL_MANY || sy_make_coin(m);
    struct sy_make_rows r = sy_make_some_rows(m, most_rows(m), 0);
    int epilogue = (int)sy_make_below(m, 3); /* none, residual, SwiGLU */
    int64_t rows = r.rows.max_rows, n = columns(m), k = depth(m);
    n += epilogue != 2 ? 0 : m->whole ? n % 16 : n % 2;
    *op = (struct sy_linear){.rows = r.rows, .k = k, .n = n, .x = turned(m, "x", rows, k, sy_make_coin(m))};
    sy_make_operand(m, r.rows.groups, k, n, &op->w);
    op->bias = sy_make_coin(m) ? sy_make_f32(m, "bias", n, SY_HOLDS_ANY) : NULL;
    op->y = epilogue == 1 ? sy_make_mat(m, "y", m->x->dtype, rows, n, SY_HOLDS_ANY)
                          : sy_make_any_mat(m, "y", rows, n);
    if (epilogue == 1)
        op->residual =
            sy_make_coin(m) ? op->y : sy_make_mat(m, "residual", m->x->dtype, rows, n, SY_HOLDS_ANY);
    if (epilogue == 2) {
        op->epilogue = SY_EPILOGUE_SWIGLU;
        op->h = sy_make_mat(m, "h", m->x->dtype, rows, n / 2, SY_HOLDS_ANY);
    }
    name_rows(m, &r, op);
}

static void swiglu_back(struct sy_make *m, struct sy_linear_dx *op) {
    int64_t rows = op->rows.max_rows, f = op->n;
    op->epilogue = SY_EPILOGUE_SWIGLU_BACK;
    op->gu = sy_make_mat(m, "gu", m->x->dtype, rows, 2 * f, SY_HOLDS_ANY);
    op->a = sy_make_mat(m, "a", SY_F32, rows, f, SY_HOLDS_ANY);
    m->c->region[m->c->n_regions - 1].words = SY_WORDS_PRIVATE;
    op->dgu = sy_make_mat(m, "dgu", m->x->dtype, rows, 2 * f, SY_HOLDS_ANY);
    op->hw = sy_make_mat(m, "hw", m->x->dtype, rows, f, SY_HOLDS_ANY);
    int weighted = (int)sy_make_below(m, 3); /* not, without dw, with it */
    op->w = weighted ? sy_make_f32(m, "route weights", rows, SY_HOLDS_ANY) : NULL;
    op->dw = weighted == 2 ? sy_make_f32(m, "dw", rows, SY_HOLDS_ANY) : NULL;
}

void sy_make_linear_dx(struct sy_make *m, struct sy_linear_dx *op) {
    m->whole = m->size == SY_CALL_MANY || sy_make_coin(m);
    struct sy_make_rows r = sy_make_some_rows(m, most_rows(m), 0);
    int64_t rows = r.rows.max_rows;
    int back = (int)sy_make_below(m, 2);
    *op = (struct sy_linear_dx){.rows = r.rows, .n = columns(m), .n_maps = 1};
    op->n_maps += m->size != SY_CALL_TYPICAL ? (int)sy_make_below(m, SY_DX_MAPS) : 0;
    for (int i = 0; i < op->n_maps; i++) {
        struct sy_dx_map *map = &op->map[i];
        map->k = i == 0 || m->size == SY_CALL_MANY ? depth(m) : sy_make_below(m, 40);
        map->k = m->whole ? (map->k + 7) / 8 * 8 : map->k;
        map->dy = turned(m, "dy", rows, map->k, sy_make_coin(m));
        sy_make_operand(m, r.rows.groups, map->k, op->n, &map->w);
    }
    if (back)
        swiglu_back(m, op);
    else
        op->dx = sy_make_any_mat(m, "dx", rows, op->n);
}

void sy_make_linear_dw(struct sy_make *m, struct sy_linear_dw *op) {
    m->whole = m->size == SY_CALL_MANY || sy_make_coin(m);
    struct sy_dw *list = m->c->list.dw;
    *op = (struct sy_linear_dw){.problem = list,
                                .n_problems = m->size != SY_CALL_EDGE ? 1 : (int)sy_make_below(m, 4)};
    for (int q = 0; q < op->n_problems; q++) {
        struct sy_make_rows r = sy_make_some_rows(m, most_rows(m), 0);
        struct sy_dw d = {.rows = r.rows, .m = sy_make_side(m, 128), .n = sy_make_side(m, 256)};
        if (m->size == SY_CALL_MANY) {
            d.m = many(m);
            d.n = many(m);
        }
        int acc = (int)sy_make_below(m, 3); /* none, its own, c itself */
        d.first = sy_make_coin(m) ? sy_make_below(m, r.rows.sequences) : 0;
        d.n_segments =
            sy_make_coin(m) ? sy_make_below(m, r.rows.sequences - d.first + 1) : r.rows.sequences - d.first;
        d.dy = turned(m, "dy", r.rows.max_rows, d.m, sy_make_coin(m));
        d.x = turned(m, "x", r.rows.max_rows, d.n, sy_make_coin(m));
        sy_make_padding(m, &r, d.dy, d.m);
        sy_make_padding(m, &r, d.x, d.n);
        d.c_step = d.acc_step = d.m * d.n + sy_make_gap(m);
        d.c = sy_make_f32(m, "c", r.rows.groups * d.c_step, SY_HOLDS_SUMS);
        d.acc = acc == 0   ? NULL
                : acc == 1 ? sy_make_f32(m, "acc", r.rows.groups * d.c_step, SY_HOLDS_SUMS)
                           : d.c;
        d.fold = acc < 2 && sy_make_below(m, 2);
        list[q] = d;
    }
}

/* Compared by what a product makes of what was packed: the order is the tier's own. */
void sy_make_pack(struct sy_make *m, struct sy_pack *op) {
    int typical = m->size == SY_CALL_TYPICAL;
    int64_t groups = typical ? 4 : 1 + sy_make_below(m, 3), k = 1 + sy_make_side(m, 511),
            n = sy_make_side(m, 512);
    struct sy_operand w = plain_operand(m, groups, k, n, 1);
    struct sy_linear *after = &m->c->after;
    take_packed(m, groups, k, n, &w);
    *op = (struct sy_pack){w.packed_step ? groups : 0,
                           k,
                           n,
                           {.m = w.m, .step = w.step},
                           (void *)(uintptr_t)w.packed,
                           w.packed_step};
    struct sy_operand one = w; /* the last group */
    one.m.data = sy_at(w.m.data, w.m.dtype, (groups - 1) * w.step);
    one.packed = w.packed ? (const char *)w.packed + (groups - 1) * w.packed_step : NULL;
    *after = (struct sy_linear){.rows = sy_rows_dense(1, 3), .k = k, .n = n, .w = one};
    after->x = sy_make_mat(m, "x", m->x->dtype, 3, k, SY_HOLDS_ANY);
    after->y = sy_make_mat(m, "y", SY_F32, 3, n, SY_HOLDS_ANY);
    m->c->has_after = 1;
}
