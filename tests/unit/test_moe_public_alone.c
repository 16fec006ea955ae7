/* The MoE layer by itself, through switchyard.h, on one rank. Laws, compared with ==: a leaf is added to what
 * is there, and pads each sequence to KB; given routes, in any order, give what the router's own gave;
 * prepared weights follow the version; the bias follows the counts; nothing is allocated. In class fp32 the
 * gradients are those of finite differences.
 */
#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "moe_public_problem.h"

static float x[T * D], dy[T * D];
static struct tensors weights;

static struct sy_moe *layer(const struct problem *p, const char *cls) {
    struct sy_config *config = config_of(p->options);
    struct sy_moe_options options = options_of(p, cls);
    struct sy_moe_tensors w = view(p, &weights, 0);
    struct sy_moe *moe;
    assert_non_null(config);
    if (sy_moe_create(config, &options, NULL, &moe) != SY_OK)
        fail_msg("%s", sy_error_message());
    assert_int_equal(sy_moe_set_weights(moe, &w, 1), SY_OK);
    sy_config_destroy(config);
    return moe;
}

static void test_leaves_add(void **state) {
    (void)state;
    static struct tensors a, b, both;
    static float y[T * D];
    const struct problem *p = &problems[1];
    struct sy_moe *moe = layer(p, "x86");
    struct sy_moe_tensors ga = view(p, &a, 0), gb = view(p, &b, 0), g = view(p, &both, 0);
    struct sy_moe_batch batch = {.n_sequences = 4};
    for (int i = 0; i < 2; i++) {
        struct sy_moe_tensors *apart = i ? &gb : &ga;
        for (int twice = 0; twice < 2; twice++) {
            assert_int_equal(sy_moe_forward(moe, i, &batch, x + i * 4 * S * D, y), SY_OK);
            assert_int_equal(sy_moe_backward(moe, i, dy + i * 4 * S * D, NULL, twice ? &g : apart), SY_OK);
        }
    }
    const float *pa = a.gate, *pb = b.gate, *pg = both.gate; /* the struct is floats from end to end */
    for (size_t i = 0; i < sizeof a / sizeof(float); i++)
        assert_true(pg[i] == pa[i] + pb[i]);
    assert_true(both.shared_gate[0] != 0 && both.w2[0] != 0 && both.gate_bias[0] != 0);
    sy_moe_destroy(moe);
}

/* A leaf pads each sequence's segment to KB: sequences that are filled with zero tokens up to a multiple of
 * it give its bits.
 */
static void test_padding(void **state) {
    (void)state;
    enum { LONGEST = 32, CLASSES = 3 };
    static float px[B * LONGEST * D], pdy[B * LONGEST * D], y[B * LONGEST * D];
    static struct tensors grads[2];
    static const char *const cls[CLASSES] = {"x86", "sm90", "amx"};
    static const int filled_len[CLASSES] = {10, 16, 32};
    for (int c = 0; c < CLASSES; c++)
        for (int i = 0; i < N_PROBLEMS; i++) {
            const struct problem *p = &problems[i];
            struct sy_config *config = config_of(p->options);
            struct sy_moe_options o = options_of(p, cls[c]);
            if (p->losses) /* zero tokens change the means of these */
                assert_int_equal(sy_option_set(config, "moe.seq_aux_loss_coeff", "0") |
                                     sy_option_set(config, "moe.z_loss_coeff", "0"),
                                 SY_OK);
            memset(grads, 0, sizeof grads);
            for (int filled = 0; filled < 2; filled++) {
                struct sy_moe_tensors w = view(p, &weights, 0), g = view(p, &grads[filled], 0);
                struct sy_moe_batch batch = {.n_sequences = B};
                struct sy_moe *moe;
                o.seq_len = filled ? filled_len[c] : S;
                memset(px, 0, sizeof px);
                memset(pdy, 0, sizeof pdy);
                for (int b = 0; b < B; b++) {
                    memcpy(px + b * o.seq_len * D, x + b * S * D, S * D * sizeof(float));
                    memcpy(pdy + b * o.seq_len * D, dy + b * S * D, S * D * sizeof(float));
                }
                assert_int_equal(sy_moe_create(config, &o, NULL, &moe), SY_OK);
                assert_int_equal(sy_moe_set_weights(moe, &w, 0), SY_OK);
                assert_int_equal(sy_moe_forward(moe, 0, &batch, px, y), SY_OK);
                assert_int_equal(sy_moe_backward(moe, 0, pdy, NULL, &g), SY_OK);
                sy_moe_destroy(moe);
            }
            for (int experts = 0; experts < 2; experts++)
                if (differs(&grads[0], &grads[1], experts))
                    fail_msg("%s, %s: %s differs", p->name, cls[c], differs(&grads[0], &grads[1], experts));
            sy_config_destroy(config);
        }
}

static void test_given_routes(void **state) {
    (void)state;
    static float y[T * D], again[T * D], w[T * MOST_K];
    static int32_t ids[T * MOST_K], ids_out[T * MOST_K];
    const struct problem *p = &problems[1];
    struct sy_moe *moe = layer(p, "x86");
    struct sy_moe_batch out = {.n_sequences = B, .ids_out = ids, .w_out = w};
    struct sy_moe_batch in = {.n_sequences = B, .ids_in = ids, .w_in = w, .ids_out = ids_out};
    assert_int_equal(sy_moe_eval(moe, &out, x, y), SY_OK);
    for (int t = 0; t < T; t++) { /* any order */
        int64_t at = t * p->top_k, swap = at + t % p->top_k;
        int32_t id = ids[at];
        float v = w[at];
        ids[at] = ids[swap];
        w[at] = w[swap];
        ids[swap] = id;
        w[swap] = v;
    }
    assert_int_equal(sy_moe_forward(moe, 0, &in, x, again), SY_OK);
    assert_memory_equal(y, again, sizeof y);
    assert_true(memcmp(ids, ids_out, sizeof ids) != 0 && ids_out[0] < ids_out[1]);
    in.w_in = NULL; /* the router's own weights for them are the same */
    assert_int_equal(sy_moe_forward(moe, 1, &in, x, again), SY_OK);
    assert_memory_equal(y, again, sizeof y);
    w[0] += 1;
    in.w_in = w;
    assert_int_equal(sy_moe_backward(moe, 1, dy, NULL, NULL), SY_OK);
    assert_int_equal(sy_moe_forward(moe, 1, &in, x, again), SY_OK);
    assert_memory_not_equal(y, again, D * sizeof(float));
    sy_moe_destroy(moe);
}

static void test_versions(void **state) {
    (void)state;
    static float y[T * D], again[T * D];
    static struct tensors changed;
    const struct problem *p = &problems[0];
    struct sy_moe *moe = layer(p, "x86"); /* version 1 */
    struct sy_moe_batch batch = {.n_sequences = B};
    struct sy_moe_tensors same = view(p, &weights, 0), w = view(p, &changed, 0);
    changed = weights;
    for (size_t i = 0; i < sizeof changed.w2 / sizeof(float); i++)
        changed.w2[i] *= 2;
    static const struct {
        int changed, version, differs, misses;
    } step[] = {{0, 1, 0, 1}, {1, 1, 0, 1}, {1, 2, 1, 2}, {1, 3, 1, 3},
                {0, 1, 0, 4}, {1, 0, 1, 4}, {0, 0, 0, 4}};
    for (size_t i = 0; i < sizeof step / sizeof *step; i++) {
        assert_int_equal(sy_moe_set_weights(moe, step[i].changed ? &w : &same, step[i].version), SY_OK);
        assert_int_equal(sy_moe_eval(moe, &batch, x, i ? again : y), SY_OK);
        if (i)
            assert_int_equal(memcmp(y, again, sizeof y) != 0, step[i].differs);
        assert_int_equal(counter(moe, "cached_w2t_miss"), step[i].misses);
        assert_int_equal(counter(moe, "cached_w13_miss"), step[i].misses);
    }
    assert_int_equal(counter(moe, "cached_w2t_hit"), 1);
    /* a version that comes again with other values, and was prepared in between */
    assert_int_equal(sy_moe_set_weights(moe, &same, 5), SY_OK);
    assert_int_equal(sy_moe_eval(moe, &batch, x, again), SY_OK);
    assert_memory_equal(y, again, sizeof y);
    assert_int_equal(sy_moe_set_weights(moe, &same, 6), SY_OK);
    assert_int_equal(sy_moe_set_weights(moe, &w, 5), SY_OK);
    assert_int_equal(sy_moe_eval(moe, &batch, x, again), SY_OK);
    assert_memory_not_equal(y, again, sizeof y);
    assert_int_equal(counter(moe, "no such counter"), -1);
    sy_moe_destroy(moe);
}

static void test_bias(void **state) {
    (void)state;
    static float y[T * D];
    const struct problem *p = &problems[3]; /* not centred, forced: given routes below need another */
    struct problem free_routes = *p;
    free_routes.forced = 0;
    struct sy_moe *moe = layer(&free_routes, "fp32");
    int32_t ids[T * MOST_K];
    int64_t counts[MOST_E];
    float bias[MOST_E];
    for (int i = 0; i < T * p->top_k; i++)
        ids[i] = i % p->top_k; /* experts 0, 1, 2 take all */
    struct sy_moe_batch batch = {.n_sequences = B, .ids_in = ids};
    assert_int_equal(sy_moe_eval(moe, &batch, x, y), SY_OK); /* not counted */
    assert_int_equal(sy_moe_forward(moe, 0, &batch, x, y), SY_OK);
    assert_int_equal(sy_moe_backward(moe, 0, dy, NULL, NULL), SY_OK);
    sy_moe_counts(moe, counts);
    for (int e = 0; e < p->experts; e++)
        assert_int_equal(counts[e], e < 3 ? T : 0);
    for (int step = 1; step <= 2; step++) {
        assert_int_equal(sy_moe_update_bias(moe), SY_OK);
        assert_int_equal(sy_moe_expert_bias(moe, bias), SY_OK);
        for (int e = 0; e < p->experts; e++) /* the second step has no counts: nothing moves */
            assert_true(bias[e] == (e < 3 ? -1e-3f : 1e-3f));
    }
    bias[4] = 100;
    assert_int_equal(sy_moe_set_expert_bias(moe, bias), SY_OK);
    batch.ids_in = NULL;
    assert_int_equal(sy_moe_forward(moe, 0, &batch, x, y), SY_OK);
    sy_moe_counts(moe, counts);
    assert_int_equal(counts[4], T);
    sy_moe_discard(moe);
    sy_moe_counts(moe, counts);
    assert_int_equal(counts[4], 0);
    sy_moe_destroy(moe);
}

/* A loss that is not finite is not 0 and not the sum of the others; giving up the step forgets it. */
static void test_losses_not_finite(void **state) {
    (void)state;
    static float far[T * D], y[T * D];
    struct sy_moe *moe = layer(&problems[2], "fp32");
    struct sy_moe_batch batch = {.n_sequences = B};
    double balance, z, again, z_again;
    memcpy(far, x, sizeof far);
    for (int i = 0; i < D; i++)
        far[i] = 1e25f; /* the first token's logits are finite, their square is not */
    assert_int_equal(sy_moe_forward(moe, 0, &batch, x, y), SY_OK);
    sy_moe_losses(moe, &balance, &z);
    assert_true(balance > 0 && z > 0);
    assert_int_equal(sy_moe_forward(moe, 1, &batch, far, y), SY_OK);
    sy_moe_losses(moe, &again, &z_again);
    assert_true(isnan(again) && isnan(z_again));
    sy_moe_discard(moe);
    sy_moe_losses(moe, &again, &z_again);
    assert_true(again == 0 && z_again == 0);
    assert_int_equal(sy_moe_forward(moe, 0, &batch, x, y), SY_OK);
    sy_moe_losses(moe, &again, &z_again);
    assert_true(again == balance && z_again == z);
    sy_moe_destroy(moe);
}

static void test_allocates_nothing(void **state) {
    (void)state;
    static float y[T * D];
    static struct tensors grads;
    const struct problem *p = &problems[0];
    struct sy_moe *moe = layer(p, "x86");
    struct sy_moe_tensors w = view(p, &weights, 0), g = view(p, &grads, 0);
    struct sy_moe_batch batch = {.n_sequences = B};
    struct mallinfo2 before = mallinfo2();
    assert_int_equal(sy_moe_set_weights(moe, &w, 2), SY_OK);
    assert_int_equal(sy_moe_eval(moe, &batch, x, y), SY_OK);
    assert_int_equal(sy_moe_forward(moe, 0, &batch, x, y), SY_OK);
    struct mallinfo2 during = mallinfo2();
    assert_int_equal(sy_moe_backward(moe, 0, dy, y, &g), SY_OK);
    assert_int_equal(sy_moe_update_bias(moe), SY_OK);
    struct mallinfo2 after = mallinfo2();
    assert_true(before.uordblks == during.uordblks && before.uordblks == after.uordblks);
    sy_moe_destroy(moe);
}

/* --- finite differences
 * -------------------------------------------------------------------------------------------------
 */

struct point {
    struct tensors w;
    float x[T * D];
};

/* dy . y and the two losses, along these routes. */
static double value(struct sy_moe *moe, const struct problem *p, struct point *at, const int32_t *ids) {
    static float y[T * D];
    static int64_t version = 100;
    struct sy_moe_batch batch = {.n_sequences = B, .ids_in = p->forced ? NULL : ids};
    struct sy_moe_tensors w = view(p, &at->w, 0);
    double sum = 0, balance, z;
    assert_int_equal(sy_moe_set_weights(moe, &w, version++), SY_OK);
    assert_int_equal(sy_moe_forward(moe, 0, &batch, at->x, y), SY_OK);
    sy_moe_losses(moe, &balance, &z);
    sy_moe_discard(moe);
    for (int i = 0; i < T * D; i++)
        sum += (double)dy[i] * (double)y[i];
    return sum + (p->losses ? 0.5 * balance + 0.25 * z : 0.0);
}

static void test_finite_differences(void **state) {
    (void)state;
    static struct point at, moved, grad, u;
    static float y[T * D];
    static int32_t ids[T * MOST_K];
    static const struct {
        const char *name;
        size_t offset, n;
    } part[] = {
#define PART(name) {#name, offsetof(struct point, name), sizeof at.name / sizeof(float)}
        PART(x),    PART(w.gate),      PART(w.gate_bias), PART(w.w1),        PART(w.w3),
        PART(w.w2), PART(w.shared_w1), PART(w.shared_w3), PART(w.shared_w2), PART(w.shared_gate)};
    for (int i = 0; i < N_PROBLEMS; i++) {
        const struct problem *p = &problems[i];
        struct sy_moe *moe = layer(p, "fp32");
        struct sy_moe_batch batch = {.n_sequences = B, .ids_out = ids};
        at.w = weights;
        memcpy(at.x, x, sizeof x);
        memset(&grad, 0, sizeof grad);
        struct sy_moe_tensors g = view(p, &grad.w, 0);
        assert_int_equal(sy_moe_forward(moe, 0, &batch, x, y), SY_OK);
        assert_int_equal(sy_moe_backward(moe, 0, dy, grad.x, &g), SY_OK);
        sy_moe_discard(moe); /* the losses */
        for (size_t k = 0; k < sizeof part / sizeof *part; k++) {
            float *v = (float *)((char *)&moved + part[k].offset),
                  *du = (float *)((char *)&u + part[k].offset);
            const float *from = (const float *)((char *)&at + part[k].offset);
            const float *dv = (const float *)((char *)&grad + part[k].offset);
            double slope = 0, norm = 0, side[2];
            fill(du, part[k].n, 77 + k, 1.0f);
            for (size_t n = 0; n < part[k].n; n++) {
                slope += (double)dv[n] * (double)du[n];
                norm += (double)dv[n] * (double)dv[n];
            }
            for (int s = 0; s < 2; s++) {
                moved = at;
                for (size_t n = 0; n < part[k].n; n++)
                    v[n] = from[n] + (s ? -1e-3f : 1e-3f) * du[n];
                side[s] = value(moe, p, &moved, ids);
            }
            double measured = (side[0] - side[1]) / 2e-3, off = fabs(measured - slope);
            if (off > 5e-3 * fabs(slope) + 5e-3 * sqrt(norm))
                fail_msg("%s, %s: slope %g, measured %g", p->name, part[k].name, slope, measured);
        }
        sy_moe_destroy(moe);
    }
}

int main(void) {
    fill(x, T * D, 11, 1.0f);
    fill(dy, T * D, 12, 1.0f);
    fill_weights(&weights);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_leaves_add),
                                       cmocka_unit_test(test_padding),
                                       cmocka_unit_test(test_given_routes),
                                       cmocka_unit_test(test_versions),
                                       cmocka_unit_test(test_bias),
                                       cmocka_unit_test(test_allocates_nothing),
                                       cmocka_unit_test(test_finite_differences),
                                       cmocka_unit_test(test_losses_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
