/* All-to-alls in flight: see flights.h. */
#include "comm/flights.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "comm/team.h"

enum { SLOTS = SY_COMM_MAX_REQUESTS };

struct flight {      /* a rank's side of one exchange */
    uint64_t number; /* the last that it began in this slot; 0 none yet */
    int open;        /* and has not waited for */
    const char *send;
    const int64_t *send_at;
    char *recv;
    const int64_t *recv_at;
    int left;             /* parts in and out that are not there yet */
    int moving;           /* of them, those on their way */
    unsigned char *taken; /* [size] part of that rank to this one is there or on its way */
};

struct slot {
    uint64_t complete;        /* the last exchange that all have begun */
    int begun;                /* ranks that have begun the one after it */
    struct sy_fault fault[2]; /* of exchange n: n / SLOTS mod 2. Nobody begins n + 2 SLOTS before all have
                                 waited for n */
    struct flight *flight;    /* [size] */
};

struct sy_flights {
    struct slot slot[SLOTS];
    uint64_t *newest; /* [size] number of a rank's last begin */
    struct flight *flight;
    unsigned char *taken;
};

struct sy_flights *sy_flights_create(int size) {
    size_t n = (size_t)size;
    struct sy_flights *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->newest = calloc(n, sizeof *f->newest);
    f->flight = calloc(n * SLOTS, sizeof *f->flight);
    f->taken = calloc(n * n, SLOTS);
    if (!f->newest || !f->flight || !f->taken) {
        sy_flights_destroy(f);
        return NULL;
    }
    for (size_t i = 0; i < n * SLOTS; i++)
        f->flight[i].taken = f->taken + i * n;
    for (size_t s = 0; s < SLOTS; s++)
        f->slot[s].flight = f->flight + s * n;
    return f;
}

void sy_flights_destroy(struct sy_flights *f) {
    if (!f)
        return;
    free(f->newest);
    free(f->flight);
    free(f->taken);
    free(f);
}

/* --- an exchange, as one rank sees it ------------------------------------------------------------- */

struct exchange {
    struct slot *slot;
    uint64_t number;
};

static struct exchange exchange_of(const struct sy_team *t, uint64_t number) {
    return (struct exchange){&t->flights->slot[number % SLOTS], number};
}

static struct sy_fault *fault_of(const struct exchange *x) { return &x->slot->fault[x->number / SLOTS % 2]; }

static int has_begun(const struct exchange *x, int rank) { return x->slot->flight[rank].number >= x->number; }

/* A part that is there, or will not come: whether its rank may be waiting for just that. */
static int is_over(const struct exchange *x, int rank) {
    const struct flight *f = &x->slot->flight[rank];
    return f->left == 0 || (x->slot->complete >= x->number && fault_of(x)->status != SY_OK && f->moving == 0);
}

/* by: 1 on its way, -1 not any more; there: it has arrived. */
static void part_moves(struct sy_team *t, const struct exchange *x, int rank, int by, int there) {
    struct flight *f = &x->slot->flight[rank];
    f->moving += by;
    f->left -= there;
    if (f->moving == 0 && is_over(x, rank))
        sy_team_wake(t, rank);
}

/* Moves one part if both ends are posted and nobody has taken it; returns whether. The mutex is held before
 * and after, not while bytes move: neither end changes its posts as long as this part is left. */
static int carry(const struct sy_comm *c, const struct exchange *x, int from, int to) {
    struct sy_team *t = c->state;
    struct flight *source = &x->slot->flight[from], *target = &x->slot->flight[to];
    if (source->number != x->number || target->number != x->number || target->taken[from] ||
        fault_of(x)->status != SY_OK || !sy_team_move_begin(t))
        return 0;
    sy_status status = SY_OK;
    target->taken[from] = 1;
    part_moves(t, x, from, 1, 0);
    part_moves(t, x, to, 1, 0);
    int64_t first = source->send_at[to], bytes = source->send_at[to + 1] - first;
    if (bytes > 0) {
        assert(target->recv_at[from + 1] - target->recv_at[from] >= bytes);
        sy_team_unlock(t);
        status = sy_team_move(t, target->recv + target->recv_at[from], source->send + first, (size_t)bytes);
        sy_team_lock(t);
        sy_team_moved(t, status);
    }
    sy_team_move_end(t);
    part_moves(t, x, from, -1, status == SY_OK);
    part_moves(t, x, to, -1, status == SY_OK); /* from == to: twice the same */
    return 1;
}

/* One round over the others: first what this rank gets, then what it gives. Not all start at the same
 * rank. */
static int carry_all(const struct sy_comm *c, const struct exchange *x) {
    int carried = 0;
    for (int i = 0; i < c->size; i++)
        carried += carry(c, x, (c->rank + i) % c->size, c->rank);
    for (int i = 1; i < c->size; i++)
        carried += carry(c, x, c->rank, (c->rank + i) % c->size);
    return carried;
}

/* --- begin and wait ------------------------------------------------------------------------------- */

static void post(const struct sy_comm *c, const struct exchange *x, struct flight f) {
    struct flight *mine = &x->slot->flight[c->rank];
    f.taken = mine->taken;
    *mine = f;
    memset(mine->taken, 0, (size_t)c->size);
}

sy_status sy_flights_begin(const struct sy_comm *c, sy_status mine, const void *send, const int64_t *send_at,
                           void *recv, const int64_t *recv_at, struct sy_comm_request *request) {
    struct sy_team *t = c->state;
    *request = (struct sy_comm_request){0};
    sy_team_lock(t);
    sy_status status = sy_team_alive(c);
    if (status == SY_OK) {
        struct exchange x = exchange_of(t, ++t->flights->newest[c->rank]);
        assert(!x.slot->flight[c->rank].open); /* more than SY_COMM_MAX_REQUESTS in flight */
        if (x.slot->begun == 0)
            fault_of(&x)->status = SY_OK;
        sy_fault_add(fault_of(&x), c->rank, mine, sy_error_message());
        post(c, &x,
             (struct flight){.number = x.number,
                             .open = 1,
                             .send = send,
                             .send_at = send_at,
                             .recv = recv,
                             .recv_at = recv_at,
                             .left = 2 * c->size});
        t->member[c->rank].open++;
        request->kind = SY_COMM_EXCHANGE;
        request->number = x.number;
        if (++x.slot->begun == c->size) {
            x.slot->begun = 0;
            x.slot->complete = x.number;
            sy_team_wake_all(t);
        }
    }
    sy_team_unlock(t);
    return status;
}

/* It is not woken by every begin, only by the last: a part whose other end was posted in between is moved
 * then, unless the other end has moved it. */
static int is_there(const struct sy_comm *c, void *arg) {
    const struct exchange *x = arg;
    while (!is_over(x, c->rank))
        if (!carry_all(c, x))
            return 0;
    return 1;
}

static int has_not_begun(const struct sy_comm *c, int rank, const void *arg) {
    (void)c;
    return !has_begun(arg, rank);
}

sy_status sy_flights_wait(const struct sy_comm *c, struct sy_comm_request *request) {
    struct sy_team *t = c->state;
    struct exchange x = exchange_of(t, request->number);
    sy_team_lock(t);
    sy_status status = sy_team_wait(c, &(struct sy_need){"all_to_all", is_there, has_not_begun, &x});
    if (status == SY_OK)
        status = sy_fault_status(c, fault_of(&x));
    x.slot->flight[c->rank].open = 0;
    t->member[c->rank].open--;
    sy_team_unlock(t);
    *request = (struct sy_comm_request){0};
    return status;
}
