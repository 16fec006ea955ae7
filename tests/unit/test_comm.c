/* The transports, self, threads and mpi (comm_ranks.h), against what one rank can work out alone: gathers,
 * uneven exchanges, many of them in flight and waited for in orders of each rank's own, broadcasts, integer
 * sums, the barrier's order, agreement on a status; a thousand rounds of all of it in turn; each operation
 * with any ranks failing; 1 to 8 ranks, two processors or not. Groups and messages: test_comm_groups.c.
 * Ranks that do not come: test_comm_ends.c.
 */
#include "comm_operations.h"

#include <sys/resource.h>

/* The status and the message of the lowest rank whose bit is set, on every rank; others' messages say whose
 * it was. */
static sy_status concur(struct room *room, const struct sy_comm *c, int failing, int round) {
    static const sy_status kinds[] = {SY_ERR_DATA, SY_ERR_IO, SY_ERR_MEMORY, SY_ERR_NONFINITE, SY_ERR_USAGE};
    sy_status status = SY_OK;
    if (failing >> c->rank & 1)
        status = sy_fail(kinds[(c->rank + round) % 5], "shard %d of round %d", c->rank, round);
    status = c->ops->agree(c, status);
    int lowest = 0;
    while (lowest < c->size && !(failing >> lowest & 1))
        lowest++;
    if (lowest == c->size) {
        check(room, c, status == SY_OK);
        return status;
    }
    char want[64];
    int n = snprintf(want, sizeof want, "rank %d: shard %d of round %d", lowest, lowest, round);
    check(room, c, n < (int)sizeof want && status == kinds[(lowest + round) % 5]);
    check(room, c, strcmp(sy_error_message(), lowest == c->rank ? strstr(want, "shard") : want) == 0);
    return status;
}

/* --- tests ---------------------------------------------------------------------------------------- */

static sy_status mixed(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    room->ran[c->rank]++;
    for (int round = 0; round < room->rounds; round++) {
        uint32_t which = hash(5, 5, round) % 7; /* the same on every rank */
        collective(room, c, which, round);
        if (which == 4)
            exchange(room, c, round);
        if (which == 5)
            fly(room, c, round);
        if (which == 6)
            (void)concur(room, c, (int)(hash(6, 6, round) & hash(7, 7, round)) & 255, round);
    }
    return SY_OK;
}

static void thousand_rounds(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= most_ranks(); ranks++) {
        struct room room = {.rounds = 1000};
        assert_int_equal(run_ranks(ranks, mixed, &room, sizeof room), SY_OK);
        assert_all_right(&room, ranks);
    }
}

static void self_is_a_transport(void **state) {
    (void)state;
    struct room room = {.rounds = 1000};
    struct sy_comm c = sy_comm_self();
    assert_int_equal(c.rank, 0);
    assert_int_equal(c.size, 1);
    assert_string_equal(c.ops->name, "self");
    assert_int_equal(mixed(&c, &room), SY_OK);
    assert_all_right(&room, 1);
    struct sy_groups groups = sy_groups_self();
    assert_true(groups.dp.size == 1 && groups.ep.size == 1 && groups.pp.size == 1);
}

static sy_status each(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    room->ran[c->rank]++;
    check(room, c, strcmp(c->ops->name, transport()) == 0 && c->rank >= 0 && c->rank < c->size);
    check(room, c, sy_comm_rank(c) == c->rank && sy_comm_size(c) == c->size);
    check(room, c, c->ops->wait(c, &(struct sy_comm_request){0}) == SY_OK);
    for (int round = 0; round < room->rounds; round++) {
        gather(room, c, round);
        exchange(room, c, round);
        sum(room, c, round);
        cast(room, c, round);
        meet(room, c, round);
        fly(room, c, round);
    }
    int64_t edge = c->rank == 0 ? INT64_MAX : 1; /* wraps */
    check(room, c, c->ops->sum_i64(c, SY_OK, &edge, 1) == SY_OK);
    check(room, c, (uint64_t)edge == (uint64_t)INT64_MAX + (uint64_t)(c->size - 1));
    return SY_OK;
}

static void every_collective(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= most_ranks(); ranks++) {
        struct room room = {.rounds = 12};
        assert_int_equal(run_ranks(ranks, each, &room, sizeof room), SY_OK);
        assert_all_right(&room, ranks);
    }
}

/* As many begins as may fly return on one rank before any other rank has begun one. */
static sy_status begin_first(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    struct parcel parcels[SY_COMM_MAX_REQUESTS];
    room->ran[c->rank]++;
    if (c->rank != room->first)
        check(room, c, becomes(&room->ahead, 1));
    for (int i = 0; i < SY_COMM_MAX_REQUESTS; i++) {
        begin(room, c, i, &parcels[i]);
        if (c->rank != room->first)
            atomic_fetch_add(&room->began, 1);
    }
    if (c->rank == room->first) {
        check(room, c, atomic_load(&room->began) == 0);
        atomic_store(&room->ahead, 1);
    }
    for (int i = SY_COMM_MAX_REQUESTS; i-- > 0;)
        finish(room, c, &parcels[i]);
    return SY_OK;
}

/* Waits return on one rank, with what it gets and gives, before any other rank waits: their begin is
 * enough. */
static sy_status wait_first(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    struct parcel parcels[3];
    room->ran[c->rank]++;
    for (int i = 0; i < 3; i++)
        begin(room, c, i, &parcels[i]);
    if (c->rank != room->first)
        check(room, c, becomes(&room->ahead, 1));
    for (int i = 0; i < 3; i++)
        finish(room, c, &parcels[i]);
    if (c->rank == room->first)
        atomic_store(&room->ahead, 1);
    return SY_OK;
}

static void nobody_waits_for_more_than_begins(void **state) {
    (void)state;
    for (int ranks = 2; ranks <= most_ranks(); ranks += are_threads() ? 3 : 1)
        for (int first = 0; first < ranks; first++) {
            struct room room = {.first = first};
            assert_int_equal(run_ranks(ranks, begin_first, &room, sizeof room), SY_OK);
            assert_all_right(&room, ranks);
            assert_int_equal(atomic_load(&room.began), (ranks - 1) * SY_COMM_MAX_REQUESTS);
            room = (struct room){.first = first};
            assert_int_equal(run_ranks(ranks, wait_first, &room, sizeof room), SY_OK);
            assert_all_right(&room, ranks);
        }
}

/* The comparison can fail: on the last rank, the part of rank 0 lands a byte late. */
static sy_status land_late(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    struct parcel p;
    room->ran[c->rank]++;
    pack(c, 1, &p);
    int64_t recv_at[MOST + 1];
    memcpy(recv_at, p.recv_at, sizeof recv_at);
    recv_at[0] += c->rank == c->size - 1;
    SY_TRY(c->ops->all_to_all(c, SY_OK, p.send, p.send_at, p.recv, recv_at));
    room->wrong[c->rank] += unpack(c, &p);
    return SY_OK;
}

static void a_wrong_place_is_seen(void **state) {
    (void)state;
    struct room room = {0};
    if (most_ranks() < 4)
        skip();
    assert_true(part_bytes(0, 3, 1) > 8);
    assert_int_equal(run_ranks(4, land_late, &room, sizeof room), SY_OK);
    for (int r = 0; r < 4; r++)
        assert_true(r == 3 ? room.wrong[r] > 8 : room.wrong[r] == 0);
}

static void no_request(void **state) {
    (void)state;
    struct sy_comm c = sy_comm_self();
    struct sy_comm_request none = {0};
    assert_int_equal(c.ops->wait(&c, &none), SY_OK);
    assert_int_equal(sy_comm_rank(&c), 0);
    assert_int_equal(sy_comm_size(&c), 1);
}

static sy_status agree_and_go_on(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    room->ran[c->rank]++;
    sy_status status = concur(room, c, room->failing, 0);
    check(room, c, concur(room, c, 0, 1) == SY_OK); /* an agreed failure is over when all have it */
    char longest[4000];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    sy_status cut = c->ops->agree(c, c->rank == c->size - 1 ? sy_fail(SY_ERR_IO, "%s", longest) : SY_OK);
    check(room, c, cut == SY_ERR_IO && strlen(sy_error_message()) == 2047);
    status = status == SY_OK ? SY_OK : concur(room, c, room->failing, 2);
    return status;
}

/* Every set of failing ranks of four; the run's own status is the lowest rank's. */
static void agreement(void **state) {
    (void)state;
    static const sy_status kinds[] = {SY_ERR_MEMORY, SY_ERR_NONFINITE, SY_ERR_USAGE, SY_ERR_DATA};
    if (most_ranks() < 4)
        skip();
    for (int failing = 0; failing < 16; failing++) {
        struct room room = {.failing = failing};
        int lowest = failing ? __builtin_ctz((unsigned)failing) : 0;
        assert_int_equal(run_ranks(4, agree_and_go_on, &room, sizeof room), failing ? kinds[lowest] : SY_OK);
        char want[64]; /* rank 0's message, of the agreed failure */
        snprintf(want, sizeof want, "rank %d: shard %d of round 2", lowest, lowest);
        if (failing)
            assert_string_equal(sy_error_message(), lowest ? want : strstr(want, "shard"));
        assert_all_right(&room, 4);
    }
}

/* Without a collective each rank fails for itself: the lowest one's status and message come out. */
static sy_status fail_alone(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    room->ran[c->rank]++;
    if (room->failing >> c->rank & 1)
        SY_FAIL(c->rank == 2 ? SY_ERR_DATA : SY_ERR_IO, "alone on %d", c->rank);
    return SY_OK;
}

static void failing_without_a_collective(void **state) {
    (void)state;
    struct room room = {.failing = 4 | 32};
    if (most_ranks() < 8)
        skip();
    assert_int_equal(run_ranks(8, fail_alone, &room, sizeof room), SY_ERR_DATA);
    assert_string_equal(sy_error_message(), "alone on 2");
    assert_all_right(&room, 8);
    room = (struct room){.failing = 255};
    assert_int_equal(run_ranks(8, fail_alone, &room, sizeof room), SY_ERR_IO);
    assert_string_equal(sy_error_message(), "alone on 0");
}

/* --- ranks that come with a failure --------------------------------------------------------------- */

struct failures {
    struct room room;
    int op;      /* of operations */
    int failing; /* bit r */
};

/* Three times: with failures, without, and with others' failures. */
static sy_status come_with_failures(const struct sy_comm *c, void *arg) {
    struct failures *q = arg;
    q->room.ran[c->rank]++;
    for (int i = 0; i < 3; i++) {
        int failing = i == 0 ? q->failing : i == 1 ? 0 : q->failing >> 1, lowest = 0, right = 0;
        sy_status mine = SY_OK;
        if (failing >> c->rank & 1)
            mine = sy_fail(c->rank % 2 ? SY_ERR_IO : SY_ERR_DATA, "call %d of rank %d", i, c->rank);
        sy_status status = operations[q->op].call(c, mine, &right);
        while (lowest < c->size && !(failing >> lowest & 1))
            lowest++;
        if (lowest == c->size) {
            check(&q->room, c, status == SY_OK && right);
            continue;
        }
        char want[64], elsewhere[100];
        snprintf(want, sizeof want, "call %d of rank %d", i, lowest);
        snprintf(elsewhere, sizeof elsewhere, "rank %d: %s", lowest, want);
        check(&q->room, c, status == (lowest % 2 ? SY_ERR_IO : SY_ERR_DATA));
        check(&q->room, c, strcmp(sy_error_message(), lowest == c->rank ? want : elsewhere) == 0);
    }
    return SY_OK;
}

static void failures_are_agreed_on(void **state) {
    (void)state;
    for (int op = 0; op < OPERATIONS; op++)
        for (int ranks = 1; ranks <= most_ranks(); ranks++)
            for (int failing = 0; failing < 1 << ranks;
                 failing += ranks < 4 ? 1 : 1 + (int)(hash(op, ranks, failing) % 60)) {
                struct failures q = {.op = op, .failing = failing};
                assert_int_equal(run_ranks(ranks, come_with_failures, &q, sizeof q), SY_OK);
                assert_all_right(&q.room, ranks);
                if (ranks > 1)
                    continue;
                struct sy_comm self = sy_comm_self();
                q = (struct failures){.op = op, .failing = failing};
                assert_int_equal(come_with_failures(&self, &q), SY_OK);
                assert_all_right(&q.room, 1);
            }
}

static sy_status never(const struct sy_comm *c, void *arg) {
    ++*(int *)arg;
    (void)c;
    return SY_OK;
}

static void bad_ranks(void **state) {
    (void)state;
    static const int bad[] = {0, -1, INT32_MIN, 1025, INT32_MAX};
    int calls = 0;
    if (!are_threads())
        skip();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(sy_comm_threads_run(bad[i], never, &calls), SY_ERR_USAGE);
        char number[16];
        snprintf(number, sizeof number, "= %d:", bad[i]);
        assert_non_null(strstr(sy_error_message(), number));
        assert_non_null(strstr(sy_error_message(), "1..1024"));
    }
    assert_int_equal(calls, 0);
}

/* A thread that cannot be started: its rank is named and nobody runs. The sanitizers need all the address
 * space. */
static void no_thread(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip();
#else
    struct rlimit all, few;
    int calls = 0;
    if (!are_threads())
        skip();
    assert_int_equal(getrlimit(RLIMIT_AS, &all), 0);
    few = all;
    few.rlim_cur = (rlim_t)400 << 20; /* bytes: 1024 stacks need gigabytes */
    assert_int_equal(setrlimit(RLIMIT_AS, &few), 0);
    sy_status status = sy_comm_threads_run(1024, never, &calls);
    assert_int_equal(setrlimit(RLIMIT_AS, &all), 0);
    assert_int_equal(status, SY_ERR_RUNTIME);
    assert_non_null(strstr(sy_error_message(), "of 1024 could not be started"));
    assert_int_equal(calls, 0);
#endif
}

/* --- memory that is not the host's ---------------------------------------------------------------- */

static atomic_int n_moved, move_that_fails; /* from 1; 0: none */

static sy_status mover(void *to, const void *from, size_t bytes) {
    if (++n_moved == move_that_fails)
        SY_FAIL(SY_ERR_RUNTIME, "no way for %zu bytes", bytes);
    memcpy(to, from, bytes);
    return SY_OK;
}

static sy_status ring(struct room *room, const struct sy_comm *c) {
    struct sy_comm_request sends, comes;
    int to = (c->rank + 1) % c->size, from = (c->rank + c->size - 1) % c->size, mine = 100 + c->rank, got = 0;
    SY_TRY(c->ops->recv_begin(c, from, 7, &got, sizeof got, &comes));
    SY_TRY(c->ops->send_begin(c, to, 7, &mine, sizeof mine, &sends));
    SY_TRY(c->ops->wait(c, &sends));
    SY_TRY(c->ops->wait(c, &comes));
    check(room, c, got == 100 + from);
    return SY_OK;
}

static sy_status exchanges_and_messages(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    room->ran[c->rank]++;
    for (int round = 0; round < room->rounds; round++) {
        exchange(room, c, round);
        fly(room, c, round);
        SY_TRY(ring(room, c));
    }
    return SY_OK;
}

static sy_status only_messages(const struct sy_comm *c, void *arg) { return ring(arg, c); }

/* Every byte of an exchange or message goes through the mover, each part once. */
static void moved(void **state) {
    (void)state;
    if (!are_threads())
        skip();
    n_moved = move_that_fails = 0;
    struct room room = {.rounds = 20};
    assert_int_equal(sy_comm_threads_run_moved(3, mover, exchanges_and_messages, &room), SY_OK);
    assert_all_right(&room, 3);
    assert_true(n_moved > 20 * 3); /* messages alone */
    int rings = n_moved;
    room.rounds = 0;
    assert_int_equal(sy_comm_threads_run_moved(3, mover, exchanges_and_messages, &room), SY_OK);
    assert_int_equal(n_moved, rings);
}

/* Each rank gives each 4 bytes: who is told that they came has them. */
static sy_status four_bytes(const struct sy_comm *c, void *arg) {
    int send[3] = {1, 1, 1}, recv[3] = {0};
    const int64_t at[4] = {0, 4, 8, 12};
    struct room *room = arg;
    sy_status status = c->ops->all_to_all(c, SY_OK, send, at, recv, at);
    check(room, c, status != SY_OK || (recv[0] == 1 && recv[1] == 1 && recv[2] == 1));
    return status == SY_OK ? c->ops->agree(c, SY_OK) : status;
}

/* Whichever copy it is, all ranks are told, and none waits for ever. */
static void a_move_that_fails(void **state) {
    (void)state;
    struct room room = {.rounds = 1};
    if (!are_threads())
        skip();
    n_moved = 0;
    move_that_fails = 1;
    assert_int_equal(sy_comm_threads_run_moved(3, mover, only_messages, &room), SY_ERR_RUNTIME);
    for (int at = 1; at <= 9; at++) {
        n_moved = 0;
        move_that_fails = at;
        assert_int_equal(sy_comm_threads_run_moved(3, mover, four_bytes, &room), SY_ERR_RUNTIME);
        assert_non_null(strstr(sy_error_message(), "no way for 4 bytes"));
    }
    n_moved = move_that_fails = 0;
    assert_int_equal(sy_comm_threads_run_moved(3, mover, four_bytes, &room), SY_OK);
    assert_int_equal(n_moved, 9);
    for (int r = 0; r < 3; r++)
        assert_int_equal(room.wrong[r], 0);
}

static int all_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(self_is_a_transport),
        cmocka_unit_test(every_collective),
        cmocka_unit_test(thousand_rounds),
        cmocka_unit_test(agreement),
        cmocka_unit_test(bad_ranks),
        cmocka_unit_test(moved),
        cmocka_unit_test(a_move_that_fails),
        cmocka_unit_test(failing_without_a_collective),
        cmocka_unit_test(failures_are_agreed_on),
        cmocka_unit_test(nobody_waits_for_more_than_begins),
        cmocka_unit_test(a_wrong_place_is_seen),
        cmocka_unit_test(no_request),
        cmocka_unit_test(no_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) { return test_on_ranks(all_tests); }
