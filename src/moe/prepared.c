/* Prepared expert weights: see prepared.h. */
#include "moe/prepared.h"

void sy_prepared_take(struct sy_arena *a, enum sy_dtype t, int64_t experts, int64_t d, int64_t f, struct sy_prepared *p) {
    *p = (struct sy_prepared){0};
    p->w13_t = sy_take_mat(a, "prepared experts", experts * d, 2 * f, t);
    p->w2_t = sy_take_mat(a, "prepared experts", experts * f, d, t);
}

struct transpose {
    int64_t experts, rows, cols, from_step;
    struct sy_mat from, to; /* [rows, cols] row-major; [cols, rows] */
};

/* Columns i0..i1-1 of `to` from rows i0..i1-1 of `from`, in squares, so that what is read and what is written stay in cache.
 * Bits move; nothing is computed. */
enum { SQUARE = 32 };
static void strip16(const struct transpose *t, int64_t i0, int64_t i1, const uint16_t *from, uint16_t *to) {
    for (int64_t j0 = 0; j0 < t->cols; j0 += SQUARE)
        for (int64_t j = j0; j < j0 + SQUARE && j < t->cols; j++)
            for (int64_t i = i0; i < i1; i++)
                to[j * t->rows + i] = from[i * t->from.row + j];
}
static void strip32(const struct transpose *t, int64_t i0, int64_t i1, const uint32_t *from, uint32_t *to) {
    for (int64_t j0 = 0; j0 < t->cols; j0 += SQUARE)
        for (int64_t j = j0; j < j0 + SQUARE && j < t->cols; j++)
            for (int64_t i = i0; i < i1; i++)
                to[j * t->rows + i] = from[i * t->from.row + j];
}

static void transpose_part(void *arg, int thread, int n_threads) {
    const struct transpose *t = arg;
    int64_t lo, hi, strips = (t->rows + SQUARE - 1) / SQUARE;
    sy_range(t->experts * strips, 1, thread, n_threads, &lo, &hi);
    for (int64_t s = lo; s < hi; s++) {
        int64_t e = s / strips, i0 = s % strips * SQUARE, i1 = i0 + SQUARE < t->rows ? i0 + SQUARE : t->rows;
        const void *from = sy_at(t->from.data, t->from.dtype, e * t->from_step);
        void *to = sy_at(t->to.data, t->to.dtype, e * t->rows * t->cols);
        if (t->from.dtype == SY_F32)
            strip32(t, i0, i1, from, to);
        else
            strip16(t, i0, i1, from, to);
    }
}

/* Brings `made` to `version`: 1 if it was there. */
static int refresh(const struct sy_exec *x, struct transpose t, int64_t version, int64_t *made) {
    int hit = *made == version;
    if (!hit)
        sy_pool_run(x->pool, transpose_part, &t);
    *made = version;
    return hit;
}

static int is_cached(const struct sy_prepared *p, int64_t version) { return p && p->w13_t.data && version != 0; }

struct sy_expert_operand sy_prepared_w13(const struct sy_exec *x, int64_t experts, const struct sy_expert_weights *w,
                                         int64_t version, struct sy_prepared *p, struct sy_moe_counters *counters) {
    if (!is_cached(p, version))
        return (struct sy_expert_operand){sy_mat_t(w->w13), w->w13_step};
    struct transpose t = {experts, 2 * w->f, w->d, w->w13_step, w->w13, p->w13_t};
    int hit = refresh(x, t, version, &p->w13_version);
    counters->cached_w13_hit += hit;
    counters->cached_w13_miss += !hit;
    return (struct sy_expert_operand){p->w13_t, 2 * w->f * w->d};
}

struct sy_expert_operand sy_prepared_w2(const struct sy_exec *x, int64_t experts, const struct sy_expert_weights *w,
                                        int64_t version, struct sy_prepared *p, struct sy_moe_counters *counters) {
    if (!is_cached(p, version))
        return (struct sy_expert_operand){sy_mat_t(w->w2), w->w2_step};
    struct transpose t = {experts, w->d, w->f, w->w2_step, w->w2, p->w2_t};
    int hit = refresh(x, t, version, &p->w2_version);
    counters->cached_w2t_hit += hit;
    counters->cached_w2t_miss += !hit;
    return (struct sy_expert_operand){p->w2_t, w->f * w->d};
}
