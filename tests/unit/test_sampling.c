/* Sampling against its formula: the distribution of temperature, top-k and top-p, and the number that
 * decides. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "commands/sampling.h"

enum { N = 6, DRAWS = 60000 };

/* By id; ids are not in the order of the logits, and two are equal. */
static const double logits[N] = {0.3, 2.0, -1.5, 2.0, 1.1, -30.0};

static int32_t draw(const struct sy_sampling *how, int64_t index) {
    struct sy_candidate c[N];
    for (int i = 0; i < N; i++)
        c[i] = (struct sy_candidate){i, logits[i]};
    return sy_sampling_choose(how, index, N, c);
}

/* p_i = e^(l_i / T) / sum over the ids in `kept`. Five standard deviations of what DRAWS draws show. */
static void distribution_is(struct sy_sampling how, const char *kept) {
    double want[N], sum = 0;
    int64_t n[N] = {0};
    how.max_tokens = 1;
    for (int i = 0; i < N; i++)
        sum += want[i] = strchr(kept, '0' + i) ? exp(logits[i] / how.temperature) : 0.0;
    for (int64_t d = 0; d < DRAWS; d++)
        n[draw(&how, d)]++;
    for (int i = 0; i < N; i++) {
        double p = want[i] / sum, is = (double)n[i] / DRAWS;
        if (fabs(is - p) > 5 * sqrt(p * (1 - p) / DRAWS) || (p == 0 && n[i] > 0))
            fail_msg("temperature %g, top-k %lld, top-p %g: token %d has %.5f, should have %.5f",
                     how.temperature, (long long)how.top_k, how.top_p, i, is, p);
    }
}

static void temperature(void **state) {
    (void)state;
    distribution_is((struct sy_sampling){.temperature = 1, .top_p = 1, .seed = 1}, "012345");
    distribution_is((struct sy_sampling){.temperature = 0.5, .top_p = 1, .seed = 2}, "012345");
    distribution_is((struct sy_sampling){.temperature = 3, .top_p = 1, .seed = 3}, "012345");
    distribution_is((struct sy_sampling){.temperature = 100, .top_p = 1, .seed = 3}, "012345");
}

/* Of two equal ones at the edge the lower id stays. */
static void top_k(void **state) {
    (void)state;
    distribution_is((struct sy_sampling){.temperature = 1, .top_p = 1, .top_k = 1}, "1");
    distribution_is((struct sy_sampling){.temperature = 2, .top_p = 1, .top_k = 2}, "13");
    distribution_is((struct sy_sampling){.temperature = 2, .top_p = 1, .top_k = 3}, "134");
    distribution_is((struct sy_sampling){.temperature = 2, .top_p = 1, .top_k = 6}, "012345");
    distribution_is((struct sy_sampling){.temperature = 2, .top_p = 1, .top_k = 700}, "012345");
}

/* At temperature 1: 0.3869, 0.3869, 0.1573, 0.0707, 0.0117, 0. */
static void top_p(void **state) {
    (void)state;
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += exp(logits[i]);
    double first = exp(2.0) / sum, third = (2 * exp(2.0) + exp(1.1)) / sum;
    distribution_is((struct sy_sampling){.temperature = 1, .top_p = 1e-9}, "1");
    distribution_is((struct sy_sampling){.temperature = 1, .top_p = first * 0.999}, "1");
    distribution_is((struct sy_sampling){.temperature = 1, .top_p = first * 1.001}, "13");
    distribution_is((struct sy_sampling){.temperature = 1, .top_p = third * 0.999}, "134");
    distribution_is((struct sy_sampling){.temperature = 1, .top_p = third * 1.001}, "0134");
    /* The share is of what top-k leaves, and of the weights after the temperature. */
    distribution_is((struct sy_sampling){.temperature = 1, .top_k = 2, .top_p = 0.51}, "13");
    distribution_is((struct sy_sampling){.temperature = 1, .top_k = 2, .top_p = 0.49}, "1");
    distribution_is((struct sy_sampling){.temperature = 100, .top_p = 0.5}, "134");
}

static void greedy(void **state) {
    (void)state;
    for (int64_t i = 0; i < 100; i++)
        assert_int_equal(draw(&(struct sy_sampling){.temperature = 0, .top_p = 1, .seed = (uint64_t)i}, i),
                         1);
}

/* Choice i is where the uniform number of (seed, sample, i) falls: a function of both and of nothing
 * else. */
static void the_number_that_decides(void **state) {
    (void)state;
    int other_seed = 0, other_index = 0;
    double sum = 0;
    static const int order[N] = {1, 3, 4, 0, 2, 5};
    for (int i = 0; i < N; i++)
        sum += exp(logits[i]);
    for (int64_t i = 0; i < 2000; i++) {
        struct sy_sampling how = {.temperature = 1, .top_p = 1, .seed = 5}, other = how;
        double u = sy_rng_uniform(sy_rng_key(5, SY_RNG_SAMPLE, 0, 0), (uint64_t)i), at = 0;
        int want = 0;
        while (want < N - 1 && u >= (at += exp(logits[order[want]]) / sum))
            want++;
        assert_int_equal(draw(&how, i), order[want]);
        other.seed = 6;
        other_seed += draw(&other, i) != draw(&how, i);
        other_index += draw(&how, i + 1) != draw(&how, i);
    }
    assert_true(other_seed > 1000 && other_index > 1000);
}

static void bounds(void **state) {
    (void)state;
    const struct sy_sampling good = {.temperature = 0.8, .top_p = 1, .max_tokens = 10};
    struct sy_sampling bad[] = {good, good, good, good, good, good, good, good, good};
    bad[0].temperature = -0.001;
    bad[1].temperature = 100.1;
    bad[2].temperature = NAN;
    bad[3].top_p = 0;
    bad[4].top_p = 1.001;
    bad[5].top_p = NAN;
    bad[6].top_k = -1;
    bad[7].max_tokens = -1;
    bad[8].max_tokens = (1 << 24) + 1;
    assert_int_equal(sy_sampling_check(&good), SY_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(sy_sampling_check(&bad[i]), SY_ERR_USAGE);
    struct sy_sampling edge = {
        .temperature = 100, .top_p = 1e-300, .max_tokens = 1 << 24, .top_k = INT64_MAX};
    assert_int_equal(sy_sampling_check(&edge), SY_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(temperature),
                                       cmocka_unit_test(top_k),
                                       cmocka_unit_test(top_p),
                                       cmocka_unit_test(greedy),
                                       cmocka_unit_test(the_number_that_decides),
                                       cmocka_unit_test(bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
