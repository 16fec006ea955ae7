/* Weights that are set from outside become stored ones in one call of an op, however many tensors there are:
 * of a model, and of an MoE layer by itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/fmath.h"
#include "layerapi/layerapi.h"

#include "../lib/session.h"
#include "moe_public_problem.h"

static struct {
    const struct sy_ops *inner;
    int calls, items;
} seen;

static void counted_cast(const struct sy_exec *x, const struct sy_cast *op) {
    seen.calls++;
    seen.items += op->n_items;
    seen.inner->cast(x, op);
}

static struct sy_ops counted(const struct sy_ops *inner) {
    struct sy_ops ops = *inner;
    seen.inner = inner;
    seen.calls = seen.items = 0;
    ops.cast = counted_cast;
    return ops;
}

static float bf16(const void *stored, int64_t i) {
    return sy_f32_from_bits((uint32_t)((const uint16_t *)stored)[i] << 16);
}

/* Values that BF keeps, so that what is stored is what was set. */
static void test_model(void **state) {
    (void)state;
    const char *options[][2] = {{"model.flavor", "micro_mla"}, {"numerics.class", "x86"}};
    struct sy_session *s = session_of(config_with(options, 2), SY_SESSION_TRAIN);
    struct sy_ops ops = counted(s->exec.ops);
    int stored = 0;
    s->exec.ops = &ops;
    for (int i = 0; i < s->params->n_tensors; i++)
        for (int64_t k = 0; k < s->params->tensor[i].n; k++)
            s->state.of[SY_STATE_W][i][k] = (float)(i % 64 + k % 128);
    expect_ok(sy_session_weights_changed(s));
    for (int i = 0; i < s->params->n_tensors; i++) {
        const struct sy_tensor *t = &s->params->tensor[i];
        const void *at = s->weights.keeper.of(s->weights.keeper.self, i).at;
        stored += at != NULL;
        for (int64_t k = 0; at && k < t->n; k++)
            assert_true(bf16(at, k) == (float)(i % 64 + k % 128));
    }
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.items, stored);
    assert_true(stored > 20);
    close_session(s);
}

static void test_layer(void **state) {
    (void)state;
    static struct tensors weights;
    const struct problem *p = &problems[1];
    struct sy_config *config = config_of(p->options);
    struct sy_moe_options options = options_of(p, "x86");
    struct sy_moe_tensors w = view(p, &weights, 0);
    struct sy_moe *moe;
    expect_ok(sy_moe_create(config, &options, NULL, &moe));
    struct sy_ops ops = counted(moe->exec.ops);
    int64_t experts = moe->n_experts, n = options.dim * options.inter_dim, shared = sy_moe_shared_width(moe);
    moe->exec.ops = &ops;
    for (int64_t i = 0; i < experts * n; i++) {
        weights.w1[i] = (float)(i % 128);
        weights.w3[i] = (float)(128 + i % 64);
        weights.w2[i] = (float)(i % 64);
    }
    expect_ok(sy_moe_set_weights(moe, &w, 1));
    for (int64_t i = 0; i < experts * n; i++) {
        int64_t at = i / n * 2 * n + i % n;
        assert_true(bf16(moe->w13.data, at) == (float)(i % 128));
        assert_true(bf16(moe->w13.data, at + n) == (float)(128 + i % 64));
        assert_true(bf16(moe->w2.data, i) == (float)(i % 64));
    }
    assert_int_equal(seen.calls, 1);
    assert_int_equal(seen.items, 2 + 2 * experts + (shared ? 3 : 0) + (moe->config.shared_gate ? 1 : 0));
    sy_moe_destroy(moe);
    sy_config_destroy(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model), cmocka_unit_test(test_layer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
