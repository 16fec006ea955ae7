/* Rotary tables against inverse frequencies that transformers 5.24 computes (modeling_rope_utils, in fp32):
 * yarn with and without truncate, with other betas, and a factor on cosines and sines. The angle of position
 * 1 is the frequency.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "model/layer.h"

enum { MAX_D = 16, POSITIONS = 5 };

struct table {
    int d;
    struct sy_config_model model;
    double frequency[MAX_D / 2];
};

static const struct table tables[] = {
    {8,
     {.rope_theta = 1e4,
      .rope_factor = 40,
      .original_seq_len = 4096,
      .beta_fast = 32,
      .beta_slow = 1,
      .yarn_truncate = true,
      .rope_attention_factor = 1},
     {1, 0.100000001, 0.00512499968, 2.49999994e-05}},
    {16,
     {.rope_theta = 1e4,
      .rope_factor = 4,
      .original_seq_len = 64,
      .beta_fast = 8,
      .beta_slow = 0.5,
      .yarn_truncate = true,
      .rope_attention_factor = 1},
     {1, 0.237170815, 0.049999997, 0.00790569466, 0.00249999994, 0.000790569466, 0.000250000012,
      7.90569466e-05}},
    {16,
     {.rope_theta = 1e4,
      .rope_factor = 4,
      .original_seq_len = 64,
      .beta_fast = 8,
      .beta_slow = 0.5,
      .yarn_truncate = false,
      .rope_attention_factor = 1.25},
     {1, 0.238408461, 0.0442483015, 0.00790569466, 0.00249999994, 0.000790569466, 0.000250000012,
      7.90569466e-05}},
    {10,
     {.rope_theta = 5e5,
      .rope_factor = 8,
      .original_seq_len = 100,
      .beta_fast = 32,
      .beta_slow = 1,
      .yarn_truncate = false,
      .rope_attention_factor = 0.75},
     {1, 0.0123327663, 0.00065663195, 4.7591333e-05, 3.44932369e-06}},
    {8, {.rope_theta = 1e4, .rope_factor = 1, .rope_attention_factor = 0.5}, {1, 0.1, 0.01, 0.001}},
};

static void test_tables(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof tables / sizeof *tables; k++) {
        const struct table *t = &tables[k];
        int half = t->d / 2;
        float c[POSITIONS * MAX_D / 2], s[POSITIONS * MAX_D / 2];
        sy_rope_tables(&t->model, t->d, POSITIONS, c, s);
        for (int p = 0; p < POSITIONS; p++)
            for (int i = 0; i < half; i++) {
                double x = c[p * half + i], y = s[p * half + i], angle = p * t->frequency[i];
                double a = t->model.rope_attention_factor;
                if (fabs(x - a * cos(angle)) > 1e-6 || fabs(y - a * sin(angle)) > 1e-6)
                    fail_msg("table %d, position %d, %d of %d: (%.9g, %.9g), must be (%.9g, %.9g)", (int)k, p,
                             i, half, x, y, a * cos(angle), a * sin(angle));
            }
        for (int i = 0; i < half; i++) { /* small angles by their own size */
            double f = atan2(s[half + i], c[half + i]);
            if (fabs(f - t->frequency[i]) > 1e-6 * t->frequency[i])
                fail_msg("table %d, frequency %d: %.9g, must be %.9g", (int)k, i, f, t->frequency[i]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
