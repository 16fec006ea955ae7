/* How far cross entropy is from fp64: V from 272 to 129280, logits of scale 1e-6 to 1e4, against loss = log
 * sum exp(x - m) - (x_t - m) in fp64. Prints the table of docs/BENCHMARKS.md, with the former definition (one
 * maximum and one V64 a row, EXP(x - m) and LOG) beside it.
 *
 * The loss of labels at random, relative, below 1 nat absolute; that of the likeliest column, absolute, where
 * the sum over blocks shows most; p, absolute, which is dlogit + [i = t] of weight 1. The tally's unit of
 * 2^-24 is taken off the loss's error.
 */
#include "ops_harness.h"

enum { VOCABULARIES = 5, SCALES = 6, LABELS = 4 };
static const int64_t vocabulary[VOCABULARIES] = {272, 1000, 32000, 50257, 129280};
static const double scale[SCALES] = {1e-6, 1e-2, 1, 30, 1e3, 1e4};
static const double loss_bound = 1.4e-7, likeliest_bound = 1e-6, p_bound = 2e-7;

struct errors {
    double loss, likeliest, p;
};

static int rows_given; /* the program's argument: as many rows of each, and no bounds */

static void note(double *most, double error) { *most = error > *most ? error : *most; }

static float *floats(int64_t n) { return must_alloc((size_t)n * sizeof(float)); }

/* A bell of deviation `size`: three uniform numbers of -1 .. 1. */
static void fill(int64_t v, double size, float *x) {
    for (int64_t i = 0; i < v; i++)
        x[i] = (float)(size * ((double)uniform() + (double)uniform() + (double)uniform()));
}

struct exact {
    double m, z;
};
static struct exact exact_sum(int64_t v, const float *x) {
    struct exact s = {-INFINITY, 0};
    for (int64_t i = 0; i < v; i++)
        s.m = fmax(s.m, (double)x[i]);
    for (int64_t i = 0; i < v; i++)
        s.z += exp((double)x[i] - s.m);
    return s;
}
static double exact_loss(const struct exact *s, float label) { return log(s->z) - ((double)label - s->m); }

/* Label 0 is the likeliest. */
static void note_loss(struct errors *most, int k, double got, double want, double unit) {
    double error = fabs(got - want) - unit;
    if (k == 0)
        note(&most->likeliest, error);
    else if (want < 4096)
        note(&most->loss, error / fmax(1.0, want));
}

static void former(int64_t v, const float *x, const struct exact *s, const int32_t *label, float *e,
                   struct errors *most) {
    float m = -INFINITY;
    for (int64_t i = 0; i < v; i++)
        m = fmaxf(m, x[i]);
    for (int64_t i = 0; i < v; i++)
        e[i] = def_exp(x[i] - m);
    float z = def_v64(v, e, NULL), inverse = 1.0f / z;
    for (int64_t i = 0; i < v; i++)
        note(&most->p, fabs((double)(e[i] * inverse) - exp((double)x[i] - s->m) / s->z));
    for (int k = 0; k < LABELS; k++) {
        double got = (double)(def_log(z) - (x[label[k]] - m));
        note_loss(most, k, got, exact_loss(s, x[label[k]]), 0);
    }
}

static void now(struct lab *l, int64_t v, const float *x, const struct exact *s, const int32_t *label,
                float *d, struct errors *most) {
    float w = 1.0f;
    for (int k = 0; k < LABELS; k++) {
        struct sy_tally tally = sy_tally_empty;
        l->x.ops->cross_entropy(
            &l->x, &(struct sy_cross_entropy){1, v, x, label + k, &w, {d, SY_F32, v, 1}, &tally});
        assert_int_equal(tally.n_bad, 0);
        assert_true(tally.loss >= 0);
        note_loss(most, k, (double)tally.loss * 0x1p-24, exact_loss(s, x[label[k]]), 0x1p-25);
        for (int64_t i = 0; i < v && k == 0; i++)
            if (i != label[k])
                note(&most->p, fabs((double)d[i] - exp((double)x[i] - s->m) / s->z));
    }
}

static struct lab open_lab(const struct sy_ops *ops) {
    struct lab l = lab_open(ops, SY_NUMERIC_FP32, 1);
    free(l.x.scratch);
    l.x.scratch_bytes = (size_t)(2 * vocabulary[VOCABULARIES - 1]) * sizeof(float);
    l.x.scratch = aligned_alloc(64, l.x.scratch_bytes / 64 * 64 + 64);
    assert_non_null(l.x.scratch);
    return l;
}

/* All tiers have the same bits (test_loss.c): the last that runs here is taken. */
static const struct sy_ops *last_tier(void) {
    const char *why;
    int tier = sy_ops_n_tiers() - 1;
    while (tier > 0 && !sy_ops_tier(tier, &why))
        tier--;
    return sy_ops_tier(tier, &why);
}

static void choose_labels(int64_t v, const float *x, int32_t *label) {
    label[0] = 0;
    for (int32_t i = 0; i < v; i++)
        label[0] = x[i] > x[label[0]] ? i : label[0];
    for (int k = 1; k < LABELS; k++)
        label[k] = (int32_t)below(v);
}

static void print_errors(const struct errors *is, const struct errors *was) {
    print_message(" | %.2g %.2g | %.2g %.2g | %.2g %.2g |\n", is->loss, was->loss, is->likeliest,
                  was->likeliest, is->p, was->p);
}

static void worst(struct errors *all, const struct errors *one) {
    note(&all->loss, one->loss);
    note(&all->likeliest, one->likeliest);
    note(&all->p, one->p);
}

static void near_fp64(void **state) {
    (void)state;
    struct lab l = open_lab(last_tier());
    float *x = floats(vocabulary[VOCABULARIES - 1]), *e = floats(vocabulary[VOCABULARIES - 1]);
    struct errors all = {0}, before = {0};
    print_message("| V | scale | loss: now, before | likeliest: now, before | p: now, before |\n");
    for (int v = 0; v < VOCABULARIES; v++)
        for (int k = 0; k < SCALES; k++) {
            int64_t n = vocabulary[v];
            struct errors is = {0}, was = {0};
            for (int row = 0; row < (rows_given ? rows_given : n < 2000 ? 100 : 3); row++) {
                int32_t label[LABELS];
                fill(n, scale[k], x);
                choose_labels(n, x, label);
                struct exact s = exact_sum(n, x);
                now(&l, n, x, &s, label, e, &is);
                former(n, x, &s, label, e, &was);
            }
            print_message("| %lld | %g", (long long)n, scale[k]);
            print_errors(&is, &was);
            assert_true(rows_given ||
                        (is.loss <= loss_bound && is.likeliest <= likeliest_bound && is.p <= p_bound));
            worst(&all, &is);
            worst(&before, &was);
        }
    print_message("| all | all");
    print_errors(&all, &before);
    assert_true(rows_given ||
                (all.loss <= before.loss && all.likeliest <= before.likeliest && all.p <= before.p));
    free(x);
    free(e);
    lab_close(&l);
}

int main(int argc, char **argv) {
    rows_given = argc > 1 ? atoi(argv[1]) : 0;
    const struct CMUnitTest tests[] = {cmocka_unit_test(near_fp64)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
