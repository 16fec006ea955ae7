/* Cross entropy, sums down rows and over lanes, AdamW, casts: each op of every tier, class and number of threads with ==
 * against its formula in NUMERICS 2 to 4; what R64 and the integer sums promise; known values.
 */
#include "ops_harness.h"

static float row_a[LAB_MAX_ROW];

/* --- cross entropy ----------------------------------------------------------------------------------------------------- */

static int finite_f32(float x) { return x - x == 0.0f; }

/* One row with a label. Returns whether the loss counts. */
static int loss_of_row(int64_t v, const float *x, int32_t label, float w, float *dlogit, float *loss) {
    float m = -INFINITY, e[LAB_MAX_ROW];
    int finite = 1;
    for (int64_t i = 0; i < v; i++) {
        m = fmaxf(m, x[i]);
        finite = finite && finite_f32(x[i]);
    }
    for (int64_t i = 0; i < v; i++)
        e[i] = def_exp(x[i] - m);
    float z = def_v64(v, e, NULL);
    *loss = def_log(z) - (x[label] - m);
    for (int64_t i = 0; i < v; i++)
        dlogit[i] = (e[i] * (1.0f / z) - (i == label ? 1.0f : 0.0f)) * w;
    return finite && finite_f32(*loss);
}

static void cross_entropy(struct lab *l, int64_t rows, int64_t v, enum regime r) {
    int64_t row = v + below(3), with_grad = below(4), loss = 5, n_valid = 6, n_bad = 7;
    int64_t want_loss = 5, want_valid = 6, want_bad = 7;
    float w = 1.0f / (float)(1 + below(999)), scale = r == PLAIN && below(2) ? 40.0f : 1.0f, dlogit[LAB_MAX_ROW], nats;
    struct buf x = buf_new(l, "logits", SY_F32, rows * v, r), labels = buf_i32(l, "labels", rows);
    struct buf d = buf_new(l, "dlogits", l->x.dtype, rows * row, PLAIN);
    for (int64_t i = 0; i < x.n; i++)
        set_both(x, i, scale * take(x, i));
    for (int64_t t = 0; t < rows; t++)
        set_both_i32(labels, t, below(5) ? (int32_t)below(v) : -100);
    struct sy_mat none = {0};
    l->x.ops->cross_entropy(&l->x, &(struct sy_cross_entropy){rows, v, x.got, labels.got, w,
                                                              with_grad ? mat_of(d, row) : none, &loss, &n_valid, &n_bad});
    for (int64_t t = 0; t < rows; t++) {
        int32_t label = i32_of(labels.want)[t];
        if (label >= 0) {
            int good = loss_of_row(v, (float *)x.want + t * v, label, w, dlogit, &nats);
            want_valid++;
            if (good)
                want_loss += (int64_t)rint(fmin((double)nats, 4096.0) * 16777216.0);
            else
                want_bad++;
        }
        for (int64_t i = 0; with_grad && i < v; i++)
            put(l, d, t * row + i, label >= 0 ? dlogit[i] : 0.0f);
    }
    assert_int_equal(loss, want_loss);
    assert_int_equal(n_valid, want_valid);
    assert_int_equal(n_bad, want_bad);
    lab_check(l, "cross_entropy");
}

/* Equal logits cost ln V; a loss above 4096 counts as 4096; NaN and infinite logits are counted, not summed. */
static void test_cross_entropy_values(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    float x[5][4] = {{3, 3, 3, 3}, {0, -9000, 0, 0}, {1, NAN, 2, 3}, {1, -INFINITY, 2, 3}, {-3e38f, 3e38f, 0, 0}};
    int32_t labels[5] = {2, 1, 0, 0, 0};
    int64_t loss = 0, n_valid = 0, n_bad = 0;
    struct sy_cross_entropy op = {.rows = 1,
                                  .vocab = 4,
                                  .logits = x[0],
                                  .labels = labels,
                                  .w = 1.0f,
                                  .loss = &loss,
                                  .n_valid = &n_valid,
                                  .n_bad = &n_bad};
    l.x.ops->cross_entropy(&l.x, &op);
    assert_true(fabs((double)loss * 0x1p-24 - 1.3862943611198906) < 3e-7);
    loss = 0;
    op.logits = x[1];
    op.labels = labels + 1;
    l.x.ops->cross_entropy(&l.x, &op);
    assert_int_equal(loss, (int64_t)4096 << 24);
    assert_int_equal(n_bad, 0);
    op.rows = 3;
    op.logits = x[2];
    op.labels = labels + 2;
    l.x.ops->cross_entropy(&l.x, &op);
    assert_int_equal(loss, (int64_t)4096 << 24);
    assert_int_equal(n_valid, 5);
    assert_int_equal(n_bad, 3);
    lab_close(&l);
}

/* --- R64 --------------------------------------------------------------------------------------------------------------- */

static void row_sum(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t heads = 1 + below(3), head = d + below(2), token = heads * head + below(3), sequences = 1 + below(3);
    int64_t tokens = rows * (1 + below(9)), per = tokens * heads, with_x = below(3), with_r = below(3);
    struct buf a = buf_new(l, "a", l->x.dtype, sequences * tokens * token, r);
    struct buf x = buf_new(l, "x", l->x.dtype, sequences * tokens * token, r);
    struct buf q = buf_new(l, "r", SY_F32, sequences * per, PLAIN), out = buf_new(l, "out", SY_F32, d, PLAIN);
    struct sy_heads none = {0};
    l->x.ops->row_sum(&l->x, &(struct sy_row_sum){sequences, per, heads, d, heads_of(a, token, head),
                                                  with_x ? heads_of(x, token, head) : none, with_r ? q.got : NULL, out.got});
    for (int64_t i = 0; i < d; i++)
        for (int64_t s = 0; s < sequences; s++) {
            float chain = 0.0f;
            for (int64_t j = 0; j < per; j++) {
                int64_t row = s * per + j, at = row / heads * token + row % heads * head + i;
                float factor = with_x ? take(x, at) * (with_r ? take(q, row) : 1.0f) : 1.0f;
                if (j % 64 == 0 && j > 0) {
                    put(l, out, i, take(out, i) + chain);
                    chain = 0.0f;
                }
                chain = fmaf(take(a, at), factor, chain);
            }
            put(l, out, i, take(out, i) + chain);
        }
    lab_check(l, "row_sum");
}

/* Two sequences in one call have the bits of two calls; one sequence of twice the length has not. */
static void test_row_sum_restarts(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    int64_t rows = 70, d = 65;
    struct buf a = buf_new(&l, "a", SY_F32, 2 * rows * d, PLAIN), x = buf_new(&l, "x", SY_F32, 2 * rows * d, PLAIN);
    float once[65] = {0}, twice[65] = {0}, longer[65] = {0};
    struct sy_row_sum op = {.sequences = 2,
                            .rows_per_sequence = rows,
                            .heads = 1,
                            .d = d,
                            .a = heads_of(a, d, d),
                            .x = heads_of(x, d, d),
                            .out = once};
    l.x.ops->row_sum(&l.x, &op);
    op.sequences = 1;
    op.out = twice;
    l.x.ops->row_sum(&l.x, &op);
    op.a.data = (float *)a.got + rows * d;
    op.x.data = (float *)x.got + rows * d;
    l.x.ops->row_sum(&l.x, &op);
    assert_memory_equal(once, twice, sizeof once);
    op.a.data = a.got;
    op.x.data = x.got;
    op.rows_per_sequence = 2 * rows;
    op.out = longer;
    l.x.ops->row_sum(&l.x, &op);
    assert_memory_not_equal(once, longer, sizeof once);
    lab_close(&l);
}

/* --- sums and casts of consecutive elements ---------------------------------------------------------------------------- */

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

static void flat(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t n = rows * d, blocks = (n + 1023) / 1024, n_bad = 3, want_bad = 3;
    double out[64];
    struct buf x = buf_new(l, "x", SY_F32, n, r), y = buf_new(l, "y", SY_F32, n, r),
               c = buf_new(l, "cast", l->x.dtype, n, PLAIN);
    assert_true(blocks <= 64);
    l->x.ops->square_sum(&l->x, &(struct sy_square_sum){n, x.got, out, &n_bad});
    for (int64_t b = 0; b < blocks; b++) {
        double want = block_definition((float *)x.want + b * 1024, n - b * 1024 < 1024 ? n - b * 1024 : 1024);
        if (memcmp(&want, out + b, sizeof want) != 0 && !(want != want && out[b] != out[b]))
            fail_msg("square_sum: block %lld is %a, the definition says %a: tier %s", (long long)b, out[b], want,
                     l->x.ops->tier);
    }
    l->x.ops->add_f32(&l->x, &(struct sy_add_f32){n, x.got, y.got});
    l->x.ops->cast(&l->x, &(struct sy_cast){n, x.got, c.got});
    for (int64_t i = 0; i < n; i++) {
        want_bad += !finite_f32(take(x, i));
        put(l, y, i, take(y, i) + take(x, i));
        put(l, c, i, take(x, i));
    }
    assert_int_equal(n_bad, want_bad);
    lab_check(l, "add_f32 or cast");
}

/* Ties go to even, a carry reaches the exponent, subnormals are flushed in class x86 alone. */
static void casts(struct lab *l) {
    static const float from[] = {0x1.01p0f, 0x1.03p0f,  0x1.010002p0f,    -0x1.01p0f, 0x1.ffp0f, 0x1.fffffep127f,
                                 0x1p-130f, -0x1p-130f, 0x1.fffffep-127f, 0x1p-149f,  INFINITY,  -0.0f};
    static const uint16_t to[] = {0x3f80, 0x3f82, 0x3f81, 0xbf80, 0x4000, 0x7f80, 0x0008, 0x8008, 0x0080, 0, 0x7f80, 0x8000};
    enum { N = sizeof from / sizeof *from };
    static const uint32_t nan[] = {0x7f800001, 0xff800001, 0x7fffffff, 0xffffffff, 0x7fc00000};
    uint16_t out[N];
    if (l->x.dtype == SY_F32)
        return;
    l->x.ops->cast(&l->x, &(struct sy_cast){N, from, out});
    for (int i = 0; i < N; i++)
        if (l->x.cls == SY_NUMERIC_X86 && fabsf(from[i]) < 0x1p-126f)
            assert_int_equal(out[i], signbit(from[i]) ? 0x8000 : 0);
        else
            assert_int_equal(out[i], to[i]);
    l->x.ops->cast(&l->x,
                   &(struct sy_cast){5, (const float *)(const void *)nan, out}); /* none rounds to Inf or wraps to 0 */
    for (int i = 0; i < 5; i++)
        assert_true((out[i] & 0x7fff) > 0x7f80);
}

/* --- AdamW ------------------------------------------------------------------------------------------------------------- */

static float normal_or_zero(float x) { return fabsf(x) < 0x1p-126f ? 0.0f : x; }

static void adamw(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t n = rows * d;
    struct buf g = buf_new(l, "g", SY_F32, n, r), w = buf_new(l, "w", SY_F32, n, PLAIN);
    struct buf m = buf_new(l, "m", SY_F32, n, r), v = buf_new(l, "v", SY_F32, n, r);
    for (int64_t i = 0; i < n; i++)
        set_both(v, i, fabsf(take(v, i)));
    struct sy_adamw op = {.n = n,
                          .clip = 0.7f,
                          .b1 = 0.9f,
                          .one_b1 = 0.1f,
                          .b2 = 0.95f,
                          .one_b2 = 0.05f,
                          .c1 = 1.9f,
                          .c2 = 3.3f,
                          .eps = 1e-8f,
                          .lr = 8e-4f,
                          .wd = below(2) ? 0.1f : 0.0f,
                          .g = g.got,
                          .m = m.got,
                          .v = v.got,
                          .w = w.got};
    l->x.ops->adamw(&l->x, &op);
    for (int64_t i = 0; i < n; i++) {
        float gi = op.clip * take(g, i), mi = normal_or_zero(fmaf(op.b1, take(m, i), op.one_b1 * gi));
        float vi = normal_or_zero(fmaf(op.b2, take(v, i), (op.one_b2 * gi) * gi));
        float q = (mi * op.c1) / (sqrtf(vi * op.c2) + op.eps);
        put(l, m, i, mi);
        put(l, v, i, vi);
        put(l, w, i, fmaf(-op.lr, fmaf(op.wd, take(w, i), q), take(w, i)));
    }
    lab_check(l, "adamw");
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
        struct sy_adamw op = {.n = 65,
                              .clip = 1.0f,
                              .b1 = 0.9f,
                              .one_b1 = 0.1f,
                              .b2 = 0.95f,
                              .one_b2 = 0.05f,
                              .c1 = (float)(1 / (1 - b1)),
                              .c2 = (float)(1 / (1 - b2)),
                              .eps = 1e-8f,
                              .lr = 1e-2f,
                              .wd = 0.1f,
                              .g = g,
                              .m = m,
                              .v = v,
                              .w = w};
        l.x.ops->adamw(&l.x, &op);
    }
    for (int i = 0; i < 65; i++)
        error = fmax(error, fabs(w[i] - dw[i]));
    assert_true(error < 1e-6);
    lab_close(&l);
}

#define EACH(name)                                                     \
    static void name##_shapes(struct lab *l) { shapes_each(l, name); } \
    static void test_##name(void **state) {                            \
        (void)state;                                                   \
        labs_each(name##_shapes);                                      \
    }
EACH(cross_entropy)
EACH(row_sum)
EACH(flat)
EACH(adamw)

static void test_casts(void **state) {
    (void)state;
    labs_each(casts);
}

/* Negative control: the order inside a block of squares shows. */
static void test_square_order_shows(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    double plain = 0, out;
    int64_t n_bad = 0;
    for (int i = 0; i < 600; i++) {
        row_a[i] = uniform();
        plain += (double)row_a[i] * (double)row_a[i];
    }
    l.x.ops->square_sum(&l.x, &(struct sy_square_sum){600, row_a, &out, &n_bad});
    assert_true(out != plain && fabs(out - plain) < 1e-12 * plain);
    lab_close(&l);
}

/* The loss is a sum of integers: calls of a few rows each, in any order, give what one call gives. Rows of dlogit
 * add to 0. */
static void test_loss_of_pieces(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { R = 23, V = 130 };
    float x[R * V], d[R * V];
    int32_t labels[R];
    int64_t whole[3] = {0}, pieces[3] = {0};
    for (int i = 0; i < R * V; i++)
        x[i] = 9.0f * uniform();
    for (int t = 0; t < R; t++)
        labels[t] = t % 6 ? (int32_t)below(V) : -100;
    x[3 * V + 5] = NAN;
    struct sy_cross_entropy op = {R, V, x, labels, 0.125f, {d, SY_F32, V, 1}, whole, whole + 1, whole + 2};
    l.x.ops->cross_entropy(&l.x, &op);
    for (int t = 0; t < R; t++) {
        double sum = 0, most = 0;
        for (int i = 0; i < V; i++) {
            sum += d[t * V + i];
            most = fmax(most, fabs(d[t * V + i]));
        }
        assert_true(t == 3 || (fabs(sum) < 1e-6 && (most > 1e-3) == (t % 6 != 0)));
    }
    for (int first = R - 1; first >= 0; first -= 4) {
        int from = first > 3 ? first - 3 : 0;
        l.x.ops->cross_entropy(
            &l.x, &(struct sy_cross_entropy){
                      first - from + 1, V, x + from * V, labels + from, 0.125f, {0}, pieces, pieces + 1, pieces + 2});
    }
    assert_memory_equal(whole, pieces, sizeof whole);
    assert_true(whole[1] == 19 && whole[2] == 1 && whole[0] > 0);
    lab_close(&l);
}

/* Negative control: R64 is blocks of 64 rows, not one chain, nor blocks of 128; up to 64 rows it is one chain. */
static void test_row_sum_blocks_show(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { D = 65, MOST = 200 };
    struct buf a = buf_new(&l, "a", SY_F32, MOST * D, PLAIN);
    for (int64_t rows = 64; rows <= MOST; rows += 68) {
        float out[D] = {0};
        int chain_differs = 0, wide_differs = 0;
        l.x.ops->row_sum(
            &l.x, &(struct sy_row_sum){
                      .sequences = 1, .rows_per_sequence = rows, .heads = 1, .d = D, .a = heads_of(a, D, D), .out = out});
        for (int i = 0; i < D; i++) {
            float chain = 0.0f, wide = 0.0f, block = 0.0f;
            for (int64_t r = 0; r < rows; r++) {
                chain += take(a, r * D + i);
                block += take(a, r * D + i);
                if (r % 128 == 127 || r == rows - 1) {
                    wide += block;
                    block = 0.0f;
                }
            }
            chain_differs += out[i] != chain;
            wide_differs += out[i] != wide;
        }
        assert_true((chain_differs > 0) == (rows > 64) && (wide_differs > 0) == (rows > 64));
    }
    lab_close(&l);
}

/* A weight without gradient or moments only decays; without decay too, it does not move. Below 2^-126 moments become +0. */
static void test_adamw_at_rest(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    float g[3] = {0.0f, -0.0f, -0x1p-126f}, w[3] = {3, -3, 5};
    float m[3] = {0.0f, -0x1p-126f, 0.0f}, v[3] = {0.0f, 0x1p-126f, 0.0f};
    struct sy_adamw op = {.n = 2,
                          .clip = 1.0f,
                          .b1 = 0.9f,
                          .one_b1 = 0.1f,
                          .b2 = 0.95f,
                          .one_b2 = 0.05f,
                          .c1 = 10.0f,
                          .c2 = 20.0f,
                          .eps = 1e-8f,
                          .lr = 0.5f,
                          .wd = 0.0f,
                          .g = g,
                          .m = m,
                          .v = v,
                          .w = w};
    l.x.ops->adamw(&l.x, &op);
    for (int i = 0; i < 2; i++)
        assert_true(bits_of(m[i]) == 0 && bits_of(v[i]) == 0 && w[i] == (i ? -3.0f : 3.0f));
    op.wd = 0.5f;
    l.x.ops->adamw(&l.x, &op);
    assert_true(w[0] == 2.25f && w[1] == -2.25f);
    op = (struct sy_adamw){.n = 1,
                           .clip = 1.0f,
                           .b1 = 0.9f,
                           .one_b1 = 0.1f,
                           .b2 = 0.95f,
                           .one_b2 = 0.05f,
                           .c1 = 10.0f,
                           .c2 = 20.0f,
                           .eps = 1e-8f,
                           .lr = 0.5f,
                           .g = g + 2,
                           .m = m + 2,
                           .v = v + 2,
                           .w = w + 2};
    l.x.ops->adamw(&l.x, &op); /* 0.1 of the gradient is subnormal */
    assert_true(bits_of(m[2]) == 0 && bits_of(v[2]) == 0 && w[2] == 5.0f);
    m[2] = -0x1p-126f; /* the least that is kept, of either sign */
    v[2] = 0x1p-126f;
    op.b1 = op.one_b1 = 0.5f;
    op.b2 = 1.0f;
    op.one_b2 = 0.0f;
    l.x.ops->adamw(&l.x, &op);
    assert_true(m[2] == -0x1p-126f && v[2] == 0x1p-126f);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_cross_entropy_values),
        cmocka_unit_test(test_row_sum),
        cmocka_unit_test(test_row_sum_restarts),
        cmocka_unit_test(test_flat),
        cmocka_unit_test(test_casts),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_adamw_in_double),
        cmocka_unit_test(test_square_order_shows),
        cmocka_unit_test(test_loss_of_pieces),
        cmocka_unit_test(test_row_sum_blocks_show),
        cmocka_unit_test(test_adamw_at_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
