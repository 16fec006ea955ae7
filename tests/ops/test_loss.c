/* Cross entropy, sums down rows and over lanes: each op of every tier, class and number of threads with ==
 * against its formula in NUMERICS 2 to 4; what R64 and the integer sums promise; known values. The end of a
 * step: test_step.c.
 */
#include "ops_harness.h"

/* --- cross entropy -------------------------------------------------------------------------------------- */

static int finite_f32(float x) { return x - x == 0.0f; }

/* One row with a label, by blocks of `block` columns. Returns whether the loss counts. */
static int loss_of_row(int64_t v, int64_t block, const float *x, int32_t label, float w, float *dlogit,
                       double *loss) {
    const float log2_e = 1.44269504f;
    float m[LAB_MAX_ROW], z[LAB_MAX_ROW], e[LAB_MAX_ROW], most = -INFINITY, all;
    int64_t blocks = (v + block - 1) / block;
    int nan = 0;
    for (int64_t b = 0; b < blocks; b++) {
        int64_t n = v - b * block < block ? v - b * block : block;
        float top = -INFINITY;
        for (int64_t i = 0; i < n; i++) {
            top = fmaxf(top, x[b * block + i]);
            nan = nan || x[b * block + i] != x[b * block + i];
        }
        m[b] = rintf(log2_e * top);
        for (int64_t i = 0; i < n; i++)
            e[i] = def_exp2(fmaf(x[b * block + i], log2_e, -m[b]));
        z[b] = def_v64(n, e, NULL);
        most = fmaxf(most, m[b]);
    }
    for (int64_t b = 0; b < blocks; b++)
        z[b] = z[b] * def_exp2(m[b] - most);
    all = def_v64(blocks, z, NULL);
    for (int64_t i = 0; i < v; i++)
        dlogit[i] = (def_exp2(fmaf(x[i], log2_e, -most)) * (1.0f / all) - (i == label ? 1.0f : 0.0f)) * w;
    double logit = (double)x[label] * (double)log2_e;
    logit = logit - (double)most;
    *loss = ((double)def_log2(all) - logit) * 0x1.62e42fefa39efp-1;
    if (*loss < 0)
        *loss = 0;
    return !nan && all > 0.0f && finite_f32(all) && isfinite(*loss);
}

static void cross_entropy(struct lab *l, int64_t rows, int64_t v, enum regime r) {
    int64_t row = v + below(3), with_grad = below(4);
    struct sy_tally tally = {.loss = 5, .n_valid = 6, .n_bad = 7, .bad_token = SY_NO_TOKEN}, want = tally;
    float w = 1.0f / (float)(1 + below(999)), scale = r == PLAIN && below(2) ? 40.0f : 1.0f,
          dlogit[LAB_MAX_ROW];
    double nats;
    struct buf x = buf_new(l, "logits", SY_F32, rows * v, r), labels = buf_i32(l, "labels", rows);
    struct buf d = buf_new(l, "dlogits", l->x.dtype, rows * row, PLAIN);
    for (int64_t i = 0; i < x.n; i++)
        set_both(x, i, scale * take(x, i));
    for (int64_t t = 0; t < rows; t++)
        set_both_i32(labels, t, below(5) ? (int32_t)below(v) : -100);
    struct sy_mat none = {0};
    l->x.ops->cross_entropy(&l->x,
                            &(struct sy_cross_entropy){rows, v, x.got, labels.got, with_grad ? &w : NULL,
                                                       with_grad ? mat_of(d, row) : none, &tally});
    for (int64_t t = 0; t < rows; t++) {
        int32_t label = i32_of(labels.want)[t];
        if (label >= 0) {
            int good = loss_of_row(v, 128, (float *)x.want + t * v, label, w, dlogit, &nats);
            want.n_valid++;
            if (good)
                want.loss += (int64_t)rint(fmin(nats, 4096.0) * 16777216.0);
            else
                want.n_bad++;
        }
        for (int64_t i = 0; with_grad && i < v; i++)
            put(l, d, t * row + i, label >= 0 ? dlogit[i] : 0.0f);
    }
    assert_memory_equal(&tally, &want, sizeof tally); /* and nothing else of it */
    lab_check(l, "cross_entropy");
}

/* Equal logits cost ln V; a loss above 4096 counts as 4096; a certain one costs 0; special logits. */
static void test_cross_entropy_values(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    const float inf = INFINITY;
    const struct {
        float x[4];
        int32_t label;
        int bad;
        double loss;
    } row[] = {
        {{3, 3, 3, 3}, 2, 0, 1.3862943611198906},
        {{0, -9000, 0, 0}, 1, 0, 4096},
        {{0, -3e38f, 0, 0}, 1, 0, 4096}, /* c x overflows in fp32 alone: finite */
        {{0, 50, 0, -50}, 1, 0, 0},
        {{-2e9f, -2e9f, 2e9f, 1}, 2, 0, 0},
        {{1, -inf, 2, 3}, 0, 0, 2.4076059644443806}, /* -Inf has p = 0 */
        {{-inf, 7, -inf, -inf}, 1, 0, 0},
        {{1, -inf, 2, 3}, 1, 1, 0}, /* the label itself: an infinite loss */
        {{1, NAN, 2, 3}, 0, 1, 0},
        {{NAN, NAN, NAN, NAN}, 0, 1, 0},
        {{1, inf, 2, 3}, 0, 1, 0},
        {{1, inf, 2, 3}, 1, 1, 0},
        {{-inf, -inf, -inf, -inf}, 0, 1, 0},
        {{-3e38f, 3e38f, 0, 0}, 0, 1, 0}, /* c x overflows: Z = 0 */
        {{-3e38f, 3e38f, 0, 0}, 1, 1, 0},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct sy_tally tally = sy_tally_empty;
        l.x.ops->cross_entropy(
            &l.x, &(struct sy_cross_entropy){
                      .rows = 1, .vocab = 4, .logits = row[i].x, .labels = &row[i].label, .tally = &tally});
        assert_int_equal(tally.n_valid, 1);
        assert_int_equal(tally.n_bad, row[i].bad);
        if (fabs((double)tally.loss * 0x1p-24 - row[i].loss) > 3e-7)
            fail_msg("row %zu: loss %.9g, must be %.9g", i, (double)tally.loss * 0x1p-24, row[i].loss);
    }
    lab_close(&l);
}

/* A special logit in one block of several: the same rule wherever it stands; a block of -Inf alone is as
 * if it were not there. */
static void test_cross_entropy_special_blocks(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { V = 300 };
    float x[V], d[V], without[V], w = 1.0f;
    for (int64_t first = 0; first < 3; first++)
        for (int kind = 0; kind < 4; kind++) {
            int32_t label = first == 1 ? 290 : 140;
            struct sy_tally tally = sy_tally_empty, other = sy_tally_empty;
            for (int i = 0; i < V; i++)
                x[i] = without[i] = 5.0f * uniform();
            for (int64_t i = first * 128; i < first * 128 + 128 && i < V; i++) {
                without[i] = -1e6f;
                if (kind == 0 || i % 128 == 17)
                    x[i] = kind < 2 ? -INFINITY : kind == 2 ? INFINITY : NAN;
            }
            l.x.ops->cross_entropy(
                &l.x, &(struct sy_cross_entropy){1, V, x, &label, &w, {d, SY_F32, V, 1}, &tally});
            assert_int_equal(tally.n_bad, kind >= 2);
            if (kind == 1)
                assert_int_equal(bits_of(d[first * 128 + 17]), 0);
            if (kind != 0)
                continue;
            l.x.ops->cross_entropy(
                &l.x, &(struct sy_cross_entropy){1, V, without, &label, &w, {x, SY_F32, V, 1}, &other});
            assert_memory_equal(d, x, sizeof d);
            assert_memory_equal(&tally, &other, sizeof tally);
        }
    lab_close(&l);
}

/* Negative control: blocks of 64 columns, of 256, or the whole row give other bits. */
static void test_cross_entropy_blocks_show(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { V = 600, ROWS = 40 };
    static const int64_t other[] = {64, 256, V};
    float x[V], d[V], want[V], w = 1.0f;
    double nats;
    int differs[3] = {0};
    for (int r = 0; r < ROWS; r++) {
        struct sy_tally tally = sy_tally_empty;
        int32_t label = (int32_t)below(V);
        for (int i = 0; i < V; i++)
            x[i] = 6.0f * uniform();
        l.x.ops->cross_entropy(&l.x,
                               &(struct sy_cross_entropy){1, V, x, &label, &w, {d, SY_F32, V, 1}, &tally});
        assert_true(loss_of_row(V, 128, x, label, w, want, &nats));
        assert_memory_equal(d, want, sizeof d);
        for (int k = 0; k < 3; k++) {
            loss_of_row(V, other[k], x, label, w, want, &nats);
            differs[k] += memcmp(d, want, sizeof d) != 0;
        }
    }
    for (int k = 0; k < 3; k++)
        assert_in_range(differs[k], 5, ROWS);
    lab_close(&l);
}

/* --- R64 ------------------------------------------------------------------------------------------------ */

static void row_sum(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t heads = 1 + below(3), head = d + below(2), token = heads * head + below(3),
            sequences = 1 + below(3);
    int64_t tokens = rows * (1 + below(9)), per = tokens * heads, with_x = below(3), with_r = below(3);
    struct buf a = buf_new(l, "a", l->x.dtype, sequences * tokens * token, r);
    struct buf x = buf_new(l, "x", l->x.dtype, sequences * tokens * token, r);
    struct buf q = buf_new(l, "r", SY_F32, sequences * per, PLAIN), out = buf_new(l, "out", SY_F32, d, PLAIN);
    struct buf acc = buf_new(l, "acc", SY_F32, d, PLAIN);
    struct sy_heads none = {0};
    int64_t from = below(3), fold = from < 2 && below(2); /* +0, acc, out itself */
    struct sy_row_sum_item item[2] = {{sequences, per, heads, d, heads_of(a, token, head),
                                       with_x ? heads_of(x, token, head) : none, with_r ? q.got : NULL,
                                       from == 0   ? NULL
                                       : from == 1 ? acc.got
                                                   : out.got,
                                       out.got, (int)fold}};
    struct buf other =
        buf_new(l, "other", SY_F32, d, PLAIN); /* a second one beside it: the rows of a alone */
    item[1] = (struct sy_row_sum_item){
        .sequences = 1, .rows_per_sequence = heads, .heads = heads, .d = d, .a = item[0].a, .out = other.got};
    l->x.ops->row_sum(&l->x, &(struct sy_row_sum){item, 2});
    for (int64_t i = 0; i < d; i++) {
        float chain = 0.0f;
        for (int64_t h = 0; h < heads; h++)
            chain = take(a, h * head + i) + chain;
        put(l, other, i, 0.0f + chain);
    }
    for (int64_t i = 0; i < d; i++) {
        float sum = from == 0 ? 0.0f : take(from == 1 ? acc : out, i);
        for (int64_t s = 0; s < sequences; s++) {
            float chain = 0.0f;
            for (int64_t j = 0; j < per; j++) {
                int64_t row = s * per + j, at = row / heads * token + row % heads * head + i;
                float factor = with_x ? take(x, at) * (with_r ? take(q, row) : 1.0f) : 1.0f;
                if (j % 64 == 0 && j > 0) {
                    sum = sum + chain;
                    chain = 0.0f;
                }
                chain = fmaf(take(a, at), factor, chain);
            }
            sum = sum + chain;
        }
        put(l, out, i, fold ? take(out, i) + sum : sum);
    }
    lab_check(l, "row_sum");
}

/* Two sequences in one call have the bits of two calls; one sequence of twice the length has not. */
static void test_row_sum_restarts(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    int64_t rows = 70, d = 65;
    struct buf a = buf_new(&l, "a", SY_F32, 2 * rows * d, PLAIN),
               x = buf_new(&l, "x", SY_F32, 2 * rows * d, PLAIN);
    float once[65] = {0}, twice[65] = {0}, longer[65] = {0};
    struct sy_row_sum_item op = {.sequences = 2,
                                 .rows_per_sequence = rows,
                                 .heads = 1,
                                 .d = d,
                                 .a = heads_of(a, d, d),
                                 .x = heads_of(x, d, d),
                                 .out = once};
    l.x.ops->row_sum(&l.x, &(struct sy_row_sum){&op, 1});
    op.sequences = 1;
    op.acc = op.out = twice;
    l.x.ops->row_sum(&l.x, &(struct sy_row_sum){&op, 1});
    op.a.data = (float *)a.got + rows * d;
    op.x.data = (float *)x.got + rows * d;
    l.x.ops->row_sum(&l.x, &(struct sy_row_sum){&op, 1});
    assert_memory_equal(once, twice, sizeof once);
    op.a.data = a.got;
    op.x.data = x.got;
    op.rows_per_sequence = 2 * rows;
    op.acc = op.out = longer;
    l.x.ops->row_sum(&l.x, &(struct sy_row_sum){&op, 1});
    assert_memory_not_equal(once, longer, sizeof once);
    lab_close(&l);
}

/* --- sums of consecutive elements
 * ----------------------------------------------------------------------------------------
 */

/* A list: pieces of one buffer, an empty one among them. */
static void add_f32(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t n = rows * d, cut = below(n + 1), end = cut + below(n - cut + 1);
    struct buf x = buf_new(l, "x", SY_F32, n, r), y = buf_new(l, "y", SY_F32, n, r);
    float *px = x.got, *py = y.got;
    struct sy_add_item item[3] = {{end - cut, px + cut, py + cut}, {0, NULL, NULL}, {cut, px, py}};
    l->x.ops->add_f32(&l->x, &(struct sy_add_f32){item, 3});
    for (int64_t i = 0; i < end; i++)
        put(l, y, i, take(y, i) + take(x, i));
    lab_check(l, "add_f32");
}

#define EACH(name)                                                     \
    static void name##_shapes(struct lab *l) { shapes_each(l, name); } \
    static void test_##name(void **state) {                            \
        (void)state;                                                   \
        labs_each(name##_shapes);                                      \
    }
EACH(cross_entropy)
EACH(row_sum)
EACH(add_f32)

/* The loss is a sum of integers: calls of a few rows each, in any order, give what one call gives. Rows of
 * dlogit add to 0. */
static void test_loss_of_pieces(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { R = 23, V = 130 };
    float x[R * V], d[R * V];
    int32_t labels[R];
    float w = 0.125f;
    struct sy_tally whole = sy_tally_empty, pieces = sy_tally_empty;
    for (int i = 0; i < R * V; i++)
        x[i] = 9.0f * uniform();
    for (int t = 0; t < R; t++)
        labels[t] = t % 6 ? (int32_t)below(V) : -100;
    x[3 * V + 5] = NAN;
    struct sy_cross_entropy op = {R, V, x, labels, &w, {d, SY_F32, V, 1}, &whole};
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
        l.x.ops->cross_entropy(&l.x, &(struct sy_cross_entropy){.rows = first - from + 1,
                                                                .vocab = V,
                                                                .logits = x + from * V,
                                                                .labels = labels + from,
                                                                .tally = &pieces});
    }
    assert_memory_equal(&whole, &pieces, sizeof whole);
    assert_true(whole.n_valid == 19 && whole.n_bad == 1 && whole.loss > 0);
    lab_close(&l);
}

/* Negative control: R64 is blocks of 64 rows, not one chain, nor blocks of 128; up to 64 rows it is one
 * chain. */
static void test_row_sum_blocks_show(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { D = 65, MOST = 200 };
    struct buf a = buf_new(&l, "a", SY_F32, MOST * D, PLAIN);
    for (int64_t rows = 64; rows <= MOST; rows += 68) {
        float out[D] = {0};
        int chain_differs = 0, wide_differs = 0;
        struct sy_row_sum_item item = {.sequences = 1,
                                       .rows_per_sequence = rows,
                                       .heads = 1,
                                       .d = D,
                                       .a = heads_of(a, D, D),
                                       .out = out};
        l.x.ops->row_sum(&l.x, &(struct sy_row_sum){&item, 1});
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_cross_entropy_values),
        cmocka_unit_test(test_cross_entropy_special_blocks),
        cmocka_unit_test(test_cross_entropy_blocks_show),
        cmocka_unit_test(test_row_sum),
        cmocka_unit_test(test_row_sum_restarts),
        cmocka_unit_test(test_row_sum_blocks_show),
        cmocka_unit_test(test_add_f32),
        cmocka_unit_test(test_loss_of_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
