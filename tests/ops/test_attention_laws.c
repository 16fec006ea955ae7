/* Laws of attention: documents do not mix, NaN and Inf stay in their row, a score of -Inf is a mask, a masked
 * block changes nothing.
 */
#include "attention_model.h"

static struct answer outputs(const struct call *c) {
    const struct sy_attention *op = &c->op;
    int64_t tokens = op->sequences * op->seq_len;
    struct answer a = {.o = floats(tokens * op->heads * op->dv),
                       .lse = floats(tokens * op->heads),
                       .dv = floats(tokens * op->kv_heads * op->dv),
                       .dq = {floats(tokens * op->heads * op->slice[0].d)},
                       .dk = {floats(tokens * op->kv_heads * op->slice[0].d)}};
    memcpy(a.lse, op->lse, (size_t)(tokens * op->heads) * 4);
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t h = 0; h < op->heads; h++) {
            for (int64_t i = 0; i < op->dv; i++)
                a.o[(t * op->heads + h) * op->dv + i] = value(op->o, t, h, i);
            for (int64_t i = 0; i < op->slice[0].d; i++)
                a.dq[0][(t * op->heads + h) * op->slice[0].d + i] = value(op->slice[0].dq, t, h, i);
        }
        for (int64_t h = 0; h < op->kv_heads; h++) {
            for (int64_t i = 0; i < op->dv; i++)
                a.dv[(t * op->kv_heads + h) * op->dv + i] = value(op->d_v, t, h, i);
            for (int64_t i = 0; i < op->slice[0].d; i++)
                a.dk[0][(t * op->kv_heads + h) * op->slice[0].d + i] = value(op->slice[0].dk, t, h, i);
        }
    }
    return a;
}

/* Tokens lo..hi-1 of a tensor [T, row] have the same bits (row: values a token). */
static int equal_tokens(const float *a, const float *b, int64_t lo, int64_t hi, int64_t row) {
    for (int64_t i = lo * row; i < hi * row; i++)
        if (!same(a[i], b[i]))
            return 0;
    return 1;
}

static int equal_outputs(const struct call *c, const struct answer *a, const struct answer *b, int64_t lo,
                         int64_t hi) {
    const struct sy_attention *op = &c->op;
    int64_t d = op->slice[0].d;
    return equal_tokens(a->o, b->o, lo, hi, op->heads * op->dv) &&
           equal_tokens(a->lse, b->lse, lo, hi, op->heads) &&
           equal_tokens(a->dv, b->dv, lo, hi, op->kv_heads * op->dv) &&
           equal_tokens(a->dq[0], b->dq[0], lo, hi, op->heads * d) &&
           equal_tokens(a->dk[0], b->dk[0], lo, hi, op->kv_heads * d);
}

static const struct shape law_shape = {.sequences = 2,
                                       .seq_len = 200,
                                       .heads = 2,
                                       .kv_heads = 1,
                                       .dv = 8,
                                       .n_parts = 1,
                                       .d = {8},
                                       .documents = 1};

/* New values in tokens 37..129 (one document) of sequence 0 leave every other token as it was, forward and
 * backward. */
static void documents_do_not_mix(void **state) {
    (void)state;
    const char *why;
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        struct call c = call_new((enum sy_numeric_class)cls, &law_shape);
        const struct sy_ops *ops = sy_ops_tier(0, &why);
        run_op(&c, ops, 1);
        struct answer before = outputs(&c);
        for (int64_t t = 37; t < 130; t++)
            for (int64_t i = 0; i < 8; i++) {
                set(c.op.slice[0].q, t, 1, i, 3.0f);
                set(c.op.slice[0].k, t, 0, i, (float)(t % 4 * 2));
                set(c.op.v, t, 0, i, -5.0f);
                set(c.op.d_o, t, 0, i, 7.0f);
            }
        run_op(&c, ops, 1);
        struct answer after = outputs(&c);
        assert_true(equal_outputs(&c, &before, &after, 0, 37));
        assert_true(equal_outputs(&c, &before, &after, 130, 400));
        assert_false(equal_outputs(&c, &before, &after, 37, 130));
        answer_free(&before);
        answer_free(&after);
        call_free(&c);
    }
}

/* A NaN or +Inf among its allowed scores makes o and lse of a row NaN, and of no other row; one of -Inf
 * does not. */
static void a_bad_score_is_seen(void **state) {
    (void)state;
    static const float poison[] = {NAN, INFINITY, -INFINITY};
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++)
        for (int n = 0; n < 3 * SY_N_CLASSES; n++) {
            const struct sy_ops *ops = tier_or_skip(tier);
            if (!ops)
                continue;
            struct call c = call_new((enum sy_numeric_class)(n / 3), &law_shape);
            run_op(&c, ops, 1);
            struct answer before = outputs(&c);
            set(c.op.slice[0].q, 60, 0, 3, poison[n % 3]); /* keys of both signs */
            run_op(&c, ops, 1);
            assert_true(is_nan(c.lse[60 * 2]));
            assert_true(is_nan(value(c.op.o, 60, 0, 0)) && is_nan(value(c.op.o, 60, 0, 7)));
            assert_false(is_nan(c.lse[60 * 2 + 1]));
            struct answer after = outputs(&c);
            assert_true(equal_tokens(before.o, after.o, 0, 60, 16) &&
                        equal_tokens(before.o, after.o, 61, 400, 16));
            assert_true(equal_tokens(before.lse, after.lse, 0, 60, 2) &&
                        equal_tokens(before.lse, after.lse, 61, 400, 2));
            answer_free(&before);
            answer_free(&after);
            set(c.op.slice[0].q, 60, 0, 3,
                1.0f); /* a bad key: rows 100..129 see it, the next document does not */
            set(c.op.slice[0].k, 100, 0, 3, poison[n % 3]);
            run_op(&c, ops, 1);
            for (int64_t t = 0; t < 400; t++) {
                int bad = !(poison[n % 3] * value(c.op.slice[0].q, t, 0, 3) < 0);
                assert_int_equal(is_nan(c.lse[t * 2]), t >= 100 && t < 130 && bad);
            }
            call_free(&c);
        }
}

/* Scores of head 0, one query and 300 keys, made as q k with one column each way: every special one where
 * it can stand. */
enum { SPECIAL_KEYS = 300, CASES = 11 };
static const struct {
    const char *what;
    int from, to;  /* keys with the special score */
    float special; /* NaN, or +-Inf by an overflow: 2^100 2^100 */
    int bad;       /* the last row is NaN */
} special_case[CASES] = {
    {"none", 0, 0, -1, 0},
    {"-Inf: one in the first block", 5, 6, -1, 0},
    {"-Inf: the whole first block", 0, 128, -1, 0},
    {"-Inf: the first two blocks", 0, 256, -1, 0},
    {"-Inf: a block in the middle", 128, 256, -1, 0},
    {"-Inf: the last block", 256, 300, -1, 0},
    {"-Inf: all", 0, 300, -1, 1},
    {"+Inf: one", 299, 300, 1, 1},
    {"+Inf: one in the first block", 0, 1, 1, 1},
    {"NaN: one", 140, 141, NAN, 1},
    {"NaN: all", 0, 300, NAN, 1},
};

static void set_special(struct call *c, int which) {
    for (int64_t t = 0; t < SPECIAL_KEYS; t++) {
        int special = t >= special_case[which].from && t < special_case[which].to;
        float much = special_case[which].special;
        for (int64_t i = 0; i < 2; i++)
            set(c->op.slice[0].q, t, 0, i, i ? 0x1p100f : model_bf(c->cls, 1.0f + 0.125f * (float)(t % 5)));
        set(c->op.slice[0].k, t, 0, 0, model_bf(c->cls, (float)(t % 11) * 0.375f));
        set(c->op.slice[0].k, t, 0, 1, special ? much * 0x1p100f : 0.0f);
    }
}

static void special_scores(void **state) {
    (void)state;
    const struct shape s = {
        .sequences = 1, .seq_len = 300, .heads = 1, .kv_heads = 1, .dv = 6, .n_parts = 1, .d = {2}};
    for (int n = 0; n < CASES * SY_N_CLASSES; n++) {
        struct call c = call_new((enum sy_numeric_class)(n % SY_N_CLASSES), &s);
        int which = n / SY_N_CLASSES;
        set_special(&c, which);
        struct answer a = definition(&c, BLOCKS_OF_128, 1);
        assert_int_equal(is_nan(a.lse[299]), special_case[which].bad);
        assert_int_equal(is_nan(a.o[299 * 6]), special_case[which].bad);
        for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
            const char *why;
            const struct sy_ops *ops = sy_ops_tier(tier, &why);
            if (!ops)
                continue;
            run_op(&c, ops, 1 + tier % 3);
            int backward = !is_nan(special_case[which].special); /* a NaN key's: how far a NaN goes is open */
            assert_int_equal(differences(&c, &a, backward, special_case[which].what), 0);
        }
        answer_free(&a);
        call_free(&c);
    }
}

/* A key whose score is -Inf is as a masked key: o, lse and all gradients are those of a window that leaves
 * it out. */
static void minus_inf_is_a_mask(void **state) {
    (void)state;
    const char *why;
    const struct shape s = {
        .sequences = 1, .seq_len = 300, .heads = 1, .kv_heads = 1, .dv = 6, .n_parts = 1, .d = {2}};
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        struct call a = call_new((enum sy_numeric_class)cls, &s),
                    b = call_new((enum sy_numeric_class)cls, &s);
        set_special(&a, 3); /* keys 0..255 have -Inf: rows from 256 on see the others alone */
        set_special(&b, 0);
        b.op.doc_start = b.doc_start = fresh(&b, 300 * 4);
        for (int t = 0; t < 300; t++) {
            b.doc_start[t] = t < 256 ? 0 : 256;
            for (int64_t i = 0; i < 6; i++) {
                set(b.op.v, t, 0, i, value(a.op.v, t, 0, i));
                set(b.op.d_o, t, 0, i, value(a.op.d_o, t, 0, i));
            }
        }
        run_op(&a, sy_ops_tier(0, &why), 1);
        run_op(&b, sy_ops_tier(0, &why), 1);
        struct answer x = outputs(&a), y = outputs(&b);
        assert_true(equal_tokens(x.o, y.o, 256, 300, 6) && equal_tokens(x.lse, y.lse, 256, 300, 1));
        assert_true(equal_tokens(x.dv, y.dv, 256, 300, 6) && equal_tokens(x.dk[0], y.dk[0], 256, 300, 2));
        assert_true(is_nan(x.lse[255]) && !is_nan(y.lse[255]) && !is_nan(x.lse[256]));
        answer_free(&x);
        answer_free(&y);
        call_free(&a);
        call_free(&b);
    }
}

/* A block with no allowed key changes nothing, whatever its values are: a NaN value of document 0 in the
 * first block must not reach the rows of a document that starts in the second block, though rows of one
 * tile see that block. The reference does not do that yet: it is told and skipped, not failed. */
static void a_masked_block_changes_nothing(void **state) {
    (void)state;
    struct shape s = law_shape;
    s.documents = 0;
    s.seq_len = 200;
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++)
        for (int cls = 0; cls < SY_N_CLASSES; cls++) {
            const struct sy_ops *ops = tier_or_skip(tier);
            if (!ops)
                continue;
            struct call c = call_new((enum sy_numeric_class)cls, &s);
            c.op.doc_start = c.doc_start = fresh(&c, 400 * 4);
            for (int t = 0; t < 400; t++)
                c.doc_start[t] = t % 200 < 150 ? 0 : 150;
            run_op(&c, ops, 1);
            struct answer before = outputs(&c);
            set(c.op.v, 5, 0, 2, NAN);
            run_op(&c, ops, 1);
            struct answer after = outputs(&c);
            assert_false(equal_tokens(before.o, after.o, 130, 150, 16));
            assert_true(equal_tokens(before.o, after.o, 150, 200, 16));
            assert_true(equal_outputs(&c, &before, &after, 200, 400));
            answer_free(&before);
            answer_free(&after);
            call_free(&c);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_do_not_mix),
        cmocka_unit_test(a_bad_score_is_seen),
        cmocka_unit_test(special_scores),
        cmocka_unit_test(minus_inf_is_a_mask),
        cmocka_unit_test(a_masked_block_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
