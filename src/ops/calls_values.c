/* Shapes and values of made-up calls: see calls_make.h. */
#include <assert.h>
#include <math.h>

#include "base/fmath.h"
#include "base/rng.h"
#include "ops/calls_make.h"

static uint64_t next(uint64_t *state) { return sy_mix64(*state += 0x9e3779b97f4a7c15u); }

int64_t sy_make_below(struct sy_make *m, int64_t n) {
    return n > 0 ? (int64_t)(next(&m->shape) >> 33) % n : 0;
}
int64_t sy_make_value_below(struct sy_make *m, int64_t n) {
    return n > 0 ? (int64_t)(next(&m->value) >> 33) % n : 0;
}

int64_t sy_make_side(struct sy_make *m, int64_t typical) {
    static const int64_t sides[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 130, 257};
    if (m->size == SY_CALL_TYPICAL)
        return typical;
    int64_t side = sides[sy_make_below(m, (int64_t)(sizeof sides / sizeof *sides))];
    return m->whole ? (side + 7) / 8 * 8 : side;
}

/* --- values --------------------------------------------------------------------------------------------- */

enum kind { PLAIN, WIDE, TINY, ZEROS, BIG, SPECIAL };

static float any(struct sy_make *m) {
    static const uint32_t zeros[] = {0, 0x80000000u, 0x3f800000u, 0xbf800000u,
                                     1, 0x80010000u, 0x007f0000u, 0x00800000u};
    static const uint32_t specials[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7f7fffffu};
    uint32_t u = (uint32_t)(next(&m->value) >> 32), rest = u & 0x807fffffu,
             pick = (uint32_t)(next(&m->value) >> 40);
    switch ((enum kind)m->kind) {
    case WIDE:
        return sy_f32_from_bits(rest | (60 + pick % 134) << 23);
    case TINY:
        return sy_f32_from_bits(rest | (pick % 12) << 23);
    case ZEROS:
        return sy_f32_from_bits(zeros[pick % 8]);
    case BIG:
        return sy_f32_from_bits(rest | (240 + pick % 15) << 23);
    case SPECIAL:
        if (pick % 24 == 0)
            return sy_f32_from_bits(specials[u % 4]);
        break;
    case PLAIN:
        break;
    }
    return sy_f32_from_bits(rest | (108 + pick % 21) << 23);
}

static float unit(struct sy_make *m) { return (float)(next(&m->value) >> 40) * 0x1p-24f; }

static float logit(struct sy_make *m) {
    float v = 8.0f * unit(m) - 4.0f;
    if (m->kind == ZEROS)
        return (float)(sy_make_value_below(m, 3) - 1) * (sy_make_value_below(m, 2) ? 1.0f : -1.0f);
    if (m->kind == SPECIAL && sy_make_value_below(m, 40) == 0)
        return NAN;
    return m->kind == BIG ? 60.0f * v : m->kind == TINY ? 1e-30f * v : m->kind == WIDE ? 1e36f * v : v;
}

float sy_make_value(struct sy_make *m, enum sy_holds holds) {
    float v = holds == SY_HOLDS_SHARES ? unit(m) : holds == SY_HOLDS_LOGITS ? logit(m) : any(m);
    if (holds == SY_HOLDS_SUMS)
        return v + 0.0f;
    return holds == SY_HOLDS_SQUARES ? fabsf(v) : v;
}

/* --- memory --------------------------------------------------------------------------------------------- */

void *sy_make_take(struct sy_make *m, const char *name, enum sy_words words, int64_t n, size_t size) {
    char *p = sy_arena_take(m->arena, name, (size_t)n, size);
    struct sy_call *c = m->c;
    assert(c->n_regions < SY_CALL_REGIONS &&
           (p != NULL) == m->filling); /* no shape hangs on what has memory */
    c->region[c->n_regions++] =
        (struct sy_call_region){name, words, m->filling ? (size_t)(p - m->arena->base) : 0,
                                words == SY_WORDS_BYTES ? n * (int64_t)size : n};
    return p;
}

void *sy_make_host(const struct sy_make *m, const void *p) {
    return m->filling ? m->c->image + ((const char *)p - m->arena->base) : NULL;
}

static void fill(struct sy_make *m, enum sy_dtype t, int64_t n, enum sy_holds holds, void *host) {
    for (int64_t i = 0; m->filling && i < n; i++) {
        float v = sy_make_value(m, holds);
        if (t == SY_F32)
            ((float *)host)[i] = v;
        else
            ((uint16_t *)host)[i] = (uint16_t)(sy_f32_bits(v) >> 16);
    }
}

static void *numbers(struct sy_make *m, const char *name, enum sy_dtype t, int64_t n, enum sy_holds holds) {
    void *p = sy_make_take(m, name, t == SY_F32 ? SY_WORDS_F32 : SY_WORDS_BF16, n, sy_dtype_bytes(t));
    fill(m, t, n, holds, sy_make_host(m, p));
    return p;
}

float *sy_make_f32(struct sy_make *m, const char *name, int64_t n, enum sy_holds holds) {
    return numbers(m, name, SY_F32, n, holds);
}

int32_t *sy_make_i32(struct sy_make *m, const char *name, int64_t n, int64_t below) {
    int32_t *p = sy_make_take(m, name, SY_WORDS_BYTES, n, sizeof *p), *host = sy_make_host(m, p);
    for (int64_t i = 0; m->filling && i < n; i++)
        host[i] = (int32_t)sy_make_value_below(m, below);
    return p;
}

int64_t *sy_make_i64(struct sy_make *m, const char *name, int64_t n, int64_t value) {
    int64_t *p = sy_make_take(m, name, SY_WORDS_BYTES, n, sizeof *p), *host = sy_make_host(m, p);
    for (int64_t i = 0; m->filling && i < n; i++)
        host[i] = value;
    return p;
}

/* Each expert is taken with the chance that is left; by seed the first has all that it can. */
int32_t *sy_make_ids(struct sy_make *m, int64_t tokens, int64_t experts, int64_t top_k) {
    int skew = sy_make_coin(m);
    int32_t *p = sy_make_i32(m, "ids", tokens * top_k, 1), *host = sy_make_host(m, p);
    for (int64_t t = 0; m->filling && t < tokens; t++) {
        int64_t n = 0;
        for (int64_t e = 0; e < experts && n < top_k; e++)
            if ((skew && e == 0) || sy_make_value_below(m, experts - e) < top_k - n)
                host[t * top_k + n++] = (int32_t)e;
    }
    return p;
}

struct sy_mat sy_make_mat(struct sy_make *m, const char *name, enum sy_dtype t, int64_t rows, int64_t cols,
                          enum sy_holds holds) {
    int64_t row = (m->whole ? (cols + 7) / 8 * 8 : cols) + sy_make_gap(m);
    return sy_mat_of(numbers(m, name, t, rows * row, holds), t, row);
}

struct sy_mat sy_make_any_mat(struct sy_make *m, const char *name, int64_t rows, int64_t cols) {
    return sy_make_mat(m, name, sy_make_coin(m) ? SY_F32 : m->x->dtype, rows, cols, SY_HOLDS_ANY);
}

static struct sy_heads heads_of(struct sy_make *m, const char *name, int64_t tokens, int64_t token,
                                int64_t head) {
    return (struct sy_heads){numbers(m, name, m->x->dtype, tokens * token, SY_HOLDS_ANY), m->x->dtype, token,
                             head};
}

struct sy_heads sy_make_heads(struct sy_make *m, const char *name, int64_t tokens, int64_t heads, int64_t d) {
    int64_t head = d + sy_make_gap(m), token = heads * head + sy_make_gap(m);
    return heads_of(m, name, tokens, token, head);
}

struct sy_heads sy_make_heads_by_8(struct sy_make *m, const char *name, int64_t tokens, int64_t heads,
                                   int64_t d) {
    int64_t head = d + 8 * sy_make_gap(m), token = heads * head + 8 * sy_make_gap(m);
    return heads_of(m, name, tokens, token, head);
}
