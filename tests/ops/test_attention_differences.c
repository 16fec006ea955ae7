/* Attention's gradients beside finite differences, class fp32. */
#include "attention_call.h"

static double loss(const struct call *c) {
    double sum = 0;
    for (int64_t t = 0; t < c->op.sequences * c->op.seq_len; t++)
        for (int64_t h = 0; h < c->op.heads; h++)
            for (int64_t i = 0; i < c->op.dv; i++)
                sum += (double)value(c->op.o, t, h, i) * (double)value(c->op.d_o, t, h, i);
    return sum;
}

/* d(loss)/d(x) along a random direction: measured by central differences, and by the op's gradient (heads:
 * of dx). */
static void check_direction(struct call *c, const struct sy_exec *x, struct sy_heads v, struct sy_heads dv,
                            int64_t heads, int64_t d, const char *what) {
    enum { MAX = S_MAX * HEADS_MAX * D_MAX };
    static float direction[MAX], old[MAX];
    int64_t tokens = c->op.sequences * c->op.seq_len, own = v.head ? heads : 1;
    double exact = 0, size = 0, at[2];
    for (int64_t i = 0; i < tokens * own * d; i++)
        direction[i] = (float)(random_below(2) * 2 - 1);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < d; i++) {
                double g = (double)value(dv, t, h, i);
                exact += g * (double)direction[(t * own + h % own) * d + i];
                size += g * g;
            }
    for (int side = 0; side < 2; side++) {
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t h = 0; h < own; h++)
                for (int64_t i = 0; i < d; i++) {
                    int64_t n = (t * own + h) * d + i;
                    old[n] = value(v, t, h, i);
                    set(v, t, h, i, old[n] + (side ? -0x1p-8f : 0x1p-8f) * direction[n]);
                }
        x->ops->attention_fwd(x, &c->op);
        at[side] = loss(c);
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t h = 0; h < own; h++)
                for (int64_t i = 0; i < d; i++)
                    set(v, t, h, i, old[(t * own + h) * d + i]);
    }
    double measured = (at[0] - at[1]) / 0x1p-7, error = fabs(measured - exact) / sqrt(size);
    if (!(error < 2e-3))
        fail_msg("%s: finite difference %.6f, gradient %.6f, norm %.6f", what, measured, exact, sqrt(size));
}

static void finite_differences(void **state) {
    (void)state;
    const struct shape s[] = {
        {.sequences = 2,
         .seq_len = 150,
         .heads = 4,
         .kv_heads = 2,
         .dv = 10,
         .n_parts = 1,
         .d = {10},
         .documents = 1},
        {.sequences = 1,
         .seq_len = 150,
         .heads = 2,
         .kv_heads = 2,
         .dv = 16,
         .n_parts = 2,
         .d = {16, 8},
         .shared_rope = 1},
        {.sequences = 1,
         .seq_len = 140,
         .heads = 2,
         .kv_heads = 1,
         .dv = 5,
         .n_parts = 1,
         .d = {6},
         .window = 20},
    };
    const char *why;
    for (int i = 0; i < 3; i++) {
        struct call c = call_new(SY_NUMERIC_FP32, &s[i]);
        run_op(&c, sy_ops_tier(0, &why), 1);
        struct sy_exec x = exec_open(sy_ops_tier(0, &why), SY_NUMERIC_FP32, 1, 64, s[i].seq_len);
        for (int round = 0; round < 3; round++) {
            for (int p = 0; p < s[i].n_parts; p++) {
                check_direction(&c, &x, c.op.slice[p].q, c.op.slice[p].dq, s[i].heads, s[i].d[p], "q");
                check_direction(&c, &x, c.op.slice[p].k, c.op.slice[p].dk, s[i].kv_heads, s[i].d[p], "k");
            }
            check_direction(&c, &x, c.op.v, c.op.d_v, s[i].kv_heads, s[i].dv, "v");
        }
        exec_close(&x);
        call_free(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finite_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
