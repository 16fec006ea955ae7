/* Made-up calls of the ops of op_direct.h: see calls_make.h. */
#include "ops/calls_make.h"

static int typical(const struct sy_make *m) { return m->size == SY_CALL_TYPICAL; }

struct scene { /* ranks with a few sequences each, and their routes */
    int64_t ranks, sequences, seq_len, tokens, experts, top_k;
};

static struct scene some_scene(struct sy_make *m) {
    struct scene s = {.ranks = typical(m) ? 4 : 1 + sy_make_below(m, SY_CALL_ITEMS),
                      .sequences = typical(m) ? 2 : 1 + sy_make_below(m, 3),
                      .seq_len = typical(m) ? 128 : 1 + sy_make_below(m, 20),
                      .experts = typical(m) ? 64 : 1 + sy_make_below(m, 17)};
    s.tokens = s.sequences * s.seq_len;
    s.top_k = typical(m) ? 6 : 1 + sy_make_below(m, s.experts < 5 ? s.experts : 5);
    return s;
}

void sy_make_route_slots(struct sy_make *m, struct sy_route_slots *op) {
    struct scene s = some_scene(m);
    *op = (struct sy_route_slots){.sequences = s.sequences, .seq_len = s.seq_len, .experts = s.experts};
    op->top_k = s.top_k;
    op->ranks = s.ranks;
    op->ids = sy_make_ids(m, s.tokens, s.experts, s.top_k);
    op->token = sy_make_i32(m, "token", s.ranks * s.tokens, 1000);
    op->first = sy_make_i64(m, "first", s.ranks * (s.sequences + 1), 99);
}

/* Slots by the host that made the ids up: every `step`-th token, from `from` on. */
static int64_t fill_slots(const struct scene *s, int64_t from, int64_t step, int32_t *token, int64_t *first) {
    int64_t n = 0;
    for (int64_t t = 0; t < s->tokens; t++) {
        if (t % s->seq_len == 0)
            first[t / s->seq_len] = n;
        if (t % step == from % step)
            token[n++] = (int32_t)t;
    }
    return first[s->sequences] = n;
}

void sy_make_send_slots(struct sy_make *m, struct sy_send_slots *op) {
    struct scene s = some_scene(m);
    int64_t d = sy_make_side(m, 512), slots = s.ranks * s.tokens, k = s.top_k;
    *op = (struct sy_send_slots){.sequences = s.sequences, .tokens = s.tokens, .top_k = k, .ranks = s.ranks};
    op->d = d;
    int32_t *token = sy_make_i32(m, "token", slots, 1);
    int64_t *first = sy_make_i64(m, "first", s.ranks * (s.sequences + 1), 0);
    op->x = sy_make_mat(m, "x", m->x->dtype, s.tokens, d, SY_HOLDS_ANY);
    int said = !sy_make_coin(m);
    const int32_t *ids = sy_make_ids(m, s.tokens, s.experts, k);
    op->ids = said ? ids : NULL;
    op->row = said ? sy_make_i32(m, "row", s.tokens * k, 100) : NULL;
    op->w = said ? sy_make_f32(m, "w", s.tokens * k, SY_HOLDS_ANY) : NULL;
    for (int64_t r = 0; r < s.ranks; r++) {
        struct sy_window *w = &m->c->list.window[r];
        w->rows = sy_make_mat(m, "to", m->x->dtype, 1, s.tokens * d, SY_HOLDS_ANY).data;
        w->ids = sy_make_i32(m, "to ids", s.tokens * k, 77);
        w->home = sy_make_i32(m, "to home", s.tokens * k, 77);
        w->w = sy_make_f32(m, "to w", s.tokens * k, SY_HOLDS_ANY);
        w->first = sy_make_i64(m, "to first", s.sequences + 1, 5);
        if (m->filling)
            fill_slots(&s, r, 1 + r, (int32_t *)sy_make_host(m, token) + r * s.tokens,
                       (int64_t *)sy_make_host(m, first) + r * (s.sequences + 1));
    }
    op->token = token;
    op->first = first;
    op->to = m->c->list.window;
}

void sy_make_route_arrived(struct sy_make *m, struct sy_route_arrived *op) {
    struct scene s = some_scene(m);
    int64_t most = s.ranks * s.tokens * s.top_k, n = 1 + sy_make_below(m, s.experts), bins;
    *op = (struct sy_route_arrived){
        .ranks = s.ranks, .max_tokens = s.tokens, .max_sequences = s.sequences, .top_k = s.top_k};
    op->experts = n;
    op->first_expert = sy_make_below(m, s.experts - n + 1);
    op->max_rows = sy_make_coin(m) ? most / 3 : most;
    op->sequences = s.ranks * s.sequences;
    op->ids = sy_make_ids(m, s.ranks * s.tokens, s.experts, s.top_k);
    op->home = sy_make_i32(m, "home", most, 1000);
    int64_t *first = sy_make_i64(m, "first", s.ranks * (s.sequences + 1), 0);
    for (int64_t i = 0; i < op->sequences; i++) { /* round by round, or rank by rank */
        m->c->list.arrived.source[i] = (int32_t)(i % s.ranks);
        m->c->list.arrived.sequence[i] = (int32_t)(i / s.ranks);
    }
    for (int64_t r = 0; m->filling && r < s.ranks; r++) { /* some slots of each sequence */
        int64_t *at = (int64_t *)sy_make_host(m, first) + r * (s.sequences + 1);
        for (int64_t b = 0; b < s.sequences; b++)
            at[b + 1] = at[b] + sy_make_value_below(m, s.seq_len + 1);
    }
    bins = n * op->sequences;
    int64_t rows = most + bins * (m->x->device->segment - 1);
    op->source = m->c->list.arrived.source;
    op->sequence = m->c->list.arrived.sequence;
    op->first = first;
    op->offset = sy_make_i64(m, "offset", bins + 1, 99);
    op->route = sy_make_i32(m, "route", rows, 1000);
    op->back = sy_make_i32(m, "back", rows, 1000);
    op->tile = sy_make_take(m, "tile", SY_WORDS_BYTES, rows / SY_TILE_ROWS + n, sizeof *op->tile);
    op->n_tiles = sy_make_i64(m, "n_tiles", 1, 97);
    op->overflow = sy_make_i64(m, "overflow", 1, sy_make_coin(m) ? 55 : 0);
}

/* Rows of whose routes the host made up: each to another row, some of them padding. */
void sy_make_return_rows(struct sy_make *m, struct sy_return_rows *op) {
    struct scene s = some_scene(m);
    int64_t per = s.tokens * s.top_k, rows = s.ranks * per, bytes = 2 * sy_make_side(m, 512);
    *op = (struct sy_return_rows){.rows = rows, .row_bytes = bytes, .top_k = s.top_k, .max_tokens = s.tokens};
    op->ranks = s.ranks;
    int64_t *used = sy_make_i64(m, "used", 1, rows - sy_make_below(m, rows));
    int32_t *route = sy_make_i32(m, "route", rows, 1), *back = sy_make_i32(m, "back", rows, 1);
    for (int64_t i = 0; m->filling && i < rows; i++) {
        ((int32_t *)sy_make_host(m, route))[i] =
            sy_make_value_below(m, 8) || typical(m) ? (int32_t)(rows - 1 - i) : -1;
        ((int32_t *)sy_make_host(m, back))[i] = (int32_t)(i % per);
    }
    char *from = sy_make_take(m, "from", SY_WORDS_BYTES, rows * bytes, 1);
    unsigned char *f = sy_make_host(m, from);
    for (int64_t i = 0; m->filling && i < rows * bytes; i++)
        f[i] = (unsigned char)sy_make_value_below(m, 256);
    for (int64_t r = 0; r < s.ranks; r++)
        m->c->list.to[r] = sy_make_take(m, "to", SY_WORDS_BYTES, per * bytes, 1);
    op->used = used;
    op->route = route;
    op->back = back;
    op->from = from;
    op->to = m->c->list.to;
}
