/* All collectives of `mpi`, as exchanges: see mpi_team.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "comm/mpi_team.h"

struct side { /* what goes to one other rank and comes from it */
    char *recv;
    size_t fits;
    int came;              /* its note */
    uint64_t offer, bytes; /* that it has; 0: none */
    struct sy_part out, in;
};

struct sy_exchange {
    struct sy_exchange *next;
    uint64_t number;
    int failed;  /* this rank came with a failure: it has no memory */
    int missing; /* ranks whose note has not come */
    int left;    /* parts that are not done */
    struct sy_fault fault;
    struct side side[]; /* [size] */
};

sy_status sy_mpi_exchanges_create(struct sy_mpi_team *t) {
    for (int i = 0; i <= SY_COMM_MAX_REQUESTS; i++) {
        struct sy_exchange *x = calloc(1, sizeof *x + (size_t)t->size * sizeof *x->side);
        if (!x)
            SY_FAIL(SY_ERR_MEMORY, "no memory for a group of %d ranks", t->size);
        x->next = t->spare;
        t->spare = x;
    }
    return SY_OK;
}

void sy_mpi_exchanges_free(struct sy_mpi_team *t) {
    for (struct sy_exchange *x; (x = t->spare) != NULL; free(x))
        t->spare = x->next;
}

static struct sy_exchange *find(const struct sy_mpi_team *t, uint64_t number) {
    struct sy_exchange *x = t->exchanges;
    while (x && x->number != number)
        x = x->next;
    return x;
}

static void close_exchange(struct sy_mpi_team *t, struct sy_exchange *x) {
    struct sy_exchange **at = &t->exchanges;
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    x->next = t->spare;
    t->spare = x;
    sy_mpi.open--;
}

void sy_mpi_exchanges_withdraw(struct sy_mpi_team *t) {
    for (struct sy_exchange *x = t->exchanges; x; x = x->next)
        for (int r = 0; r < t->size; r++)
            sy_mpi_withdraw(&x->side[r].out);
}

void sy_mpi_exchanges_close(struct sy_mpi_team *t) {
    while (t->exchanges)
        close_exchange(t, t->exchanges);
}

/* --- begin ---------------------------------------------------------------------------------------- */

/* All notes are here: what was offered is asked for, or nothing moves. */
static void agree(struct sy_mpi_team *t, struct sy_exchange *x) {
    for (int r = 0; r < t->size; r++) {
        struct side *s = &x->side[r];
        if (x->fault.status != SY_OK) {
            sy_mpi_withdraw(&s->out);
        } else if (s->offer) {
            s->in.t.data = s->recv;
            s->in.t.bytes = s->bytes;
            sy_mpi_ask(t, r, s->offer, &s->in, &x->left);
        }
    }
}

static void note_came(struct sy_mpi_team *t, struct sy_exchange *x, const struct sy_note *note,
                      const char *body) {
    struct side *s = &x->side[note->rank];
    s->came = 1;
    sy_fault_add(&x->fault, note->rank, (sy_status)note->status, body);
    if (note->status == SY_OK && !x->failed && note->bytes) {
        assert(note->bytes <= s->fits); /* the ranks do not agree on the sizes */
        if (note->bytes <= SY_NOTE_ROOM)
            memcpy(s->recv, body, note->bytes);
        s->offer = note->offer;
        s->bytes = note->bytes;
    }
    if (--x->missing == 0)
        agree(t, x);
}

void sy_mpi_exchange_came(struct sy_mpi_team *t, const struct sy_note *note, const char *body) {
    struct sy_exchange *x = find(t, note->number);
    if (x)
        note_came(t, x, note, body);
    else
        sy_mpi_keep(t, note, body);
}

/* What one rank sends to rank r and takes from it. */
struct lot {
    const char *send;
    size_t bytes;
    char *recv;
    size_t fits;
};
typedef struct lot lot_fn(const struct sy_comm *c, int r, const void *arg);

static void send_note(struct sy_mpi_team *t, struct sy_exchange *x, int r, const struct lot *lot) {
    struct side *s = &x->side[r];
    struct sy_note note = {.kind = SY_NOTE_EXCHANGE, .number = x->number, .bytes = lot->bytes};
    s->out.t.data = (char *)(uintptr_t)lot->send;
    s->out.t.bytes = lot->bytes;
    if (lot->bytes > SY_NOTE_ROOM)
        note.offer = sy_mpi_offer(t, r, &s->out, &x->left);
    sy_mpi_tell(t, r, &note, lot->send, note.offer ? 0 : lot->bytes);
}

static void send_failure(const struct sy_mpi_team *t, const struct sy_exchange *x, int r) {
    struct sy_note note = {.kind = SY_NOTE_EXCHANGE, .number = x->number, .status = (int32_t)x->fault.status};
    sy_mpi_tell(t, r, &note, x->fault.message, strlen(x->fault.message) + 1);
}

/* To the ranks after this one first, so that not all begin with the same. */
static void send_all(const struct sy_comm *c, struct sy_exchange *x, lot_fn *lot_of, const void *arg) {
    struct sy_mpi_team *t = c->state;
    for (int i = 0; i < t->size; i++) {
        int r = (c->rank + i) % t->size;
        if (x->failed) {
            if (r != c->rank)
                send_failure(t, x, r);
            continue;
        }
        struct lot lot = lot_of ? lot_of(c, r, arg) : (struct lot){0};
        x->side[r].recv = lot.recv;
        x->side[r].fits = lot.fits;
        if (r != c->rank)
            send_note(t, x, r, &lot);
        else if (lot.bytes)
            memcpy(lot.recv, lot.send, lot.bytes);
    }
}

/* lot_of NULL: nothing but a status. */
static sy_status begin(const struct sy_comm *c, sy_status mine, lot_fn *lot_of, const void *arg,
                       struct sy_comm_request *request) {
    struct sy_mpi_team *t = c->state;
    *request = (struct sy_comm_request){0};
    sy_mpi_progress(); /* the team's death may have come */
    SY_TRY(sy_mpi_alive(t));
    struct sy_exchange *x = t->spare;
    assert(x); /* more than SY_COMM_MAX_REQUESTS in flight */
    t->spare = x->next;
    memset(x->side, 0, (size_t)t->size * sizeof *x->side);
    x->number = ++t->begun;
    x->failed = mine != SY_OK;
    x->missing = t->size - 1;
    x->left = 0;
    x->fault.status = SY_OK;
    sy_fault_add(&x->fault, c->rank, mine, sy_error_message());
    x->next = t->exchanges;
    t->exchanges = x;
    x->side[c->rank].came = 1;
    *request = (struct sy_comm_request){.kind = SY_COMM_EXCHANGE, .number = x->number};
    sy_mpi.open++;
    pthread_cond_signal(&sy_mpi.work);
    send_all(c, x, lot_of, arg);
    const struct sy_note like = {.kind = SY_NOTE_EXCHANGE, .rank = -1, .number = x->number};
    for (struct sy_arrival *a; (a = sy_mpi_find(t, &like)) != NULL; free(a))
        note_came(t, x, &a->note, a->body);
    return SY_OK;
}

/* --- wait ----------------------------------------------------------------------------------------- */

static int is_there(const void *arg) {
    const struct sy_exchange *x = arg;
    return x->missing == 0 && (x->fault.status != SY_OK || x->left == 0);
}

static int is_absent(int rank, const void *arg) {
    const struct sy_exchange *x = arg;
    return !x->side[rank].came;
}

static int is_slow(int rank, const void *arg) {
    const struct sy_exchange *x = arg;
    const struct side *s = &x->side[rank];
    return (s->out.left && s->out.t.moved < s->out.t.bytes) || (s->in.left && s->in.t.moved < s->in.t.bytes);
}

static sy_status finish(const struct sy_comm *c, const char *operation, struct sy_comm_request *request) {
    struct sy_mpi_team *t = c->state;
    struct sy_exchange *x = find(t, request->number);
    *request = (struct sy_comm_request){0};
    if (!x)
        return sy_mpi_alive(t);
    SY_TRY(sy_mpi_wait(c, &(struct sy_mpi_need){operation, is_there, is_absent, is_slow, x}));
    sy_status status = sy_mpi_fault_status(t, &x->fault);
    close_exchange(t, x);
    return status;
}

sy_status sy_mpi_exchange_wait(const struct sy_comm *c, struct sy_comm_request *request) {
    sy_mpi_lock();
    sy_status status = finish(c, "all_to_all", request);
    sy_mpi_unlock();
    return status;
}

static sy_status exchange(const struct sy_comm *c, const char *operation, sy_status mine, lot_fn *lot_of,
                          const void *arg) {
    struct sy_comm_request request;
    sy_mpi_lock();
    sy_status status = begin(c, mine, lot_of, arg, &request);
    if (status == SY_OK)
        status = finish(c, operation, &request);
    sy_mpi_unlock();
    return status;
}

/* --- the collectives ------------------------------------------------------------------------------ */

sy_status sy_mpi_agree(const struct sy_comm *c, sy_status mine) {
    return exchange(c, "agree", mine, NULL, NULL);
}

struct split_bytes {
    const char *send;
    const int64_t *send_at;
    char *recv;
    const int64_t *recv_at;
};

static struct lot part_of(const struct sy_comm *c, int r, const void *arg) {
    const struct split_bytes *b = arg;
    (void)c;
    return (struct lot){b->send + b->send_at[r], (size_t)(b->send_at[r + 1] - b->send_at[r]),
                        b->recv + b->recv_at[r], (size_t)(b->recv_at[r + 1] - b->recv_at[r])};
}

sy_status sy_mpi_all_to_all_begin(const struct sy_comm *c, sy_status mine, const void *send,
                                  const int64_t *send_at, void *recv, const int64_t *recv_at,
                                  struct sy_comm_request *request) {
    struct split_bytes b = {send, send_at, recv, recv_at};
    sy_mpi_lock();
    sy_status status = begin(c, mine, part_of, &b, request);
    sy_mpi_unlock();
    return status;
}

struct block {
    const char *send;
    char *recv;
    size_t bytes;
    int root;
};

static struct lot block_of(const struct sy_comm *c, int r, const void *arg) {
    const struct block *b = arg;
    (void)c;
    return (struct lot){b->send, b->bytes, b->recv + (size_t)r * b->bytes, b->bytes};
}

sy_status sy_mpi_all_gather(const struct sy_comm *c, sy_status mine, const void *send, size_t bytes,
                            void *recv) {
    return exchange(c, "all_gather", mine, block_of, &(struct block){send, recv, bytes, 0});
}

static struct lot from_root(const struct sy_comm *c, int r, const void *arg) {
    const struct block *b = arg;
    struct lot lot = {0};
    if (r == c->rank)
        return lot;
    if (c->rank == b->root) {
        lot.send = b->send;
        lot.bytes = b->bytes;
    }
    if (r == b->root) {
        lot.recv = b->recv;
        lot.fits = b->bytes;
    }
    return lot;
}

sy_status sy_mpi_broadcast(const struct sy_comm *c, sy_status mine, int root, void *data, size_t bytes) {
    assert(root >= 0 && root < c->size);
    return exchange(c, "broadcast", mine, from_root, &(struct block){data, data, bytes, root});
}

/* --- sum ------------------------------------------------------------------------------------------ */

/* Each rank gets a range of the elements of all, adds, and all get the sums. */
struct ranges {
    char *v, *all; /* [n]; [size][longest range] */
    int64_t n;
    int back; /* the second half: sums go back */
};

static int64_t first_of(const struct sy_comm *c, int r, int64_t n) { return n * r / c->size; }

static struct lot range_of(const struct sy_comm *c, int r, const void *arg) {
    const struct ranges *a = arg;
    size_t at = (size_t)first_of(c, r, a->n) * 8, end = (size_t)first_of(c, r + 1, a->n) * 8;
    size_t mine = (size_t)first_of(c, c->rank, a->n) * 8, bytes = (size_t)first_of(c, c->rank + 1, a->n) * 8;
    bytes -= mine;
    if (a->back)
        return (struct lot){a->all, bytes, a->v + at, end - at};
    return (struct lot){a->v + at, end - at, a->all + (size_t)r * bytes, bytes};
}

/* all [0][n] += all [1 .. size-1][n], as integers. */
static void add_up(uint64_t *all, int size, int64_t n) {
    for (int r = 1; r < size; r++)
        for (int64_t i = 0; i < n; i++)
            all[i] += all[r * n + i];
}

sy_status sy_mpi_sum_i64(const struct sy_comm *c, sy_status mine, int64_t *v, int64_t n) {
    int64_t few = SY_NOTE_ROOM / 8, range = first_of(c, c->rank + 1, n) - first_of(c, c->rank, n);
    int64_t rows = n <= few ? n : range;
    uint64_t *all = malloc((size_t)c->size * (size_t)rows * 8 + 1);
    if (mine == SY_OK && !all)
        mine = sy_fail(SY_ERR_MEMORY, "sum_i64: no memory for %lld integers", (long long)n);
    struct ranges a = {(char *)v, (char *)all, n, 0};
    sy_status status = n <= few ? exchange(c, "sum_i64", mine, block_of,
                                           &(struct block){(char *)v, (char *)all, (size_t)n * 8, 0})
                                : exchange(c, "sum_i64", mine, range_of, &a);
    if (status == SY_OK)
        add_up(all, c->size, rows);
    a.back = 1;
    if (status == SY_OK && n <= few && n > 0)
        memcpy(v, all, (size_t)n * 8);
    else if (status == SY_OK && n > few)
        status = exchange(c, "sum_i64", SY_OK, range_of, &a);
    free(all);
    return status;
}
