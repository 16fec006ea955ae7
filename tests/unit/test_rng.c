/* Random numbers (NUMERICS 2): Philox4x32-10 against the published vectors, keys, the normal's moments,
 * the cut. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

/* Philox4x32-10 once more, from the paper, with all four counter words: sy_rng_philox fixes the last one
 * at 0. */
static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c[4], k[2] = {key[0], key[1]};
    memcpy(c, counter, sizeof c);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)c[0] * 0xD2511F53u, p1 = (uint64_t)c[2] * 0xCD9E8D57u;
        uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k[0], (uint32_t)p1,
                            (uint32_t)(p0 >> 32) ^ c[3] ^ k[1], (uint32_t)p0};
        memcpy(c, next, sizeof c);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    memcpy(out, c, sizeof c);
}

/* Random123's kat_vectors, "philox4x32 10". */
static void known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } kat[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    uint32_t out[4];
    for (size_t i = 0; i < 3; i++) {
        philox(kat[i].counter, kat[i].key, out);
        assert_memory_equal(out, kat[i].out, sizeof out);
    }
    sy_rng_philox(0, 0, 0, out);
    assert_memory_equal(out, kat[0].out, sizeof out);
}

/* Counter (index lo, index hi, retry, 0), key (lo, hi). */
static void words_have_their_places(void **state) {
    (void)state;
    uint64_t z = 1;
    for (int i = 0; i < 2000; i++) {
        uint64_t key = z = sy_mix64(z + 1), index = z = sy_mix64(z + 2);
        uint32_t retry = (uint32_t)(z = sy_mix64(z + 3)), got[4], want[4];
        philox((uint32_t[]){(uint32_t)index, (uint32_t)(index >> 32), retry, 0},
               (uint32_t[]){(uint32_t)key, (uint32_t)(key >> 32)}, want);
        sy_rng_philox(key, index, retry, got);
        assert_memory_equal(got, want, sizeof got);
        assert_true(sy_rng_uniform(key, index) > 0.0 && sy_rng_uniform(key, index) < 1.0);
    }
}

static void mixers(void **state) {
    (void)state;
    /* SplitMix64 with seed 0: its first outputs are mix(golden), mix(2 golden) */
    assert_true(sy_mix64(0x9e3779b97f4a7c15u) == 0xe220a8397b1dcdafu);
    assert_true(sy_mix64(2 * 0x9e3779b97f4a7c15u) == 0x6e789e6aa1b965f4u);
    assert_true(sy_fnv1a64("") == 0xcbf29ce484222325u);
    assert_true(sy_fnv1a64("a") == 0xaf63dc4c8601ec8cu);
    assert_true(sy_fnv1a64("foobar") == 0x85944171f73967e8u);
    assert_true(sy_rng_key(42, SY_RNG_INIT, 7, 99) ==
                sy_mix64(sy_mix64(42 + ((uint64_t)SY_RNG_INIT << 32) + 7) + 99));
    assert_true(sy_rng_key(42, SY_RNG_SAMPLE, 0xffffffffu, 0) ==
                sy_mix64(sy_mix64(42 + ((uint64_t)SY_RNG_SAMPLE << 32) + 0xffffffffu)));
}

static void normal_is_box_muller(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 20000; i++) {
        uint32_t w[4];
        sy_rng_philox(17, i, 3, w);
        long double u1 = ((long double)w[0] + 0.5L) * 0x1p-32L, u2 = ((long double)w[1] + 0.5L) * 0x1p-32L;
        long double want = sqrtl(-2.0L * logl(u1)) * cosl(2.0L * acosl(-1.0L) * u2);
        assert_true(fabsl((long double)sy_rng_normal(17, i, 3) - want) < 1e-14L);
    }
}

static void normal_moments(void **state) {
    (void)state;
    enum { N = 400000 };
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0, lag = 0, last = 0;
    for (uint64_t i = 0; i < N; i++) {
        double x = sy_rng_normal(sy_rng_key(1, SY_RNG_INIT, 0, 5), i, 0);
        m1 += x;
        m2 += x * x;
        m3 += x * x * x;
        m4 += x * x * x * x;
        lag += x * last;
        last = x;
    }
    /* five standard deviations of each estimate */
    assert_true(fabs(m1 / N) < 5.0 / sqrt(N));
    assert_true(fabs(m2 / N - 1.0) < 5.0 * sqrt(2.0 / N));
    assert_true(fabs(m3 / N) < 5.0 * sqrt(15.0 / N));
    assert_true(fabs(m4 / N - 3.0) < 5.0 * sqrt(96.0 / N));
    assert_true(fabs(lag / N) < 5.0 / sqrt(N));
}

/* A value beyond the cut is drawn again with the next retry; others are as they were. */
static void cut_draws_again(void **state) {
    (void)state;
    int again = 0;
    for (uint64_t i = 0; i < 50000; i++) {
        double sd = 0.02, cut = 0.03, x = sy_rng_normal_cut(9, i, sd, cut), want = 0;
        for (uint32_t retry = 0;; retry++) {
            want = sd * sy_rng_normal(9, i, retry);
            if (fabs(want) <= cut)
                break;
            again++;
        }
        assert_true(x == want && fabs(x) <= cut);
        assert_true(sy_rng_normal_cut(9, i, sd, 0.0) == sd * sy_rng_normal(9, i, 0));
    }
    assert_true(again > 5000 && again < 12000); /* 2 (1 - Phi(1.5)) = 0.134, and retries of retries */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),  cmocka_unit_test(words_have_their_places),
        cmocka_unit_test(mixers),         cmocka_unit_test(normal_is_box_muller),
        cmocka_unit_test(normal_moments), cmocka_unit_test(cut_draws_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
