/* What ranks tell each other before rows move: see exchange_counts.h. */
#include "moe/exchange_counts.h"

static int64_t owned(const struct sy_exchange *e, int rank, int64_t *first) {
    int64_t n;
    sy_experts_share(e->shape.experts, rank, e->comm.size, first, &n);
    return n;
}

/* The one place where the host waits for counts. */
static sy_status read_counts(const struct sy_exec *x, const struct sy_exchange *e,
                             const struct sy_dispatch *d, int64_t *out) {
    x->device->copy(x->device, out, d->count, (size_t)(d->experts * d->sequences) * sizeof *out);
    e->counters->host_waits++;
    return sy_exec_wait(x);
}

/* The header: routes to each rank, and of the expert with the fewest and the most. */
static void sum_up(const struct sy_exchange *e, const struct sy_exchange_counts *c, int64_t sequences,
                   int64_t *parts) {
    int64_t *extremes = parts + e->comm.size, first;
    extremes[0] = INT64_MAX;
    extremes[1] = 0;
    for (int to = 0; to < e->comm.size; to++) {
        int64_t n = owned(e, to, &first);
        parts[to] = 0;
        for (int64_t x = first; x < first + n; x++) {
            int64_t rows = 0;
            for (int64_t b = 0; b < sequences; b++)
                rows += c->local[x * sequences + b];
            parts[to] += rows;
            extremes[0] = rows < extremes[0] ? rows : extremes[0];
            extremes[1] = rows > extremes[1] ? rows : extremes[1];
        }
    }
}

/* The messages to all ranks, one after the other: the same header, then their counts. */
static void write_messages(const struct sy_exchange *e, struct sy_exchange_counts *c, int64_t sequences,
                           const struct sy_sequences *s) {
    const struct sy_exchange_shape *h = &e->shape;
    int64_t header = sy_counts_header(&e->comm, h), *first_message = c->said, *to = c->said, first;
    for (int j = 0; j < h->max_rounds; j++)
        to[j] = j < s->rounds ? s->of[s->known ? e->comm.rank * s->rounds + j : j] : 0;
    sum_up(e, c, sequences, to + h->max_rounds);
    c->at[0][0] = c->at[1][0] = 0;
    for (int r = 0; r < e->comm.size; r++) {
        int64_t n = owned(e, r, &first), length = sy_counts_length(&e->comm, h, n);
        if (r > 0)
            memcpy(to, first_message, (size_t)header * sizeof *to);
        for (int64_t x = 0; x < n; x++)
            for (int64_t b = 0; b < h->max_sequences; b++)
                to[header + x * h->max_sequences + b] =
                    b < sequences ? c->local[(first + x) * sequences + b] : 0;
        to += length;
        c->at[0][r + 1] = c->at[0][r] + length * (int64_t)sizeof *to;
        c->at[1][r + 1] = c->at[1][r] + sy_counts_length(&e->comm, h, e->n_experts) * (int64_t)sizeof *to;
    }
}

sy_status sy_counts_exchange(const struct sy_exec *x, struct sy_exchange *e, struct sy_exchange_counts *c,
                             const struct sy_dispatch *d, const struct sy_sequences *s) {
    sy_status status = read_counts(x, e, d, c->local);
    write_messages(e, c, d->sequences, s);
    e->counters->counts_exchanged++;
    sy_exchange_count_bytes(e, c->at[0]);
    return e->comm.ops->all_to_all(&e->comm, status, c->said, c->at[0], c->told, c->at[1]);
}

void sy_counts_close(const struct sy_exchange *e, struct sy_exchange_counts *c,
                     const struct sy_sequences *s) {
    const struct sy_exchange_shape *h = &e->shape;
    int64_t each = h->seq_len * h->top_k / h->experts, first;
    for (int r = 0; r < e->comm.size; r++) {
        int64_t *sequences = sy_counts_sequences(e, c, r), all = 0;
        for (int j = 0; j < h->max_rounds; j++)
            all += sequences[j] = j < s->rounds ? s->of[r * s->rounds + j] : 0;
        for (int to = 0; to < e->comm.size; to++)
            sy_counts_parts(e, c, r)[to] = owned(e, to, &first) * all * each;
        sy_counts_extremes(e, c, r)[0] = sy_counts_extremes(e, c, r)[1] = all * each;
        for (int64_t x = 0; x < e->n_experts; x++)
            for (int64_t b = 0; b < h->max_sequences; b++)
                sy_counts_of(e, c, r, x)[b] = b < all ? each : 0;
        for (int64_t i = 0; r == e->comm.rank && i < h->experts * all; i++)
            c->local[i] = each;
    }
}

void sy_counts_clear(const struct sy_exchange *e, struct sy_exchange_counts *c) {
    const struct sy_exchange_shape *h = &e->shape;
    memset(c->local, 0, (size_t)(h->experts * h->max_sequences) * sizeof *c->local);
    for (int r = 0; r < e->comm.size; r++)
        memset(sy_counts_parts(e, c, r), 0,
               (size_t)(e->comm.size + 2 + e->n_experts * h->max_sequences) * sizeof *c->told);
}
