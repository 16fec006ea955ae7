/* Who sends which rows, and where they stand when they arrive: the plan of an exchange. See exchange.h. */
#include <assert.h>
#include <string.h>

#include "moe/exchange.h"

struct plan { /* while it is made */
    struct sy_exchange *e;
    const int64_t *all; /* [size, message] */
};

static int64_t count(const struct plan *p, int rank, int64_t expert, int64_t sequence) {
    const struct sy_exchange_shape *s = &p->e->shape;
    const int64_t *message = p->all + rank * sy_exchange_message_length(s);
    return message[s->max_rounds + expert * s->max_sequences + sequence];
}

/* First of a rank's own sequences in each round; behind them how many it has. */
static int64_t *of_rank(const struct sy_exchange *e, int rank) {
    return e->first_of_rank + (int64_t)rank * (e->shape.max_rounds + 1);
}

/* Routes of a rank to experts first..first+n-1. */
static int64_t part(const struct plan *p, int rank, int64_t first, int64_t n) {
    int64_t sum = 0;
    for (int64_t x = first; x < first + n; x++)
        for (int64_t b = 0; b < of_rank(p->e, rank)[p->e->rounds]; b++)
            sum += count(p, rank, x, b);
    return sum;
}

/* The host's copy of what the sort counted: the first row of each (expert, sequence). Nobody else reads it. */
static const int64_t *read_offsets(const struct sy_exchange_counts *c, const struct sy_dispatch *d) {
    memcpy(c->offset, d->offset, (size_t)(d->experts * d->sequences + 1) * sizeof *c->offset);
    return c->offset;
}

static sy_status exchange_counts(struct sy_exchange *e, const struct sy_exchange_counts *c,
                                 const struct sy_dispatch *d, const struct sy_sequences *s) {
    int64_t n = sy_exchange_message_length(&e->shape), *routes = c->mine + e->shape.max_rounds;
    const int64_t *offset = read_offsets(c, d);
    memset(c->mine, 0, (size_t)n * sizeof *c->mine);
    for (int j = 0; j < s->rounds; j++)
        c->mine[j] = s->of[s->known ? e->comm.rank * s->rounds + j : j];
    for (int64_t x = 0; x < d->experts; x++)
        for (int64_t b = 0; b < d->sequences; b++)
            routes[x * e->shape.max_sequences + b] =
                offset[x * d->sequences + b + 1] - offset[x * d->sequences + b];
    return e->comm.ops->all_gather(&e->comm, SY_OK, c->mine, (size_t)n * sizeof *c->mine, c->all);
}

/* What the exchange would have brought under closed forced balance. */
static void close_counts(struct sy_exchange *e, const struct sy_exchange_counts *c,
                         const struct sy_sequences *s) {
    const struct sy_exchange_shape *h = &e->shape;
    int64_t n = sy_exchange_message_length(h), each = h->seq_len * h->top_k / h->experts;
    memset(c->all, 0, (size_t)(n * e->comm.size) * sizeof *c->all);
    for (int r = 0; r < e->comm.size; r++) {
        int64_t *message = c->all + r * n, sequences = 0;
        for (int j = 0; j < s->rounds; j++)
            sequences += message[j] = s->of[r * s->rounds + j];
        for (int64_t x = 0; x < h->experts; x++)
            for (int64_t b = 0; b < sequences; b++)
                message[h->max_rounds + x * h->max_sequences + b] = each;
    }
}

/* The group's sequences in canonical order: round, rank, sequence. */
static void place_sequences(const struct plan *p) {
    struct sy_exchange *e = p->e;
    int64_t place = 0, n = sy_exchange_message_length(&e->shape);
    for (int r = 0; r < e->comm.size; r++)
        of_rank(e, r)[0] = 0;
    for (int j = 0; j < e->rounds; j++)
        for (int r = 0; r < e->comm.size; r++) {
            int at = r * e->shape.max_rounds + j;
            e->sequences[at] = p->all[r * n + j];
            e->first_sequence[at] = place;
            place += e->sequences[at];
            of_rank(e, r)[j + 1] = of_rank(e, r)[j] + e->sequences[at];
        }
    e->received.sequences = place;
    e->received.tokens = place * e->shape.seq_len;
}

/* First row of (expert, round, rank, sequence) for this rank's experts, and of each segment in its rank's
 * part. */
static void place_rows(const struct plan *p) {
    struct sy_exchange *e = p->e;
    int64_t row = 0, *offset = e->received.offset;
    for (int64_t x = 0; x < e->n_experts; x++)
        for (int j = 0; j < e->rounds; j++)
            for (int r = 0; r < e->comm.size; r++) {
                const int64_t *first = of_rank(e, r) + j;
                for (int64_t b = first[0]; b < first[1]; b++) {
                    *offset++ = row;
                    row += count(p, r, e->first_expert + x, b);
                }
            }
    *offset = row;
    e->received.rows = row;
}

static void place_parts(const struct plan *p) {
    struct sy_exchange *e = p->e;
    int size = e->comm.size;
    e->recv_at[0] = e->send_at[0] = 0;
    for (int r = 0; r < size; r++) {
        int64_t in_part = 0, first, n;
        for (int64_t x = 0; x < e->n_experts; x++)
            for (int j = 0; j < e->rounds; j++) {
                e->segment_from[(x * e->rounds + j) * size + r] = in_part;
                in_part += sy_exchange_segment_rows(e, x, j, r);
            }
        e->recv_at[r + 1] = e->recv_at[r] + in_part;
        sy_exchange_share(e->shape.experts, r, size, &first, &n);
        e->send_at[r + 1] = e->send_at[r] + part(p, e->comm.rank, first, n);
    }
}

/* The rows of every (rank, expert), or -1 when they are not all the same. */
static int64_t equal_blocks(const struct plan *p) {
    int64_t rows = part(p, 0, 0, 1);
    for (int r = 0; r < p->e->comm.size; r++)
        for (int64_t x = 0; x < p->e->shape.experts; x++)
            if (part(p, r, x, 1) != rows)
                return -1;
    return rows;
}

/* Rows of the largest part of all, and of the rank that receives most. */
static int64_t largest_part(const struct plan *p, int64_t *most_received) {
    int64_t most = 0, first, n;
    *most_received = 0;
    for (int to = 0; to < p->e->comm.size; to++) {
        int64_t received = 0;
        sy_exchange_share(p->e->shape.experts, to, p->e->comm.size, &first, &n);
        for (int r = 0; r < p->e->comm.size; r++) {
            int64_t rows = part(p, r, first, n);
            most = rows > most ? rows : most;
            received += rows;
        }
        *most_received = received > *most_received ? received : *most_received;
    }
    return most;
}

/* And whether what arrives on that path fits on every rank. */
static void choose_path(const struct plan *p, int closed) {
    struct sy_exchange *e = p->e;
    int64_t largest = largest_part(p, &e->needed_rows);
    e->block_rows = !closed && e->rounds == 1 ? equal_blocks(p) : -1;
    e->padded_rows = 0;
    e->path = closed               ? SY_PATH_FORCED
              : e->block_rows >= 0 ? SY_PATH_EQUAL
              : e->shape.pad       ? SY_PATH_EQUAL_PADDED
                                   : SY_PATH_STANDARD;
    if (e->path == SY_PATH_EQUAL_PADDED) {
        e->padded_rows = largest;
        e->needed_rows = largest * e->comm.size;
    }
    e->overflow = e->needed_rows > sy_exchange_max_rows(&e->comm, &e->shape);
}

static void count_path(const struct sy_exchange *e, struct sy_moe_counters *counters) {
    counters->path_forced += e->path == SY_PATH_FORCED;
    counters->path_equal += e->path == SY_PATH_EQUAL;
    counters->path_equal_padded += e->path == SY_PATH_EQUAL_PADDED;
    counters->path_standard += e->path == SY_PATH_STANDARD;
}

sy_status sy_exchange_plan(struct sy_exchange *e, const struct sy_exchange_counts *scratch,
                           const struct sy_dispatch *d, const struct sy_sequences *sequences, int forced,
                           struct sy_moe_counters *counters) {
    const struct sy_exchange_shape *s = &e->shape;
    assert(d->sequences <= s->max_sequences && d->experts == s->experts &&
           sequences->rounds <= s->max_rounds);
    struct plan p = {e, scratch->all};
    int closed = forced && sequences->known && sy_dispatch_is_closed(s->seq_len, s->experts, s->top_k);
    if (closed) {
        close_counts(e, scratch, sequences);
    } else {
        SY_TRY(exchange_counts(e, scratch, d, sequences));
        counters->counts_exchanged++;
    }
    e->rounds = sequences->rounds;
    place_sequences(&p);
    choose_path(&p, closed);
    if (e->overflow)
        return SY_OK;
    place_rows(&p);
    place_parts(&p);
    assert(e->send_at[e->comm.size] == d->rows);
    count_path(e, counters);
    return SY_OK;
}
