/* The transports, self and threads, against what one rank can work out alone: gathers, uneven exchanges, integer sums, the
 * barrier's order, agreement on a status; a thousand rounds of all of it in turn; 1 to 8 ranks, two processors or not.
 *
 * Not required: that a rank may return before a collective that the others enter. Collectives are called by all or by none;
 * a rank that has failed says so in the next agree, and then all leave together. So no test here lets one leave alone.
 *
 * Checks are counted per rank and asserted after the threads are gone: cmocka's asserts jump, and only on the main thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "comm/comm.h"

enum { MOST = 8, PART = 70 }; /* the longest part that a rank sends to another, bytes */

struct room {
    int64_t wrong[MOST], ran[MOST]; /* each rank its own */
    int64_t posted[MOST];           /* plain memory: only the barrier orders it (for TSan) */
    int failing;                    /* bit r: rank r fails */
    int rounds;
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

static void exchange(struct room *room, const struct sy_comm *c, int round) {
    unsigned char send[MOST * PART], recv[MOST * (PART + 3)];
    int64_t send_at[MOST + 1] = {0}, recv_at[MOST + 1] = {0};
    for (int r = 0; r < c->size; r++) {
        send_at[r + 1] = send_at[r] + part_bytes(c->rank, r, round);
        recv_at[r + 1] = recv_at[r] + part_bytes(r, c->rank, round) + round % 3; /* gaps that stay as they are */
        for (int64_t i = send_at[r]; i < send_at[r + 1]; i++)
            send[i] = part_byte(c->rank, r, i - send_at[r], round);
    }
    memset(recv, 0xa5, sizeof recv);
    c->ops->all_to_all(c, send, send_at, recv, recv_at);
    memset(send, 0, sizeof send);
    memset(send_at, 0, sizeof send_at);
    for (int r = 0; r < c->size; r++) {
        int64_t n = part_bytes(r, c->rank, round);
        for (int64_t i = 0; i < recv_at[r + 1] - recv_at[r]; i++)
            check(room, c, recv[recv_at[r] + i] == (i < n ? part_byte(r, c->rank, i, round) : 0xa5));
    }
    check(room, c, recv[recv_at[c->size]] == 0xa5);
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
        switch (hash(5, 5, round) % 5) { /* the same on every rank */
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
    for (int round = 0; round < room->rounds; round++) {
        gather(room, c, round);
        exchange(room, c, round);
        sum(room, c, round);
        meet(room, c, round);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(self_is_a_transport), cmocka_unit_test(every_collective),
        cmocka_unit_test(thousand_rounds),     cmocka_unit_test(agreement),
        cmocka_unit_test(bad_ranks),           cmocka_unit_test(failing_without_a_collective),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
