/* The loop that a peak is measured with: it does the work that it says (no compiler left it out),
 * no product of its tier and class passes it, and an emulated class has none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "ops/ops.h"

enum { N = 128, ATTEMPTS = 12, ROUNDS = 1 << 14 };

/* No core of today does more: 4 instructions of 64 FLOPs a cycle at 8 GHz; of tiles, 1024 FLOPs a cycle. */
static const double ABSURD = 2.05e12, ABSURD_OF_TILES = 8.2e12;

static double product_rate(const struct sy_exec *x, const void *data, float *out) {
    struct sy_mat a = sy_mat_of((void *)(uintptr_t)data, x->dtype, N);
    struct sy_linear op = {
        .rows = sy_rows_dense(1, N), .k = N, .n = N, .x = a, .w = {.m = a}, .y = sy_mat_of(out, SY_F32, N)};
    double begin = sy_clock();
    x->ops->linear(x, &op);
    return 2.0 * N * N * N / (sy_clock() - begin);
}

static void check(const struct sy_ops *ops, enum sy_numeric_class cls) {
    static uint16_t data[2 * N * N];
    static float out[N * N];
    const char *name = sy_class_name(cls);
    struct sy_exec x = {.device = sy_device_cpu(), .ops = ops};
    sy_exec_set_class(&x, cls);
    struct sy_peak one = ops->peak(cls, 1), many = ops->peak(cls, ROUNDS);
    assert_int_equal(one.instruction != NULL,
                     cls != SY_NUMERIC_SM90 && ops != sy_ops_tier(0, &(const char *){NULL}));
    assert_true(many.flops == ROUNDS * one.flops);
    if (!one.instruction) {
        assert_true(one.flops == 0 && sy_ops_peak(&x).flops == 0 && !sy_ops_peak(&x).instruction);
        return;
    }
    x.scratch_bytes = sy_ops_scratch_bytes(N, 64, 64);
    x.scratch = aligned_alloc(64, x.scratch_bytes);
    assert_non_null(x.scratch);
    double peak = 0, product = 0, absurd = strcmp(one.instruction, "TDPBF16PS") ? ABSURD : ABSURD_OF_TILES;
    for (int i = 0; i < ATTEMPTS; i++) {
        double begin = sy_clock(), rate, got;
        ops->peak(cls, ROUNDS);
        rate = many.flops / (sy_clock() - begin);
        peak = rate > peak ? rate : peak;
        got = product_rate(&x, data, out);
        product = got > product ? got : product;
    }
    free(x.scratch);
    if (!(product < peak && peak < absurd))
        fail_msg("tier %s, class %s: %.1f GFLOP/s of %s, %.1f of a product", ops->tier, name, peak * 1e-9,
                 one.instruction, product * 1e-9);
    struct sy_peak first = sy_ops_peak(&x), again = sy_ops_peak(&x);
    assert_true(first.flops > 0 && first.flops < absurd && first.flops == again.flops);
}

static void every_tier_and_class(void **state) {
    (void)state;
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const char *why;
        const struct sy_ops *ops = sy_ops_tier(tier, &why);
        for (int cls = 0; ops && cls < SY_N_CLASSES; cls++)
            check(ops, (enum sy_numeric_class)cls);
    }
}

/* However many numbers of threads are asked for, what was measured first is said again. */
static void all_are_kept(void **state) {
    enum { POOLS = 40 };
    struct sy_pool *pool[POOLS];
    double first[POOLS];
    const char *why;
    (void)state;
    struct sy_exec x = {.device = sy_device_cpu(), .ops = sy_ops_tier(0, &why)};
    for (int i = 1; i < sy_ops_n_tiers(); i++)
        x.ops = sy_ops_tier(i, &why) ? sy_ops_tier(i, &why) : x.ops;
    sy_exec_set_class(&x, SY_NUMERIC_FP32);
    if (!x.ops->peak(x.cls, 1).instruction)
        skip();
    for (int turn = 0; turn < 2; turn++)
        for (int i = 0; i < POOLS; i++) {
            assert_int_equal(sy_pool_create(i + 1, &pool[i]), SY_OK);
            x.pool = pool[i];
            double rate = sy_ops_peak(&x).flops;
            assert_true(turn == 0 ? rate > 0 : rate == first[i]);
            first[i] = rate;
            sy_pool_destroy(pool[i]);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_tier_and_class),
                                       cmocka_unit_test(all_are_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
