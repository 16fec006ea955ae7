/* What callers of the MoE layer get wrong: every mistake is an error whose text has what is needed, on all
 * ranks if it was one rank's, and nothing is written; after it the layer works on. Creation that fails leaks
 * nothing (under ASan).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "moe_public_problem.h"

const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "allocator_may_return_null=1"; }

static float x[T * D], dy[T * D], y[T * D];
static struct tensors weights, scrap;

#define EXPECT(status, text, call)                                                   \
    do {                                                                             \
        sy_status got_ = (call);                                                     \
        if (got_ != (status) || !strstr(sy_error_message(), text))                   \
            fail_msg("status %d: %s (expected %s)", got_, sy_error_message(), text); \
    } while (0)
#define REFUSED(text, call) EXPECT(SY_ERR_USAGE, text, call)

/* --- creation ------------------------------------------------------------------------------------------- */

static void refused_config(const char *options, const char *text) {
    struct sy_config *config = config_of(options);
    struct sy_moe_options o = options_of(&problems[0], NULL);
    struct sy_moe *moe = (struct sy_moe *)x;
    assert_non_null(config);
    REFUSED(text, sy_moe_create(config, &o, NULL, &moe));
    assert_ptr_equal(moe, x); /* written on success alone */
    sy_config_destroy(config);
}

static void test_config(void **state) {
    (void)state;
    refused_config("moe.top_k=2", "moe.num_experts = 0: it must be given");
    refused_config("moe.num_experts=4 moe.top_k=5", "moe.top_k = 5: more than moe.num_experts = 4");
    refused_config("moe.num_experts=8 moe.num_expert_groups=4",
                   "moe.num_expert_groups = 4 needs it: choose 1 to 4");
    refused_config("moe.num_experts=8 moe.num_limited_groups=2", "moe.num_expert_groups = 0");
    refused_config("moe.num_experts=8 moe.num_expert_groups=4 moe.num_limited_groups=5",
                   "moe.num_limited_groups = 5: more than moe.num_expert_groups = 4");
    refused_config("moe.num_experts=9 moe.num_expert_groups=4 moe.num_limited_groups=2",
                   "moe.num_expert_groups = 4: does not divide moe.num_experts = 9");
    refused_config("moe.num_experts=8 moe.num_expert_groups=8 moe.num_limited_groups=2",
                   "leaves 1 expert in a group");
    refused_config("moe.num_experts=8 moe.num_expert_groups=4 moe.num_limited_groups=2 moe.top_k=5",
                   "only 4 experts remain");
    refused_config("moe.num_experts=8 moe.routes_in=folder",
                   "moe.routes_in = \"folder\": a layer by itself gets routes");
    refused_config("moe.num_experts=8 moe.routes_out=folder", "(ids_out)");
    refused_config("moe.num_experts=8 moe.shared_gate=true",
                   "moe.num_shared_experts = 0, there is nothing to gate");
}

static void test_options(void **state) {
    (void)state;
    struct sy_config *config = config_of("moe.num_experts=8 moe.top_k=2");
    struct sy_moe *moe = NULL;
#define OPTION(field, value, text)                                \
    do {                                                          \
        struct sy_moe_options o = options_of(&problems[0], NULL); \
        o.field = value;                                          \
        REFUSED(text, sy_moe_create(config, &o, NULL, &moe));     \
        assert_null(moe);                                         \
    } while (0)
    OPTION(dim, 0, "dim = 0: must be 1 to 1048576");
    OPTION(dim, -4, "dim = -4");
    OPTION(inter_dim, 0, "inter_dim = 0");
    OPTION(seq_len, 0, "seq_len = 0");
    OPTION(max_sequences, 0, "max_sequences = 0");
    OPTION(max_rounds, -1, "max_rounds = -1");
    OPTION(micro_batches, -1, "micro_batches = -1: must be 0");
    OPTION(recompute, (enum sy_moe_recompute)3, "recompute = 3: must be 0 to 2");
    OPTION(global_sequences, -1, "global_sequences = -1");
    OPTION(threads, 1025, "threads = 1025: must be 0 to 1024");
    OPTION(combine_groups, 3, "combine_groups = 3 does not divide moe.num_experts = 8");
    OPTION(numeric_class, "fp8", "numeric_class = \"fp8\"");
    OPTION(tier, "sse", "run.tier = sse");
    struct sy_moe_options o = options_of(&problems[0], NULL);
    o.seq_len = 1 << 24;
    o.max_sequences = 128;
    REFUSED("4294967296 routes, there can be 2147483647", sy_moe_create(config, &o, NULL, &moe));
    o = options_of(&problems[0], NULL);
    o.global_sequences = 0;
    assert_int_equal(sy_option_set(config, "moe.z_loss_coeff", "0.5"), SY_OK);
    REFUSED("global_sequences = 0", sy_moe_create(config, &o, NULL, &moe));
    sy_config_destroy(config);
}

static void test_no_memory(void **state) {
    (void)state;
    struct sy_config *config = config_of("moe.num_experts=65536 moe.top_k=2");
    struct sy_moe_options o = options_of(&problems[0], NULL);
    struct sy_moe *moe = NULL;
    o.threads = 2;
    o.dim = 1 << 19; /* 2^55 bytes: an arena that no machine has, after threads and scratch were there */
    o.inter_dim = 1 << 18;
    EXPECT(SY_ERR_MEMORY, "moe layer", sy_moe_create(config, &o, NULL, &moe));
    o.dim = 1 << 20; /* sizes that would not fit 64 bits */
    o.inter_dim = 1 << 22;
    EXPECT(SY_ERR_MEMORY, "can be addressed", sy_moe_create(config, &o, NULL, &moe));
    assert_null(moe);
    sy_moe_destroy(NULL);
    sy_config_destroy(config);
}

/* --- calls ---------------------------------------------------------------------------------------------- */

static struct sy_moe *layer(const struct problem *p, enum sy_moe_recompute recompute, int micro_batches) {
    struct sy_config *config = config_of(p->options);
    struct sy_moe_options o = options_of(p, "fp32");
    struct sy_moe *moe = NULL;
    o.recompute = recompute;
    o.micro_batches = micro_batches;
    if (!config || sy_moe_create(config, &o, NULL, &moe) != SY_OK)
        fail_msg("%s", sy_error_message());
    sy_config_destroy(config);
    return moe;
}

static void test_weights(void **state) {
    (void)state;
    const struct problem *p = &problems[0]; /* shared experts, no gates */
    struct sy_moe *moe = layer(p, SY_MOE_RECOMPUTE_NONE, 1);
    struct sy_moe_tensors w = view(p, &weights, 0), bad = w;
    struct sy_moe_batch batch = {.n_sequences = 1};
    REFUSED("no weights", sy_moe_forward(moe, 0, &batch, x, y));
    REFUSED("no weights", sy_moe_eval(moe, &batch, x, y));
    REFUSED("version -1", sy_moe_set_weights(moe, &w, -1));
    bad.w3 = NULL;
    REFUSED("w3 is NULL", sy_moe_set_weights(moe, &bad, 1));
    bad = w;
    bad.shared_w2 = NULL;
    REFUSED("shared_w2 is NULL", sy_moe_set_weights(moe, &bad, 1));
    bad = w;
    bad.gate_bias = weights.gate_bias;
    REFUSED("gate_bias is given: the layer has no such tensor, moe.gate_bias = false",
            sy_moe_set_weights(moe, &bad, 1));
    REFUSED("no weights", sy_moe_eval(moe, &batch, x, y)); /* still */
    assert_int_equal(sy_moe_set_weights(moe, &w, 1), SY_OK);
    assert_int_equal(sy_moe_forward(moe, 0, &batch, x, y), SY_OK);
    assert_int_equal(sy_moe_set_weights(moe, &w, 1), SY_OK); /* the same version: nothing is done */
    REFUSED("micro-batch 0 waits", sy_moe_set_weights(moe, &w, 2));
    REFUSED("micro-batch 0 waits", sy_moe_update_bias(moe));
    REFUSED("micro-batch 0 waits", sy_moe_set_expert_bias(moe, x));
    struct sy_moe_tensors g = view(p, &scrap, 0);
    g.shared_gate = scrap.shared_gate;
    REFUSED("shared_gate is given", sy_moe_backward(moe, 0, dy, NULL, &g));
    sy_moe_discard(moe);
    float bias[MOST_E] = {0, 0, NAN};
    REFUSED("expert bias nan of expert 2: must be finite", sy_moe_set_expert_bias(moe, bias));
    assert_int_equal(sy_moe_forward(moe, 0, &batch, x, y), SY_OK);
    sy_moe_destroy(moe); /* with a forward that waits */
    moe = layer(&problems[1], SY_MOE_RECOMPUTE_NONE, 1);
    REFUSED("moe.load_balance_coeff = 0", sy_moe_expert_bias(moe, y));
    REFUSED("moe.load_balance_coeff = 0", sy_moe_set_expert_bias(moe, y));
    sy_moe_destroy(moe);
}

/* moe.keep_bias: a bias without a coefficient is used, and stays to the bit. */
static void test_kept_bias(void **state) {
    (void)state;
    struct problem p = problems[0];
    p.options = "moe.num_experts=8 moe.top_k=2 moe.num_shared_experts=1 moe.load_balance_coeff=0 "
                "moe.keep_bias=true";
    struct sy_moe *moe = layer(&p, SY_MOE_RECOMPUTE_NONE, 1);
    struct sy_moe_tensors w = view(&p, &weights, 0);
    struct sy_moe_batch batch = {.n_sequences = 2};
    float bias[MOST_E] = {0.25f, -0.5f, 1e-3f, 0, 0, 3.0f, -2.0f, 0.125f}, after[MOST_E];
    int64_t counts[MOST_E];
    assert_int_equal(sy_moe_set_expert_bias(moe, bias), SY_OK);
    assert_int_equal(sy_moe_set_weights(moe, &w, 1), SY_OK);
    assert_int_equal(sy_moe_forward(moe, 0, &batch, x, y), SY_OK);
    sy_moe_counts(moe, counts);
    assert_true(counts[5] > counts[6] &&
                counts[6] == 0); /* of sigmoids between 0 and 1, 3 wins and -2 loses */
    assert_int_equal(sy_moe_backward(moe, 0, dy, NULL, NULL), SY_OK);
    assert_int_equal(sy_moe_update_bias(moe), SY_OK);
    assert_int_equal(sy_moe_expert_bias(moe, after), SY_OK);
    assert_memory_equal(after, bias, 8 * sizeof *bias);
    sy_moe_destroy(moe);
}

static void test_micro_batches(void **state) {
    (void)state;
    const struct problem *p = &problems[0];
    struct sy_moe_tensors w = view(p, &weights, 0);
    struct sy_moe_batch batch = {.n_sequences = 2}, none = {.n_sequences = 0};
    for (int recompute = 0; recompute < 3; recompute++) {
        struct sy_moe *moe = layer(p, (enum sy_moe_recompute)recompute, 2);
        assert_int_equal(sy_moe_set_weights(moe, &w, 1), SY_OK);
        REFUSED("without a forward", sy_moe_backward(moe, 0, dy, NULL, NULL));
        REFUSED("micro_batch = 2: must be 0 to micro_batches - 1 = 1", sy_moe_forward(moe, 2, &batch, x, y));
        REFUSED("micro_batch = -1", sy_moe_forward(moe, -1, &batch, x, y));
        REFUSED("micro_batch = 2", sy_moe_backward(moe, 2, dy, NULL, NULL));
        assert_int_equal(sy_moe_forward(moe, 0, &batch, x, y), SY_OK);
        REFUSED("micro-batch 0 waits", sy_moe_forward(moe, 0, &batch, x, y));
        assert_int_equal(sy_moe_forward(moe, 1, &none, NULL, NULL), SY_OK);
        if (recompute)
            assert_int_equal(sy_moe_eval(moe, &batch, x, y), SY_OK);
        else
            REFUSED("all 2 micro-batches wait", sy_moe_eval(moe, &batch, x, y));
        REFUSED("dy is NULL", sy_moe_backward(moe, 0, NULL, NULL, NULL));
        assert_int_equal(sy_moe_backward(moe, 0, dy, y, NULL), SY_OK);
        REFUSED("without a forward", sy_moe_backward(moe, 0, dy, NULL, NULL));
        assert_int_equal(sy_moe_backward(moe, 1, NULL, NULL, NULL), SY_OK);
        assert_int_equal(sy_moe_forward(moe, 0, &batch, x, y), SY_OK);
        sy_moe_discard(moe);
        REFUSED("without a forward", sy_moe_backward(moe, 0, dy, NULL, NULL));
        sy_moe_destroy(moe);
        moe = layer(p, (enum sy_moe_recompute)recompute, 0);
        assert_int_equal(sy_moe_set_weights(moe, &w, 1), SY_OK);
        assert_int_equal(sy_moe_eval(moe, &batch, x, y), SY_OK);
        REFUSED("micro_batches = 0: it was made for sy_moe_eval alone", sy_moe_forward(moe, 0, &batch, x, y));
        sy_moe_destroy(moe);
    }
}

static void test_batches(void **state) {
    (void)state;
    const struct problem *p = &problems[0]; /* E 8, K 2 */
    struct sy_moe *moe = layer(p, SY_MOE_RECOMPUTE_ROWS, 1);
    struct sy_moe_tensors w = view(p, &weights, 0);
    static float before[T * D];
    static int32_t ids[T * MOST_K];
    const int64_t of[] = {2, 3}, negative[] = {6, -1}, many[] = {5, 5};
    assert_int_equal(sy_moe_set_weights(moe, &w, 1), SY_OK);
    for (int i = 0; i < T * 2; i++)
        ids[i] = i % 2 ? 5 : 1;
    memset(y, 0x55, sizeof y);
    memcpy(before, y, sizeof y);
    const struct {
        struct sy_moe_batch batch;
        const char *text;
    } bad[] = {
        {{.n_sequences = -1}, "n_sequences = -1: must be 0 to max_sequences = 8"},
        {{.n_sequences = B + 1}, "n_sequences = 9: must be 0 to max_sequences = 8"},
        {{.n_sequences = 5, .rounds = 4, .sequences = of}, "rounds = 4: must be 0 to max_rounds = 3"},
        {{.n_sequences = 5, .rounds = -1, .sequences = of}, "rounds = -1"},
        {{.n_sequences = 5, .rounds = 2}, "sequences is NULL"},
        {{.n_sequences = 4, .rounds = 2, .sequences = of}, "the rounds have 5 sequences, n_sequences = 4"},
        {{.n_sequences = 5, .rounds = 2, .sequences = negative}, "-1 sequences in round 1"},
        {{.n_sequences = 8, .rounds = 2, .sequences = many}, "the rounds have 10 sequences"},
        {{.n_sequences = 5, .known = 1}, "known, and no sequences"},
        {{.n_sequences = 5, .w_in = x}, "w_in without ids_in"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        REFUSED(bad[i].text, sy_moe_forward(moe, 0, &bad[i].batch, x, y));
        REFUSED(bad[i].text, sy_moe_eval(moe, &bad[i].batch, x, y));
    }
    struct sy_moe_batch given = {.n_sequences = 2, .ids_in = ids};
    ids[9] = 8;
    REFUSED("expert 8 of token 4: must be 0 to 7", sy_moe_forward(moe, 0, &given, x, y));
    ids[9] = -1;
    REFUSED("expert -1 of token 4", sy_moe_forward(moe, 0, &given, x, y));
    ids[9] = 1;
    REFUSED("expert 1 of token 4 twice", sy_moe_forward(moe, 0, &given, x, y));
    ids[9] = 5;
    static float weights_in[T * MOST_K];
    for (int i = 0; i < T * 2; i++)
        weights_in[i] = i == 7 ? INFINITY : 0.5f;
    given.w_in = weights_in;
    REFUSED("weight inf of expert 5, token 3: must be finite", sy_moe_forward(moe, 0, &given, x, y));
    given.w_in = NULL;
    REFUSED("the batch is NULL", sy_moe_forward(moe, 0, NULL, x, y));
    REFUSED("the batch is NULL", sy_moe_eval(moe, NULL, x, y));
    REFUSED("x is NULL", sy_moe_forward(moe, 0, &given, NULL, y));
    REFUSED("y is NULL", sy_moe_forward(moe, 0, &given, x, NULL));
    x[3 * D + 1] = NAN;
    struct sy_moe_batch plain = {.n_sequences = 2};
    EXPECT(SY_ERR_NONFINITE, "token 3", sy_moe_forward(moe, 0, &plain, x, y));
    x[3 * D + 1] = 0.5f;
    assert_memory_equal(y, before, sizeof y);
    int64_t counts[MOST_E];
    sy_moe_counts(moe, counts);
    for (int e = 0; e < p->experts; e++)
        assert_int_equal(counts[e], 0);
    assert_int_equal(sy_moe_forward(moe, 0, &given, x, y), SY_OK);
    sy_moe_destroy(moe);
    moe = layer(&problems[3], SY_MOE_RECOMPUTE_NONE, 1); /* forced balance */
    w = view(&problems[3], &weights, 0);
    assert_int_equal(sy_moe_set_weights(moe, &w, 1), SY_OK);
    REFUSED("forced_balance = 1", sy_moe_forward(moe, 0, &given, x, y));
    sy_moe_destroy(moe);
}

/* --- ranks that do not do the same
 * --------------------------------------------------------------------------------------
 */

enum mistake {
    NONE,
    SEQUENCES,
    ROUNDS,
    CALL,
    MICRO_BATCH,
    VERSION,
    TABLE,
    NAN_TOKEN,
    OPTIONS,
    CONFIG,
    TIER,
    MISTAKES
};
static const struct {
    sy_status status;
    const char *text;
} expected[MISTAKES] = {
    [SEQUENCES] = {SY_ERR_USAGE, "n_sequences = 99"},
    [ROUNDS] = {SY_ERR_USAGE, "rounds differs between ranks: 1 on rank 0, 2 on rank 1"},
    [CALL] = {SY_ERR_USAGE, "rank 0 calls sy_moe_forward, rank 1 sy_moe_eval"},
    [MICRO_BATCH] = {SY_ERR_USAGE, "micro_batch differs between ranks: 0 on rank 0, 1 on rank 1"},
    [VERSION] = {SY_ERR_USAGE, "version differs between ranks: 1 on rank 0, 2 on rank 1"},
    [TABLE] = {SY_ERR_USAGE, "table of known sequences (hash) differs"},
    [NAN_TOKEN] = {SY_ERR_NONFINITE, "token 0"},
    [OPTIONS] = {SY_ERR_USAGE, "recompute differs between ranks: 0 on rank 0, 2 on rank 1"},
    [CONFIG] = {SY_ERR_USAGE, "top_k = 9: more than moe.num_experts = 8"},
    [TIER] = {SY_ERR_USAGE, "run.tier = none"}};

struct job {
    enum mistake mistake;
    sy_status status[2];
    char message[2][512];
};

static sy_status call(struct sy_moe *moe, enum mistake mistake, int rank, float *in, float *out) {
    const struct problem *p = &problems[0];
    int wrong = rank == 1;
    int64_t first, n, table[] = {2, 2}, other[] = {1, 2}, rounds[] = {1, 1};
    sy_moe_experts(moe, &first, &n);
    struct sy_moe_tensors w = view(p, &weights, first);
    struct sy_moe_batch b = {.n_sequences = 2};
    sy_status status = sy_moe_set_weights(moe, &w, wrong && mistake == VERSION ? 2 : 1);
    if (status != SY_OK)
        return status;
    if (mistake == TABLE)
        b = (struct sy_moe_batch){
            .n_sequences = 2, .rounds = 1, .sequences = wrong ? other : table, .known = 1};
    if (wrong && mistake == SEQUENCES)
        b.n_sequences = 99;
    if (wrong && mistake == ROUNDS)
        b = (struct sy_moe_batch){.n_sequences = 2, .rounds = 2, .sequences = rounds};
    if (wrong && mistake == NAN_TOKEN)
        in[0] = NAN;
    if (wrong && mistake == CALL)
        return sy_moe_eval(moe, &b, in, out);
    return sy_moe_forward(moe, wrong && mistake == MICRO_BATCH, &b, in, out);
}

static sy_status rank_main(const struct sy_comm *comm, void *arg) {
    struct job *j = arg;
    int rank = sy_comm_rank(comm), wrong = rank == 1;
    struct sy_config *config = config_of(problems[0].options);
    struct sy_moe_options o = options_of(&problems[0], "fp32");
    struct sy_moe *moe = NULL;
    float *in = calloc(2 * T * D, sizeof *in);
    if (!config || !in)
        abort();
    if (wrong && j->mistake == OPTIONS)
        o.recompute = SY_MOE_RECOMPUTE_FULL;
    if (wrong && j->mistake == CONFIG)
        sy_option_set(config, "moe.top_k", "9");
    if (wrong && j->mistake == TIER)
        o.tier = "none";
    sy_status status = sy_moe_create(config, &o, comm, &moe);
    if (status == SY_OK)
        status = call(moe, j->mistake, rank, in, in + T * D);
    if (status == SY_OK && j->mistake == NONE)
        status = sy_moe_backward(moe, 0, in, in, NULL);
    j->status[rank] = status;
    snprintf(j->message[rank], sizeof j->message[rank], "%s", sy_error_message());
    sy_moe_destroy(moe);
    sy_config_destroy(config);
    free(in);
    return status;
}

static void test_ranks(void **state) {
    (void)state;
    for (int m = 0; m < MISTAKES; m++) {
        struct job j = {.mistake = (enum mistake)m};
        sy_status status = sy_comm_threads_run(2, rank_main, &j);
        assert_int_equal(status, expected[m].status);
        for (int r = 0; r < 2 && m != NONE; r++)
            if (j.status[r] != expected[m].status || !strstr(j.message[r], expected[m].text))
                fail_msg("mistake %d, rank %d: status %d: %s", m, r, j.status[r], j.message[r]);
    }
}

int main(void) {
    fill(x, T * D, 11, 1.0f);
    fill(dy, T * D, 12, 1.0f);
    fill_weights(&weights);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),        cmocka_unit_test(test_options),
        cmocka_unit_test(test_no_memory),     cmocka_unit_test(test_weights),
        cmocka_unit_test(test_micro_batches), cmocka_unit_test(test_batches),
        cmocka_unit_test(test_ranks),         cmocka_unit_test(test_kept_bias)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
