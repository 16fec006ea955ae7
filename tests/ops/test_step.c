/* The end of a step: norm, judge, AdamW on lists of tensors with its copy and digest, expert biases, digest,
 * cast, init. Each op of every tier, class and number of threads with == against its formula in NUMERICS 2 to
 * 6; laws, known values, and wrong orders that must show.
 */
#include "base/rng.h"
#include "ops_harness.h"

static int finite_f32(float x) { return x - x == 0.0f; }

/* Pieces of n elements for a list: unequal, an empty one among them. Returns how many. */
enum { PIECES = 4 };
static int pieces(int64_t n, int64_t *first, int64_t *size) {
    int64_t at = 0;
    for (int i = 0; i < PIECES; i++) {
        size[i] = i == PIECES - 1 ? n - at : i == 1 ? 0 : below(n - at + 1);
        first[i] = at;
        at += size[i];
    }
    return PIECES;
}

/* --- norm ----------------------------------------------------------------------------------------------- */

static double block_definition(const float *x, int64_t n) {
    double lane[16] = {0};
    for (int64_t i = 0; i < n; i++) {
        double square = (double)x[i] * (double)x[i];
        lane[i % 16] = lane[i % 16] + square;
    }
    for (int h = 8; h > 0; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] = lane[j] + lane[j + h];
    return lane[0];
}

/* Blocks of 1024 from the start of each item; what else the tally holds stays. */
static void norm(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t n = rows * d, first[PIECES], size[PIECES];
    struct buf x = buf_new(l, "x", SY_F32, n, r);
    struct sy_tally tally = {.loss = 3, .n_bad_gradient = 5, .bad_token = 77}, want;
    sy_exact_add(&tally.norm, 0x1p-30);
    want = tally;
    struct sy_norm_item item[PIECES];
    pieces(n, first, size);
    for (int i = 0; i < PIECES; i++) {
        const float *part = (const float *)x.want + first[i];
        item[i] = (struct sy_norm_item){size[i], (float *)x.got + first[i]};
        for (int64_t at = 0; at < size[i]; at += 1024)
            sy_exact_add(&want.norm, block_definition(part + at, size[i] - at < 1024 ? size[i] - at : 1024));
        for (int64_t at = 0; at < size[i]; at++)
            want.n_bad_gradient += !finite_f32(part[at]);
    }
    l->x.ops->norm(&l->x, &(struct sy_norm){item, PIECES, &tally});
    if (memcmp(&tally, &want, sizeof tally) != 0)
        fail_msg("norm: %.17g and %lld, the definition says %.17g and %lld: tier %s, %d threads",
                 sy_exact_round(&tally.norm), (long long)tally.n_bad_gradient, sy_exact_round(&want.norm),
                 (long long)want.n_bad_gradient, l->x.ops->tier, l->threads);
    lab_check(l, "norm");
}

/* Negative control: the order inside a block of squares shows, and so do blocks of another size. */
static void test_square_order_shows(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    static float x[4096];
    int order = 0, longer = 0;
    for (int i = 0; i < 4096; i++)
        x[i] = random_value(PLAIN);
    for (int64_t n = 600; n <= 4096; n += 38) {
        struct sy_tally tally = sy_tally_empty;
        l.x.ops->norm(&l.x, &(struct sy_norm){&(struct sy_norm_item){n, x}, 1, &tally});
        double out = sy_exact_round(&tally.norm), plain = 0, one_block = block_definition(x, n);
        for (int64_t i = 0; i < n; i++)
            plain += (double)x[i] * (double)x[i];
        assert_true(fabs(out - plain) < 1e-12 * plain && (out == one_block || n > 1024));
        order += out != plain;
        longer += out != one_block;
    }
    assert_true(order > 20 && longer > 20);
    lab_close(&l);
}

/* --- the verdict ---------------------------------------------------------------------------------------- */

static struct sy_verdict judged(struct lab *l, const struct sy_tally *tally, double max_norm) {
    struct sy_scalars scalars = {.max_norm = max_norm};
    struct sy_verdict v;
    memset(&v, 0x7b, sizeof v);
    l->x.ops->judge(&l->x, &(struct sy_judge){tally, &scalars, &v});
    assert_true(v.digest[0] == 0 && v.digest[1] == 0);
    return v;
}

/* One count that is not finite, in any place, refuses the step; the batched passes do not. */
static void judgements(struct lab *l) {
    struct sy_tally good = sy_tally_empty, t;
    sy_exact_add(&good.norm, 9.0);
    good.loss = 1;
    good.n_valid = 4;
    good.batched = 3;
    good.router_loss[0] = good.router_loss[1] = 8;
    struct sy_verdict v = judged(l, &good, 1.0);
    assert_true(v.apply == 1 && v.norm == 3.0 && v.clip == (float)(1.0 / (3.0 + 1e-6)));
    v = judged(l, &good, 5.0);
    assert_true(v.apply == 1 && v.clip == 1.0f);
    for (int i = 0; i < 8; i++) {
        t = good;
        t.n_bad += i == 0;
        t.n_bad_router += i == 1;
        t.n_bad_gradient += i == 2;
        t.bad_token = i == 3 ? 0 : t.bad_token;
        t.changed[0] = i == 4 ? 0 : t.changed[0];
        t.overflow = i == 7;
        sy_exact_add(&t.norm, i == 5 ? INFINITY : i == 6 ? NAN : 0.0);
        assert_int_equal(judged(l, &t, 1.0).apply, 0);
    }
    t = sy_tally_empty; /* no gradient at all */
    v = judged(l, &t, 1.0);
    assert_true(v.apply == 1 && v.norm == 0.0 && v.clip == 1.0f);
}

static void test_judge(void **state) {
    (void)state;
    labs_each(judgements);
}

/* --- digest --------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void def_digest(uint64_t id, uint64_t first, int64_t n, const float *x, uint64_t sum[2]) {
    for (int64_t i = 0; i < n; i++)
        for (uint64_t salt = 1; salt <= 2; salt++) {
            uint64_t bits = x[i] != x[i] ? 0x7fc00000u : bits_of(x[i]);
            sum[salt - 1] += mix((mix(id + salt) + (first + (uint64_t)i) * 0x9e3779b97f4a7c15u) ^ bits);
        }
}

static void digest(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t n = rows * d, first[PIECES], size[PIECES];
    struct buf x = buf_new(l, "x", SY_F32, n, r);
    struct sy_digest_item item[PIECES];
    uint64_t sum[2] = {5, 7}, want[2] = {5, 7};
    pieces(n, first, size);
    for (int i = 0; i < PIECES; i++) {
        item[i] =
            (struct sy_digest_item){size[i], random_bits(), random_bits() >> 20, (float *)x.got + first[i]};
        def_digest(item[i].id, item[i].first, size[i], (float *)x.want + first[i], want);
    }
    l->x.ops->digest(&l->x, &(struct sy_digest_of){item, PIECES, sum});
    assert_memory_equal(sum, want, sizeof sum);
    lab_check(l, "digest");
}

/* --- AdamW ---------------------------------------------------------------------------------------------- */

static float normal_or_zero(float x) { return fabsf(x) < 0x1p-126f ? 0.0f : x; }

static void def_adamw(const struct lab *l, const struct sy_scalars *c, float clip, int64_t i, struct buf g,
                      struct buf m, struct buf v, struct buf w, struct buf copy) {
    float gi = clip * take(g, i), mi = normal_or_zero(fmaf(c->b1, take(m, i), c->one_b1 * gi));
    float vi = normal_or_zero(fmaf(c->b2, take(v, i), (c->one_b2 * gi) * gi));
    float q = (mi * c->c1) / (sqrtf(vi * c->c2) + c->eps);
    put(l, m, i, mi);
    put(l, v, i, vi);
    put(l, w, i, fmaf(-c->lr, fmaf(c->wd, take(w, i), q), take(w, i)));
    put(l, copy, i, take(w, i));
}

/* A list of pieces of four buffers; the copy in the stored type, or the master itself in class fp32.
 * Refused: nothing moves. The digest of the masters, as they are after, is added in any case. */
static void adamw(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t n = rows * d, first[PIECES], size[PIECES];
    struct buf g = buf_new(l, "g", SY_F32, n, r), w = buf_new(l, "w", SY_F32, n, PLAIN);
    struct buf m = buf_new(l, "m", SY_F32, n, r), v = buf_new(l, "v", SY_F32, n, r);
    int itself = l->x.dtype == SY_F32 && below(2);
    struct buf copy = itself ? w : buf_new(l, "stored", l->x.dtype, n, PLAIN);
    for (int64_t i = 0; i < n; i++)
        set_both(v, i, fabsf(take(v, i)));
    struct sy_scalars scalars = {.lr = 8e-4f,
                                 .b1 = 0.9f,
                                 .one_b1 = 0.1f,
                                 .b2 = 0.95f,
                                 .one_b2 = 0.05f,
                                 .c1 = 1.9f,
                                 .c2 = 3.3f,
                                 .eps = 1e-8f,
                                 .wd = below(2) ? 0.1f : 0.0f};
    struct sy_verdict verdict = {.norm = 2.0, .clip = 0.7f, .apply = below(4) > 0, .digest = {9, 11}},
                      want = verdict;
    struct sy_adamw_item item[PIECES];
    pieces(n, first, size);
    for (int i = 0; i < PIECES; i++)
        item[i] = (struct sy_adamw_item){.n = size[i],
                                         .id = random_bits(),
                                         .first = random_bits() >> 20,
                                         .g = (float *)g.got + first[i],
                                         .m = (float *)m.got + first[i],
                                         .v = (float *)v.got + first[i],
                                         .w = (float *)w.got + first[i],
                                         .stored = sy_at(copy.got, copy.t, first[i]),
                                         .frozen = below(5) == 0,
                                         .grouped = below(2),
                                         .lr_factor = (float)below(4) * 0.3f,
                                         .wd = (float)below(3) * 0.07f};
    l->x.ops->adamw(&l->x, &(struct sy_adamw){item, PIECES, &scalars, &verdict});
    for (int k = 0; verdict.apply && k < PIECES; k++) {
        struct sy_scalars own = scalars;
        own.lr = item[k].grouped ? scalars.lr * item[k].lr_factor : scalars.lr;
        own.wd = item[k].grouped ? item[k].wd : scalars.wd;
        for (int64_t i = first[k]; !item[k].frozen && i < first[k] + size[k]; i++)
            def_adamw(l, &own, verdict.clip, i, g, m, v, w, copy);
    }
    for (int i = 0; i < PIECES; i++)
        def_digest(item[i].id, item[i].first, size[i], (float *)w.want + first[i], want.digest);
    assert_memory_equal(&verdict, &want, sizeof want);
    lab_check(l, "adamw");
}

static void update(struct lab *l, int64_t n, const struct sy_scalars *c, const float *g, float *m, float *v,
                   float *w) {
    struct sy_verdict verdict = {.clip = 1.0f, .apply = 1};
    struct sy_adamw_item item = {.n = n, .g = g, .m = m, .v = v, .w = w, .stored = w};
    l->x.ops->adamw(&l->x, &(struct sy_adamw){&item, 1, c, &verdict});
}

/* Five steps against the textbook in double precision. */
static void test_adamw_in_double(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    float g[65], m[65] = {0}, v[65] = {0}, w[65];
    double dm[65] = {0}, dv[65] = {0}, dw[65], b1 = 1, b2 = 1, error = 0;
    for (int i = 0; i < 65; i++)
        dw[i] = w[i] = uniform();
    for (int step = 0; step < 5; step++) {
        b1 *= 0.9;
        b2 *= 0.95;
        for (int i = 0; i < 65; i++) {
            g[i] = uniform();
            dm[i] = 0.9 * dm[i] + 0.1 * g[i];
            dv[i] = 0.95 * dv[i] + 0.05 * g[i] * g[i];
            dw[i] -= 1e-2 * (0.1 * dw[i] + dm[i] / (1 - b1) / (sqrt(dv[i] / (1 - b2)) + 1e-8));
        }
        struct sy_scalars c = {.lr = 1e-2f,
                               .b1 = 0.9f,
                               .one_b1 = 0.1f,
                               .b2 = 0.95f,
                               .one_b2 = 0.05f,
                               .c1 = (float)(1 / (1 - b1)),
                               .c2 = (float)(1 / (1 - b2)),
                               .eps = 1e-8f,
                               .wd = 0.1f};
        update(&l, 65, &c, g, m, v, w);
    }
    for (int i = 0; i < 65; i++)
        error = fmax(error, fabs(w[i] - dw[i]));
    assert_true(error < 1e-6);
    lab_close(&l);
}

/* A weight without gradient or moments only decays; without decay too, it does not move. Below 2^-126
 * moments become +0. */
static void test_adamw_at_rest(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    float g[3] = {0.0f, -0.0f, -0x1p-126f}, w[3] = {3, -3, 5};
    float m[3] = {0.0f, -0x1p-126f, 0.0f}, v[3] = {0.0f, 0x1p-126f, 0.0f};
    struct sy_scalars c = {.lr = 0.5f,
                           .b1 = 0.9f,
                           .one_b1 = 0.1f,
                           .b2 = 0.95f,
                           .one_b2 = 0.05f,
                           .c1 = 10.0f,
                           .c2 = 20.0f,
                           .eps = 1e-8f};
    update(&l, 2, &c, g, m, v, w);
    for (int i = 0; i < 2; i++)
        assert_true(bits_of(m[i]) == 0 && bits_of(v[i]) == 0 && w[i] == (i ? -3.0f : 3.0f));
    c.wd = 0.5f;
    update(&l, 2, &c, g, m, v, w);
    assert_true(w[0] == 2.25f && w[1] == -2.25f);
    c.wd = 0.0f;
    update(&l, 1, &c, g + 2, m + 2, v + 2, w + 2); /* 0.1 of the gradient is subnormal */
    assert_true(bits_of(m[2]) == 0 && bits_of(v[2]) == 0 && w[2] == 5.0f);
    m[2] = -0x1p-126f; /* the least that is kept, of either sign */
    v[2] = 0x1p-126f;
    c.b1 = c.one_b1 = 0.5f;
    c.b2 = 1.0f;
    c.one_b2 = 0.0f;
    update(&l, 1, &c, g + 2, m + 2, v + 2, w + 2);
    assert_true(m[2] == -0x1p-126f && v[2] == 0x1p-126f);
    lab_close(&l);
}

/* --- expert biases -------------------------------------------------------------------------------------- */

static void biases(struct lab *l) {
    enum { LAYERS = 3, MOST = 70 };
    for (int round = 0; round < 40; round++) {
        int64_t experts = 1 + below(MOST), counts[LAYERS][MOST], routes = 0;
        float bias[LAYERS][MOST], want[LAYERS][MOST];
        const int64_t *counts_of[LAYERS] = {counts[0], counts[1], counts[2]};
        float *bias_of[LAYERS] = {bias[0], bias[1], bias[2]};
        double coeff = 1e-3 * (1.0 + (double)uniform());
        int center = (int)below(2), apply = below(4) > 0;
        struct sy_verdict verdict = {.apply = apply};
        for (int64_t e = 0; e < experts; e++)
            routes += counts[0][e] = counts[1][e] = counts[2][e] = below(9);
        counts[1][0] += 2;
        counts[2][experts - 1] += 5;
        for (int q = 0; q < LAYERS; q++) {
            int64_t sum = 0, sign[MOST];
            for (int64_t e = 0; e < experts; e++) {
                int64_t behind = routes - counts[q][e] * experts;
                sum += sign[e] = behind > 0 ? 1 : behind < 0 ? -1 : 0;
            }
            for (int64_t e = 0; e < experts; e++) {
                double part = center ? coeff * (double)(sign[e] * experts - sum) / (double)experts
                                     : coeff * (double)sign[e];
                bias[q][e] = uniform();
                want[q][e] = apply ? bias[q][e] + (float)part : bias[q][e];
            }
        }
        struct sy_expert_bias op = {experts, routes, LAYERS, counts_of, bias_of, coeff, center, &verdict};
        if (apply && below(2))
            op.verdict = NULL; /* it applies */
        l->x.ops->expert_bias(&l->x, &op);
        for (int q = 0; q < LAYERS; q++)
            assert_memory_equal(bias[q], want[q], (size_t)experts * sizeof(float));
    }
}

static void test_expert_bias(void **state) {
    (void)state;
    labs_each(biases);
}

/* --- casts ---------------------------------------------------------------------------------------------- */

/* A list: pieces of one buffer, an empty one among them; what lies behind them stays. */
static void cast(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t n = rows * d, cut = below(n + 1), end = cut + below(n - cut + 1);
    struct buf x = buf_new(l, "x", SY_F32, n, r), c = buf_new(l, "cast", l->x.dtype, n, PLAIN);
    float *from = x.got;
    struct sy_cast_item item[3] = {
        {end - cut, from + cut, sy_at(c.got, l->x.dtype, cut)}, {0, NULL, NULL}, {cut, from, c.got}};
    l->x.ops->cast(&l->x, &(struct sy_cast){item, 3});
    for (int64_t i = 0; i < end; i++)
        put(l, c, i, take(x, i));
    lab_check(l, "cast");
}

/* Ties go to even, a carry reaches the exponent, subnormals are flushed in class x86 alone. */
static void casts(struct lab *l) {
    static const float from[] = {0x1.01p0f,        0x1.03p0f,       0x1.010002p0f, -0x1.01p0f,
                                 0x1.ffp0f,        0x1.fffffep127f, 0x1p-130f,     -0x1p-130f,
                                 0x1.fffffep-127f, 0x1p-149f,       INFINITY,      -0.0f};
    static const uint16_t to[] = {0x3f80, 0x3f82, 0x3f81, 0xbf80, 0x4000, 0x7f80,
                                  0x0008, 0x8008, 0x0080, 0,      0x7f80, 0x8000};
    enum { N = sizeof from / sizeof *from };
    static const uint32_t nan[] = {0x7f800001, 0xff800001, 0x7fffffff, 0xffffffff, 0x7fc00000};
    uint16_t out[N + 5];
    if (l->x.dtype == SY_F32)
        return;
    struct sy_cast_item item[2] = {{N, from, out}, {5, (const float *)(const void *)nan, out + N}};
    l->x.ops->cast(&l->x, &(struct sy_cast){item, 2});
    for (int i = 0; i < N; i++)
        if ((l->x.cls == SY_NUMERIC_X86 || l->x.cls == SY_NUMERIC_AMX) && fabsf(from[i]) < 0x1p-126f)
            assert_int_equal(out[i], signbit(from[i]) ? 0x8000 : 0);
        else
            assert_int_equal(out[i], to[i]);
    for (int i = N; i < N + 5; i++) /* none rounds to Inf or wraps to 0 */
        assert_true((out[i] & 0x7fff) > 0x7f80);
}

static void test_casts(void **state) {
    (void)state;
    labs_each(casts);
}

/* --- initial values ------------------------------------------------------------------------------------- */

/* Pieces of tensors, each a function of key and index; constants of any bits. */
static void init(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t n = rows * d, first[PIECES], size[PIECES];
    struct buf x = buf_new(l, "x", SY_F32, n, PLAIN);
    struct sy_init_item item[PIECES];
    pieces(n, first, size);
    for (int i = 0; i < PIECES; i++) {
        item[i] = (struct sy_init_item){.n = size[i],
                                        .first = below(1 << 20),
                                        .key = random_bits(),
                                        .sd = below(3) ? 0.02 : 0.0,
                                        .cut = below(2) ? 0.04 : 0.0,
                                        .constant = random_value(r),
                                        .out = (float *)x.got + first[i]};
        for (int64_t j = 0; j < size[i]; j++)
            put(l, x, first[i] + j,
                item[i].sd > 0 ? (float)sy_rng_normal_cut(item[i].key, (uint64_t)(item[i].first + j),
                                                          item[i].sd, item[i].cut)
                               : item[i].constant);
    }
    l->x.ops->init(&l->x, &(struct sy_init_values){item, PIECES});
    lab_check(l, "init");
}

/* A tensor in one item is the tensor in two; the cut cuts, the deviation is what it says. */
static void test_init_values(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { N = 20000 };
    static float whole[N], halves[N];
    double square = 0;
    struct sy_init_item one = {.n = N, .key = 5, .sd = 0.5, .cut = 1.0, .out = whole};
    struct sy_init_item two[2] = {
        {.n = 7001, .key = 5, .sd = 0.5, .cut = 1.0, .out = halves},
        {.n = N - 7001, .first = 7001, .key = 5, .sd = 0.5, .cut = 1.0, .out = halves + 7001}};
    l.x.ops->init(&l.x, &(struct sy_init_values){&one, 1});
    l.x.ops->init(&l.x, &(struct sy_init_values){two, 2});
    assert_memory_equal(whole, halves, sizeof whole);
    for (int i = 0; i < N; i++) {
        assert_true(fabsf(whole[i]) <= 1.0f);
        square += (double)whole[i] * (double)whole[i];
    }
    assert_true(fabs(sqrt(square / N) - 0.5 * 0.8796) < 0.01); /* a normal number cut at two deviations */
    one.cut = 0.0;
    one.out = halves;
    l.x.ops->init(&l.x, &(struct sy_init_values){&one, 1});
    assert_memory_not_equal(whole, halves, sizeof whole);
    lab_close(&l);
}

#define EACH(name)                                                     \
    static void name##_shapes(struct lab *l) { shapes_each(l, name); } \
    static void test_##name(void **state) {                            \
        (void)state;                                                   \
        labs_each(name##_shapes);                                      \
    }
EACH(norm)
EACH(digest)
EACH(adamw)
EACH(cast)
EACH(init)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm),          cmocka_unit_test(test_square_order_shows),
        cmocka_unit_test(test_judge),         cmocka_unit_test(test_digest),
        cmocka_unit_test(test_adamw),         cmocka_unit_test(test_adamw_in_double),
        cmocka_unit_test(test_adamw_at_rest), cmocka_unit_test(test_expert_bias),
        cmocka_unit_test(test_cast),          cmocka_unit_test(test_casts),
        cmocka_unit_test(test_init),          cmocka_unit_test(test_init_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
