/* Attention of every tier against the definition (attention_model.h): lengths around blocks, grouped and
 * shared heads, documents, windows, scores that jump; wrong blocks are seen.
 */
#include "attention_model.h"

static void everywhere(const struct shape *s, const char *what) {
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        if (!is_of_run(-1, cls))
            continue;
        random_state = 21 + (uint64_t)s->seq_len;
        struct call c = call_new((enum sy_numeric_class)cls, s);
        struct answer a = definition(&c, BLOCKS_OF_128, 1);
        for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
            const char *why;
            const struct sy_ops *ops = is_of_run(tier, cls) ? sy_ops_tier(tier, &why) : NULL;
            for (int threads = 1; ops && threads <= 3; threads++) {
                char where[160];
                snprintf(where, sizeof where, "%s, S %lld, %s, tier %s, %d threads", what,
                         (long long)s->seq_len, sy_class_name((enum sy_numeric_class)cls), ops->tier,
                         threads);
                run_op(&c, ops, threads);
                assert_int_equal(differences(&c, &a, 1, where), 0);
            }
        }
        answer_free(&a);
        call_free(&c);
    }
}

static const int64_t lengths[] = {1, 5, 64, 127, 128, 129, 200, 300};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

static void gqa(void **state) {
    (void)state;
    for (int i = 0; i < N_LENGTHS; i++)
        everywhere(&(struct shape){.sequences = lengths[i] < 100 ? 2 : 1,
                                   .seq_len = lengths[i],
                                   .heads = 4,
                                   .kv_heads = 2,
                                   .dv = 10,
                                   .n_parts = 1,
                                   .d = {10}},
                   "gqa");
}

static void mla(void **state) {
    (void)state;
    for (int i = 0; i < N_LENGTHS; i++) {
        struct shape s = {.sequences = lengths[i] < 100 ? 2 : 1,
                          .seq_len = lengths[i],
                          .heads = 2,
                          .kv_heads = 2,
                          .dv = 16,
                          .n_parts = 2,
                          .d = {i % 2 ? 24 : 16, 8},
                          .shared_rope = 1};
        everywhere(&s, "mla");
    }
}

static void documents_and_windows(void **state) {
    (void)state;
    static const int64_t windows[] = {0, 1, 50, 129, 150};
    struct shape s = {.sequences = 1, .heads = 2, .kv_heads = 1, .dv = 7, .n_parts = 1, .d = {9}};
    for (int i = 0; i < 5; i++) {
        s.seq_len = i % 2 ? 200 : 290;
        s.window = windows[i];
        for (s.documents = i != 2; s.documents < 2; s.documents++)
            everywhere(&s, "masks");
    }
    s = (struct shape){.sequences = 2,
                       .seq_len = 140,
                       .heads = 2,
                       .kv_heads = 2,
                       .dv = 16,
                       .n_parts = 2,
                       .d = {16, 8},
                       .shared_rope = 1,
                       .documents = 1};
    everywhere(&s, "mla documents");
}

static void score_jumps(void **state) {
    (void)state;
    static const char *const what[] = {"", "jumps over 127", "huge scores", "c s overflows"};
    struct shape s = {
        .sequences = 1, .seq_len = 300, .heads = 2, .kv_heads = 1, .dv = 8, .n_parts = 1, .d = {8}};
    for (s.spread = 1; s.spread <= 3; s.spread++)
        everywhere(&s, what[s.spread]);
}

/* Other blocks give other bits, in every class. */
static void wrong_blocks_are_seen(void **state) {
    (void)state;
    const char *why;
    const struct shape s = {.sequences = 1,
                            .seq_len = 300,
                            .heads = 2,
                            .kv_heads = 1,
                            .dv = 8,
                            .n_parts = 1,
                            .d = {8},
                            .documents = 1};
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        random_state = 31;
        struct call c = call_new((enum sy_numeric_class)cls, &s);
        run_op(&c, sy_ops_tier(0, &why), 1);
        struct answer a = definition(&c, BLOCKS_OF_128, 0), b = definition(&c, BLOCKS_OF_64, 0);
        struct answer d = definition(&c, BLOCKS_FROM_DOCUMENT, 0);
        assert_int_equal(differences(&c, &a, 0, "control"), 0);
        assert_true(differences(&c, &b, 0, NULL) > 5);
        assert_true(differences(&c, &d, 0, NULL) > 5);
        answer_free(&a);
        answer_free(&b);
        answer_free(&d);
        call_free(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gqa),
        cmocka_unit_test(mla),
        cmocka_unit_test(documents_and_windows),
        cmocka_unit_test(score_jumps),
        cmocka_unit_test(wrong_blocks_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
