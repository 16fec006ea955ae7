/* Digests (NUMERICS 6): the rule once more, element by element; order and splitting do not matter, places
 * and bits do. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/rng.h"

enum { N = 1500 };

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint32_t word(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static float number(uint32_t u) {
    float x;
    memcpy(&x, &u, 4);
    return x;
}

static void fill(float *x) {
    for (uint64_t i = 0; i < N; i++) {
        uint32_t u = (uint32_t)(mix(i + 77) >> 32);
        x[i] = number(i % 50 == 0 ? u & 0x80000000u : u); /* any bits: subnormals, Inf and NaN among them */
    }
}

static int equal(struct sy_digest a, struct sy_digest b) {
    return a.sum[0] == b.sum[0] && a.sum[1] == b.sum[1];
}

static struct sy_digest whole(const float *x) {
    struct sy_digest d = {{0, 0}};
    sy_digest_add_f32(&d, 123, 0, x, N);
    return d;
}

static void is_the_rule(void **state) {
    (void)state;
    float x[N];
    fill(x);
    struct sy_digest want = {{0, 0}}, raw = {{0, 0}}, got = whole(x);
    for (uint64_t salt = 1; salt <= 2; salt++)
        for (uint64_t i = 0; i < N; i++) {
            uint64_t k = mix(123 + salt) + i * 0x9e3779b97f4a7c15u;
            want.sum[salt - 1] += mix(k ^ (x[i] != x[i] ? 0x7fc00000u : word(x[i])));
            raw.sum[salt - 1] += mix(k ^ word(x[i]));
        }
    assert_true(equal(got, want));
    assert_false(equal(raw, got)); /* there are NaN among the bits */
    struct sy_digest words = {{0, 0}};
    sy_digest_add_words(&words, 123, 700, x + 700, N - 700);
    sy_digest_add_words(&words, 123, 0, x, 700);
    assert_true(equal(words, raw));
}

static void pieces_in_any_order(void **state) {
    (void)state;
    float x[N];
    fill(x);
    struct sy_digest all = whole(x);
    for (uint64_t round = 0; round < 20; round++) {
        struct sy_digest parts[2] = {{{0, 0}}, {{0, 0}}};
        size_t cut[6] = {0, 0, 0, 0, 0, N};
        for (int i = 1; i < 5; i++)
            cut[i] = cut[i - 1] + mix(round * 8 + (uint64_t)i) % (N / 5);
        for (int i = 4; i >= 0; i--)
            sy_digest_add_f32(&parts[i % 2], 123, cut[i], x + cut[i], cut[i + 1] - cut[i]);
        sy_digest_join(&parts[0], &parts[1]);
        assert_true(equal(parts[0], all));
    }
    struct sy_digest ab = {{0, 0}}, ba = {{0, 0}};
    sy_digest_add_f32(&ab, 1, 0, x, 10);
    sy_digest_add_f32(&ab, 2, 0, x, 20);
    sy_digest_add_f32(&ba, 2, 0, x, 20);
    sy_digest_add_f32(&ba, 1, 0, x, 10);
    assert_true(equal(ab, ba));
    sy_digest_add_f32(&ba, 3, 5, x, 0);
    assert_true(equal(ab, ba));
}

/* All NaN are one; every other bit, place and name counts. */
static void what_is_seen(void **state) {
    (void)state;
    float x[N];
    fill(x);
    x[3] = number(0x7fc00000u);
    struct sy_digest first = whole(x);
    static const uint32_t nans[] = {0x7f800001u, 0xffffffffu, 0xffc00000u, 0x7fffffffu, 0xff800001u};
    for (size_t i = 0; i < sizeof nans / sizeof *nans; i++) {
        memcpy(&x[3], &nans[i], 4); /* not through a float: a copy may quieten it */
        assert_true(equal(whole(x), first));
    }
    x[3] = INFINITY;
    assert_false(equal(whole(x), first));
    fill(x);
    first = whole(x);
    for (int bit = 0; bit < 32; bit++) {
        x[7] = number(word(1.5f) ^ 1u << bit);
        struct sy_digest one = whole(x);
        x[7] = 1.5f;
        struct sy_digest other = whole(x);
        assert_true(one.sum[0] != other.sum[0] && one.sum[1] != other.sum[1]);
    }
    float t = x[10];
    first = whole(x);
    x[10] = x[11];
    x[11] = t;
    assert_false(equal(whole(x), first));
    struct sy_digest named = {{0, 0}};
    sy_digest_add_f32(&named, 124, 0, x, N);
    assert_false(equal(named, whole(x)));
    float zero = 0.0f, minus = -0.0f;
    struct sy_digest a = {{0, 0}}, b = {{0, 0}}, c = {{0, 0}};
    sy_digest_add_f32(&a, 1, 0, &zero, 1);
    sy_digest_add_f32(&b, 1, 0, &minus, 1);
    sy_digest_add_f32(&c, 1, 1, &zero, 1);
    assert_false(equal(a, b));
    assert_false(equal(a, c));
}

static void hex_is_16_digits_each(void **state) {
    (void)state;
    struct sy_digest d = {{0x1, 0xfedcba9876543210u}};
    char out[SY_DIGEST_CHARS];
    sy_digest_hex(&d, out);
    assert_string_equal(out, "0000000000000001fedcba9876543210");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_rule),
        cmocka_unit_test(pieces_in_any_order),
        cmocka_unit_test(what_is_seen),
        cmocka_unit_test(hex_is_16_digits_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
