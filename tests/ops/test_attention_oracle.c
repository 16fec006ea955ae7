/* Attention of class fp32 against the fp64 oracle tests/data/oracles/attention.json, whose operands are an
 * integer formula.
 */
#include "attention_call.h"

#include <jansson.h>

#include "../lib/oracle_values.h"

static void fill_formula(const struct call *c, struct sy_heads v, int64_t heads, int64_t d, const char *name,
                         double times) {
    uint64_t n = 0;
    for (int64_t t = 0; t < c->op.seq_len; t++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < d; i++)
                set(v, t, h, i, (float)(unit(key_of(name), n++) * times));
}

static double number(const json_t *list, size_t i) {
    const json_t *x = json_array_get(list, i);
    assert_true(json_is_number(x));
    return json_number_value(x);
}

/* Norm, projections and samples of a result within 2e-5 of the oracle's. */
static void check_oracle(const struct call *c, const json_t *want, struct sy_heads v, int64_t heads,
                         int64_t d) {
    char name[40];
    const char *which = json_string_value(json_object_get(want, "name"));
    assert_non_null(which);
    snprintf(name, sizeof name, "attention.%s", which);
    const json_t *samples = json_object_get(want, "samples"),
                 *projections = json_object_get(want, "projections");
    double square = 0, norm = json_number_value(json_object_get(want, "norm")), projected[3] = {0};
    int64_t size = c->op.seq_len * heads * d;
    for (int64_t n = 0; n < size; n++) {
        double x = (double)value(v, n / (heads * d), n / d % heads, n % d);
        square += x * x;
        for (uint64_t p = 0; p < 3; p++)
            projected[p] += x * unit(key_of(name) + (p + 1) * salt, (uint64_t)n);
    }
    if (!(fabs(sqrt(square) - norm) <= 2e-5 * norm))
        fail_msg("%s: norm %.9g, oracle %.9g", name, sqrt(square), norm);
    for (size_t p = 0; p < 3; p++)
        if (!(fabs(projected[p] - number(projections, p)) <= 2e-5 * norm))
            fail_msg("%s: projection %zu is %.9g, oracle %.9g", name, p + 1, projected[p],
                     number(projections, p));
    assert_int_equal(json_array_size(samples), 64);
    for (size_t j = 0; j < 64; j++) {
        int64_t n = (int64_t)(mix(key_of(name) + 4 * salt + j * golden) % (uint64_t)size);
        double got = (double)value(v, n / (heads * d), n / d % heads, n % d), exact = number(samples, j);
        if (!(fabs(got - exact) <= 2e-5 * (fabs(exact) + norm / sqrt((double)size))))
            fail_msg("%s: element %lld is %.9g, oracle %.9g", name, (long long)n, got, exact);
    }
}

static void run_oracle_case(const json_t *one, double scale, const struct sy_ops *ops) {
    struct shape s = {.sequences = 1,
                      .seq_len = 200,
                      .heads = 4,
                      .kv_heads = 2,
                      .dv = 16,
                      .n_parts = 1,
                      .d = {24},
                      .documents = 1};
    struct call c = call_new(SY_NUMERIC_FP32, &s);
    const json_t *starts = json_object_get(one, "document_starts"),
                 *results = json_object_get(one, "results");
    for (size_t i = 0; i < json_array_size(starts); i++)
        for (int64_t t = (int64_t)number(starts, i); t < 200; t++)
            c.doc_start[t] = (int32_t)number(starts, i);
    c.op.scale = (float)scale;
    c.op.c = (float)(scale * 0x1.71547652b82fep+0);
    fill_formula(&c, c.op.slice[0].q, 4, 24, "attention.q",
                 json_number_value(json_object_get(one, "q_scale")));
    fill_formula(&c, c.op.slice[0].k, 2, 24, "attention.k", 1.0);
    fill_formula(&c, c.op.v, 2, 16, "attention.v", 1.0);
    fill_formula(&c, c.op.d_o, 4, 16, "attention.do", 1.0);
    run_op(&c, ops, 2);
    const struct {
        const char *name;
        struct sy_heads v;
        int64_t heads, d;
    } of[] = {{"o", c.op.o, 4, 16},
              {"lse", {c.lse, SY_F32, 4, 1}, 4, 1},
              {"dq", c.op.slice[0].dq, 4, 24},
              {"dk", c.op.slice[0].dk, 2, 24},
              {"dv", c.op.d_v, 2, 16}};
    assert_int_equal(json_array_size(results), 5);
    for (size_t i = 0; i < 5; i++) {
        const json_t *want = json_array_get(results, i);
        for (size_t q = 0; q < 5; q++)
            if (strcmp(of[q].name, json_string_value(json_object_get(want, "name"))) == 0)
                check_oracle(&c, want, of[q].v, of[q].heads, of[q].d);
    }
    call_free(&c);
}

static void fp32_is_near_the_oracle(void **state) {
    (void)state;
    json_t *all = json_load_file("tests/data/oracles/attention.json", 0, NULL);
    assert_non_null(all);
    const json_t *cases = json_object_get(all, "cases");
    assert_true(json_array_size(cases) >= 2);
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = tier_or_skip(tier);
        for (size_t i = 0; ops && i < json_array_size(cases); i++)
            run_oracle_case(json_array_get(cases, i), json_number_value(json_object_get(all, "scale")), ops);
    }
    json_decref(all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fp32_is_near_the_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
