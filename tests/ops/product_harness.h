/* The laboratory of the three products: buffers, matrices, rows and right-hand sides of a call, and where it
 * runs.
 *
 * A buffer exists three times: what it holds first, what the op makes of it, what the definition makes of it.
 * All of it is compared after each run, inputs, gaps and rows beyond the last too. A run is every tier, 1 to
 * 3 threads, right-hand sides as they are and, where the tier has an order of its own, packed by it; the
 * matrix is then spoilt, so that only what was packed can have been read.
 */
#ifndef SY_TESTS_OPS_PRODUCT_HARNESS_H
#define SY_TESTS_OPS_PRODUCT_HARNESS_H

#include "chain_model.h"

enum { BUFFERS = 48, OPERANDS = 4 };
enum holds { VALUES, SUMS, NO_MINUS_ZERO }; /* operands; accumulators; accumulators that ops left */

struct buffer {
    const char *name;
    enum sy_dtype t;
    int64_t n;
    int workspace; /* holds what the definition makes of it, or what it held */
    void *first, *got, *want;
};

struct matrix { /* element (i, j) at at + i row + j col of a buffer */
    int buf;
    int64_t row, col;
};

struct operand { /* groups of [k, n] */
    struct matrix m;
    int64_t groups, k, n, step;
    struct sy_operand *view; /* of the call */
    void *packed, *spoilt;
};

struct trial {
    enum sy_numeric_class cls;
    enum sy_dtype stored;
    int n, n_operands;
    struct buffer buf[BUFFERS];
    struct operand operand[OPERANDS];
    void (*run)(const struct sy_exec *x, const void *op);
    const void *op;
};

static inline void *must_alloc(size_t n) {
    void *p = malloc(n ? n : 1);
    assert_non_null(p);
    return p;
}

static inline struct trial trial_new(enum sy_numeric_class cls) {
    return (struct trial){.cls = cls, .stored = sy_class_dtype(cls)};
}

static inline size_t bytes_of(const struct buffer *b) { return (size_t)b->n * sy_dtype_bytes(b->t); }

static inline int buffer_new(struct trial *t, const char *name, enum sy_dtype type, int64_t n, enum regime r,
                             enum holds holds) {
    struct buffer b = {.name = name, .t = type, .n = n};
    assert_true(t->n < BUFFERS);
    b.first = must_alloc(bytes_of(&b));
    b.got = must_alloc(bytes_of(&b));
    b.want = must_alloc(bytes_of(&b));
    for (int64_t i = 0; i < n; i++) {
        float v = holds == VALUES ? random_value(r, type == SY_F32) : random_acc(r);
        put(type, b.first, i, holds == NO_MINUS_ZERO ? no_minus_zero(v) : v);
    }
    memcpy(b.want, b.first, bytes_of(&b));
    memcpy(b.got, b.first, bytes_of(&b));
    t->buf[t->n] = b;
    return t->n++;
}

static inline void *got_of(const struct trial *t, int buf) { return t->buf[buf].got; }
static inline float want_at(const struct trial *t, int buf, int64_t i) {
    return get(t->buf[buf].t, t->buf[buf].want, i);
}
static inline void want_set(struct trial *t, int buf, int64_t i, float v) { /* rounded once */
    put(t->buf[buf].t, t->buf[buf].want, i, t->buf[buf].t == SY_F32 ? v : model_bf(t->cls, v));
}
static inline void first_set(struct trial *t, int buf, int64_t i, float v) {
    put(t->buf[buf].t, t->buf[buf].first, i, v);
    put(t->buf[buf].t, t->buf[buf].want, i, v);
}

/* Strides of a [rows, cols] matrix with gaps, by columns if `turned`; returns its span: the last line has
 * no gap behind it, so that reading there is an error that ASan sees. */
static inline int64_t strides(int64_t rows, int64_t cols, int turned, struct matrix *m) {
    int64_t gap = random_below(3) ? random_below(4) : 0, lines = turned ? cols : rows,
            line = turned ? rows : cols;
    m->row = turned ? 1 : line + gap;
    m->col = turned ? line + gap : 1;
    return lines ? (lines - 1) * (line + gap) + line : 0;
}

static inline struct matrix matrix_new(struct trial *t, const char *name, enum sy_dtype type, int64_t rows,
                                       int64_t cols, int turned, enum regime r, enum holds holds) {
    struct matrix m;
    int64_t span = strides(rows, cols, turned, &m);
    m.buf = buffer_new(t, name, type, span, r, holds);
    return m;
}

static inline struct sy_mat mat(const struct trial *t, struct matrix m) {
    return (struct sy_mat){t->buf[m.buf].got, t->buf[m.buf].t, m.row, m.col};
}
static inline float want(const struct trial *t, struct matrix m, int64_t i, int64_t j) {
    return want_at(t, m.buf, i * m.row + j * m.col);
}
static inline void expect(struct trial *t, struct matrix m, int64_t i, int64_t j, float v) {
    want_set(t, m.buf, i * m.row + j * m.col, v);
}

/* The call's `view` of groups right-hand sides [k, n]. */
static inline struct operand *operand_new(struct trial *t, int64_t groups, int64_t k, int64_t n,
                                          enum regime r, struct sy_operand *view) {
    struct operand *o = &t->operand[t->n_operands++];
    *o = (struct operand){.groups = groups, .k = k, .n = n, .view = view};
    int64_t span = strides(k, n, (int)random_below(2), &o->m);
    o->step = span + random_below(3);
    o->m.buf = buffer_new(t, "w", t->stored, groups ? (groups - 1) * o->step + span : 0, r, VALUES);
    *view = (struct sy_operand){.m = mat(t, o->m), .step = o->step};
    return o;
}

/* [k, n] of a group. Owned by the caller. */
static inline float *operand_values(const struct trial *t, const struct operand *o, int64_t group) {
    float *v = must_alloc((size_t)(o->k * o->n) * sizeof *v);
    for (int64_t i = 0; i < o->k; i++)
        for (int64_t j = 0; j < o->n; j++)
            v[i * o->n + j] = want_at(t, o->m.buf, group * o->step + i * o->m.row + j * o->m.col);
    return v;
}

static inline void trial_free(struct trial *t) {
    for (int i = 0; i < t->n; i++) {
        free(t->buf[i].first);
        free(t->buf[i].got);
        free(t->buf[i].want);
    }
}

/* --- rows of groups and segments ------------------------------------------------------------------------ */

struct layout {
    struct sy_rows rows;
    int64_t used; /* rows that there are */
    int64_t *offset, *count, *n_tiles;
    struct sy_tile *tile;
};

static inline struct layout layout_dense(int64_t sequences, int64_t each) {
    struct layout l = {.rows = sy_rows_dense(sequences, sequences * each), .used = sequences * each};
    l.count = must_alloc((size_t)sequences * sizeof *l.count);
    for (int64_t s = 0; s < sequences; s++)
        l.count[s] = each;
    return l;
}

/* Segments of up to `most` rows, some groups and segments empty, starting at multiples of `multiple`; the
 * bounds are not reached. */
static inline struct layout layout_grouped(int64_t groups, int64_t sequences, int64_t most,
                                           int64_t multiple) {
    int64_t bins = groups * sequences, at = 0;
    struct layout l = {.offset = must_alloc((size_t)(bins + 1) * sizeof(int64_t)),
                       .count = must_alloc((size_t)bins * sizeof(int64_t)),
                       .n_tiles = must_alloc(sizeof(int64_t))};
    int64_t none = random_below(groups + 1); /* this group is empty */
    for (int64_t i = 0; i < bins; i++) {
        l.offset[i] = at;
        l.count[i] = i / sequences == none || random_below(4) == 0 ? 0 : random_below(most + 1);
        at += (l.count[i] + multiple - 1) / multiple * multiple;
    }
    l.offset[bins] = l.used = at;
    int64_t max_rows = at + random_below(20), max_tiles = max_rows / SY_TILE_ROWS + groups;
    l.tile = must_alloc((size_t)max_tiles * sizeof *l.tile);
    *l.n_tiles = 0;
    for (int64_t g = 0; g < groups; g++)
        for (int64_t r = l.offset[g * sequences]; r < l.offset[(g + 1) * sequences]; r += SY_TILE_ROWS)
            l.tile[(*l.n_tiles)++] = (struct sy_tile){g, r};
    assert_true(*l.n_tiles <= max_tiles);
    l.rows = (struct sy_rows){groups, sequences, max_rows, l.offset, l.tile, l.n_tiles};
    return l;
}

/* Dense rows half the time. */
static inline struct layout layout_random(int64_t most) {
    if (random_below(2))
        return layout_dense(1 + random_below(3), random_below(most / 2 + 1));
    return layout_grouped(1 + random_below(5), 1 + random_below(3), most / 3 + 1, random_below(2) ? 16 : 1);
}

static inline void layout_free(struct layout *l) {
    free(l->offset);
    free(l->count);
    free(l->tile);
    free(l->n_tiles);
}

static inline int64_t segment_start(const struct layout *l, int64_t g, int64_t s) {
    return l->offset ? l->offset[g * l->rows.sequences + s] : s * (l->rows.max_rows / l->rows.sequences);
}
static inline int64_t group_of(const struct layout *l, int64_t row) {
    int64_t g = 0;
    while (l->offset && row >= l->offset[(g + 1) * l->rows.sequences])
        g++;
    return g;
}

/* Values of a [max_rows, cols] matrix that nothing may read: beyond the last row. With `padding`, rows of
 * padding are +0. */
static inline void mark_rows(struct trial *t, const struct layout *l, struct matrix m, int64_t cols,
                             int padding) {
    for (int64_t i = l->used; i < l->rows.max_rows; i++)
        for (int64_t j = 0; j < cols; j++)
            first_set(t, m.buf, i * m.row + j * m.col, from_bits(0x7fc00000u));
    for (int64_t b = 0; padding && l->offset && b < l->rows.groups * l->rows.sequences; b++)
        for (int64_t i = l->offset[b] + l->count[b]; i < l->offset[b + 1]; i++)
            for (int64_t j = 0; j < cols; j++)
                first_set(t, m.buf, i * m.row + j * m.col, 0.0f);
}

/* --- where it runs -------------------------------------------------------------------------------------- */

static inline void pack_operand(const struct sy_exec *x, struct operand *o) {
    size_t bytes = x->ops->pack_bytes(x, o->view->m, o->k, o->n);
    if (bytes == 0 || o->groups == 0)
        return;
    int64_t step = (int64_t)(bytes + 63) / 64 * 64 + random_below(2) * 64;
    o->packed = aligned_alloc(64, (size_t)(o->groups * step));
    assert_non_null(o->packed);
    memset(o->packed, 0xff, (size_t)(o->groups * step));
    x->ops->pack(x, &(struct sy_pack){o->groups, o->k, o->n, *o->view, o->packed, step});
    size_t span = (size_t)((o->groups - 1) * o->step + (o->k - 1) * o->m.row + (o->n - 1) * o->m.col + 1) *
                  sy_dtype_bytes(x->dtype);
    o->spoilt = must_alloc(span);
    memset(o->spoilt, 0xff, span);
    o->view->m.data = o->spoilt;
    o->view->packed = o->packed;
    o->view->packed_step = step;
}

static inline void unpack_operand(const struct trial *t, struct operand *o) {
    free(o->packed);
    free(o->spoilt);
    o->packed = o->spoilt = NULL;
    *o->view = (struct sy_operand){.m = mat(t, o->m), .step = o->step};
}

static inline void compare(const struct trial *t, const char *where) {
    for (int k = 0; k < t->n; k++) {
        const struct buffer *b = &t->buf[k];
        for (int64_t i = 0; i < b->n; i++) {
            float expected = get(b->t, b->want, i), is = get(b->t, b->got, i);
            if (!same(expected, is) && !(b->workspace && same(get(b->t, b->first, i), is)))
                fail_msg("%s: %s[%lld] is %08x, must be %08x", where, b->name, (long long)i, bits_of(is),
                         bits_of(expected));
        }
    }
}

static inline void run_once(struct trial *t, const struct sy_exec *x, int packed) {
    for (int i = 0; i < t->n; i++)
        memcpy(t->buf[i].got, t->buf[i].first, bytes_of(&t->buf[i]));
    for (int i = 0; packed && i < t->n_operands; i++)
        pack_operand(x, &t->operand[i]);
    t->run(x, t->op);
    for (int i = 0; packed && i < t->n_operands; i++)
        unpack_operand(t, &t->operand[i]);
}

static inline void run_everywhere(struct trial *t, const char *what) {
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const char *why;
        const struct sy_ops *ops = is_of_run(tier, (int)t->cls) ? sy_ops_tier(tier, &why) : NULL;
        for (int threads = 1; ops && threads <= 3; threads++) {
            struct sy_exec x = exec_open(ops, t->cls, threads, 64, 64);
            for (int packed = 0; packed < (t->n_operands ? 2 : 1); packed++) {
                char where[160];
                snprintf(where, sizeof where, "%s, %s, tier %s, %d threads%s", what, sy_class_name(t->cls),
                         ops->tier, threads, packed ? ", packed" : "");
                run_once(t, &x, packed);
                compare(t, where);
            }
            exec_close(&x);
        }
    }
}

/* --- the definition ------------------------------------------------------------------------------------- */

/* Row i of x [., k], and a chain of it over column j of w [k, n]. */
static inline void row_values(const struct trial *t, struct matrix x, int64_t i, int64_t k, float *out) {
    for (int64_t p = 0; p < k; p++)
        out[p] = want(t, x, i, p);
}

#endif
