/* Who sends which rows, and where they stand when they arrive: the plan of an exchange. See exchange.h. */
#include <assert.h>

#include "moe/exchange_counts.h"

struct plan { /* while it is made */
    struct sy_exchange *e;
    struct sy_exchange_counts *c;
    int64_t multiple; /* at which segments start */
};

/* First of a rank's own sequences in each round; behind them how many it has. */
static int64_t *of_rank(const struct sy_exchange *e, int rank) {
    return e->first_of_rank + (int64_t)rank * (e->shape.max_rounds + 1);
}

/* Routes of one rank to another's experts. */
static int64_t part(const struct plan *p, int from, int to) { return sy_counts_parts(p->e, p->c, from)[to]; }

/* The group's sequences in canonical order: round, rank, sequence. */
static void place_sequences(const struct plan *p) {
    struct sy_exchange *e = p->e;
    int64_t place = 0;
    for (int r = 0; r < e->comm.size; r++)
        of_rank(e, r)[0] = 0;
    for (int j = 0; j < e->rounds; j++)
        for (int r = 0; r < e->comm.size; r++) {
            int at = r * e->shape.max_rounds + j;
            e->sequences[at] = sy_counts_sequences(e, p->c, r)[j];
            e->first_sequence[at] = place;
            place += e->sequences[at];
            of_rank(e, r)[j + 1] = of_rank(e, r)[j] + e->sequences[at];
        }
    e->received.sequences = place;
    e->received.tokens = place * e->shape.seq_len;
}

static int64_t up_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

static void set_segment(struct sy_segments *to, int64_t rows, int64_t in_message, int64_t in_place) {
    int64_t i = to->n++;
    to->rows[i] = rows;
    to->in_message[i] = in_message;
    to->in_place[i] = in_place;
}

/* First row of (expert, round, rank, sequence) for this rank's experts: segments of a sequence start at
 * multiples; a moved segment is one sequence's, or, where nothing is padded, a (round, rank)'s. */
static void place_rows(const struct plan *p, struct sy_segments *arrived) {
    struct sy_exchange *e = p->e;
    int64_t row = 0, *offset = p->c->offset, s = 0;
    int64_t *at = p->c->next;
    for (int r = 0; r < e->comm.size; r++)
        at[r] = e->path == SY_PATH_EQUAL_PADDED ? r * e->padded_rows : e->recv_at[r];
    arrived->n = 0;
    for (int64_t x = 0; x < e->n_experts; x++)
        for (int j = 0; j < e->rounds; j++)
            for (int r = 0; r < e->comm.size; r++)
                for (int64_t b = of_rank(e, r)[j]; b < of_rank(e, r)[j + 1]; b++) {
                    int64_t rows = sy_counts_of(e, p->c, r, x)[b];
                    set_segment(arrived, rows, at[r], row);
                    offset[s++] = row;
                    at[r] += rows;
                    row += up_to(rows, p->multiple);
                }
    offset[s] = row;
    e->received.rows = row;
}

static void place_leaving(const struct plan *p, struct sy_segments *leaving) {
    struct sy_exchange *e = p->e;
    int64_t row = 0, sequences = of_rank(e, e->comm.rank)[e->rounds];
    leaving->n = 0;
    for (int to = 0; to < e->comm.size; to++) {
        int64_t first, n, at = e->path == SY_PATH_EQUAL_PADDED ? to * e->padded_rows : e->send_at[to];
        sy_experts_share(e->shape.experts, to, e->comm.size, &first, &n);
        for (int64_t x = first; x < first + n; x++)
            for (int64_t b = 0; b < sequences; b++) {
                int64_t rows = p->c->local[x * sequences + b];
                set_segment(leaving, rows, at, row);
                at += rows;
                row += up_to(rows, p->multiple);
            }
    }
}

static void place_parts(const struct plan *p) {
    struct sy_exchange *e = p->e;
    e->send_at[0] = e->recv_at[0] = 0;
    for (int r = 0; r < e->comm.size; r++) {
        e->recv_at[r + 1] = e->recv_at[r] + part(p, r, e->comm.rank);
        e->send_at[r + 1] = e->send_at[r] + part(p, e->comm.rank, r);
    }
}

static void set_even(const struct plan *p) {
    struct sy_exchange *e = p->e;
    int64_t all = e->recv_at[e->comm.size];
    e->even = all > 0;
    for (int64_t x = 0; x < e->n_experts; x++) {
        int64_t rows = 0;
        for (int r = 0; r < e->comm.size; r++)
            for (int64_t b = 0; b < of_rank(e, r)[e->rounds]; b++)
                rows += sy_counts_of(e, p->c, r, x)[b];
        e->even &= rows * e->n_experts == all;
    }
}

/* Whether every (rank, expert) has as many rows. */
static int equal_blocks(const struct plan *p) {
    int64_t rows = sy_counts_extremes(p->e, p->c, 0)[0];
    for (int r = 0; r < p->e->comm.size; r++) {
        const int64_t *extremes = sy_counts_extremes(p->e, p->c, r);
        if (extremes[0] != rows || extremes[1] != rows)
            return 0;
    }
    return 1;
}

static int64_t largest_part(const struct plan *p) {
    int64_t most = 0;
    for (int r = 0; r < p->e->comm.size; r++)
        for (int to = 0; to < p->e->comm.size; to++)
            most = part(p, r, to) > most ? part(p, r, to) : most;
    return most;
}

static enum sy_exchange_path path_of(const struct plan *p, int closed) {
    if (closed)
        return SY_PATH_FORCED;
    if (p->e->rounds == 1 && equal_blocks(p))
        return SY_PATH_EQUAL;
    return p->e->shape.pad ? SY_PATH_EQUAL_PADDED : SY_PATH_STANDARD;
}

static void count_path(enum sy_exchange_path path, struct sy_moe_counters *counters) {
    counters->path_forced += path == SY_PATH_FORCED;
    counters->path_equal += path == SY_PATH_EQUAL;
    counters->path_equal_padded += path == SY_PATH_EQUAL_PADDED;
    counters->path_standard += path == SY_PATH_STANDARD;
}

/* Rows that every rank must have room for: of the experts that get the most, and of a padded message. */
static int64_t most_rows(const struct plan *p) {
    const struct sy_exchange *e = p->e;
    int64_t most = e->path == SY_PATH_EQUAL_PADDED ? e->comm.size * e->padded_rows : 0;
    for (int to = 0; to < e->comm.size; to++) {
        int64_t rows = 0;
        for (int r = 0; r < e->comm.size; r++)
            rows += part(p, r, to);
        most = rows > most ? rows : most;
    }
    return most;
}

/* --- to the device -------------------------------------------------------------------------------------- */

static void copy(const struct sy_exec *x, int64_t *to, const int64_t *from, int64_t n) {
    x->device->copy(x->device, to, from, (size_t)n * sizeof *to);
}

static void copy_segments(const struct sy_exec *x, const struct sy_segments *from, struct sy_segments *to) {
    to->n = from->n;
    copy(x, to->rows, from->rows, from->n);
    copy(x, to->in_message, from->in_message, from->n);
    copy(x, to->in_place, from->in_place, from->n);
}

static void copy_tiles(const struct sy_exec *x, const struct plan *p) {
    const struct sy_dispatch *d = &p->e->received;
    int64_t n = 0;
    for (int64_t e = 0; e < d->experts; e++)
        for (int64_t i = p->c->offset[e * d->sequences]; i < p->c->offset[(e + 1) * d->sequences];
             i += SY_TILE_ROWS)
            p->c->tile[n++] = (struct sy_tile){e, i};
    p->c->n_tiles = n;
    x->device->copy(x->device, d->tile, p->c->tile, (size_t)n * sizeof *d->tile);
    copy(x, d->n_tiles, &p->c->n_tiles, 1);
}

/* Everything that ops read. */
static void place(const struct sy_exec *x, const struct plan *p) {
    struct sy_exchange *e = p->e;
    int64_t leaving = e->shape.experts * e->shape.max_sequences, *n = p->c->numbers;
    struct sy_segments out = {0, n, n + leaving, n + 2 * leaving};
    n += 3 * leaving;
    int64_t arriving = e->n_experts * e->received.sequences;
    struct sy_segments in = {0, n, n + arriving, n + 2 * arriving};
    place_leaving(p, &out);
    place_rows(p, &in);
    copy_segments(x, &out, &e->leaving);
    copy_segments(x, &in, &e->arrived);
    copy(x, e->received.offset, p->c->offset, arriving + 1);
    copy_tiles(x, p);
}

/* More rows than are planned: refused, or made for none. */
static sy_status overflow(const struct plan *p) {
    struct sy_exchange *e = p->e;
    if (!e->shape.goes_on)
        SY_FAIL(SY_ERR_MEMORY, "the experts of a rank get %lld rows, padding included, and %lld are planned",
                (long long)e->most, (long long)e->shape.max_rows);
    sy_counts_clear(e, p->c);
    e->path = SY_PATH_STANDARD;
    e->padded_rows = 0;
    return SY_OK;
}

sy_status sy_exchange_plan(const struct sy_exec *x, struct sy_exchange *e, struct sy_exchange_counts *scratch,
                           const struct sy_dispatch *d, const struct sy_sequences *sequences, int forced) {
    const struct sy_exchange_shape *s = &e->shape;
    assert(d->sequences <= s->max_sequences && d->experts == s->experts &&
           sequences->rounds <= s->max_rounds);
    struct plan p = {e, scratch, x->device->segment};
    int closed = forced && sequences->known && sy_dispatch_is_closed(s->seq_len, s->experts, s->top_k);
    if (closed)
        sy_counts_close(e, scratch, sequences);
    else
        SY_TRY(sy_counts_exchange(x, e, scratch, d, sequences));
    e->rounds = sequences->rounds;
    place_sequences(&p);
    e->path = path_of(&p, closed);
    e->padded_rows = e->path == SY_PATH_EQUAL_PADDED ? largest_part(&p) : 0;
    e->most = most_rows(&p);
    if (s->max_rows > 0 && e->most > s->max_rows)
        SY_TRY(overflow(&p));
    else
        count_path(e->path, e->counters);
    place_parts(&p);
    set_even(&p);
    place(x, &p);
    return SY_OK;
}
