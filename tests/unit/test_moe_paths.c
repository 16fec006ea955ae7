/* Every path of the MoE layer over ranks (threads) has the bits of one process, in all that it gives: even
 * and uneven ranks, ranks with nothing, ranks with no expert, one round and several, segments of any length
 * and at multiples of 16. Counters prove which path was taken, what it moved and for what the host waited.
 */
#include "moe_harness.h"
#include "moe_routing.h"

struct scenario {
    const char *name;
    enum routing routing;
    enum sy_moe_score_func score_func;
    int64_t experts, top_k, seq_len, sequences;
    int before, shared, combine_groups, losses;
};

static const struct scenario scenarios[] = {
    {"random, shared", RANDOM, SY_SCORE_SIGMOID, 8, 3, 9, 7, .shared = 1},
    {"random, before, losses", RANDOM, SY_SCORE_SOFTMAX, 8, 2, 9, 7, .before = 1, .losses = 1},
    {"heavy tails, before", HEAVY, SY_SCORE_SOFTMAX, 13, 3, 9, 7, .before = 1},
    {"heavy tails, losses", HEAVY, SY_SCORE_SIGMOID, 11, 2, 9, 7, .losses = 1},
    {"tied, fewer experts than ranks", TIED, SY_SCORE_TOPK_SOFTMAX, 5, 2, 9, 7, .shared = 1},
    {"one takes all", ONE_TAKES_ALL, SY_SCORE_SIGMOID, 8, 1, 9, 7, .before = 0},
    {"some without, combine in groups", SOME_WITHOUT, SY_SCORE_SIGMOID, 14, 3, 9, 7, .combine_groups = 7},
    {"forced, closed", FORCED_CLOSED, SY_SCORE_SIGMOID, 8, 3, 8, 7, .before = 0},
    {"forced, but given", FORCED_BUT_GIVEN, SY_SCORE_SIGMOID, 8, 3, 8, 7, .before = 0},
    {"forced, closed, before", FORCED_CLOSED, SY_SCORE_SOFTMAX, 6, 3, 4, 8, .before = 1, .combine_groups = 2},
    {"forced, open", FORCED_OPEN, SY_SCORE_SIGMOID, 8, 3, 9, 7, .before = 0},
    {"counts 1..17", COUNTS_1_TO_E, SY_SCORE_SIGMOID, 17, 1, 9, 17, .before = 0},
    {"equal", GIVEN_EQUAL, SY_SCORE_SIGMOID, 6, 2, 6, 8, .before = 0},
    {"equal, 8 experts, before", GIVEN_EQUAL, SY_SCORE_SOFTMAX, 8, 4, 4, 16, .before = 1, .shared = 1},
};
enum { N_SCENARIOS = sizeof scenarios / sizeof *scenarios };

static void make(const struct scenario *s, enum sy_numeric_class cls, struct problem *p, struct batch *b) {
    *p = problem_of(cls, s->experts, s->top_k, s->seq_len);
    p->config.score_func = s->score_func;
    p->config.score_before_experts = s->before;
    p->config.num_shared_experts = s->shared;
    p->config.seq_aux_loss_coeff = s->losses ? 0.5 : 0;
    p->config.z_loss_coeff = s->losses ? 0.25 : 0;
    p->combine_groups = s->combine_groups;
    problem_fill(p, 1000);
    *b = batch_of(p, s->sequences, 2000);
    route_as(s->routing, p, b);
}

/* --- what a path must have moved ------------------------------------------------------------------------ */

struct traffic {
    int64_t routes[MAX_RANKS][MAX_RANKS]; /* from a rank's tokens to a rank's experts */
    int64_t largest;
    int equal; /* every (rank, expert) has as many */
};

static struct traffic traffic_of(const struct problem *p, const struct layout *l, const struct answer *a) {
    struct traffic m = {.equal = 1};
    int64_t e_count = p->config.num_experts, per = p->seq_len * p->config.top_k,
            counts[MAX_RANKS][64] = {{0}};
    for (int r = 0; r < l->ranks; r++) {
        int64_t number[MAX_SEQUENCES], n = numbers_of(l, r, number);
        for (int64_t i = 0; i < n * per; i++)
            counts[r][(int)a->v[IDS][number[i / per] * per + i % per]]++;
    }
    for (int to = 0; to < l->ranks; to++) {
        int64_t first, n;
        sy_experts_share(e_count, to, l->ranks, &first, &n);
        for (int r = 0; r < l->ranks; r++) {
            for (int64_t e = first; e < first + n; e++) {
                m.routes[r][to] += counts[r][e];
                m.equal &= counts[r][e] == counts[0][0];
            }
            m.largest = m.routes[r][to] > m.largest ? m.routes[r][to] : m.largest;
        }
    }
    return m;
}

static enum sy_exchange_path path_of(const struct problem *p, int given, const struct layout *l,
                                     const struct setup *s, const struct traffic *m) {
    if (s->direct)
        return SY_PATH_DIRECT;
    if (p->forced && !given && l->known && p->seq_len * p->config.top_k % p->config.num_experts == 0)
        return SY_PATH_FORCED;
    if (l->rounds == 1 && m->equal)
        return SY_PATH_EQUAL;
    return s->pad ? SY_PATH_EQUAL_PADDED : SY_PATH_STANDARD;
}

static int taken[5]; /* runs by path: each must have been there */

static void check_counters(const struct job *j) {
    struct traffic m = traffic_of(j->p, j->l, j->out);
    enum sy_exchange_path path = path_of(j->p, j->b->given != NULL, j->l, j->s, &m);
    int after = !j->p->config.score_before_experts, again = j->keep == KEEP_NOTHING, times = 1 + again;
    int64_t dispatches = (1 + after) * times + 1, combines = 2 + after;
    taken[path]++;
    for (int r = 0; r < j->l->ranks; r++) {
        const struct sy_moe_counters *c = &j->counters[r];
        int64_t out = 0, in = 0, slots = m.largest * (j->l->ranks - 1);
        for (int q = 0; q < j->l->ranks; q++) {
            out += q == r ? 0 : m.routes[r][q];
            in += q == r ? 0 : m.routes[q][r];
        }
        int is_direct = path == SY_PATH_DIRECT, waits = is_direct || path == SY_PATH_FORCED ? 0 : times;
        int64_t rows = is_direct ? 0 : dispatches * out + combines * in;
        int64_t padding = path == SY_PATH_EQUAL_PADDED ? (dispatches + combines) * slots - rows : 0;
        assert_int_equal(c->path_standard, path == SY_PATH_STANDARD ? times : 0);
        assert_int_equal(c->path_equal, path == SY_PATH_EQUAL ? times : 0);
        assert_int_equal(c->path_equal_padded, path == SY_PATH_EQUAL_PADDED ? times : 0);
        assert_int_equal(c->path_forced, path == SY_PATH_FORCED ? times : 0);
        assert_int_equal(c->path_direct, is_direct ? times : 0);
        assert_int_equal(c->path_local + c->buffer_regrown, 0);
        assert_int_equal(c->counts_exchanged, waits);
        assert_int_equal(c->host_waits, waits); /* for the counts alone */
        assert_int_equal(c->rows_sent, rows + padding);
        assert_int_equal(c->rows_padded, padding);
        assert_int_equal(c->a2a_in_backward, again * (is_direct ? 1 : 1 + after));
        int scatters = j->s->scatter && j->p->combine_groups == 0 ? 2 : 0,
            in_place = j->p->cls == SY_NUMERIC_FP32;
        assert_int_equal(c->scatter_add_inplace, in_place ? scatters : 0);
        assert_int_equal(c->scatter_add, in_place ? 0 : scatters);
    }
}

/* --- all layouts ---------------------------------------------------------------------------------------- */

static void check_losses(const struct answer *got, const struct answer *want, int ranks) {
    for (int i = 0; i < 2; i++) {
        int64_t sum = 0;
        for (int r = 0; r < ranks; r++)
            sum += got->loss[r][i];
        assert_int_equal(sum, want->loss[0][i]);
    }
}

static void layout_as_one(const struct scenario *s, const struct problem *p, const struct batch *b,
                          const struct layout *l, const struct setup *setup, enum keep keep,
                          const struct answer *want) {
    struct job j = {.p = p, .b = b, .l = l, .s = setup, .keep = keep};
    struct answer got;
    job_run(&j, &got);
    const char *d = difference(&got, want);
    if (d)
        fail_msg("class %s, %s: %d ranks, %d rounds (known %d), pad %d, direct %d, scatter %d, segment %d, "
                 "%d threads, "
                 "keep %d: %s",
                 sy_class_name(p->cls), s->name, l->ranks, l->rounds, l->known, setup->pad, setup->direct,
                 setup->scatter, setup->segment, setup->threads, (int)keep, d);
    check_losses(&got, want, l->ranks);
    check_counters(&j);
    answer_free(&got);
}

enum { N_LAYOUTS = 8 };
static struct layout nth_layout(int n, int ranks, int64_t sequences) {
    switch (n) {
    case 0:
        return lay(ranks, sequences, 0);
    case 1:
        return lay(ranks, sequences, 1);
    case 2: { /* all on the last rank */
        struct layout l = {.ranks = ranks, .rounds = 1};
        l.of[ranks - 1][0] = sequences;
        return l;
    }
    case 3: { /* every rank has as many, but some all in the second round: counts are equal, blocks are not */
        struct layout l = {.ranks = ranks, .rounds = 2};
        for (int64_t b = 0; b < sequences; b++)
            l.of[b % ranks][b % ranks % 2 || b / ranks % 2]++;
        return l;
    }
    default:
        return lay_anyhow(ranks, n - 3, sequences, (uint64_t)(ranks + 10 * n));
    }
}

static void scenario_on_all_layouts(const struct scenario *s, enum sy_numeric_class cls) {
    static const struct setup plain = {.tier = "auto", .threads = 1};
    struct problem p;
    struct batch b;
    make(s, cls, &p, &b);
    struct layout one = one_process(b.sequences);
    struct job j = {.p = &p, .b = &b, .l = &one, .s = &plain};
    struct answer want;
    job_run(&j, &want);
    if (s->losses)
        assert_true(want.loss[0][0] > 0 && want.loss[0][1] > 0);
    int n = 0, step = is_quick() ? 29 : cls == SY_NUMERIC_X86 ? 1 : 3;
    for (int ranks = 2; ranks <= MAX_RANKS; ranks++)
        for (int i = 0; i < N_LAYOUTS; i++)
            for (int v = 0; v < 6;
                 v++, n++) { /* plain, pad, scatter, both; direct without and with scatter */
                if (n % step)
                    continue;
                struct layout l = nth_layout(i, ranks, b.sequences);
                l.known = v >= 4 || (v + i + ranks) % 2;
                struct setup setup = {
                    .tier = "auto", .threads = 1 + n % 5 / 4, .pad = v & 1, .scatter = v >> 1};
                setup.direct = v >= 4;
                setup.scatter = v >= 4 ? v & 1 : v >> 1;
                setup.max_rounds = l.rounds + n % 3; /* room for more rounds than there are */
                setup.segment = n / 3 % 3 == 1 ? 16 : 1;
                layout_as_one(s, &p, &b, &l, &setup,
                              n % 11  ? KEEP_ALL
                              : n % 2 ? KEEP_ROWS
                                      : KEEP_NOTHING,
                              &want);
            }
    answer_free(&want);
    batch_free(&b);
    problem_free(&p);
}

static void all_layouts(enum sy_numeric_class cls) {
    for (int i = 0; i < N_SCENARIOS; i++)
        if (!is_quick() || i % SY_N_CLASSES == (int)cls)
            scenario_on_all_layouts(&scenarios[i], cls);
}
static void every_layout_has_the_bits_of_one_process_x86(void **state) {
    (void)state;
    all_layouts(SY_NUMERIC_X86);
}
static void every_layout_has_the_bits_of_one_process_amx(void **state) {
    (void)state;
    all_layouts(SY_NUMERIC_AMX);
}
static void every_layout_has_the_bits_of_one_process_sm90(void **state) {
    (void)state;
    all_layouts(SY_NUMERIC_SM90);
}
static void every_layout_has_the_bits_of_one_process_fp32(void **state) {
    (void)state;
    all_layouts(SY_NUMERIC_FP32);
}

/* --- evaluation ----------------------------------------------------------------------------------------- */

static sy_status eval_rank(const struct sy_comm *comm, void *arg) {
    struct job *j = arg;
    struct rank r;
    struct slot s;
    job_open(j, comm, &r, &s);
    rank_view(&r, 1, 1);
    sy_status status = slot_fwd(&s, SY_PASS_EVAL);
    if (status == SY_OK)
        status = slot_fwd(&s, SY_PASS_EVAL); /* by the cache */
    j->counters[comm->rank] = r.counters;
    slot_close(&s);
    rank_close(&r);
    return status;
}

/* y, ids and w of training; nothing is counted. */
static void evaluation_has_the_bits_of_training(void **state) {
    (void)state;
    static const struct setup plain = {.tier = "auto", .threads = 1};
    for (int i = 0; i < N_SCENARIOS; i++) {
        struct problem p;
        struct batch b;
        struct answer want, got;
        make(&scenarios[i], (enum sy_numeric_class)(i % SY_N_CLASSES), &p, &b);
        struct layout one = one_process(b.sequences);
        job_run(&(struct job){.p = &p, .b = &b, .l = &one, .s = &plain}, &want);
        for (int n = 0; n < 2 * MAX_RANKS; n += is_quick() ? 5 : 1) {
            struct layout l = nth_layout(n % N_LAYOUTS, 1 + n / 2, b.sequences);
            struct setup setup = {
                .tier = "auto", .threads = 1, .pad = n % 2, .scatter = n / 2 % 2, .segment = n % 3 * 8};
            struct job j = {.p = &p, .b = &b, .l = &l, .s = &setup, .out = &got};
            got = answer_of(&p, &b);
            setup.direct = n % 5 == 1;
            l.known = setup.direct || n / 4 % 2;
            if (on_ranks(l.ranks, eval_rank, &j) != SY_OK)
                fail_msg("%s", sy_error_message());
            sum_counts(&got, l.ranks);
            assert_int_equal(first_difference(&got, &want, Y), -1);
            assert_int_equal(first_difference(&got, &want, IDS), -1);
            assert_int_equal(first_difference(&got, &want, W), -1);
            assert_false(any(got.v[COUNTS], got.n[COUNTS]));
            assert_int_equal(j.counters[0].cached_w13_hit, 1);
            assert_int_equal(j.counters[0].a2a_in_backward, 0);
            answer_free(&got);
        }
        answer_free(&want);
        batch_free(&b);
        problem_free(&p);
    }
}

static void every_path_was_taken(void **state) {
    (void)state;
    for (int path = 0; path < 5; path++)
        assert_true(taken[path] > 0);
}

/* --- shares --------------------------------------------------------------------------------------------- */

static void shares_cover_the_experts(void **state) {
    (void)state;
    for (int64_t e = 1; e < 40; e++)
        for (int size = 1; size <= 9; size++) {
            int64_t next = 0, first, n;
            for (int r = 0; r < size; r++) {
                sy_experts_share(e, r, size, &first, &n);
                assert_int_equal(first, next);
                assert_int_equal(n, e / size + (r < e % size)); /* the first E mod EP ranks hold one more */
                next += n;
            }
            assert_int_equal(next, e);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_has_the_bits_of_one_process_x86),
        cmocka_unit_test(every_layout_has_the_bits_of_one_process_amx),
        cmocka_unit_test(every_layout_has_the_bits_of_one_process_sm90),
        cmocka_unit_test(every_layout_has_the_bits_of_one_process_fp32),
        cmocka_unit_test(every_path_was_taken),
        cmocka_unit_test(evaluation_has_the_bits_of_training),
        cmocka_unit_test(shares_cover_the_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
