/* What the comparisons of the MoE tests must catch, on ranks: a transport that puts the padding of a part at
 * its front or swaps two rows; an order of rows that is not (round, rank, sequence, token); expert biases
 * from the counts of one rank. References that are wrong in the choice or in the sum: test_moe_triple_loop.c.
 * Counts doubled by recompute: test_moe_recompute.c.
 */
#include "moe_harness.h"
#include "moe_routing.h"

/* --- a transport that does something wrong in one exchange ---------------------------------------------- */

enum wrong_move { HONEST, PADDING_IN_FRONT, ROWS_SWAPPED };

struct liar {
    struct sy_comm inner;
    enum wrong_move move;
    int calls, at; /* which exchange of this rank */
    int64_t row_bytes;
    int moved;
    int64_t told; /* bytes of counts that came */
    void *copy;
};

static const struct sy_comm *inner_of(const struct sy_comm *c) { return &((struct liar *)c->state)->inner; }
static sy_status liar_agree(const struct sy_comm *c, sy_status mine) {
    return inner_of(c)->ops->agree(inner_of(c), mine);
}
static sy_status liar_all_gather(const struct sy_comm *c, sy_status mine, const void *send, size_t bytes,
                                 void *recv) {
    return inner_of(c)->ops->all_gather(inner_of(c), mine, send, bytes, recv);
}
static sy_status liar_wait(const struct sy_comm *c, struct sy_comm_request *request) {
    return inner_of(c)->ops->wait(inner_of(c), request);
}

static int is_zero(const char *p, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (p[i])
            return 0;
    return 1;
}

/* One rank's part of `bytes`, in place. */
static int change(const struct liar *l, char *part, int64_t bytes) {
    int64_t size = l->row_bytes, rows = bytes / size, empty = 0;
    while (empty < rows && is_zero(part + (rows - 1 - empty) * size, size))
        empty++;
    if (l->move == PADDING_IN_FRONT && empty > 0 && empty < rows) {
        memmove(part + empty * size, part, (size_t)((rows - empty) * size));
        memset(part, 0, (size_t)(empty * size));
        return 1;
    }
    if (l->move == ROWS_SWAPPED && rows - empty > 1) {
        char row[256];
        memcpy(row, part, (size_t)size);
        memcpy(part, part + size, (size_t)size);
        memcpy(part + size, row, (size_t)size);
        return 1;
    }
    return 0;
}

static sy_status liar_begin(const struct sy_comm *c, sy_status mine, const void *send, const int64_t *send_at,
                            void *recv, const int64_t *recv_at, struct sy_comm_request *request) {
    struct liar *l = c->state;
    if (l->calls++ == l->at && l->move != HONEST) {
        l->copy = room(send_at[c->size], 1);
        memcpy(l->copy, send, (size_t)send_at[c->size]);
        for (int r = 0; r < c->size; r++)
            l->moved += change(l, (char *)l->copy + send_at[r], send_at[r + 1] - send_at[r]);
        send = l->copy;
    }
    return l->inner.ops->all_to_all_begin(&l->inner, mine, send, send_at, recv, recv_at, request);
}

/* Counts go without begin and wait: they are told as they are. */
static sy_status liar_all_to_all(const struct sy_comm *c, sy_status mine, const void *send,
                                 const int64_t *send_at, void *recv, const int64_t *recv_at) {
    ((struct liar *)c->state)->told += recv_at[c->size];
    return inner_of(c)->ops->all_to_all(inner_of(c), mine, send, send_at, recv, recv_at);
}

/* The ops that a layer uses. */
static const struct sy_comm_ops liar_ops = {.name = "liar",
                                            .agree = liar_agree,
                                            .all_gather = liar_all_gather,
                                            .all_to_all = liar_all_to_all,
                                            .all_to_all_begin = liar_begin,
                                            .wait = liar_wait};

struct lie {
    struct job j;
    enum wrong_move move;
    int at, moved[MAX_RANKS];
    int64_t told[MAX_RANKS];
};

static sy_status lying_rank(const struct sy_comm *comm, void *arg) {
    struct lie *q = arg;
    struct liar l = {.inner = *comm, .move = q->move, .at = q->at};
    l.row_bytes = q->j.p->d * (int64_t)sy_dtype_bytes(sy_class_dtype(q->j.p->cls));
    struct sy_comm lying = {&liar_ops, &l, comm->rank, comm->size, 0};
    sy_status status = job_rank(&lying, &q->j);
    q->moved[comm->rank] = l.moved;
    q->told[comm->rank] = l.told;
    free(l.copy);
    return status;
}

/* How many parts were changed. */
static int run_lie(struct lie *q, struct answer *out) {
    int moved = 0;
    *out = answer_of(q->j.p, q->j.b);
    q->j.out = out;
    if (on_ranks(q->j.l->ranks, lying_rank, q) != SY_OK)
        fail_msg("%s", sy_error_message());
    sum_counts(out, q->j.l->ranks);
    for (int r = 0; r < q->j.l->ranks; r++)
        moved += q->moved[r];
    return moved;
}

#define BIT(f) (1u << (f))
static unsigned differing(const struct answer *a, const struct answer *b) {
    unsigned fields = 0;
    for (int f = 0; f < N_FIELDS; f++)
        fields |= first_difference(a, b, (enum field)f) >= 0 ? BIT(f) : 0;
    return fields;
}

struct scene {
    struct problem p;
    struct batch b;
    struct answer one;
};

static struct scene scene_of(enum sy_numeric_class cls, enum routing routing, int64_t sequences) {
    static const struct setup plain = {.tier = "auto", .threads = 1};
    struct scene s = {.p = problem_of(cls, 8, 3, 9)};
    problem_fill(&s.p, 71);
    s.b = batch_of(&s.p, sequences, 72);
    route_as(routing, &s.p, &s.b);
    struct layout one = one_process(sequences);
    job_run(&(struct job){.p = &s.p, .b = &s.b, .l = &one, .s = &plain}, &s.one);
    return s;
}

static void scene_free(struct scene *s) {
    answer_free(&s->one);
    batch_free(&s->b);
    problem_free(&s->p);
}

static void padding_at_the_front_of_a_part(void **state) {
    (void)state;
    static const struct setup padded = {.tier = "auto", .threads = 1, .pad = 1};
    enum { ROWS_OUT = 0, ROWS_BACK = 2 }; /* forward's exchanges: rows, weights; combine */
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        struct scene s = scene_of((enum sy_numeric_class)cls, HEAVY, 5);
        struct layout l = lay(3, 5, 1);
        struct answer got;
        struct lie q = {.j = {.p = &s.p, .b = &s.b, .l = &l, .s = &padded}, .move = HONEST};
        assert_int_equal(run_lie(&q, &got), 0);
        assert_int_equal(differing(&got, &s.one), 0);
        answer_free(&got);
        q = (struct lie){
            .j = {.p = &s.p, .b = &s.b, .l = &l, .s = &padded}, .move = PADDING_IN_FRONT, .at = ROWS_OUT};
        assert_true(run_lie(&q, &got) > 0);
        assert_int_equal(differing(&got, &s.one) & (BIT(Y) | BIT(DW) | BIT(DW13) | BIT(DW2)),
                         BIT(Y) | BIT(DW) | BIT(DW13) | BIT(DW2));
        answer_free(&got);
        q = (struct lie){
            .j = {.p = &s.p, .b = &s.b, .l = &l, .s = &padded}, .move = PADDING_IN_FRONT, .at = ROWS_BACK};
        assert_true(run_lie(&q, &got) > 0);
        assert_int_equal(differing(&got, &s.one), BIT(Y));
        answer_free(&got);
        scene_free(&s);
    }
}

static void two_rows_of_a_part_swapped(void **state) {
    (void)state;
    static const struct setup plain = {.tier = "auto", .threads = 1};
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        struct scene s = scene_of((enum sy_numeric_class)cls, RANDOM, 5);
        struct layout l = lay(4, 5, 0);
        struct lie q = {.j = {.p = &s.p, .b = &s.b, .l = &l, .s = &plain}, .move = ROWS_SWAPPED, .at = 0};
        struct answer got;
        assert_true(run_lie(&q, &got) > 0);
        assert_true(differing(&got, &s.one) & BIT(Y));
        assert_true(differing(&got, &s.one) & BIT(DW13));
        answer_free(&got);
        scene_free(&s);
    }
}

/* --- the order of rows ---------------------------------------------------------------------------------- */

/* The same sequences in another order to one process: by rank before round, or ranks from last to first.
 * The experts' gradients must show it, whatever the routing; that they agree in the right order is
 * test_moe_paths.c. */
static void another_order_of_sequences(void **state) {
    (void)state;
    static const struct setup plain = {.tier = "auto", .threads = 1};
    static const enum routing routings[] = {RANDOM, HEAVY, TIED};
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int i = 0; i < 3; i++)
            for (int wrong = 0; wrong < 2; wrong++) {
                struct scene s = scene_of((enum sy_numeric_class)cls, routings[i], 6);
                struct layout l = {.ranks = 3, .rounds = wrong ? 1 : 2}, one = one_process(6);
                struct batch moved = batch_of(&s.p, 6, 72);
                int64_t per = s.p.seq_len * s.p.d, number[MAX_SEQUENCES], place = 0;
                for (int r = 0; r < 3; r++)
                    for (int j = 0; j < l.rounds; j++)
                        l.of[r][j] = 2 / l.rounds;
                for (int r = 0; r < 3; r++) {
                    int64_t n = numbers_of(&l, wrong ? 2 - r : r, number);
                    for (int64_t b = 0; b < n; b++, place++) {
                        memcpy(moved.x + place * per, s.b.x + number[b] * per, (size_t)per * sizeof *moved.x);
                        memcpy(moved.dy + place * per, s.b.dy + number[b] * per,
                               (size_t)per * sizeof *moved.dy);
                    }
                }
                struct answer got;
                job_run(&(struct job){.p = &s.p, .b = &moved, .l = &one, .s = &plain}, &got);
                assert_int_equal(differing(&got, &s.one) & (BIT(DW13) | BIT(DW2) | BIT(COUNTS)),
                                 BIT(DW13) | BIT(DW2));
                answer_free(&got);
                batch_free(&moved);
                scene_free(&s);
            }
}

/* --- who is told what ----------------------------------------------------------------------------------- */

/* Of its own experts alone: of each rank a header (sequences of the rounds, routes to each rank, the
 * fewest and the most of an expert), and for each of its experts the routes of each sequence. */
static void told_of_own_experts_alone(void **state) {
    (void)state;
    static const struct setup plain = {.tier = "auto", .threads = 1};
    for (int ranks = 2; ranks <= 5; ranks++) {
        struct scene s = scene_of(SY_NUMERIC_X86, RANDOM, 7);
        struct layout l = lay(ranks, 7, 1);
        struct answer got;
        struct lie q = {.j = {.p = &s.p, .b = &s.b, .l = &l, .s = &plain}};
        run_lie(&q, &got);
        for (int r = 0; r < ranks; r++) {
            int64_t experts = 8 / ranks + (r < 8 % ranks);
            int64_t numbers = l.rounds + ranks + 2 + experts * most_sequences(&l);
            assert_int_equal(q.told[r], ranks * numbers * (int64_t)sizeof(int64_t));
        }
        answer_free(&got);
        scene_free(&s);
    }
}

/* --- the expert bias ------------------------------------------------------------------------------------ */

enum { E = 8 };

static void bias_from(const struct sy_config_moe *moe, int64_t tokens, const int64_t *counts, float bias[E]) {
    struct sy_exec x = {.device = sy_device_cpu()};
    for (int e = 0; e < E; e++)
        bias[e] = (float)unit(99, e);
    assert_int_equal(sy_ops_select("auto", &x.ops), SY_OK);
    x.ops->expert_bias(&x, &(struct sy_expert_bias){.experts = E,
                                                    .routes = tokens * moe->top_k,
                                                    .n_layers = 1,
                                                    .counts = &(const int64_t *){counts},
                                                    .bias = &(float *){bias},
                                                    .coeff = moe->load_balance_coeff,
                                                    .center = moe->bias_center});
}

/* The bias after a step from the counts that the ranks made, summed, is that of one process; from any
 * rank's own it is not, and neither is it from counts of which some were made twice. */
static void bias_from_the_counts_of_one_rank(void **state) {
    (void)state;
    static const struct setup plain = {.tier = "auto", .threads = 1};
    for (int centred = 0; centred < 2; centred++)
        for (int ranks = 2; ranks <= 4; ranks++) {
            struct scene s = scene_of(SY_NUMERIC_X86, RANDOM, 7);
            struct layout l = lay(ranks, 7, 0);
            struct answer got;
            int64_t sum[E] = {0}, twice[E], tokens = tokens_of(&s.p, &s.b);
            float want[E], bias[E];
            s.p.config.bias_center = centred;
            s.p.config.load_balance_coeff = 1e-3;
            bias_from(&s.p.config, tokens, s.one.rank_counts[0], want);
            job_run(&(struct job){.p = &s.p, .b = &s.b, .l = &l, .s = &plain}, &got);
            for (int r = 0; r < ranks; r++)
                for (int e = 0; e < E; e++)
                    sum[e] += got.rank_counts[r][e];
            bias_from(&s.p.config, tokens, sum, bias);
            assert_memory_equal(bias, want, sizeof want);
            for (int r = 0; r < ranks; r++) {
                bias_from(&s.p.config, sequences_of(&l, r) * s.p.seq_len, got.rank_counts[r], bias);
                assert_memory_not_equal(bias, want, sizeof want);
            }
            for (int e = 0; e < E; e++) /* one rank's micro-batch was counted by recompute too */
                twice[e] = sum[e] + got.rank_counts[0][e];
            bias_from(&s.p.config, tokens, twice, bias);
            assert_memory_not_equal(bias, want, sizeof want);
            answer_free(&got);
            scene_free(&s);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(padding_at_the_front_of_a_part),   cmocka_unit_test(two_rows_of_a_part_swapped),
        cmocka_unit_test(another_order_of_sequences),       cmocka_unit_test(told_of_own_experts_alone),
        cmocka_unit_test(bias_from_the_counts_of_one_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
