/* Norm, rope, joins, gates, embedding, and moving bits: each op of every tier, class and number of threads
 * against its formula in NUMERICS 3, written out one row at a time, with ==. Rows are strided and have gaps;
 * in-place calls where the contract allows them. What the formulas mean is tested in test_gradients.c.
 */
#include "ops_harness.h"

static float row_a[LAB_MAX_ROW], row_b[LAB_MAX_ROW], row_c[LAB_MAX_ROW];

/* --- rmsnorm -------------------------------------------------------------------------------------------- */

static void rmsnorm_fwd(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t heads = 1 + below(3), head = d + below(2), token = heads * head + below(3), in_place = below(2);
    struct buf x = buf_new(l, "x", l->x.dtype, rows * token, r),
               g = buf_new(l, "g", SY_F32, d, below(2) ? PLAIN : r);
    struct buf y = in_place ? x : buf_new(l, "y", l->x.dtype, rows * token, PLAIN);
    struct buf q = buf_new(l, "r", SY_F32, rows * heads, PLAIN);
    int64_t keep = below(4);
    float eps = below(2) ? 1e-6f : 1e-5f;
    l->x.ops->rmsnorm_fwd(&l->x,
                          &(struct sy_rmsnorm_fwd){rows, heads, d, eps, heads_of(x, token, head), g.got,
                                                   heads_of(y, token, head), keep ? q.got : NULL});
    for (int64_t t = 0; t < rows; t++)
        for (int64_t h = 0; h < heads; h++) {
            int64_t at = t * token + h * head;
            take_row(x, at, d, row_a);
            float ss = def_v64(d, row_a, row_a), norm = 1.0f / sqrtf(fmaf(ss, (float)(1.0 / (double)d), eps));
            for (int64_t i = 0; i < d; i++)
                put(l, y, at + i, (row_a[i] * norm) * take(g, i));
            if (keep)
                put(l, q, t * heads + h, norm);
        }
    lab_check(l, "rmsnorm_fwd");
}

static void rmsnorm_bwd(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t heads = 1 + below(3), head = d + below(2), token = heads * head + below(3), in_place = below(2);
    struct buf x = buf_new(l, "x", l->x.dtype, rows * token, r),
               dy = buf_new(l, "dy", l->x.dtype, rows * token, r);
    struct buf dx = in_place ? dy : buf_new(l, "dx", l->x.dtype, rows * token, PLAIN);
    struct buf g = buf_new(l, "g", SY_F32, d, PLAIN), q = buf_new(l, "r", SY_F32, rows * heads, PLAIN);
    int adds = (int)below(3); /* to nothing, to a residual, to one in place */
    struct buf residual = adds == 2 ? dx : buf_new(l, "residual", l->x.dtype, rows * token, r);
    struct sy_heads added = adds ? heads_of(residual, token, head) : (struct sy_heads){0};
    l->x.ops->rmsnorm_bwd(&l->x, &(struct sy_rmsnorm_bwd){rows, heads, d, heads_of(dy, token, head),
                                                          heads_of(x, token, head), g.got, q.got,
                                                          heads_of(dx, token, head), added});
    for (int64_t t = 0; t < rows; t++)
        for (int64_t h = 0; h < heads; h++) {
            int64_t at = t * token + h * head;
            float norm = take(q, t * heads + h);
            take_row(x, at, d, row_a);
            for (int64_t i = 0; i < d; i++)
                row_b[i] = take(dy, at + i) * take(g, i);
            float c = def_v64(d, row_b, row_a), k = ((c * norm) * norm) * (float)(1.0 / (double)d);
            for (int64_t i = 0; i < d; i++) {
                float own = norm * fmaf(-k, row_a[i], row_b[i]);
                put(l, dx, at + i, adds ? take(residual, at + i) + bf_if(l, dx.t, own) : own);
            }
        }
    lab_check(l, "rmsnorm_bwd");
}

/* --- rope ----------------------------------------------------------------------------------------------- */

static void rope(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    d += d % 2;
    int64_t heads = 1 + below(3), head = d + below(2), token = heads * head + below(3), half = d / 2,
            positions = 9;
    int halves = (int)below(2), backward = (int)below(2);
    struct buf x = buf_new(l, "x", l->x.dtype, rows * token, r), p = buf_i32(l, "position", rows);
    struct buf c = buf_new(l, "cos", SY_F32, positions * half, PLAIN),
               s = buf_new(l, "sin", SY_F32, positions * half, PLAIN);
    for (int64_t t = 0; t < rows; t++)
        set_both_i32(p, t, (int32_t)below(positions));
    l->x.ops->rope(&l->x, &(struct sy_rope){rows, heads, d, halves, backward, p.got, c.got, s.got,
                                            heads_of(x, token, head)});
    for (int64_t t = 0; t < rows; t++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < half; i++) {
                int64_t at = t * token + h * head, i0 = at + (halves ? i : 2 * i),
                        i1 = at + (halves ? i + half : 2 * i + 1);
                int64_t place = i32_of(p.want)[t] * half + i;
                float x0 = take(x, i0), x1 = take(x, i1), cs = take(c, place), sn = take(s, place);
                if (backward)
                    sn = -sn;
                put(l, x, i0, fmaf(-x1, sn, x0 * cs));
                put(l, x, i1, fmaf(x1, cs, x0 * sn));
            }
    lab_check(l, "rope");
}

/* --- sums of terms -------------------------------------------------------------------------------------- */

static void join(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t row = d + below(3), n = 1 + below(SY_JOIN_TERMS), in_place = below(2);
    struct buf term[SY_JOIN_TERMS], y;
    struct sy_join op = {.rows = rows, .d = d, .n = (int)n};
    for (int64_t k = 0; k < n; k++) {
        term[k] = buf_new(l, "term", below(2) ? SY_F32 : l->x.dtype, rows * row, r);
        op.term[k] = mat_of(term[k], row);
    }
    y = in_place ? term[below(n)] : buf_new(l, "y", below(2) ? SY_F32 : l->x.dtype, rows * row, PLAIN);
    op.y = mat_of(y, row);
    l->x.ops->join(&l->x, &op);
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < d; i++) {
            float sum = take(term[0], t * row + i);
            for (int64_t k = 1; k < n; k++)
                sum = sum + take(term[k], t * row + i);
            put(l, y, t * row + i, sum);
        }
    lab_check(l, "join");
}

static void head_sum(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t heads = 1 + below(5), head = d + below(2), token = heads * head + below(3), y_row = d + below(3);
    struct buf x = buf_new(l, "x", l->x.dtype, rows * token, r),
               y = buf_new(l, "y", l->x.dtype, rows * y_row, PLAIN);
    l->x.ops->head_sum(
        &l->x, &(struct sy_head_sum){rows, heads, d, heads_of(x, token, head), heads_of(y, y_row, 0)});
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < d; i++) {
            float sum = 0.0f;
            for (int64_t h = 0; h < heads; h++)
                sum += take(x, t * token + h * head + i);
            put(l, y, t * y_row + i, sum);
        }
    lab_check(l, "head_sum");
}

/* --- the gate of the shared experts --------------------------------------------------------------------- */

static void sigmoid_gate(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t row = d + below(3);
    struct buf y = buf_new(l, "y", l->x.dtype, rows * row, r), logit = buf_new(l, "logit", SY_F32, rows, r);
    l->x.ops->sigmoid_gate(&l->x, &(struct sy_sigmoid_gate){rows, d, logit.got, mat_of(y, row)});
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < d; i++)
            put(l, y, t * row + i, def_sig(take(logit, t)) * take(y, t * row + i));
    lab_check(l, "sigmoid_gate");
}

static void sigmoid_gate_bwd(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t row = d + below(3), l_row = 1 + below(3), in_place = below(2);
    struct buf y = buf_new(l, "y_in", l->x.dtype, rows * row, r),
               dy = buf_new(l, "dy", l->x.dtype, rows * row, r);
    struct buf dy_in = in_place ? dy : buf_new(l, "dy_in", l->x.dtype, rows * row, PLAIN);
    struct buf logit = buf_new(l, "logit", SY_F32, rows, r),
               dl = buf_new(l, "dlogit", l->x.dtype, rows * l_row, PLAIN);
    l->x.ops->sigmoid_gate_bwd(&l->x, &(struct sy_sigmoid_gate_bwd){rows, d, logit.got, mat_of(y, row),
                                                                    mat_of(dy, row), mat_of(dy_in, row),
                                                                    mat_of(dl, l_row)});
    for (int64_t t = 0; t < rows; t++) {
        float s = def_sig(take(logit, t));
        take_row(y, t * row, d, row_a);
        take_row(dy, t * row, d, row_b);
        put(l, dl, t * l_row, def_v64(d, row_b, row_a) * (s * (1.0f - s)));
        for (int64_t i = 0; i < d; i++)
            put(l, dy_in, t * row + i, s * row_b[i]);
    }
    lab_check(l, "sigmoid_gate_bwd");
}

/* --- embedding, dot products of rows -------------------------------------------------------------------- */

static void embed(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t vocab = 5, w_row = d + below(3), y_row = d + below(3);
    struct buf w = buf_new(l, "w", l->x.dtype, vocab * w_row, r),
               y = buf_new(l, "y", l->x.dtype, rows * y_row, r);
    struct buf ids = buf_i32(l, "ids", rows), leaf = buf_new(l, "leaf", SY_F32, vocab * d, r);
    struct buf dy = buf_new(l, "dy", l->x.dtype, rows * y_row, r);
    for (int64_t t = 0; t < rows; t++)
        set_both_i32(ids, t, (int32_t)below(vocab));
    l->x.ops->embed_fwd(&l->x, &(struct sy_embed_fwd){rows, d, ids.got, mat_of(w, w_row), mat_of(y, y_row)});
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < d; i++)
            store(y.t, y.want, t * y_row + i, take(w, i32_of(ids.want)[t] * w_row + i));
    l->x.ops->scatter_add(&l->x, &(struct sy_scatter_add){.n = rows,
                                                          .d = d,
                                                          .out_rows = vocab,
                                                          .index = ids.got,
                                                          .src = mat_of(dy, y_row),
                                                          .out = mat_of(leaf, d)});
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < d; i++) {
            int64_t at = i32_of(ids.want)[t] * d + i;
            put(l, leaf, at, take(leaf, at) + take(dy, t * y_row + i));
        }
    lab_check(l, "embed");
}

/* Dense rows, or as many as a last offset says: the others are not touched. */
static void rowdot(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t row = d + below(3), used = below(2) ? rows : below(rows + 1),
            offset[5] = {0, 0, used / 2, used, used};
    struct buf a = buf_new(l, "a", l->x.dtype, rows * row, r), b = buf_new(l, "b", l->x.dtype, rows * row, r);
    struct buf y = buf_new(l, "y", SY_F32, rows, PLAIN);
    struct sy_rows some = {.groups = 2, .sequences = 2, .max_rows = rows, .offset = offset};
    if (below(2)) {
        some = sy_rows_dense(1, rows);
        used = rows;
    }
    l->x.ops->rowdot(&l->x, &(struct sy_rowdot){some, d, mat_of(a, row), mat_of(b, row), y.got});
    for (int64_t t = 0; t < used; t++) {
        take_row(a, t * row, d, row_a);
        take_row(b, t * row, d, row_b);
        put(l, y, t, def_v64(d, row_a, row_b));
    }
    lab_check(l, "rowdot");
}

/* --- moving bits ---------------------------------------------------------------------------------------- */

static void fill(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t n = rows * d, first = below(n + 1), some = below(n - first + 1);
    uint32_t word = (uint32_t)random_bits();
    struct buf x = buf_new(l, "data", SY_F32, n, r);
    l->x.ops->fill(&l->x, &(struct sy_fill){some, word, (float *)x.got + first});
    for (int64_t i = first; i < first + some; i++)
        store(SY_F32, x.want, i, from_bits(word));
    lab_check(l, "fill");
}

/* Rows of any bytes at any strides: elements of two bytes stand for the bytes. */
static void copy(struct lab *l, int64_t rows, int64_t d, enum regime r) {
    int64_t from_row = d + below(4), to_row = d + below(4), n = below(4) ? d : 0;
    struct buf x = buf_new(l, "from", SY_BF16, rows * from_row, r),
               y = buf_new(l, "to", SY_BF16, rows * to_row, r);
    l->x.ops->copy(&l->x, &(struct sy_copy){rows, 2 * n, 2 * from_row, 2 * to_row, x.got, y.got});
    for (int64_t t = 0; t < rows; t++)
        memcpy((uint16_t *)y.want + t * to_row, (uint16_t *)x.want + t * from_row, (size_t)n * 2);
    for (int64_t i = 0; i < y.n; i++) /* a NaN is moved, not made anew */
        assert_int_equal(((uint16_t *)y.want)[i], ((uint16_t *)y.got)[i]);
    lab_check(l, "copy");
}

#define EACH(name)                                                     \
    static void name##_shapes(struct lab *l) { shapes_each(l, name); } \
    static void test_##name(void **state) {                            \
        (void)state;                                                   \
        labs_each(name##_shapes);                                      \
    }
EACH(rmsnorm_fwd)
EACH(rmsnorm_bwd)
EACH(rope)
EACH(join)
EACH(head_sum)
EACH(sigmoid_gate)
EACH(sigmoid_gate_bwd)
EACH(embed)
EACH(rowdot)
EACH(fill)
EACH(copy)

/* Negative control: the order of V64 shows. A plain ascending sum, and 32 lanes, give other bits on some
 * of these rows. */
static void test_v64_order_shows(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    int64_t rows = 16, d = 257, plain = 0, wrong_fold = 0;
    struct buf a = buf_new(&l, "a", SY_F32, rows * d, PLAIN), y = buf_new(&l, "y", SY_F32, rows, PLAIN);
    l.x.ops->rowdot(&l.x, &(struct sy_rowdot){sy_rows_dense(1, rows), d, mat_of(a, d), mat_of(a, d), y.got});
    for (int64_t t = 0; t < rows; t++) {
        float sum = 0.0f, lane[64] = {0}, up = 0.0f;
        take_row(a, t * d, d, row_c);
        for (int64_t i = 0; i < d; i++) {
            sum = fmaf(row_c[i], row_c[i], sum);
            lane[i % 64] = fmaf(row_c[i], row_c[i], lane[i % 64]);
        }
        for (int j = 0; j < 64; j++)
            up += lane[j];
        plain += !same_f32(sum, ((float *)y.got)[t]);
        wrong_fold += !same_f32(up, ((float *)y.got)[t]);
    }
    assert_true(plain > 0 && wrong_fold > 0);
    lab_close(&l);
}

static double dot_of(int64_t n, const float *a, const float *b) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* head_sum is the adjoint of giving every head the same value; scatter_add of embed_fwd: <A x, y> = <x, A'
 * y>. The operands are small integers, so the sums are exact and the two sides equal. */
static void test_adjoints(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    enum { T = 19, H = 5, D = 67, V = 7 };
    float x[T * D], every[T * H * D], y[T * H * D], sum[T * D], w[V * D], taken[T * D], leaf[V * D] = {0};
    int32_t ids[T];
    for (int i = 0; i < T * D; i++)
        x[i] = (float)(below(17) - 8);
    for (int i = 0; i < T * H * D; i++) {
        y[i] = (float)(below(17) - 8);
        every[i] = x[i / (H * D) * D + i % D];
    }
    struct sy_heads all = {y, SY_F32, H * D, D}, one = {sum, SY_F32, D, 0};
    l.x.ops->head_sum(&l.x, &(struct sy_head_sum){T, H, D, all, one});
    assert_true(dot_of(T * H * D, every, y) == dot_of(T * D, x, sum));
    assert_true(dot_of(T * D, x, sum) != dot_of(T * D, x, y)); /* which one head alone is not */
    for (int i = 0; i < V * D; i++)
        w[i] = (float)(below(17) - 8);
    for (int t = 0; t < T; t++)
        ids[t] = (int32_t)below(V - 1); /* the last row is never used */
    l.x.ops->embed_fwd(&l.x, &(struct sy_embed_fwd){T, D, ids, {w, SY_F32, D, 1}, {taken, SY_F32, D, 1}});
    l.x.ops->scatter_add(&l.x, &(struct sy_scatter_add){.n = T,
                                                        .d = D,
                                                        .out_rows = V,
                                                        .index = ids,
                                                        .src = {x, SY_F32, D, 1},
                                                        .out = {leaf, SY_F32, D, 1}});
    assert_true(dot_of(T * D, taken, x) == dot_of(V * D, w, leaf));
    for (int i = (V - 1) * D; i < V * D; i++)
        assert_true(leaf[i] == 0.0f);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm_fwd),
        cmocka_unit_test(test_rmsnorm_bwd),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_head_sum),
        cmocka_unit_test(test_sigmoid_gate),
        cmocka_unit_test(test_sigmoid_gate_bwd),
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_rowdot),
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_v64_order_shows),
        cmocka_unit_test(test_adjoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
