/* The MoE layer on one process against loops written out in moe_reference.h: every variant of router, experts
 * and combine, every kind of routing, all classes, with ==. Then what the comparison must see: references
 * that do one thing wrong.
 */
#include "moe_reference.h"
#include "moe_routing.h"

enum { S = 9, B = 4, E = 8, K = 3, T = B * S };

struct variant {
    const char *name;
    enum sy_moe_score_func score_func;
    enum routing routing;
    int before, no_norm, groups, max_group, bias, gate_bias, shared, shared_gate, combine_groups, seq_len;
    double scale, balance, z;
};

#define SIG SY_SCORE_SIGMOID
#define SOFT SY_SCORE_SOFTMAX
#define TOPK SY_SCORE_TOPK_SOFTMAX
static const struct variant variants[] = {
    {"sigmoid", SIG, RANDOM, .scale = 1},
    {"sigmoid, not normed, scaled", SIG, RANDOM, .no_norm = 1, .scale = 2.446},
    {"sigmoid, before", SIG, RANDOM, .before = 1, .scale = 2.5},
    {"sigmoid, groups top2_sum, bias, shared", SIG, RANDOM, .groups = 4, .bias = 1, .shared = 1,
     .scale = 2.5},
    {"sigmoid, groups max", SIG, RANDOM, .groups = 4, .max_group = 1, .scale = 1},
    {"softmax", SOFT, RANDOM, .no_norm = 1, .scale = 1},
    {"softmax, normed", SOFT, RANDOM, .scale = 1},
    {"softmax, groups max, scaled, 2 shared", SOFT, RANDOM, .no_norm = 1, .groups = 2, .max_group = 1,
     .shared = 2, .scale = 16},
    {"softmax, before, shared and gate", SOFT, RANDOM, .before = 1, .shared = 1, .shared_gate = 1,
     .scale = 1},
    {"topk_softmax", TOPK, RANDOM, .no_norm = 1, .scale = 1},
    {"topk_softmax, bias, gate bias", TOPK, RANDOM, .no_norm = 1, .bias = 1, .gate_bias = 1, .scale = 1},
    {"topk_softmax, normed, groups", TOPK, RANDOM, .groups = 4, .scale = 1.5},
    {"sigmoid, gate bias, shared and gate", SIG, RANDOM, .gate_bias = 1, .shared = 2, .shared_gate = 1,
     .scale = 1},
    {"combine in 2 groups", SIG, RANDOM, .combine_groups = 2, .shared = 1, .scale = 1},
    {"combine in 4 groups, before", SIG, RANDOM, .before = 1, .combine_groups = 4, .scale = 1},
    {"combine in 8 groups, heavy", SIG, HEAVY, .combine_groups = 8, .scale = 1},
    {"heavy tails", SIG, HEAVY, .scale = 1},
    {"heavy tails, softmax, before", SOFT, HEAVY, .before = 1, .scale = 1},
    {"all tied, sigmoid", SIG, TIED, .scale = 1},
    {"all tied, softmax, groups", SOFT, TIED, .groups = 4, .scale = 1},
    {"all tied, topk_softmax, shared", TOPK, TIED, .shared = 1, .scale = 1},
    {"one takes all", SIG, ONE_TAKES_ALL, .scale = 1},
    {"one takes all, before", SOFT, ONE_TAKES_ALL, .before = 1, .scale = 1},
    {"sigmoid, both losses", SIG, RANDOM, .scale = 1, .balance = 0.5, .z = 0.25},
    {"softmax, balance loss, before", SOFT, RANDOM, .before = 1, .no_norm = 1, .scale = 1, .balance = 0.5},
    {"topk_softmax, both losses", TOPK, RANDOM, .scale = 1, .balance = 0.5, .z = 0.25},
    {"forced, z-loss and balance, sigmoid", SIG, FORCED_OPEN, .scale = 1, .balance = 0.5, .z = 0.25},
    {"given routes and weights, losses", SIG, GIVEN_WEIGHTS, .scale = 1, .balance = 0.5, .z = 0.25},
    {"z-loss alone", SOFT, RANDOM, .scale = 1, .z = 0.25},
    {"one takes all of long sequences", SIG, ONE_TAKES_ALL, .seq_len = 20, .scale = 1},
    {"opposites", SIG, OPPOSITES, .scale = 1},
    {"opposites, before", SIG, OPPOSITES, .before = 1, .scale = 1},
    {"experts without tokens", SIG, SOME_WITHOUT, .scale = 1},
    {"forced, closed", SIG, FORCED_CLOSED, .shared = 1, .scale = 1},
    {"forced, open", SOFT, FORCED_OPEN, .scale = 1},
    {"forced, closed, topk_softmax, before", TOPK, FORCED_CLOSED, .before = 1, .scale = 1},
    {"given routes under forced balance", SIG, FORCED_BUT_GIVEN, .scale = 1},
    {"given routes", SIG, GIVEN, .scale = 1},
    {"given routes and weights", SOFT, GIVEN_WEIGHTS, .scale = 1},
    {"given routes and weights, before", TOPK, GIVEN_WEIGHTS, .before = 1, .scale = 1},
};
enum { N_VARIANTS = sizeof variants / sizeof *variants };

static void make(const struct variant *v, enum sy_numeric_class cls, struct problem *p, struct batch *b) {
    int64_t k = v->routing == ONE_TAKES_ALL ? 1 : K;
    *p = problem_of(cls, E, k,
                    v->routing == FORCED_CLOSED || v->routing == FORCED_BUT_GIVEN ? 8
                    : v->seq_len                                                  ? v->seq_len
                                                                                  : S);
    /* forced: E divides 8 * 3, and some tokens go past E - 1 to 0; it does not divide 9 * 3 */
    p->config.score_func = v->score_func;
    p->config.score_before_experts = v->before;
    p->config.route_norm = !v->no_norm;
    p->config.route_scale = v->scale;
    p->config.num_expert_groups = v->groups;
    p->config.num_limited_groups = v->groups / 2;
    p->config.group_score = v->max_group ? SY_GROUP_MAX : SY_GROUP_TOP2_SUM;
    p->config.gate_bias = v->gate_bias;
    p->config.seq_aux_loss_coeff = v->balance;
    p->config.z_loss_coeff = v->z;
    p->config.num_shared_experts = v->shared;
    p->config.shared_gate = v->shared_gate;
    p->combine_groups = v->combine_groups;
    problem_fill(p, 100);
    *b = batch_of(p, B, 200);
    for (int64_t i = 0; i < E; i++) {
        p->expert_bias[i] = v->bias ? (float)(unit(91, i) * 0.2) : 0.0f;
        p->gate_bias[i] = v->gate_bias ? (float)unit(92, i) : 0.0f;
    }
    route_as(v->routing, p, b);
}

static const char *name_of(enum sy_numeric_class cls) { return sy_class_name(cls); }

/* One process with this setup has the reference's bits. */
static void compare(const char *what, const struct problem *p, const struct batch *b,
                    const struct answer *want, const struct setup *setup, enum keep keep) {
    struct layout l = one_process(b->sequences);
    struct job j = {.p = p, .b = b, .l = &l, .s = setup, .keep = keep};
    struct answer got;
    job_run(&j, &got);
    const char *d = difference(&got, want);
    if (d)
        fail_msg("class %s, %s (tier %s, %d threads, %s): %s", name_of(p->cls), what, setup->tier,
                 setup->threads, setup->scatter ? "scatter" : "gather", d);
    assert_memory_equal(got.loss, want->loss, sizeof got.loss);
    assert_int_equal(got.n_bad[0], 0);
    int closed = p->forced && !b->given && p->seq_len * p->config.top_k % p->config.num_experts == 0;
    assert_int_equal(j.counters[0].path_forced, closed * (keep == KEEP_NOTHING ? 2 : 1));
    assert_int_equal(j.counters[0].path_local, !closed * (keep == KEEP_NOTHING ? 2 : 1));
    assert_int_equal(j.counters[0].rows_sent, 0);
    assert_int_equal(j.counters[0].counts_exchanged, 0);
    int scatters = setup->scatter && p->combine_groups == 0;
    assert_int_equal(j.counters[0].scatter_add + j.counters[0].scatter_add_inplace, 2 * scatters);
    answer_free(&got);
}

static void every_variant_is_the_triple_loop(void **state) {
    (void)state;
    static const struct setup gather = {.tier = "auto", .threads = 1},
                              scattering = {.tier = "ref", .threads = 2, .scatter = 1, .segment = 16};
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int i = 0; i < N_VARIANTS; i++) {
            if (is_quick() && i % 4 != cls)
                continue;
            struct problem p;
            struct batch b;
            make(&variants[i], (enum sy_numeric_class)cls, &p, &b);
            struct answer want = reference_of(&p, &b, SOUND);
            compare(variants[i].name, &p, &b, &want, &gather, KEEP_ALL);
            compare(variants[i].name, &p, &b, &want, &scattering, i % 2 ? KEEP_ROWS : KEEP_NOTHING);
            answer_free(&want);
            batch_free(&b);
            problem_free(&p);
        }
}

/* The routings are what their names say. */
static void the_routings_are_as_named(void **state) {
    (void)state;
    for (int i = 0; i < N_VARIANTS; i++) {
        struct problem p;
        struct batch b;
        make(&variants[i], SY_NUMERIC_FP32, &p, &b);
        struct answer a = reference_of(&p, &b, SOUND);
        const float *n = a.v[COUNTS];
        float t = (float)tokens_of(&p, &b);
        switch (variants[i].routing) {
        case HEAVY:
            assert_true(n[0] > 3 * n[5]);
            break;
        case TIED:
        case OPPOSITES:
            for (int e = 0; e < E; e++)
                assert_true(n[e] == (e < K ? t : 0));
            break;
        case ONE_TAKES_ALL:
            assert_true(n[5] == t);
            break;
        case SOME_WITHOUT:
            assert_true(n[1] == 0 && n[3] == 0 && n[5] == 0 && n[7] == 0 && n[0] > 0);
            break;
        case FORCED_CLOSED:
            assert_true(n[0] == n[7] && n[3] == t * K / E);
            break;
        default:
            assert_true(n[0] > 0 && n[7] > 0);
        }
        answer_free(&a);
        batch_free(&b);
        problem_free(&p);
    }
}

/* Expert e gets e + 1 rows, of tokens that lie anyhow over the sequences. */
static void counts_from_1_to_17(void **state) {
    (void)state;
    static const struct setup setup = {.tier = "auto", .threads = 2};
    enum { EXPERTS = 17, ROWS = EXPERTS * (EXPERTS + 1) / 2 };
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int before = 0; before < 2; before++) {
            struct problem p = problem_of((enum sy_numeric_class)cls, EXPERTS, 1, 9);
            p.config.score_before_experts = before;
            problem_fill(&p, 300);
            struct batch b = batch_of(&p, ROWS / 9, 400);
            route_as(COUNTS_1_TO_E, &p, &b);
            struct answer want = reference_of(&p, &b, SOUND);
            for (int e = 0; e < EXPERTS; e++)
                assert_true(want.v[COUNTS][e] == (float)(e + 1));
            compare("counts 1..17", &p, &b, &want, &setup, KEEP_ALL);
            answer_free(&want);
            batch_free(&b);
            problem_free(&p);
        }
}

/* Rows wider than the 64 lanes of V64 and the 128 columns of B64, and widths that nothing divides. */
static void wide_rows(void **state) {
    (void)state;
    static const struct setup setup = {.tier = "auto", .threads = 1};
    static const int64_t d[] = {70, 33, 1}, f[] = {130, 257, 1};
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int i = 0; i < 3; i++) {
            if (is_quick() && i != cls)
                continue;
            struct problem p = problem_of((enum sy_numeric_class)cls, 5, 2, 5);
            p.d = d[i];
            p.f = f[i];
            p.config.score_before_experts = i == 1;
            p.config.num_shared_experts = 1;
            p.config.shared_gate = true;
            problem_fill(&p, 500);
            struct batch b = batch_of(&p, 2, 600);
            struct answer want = reference_of(&p, &b, SOUND);
            compare("wide rows", &p, &b, &want, &setup, KEEP_NOTHING);
            answer_free(&want);
            batch_free(&b);
            problem_free(&p);
        }
}

/* --- negative controls ---------------------------------------------------------------------------------- */

static const struct variant *variant(const char *name) {
    for (int i = 0; i < N_VARIANTS; i++)
        if (strcmp(variants[i].name, name) == 0)
            return &variants[i];
    fail_msg("no variant %s", name);
    return NULL;
}

/* The layer differs from a reference with the plant, in all these fields (a bit each) and in no other. */
static void caught(const char *name, enum sy_numeric_class cls, enum plant plant, unsigned fields) {
    static const struct setup setup = {.tier = "auto", .threads = 1};
    struct problem p;
    struct batch b;
    make(variant(name), cls, &p, &b);
    struct layout l = one_process(b.sequences);
    struct job j = {.p = &p, .b = &b, .l = &l, .s = &setup};
    struct answer got, sound = reference_of(&p, &b, SOUND), wrong = reference_of(&p, &b, plant);
    job_run(&j, &got);
    assert_null(difference(&got, &sound));
    assert_non_null(difference(&got, &wrong));
    for (int f = 0; f < N_FIELDS; f++)
        if ((first_difference(&got, &wrong, (enum field)f) >= 0) != (fields >> f & 1))
            fail_msg("class %s, %s, plant %d: %s %s", name_of(cls), name, plant, field_name[f],
                     fields >> f & 1 ? "does not show it" : "differs");
    answer_free(&got);
    answer_free(&sound);
    answer_free(&wrong);
    batch_free(&b);
    problem_free(&p);
}

#define BIT(f) (1u << (f))
enum { ROUTED = BIT(Y) | BIT(DX) | BIT(IDS) | BIT(DW) | BIT(DW13) | BIT(DW2) | BIT(COUNTS) };

static void ties_to_the_higher_id(void **state) {
    (void)state;
    for (int cls = 0; cls < SY_N_CLASSES; cls++) { /* all scores are the same: no weight shows it */
        caught("all tied, sigmoid", (enum sy_numeric_class)cls, TIES_TO_HIGHER_ID,
               ROUTED | BIT(DLOGITS) | BIT(DWG));
        caught("all tied, softmax, groups", (enum sy_numeric_class)cls, TIES_TO_HIGHER_ID,
               ROUTED | BIT(DLOGITS) | BIT(DWG));
    }
}

static void combine_in_the_order_of_choice(void **state) {
    (void)state;
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        caught("opposites", (enum sy_numeric_class)cls, COMBINE_BY_SCORE, BIT(Y) | BIT(DX));
        caught("opposites, before", (enum sy_numeric_class)cls, COMBINE_BY_SCORE, BIT(Y) | BIT(DX));
    }
    caught("sigmoid", SY_NUMERIC_FP32, COMBINE_BY_SCORE, BIT(Y) | BIT(DX));
}

static void a_route_counted_twice(void **state) {
    (void)state;
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        caught("sigmoid", (enum sy_numeric_class)cls, ROUTE_TWICE,
               BIT(Y) | BIT(DX) | BIT(DW13) | BIT(DW2) | BIT(COUNTS));
}

static void rows_of_an_expert_in_another_order(void **state) {
    (void)state;
    caught("heavy tails", SY_NUMERIC_X86, ROWS_REVERSED, BIT(DW13) | BIT(DW2));
    caught("heavy tails", SY_NUMERIC_FP32, ROWS_REVERSED, BIT(DW13) | BIT(DW2));
    /* 16 rows of a sequence are one sum in sm90: the order shows where there are more */
    caught("one takes all of long sequences", SY_NUMERIC_SM90, ROWS_REVERSED, BIT(DW13) | BIT(DW2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_routings_are_as_named), cmocka_unit_test(every_variant_is_the_triple_loop),
        cmocka_unit_test(counts_from_1_to_17),       cmocka_unit_test(wide_rows),
        cmocka_unit_test(ties_to_the_higher_id),     cmocka_unit_test(combine_in_the_order_of_choice),
        cmocka_unit_test(a_route_counted_twice),     cmocka_unit_test(rows_of_an_expert_in_another_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
