/* The transports, self and threads, against what one rank can work out alone: gathers, uneven exchanges, many of them in
 * flight and waited for in orders of each rank's own, integer sums, the barrier's order, agreement on a status; a thousand
 * rounds of all of it in turn; 1 to 8 ranks, two processors or not.
 *
 * Not required: that a rank may return before a collective that the others enter. Collectives are called by all or by none;
 * a rank that has failed says so in the next agree, and then all leave together. So no test here lets one leave alone.
 *
 * Checks are counted per rank and asserted after the threads are gone: cmocka's asserts jump, and only on the main thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#include "comm/comm.h"

enum { MOST = 8, PART = 70 };               /* the longest part that a rank sends to another, bytes */
enum { FLYING = SY_COMM_MAX_REQUESTS + 5 }; /* a few more than fly at a time */

struct room {
    int64_t wrong[MOST], ran[MOST]; /* each rank its own */
    int64_t posted[MOST];           /* plain memory: only the barrier orders it (for TSan) */
    int failing;                    /* bit r: rank r fails */
    int rounds;
    int first;               /* the rank that does not wait for the others */
    atomic_int began, ahead; /* ranks that have begun; the first is through */
};

static void check(struct room *room, const struct sy_comm *c, int holds) { room->wrong[c->rank] += !holds; }

static uint32_t hash(int a, int b, int round) {
    uint32_t h = (uint32_t)a * 2654435761u ^ (uint32_t)b * 40503u ^ (uint32_t)round * 2246822519u;
    h = (h ^ h >> 15) * 2654435761u;
    return h ^ h >> 13;
}

/* --- one collective each, seen from one rank; `round` varies what is sent ---------------------------------------------- */

static void gather(struct room *room, const struct sy_comm *c, int round) {
    unsigned char send[33], recv[MOST * 33 + 1];
    size_t bytes = hash(0, 0, round) % 4 ? 1 + hash(1, 0, round) % 33 : 0;
    for (size_t i = 0; i < bytes; i++)
        send[i] = (unsigned char)hash(c->rank, (int)i, round);
    memset(recv, 0xa5, sizeof recv);
    c->ops->all_gather(c, send, bytes, recv);
    memset(send, 0, sizeof send); /* it is ours again */
    for (int r = 0; r < c->size; r++)
        for (size_t i = 0; i < bytes; i++)
            check(room, c, recv[(size_t)r * bytes + i] == (unsigned char)hash(r, (int)i, round));
    check(room, c, recv[(size_t)c->size * bytes] == 0xa5);
}

/* Bytes from rank `from` to rank `to`: uneven, a third of them none, and in some rounds one rank gets nothing at all. */
static int64_t part_bytes(int from, int to, int round) {
    uint32_t h = hash(from, to, round);
    return h % 3 == 0 || (round % 5 == 4 && to == 0) ? 0 : h / 3 % PART;
}

static unsigned char part_byte(int from, int to, int64_t i, int round) {
    return (unsigned char)hash(from * 16 + to, (int)i, round);
}

struct parcel { /* an exchange of one rank */
    unsigned char send[MOST * PART], recv[MOST * (PART + 3)];
    int64_t send_at[MOST + 1], recv_at[MOST + 1];
    int round;
    struct sy_comm_request request;
};

static void pack(const struct sy_comm *c, int round, struct parcel *p) {
    memset(p, 0, sizeof *p);
    p->round = round;
    for (int r = 0; r < c->size; r++) {
        p->send_at[r + 1] = p->send_at[r] + part_bytes(c->rank, r, round);
        p->recv_at[r + 1] = p->recv_at[r] + part_bytes(r, c->rank, round) + round % 3; /* gaps that stay as they are */
        for (int64_t i = p->send_at[r]; i < p->send_at[r + 1]; i++)
            p->send[i] = part_byte(c->rank, r, i - p->send_at[r], round);
    }
    memset(p->recv, 0xa5, sizeof p->recv);
}

/* Wrong bytes of what came. Then everything is ours again: a rank that still read it would see zeros. */
static int64_t unpack(const struct sy_comm *c, struct parcel *p) {
    int64_t wrong = p->recv[p->recv_at[c->size]] != 0xa5;
    for (int r = 0; r < c->size; r++) {
        int64_t n = part_bytes(r, c->rank, p->round);
        for (int64_t i = 0; i < p->recv_at[r + 1] - p->recv_at[r]; i++)
            wrong += p->recv[p->recv_at[r] + i] != (i < n ? part_byte(r, c->rank, i, p->round) : 0xa5);
    }
    memset(p, 0, sizeof *p);
    return wrong;
}

static void begin(const struct sy_comm *c, int round, struct parcel *p) {
    pack(c, round, p);
    c->ops->all_to_all_begin(c, p->send, p->send_at, p->recv, p->recv_at, &p->request);
}

static void finish(struct room *room, const struct sy_comm *c, struct parcel *p) {
    c->ops->wait(c, &p->request);
    c->ops->wait(c, &p->request); /* no request any more */
    room->wrong[c->rank] += unpack(c, p);
}

static void exchange(struct room *room, const struct sy_comm *c, int round) {
    struct parcel p;
    pack(c, round, &p);
    c->ops->all_to_all(c, p.send, p.send_at, p.recv, p.recv_at);
    room->wrong[c->rank] += unpack(c, &p);
}

/* All 64 bits in use, so that sums pass 2^63 and 2^64. */
static uint64_t summand(int rank, int64_t i, int round) {
    return (uint64_t)hash(rank, (int)i, round) << 32 | hash((int)i, rank, round + 7);
}

static void sum(struct room *room, const struct sy_comm *c, int round) {
    static const int64_t lengths[] = {0, 1, 1000, 255, 256, 257};
    int64_t n = lengths[round % 6], v[1001];
    for (int64_t i = 0; i < n; i++)
        v[i] = (int64_t)summand(c->rank, i, round);
    v[n] = -1;
    c->ops->sum_i64(c, v, n);
    for (int64_t i = 0; i < n; i++) {
        uint64_t want = 0;
        for (int r = 0; r < c->size; r++)
            want += summand(r, i, round);
        check(room, c, (uint64_t)v[i] == want);
    }
    check(room, c, v[n] == -1);
}

/* What was written before the barrier is seen after it; what is written after the second was not seen before. */
static void meet(struct room *room, const struct sy_comm *c, int round) {
    room->posted[c->rank] = round;
    c->ops->barrier(c);
    for (int r = 0; r < c->size; r++)
        check(room, c, room->posted[r] == round);
    c->ops->barrier(c);
}

/* 1 to FLYING exchanges begun; blocking collectives between; waits where each rank likes, the rest in an order of its own.
 */
static void fly(struct room *room, const struct sy_comm *c, int round) {
    struct parcel parcels[FLYING], *flying[FLYING];
    int n = 1 + (int)(hash(8, 8, round) % FLYING), up = 0, begun = 0;
    while (begun < n || up > 0) {
        uint32_t common = hash(begun, 9, round), own = hash(begun * 32 + up, 100 + c->rank, round);
        if (up > 0 && (begun == n || own % 4 == 0)) {
            int i = (int)(own / 4 % (uint32_t)up);
            finish(room, c, flying[i]);
            flying[i] = flying[--up];
            continue;
        }
        begin(c, 1000 * begun + round, &parcels[begun]);
        flying[up++] = &parcels[begun++];
        switch (common % 8) { /* the same on every rank */
        case 0:
            gather(room, c, round);
            break;
        case 1:
            exchange(room, c, round + 500);
            break;
        case 2:
            sum(room, c, round);
            break;
        case 3:
            meet(room, c, round);
        }
    }
}

/* The status and the message of the lowest rank whose bit is set, on every rank; others' messages say whose it was. */
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

/* --- tests ------------------------------------------------------------------------------------------------------------- */

static void assert_all_right(const struct room *room, int ranks) {
    for (int r = 0; r < ranks; r++) {
        if (room->wrong[r])
            fail_msg("%d ranks: %lld wrong values on rank %d", ranks, (long long)room->wrong[r], r);
        assert_int_equal(room->ran[r], 1);
    }
}

static sy_status mixed(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    room->ran[c->rank]++;
    for (int round = 0; round < room->rounds; round++) {
        switch (hash(5, 5, round) % 6) { /* the same on every rank */
        case 0:
            gather(room, c, round);
            break;
        case 1:
            exchange(room, c, round);
            break;
        case 2:
            sum(room, c, round);
            break;
        case 3:
            meet(room, c, round);
            break;
        case 4:
            fly(room, c, round);
            break;
        default:
            (void)concur(room, c, (int)(hash(6, 6, round) & hash(7, 7, round)) & 255, round);
        }
    }
    return SY_OK;
}

static void thousand_rounds(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= MOST; ranks++) {
        struct room room = {.rounds = 1000};
        assert_int_equal(sy_comm_threads_run(ranks, mixed, &room), SY_OK);
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
    check(room, c, strcmp(c->ops->name, "threads") == 0 && c->rank >= 0 && c->rank < c->size);
    check(room, c, sy_comm_rank(c) == c->rank && sy_comm_size(c) == c->size);
    c->ops->wait(c, &(struct sy_comm_request){0});
    for (int round = 0; round < room->rounds; round++) {
        gather(room, c, round);
        exchange(room, c, round);
        sum(room, c, round);
        meet(room, c, round);
        fly(room, c, round);
    }
    int64_t edge = c->rank == 0 ? INT64_MAX : 1; /* wraps */
    c->ops->sum_i64(c, &edge, 1);
    check(room, c, (uint64_t)edge == (uint64_t)INT64_MAX + (uint64_t)(c->size - 1));
    return SY_OK;
}

static void every_collective(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= MOST; ranks++) {
        struct room room = {.rounds = 12};
        assert_int_equal(sy_comm_threads_run(ranks, each, &room), SY_OK);
        assert_all_right(&room, ranks);
    }
}

/* Half a minute at most, so that a begin or wait that waits for too much is a failed test and no hanging one. */
static int becomes(atomic_int *value, int wanted) {
    for (int ms = 0; atomic_load(value) < wanted; ms++) {
        if (ms == 30000)
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return 1;
}

/* As many begins as may fly return on one rank before any other rank has begun one. */
static sy_status begin_first(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    struct parcel parcels[SY_COMM_MAX_REQUESTS];
    room->ran[c->rank]++;
    if (c->rank != room->first)
        check(room, c, becomes(&room->ahead, 1));
    for (int i = 0; i < SY_COMM_MAX_REQUESTS; i++) {
        begin(c, i, &parcels[i]);
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

/* Waits return on one rank, with what it gets and gives, before any other rank waits: their begin is enough. */
static sy_status wait_first(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    struct parcel parcels[3];
    room->ran[c->rank]++;
    for (int i = 0; i < 3; i++)
        begin(c, i, &parcels[i]);
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
    for (int ranks = 2; ranks <= MOST; ranks += 3)
        for (int first = 0; first < ranks; first++) {
            struct room room = {.first = first};
            assert_int_equal(sy_comm_threads_run(ranks, begin_first, &room), SY_OK);
            assert_all_right(&room, ranks);
            assert_int_equal(atomic_load(&room.began), (ranks - 1) * SY_COMM_MAX_REQUESTS);
            room = (struct room){.first = first};
            assert_int_equal(sy_comm_threads_run(ranks, wait_first, &room), SY_OK);
            assert_all_right(&room, ranks);
        }
}

/* The comparison can fail: the last rank lets the parts of ranks 0 and 1 land in each other's place. */
static sy_status mix_up(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    struct parcel p;
    room->ran[c->rank]++;
    pack(c, 1, &p);
    int64_t recv_at[MOST + 1];
    memcpy(recv_at, p.recv_at, sizeof recv_at);
    if (c->rank == c->size - 1) {
        recv_at[0] = p.recv_at[2] - p.recv_at[1];
        recv_at[1] = 0;
    }
    c->ops->all_to_all_begin(c, p.send, p.send_at, p.recv, recv_at, &p.request);
    c->ops->wait(c, &p.request);
    room->wrong[c->rank] += unpack(c, &p);
    return SY_OK;
}

static void mixed_up_places_are_seen(void **state) {
    (void)state;
    struct room room = {0};
    assert_true(part_bytes(0, 3, 1) + part_bytes(1, 3, 1) > 8);
    assert_int_equal(sy_comm_threads_run(4, mix_up, &room), SY_OK);
    for (int r = 0; r < 4; r++)
        assert_true(r == 3 ? room.wrong[r] > 8 : room.wrong[r] == 0);
}

static void no_request(void **state) {
    (void)state;
    struct sy_comm c = sy_comm_self();
    struct sy_comm_request none = {0};
    c.ops->wait(&c, &none);
    assert_int_equal(sy_comm_rank(&c), 0);
    assert_int_equal(sy_comm_size(&c), 1);
}

static sy_status agree_and_go_on(const struct sy_comm *c, void *arg) {
    struct room *room = arg;
    room->ran[c->rank]++;
    sy_status status = concur(room, c, room->failing, 0);
    check(room, c, concur(room, c, 0, 1) == SY_OK); /* an agreed failure is over when all have agreed on it */
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
    for (int failing = 0; failing < 16; failing++) {
        struct room room = {.failing = failing};
        int lowest = failing ? __builtin_ctz((unsigned)failing) : 0;
        assert_int_equal(sy_comm_threads_run(4, agree_and_go_on, &room), failing ? kinds[lowest] : SY_OK);
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
    assert_int_equal(sy_comm_threads_run(8, fail_alone, &room), SY_ERR_DATA);
    assert_string_equal(sy_error_message(), "alone on 2");
    assert_all_right(&room, 8);
    room = (struct room){.failing = 255};
    assert_int_equal(sy_comm_threads_run(8, fail_alone, &room), SY_ERR_IO);
    assert_string_equal(sy_error_message(), "alone on 0");
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
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(sy_comm_threads_run(bad[i], never, &calls), SY_ERR_USAGE);
        char number[16];
        snprintf(number, sizeof number, "= %d:", bad[i]);
        assert_non_null(strstr(sy_error_message(), number));
        assert_non_null(strstr(sy_error_message(), "1..1024"));
    }
    assert_int_equal(calls, 0);
}

/* A thread that cannot be started: its rank is named and nobody runs. The sanitizers need all the address space. */
static void no_thread(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip();
#else
    struct rlimit all, few;
    int calls = 0;
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(self_is_a_transport),
        cmocka_unit_test(every_collective),
        cmocka_unit_test(thousand_rounds),
        cmocka_unit_test(agreement),
        cmocka_unit_test(bad_ranks),
        cmocka_unit_test(failing_without_a_collective),
        cmocka_unit_test(nobody_waits_for_more_than_begins),
        cmocka_unit_test(mixed_up_places_are_seen),
        cmocka_unit_test(no_request),
        cmocka_unit_test(no_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
