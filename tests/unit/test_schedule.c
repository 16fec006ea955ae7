/* The learning rate of NUMERICS 3: its formula written out, the corners (warm-up longer than the run, no
 * warm-up, ratio 0 and 1, a warm-up and a decay that overlap, and their warning), the three shapes, and the
 * ten steps that the PyTorch oracle takes.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "train/schedule.h"

static double shape(enum sy_lr_scheduler_decay_type type, double p) {
    if (type == SY_DECAY_COSINE)
        return (1.0 + cos(3.14159265358979323846 * p)) / 2.0;
    return type == SY_DECAY_SQRT ? 1.0 - sqrt(p) : 1.0 - p;
}

/* NUMERICS 3, "Learning rate"; the decay's length is given, so that nothing here depends on how a half is
 * rounded. */
static double defined(const struct sy_config_lr_scheduler *c, int64_t decay, double lr, int64_t s,
                      int64_t total) {
    int64_t w = c->warmup_steps < total ? c->warmup_steps : total, stable = total + 1 - w - decay;
    if (s < w)
        return lr * ((double)(s + 1) / (double)w);
    if (s < w + stable)
        return lr;
    double p = (double)(s + 1 - w - stable) / (double)decay;
    return lr * (c->min_lr_factor + (1.0 - c->min_lr_factor) * shape(c->decay_type, p));
}

static void close_to(double got, double want) {
    if (!(fabs(got - want) <= 4e-16 * fabs(want) + 1e-19))
        fail_msg("%.17g, must be %.17g", got, want);
}

static void check(const struct sy_config_lr_scheduler *c, int64_t decay, int64_t total) {
    for (int64_t s = 0; s < total; s++) {
        double got = sy_schedule_lr(c, 3e-4, s, total);
        close_to(got, defined(c, decay, 3e-4, s, total));
        assert_true(got >= 0.0 && got <= 3e-4);
    }
}

static const enum sy_lr_scheduler_decay_type types[] = {SY_DECAY_LINEAR, SY_DECAY_SQRT, SY_DECAY_COSINE};

static void test_formula(void **state) {
    (void)state;
    static const int64_t warmups[] = {0, 1, 2, 7, 200}, totals[] = {1, 2, 3, 10, 97, 200, 201, 512};
    for (size_t t = 0; t < 3; t++)
        for (size_t i = 0; i < sizeof warmups / sizeof *warmups; i++)
            for (size_t k = 0; k < sizeof totals / sizeof *totals; k++) {
                int64_t w = warmups[i] < totals[k] ? warmups[i] : totals[k];
                struct sy_config_lr_scheduler c = {
                    .warmup_steps = warmups[i], .decay_ratio = -1, .decay_type = types[t]};
                check(&c, totals[k] - w, totals[k]);
                c.min_lr_factor = 0.25;
                check(&c, totals[k] - w, totals[k]);
                c.decay_ratio = 1; /* cut to what the warm-up leaves */
                check(&c, totals[k] - w, totals[k]);
                c.decay_ratio = 0.25; /* of 512: 128 */
                if (totals[k] == 512)
                    check(&c, 128, 512);
            }
}

static void test_oracle_steps(void **state) {
    (void)state;
    static const double factor[] = {.5, 1, 1, .875, .75, .625, .5, .375, .25, .125};
    struct sy_config_lr_scheduler c = {.warmup_steps = 2, .decay_ratio = -1, .decay_type = SY_DECAY_LINEAR};
    for (int s = 0; s < 10; s++)
        assert_true(sy_schedule_lr(&c, 8e-4, s, 10) == 8e-4 * factor[s]);
}

static void test_corners(void **state) {
    (void)state;
    struct sy_config_lr_scheduler c = {.warmup_steps = 200, .decay_ratio = -1, .decay_type = SY_DECAY_LINEAR};
    for (int s = 0; s < 8;
         s++) /* a warm-up longer than the run is cut to the run: the last step has the full rate */
        assert_true(sy_schedule_lr(&c, 1.0, s, 8) == (s + 1) / 8.0);
    c.warmup_steps = 0; /* the first step is not 0, nor is the last */
    for (int s = 0; s < 8; s++)
        assert_true(sy_schedule_lr(&c, 1.0, s, 8) == 1.0 - s / 8.0);
    for (size_t t = 0; t < 3; t++) { /* ratio 0: never decays */
        struct sy_config_lr_scheduler flat = {
            .warmup_steps = 4, .decay_ratio = 0, .decay_type = types[t], .min_lr_factor = .5};
        for (int s = 0; s < 64; s++)
            assert_true(sy_schedule_lr(&flat, 1.0, s, 64) == (s < 4 ? (s + 1) / 4.0 : 1.0));
    }
    c = (struct sy_config_lr_scheduler){.warmup_steps = 8, .decay_ratio = .25, .decay_type = SY_DECAY_LINEAR};
    for (int s = 0; s < 32; s++) { /* 8 of warm-up, 17 at the rate, then 7/8 ... 1/8 */
        double want = s < 8 ? (s + 1) / 8.0 : s < 25 ? 1.0 : (32 - s) / 8.0;
        assert_true(sy_schedule_lr(&c, 1.0, s, 32) == want);
    }
    c.decay_ratio = 1; /* overlap: 8 of warm-up, the decay over the 8 that are left */
    for (int s = 0; s < 16; s++)
        assert_true(sy_schedule_lr(&c, 1.0, s, 16) == (s < 8 ? (s + 1) / 8.0 : (16 - s) / 8.0));
    c.warmup_steps = 100; /* warm-up over all of it */
    assert_true(sy_schedule_lr(&c, 1.0, 15, 16) == 1.0);
    assert_true(sy_schedule_lr(&c, 1.0, 0, 1) == 1.0);
    c.warmup_steps = 0;
    assert_true(sy_schedule_lr(&c, 1.0, 0, 1) == 1.0);
}

static char warned[1024];

static void warning(void *user, enum sy_log_level level, const char *line) {
    (void)user;
    assert_int_equal(level, SY_LOG_WARN);
    snprintf(warned + strlen(warned), sizeof warned - strlen(warned), "%s\n", line);
}

/* 10 steps, 4 of warm-up and 9 of decay asked for: 6 of decay, without a jump, and a warning. */
static void test_overlap(void **state) {
    (void)state;
    struct sy_config_lr_scheduler c = {.warmup_steps = 4, .decay_ratio = .9, .decay_type = SY_DECAY_LINEAR};
    static const double want[] = {2e-4,     4e-4,       6e-4, 8e-4,       8e-4,
                                  4e-3 / 6, 3.2e-3 / 6, 4e-4, 1.6e-3 / 6, .8e-3 / 6};
    const struct sy_log log = {warning, NULL};
    for (int s = 0; s < 10; s++)
        close_to(sy_schedule_lr(&c, 8e-4, s, 10), want[s]);
    for (size_t t = 0; t < 3; t++) /* wherever they overlap: up, then down */
        for (c.warmup_steps = 0; c.warmup_steps <= 110; c.warmup_steps += 10)
            for (c.decay_type = types[t], c.decay_ratio = 0; c.decay_ratio <= 1; c.decay_ratio += .125)
                for (int s = 1; s < 100; s++) {
                    double was = sy_schedule_lr(&c, 1.0, s - 1, 100), now = sy_schedule_lr(&c, 1.0, s, 100);
                    assert_true(s < c.warmup_steps ? now > was : now <= was);
                }
    c = (struct sy_config_lr_scheduler){.warmup_steps = 4, .decay_ratio = .9};
    sy_schedule_warn(&c, 10, &log);
    assert_string_equal(
        warned, "lr_scheduler.decay_ratio = 0.9 asks for 9 of 10 steps and warm-up takes 4: the decay is cut "
                "to 6\n");
    warned[0] = 0;
    sy_schedule_warn(&c, 40, &log); /* 36 and 4: fits */
    c.decay_ratio = -1;
    sy_schedule_warn(&c, 4, &log);
    assert_string_equal(warned, "");
    c.warmup_steps = 5;
    sy_schedule_warn(&c, 4, &log);
    assert_string_equal(
        warned,
        "lr_scheduler.warmup_steps = 5 is cut to training.steps = 4: the learning rate never decays\n");
}

static void test_shapes(void **state) {
    (void)state;
    struct sy_config_lr_scheduler c = {.warmup_steps = 0, .decay_ratio = -1, .decay_type = SY_DECAY_SQRT};
    assert_true(sy_schedule_lr(&c, 1.0, 16, 64) == 0.5); /* p = 1/4 */
    assert_true(sy_schedule_lr(&c, 1.0, 36, 64) == 0.25);
    c.decay_type = SY_DECAY_COSINE;
    close_to(sy_schedule_lr(&c, 1.0, 32, 64), 0.5);
    close_to(sy_schedule_lr(&c, 1.0, 16, 64), (2 + sqrt(2.0)) / 4);
    close_to(sy_schedule_lr(&c, 1.0, 48, 64), (2 - sqrt(2.0)) / 4);
    c.min_lr_factor = 0.5;
    close_to(sy_schedule_lr(&c, 1.0, 32, 64), 0.75);
    c.min_lr_factor = 1;
    for (int s = 0; s < 64; s++)
        close_to(sy_schedule_lr(&c, 1.0, s, 64), 1.0);
    for (size_t t = 0; t < 3; t++) { /* never up again, never below the least */
        struct sy_config_lr_scheduler d = {
            .warmup_steps = 5, .decay_ratio = -1, .decay_type = types[t], .min_lr_factor = .125};
        for (int s = 5; s < 500; s++) {
            double now = sy_schedule_lr(&d, 1.0, s, 500);
            assert_true(now <= sy_schedule_lr(&d, 1.0, s - 1, 500) && now >= .125);
        }
        assert_true(sy_schedule_lr(&d, 1.0, 499, 500) < .18);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formula), cmocka_unit_test(test_oracle_steps), cmocka_unit_test(test_corners),
        cmocka_unit_test(test_overlap), cmocka_unit_test(test_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
