/* Groups of ranks and messages between two: split by colour and key; several groups of each rank used at
 * once, in which everything still holds that holds for all ranks; messages in crossing orders, waited for
 * in any.
 */
#include "comm_operations.h"

/* --- split ---------------------------------------------------------------------------------------- */

/* Everything that a communicator does, in one more round. */
static void use(struct room *room, const struct sy_comm *c, int round) {
    gather(room, c, round);
    exchange(room, c, round);
    cast(room, c, round);
    sum(room, c, round);
    fly(room, c, round);
}

/* The world's rank of each member, as the members tell. */
static void members_of(const struct sy_comm *group, int world_rank, int *members) {
    for (int r = 0; r < MOST; r++)
        members[r] = -1;
    (void)group->ops->all_gather(group, SY_OK, &world_rank, sizeof world_rank, members);
}

enum { COLORS = 4 };

struct colors {
    struct room room, of[COLORS];
    int color[MOST], key[MOST];
};

/* Who is where follows from the tables alone. */
static void check_members(struct colors *q, const struct sy_comm *c, const struct sy_comm *group) {
    int members[MOST], n = 0;
    for (int r = 0; r < c->size; r++)
        n += q->color[r] == q->color[c->rank];
    check(&q->room, c, group->size == n && group->rank < n);
    members_of(group, c->rank, members);
    check(&q->room, c, members[group->rank] == c->rank);
    for (int i = 0; i + 1 < n; i++) {
        int a = members[i], b = members[i + 1];
        check(&q->room, c, q->color[a] == q->color[b]);
        check(&q->room, c, q->key[a] < q->key[b] || (q->key[a] == q->key[b] && a < b));
    }
}

static sy_status split_by_tables(const struct sy_comm *world, void *arg) {
    struct colors *q = arg;
    struct sy_comm group, limited = *world;
    limited.limit = 60;
    q->room.ran[world->rank]++;
    SY_TRY(world->ops->split(&limited, SY_OK, q->color[world->rank], q->key[world->rank], &group));
    if (q->color[world->rank] < 0) {
        check(&q->room, world, group.ops == NULL && group.size == 0);
    } else {
        check(&q->room, world, group.limit > 59 && group.limit < 61);
        check_members(q, world, &group);
        use(&q->of[q->color[world->rank]], &group, 1);
    }
    use(&q->room, world, 2); /* the other one still works, before its parts are gone and after */
    sy_comm_destroy(&group);
    check(&q->room, world, group.ops == NULL);
    sy_comm_destroy(&group);
    use(&q->room, world, 3);
    return SY_OK;
}

static void colors_and_keys(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= most_ranks(); ranks++)
        for (int round = 0; round < 6; round++) {
            struct colors q = {0};
            for (int r = 0; r < ranks; r++) {
                q.color[r] = (int)(hash(r, 50, round) % COLORS) - (round > 2);
                q.key[r] = (int)(hash(r, 51, round) % 3) - 1;
            }
            assert_int_equal(run_ranks(ranks, split_by_tables, &q, sizeof q), SY_OK);
            assert_all_right(&q.room, ranks);
            for (int i = 0; i < COLORS; i++)
                for (int r = 0; r < ranks; r++)
                    assert_int_equal(q.of[i].wrong[r], 0);
        }
}

static void self_splits(void **state) {
    (void)state;
    struct sy_comm self = sy_comm_self(), group, none;
    self.limit = 3;
    assert_int_equal(self.ops->split(&self, SY_OK, 7, 1, &group), SY_OK);
    assert_true(group.size == 1 && group.rank == 0 && group.limit > 2);
    struct room room = {0};
    use(&room, &group, 4);
    assert_int_equal(room.wrong[0], 0);
    assert_int_equal(self.ops->split(&self, SY_OK, -1, 1, &none), SY_OK);
    assert_true(none.size == 0 && none.ops == NULL);
    assert_int_equal(self.ops->split(&self, SY_ERR_IO, 7, 1, &none), SY_ERR_IO);
    assert_true(none.size == 0);
    sy_comm_destroy(&group);
    sy_comm_destroy(&none);
}

/* --- groups at once ------------------------------------------------------------------------------- */

enum { PP = 2, DP = 4, EP = 2 };

/* rank = (stage * DP + place), expert groups are neighbours of a stage. */
static sy_status make_groups(const struct sy_comm *world, struct sy_groups *g) {
    int stage = world->rank / DP, place = world->rank % DP;
    SY_TRY(world->ops->split(world, SY_OK, stage, place, &g->dp));
    SY_TRY(world->ops->split(world, SY_OK, place, stage, &g->pp));
    return g->dp.ops->split(&g->dp, SY_OK, place / EP, place, &g->ep);
}

struct quarters { /* a room for the run, and one for each group */
    struct room room, dp[PP], ep[PP * DP / EP], pp[DP];
};

/* Exchanges and messages of all three in flight together, and each rank's waits in an order of its own. */
static void in_flight_together(struct quarters *q, const struct sy_comm *world, const struct sy_groups *g,
                               int round) {
    struct room *room = &q->room,
                *of[3] = {&q->dp[world->rank / DP], &q->ep[world->rank / EP], &q->pp[world->rank % DP]};
    const struct sy_comm *group[3] = {&g->dp, &g->ep, &g->pp};
    struct parcel p[3];
    struct sy_comm_request sends, receives;
    int other = 1 - g->pp.rank, sent = world->rank + 1000 * round, got = -1;
    for (int i = 0; i < 3; i++)
        begin(of[i], group[i], round + i, &p[i]);
    check(room, world, g->pp.ops->send_begin(&g->pp, other, 5, &sent, sizeof sent, &sends) == SY_OK);
    check(room, world, g->pp.ops->recv_begin(&g->pp, other, 5, &got, sizeof got, &receives) == SY_OK);
    for (int i = 0; i < 3; i++) {
        int at = (i + world->rank) % 3;
        finish(of[at], group[at], &p[at]);
    }
    check(room, world, g->pp.ops->wait(&g->pp, world->rank % 2 ? &sends : &receives) == SY_OK);
    check(room, world, g->pp.ops->wait(&g->pp, world->rank % 2 ? &receives : &sends) == SY_OK);
    check(room, world, got == (world->rank + DP) % (PP * DP) + 1000 * round);
}

static sy_status use_groups(const struct sy_comm *world, void *arg) {
    struct quarters *q = arg;
    struct room *room = &q->room;
    struct sy_groups g;
    room->ran[world->rank]++;
    SY_TRY(make_groups(world, &g));
    check(room, world, g.dp.size == DP && g.ep.size == EP && g.pp.size == PP);
    check(room, world, g.dp.rank == world->rank % DP && g.ep.rank == world->rank % EP);
    check(room, world, g.pp.rank == world->rank / DP);
    for (int round = 0; round < room->rounds; round++) {
        for (int i = 0; i <= world->rank / DP; i++) /* groups do not do the same: they are apart */
            use(&q->dp[world->rank / DP], &g.dp, round + i);
        for (int i = 0; i <= world->rank % DP / EP; i++)
            use(&q->ep[world->rank / EP], &g.ep, round + 7 * i);
        use(&q->pp[world->rank % DP], &g.pp, round + 3);
        in_flight_together(q, world, &g, round);
    }
    sy_comm_destroy(&g.ep);
    sy_comm_destroy(&g.dp);
    sy_comm_destroy(&g.pp);
    return SY_OK;
}

static void three_groups_at_once(void **state) {
    (void)state;
    struct quarters q = {.room.rounds = 20};
    if (most_ranks() < PP * DP)
        skip();
    assert_int_equal(run_ranks(PP * DP, use_groups, &q, sizeof q), SY_OK);
    assert_all_right(&q.room, PP * DP);
    for (int r = 0; r < MOST; r++) {
        for (int i = 0; i < PP; i++)
            assert_int_equal(q.dp[i].wrong[r], 0);
        for (int i = 0; i < PP * DP / EP; i++)
            assert_int_equal(q.ep[i].wrong[r], 0);
        for (int i = 0; i < DP; i++)
            assert_int_equal(q.pp[i].wrong[r], 0);
    }
}

/* Rank 3 leaves; the group of the others lives on, and dies when one of them destroys it and another still
 * waits. */
static sy_status groups_outlive(const struct sy_comm *world, void *arg) {
    struct room *room = arg;
    struct sy_comm group;
    int right;
    room->ran[world->rank]++;
    SY_TRY(world->ops->split(world, SY_OK, world->rank == 3, -world->rank, &group)); /* 2, 1, 0 */
    if (world->rank == 3)
        return SY_OK; /* its own group of one is not destroyed */
    check(room, world, world->ops->agree(world, SY_OK) == SY_ERR_PEER && says("agree: rank 3 has left"));
    for (int op = 0; op < OPERATIONS; op++)
        check(room, world, operations[op].call(&group, SY_OK, &right) == SY_OK && right);
    check(room, world, group.ops->agree(&group, sy_fail(SY_ERR_IO, "all")) == SY_ERR_IO);
    check(room, world,
          says(world->rank == 2 ? "all" : "rank 2: all")); /* its lowest, by its number in the run */
    if (world->rank != 2)
        check(room, world, group.ops->agree(&group, SY_OK) == SY_ERR_PEER && says("agree: rank 2 has left"));
    sy_comm_destroy(&group);
    check(room, world, world->ops->agree(world, SY_OK) == SY_ERR_PEER);
    return SY_OK;
}

static void groups_without_a_rank_that_left(void **state) {
    (void)state;
    struct room room = {0};
    if (most_ranks() < 4)
        skip();
    assert_int_equal(run_ranks(4, groups_outlive, &room, sizeof room), SY_OK);
    assert_all_right(&room, 4);
}

/* A dead group leaves the communicator that it came from alone. */
static sy_status a_group_dies(const struct sy_comm *world, void *arg) {
    struct room *room = arg;
    struct sy_comm group;
    int right;
    room->ran[world->rank]++;
    SY_TRY(world->ops->split(world, SY_OK, world->rank / 2, 0, &group));
    group.limit = world->rank == 2 ? 0.0625 : 0;
    if (world->rank == 2)
        check(room, world, group.ops->agree(&group, SY_OK) == SY_ERR_PEER && says("rank 3 did not come"));
    if (world->rank < 2)
        check(room, world, group.ops->agree(&group, SY_OK) == SY_OK);
    for (int op = 0; op < OPERATIONS; op++)
        check(room, world, operations[op].call(world, SY_OK, &right) == SY_OK && right);
    check(room, world, (group.ops->agree(&group, SY_OK) == SY_OK) == (world->rank < 2));
    (void)sy_fail(SY_ERR_IO, "what went wrong");
    sy_comm_destroy(&group);
    check(room, world, says("what went wrong")); /* also when a dead group goes */
    return SY_OK;
}

static void a_dead_group_is_alone(void **state) {
    (void)state;
    struct room room = {0};
    if (most_ranks() < 4)
        skip();
    assert_int_equal(run_ranks(4, a_group_dies, &room, sizeof room), SY_OK);
    assert_all_right(&room, 4);
}

/* --- messages ------------------------------------------------------------------------------------- */

enum { TAGS = 3, EACH = 2, MESSAGES = TAGS * EACH, LONGEST = 300 };

struct message {
    unsigned char data[LONGEST + 1];
    struct sy_comm_request request;
};

static size_t message_bytes(int from, int to, int k) { return hash(from * 16 + to, k, 77) % (LONGEST + 1); }

/* Message k of a pair has tag k % TAGS: those of one tag come in the order of k, the tags in any. */
static int tag_of(int k) { return 100 * (k % TAGS); }

/* The i-th of MESSAGES in one of several orders that keep the order within a tag. */
static int nth(int order, int i) {
    int tag = order % 2 ? TAGS - 1 - i % TAGS : i % TAGS, place = i / TAGS;
    return order / 2 % 2 ? (TAGS - 1 - i / EACH) + TAGS * (i % EACH) : tag + TAGS * place;
}

/* Every rank sends MESSAGES to every rank, itself included; each begins and waits in an order of its own. */
static void all_pairs(struct room *room, const struct sy_comm *c, int round) {
    static _Thread_local struct message out[MOST][MESSAGES], in[MOST][MESSAGES];
    int me = c->rank, order = (int)(hash(me, 60, round) % 4), back = (int)(hash(me, 61, round) % 2);
    for (int step = 0; step < 2; step++) /* receives first, or sends */
        for (int i = 0; i < c->size * MESSAGES; i++) {
            int other = (me + i + order) % c->size, k = nth(order, i / c->size);
            if (step == back) {
                struct message *m = &out[other][k];
                for (size_t b = 0; b < LONGEST; b++)
                    m->data[b] = part_byte(me, other, (int64_t)b + 1000 * k, round);
                check(room, c,
                      c->ops->send_begin(c, other, tag_of(k), m->data, message_bytes(me, other, k),
                                         &m->request) == SY_OK);
            } else {
                struct message *m = &in[other][k];
                memset(m->data, 0xa5, sizeof m->data);
                check(room, c,
                      c->ops->recv_begin(c, other, tag_of(k), m->data, message_bytes(other, me, k),
                                         &m->request) == SY_OK);
            }
        }
    for (int i = 0; i < 2 * c->size * MESSAGES;
         i++) { /* 2 size MESSAGES and 7 have no common divisor, or it goes by one */
        int n = 2 * c->size * MESSAGES, at = (n % 7 ? 7 * i : i) % n, other = at % c->size,
            k = at / c->size % MESSAGES;
        struct message *m = at < n / 2 ? &out[other][k] : &in[other][k];
        check(room, c, c->ops->wait(c, &m->request) == SY_OK);
        size_t bytes = message_bytes(other, me, k);
        for (size_t b = 0; b <= LONGEST && at >= n / 2; b++)
            check(room, c,
                  m->data[b] == (b < bytes ? part_byte(other, me, (int64_t)b + 1000 * k, round) : 0xa5));
        memset(m->data, 0, sizeof m->data); /* it is ours again */
    }
}

static sy_status talk(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    room->ran[c->rank]++;
    for (int round = 0; round < room->rounds; round++) {
        all_pairs(room, c, round);
        if (round % 3 == 0)
            exchange(room, c, round);
    }
    return SY_OK;
}

static void messages_in_crossing_orders(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= most_ranks(); ranks++) {
        struct room room = {.rounds = 6};
        assert_int_equal(run_ranks(ranks, talk, &room, sizeof room), SY_OK);
        assert_all_right(&room, ranks);
    }
    struct room room = {.rounds = 6};
    struct sy_comm self = sy_comm_self();
    assert_int_equal(talk(&self, &room), SY_OK);
    assert_all_right(&room, 1);
}

/* The messages of one communicator are not those of another, also of one rank's. */
static void own_messages(const struct sy_comm *a, const struct sy_comm *b, int *right) {
    struct sy_comm_request r[4];
    int from_a = 1, from_b = 2, to_a = 0, to_b = 0;
    sy_status status = a->ops->send_begin(a, a->rank, 0, &from_a, sizeof from_a, &r[0]);
    status |= b->ops->recv_begin(b, b->rank, 0, &to_b, sizeof to_b, &r[1]);
    status |= b->ops->send_begin(b, b->rank, 0, &from_b, sizeof from_b, &r[2]);
    status |= a->ops->recv_begin(a, a->rank, 0, &to_a, sizeof to_a, &r[3]);
    for (int i = 0; i < 4; i++)
        status |= (i % 3 ? b : a)->ops->wait(i % 3 ? b : a, &r[i]);
    *right = status == SY_OK && to_a == 1 && to_b == 2;
}

static sy_status two_of_them(const struct sy_comm *world, void *arg) {
    struct room *room = arg;
    struct sy_comm other;
    int right;
    room->ran[world->rank]++;
    SY_TRY(world->ops->split(world, SY_OK, 0, 0, &other));
    own_messages(world, &other, &right);
    check(room, world, right);
    sy_comm_destroy(&other);
    return SY_OK;
}

static void messages_stay_in_their_communicator(void **state) {
    (void)state;
    struct room room = {0};
    struct sy_comm a = sy_comm_self(), b = sy_comm_self(), copy = b;
    int right, ranks = most_ranks() < 3 ? 2 : 3;
    assert_int_equal(run_ranks(ranks, two_of_them, &room, sizeof room), SY_OK);
    assert_all_right(&room, ranks);
    own_messages(&a, &copy, &right);
    assert_true(right);
}

/* A send and its receive both return on one rank's begin and the other's begin, whoever waits first. */
static sy_status a_wait_needs_a_begin(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    struct sy_comm_request request;
    int value = c->rank == 0 ? 42 : 0, waits_first = c->rank == room->first;
    room->ran[c->rank]++;
    if (c->rank == 0)
        SY_TRY(c->ops->send_begin(c, 1, 9, &value, sizeof value, &request));
    else
        SY_TRY(c->ops->recv_begin(c, 0, 9, &value, sizeof value, &request));
    if (!waits_first)
        check(room, c, becomes(&room->ahead, 1));
    check(room, c, c->ops->wait(c, &request) == SY_OK);
    if (waits_first)
        atomic_store(&room->ahead, 1);
    check(room, c, value == 42);
    return SY_OK;
}

static void whoever_waits_first(void **state) {
    (void)state;
    for (int first = 0; first < 2; first++) {
        struct room room = {.first = first};
        assert_int_equal(run_ranks(2, a_wait_needs_a_begin, &room, sizeof room), SY_OK);
        assert_all_right(&room, 2);
    }
}

static int all_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colors_and_keys),
        cmocka_unit_test(self_splits),
        cmocka_unit_test(three_groups_at_once),
        cmocka_unit_test(groups_without_a_rank_that_left),
        cmocka_unit_test(a_dead_group_is_alone),
        cmocka_unit_test(messages_in_crossing_orders),
        cmocka_unit_test(messages_stay_in_their_communicator),
        cmocka_unit_test(whoever_waits_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return test_on_ranks(all_tests); }
