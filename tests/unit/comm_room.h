/* What the tests of transports share: a room in which each rank counts what was wrong, and one of each
 * collective as one rank sees it, whose answer it can work out alone.
 *
 * Checks are counted per rank and asserted after the threads are gone: cmocka's asserts jump, and only on
 * the main thread.
 */
#ifndef SY_TESTS_UNIT_COMM_ROOM_H
#define SY_TESTS_UNIT_COMM_ROOM_H

#include "comm_ranks.h"

#include <stdatomic.h>
#include <time.h>

enum { PART = 70 };                         /* the longest part that a rank sends to another, bytes */
enum { FLYING = SY_COMM_MAX_REQUESTS + 5 }; /* a few more than fly at a time */

struct room {
    int64_t wrong[MOST], ran[MOST]; /* each rank its own */
    int64_t posted[MOST];           /* plain memory: only the barrier orders it (for TSan) */
    int failing;                    /* bit r: rank r fails */
    int rounds;
    int first;               /* the rank that does not wait for the others */
    atomic_int began, ahead; /* ranks that have begun; the first is through */
};

static inline void check(struct room *room, const struct sy_comm *c, int holds) {
    room->wrong[c->rank] += !holds;
}

static inline uint32_t hash(int a, int b, int round) {
    uint32_t h = (uint32_t)a * 2654435761u ^ (uint32_t)b * 40503u ^ (uint32_t)round * 2246822519u;
    h = (h ^ h >> 15) * 2654435761u;
    return h ^ h >> 13;
}

/* --- one collective each, seen from one rank; `round` varies what is sent ------------------------- */

static inline void gather(struct room *room, const struct sy_comm *c, int round) {
    unsigned char send[33], recv[MOST * 33 + 1];
    size_t bytes = hash(0, 0, round) % 4 ? 1 + hash(1, 0, round) % 33 : 0;
    for (size_t i = 0; i < bytes; i++)
        send[i] = (unsigned char)hash(c->rank, (int)i, round);
    memset(recv, 0xa5, sizeof recv);
    check(room, c, c->ops->all_gather(c, SY_OK, send, bytes, recv) == SY_OK);
    memset(send, 0, sizeof send); /* it is ours again */
    for (int r = 0; r < c->size; r++)
        for (size_t i = 0; i < bytes; i++)
            check(room, c, recv[(size_t)r * bytes + i] == (unsigned char)hash(r, (int)i, round));
    check(room, c, recv[(size_t)c->size * bytes] == 0xa5);
}

/* Bytes from rank `from` to rank `to`: uneven, a third of them none, and in some rounds one rank gets
 * nothing at all. */
static inline int64_t part_bytes(int from, int to, int round) {
    uint32_t h = hash(from, to, round);
    return h % 3 == 0 || (round % 5 == 4 && to == 0) ? 0 : h / 3 % PART;
}

static inline unsigned char part_byte(int from, int to, int64_t i, int round) {
    return (unsigned char)hash(from * 16 + to, (int)i, round);
}

struct parcel { /* an exchange of one rank */
    unsigned char send[MOST * PART], recv[MOST * (PART + 3)];
    int64_t send_at[MOST + 1], recv_at[MOST + 1];
    int round;
    struct sy_comm_request request;
};

static inline void pack(const struct sy_comm *c, int round, struct parcel *p) {
    memset(p, 0, sizeof *p);
    p->round = round;
    for (int r = 0; r < c->size; r++) {
        p->send_at[r + 1] = p->send_at[r] + part_bytes(c->rank, r, round);
        p->recv_at[r + 1] =
            p->recv_at[r] + part_bytes(r, c->rank, round) + round % 3; /* gaps that stay as they are */
        for (int64_t i = p->send_at[r]; i < p->send_at[r + 1]; i++)
            p->send[i] = part_byte(c->rank, r, i - p->send_at[r], round);
    }
    memset(p->recv, 0xa5, sizeof p->recv);
}

/* Wrong bytes of what came. Then everything is ours again: a rank that still read it would see zeros. */
static inline int64_t unpack(const struct sy_comm *c, struct parcel *p) {
    int64_t wrong = p->recv[p->recv_at[c->size]] != 0xa5;
    for (int r = 0; r < c->size; r++) {
        int64_t n = part_bytes(r, c->rank, p->round);
        for (int64_t i = 0; i < p->recv_at[r + 1] - p->recv_at[r]; i++)
            wrong += p->recv[p->recv_at[r] + i] != (i < n ? part_byte(r, c->rank, i, p->round) : 0xa5);
    }
    memset(p, 0, sizeof *p);
    return wrong;
}

static inline void begin(struct room *room, const struct sy_comm *c, int round, struct parcel *p) {
    pack(c, round, p);
    check(room, c,
          c->ops->all_to_all_begin(c, SY_OK, p->send, p->send_at, p->recv, p->recv_at, &p->request) == SY_OK);
}

static inline void finish(struct room *room, const struct sy_comm *c, struct parcel *p) {
    check(room, c, c->ops->wait(c, &p->request) == SY_OK);
    check(room, c, c->ops->wait(c, &p->request) == SY_OK); /* no request any more */
    room->wrong[c->rank] += unpack(c, p);
}

static inline void exchange(struct room *room, const struct sy_comm *c, int round) {
    struct parcel p;
    pack(c, round, &p);
    check(room, c, c->ops->all_to_all(c, SY_OK, p.send, p.send_at, p.recv, p.recv_at) == SY_OK);
    room->wrong[c->rank] += unpack(c, &p);
}

/* All 64 bits in use, so that sums pass 2^63 and 2^64. */
static inline uint64_t summand(int rank, int64_t i, int round) {
    return (uint64_t)hash(rank, (int)i, round) << 32 | hash((int)i, rank, round + 7);
}

static inline void sum(struct room *room, const struct sy_comm *c, int round) {
    static const int64_t lengths[] = {0, 1, 1000, 255, 256, 257};
    int64_t n = lengths[round % 6], v[1001];
    for (int64_t i = 0; i < n; i++)
        v[i] = (int64_t)summand(c->rank, i, round);
    v[n] = -1;
    check(room, c, c->ops->sum_i64(c, SY_OK, v, n) == SY_OK);
    for (int64_t i = 0; i < n; i++) {
        uint64_t want = 0;
        for (int r = 0; r < c->size; r++)
            want += summand(r, i, round);
        check(room, c, (uint64_t)v[i] == want);
    }
    check(room, c, v[n] == -1);
}

/* From a root that varies, to all. */
static inline void cast(struct room *room, const struct sy_comm *c, int round) {
    unsigned char data[40];
    size_t bytes = hash(2, 0, round) % 40;
    int root = (int)(hash(3, 0, round) % (uint32_t)c->size);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = c->rank == root ? part_byte(root, root, (int64_t)i, round) : 0xa5;
    check(room, c, c->ops->broadcast(c, SY_OK, root, bytes ? data : NULL, bytes) == SY_OK);
    for (size_t i = 0; i < sizeof data; i++)
        check(room, c,
              data[i] == (i < bytes || c->rank == root ? part_byte(root, root, (int64_t)i, round) : 0xa5));
}

/* A barrier: what was written before it is seen after it; what is written after the second was not seen
 * before. */
static inline void meet(struct room *room, const struct sy_comm *c, int round) {
    room->posted[c->rank] = round;
    check(room, c, c->ops->agree(c, SY_OK) == SY_OK);
    for (int r = 0; r < c->size; r++)
        check(room, c, room->posted[r] == round);
    check(room, c, c->ops->agree(c, SY_OK) == SY_OK);
}

/* One of the above by number, or none. */
static inline void collective(struct room *room, const struct sy_comm *c, uint32_t which, int round) {
    static void (*const all[])(struct room *, const struct sy_comm *, int) = {gather, cast, sum, meet};
    if (which < sizeof all / sizeof *all)
        all[which](room, c, round);
}

/* Waits for the parcel at `i`, which the last one then takes the place of. */
static inline void land(struct room *room, const struct sy_comm *c, struct parcel **flying, int *up, int i) {
    finish(room, c, flying[i]);
    flying[i] = flying[--*up];
}

/* 1 to FLYING exchanges begun; blocking collectives between; waits where each rank likes, the rest in an
 * order of its own: only the one of SY_COMM_MAX_REQUESTS begins ago must be over. */
static inline void fly(struct room *room, const struct sy_comm *c, int round) {
    struct parcel parcels[FLYING], *flying[FLYING];
    int n = 1 + (int)(hash(8, 8, round) % FLYING), up = 0, begun = 0;
    while (begun < n || up > 0) {
        uint32_t common = hash(begun, 9, round), own = hash(begun * 32 + up, 100 + c->rank, round);
        if (up > 0 && (begun == n || own % 4 == 0)) {
            land(room, c, flying, &up, (int)(own / 4 % (uint32_t)up));
            continue;
        }
        for (int i = 0; i < up; i++)
            if (flying[i] == &parcels[begun] - SY_COMM_MAX_REQUESTS)
                land(room, c, flying, &up, i);
        begin(room, c, 1000 * begun + round, &parcels[begun]);
        flying[up++] = &parcels[begun++];
        collective(room, c, common % 8, round); /* the same on every rank */
    }
}

/* --- around them ---------------------------------------------------------------------------------- */

/* Half a minute at most, so that a begin or wait that waits for too much is a failed test and no hanging
 * one. */
static inline int becomes(atomic_int *value, int wanted) {
    for (int ms = 0; atomic_load(value) < wanted; ms++) {
        if (ms == 30000)
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return 1;
}

static inline void assert_all_right(const struct room *room, int ranks) {
    for (int r = 0; r < ranks; r++) {
        if (room->wrong[r])
            fail_msg("%d ranks: %lld wrong values on rank %d", ranks, (long long)room->wrong[r], r);
        assert_int_equal(room->ran[r], 1);
    }
}

#endif
