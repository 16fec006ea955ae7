/* bf16 and IEEE half: every value there and back; rounding to nearest even against the compiler's _Float16, and
 * for bf16 against the distances to both neighbours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "formats/halves.h"

static float widened(enum sy_safetensors_dtype dtype, uint16_t h) {
    float x;
    sy_halves_widen(dtype, &h, 1, &x);
    return x;
}

static uint16_t narrowed(enum sy_safetensors_dtype dtype, float x, int64_t *infinite, int64_t *zero) {
    uint16_t h;
    *infinite = *zero = 0;
    sy_halves_narrow(dtype, &x, 1, &h, infinite, zero);
    return h;
}

static void every_value_comes_back(void **state) {
    (void)state;
    int64_t infinite, zero;
    for (int kind = 0; kind < 2; kind++)
        for (uint32_t h = 0; h < 1u << 16; h++) {
            enum sy_safetensors_dtype dtype = kind ? SY_SAFETENSORS_F16 : SY_SAFETENSORS_BF16;
            float x = widened(dtype, (uint16_t)h);
            uint16_t back = narrowed(dtype, x, &infinite, &zero);
            if (isnan(x))
                assert_true(isnan(widened(dtype, back)));
            else
                assert_int_equal(back, h);
            assert_true(infinite == 0 && zero == 0);
            if (kind) {
                _Float16 f;
                uint16_t bits = (uint16_t)h;
                memcpy(&f, &bits, sizeof f);
                assert_true(isnan(x) ? isnan((float)f) : x == (float)f && signbit(x) == signbit((float)f));
            }
        }
}

/* Around every half: itself, the middle to the next, and the floats beside the middle. */
static void f16_rounds_as_the_compiler(void **state) {
    (void)state;
    int64_t infinite, zero;
    for (uint32_t h = 0; h < 0x7c00u; h++) {
        float low = widened(SY_SAFETENSORS_F16, (uint16_t)h),
              high = h == 0x7bffu ? 65536.0f : widened(SY_SAFETENSORS_F16, (uint16_t)(h + 1)),
              middle = low + (high - low) / 2;
        float tried[] = {low,     nextafterf(low, high),    nextafterf(middle, low),
                         middle,  nextafterf(middle, high), nextafterf(high, low),
                         -middle, -nextafterf(middle, high)};
        for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
            _Float16 wanted = (_Float16)tried[i];
            uint16_t bits, is = narrowed(SY_SAFETENSORS_F16, tried[i], &infinite, &zero);
            memcpy(&bits, &wanted, sizeof bits);
            assert_int_equal(is, bits);
            assert_int_equal(infinite, isinf((float)wanted) != 0);
            assert_int_equal(zero, wanted == 0 && tried[i] != 0);
        }
    }
}

static void bf16_takes_the_nearest(void **state) {
    (void)state;
    int64_t infinite, zero;
    for (uint32_t h = 0; h < 0x7f7fu; h++) {
        double low = widened(SY_SAFETENSORS_BF16, (uint16_t)h),
               high = widened(SY_SAFETENSORS_BF16, (uint16_t)(h + 1));
        float middle = (float)(low + (high - low) / 2);
        uint32_t even = h & 1 ? h + 1 : h;
        assert_int_equal(narrowed(SY_SAFETENSORS_BF16, middle, &infinite, &zero), even);
        assert_int_equal(narrowed(SY_SAFETENSORS_BF16, nextafterf(middle, 0), &infinite, &zero), h);
        assert_int_equal(narrowed(SY_SAFETENSORS_BF16, nextafterf(middle, INFINITY), &infinite, &zero),
                         h + 1);
        assert_int_equal(narrowed(SY_SAFETENSORS_BF16, -middle, &infinite, &zero), even | 0x8000u);
    }
    assert_int_equal(narrowed(SY_SAFETENSORS_BF16, 3.4e38f, &infinite, &zero), 0x7f80);
    assert_int_equal(infinite, 1);
    assert_int_equal(narrowed(SY_SAFETENSORS_BF16, -1e-45f, &infinite, &zero), 0x8000);
    assert_int_equal(zero, 1);
    assert_int_equal(narrowed(SY_SAFETENSORS_BF16, INFINITY, &infinite, &zero), 0x7f80);
    assert_int_equal(infinite, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_comes_back),
        cmocka_unit_test(f16_rounds_as_the_compiler),
        cmocka_unit_test(bf16_takes_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
