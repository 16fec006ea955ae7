/* The router and its auxiliary losses in class fp32 against PyTorch in double precision:
 * tests/data/oracles/router.json and router_losses.json, made by tools/make_oracles.py. Operands are an
 * integer formula of their names. Bound: 2e-5 per tensor.
 */
#include "ops_harness.h"

#include <jansson.h>

#include "../lib/oracle_values.h"

enum { E = 16, K = 4, ROUTER_T = 24, B = 2, S = 72, T = B * S };

/* --- operands ------------------------------------------------------------------------------------------- */

static void operand(const char *name, int64_t n, float size, float *out) {
    for (int64_t i = 0; i < n; i++)
        out[i] = size * (float)unit(key_of(name), (uint64_t)i);
}

/* --- the router ----------------------------------------------------------------------------------------- */

/* |got - want| / |want| of a [rows][cols] list. */
static double distance(const json_t *list, int64_t rows, int64_t cols, const float *got) {
    double error = 0, size = 0;
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < cols; i++) {
            double want = json_number_value(json_array_get(json_array_get(list, (size_t)t), (size_t)i));
            error += (want - (double)got[t * cols + i]) * (want - (double)got[t * cols + i]);
            size += want * want;
        }
    return sqrt(error / size);
}

static int names(const json_t *q, const char *key, const char *value) {
    const char *s = json_string_value(json_object_get(q, key));
    return s && strcmp(s, value) == 0;
}

static int64_t integer(const json_t *q, const char *key) {
    return json_integer_value(json_object_get(q, key));
}

static enum sy_score_func score_func(const json_t *q) {
    return names(q, "score_func", "sigmoid")   ? SY_ROUTER_SIGMOID
           : names(q, "score_func", "softmax") ? SY_ROUTER_SOFTMAX
                                               : SY_ROUTER_TOPK_SOFTMAX;
}

static double real(const json_t *q, const char *key) { return json_number_value(json_object_get(q, key)); }
static double real_at(const json_t *list, int64_t i) {
    return json_number_value(json_array_get(list, (size_t)i));
}

/* What a case says of the router; logits, bias and results are the caller's. */
static struct sy_router_fwd fwd_of(const json_t *file, const json_t *q, int64_t tokens, int64_t seq_len) {
    return (struct sy_router_fwd){.tokens = tokens,
                                  .seq_len = seq_len,
                                  .layers = 1,
                                  .experts = E,
                                  .top_k = K,
                                  .score_func = score_func(q),
                                  .groups = integer(q, "groups"),
                                  .limited_groups = integer(q, "limited"),
                                  .group_top2_sum = names(q, "group_score", "top2_sum"),
                                  .route_norm = (int)integer(q, "route_norm"),
                                  .route_scale = (float)real(file, "route_scale")};
}

static void router_case(struct lab *l, const json_t *file, const json_t *q) {
    float logits[ROUTER_T * E], bias[E], dw[ROUTER_T * K], s[ROUTER_T * E], w[ROUTER_T * K],
        dlogits[ROUTER_T * E];
    int32_t ids[ROUTER_T * K];
    int64_t bad = SY_NO_TOKEN;
    assert_true(integer(file, "T") == ROUTER_T && integer(file, "E") == E && integer(file, "K") == K);
    operand("router.logits", ROUTER_T * E, 4.0f, logits);
    operand("router.bias", E, 0x1p-4f, bias);
    operand("router.dw", ROUTER_T * K, 1.0f, dw);
    struct sy_router_fwd fwd = fwd_of(file, q, ROUTER_T, ROUTER_T);
    fwd.logits = logits, fwd.bias = bias, fwd.s = s, fwd.ids = ids, fwd.w = w, fwd.bad_token = &bad;
    l->x.ops->router_fwd(&l->x, &fwd);
    l->x.ops->router_bwd(&l->x, &(struct sy_router_bwd){ROUTER_T, E, K, fwd.score_func, fwd.route_norm,
                                                        fwd.route_scale, s, ids, dw, NULL,
                                                        sy_mat_of(dlogits, SY_F32, E)});
    for (int64_t i = 0; i < ROUTER_T * K; i++)
        assert_int_equal(ids[i],
                         json_integer_value(json_array_get(
                             json_array_get(json_object_get(q, "ids"), (size_t)(i / K)), (size_t)(i % K))));
    double w_error = distance(json_object_get(q, "w"), ROUTER_T, K, w),
           d_error = distance(json_object_get(q, "dlogits"), ROUTER_T, E, dlogits);
    if (!(w_error < 2e-5 && d_error < 2e-5))
        fail_msg("router oracle, %s: weights are off by %g, gradients by %g",
                 json_string_value(json_object_get(q, "score_func")), w_error, d_error);
}

static json_t *oracle(const char *path, size_t n_cases) {
    json_error_t e;
    json_t *file = json_load_file(path, 0, &e);
    if (!file)
        fail_msg("%s: %s", path, e.text);
    assert_int_equal(json_array_size(json_object_get(file, "cases")), n_cases);
    return file;
}

static void test_router(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    json_t *file = oracle("tests/data/oracles/router.json", 18), *cases = json_object_get(file, "cases");
    for (size_t i = 0; i < json_array_size(cases); i++)
        router_case(&l, file, json_array_get(cases, i));
    json_decref(file);
    lab_close(&l);
}

/* --- balance and z losses ------------------------------------------------------------------------------- */

/* Relative error of a [T, E] tensor by its norm, three projections and 32 samples. */
static double tensor_error(const json_t *want, const float *x) {
    char name[64];
    snprintf(name, sizeof name, "router_losses.%s", json_string_value(json_object_get(want, "name")));
    const json_t *samples = json_object_get(want, "samples");
    uint64_t key = key_of(name);
    double norm = real(want, "norm"), sum = 0, difference = 0;
    for (int64_t i = 0; i < T * E; i++)
        sum += (double)x[i] * (double)x[i];
    double error = fabs(sqrt(sum) - norm) / norm;
    for (int64_t p = 1; p <= 3; p++) { /* a projection of a random error of size e has size e / sqrt(3) */
        double along = 0;
        for (int64_t i = 0; i < T * E; i++)
            along += (double)x[i] * unit(key + (uint64_t)p * salt, (uint64_t)i);
        error = fmax(error, fabs(along - real_at(json_object_get(want, "projections"), p - 1)) / norm);
    }
    int64_t count = (int64_t)json_array_size(samples);
    assert_int_equal(count, 32);
    for (int64_t j = 0; j < count; j++)
        difference +=
            pow((double)x[mix(key + 4 * salt + (uint64_t)j * golden) % (T * E)] - real_at(samples, j), 2);
    return fmax(error, sqrt(difference * T * E / (double)count) / norm);
}

static void check(const json_t *q, int result, const float *x) {
    const json_t *want = json_array_get(json_object_get(q, "results"), (size_t)result);
    double error = tensor_error(want, x);
    if (!(error < 2e-5))
        fail_msg("router_losses oracle, %s, groups by %s: gradient \"%s\" is off by %g",
                 json_string_value(json_object_get(q, "score_func")),
                 json_string_value(json_object_get(q, "group_score")),
                 json_string_value(json_object_get(want, "name")), error);
}

static void losses_case(struct lab *l, const json_t *file, const json_t *q) {
    static float logits[T * E], bias[E], dw[T * K], s[T * E], w[T * K], dl[T * E], dlogits[T * E];
    static int32_t ids[T * K];
    int64_t bad = SY_NO_TOKEN, loss[2], n_bad = 0;
    operand("router_losses.logits", T * E, 4.0f, logits);
    operand("router.bias", E, 0x1p-4f, bias);
    operand("router_losses.dw", T * K, 1.0f, dw);
    struct sy_router_fwd fwd = fwd_of(file, q, T, S);
    fwd.logits = logits, fwd.bias = bias, fwd.s = s, fwd.ids = ids, fwd.w = w, fwd.bad_token = &bad;
    l->x.ops->router_fwd(&l->x, &fwd);
    for (int64_t b = 0; b < B;
         b++) { /* a sequence by itself: its losses; the gradients of all follow below */
        int32_t count[E] = {0};
        for (int64_t i = b * S * K; i < (b + 1) * S * K; i++)
            count[ids[i]]++;
        for (int64_t e = 0; e < E; e++)
            assert_int_equal(count[e],
                             (int32_t)real_at(json_array_get(json_object_get(q, "count"), (size_t)b), e));
        loss[0] = loss[1] = 0;
        l->x.ops->router_losses(&l->x, &(struct sy_router_losses){1, S, E, K, fwd.score_func, 1.0f, 1.0f,
                                                                  logits + b * S * E, s + b * S * E,
                                                                  ids + b * S * K, dl, loss, &n_bad});
        double balance = real_at(json_object_get(q, "balance"), b), z = real_at(json_object_get(q, "z"), b);
        assert_true(fabs((double)loss[0] * 0x1p-24 - balance) < 2e-6 * balance);
        assert_true(fabs((double)loss[1] * 0x1p-24 - z) < 2e-6 * z);
    }
    struct sy_router_losses op = {B, S, E, K, fwd.score_func, 1.0f, 0.0f, logits, s, ids, dl, loss, &n_bad};
    l->x.ops->router_losses(&l->x, &op);
    check(q, 0, dl);
    op.balance = (float)real(file, "balance_weight");
    op.z = (float)real(file, "z_weight");
    l->x.ops->router_losses(&l->x, &op);
    check(q, 1, dl);
    l->x.ops->router_bwd(&l->x,
                         &(struct sy_router_bwd){T, E, K, fwd.score_func, fwd.route_norm, fwd.route_scale, s,
                                                 ids, dw, dl, sy_mat_of(dlogits, SY_F32, E)});
    check(q, 2, dlogits);
    assert_true(tensor_error(json_array_get(json_object_get(q, "results"), 2), dl) >
                1e-2); /* control: without the weights */
    assert_int_equal(n_bad, 0);
}

static void test_losses(void **state) {
    (void)state;
    struct lab l = lab_fp32();
    json_t *file = oracle("tests/data/oracles/router_losses.json", 18),
           *cases = json_object_get(file, "cases");
    assert_true(integer(file, "B") == B && integer(file, "S") == S && integer(file, "E") == E &&
                integer(file, "K") == K);
    for (size_t i = 0; i < json_array_size(cases); i++)
        losses_case(&l, file, json_array_get(cases, i));
    json_decref(file);
    lab_close(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_router), cmocka_unit_test(test_losses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
