/* Rows between the ranks of an expert-parallel group: see exchange.h. */
#include "moe/exchange_counts.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* --- memory --------------------------------------------------------------------------------------------- */

static const char tag[] = "exchange of rows";

static int64_t owned(const struct sy_comm *comm, const struct sy_exchange_shape *s) {
    int64_t first, n;
    sy_experts_share(s->experts, comm->rank, comm->size, &first, &n);
    return n;
}

/* Every route of every rank. */
static int64_t all_rows(const struct sy_comm *comm, const struct sy_exchange_shape *s) {
    return comm->size * s->max_sequences * s->seq_len * s->top_k;
}

int64_t sy_exchange_planned(const struct sy_comm *comm, const struct sy_exchange_shape *s) {
    int64_t all = all_rows(comm, s);
    return s->max_rows > 0 && s->max_rows < all ? s->max_rows : all;
}

int64_t sy_exchange_rows_for(const struct sy_comm *comm, const struct sy_exchange_shape *s, double factor) {
    int64_t all = all_rows(comm, s), most_experts = (s->experts + comm->size - 1) / comm->size;
    double rows = ceil((double)all * (double)most_experts / (double)s->experts * factor);
    return rows < (double)all ? (int64_t)rows : all;
}

int64_t sy_exchange_max_rows(const struct sy_exec *x, const struct sy_comm *comm,
                             const struct sy_exchange_shape *s) {
    return sy_dispatch_most_rows(x, sy_exchange_planned(comm, s),
                                 owned(comm, s) * comm->size * s->max_sequences);
}

/* Rows of a message. A padded one has no more than are planned, or the plan is refused. */
static int64_t message_rows(const struct sy_comm *comm, const struct sy_exchange_shape *s) {
    int64_t sent = s->max_sequences * s->seq_len * s->top_k, planned = sy_exchange_planned(comm, s);
    return planned > sent ? planned : sent;
}

static int64_t leaving_segments(const struct sy_exchange_shape *s) { return s->experts * s->max_sequences; }
static int64_t arrived_segments(const struct sy_comm *comm, const struct sy_exchange_shape *s) {
    return owned(comm, s) * s->max_sequences * comm->size;
}

static int64_t *take_numbers(struct sy_arena *a, int64_t n) {
    return sy_arena_take(a, tag, (size_t)n, sizeof(int64_t));
}

static void take_segments(struct sy_arena *a, int64_t n, struct sy_segments *s) {
    s->rows = take_numbers(a, n);
    s->in_message = take_numbers(a, n);
    s->in_place = take_numbers(a, n);
}

static void take_direct(struct sy_arena *a, const struct sy_comm *comm, const struct sy_exchange_shape *s,
                        int64_t rows, struct sy_exchange *e) {
    size_t tokens = (size_t)(comm->size * s->max_sequences * s->seq_len);
    e->slot_token = sy_arena_take(a, tag, tokens, sizeof *e->slot_token);
    e->slot_first = take_numbers(a, comm->size * (s->max_sequences + 1));
    e->back = sy_arena_take(a, tag, (size_t)rows, sizeof *e->back);
    e->received.route = sy_arena_take(a, tag, (size_t)rows, sizeof *e->received.route);
}

void sy_exchange_take(const struct sy_exec *x, struct sy_arena *a, const struct sy_comm *comm,
                      const struct sy_exchange_shape *s, struct sy_exchange *e) {
    int64_t n = owned(comm, s), rows = sy_exchange_max_rows(x, comm, s);
    struct sy_dispatch *d = &e->received;
    *d = (struct sy_dispatch){.seq_len = s->seq_len, .experts = n, .top_k = s->top_k};
    d->offset = take_numbers(a, n * comm->size * s->max_sequences + 1);
    d->tile = sy_arena_take(a, tag, (size_t)sy_dispatch_most_tiles(rows, n), sizeof *d->tile);
    d->n_tiles = take_numbers(a, 1);
    if (s->direct) {
        take_direct(a, comm, s, rows, e);
        return;
    }
    take_segments(a, leaving_segments(s), &e->leaving);
    take_segments(a, arrived_segments(comm, s), &e->arrived);
}

void sy_exchange_take_buffer(const struct sy_exec *x, struct sy_arena *a, const struct sy_comm *comm,
                             const struct sy_exchange_shape *s, int64_t max_row_bytes,
                             struct sy_exchange_buffer *b) {
    size_t rows = (size_t)message_rows(comm, s);
    b->max_row_bytes = max_row_bytes;
    b->packed = s->pad || x->device->segment > 1 ? sy_arena_take(a, tag, rows, (size_t)max_row_bytes) : NULL;
    b->staging = sy_arena_take(a, tag, rows, (size_t)max_row_bytes);
}

static int64_t *numbers(int64_t n) { return calloc((size_t)n + 1, sizeof(int64_t)); }

sy_status sy_exchange_init(const struct sy_comm *comm, const struct sy_exchange_shape *s,
                           struct sy_moe_counters *counters, struct sy_exchange *e) {
    *e = (struct sy_exchange){.comm = *comm, .shape = *s, .counters = counters};
    sy_experts_share(s->experts, comm->rank, comm->size, &e->first_expert, &e->n_experts);
    e->sequences = numbers((int64_t)comm->size * s->max_rounds);
    e->first_sequence = numbers((int64_t)comm->size * s->max_rounds);
    e->first_of_rank = numbers((int64_t)comm->size * (s->max_rounds + 1));
    e->send_at = numbers(comm->size);
    e->recv_at = numbers(comm->size);
    if (e->sequences && e->first_sequence && e->first_of_rank && e->send_at && e->recv_at)
        return SY_OK;
    sy_exchange_fini(e);
    SY_FAIL(SY_ERR_MEMORY, "exchange of rows: no memory for the plan over %d ranks", comm->size);
}

void sy_exchange_fini(struct sy_exchange *e) {
    free(e->sequences);
    free(e->first_sequence);
    free(e->first_of_rank);
    free(e->send_at);
    free(e->recv_at);
    *e = (struct sy_exchange){0};
}

sy_status sy_exchange_buffer_init(const struct sy_comm *comm, struct sy_exchange_buffer *b) {
    *b = (struct sy_exchange_buffer){.at = {numbers(comm->size), numbers(comm->size)}};
    if (b->at[0] && b->at[1])
        return SY_OK;
    sy_exchange_buffer_fini(b);
    SY_FAIL(SY_ERR_MEMORY, "exchange of rows: no memory for a buffer over %d ranks", comm->size);
}

void sy_exchange_buffer_fini(struct sy_exchange_buffer *b) {
    free(b->at[0]);
    free(b->at[1]);
    *b = (struct sy_exchange_buffer){0};
}

sy_status sy_exchange_counts_init(const struct sy_exec *x, const struct sy_comm *comm,
                                  const struct sy_exchange_shape *s, struct sy_exchange_counts *c) {
    int64_t segments = leaving_segments(s) + arrived_segments(comm, s), size = comm->size;
    int64_t e = owned(comm, s), rows = sy_exchange_max_rows(x, comm, s);
    *c = (struct sy_exchange_counts){
        .local = numbers(leaving_segments(s)),
        .said = numbers(size * sy_counts_header(comm, s) + leaving_segments(s)),
        .told = numbers(size * sy_counts_length(comm, s, e)),
        .at = {numbers(size), numbers(size)},
        .next = numbers(size),
        .offset = numbers(e * comm->size * s->max_sequences + 1),
        .numbers = numbers(3 * segments),
        .tile = calloc((size_t)sy_dispatch_most_tiles(rows, e) + 1, sizeof *c->tile)};
    if (c->local && c->said && c->told && c->at[0] && c->at[1] && c->next && c->offset && c->numbers &&
        c->tile)
        return SY_OK;
    sy_exchange_counts_fini(c);
    SY_FAIL(SY_ERR_MEMORY, "exchange of rows: no memory for the counts of %d ranks", comm->size);
}

void sy_exchange_counts_fini(struct sy_exchange_counts *c) {
    free(c->local);
    free(c->said);
    free(c->told);
    free(c->at[0]);
    free(c->at[1]);
    free(c->next);
    free(c->offset);
    free(c->numbers);
    free(c->tile);
    *c = (struct sy_exchange_counts){0};
}

/* --- rows ----------------------------------------------------------------------------------------------- */

/* Whether this rank's rows, in their order, are the message: nothing is padded. */
static int goes_as_it_is(const struct sy_exec *x, const struct sy_exchange *e) {
    return e->path != SY_PATH_EQUAL_PADDED && x->device->segment == 1;
}

struct way {
    const struct sy_segments *segments;
    int to_place; /* out of a message; else into one */
    int64_t clear_rows;
    const void *from;
    void *to;
};

static void move(const struct sy_exec *x, int64_t row_bytes, const struct way *w) {
    const struct sy_segments *s = w->segments;
    x->ops->move_segments(x, &(struct sy_move_segments){.segments = s->n,
                                                        .row_bytes = row_bytes,
                                                        .rows = s->rows,
                                                        .from_at = w->to_place ? s->in_message : s->in_place,
                                                        .to_at = w->to_place ? s->in_place : s->in_message,
                                                        .from = w->from,
                                                        .to = w->to,
                                                        .clear_rows = w->clear_rows});
}

/* Bytes of the parts that ranks send, and of those that come. */
static void in_bytes(const struct sy_exchange *e, struct sy_exchange_buffer *b, int64_t row_bytes) {
    assert(row_bytes <= b->max_row_bytes);
    b->row_bytes = row_bytes;
    for (int r = 0; r <= e->comm.size; r++) {
        int padded = e->path == SY_PATH_EQUAL_PADDED;
        b->at[0][r] = (padded ? r * e->padded_rows : e->send_at[r]) * row_bytes;
        b->at[1][r] = (padded ? r * e->padded_rows : e->recv_at[r]) * row_bytes;
    }
}

static int64_t message_to_clear(const struct sy_exchange *e) {
    return e->path == SY_PATH_EQUAL_PADDED ? e->comm.size * e->padded_rows : 0;
}

static void count_rows(const struct sy_exchange *e, const int64_t *rows_at) {
    for (int r = 0; r < e->comm.size; r++) {
        int64_t rows = rows_at[r + 1] - rows_at[r],
                padding = e->path == SY_PATH_EQUAL_PADDED ? e->padded_rows - rows : 0;
        if (r == e->comm.rank)
            continue;
        e->counters->rows_sent += rows + padding;
        e->counters->rows_padded += padding;
    }
}

void sy_exchange_count_bytes(const struct sy_exchange *e, const int64_t *at) {
    for (int r = 0; r < e->comm.size; r++)
        e->counters->bytes_sent += r == e->comm.rank ? 0 : at[r + 1] - at[r];
}

/* A transport of this process reads what ops have written: they are waited for. A rank whose device has
 * failed comes all the same and says so. */
static sy_status send(const struct sy_exec *x, const struct sy_exchange *e, struct sy_exchange_buffer *b,
                      const void *from, int back, void *to) {
    const struct sy_device *d = x->device;
    sy_status mine = sy_exec_wait(x);
    sy_exchange_count_bytes(e, b->at[back]);
    return e->comm.ops->all_to_all_begin(&e->comm, mine, d->alias(d, from), b->at[back], d->alias(d, to),
                                         b->at[!back], &b->request);
}

sy_status sy_exchange_dispatch_begin(const struct sy_exec *x, const struct sy_exchange *e,
                                     struct sy_exchange_buffer *b, int64_t row_bytes, const void *from) {
    in_bytes(e, b, row_bytes);
    count_rows(e, e->send_at);
    if (!goes_as_it_is(x, e)) {
        move(x, row_bytes, &(struct way){&e->leaving, 0, message_to_clear(e), from, b->packed});
        from = b->packed;
    }
    return send(x, e, b, from, 0, b->staging);
}

sy_status sy_exchange_dispatch_wait(const struct sy_exec *x, const struct sy_exchange *e,
                                    struct sy_exchange_buffer *b, void *received) {
    SY_TRY(e->comm.ops->wait(&e->comm, &b->request));
    int64_t clear = x->device->segment > 1 ? e->received.rows : 0;
    move(x, b->row_bytes, &(struct way){&e->arrived, 1, clear, b->staging, received});
    return SY_OK;
}

sy_status sy_exchange_combine_begin(const struct sy_exec *x, const struct sy_exchange *e,
                                    struct sy_exchange_buffer *b, int64_t row_bytes, const void *from,
                                    void *local) {
    in_bytes(e, b, row_bytes);
    count_rows(e, e->recv_at);
    move(x, row_bytes, &(struct way){&e->arrived, 0, message_to_clear(e), from, b->staging});
    return send(x, e, b, b->staging, 1, goes_as_it_is(x, e) ? local : b->packed);
}

sy_status sy_exchange_combine_wait(const struct sy_exec *x, const struct sy_exchange *e,
                                   struct sy_exchange_buffer *b, void *local) {
    SY_TRY(e->comm.ops->wait(&e->comm, &b->request));
    if (!goes_as_it_is(x, e))
        move(x, b->row_bytes, &(struct way){&e->leaving, 1, 0, b->packed, local});
    return SY_OK;
}
