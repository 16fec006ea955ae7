/* Rows between the ranks of an expert-parallel group: see exchange.h. */
#include "moe/exchange.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void sy_exchange_share(int64_t experts, int rank, int size, int64_t *first, int64_t *n) {
    int64_t base = experts / size, more = experts % size;
    *first = rank * base + (rank < more ? rank : more);
    *n = base + (rank < more);
}

int64_t sy_exchange_planned_rows(const struct sy_comm *comm, const struct sy_exchange_shape *s,
                                 double factor) {
    int64_t all = comm->size * s->max_sequences * s->seq_len * s->top_k, first, experts;
    sy_exchange_share(s->experts, 0, comm->size, &first, &experts); /* no rank has more */
    double rows = ceil((double)all * (double)experts / (double)s->experts * factor);
    return factor > 0 && rows < (double)all ? (int64_t)rows : all;
}

int64_t sy_exchange_max_rows(const struct sy_comm *comm, const struct sy_exchange_shape *s) {
    return comm->size > 1 && s->max_rows > 0 ? s->max_rows : sy_exchange_planned_rows(comm, s, 0);
}

/* --- buffers -------------------------------------------------------------------------------------- */

static const char tag[] = "exchange of rows";

void sy_exchange_take(struct sy_arena *a, const struct sy_comm *comm, const struct sy_exchange_shape *s,
                      struct sy_exchange *e) {
    size_t size = (size_t)comm->size, rounds = (size_t)s->max_rounds;
    *e = (struct sy_exchange){.comm = *comm, .shape = *s};
    sy_exchange_share(s->experts, comm->rank, comm->size, &e->first_expert, &e->n_experts);
    e->received = (struct sy_dispatch){.seq_len = s->seq_len, .experts = e->n_experts, .top_k = s->top_k};
    e->received.offset =
        sy_arena_take(a, tag, (size_t)(e->n_experts * comm->size * s->max_sequences + 1), sizeof(int64_t));
    e->sequences = sy_arena_take(a, tag, size * rounds, sizeof(int64_t));
    e->first_sequence = sy_arena_take(a, tag, size * rounds, sizeof(int64_t));
    e->first_of_rank = sy_arena_take(a, tag, size * (rounds + 1), sizeof(int64_t));
    e->segment_from = sy_arena_take(a, tag, (size_t)e->n_experts * rounds * size, sizeof(int64_t));
    e->send_at = sy_arena_take(a, tag, size + 1, sizeof(int64_t));
    e->recv_at = sy_arena_take(a, tag, size + 1, sizeof(int64_t));
}

void sy_exchange_take_counts(struct sy_arena *a, const struct sy_comm *comm,
                             const struct sy_exchange_shape *s, struct sy_exchange_counts *c) {
    size_t n = (size_t)sy_exchange_message_length(s);
    c->offset = sy_arena_take(a, tag, (size_t)(s->experts * s->max_sequences + 1), sizeof(int64_t));
    c->mine = sy_arena_take(a, tag, n, sizeof(int64_t));
    c->all = sy_arena_take(a, tag, n * (size_t)comm->size, sizeof(int64_t));
}

void sy_exchange_take_buffer(struct sy_arena *a, const struct sy_comm *comm,
                             const struct sy_exchange_shape *s, int64_t max_row_bytes,
                             struct sy_exchange_buffer *b) {
    size_t rows = (size_t)sy_exchange_max_rows(comm, s);
    *b = (struct sy_exchange_buffer){.max_row_bytes = max_row_bytes};
    b->staging = sy_arena_take(a, tag, rows, (size_t)max_row_bytes);
    if (s->pad)
        b->padded = sy_arena_take(a, tag, rows, (size_t)max_row_bytes);
    for (int i = 0; i < 2; i++)
        b->at[i] = sy_arena_take(a, tag, (size_t)comm->size + 1, sizeof(int64_t));
}

/* --- rows ----------------------------------------------------------------------------------------- */

struct permute {
    const struct sy_exchange *e;
    int64_t row_bytes;
    char *received, *arrived;
    int back;
};

static void move(const struct permute *m, int64_t received, int64_t arrived, int64_t rows) {
    char *a = m->received + received * m->row_bytes, *b = m->arrived + arrived * m->row_bytes;
    if (rows == 0)
        return;
    if (m->back)
        memcpy(b, a, (size_t)(rows * m->row_bytes));
    else
        memcpy(a, b, (size_t)(rows * m->row_bytes));
}

/* (rank, expert) to (expert, rank): a transpose of blocks. */
static void transpose_part(void *arg, int thread, int n_threads) {
    const struct permute *m = arg;
    int64_t size = m->e->comm.size, n = m->e->n_experts, rows = m->e->block_rows;
    for (int64_t i = thread; i < n * size; i += n_threads)
        move(m, i * rows, (i % size * n + i / size) * rows, rows);
}

static void segments_part(void *arg, int thread, int n_threads) {
    const struct permute *m = arg;
    const struct sy_exchange *e = m->e;
    int64_t size = e->comm.size, segments = e->n_experts * e->rounds * size;
    for (int64_t i = thread; i < segments; i += n_threads) {
        int64_t x = i / (e->rounds * size);
        int j = (int)(i / size % e->rounds), r = (int)(i % size);
        int64_t to =
            e->received.offset[x * e->received.sequences + e->first_sequence[r * e->shape.max_rounds + j]];
        int64_t part_at = e->path == SY_PATH_EQUAL_PADDED ? r * e->padded_rows : e->recv_at[r];
        move(m, to, part_at + e->segment_from[i], sy_exchange_segment_rows(e, x, j, r));
    }
}

static void permute(const struct sy_exec *x, const struct permute *m) {
    sy_pool_run(x->pool, m->e->path == SY_PATH_EQUAL ? transpose_part : segments_part,
                (void *)(uintptr_t)m);
}

/* Bytes of the parts that ranks send, and of those that come. */
static void in_bytes(const struct sy_exchange *e, struct sy_exchange_buffer *b, int64_t row_bytes) {
    assert(row_bytes <= b->max_row_bytes && !e->overflow);
    b->row_bytes = row_bytes;
    for (int r = 0; r <= e->comm.size; r++) {
        int padded = e->path == SY_PATH_EQUAL_PADDED;
        b->at[0][r] = (padded ? r * e->padded_rows : e->send_at[r]) * row_bytes;
        b->at[1][r] = (padded ? r * e->padded_rows : e->recv_at[r]) * row_bytes;
    }
}

static void pad_ends(const struct sy_exchange *e, const int64_t *rows_at, int64_t row_bytes, char *parts) {
    for (int r = 0; r < e->comm.size; r++) {
        int64_t rows = rows_at[r + 1] - rows_at[r];
        memset(parts + (r * e->padded_rows + rows) * row_bytes, 0,
               (size_t)((e->padded_rows - rows) * row_bytes));
    }
}

/* Between the rows as they are and the parts with padding. */
static void with_padding(const struct sy_exchange *e, int64_t row_bytes, char *rows, char *parts,
                         int compact) {
    for (int r = 0; r < e->comm.size; r++) {
        char *a = rows + e->send_at[r] * row_bytes, *b = parts + r * e->padded_rows * row_bytes;
        size_t bytes = (size_t)((e->send_at[r + 1] - e->send_at[r]) * row_bytes);
        if (bytes)
            memcpy(compact ? a : b, compact ? b : a, bytes);
    }
}

static void count_rows(const struct sy_exchange *e, const int64_t *rows_at,
                       struct sy_moe_counters *counters) {
    for (int r = 0; r < e->comm.size; r++) {
        int64_t rows = rows_at[r + 1] - rows_at[r],
                padding = e->path == SY_PATH_EQUAL_PADDED ? e->padded_rows - rows : 0;
        if (r == e->comm.rank)
            continue;
        counters->rows_sent += rows + padding;
        counters->rows_padded += padding;
    }
}

sy_status sy_exchange_dispatch_begin(const struct sy_exchange *e, struct sy_exchange_buffer *b,
                                     int64_t row_bytes, const void *from,
                                     struct sy_moe_counters *counters) {
    in_bytes(e, b, row_bytes);
    if (e->path == SY_PATH_EQUAL_PADDED) {
        with_padding(e, row_bytes, (char *)(uintptr_t)from, b->padded, 0);
        pad_ends(e, e->send_at, row_bytes, b->padded);
        from = b->padded;
    }
    count_rows(e, e->send_at, counters);
    return e->comm.ops->all_to_all_begin(&e->comm, SY_OK, from, b->at[0], b->staging, b->at[1],
                                         &b->request);
}

sy_status sy_exchange_dispatch_wait(const struct sy_exec *x, const struct sy_exchange *e,
                                    struct sy_exchange_buffer *b, void *received) {
    SY_TRY(e->comm.ops->wait(&e->comm, &b->request));
    permute(x, &(struct permute){e, b->row_bytes, received, b->staging, 0});
    return SY_OK;
}

sy_status sy_exchange_combine_begin(const struct sy_exec *x, const struct sy_exchange *e,
                                    struct sy_exchange_buffer *b, int64_t row_bytes, const void *from,
                                    void *local, struct sy_moe_counters *counters) {
    in_bytes(e, b, row_bytes);
    permute(x, &(struct permute){e, row_bytes, (char *)(uintptr_t)from, b->staging, 1});
    int padded = e->path == SY_PATH_EQUAL_PADDED;
    if (padded)
        pad_ends(e, e->recv_at, row_bytes, b->staging);
    count_rows(e, e->recv_at, counters);
    return e->comm.ops->all_to_all_begin(&e->comm, SY_OK, b->staging, b->at[1], padded ? b->padded : local,
                                         b->at[0], &b->request);
}

sy_status sy_exchange_combine_wait(const struct sy_exchange *e, struct sy_exchange_buffer *b, void *local) {
    SY_TRY(e->comm.ops->wait(&e->comm, &b->request));
    if (e->path == SY_PATH_EQUAL_PADDED)
        with_padding(e, b->row_bytes, local, b->padded, 1);
    return SY_OK;
}
