/* How calls of a transport end when not all ranks come: within the limit, or at all, because they have
 * left. The memory of every call is freed as soon as it has returned: under the sanitizers, nobody may
 * still look at it.
 */
#include "comm_operations.h"

struct scene {
    struct room room;
    int op; /* of operations */
    int variant;
    int absent;          /* the rank that does not come, or leaves */
    sy_status leaves;    /* with this */
    double limit;        /* seconds */
    atomic_int finished; /* ranks that have their status */
};

/* --- ranks that do not come ----------------------------------------------------------------------- */

/* ERR_PEER with "operation: rank r" and `how`; where a limit passed, a machine under load may have kept
 * others away, too. */
static void check_named(struct scene *q, const struct sy_comm *c, sy_status status, const char *how) {
    char operation[40], number[16];
    const char *m = sy_error_message(), *at = strstr(m, how);
    int n = snprintf(operation, sizeof operation, "%s: rank", operations[q->op].name), named = 0;
    snprintf(number, sizeof number, "%d", q->absent);
    for (const char *word = m + n; at && strncmp(m, operation, (size_t)n) == 0 && word < at;) {
        word += strspn(word, "s ,and");
        size_t length = strspn(word, "0123456789");
        named |= length == strlen(number) && strncmp(word, number, length) == 0;
        word += length;
        if (length == 0)
            break;
    }
    check(&q->room, c, status == SY_ERR_PEER && named);
}

/* All but one come and give up; it comes too late. Then nothing works any more, and all say the same. */
static sy_status one_comes_late(const struct sy_comm *world, void *arg) {
    struct scene *q = arg;
    struct sy_comm limited = *world;
    const struct sy_comm *c = &limited;
    int right;
    q->room.ran[c->rank]++;
    check(&q->room, c, operations[q->op].call(c, SY_OK, &right) == SY_OK && right);
    check(&q->room, c, c->ops->agree(c, SY_OK) == SY_OK);
    limited.limit = q->limit;
    if (c->rank == q->absent)
        check(&q->room, c, becomes(&q->finished, c->size - 1));
    check_named(q, c, operations[q->op].call(c, SY_OK, &right), "did not come within 0.0625 s");
    atomic_fetch_add(&q->finished, 1);
    for (int op = 0; op < OPERATIONS; op++) {
        check_named(q, c, operations[op].call(c, SY_OK, &right), "did not come within 0.0625 s");
        check_named(q, c, operations[op].call(c, sy_fail(SY_ERR_IO, "mine"), &right),
                    "did not come within 0.0625 s");
    }
    struct sy_comm_request request = {0};
    check_named(q, c, c->ops->send_begin(c, 0, 0, NULL, 0, &request), "did not come within 0.0625 s");
    check(&q->room, c, c->ops->wait(c, &request) == SY_OK); /* there is none */
    check_named(q, c, c->ops->recv_begin(c, 0, 0, NULL, 0, &request), "did not come within 0.0625 s");
    return SY_OK;
}

static void limits(void **state) {
    (void)state;
    for (int op = 0; op < OPERATIONS; op++)
        for (int ranks = 2; ranks <= most_ranks(); ranks += are_threads() ? 3 : 1) {
            struct scene q = {.op = op, .absent = (op + ranks) % ranks, .limit = 0.0625};
            assert_int_equal(run_ranks(ranks, one_comes_late, &q, sizeof q), SY_OK);
            assert_all_right(&q.room, ranks);
        }
}

/* A limit that nobody reaches changes nothing, and it is each call's own. */
static sy_status in_time(const struct sy_comm *world, void *arg) {
    struct scene *q = arg;
    struct sy_comm limited = *world;
    int right;
    q->room.ran[world->rank]++;
    limited.limit = 1; /* less than all the delays together */
    for (int i = 0; i < 4; i++) {
        if (world->rank == i % world->size)
            nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
        check(&q->room, world, operations[q->op].call(&limited, SY_OK, &right) == SY_OK && right);
    }
    return SY_OK;
}

static void limits_are_of_one_call(void **state) {
    (void)state;
    for (int op = 3; op < 5; op++) {
        struct scene q = {.op = op};
        if (most_ranks() < 3)
            skip();
        assert_int_equal(run_ranks(3, in_time, &q, sizeof q), SY_OK);
        assert_all_right(&q.room, 3);
    }
}

/* Rank 1 begins no message; rank 0 waits for one, with others open whose memory goes as soon as it knows. */
static sy_status no_message(const struct sy_comm *world, void *arg) {
    struct scene *q = arg;
    struct sy_comm c = *world;
    int receives = q->variant;
    q->room.ran[c.rank]++;
    c.limit = 0.0625;
    if (c.rank == 1) {
        check(&q->room, &c, becomes(&q->finished, 1));
        check(&q->room, &c, c.ops->agree(&c, SY_OK) == SY_ERR_PEER);
        return SY_OK;
    }
    struct sy_comm_request request, *other = bytes_of(2 * sizeof *other, 0);
    char *data = bytes_of(BLOCK, 0);
    check(&q->room, &c, c.ops->send_begin(&c, 1, 1, data, BLOCK, &other[0]) == SY_OK);
    check(&q->room, &c, c.ops->recv_begin(&c, 1, 2, data, BLOCK, &other[1]) == SY_OK);
    if (receives)
        check(&q->room, &c, c.ops->recv_begin(&c, 1, 3, data, BLOCK, &request) == SY_OK);
    else
        check(&q->room, &c, c.ops->send_begin(&c, 1, 3, data, BLOCK, &request) == SY_OK);
    check(&q->room, &c, c.ops->wait(&c, &request) == SY_ERR_PEER);
    free(other);
    free(data);
    check(&q->room, &c,
          says(receives ? "receive: rank 1 did not come within 0.0625 s"
                        : "send: rank 1 did not come within 0.0625 s"));
    atomic_fetch_add(&q->finished, 1);
    return SY_OK;
}

static void limits_of_messages(void **state) {
    (void)state;
    for (int receives = 0; receives < 2; receives++) {
        struct scene q = {.variant = receives};
        assert_int_equal(run_ranks(2, no_message, &q, sizeof q), SY_OK);
        assert_all_right(&q.room, 2);
    }
}

static sy_status one_comes_alone(const struct sy_comm *world, void *arg) {
    atomic_int *over = arg;
    struct sy_comm c = *world;
    c.limit = 0.0625;
    if (c.rank == 1) {
        sy_status status = c.ops->agree(&c, SY_OK);
        atomic_store(over, 1);
        return status;
    }
    if (!becomes(over, 1))
        abort();
    return SY_OK;
}

static void many_that_did_not_come(void **state) {
    (void)state;
    static const struct {
        int ranks;
        const char *text;
    } cases[] = {{3, "ranks 0 and 2 did not"},
                 {10, "ranks 0, 2, 3, 4, 5, 6, 7, 8 and 9 did not"},
                 {11, "ranks 0, 2, 3, 4, 5, 6, 7, 8 and 2 more did not"},
                 {40, "ranks 0, 2, 3, 4, 5, 6, 7, 8 and 31 more did not"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        atomic_int over = 0;
        if (!are_threads() && cases[i].ranks > most_ranks())
            continue;
        assert_int_equal(run_ranks(cases[i].ranks, one_comes_alone, &over, sizeof over), SY_ERR_PEER);
        if (!says(cases[i].text))
            fail_msg("%d ranks: %s", cases[i].ranks, sy_error_message());
    }
}

/* --- ranks that leave ----------------------------------------------------------------------------- */

/* One leaves before the others call; they have no limit, or one that is far. */
static sy_status one_leaves(const struct sy_comm *world, void *arg) {
    struct scene *q = arg;
    struct sy_comm c = *world;
    int right;
    q->room.ran[c.rank]++;
    c.limit = q->limit;
    check(&q->room, &c, operations[q->op].call(&c, SY_OK, &right) == SY_OK && right);
    check(&q->room, &c,
          c.ops->agree(&c, SY_OK) == SY_OK); /* else a wait of one may end in the death made by another */
    atomic_fetch_add(&q->finished, 1);
    check(&q->room, &c, becomes(&q->finished, c.size)); /* the same of processes */
    if (c.rank == q->absent)
        return q->leaves == SY_OK ? SY_OK : sy_fail(q->leaves, "why rank %d left", c.rank);
    sy_status status = operations[q->op].call(&c, SY_OK, &right);
    check_named(q, &c, status, "has left");
    check(&q->room, &c, says("has left: why rank") == (q->leaves != SY_OK));
    check_named(q, &c, c.ops->agree(&c, SY_OK), "has left");
    return q->leaves == SY_OK ? SY_OK : status;
}

static void leaving_ends_the_others_waits(void **state) {
    (void)state;
    for (int op = 0; op < OPERATIONS; op++)
        for (int ranks = 2; ranks <= most_ranks(); ranks += 2)
            for (int how = 0; how < 2; how++) {
                struct scene q = {.op = op,
                                  .absent = (op + ranks + 1) % ranks,
                                  .leaves = how ? SY_ERR_DATA : SY_OK,
                                  .limit = how ? 0 : 1000};
                assert_int_equal(run_ranks(ranks, one_leaves, &q, sizeof q), q.leaves);
                assert_all_right(&q.room, ranks);
                char why[40]; /* the cause, not that others missed it */
                snprintf(why, sizeof why, "why rank %d left", q.absent);
                if (how)
                    assert_string_equal(sy_error_message(), why);
            }
}

/* Both ends of a message: the other has left. A message that both have begun needs nobody to stay. */
static sy_status leaves_a_message(const struct sy_comm *c, void *arg) {
    struct scene *q = arg;
    struct sy_comm_request request[2];
    int value = c->rank;
    q->room.ran[c->rank]++;
    if (c->rank == 0)
        return sy_fail(SY_ERR_IO, "no disk");
    check(&q->room, c, c->ops->recv_begin(c, 0, 0, &value, sizeof value, &request[0]) == SY_OK);
    check(&q->room, c, c->ops->send_begin(c, 0, 0, &value, sizeof value, &request[1]) == SY_OK);
    check(&q->room, c, c->ops->wait(c, &request[q->variant]) == SY_ERR_PEER);
    check(&q->room, c,
          says(q->variant ? "send: rank 0 has left: no disk" : "receive: rank 0 has left: no disk"));
    check(&q->room, c, c->ops->wait(c, &request[!q->variant]) == SY_ERR_PEER);
    return SY_OK;
}

static void leaving_ends_messages(void **state) {
    (void)state;
    for (int sends = 0; sends < 2; sends++) {
        struct scene q = {.variant = sends};
        assert_int_equal(run_ranks(2, leaves_a_message, &q, sizeof q), SY_ERR_IO);
        assert_string_equal(sy_error_message(), "no disk");
        assert_all_right(&q.room, 2);
    }
}

/* Several ranks' failures without a collective, and those who then miss them: the lowest cause comes out. */
static sy_status chain(const struct sy_comm *c, void *arg) {
    (void)arg;
    if (c->rank >= 4)
        return sy_fail(SY_ERR_IO, "rank %d has no disk", c->rank);
    return c->ops->agree(c, SY_OK);
}

static void the_cause_comes_out(void **state) {
    (void)state;
    if (most_ranks() < 6)
        skip();
    assert_int_equal(run_ranks(6, chain, NULL, 0), SY_ERR_IO);
    assert_string_equal(sy_error_message(), "rank 4 has no disk");
}

/* --- close calls ---------------------------------------------------------------------------------- */

struct race {
    struct room room;
    int round;
    int ok[MOST]; /* how many agreements came to a rank before its communicator died */
};

/* Limits about as long as the ranks' delays: it dies in the middle of anything. What was agreed on, all
 * have. */
static sy_status close_call(const struct sy_comm *world, void *arg) {
    struct race *q = arg;
    struct sy_comm c = *world;
    sy_status status = SY_OK;
    int right = 0, n = 0;
    q->room.ran[c.rank]++;
    c.limit = 0.001;
    while (n < 40 && status == SY_OK) {
        if (hash(c.rank, n, q->round) % 8 == 0)
            nanosleep(&(struct timespec){.tv_nsec = hash(c.rank, n, q->round + 1000) % 1500000}, NULL);
        const struct operation *op = &operations[hash(n, 70, q->round) % OPERATIONS];
        status = op->call(&c, SY_OK, &right);
        check(&q->room, &c, status == SY_ERR_PEER || (status == SY_OK && right));
        if (status == SY_OK && (status = c.ops->agree(&c, SY_OK)) == SY_OK)
            n++;
    }
    q->ok[c.rank] = n;
    return SY_OK;
}

static void deaths_at_any_time(void **state) {
    (void)state;
    int died = 0;
    for (int round = 0; round < 60; round++) {
        int ranks = 2 + round % (are_threads() ? 5 : most_ranks() - 1);
        struct race q = {.round = round};
        assert_int_equal(run_ranks(ranks, close_call, &q, sizeof q), SY_OK);
        assert_all_right(&q.room, ranks);
        for (int r = 1; r < ranks; r++) /* of processes, one may have all notes when another gives up */
            assert_true(abs(q.ok[r] - q.ok[0]) <= !are_threads());
        died += q.ok[0] < 40;
    }
    assert_true(died > 0);
}

/* The root has nothing to copy, gives up on those who still do, and its memory goes: but not before they
 * are through. */
static sy_status root_gives_up(const struct sy_comm *world, void *arg) {
    enum { BYTES = 32 << 20 };
    struct scene *q = arg;
    struct sy_comm c = *world;
    char *data = malloc(BYTES); /* so much that free gives it back to the system; pages come with the copy */
    if (!data)
        abort();
    q->room.ran[c.rank]++;
    if (c.rank == 0) {
        memset(data, 7, BYTES);
        c.limit = 0.0005;
        check(&q->room, &c, becomes(&q->finished, c.size - 1));
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    atomic_fetch_add(&q->finished, 1);
    sy_status status = c.ops->broadcast(&c, SY_OK, 0, data, BYTES);
    if (c.rank == 1) /* dead, and it has all */
        q->variant = status == SY_ERR_PEER && data[0] == 7 && data[BYTES / 2] == 7 && data[BYTES - 1] == 7;
    check(&q->room, &c, status == SY_OK || status == SY_ERR_PEER);
    free(data);
    return SY_OK;
}

static void copies_under_way(void **state) {
    (void)state;
    int seen = 0;
    if (!are_threads())
        skip(); /* memory that others read */
    for (int i = 0; i < 10; i++) {
        struct scene q = {0};
        assert_int_equal(run_ranks(3, root_gives_up, &q, sizeof q), SY_OK);
        assert_all_right(&q.room, 3);
        seen += q.variant;
    }
    assert_true(seen > 0);
}

static void self_waits_for_nobody(void **state) {
    (void)state;
    struct sy_comm c = sy_comm_self();
    struct sy_comm_request r[2];
    int out = 5, in = 0;
    assert_int_equal(c.ops->recv_begin(&c, 0, 0, &in, sizeof in, &r[0]), SY_OK);
    assert_int_equal(c.ops->wait(&c, &r[0]), SY_ERR_PEER);
    assert_true(says("receive: rank 0 waits for itself"));
    assert_int_equal(c.ops->wait(&c, &r[0]), SY_OK);
    assert_int_equal(c.ops->send_begin(&c, 0, 0, &out, sizeof out, &r[0]), SY_OK); /* no trace of the other */
    assert_int_equal(c.ops->recv_begin(&c, 0, 0, &in, sizeof in, &r[1]), SY_OK);
    assert_int_equal(c.ops->wait(&c, &r[0]), SY_OK);
    assert_int_equal(c.ops->wait(&c, &r[1]), SY_OK);
    assert_int_equal(in, 5);
}

static int all_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits),
        cmocka_unit_test(limits_are_of_one_call),
        cmocka_unit_test(limits_of_messages),
        cmocka_unit_test(many_that_did_not_come),
        cmocka_unit_test(leaving_ends_the_others_waits),
        cmocka_unit_test(leaving_ends_messages),
        cmocka_unit_test(the_cause_comes_out),
        cmocka_unit_test(deaths_at_any_time),
        cmocka_unit_test(copies_under_way),
        cmocka_unit_test(self_waits_for_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return test_on_ranks(all_tests); }
