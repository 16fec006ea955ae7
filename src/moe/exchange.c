/* Rows between the ranks of an expert-parallel group: see exchange.h. */
#include "moe/exchange.h"

#include <assert.h>
#include <string.h>

void sy_exchange_share(int64_t experts, int rank, int size, int64_t *first, int64_t *n) {
    int64_t base = experts / size, more = experts % size;
    *first = rank * base + (rank < more ? rank : more);
    *n = base + (rank < more);
}

void sy_exchange_take(struct sy_arena *a, const struct sy_comm *comm, int64_t experts, int64_t max_sequences,
                      int64_t seq_len, int64_t top_k, int64_t max_row_bytes, struct sy_exchange *e) {
    static const char *const tag = "exchange of rows";
    size_t size = (size_t)comm->size, bins = (size_t)(experts * max_sequences);
    *e = (struct sy_exchange){
        .comm = *comm, .experts = experts, .max_sequences = max_sequences, .max_row_bytes = max_row_bytes};
    sy_exchange_share(experts, comm->rank, comm->size, &e->first_expert, &e->n_experts);
    e->max_rows = comm->size * max_sequences * seq_len * top_k;
    e->received = (struct sy_dispatch){.seq_len = seq_len, .experts = e->n_experts, .top_k = top_k};
    e->received.offset = sy_arena_take(a, tag, (size_t)(e->n_experts * comm->size * max_sequences + 1), sizeof(int64_t));
    e->counts = sy_arena_take(a, tag, size * bins, sizeof(int64_t));
    e->mine = sy_arena_take(a, tag, bins, sizeof(int64_t));
    e->sequences = sy_arena_take(a, tag, size, sizeof(int64_t));
    int64_t **edges[] = {&e->send_at, &e->recv_at, &e->send_bytes, &e->recv_bytes};
    for (int i = 0; i < 4; i++)
        *edges[i] = sy_arena_take(a, tag, size + 1, sizeof(int64_t));
    e->place = sy_arena_take(a, tag, (size_t)e->max_rows, sizeof(int32_t));
    e->staging = sy_arena_take(a, tag, (size_t)e->max_rows, (size_t)max_row_bytes);
}

static int64_t count(const struct sy_exchange *e, int rank, int64_t expert, int64_t sequence) {
    return e->counts[(rank * e->experts + expert) * e->max_sequences + sequence];
}

static void gather_counts(struct sy_exchange *e, const struct sy_dispatch *d) {
    int64_t bins = e->experts * e->max_sequences;
    memset(e->mine, 0, (size_t)bins * sizeof *e->mine);
    for (int64_t i = 0; i < e->experts; i++)
        for (int64_t b = 0; b < d->sequences; b++)
            e->mine[i * e->max_sequences + b] = d->offset[i * d->sequences + b + 1] - d->offset[i * d->sequences + b];
    e->comm.ops->all_gather(&e->comm, &d->sequences, sizeof d->sequences, e->sequences);
    e->comm.ops->all_gather(&e->comm, e->mine, (size_t)bins * sizeof *e->mine, e->counts);
}

/* First row of (expert, rank, sequence) for this rank's experts. */
static void fill_offsets(struct sy_exchange *e) {
    struct sy_dispatch *r = &e->received;
    int64_t row = 0, i = 0;
    r->sequences = 0;
    for (int rank = 0; rank < e->comm.size; rank++)
        r->sequences += e->sequences[rank];
    for (int64_t x = 0; x < e->n_experts; x++)
        for (int rank = 0; rank < e->comm.size; rank++)
            for (int64_t b = 0; b < e->sequences[rank]; b++) {
                r->offset[i++] = row;
                row += count(e, rank, e->first_expert + x, b);
            }
    r->offset[i] = row;
    r->rows = row;
    r->tokens = r->sequences * r->seq_len;
    assert(row <= e->max_rows);
}

/* Where a row that arrived as (rank, expert, sequence, token) stands among (expert, rank, sequence, token). */
static void fill_places(struct sy_exchange *e) {
    int64_t arrived = 0, first_sequence = 0;
    for (int rank = 0; rank < e->comm.size; rank++) {
        e->recv_at[rank] = arrived;
        for (int64_t x = 0; x < e->n_experts; x++)
            for (int64_t b = 0; b < e->sequences[rank]; b++) {
                int64_t to = e->received.offset[x * e->received.sequences + first_sequence + b];
                for (int64_t n = count(e, rank, e->first_expert + x, b); n > 0; n--)
                    e->place[arrived++] = (int32_t)to++;
            }
        first_sequence += e->sequences[rank];
    }
    e->recv_at[e->comm.size] = arrived;
}

void sy_exchange_plan(struct sy_exchange *e, const struct sy_dispatch *d) {
    assert(d->sequences <= e->max_sequences && d->experts == e->experts);
    gather_counts(e, d);
    fill_offsets(e);
    fill_places(e);
    for (int rank = 0; rank <= e->comm.size; rank++) {
        int64_t first = e->experts, n;
        if (rank < e->comm.size)
            sy_exchange_share(e->experts, rank, e->comm.size, &first, &n);
        e->send_at[rank] = d->offset[first * d->sequences];
    }
}

static void in_bytes(const struct sy_exchange *e, int64_t row_bytes) {
    assert(row_bytes <= e->max_row_bytes);
    for (int rank = 0; rank <= e->comm.size; rank++) {
        e->send_bytes[rank] = e->send_at[rank] * row_bytes;
        e->recv_bytes[rank] = e->recv_at[rank] * row_bytes;
    }
}

void sy_exchange_dispatch(struct sy_exchange *e, int64_t row_bytes, const void *local, void *received) {
    in_bytes(e, row_bytes);
    e->comm.ops->all_to_all(&e->comm, local, e->send_bytes, e->staging, e->recv_bytes);
    for (int64_t i = 0; i < e->received.rows; i++)
        memcpy((char *)received + e->place[i] * row_bytes, (char *)e->staging + i * row_bytes, (size_t)row_bytes);
}

void sy_exchange_combine(struct sy_exchange *e, int64_t row_bytes, const void *received, void *local) {
    in_bytes(e, row_bytes);
    for (int64_t i = 0; i < e->received.rows; i++)
        memcpy((char *)e->staging + i * row_bytes, (const char *)received + e->place[i] * row_bytes, (size_t)row_bytes);
    e->comm.ops->all_to_all(&e->comm, e->staging, e->recv_bytes, local, e->send_bytes);
}
