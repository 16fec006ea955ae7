/* Made-up calls of the ops of op_routing.h: see calls_make.h. */
#include "ops/calls_make.h"

static int typical(const struct sy_make *m) { return m->size == SY_CALL_TYPICAL; }

/* Experts and how many of them a token has. */
static int64_t some_experts(struct sy_make *m, int64_t *top_k) {
    static const int64_t experts[] = {1, 2, 3, 8, 12, 16, 63, 64, 65, 96, 128, 130};
    int64_t e = typical(m) ? 64 : experts[sy_make_below(m, 12)];
    *top_k = typical(m) ? 6 : 1 + sy_make_below(m, e < 24 ? e : 24);
    return e;
}

/* The same, or more than a warp's lanes can hold, than a block has threads for the experts of sequences. */
static int64_t many_experts(struct sy_make *m, int64_t *top_k) {
    int64_t e = some_experts(m, top_k);
    return typical(m) || sy_make_below(m, 6) ? e : 300 * (1 + sy_make_below(m, 2));
}

/* --- the router ----------------------------------------------------------------------------------------- */

static void limited(struct sy_make *m, struct sy_router_fwd *op) {
    int64_t e = op->experts;
    if (e % 4 != 0 || e < 8 || sy_make_below(m, 3) == 0)
        return;
    op->groups = e % 8 == 0 && e >= 16 && sy_make_below(m, 2) ? 8 : 4;
    op->limited_groups = typical(m) ? op->groups / 2 : 1 + sy_make_below(m, op->groups);
    op->group_top2_sum = (int)sy_make_below(m, 2);
    int64_t most = e / op->groups * op->limited_groups;
    op->top_k = op->top_k < most ? op->top_k : most;
}

void sy_make_router_fwd(struct sy_make *m, struct sy_router_fwd *op) {
    int64_t k, e = many_experts(m, &k), seq_len = typical(m) ? 128 : 1 + sy_make_below(m, 20), tokens,
               sequences;
    sequences = typical(m) ? 4 : 1 + sy_make_below(m, 4);
    tokens = sequences * seq_len;
    *op = (struct sy_router_fwd){.tokens = tokens,
                                 .experts = e,
                                 .top_k = k,
                                 .score_func = (enum sy_score_func)sy_make_below(m, 3),
                                 .route_norm = (int)sy_make_below(m, 2),
                                 .route_scale = 2.5f,
                                 .seq_len = seq_len,
                                 .layer = sy_make_below(m, 3),
                                 .layers = 3};
    limited(m, op);
    int ties = !typical(m) && sy_make_coin(m);                       /* logits of three values alone */
    int way = typical(m) || ties ? 0 : 1 + (int)sy_make_below(m, 3); /* chosen, chosen, forced, given */
    op->forced = way == 2;
    op->given = way == 3 ? sy_make_ids(m, tokens, e, op->top_k) : NULL;
    op->chosen_only = sy_make_coin(m);
    float *logits = sy_make_f32(m, "logits", tokens * e, SY_HOLDS_LOGITS), *host = sy_make_host(m, logits);
    for (int64_t i = 0; ties && m->filling && i < tokens * e; i++)
        host[i] = (float)sy_make_value_below(m, 3);
    op->logits = logits;
    op->bias = ties || sy_make_coin(m) ? NULL : sy_make_f32(m, "bias", e, SY_HOLDS_SHARES);
    op->s = sy_make_f32(m, "s", tokens * e, SY_HOLDS_ANY);
    op->ids = sy_make_i32(m, "chosen", tokens * op->top_k, 100);
    op->w = sy_make_f32(m, "w", tokens * op->top_k, SY_HOLDS_ANY);
    op->place = sy_make_coin(m) ? sy_make_i32(m, "place", sequences, 50) : NULL;
    op->bad_token = sy_make_i64(m, "bad_token", 1, sy_make_coin(m) ? sy_make_below(m, 400) : SY_NO_TOKEN);
}

void sy_make_router_bwd(struct sy_make *m, struct sy_router_bwd *op) {
    int64_t k, e = some_experts(m, &k), tokens = typical(m) ? 512 : 1 + sy_make_below(m, 60);
    *op = (struct sy_router_bwd){.tokens = tokens,
                                 .experts = e,
                                 .top_k = k,
                                 .score_func = (enum sy_score_func)sy_make_below(m, 3),
                                 .route_norm = (int)sy_make_below(m, 2),
                                 .route_scale = 2.5f};
    op->s = sy_make_f32(m, "s", tokens * e, SY_HOLDS_SHARES);
    op->ids = sy_make_ids(m, tokens, e, k);
    op->dw = sy_make_f32(m, "dw", tokens * k, SY_HOLDS_ANY);
    op->aux = sy_make_coin(m) ? NULL : sy_make_f32(m, "aux", tokens * e, SY_HOLDS_ANY);
    op->dlogits = sy_make_mat(m, "dlogits", m->x->dtype, tokens, e, SY_HOLDS_ANY);
}

void sy_make_router_losses(struct sy_make *m, struct sy_router_losses *op) {
    int64_t k, e = some_experts(m, &k), sequences = typical(m) ? 4 : 1 + sy_make_below(m, 4);
    int64_t seq_len = typical(m) ? 128 : 1 + sy_make_below(m, 140), tokens = sequences * seq_len;
    *op = (struct sy_router_losses){.sequences = sequences,
                                    .seq_len = seq_len,
                                    .experts = e,
                                    .top_k = k,
                                    .score_func = (enum sy_score_func)sy_make_below(m, 3)};
    op->balance = sy_make_below(m, 4) ? 0.01f : 0.0f;
    op->z = sy_make_below(m, 4) ? 0.001f : 0.0f;
    op->logits = sy_make_f32(m, "logits", tokens * e, SY_HOLDS_LOGITS);
    op->s = sy_make_f32(m, "s", tokens * e, SY_HOLDS_SHARES);
    op->ids = sy_make_ids(m, tokens, e, k);
    op->dl = sy_make_f32(m, "dl", tokens * e, SY_HOLDS_ANY);
    if (sy_make_coin(m))
        return;
    op->loss = sy_make_i64(m, "loss", 2, 5);
    op->n_bad = sy_make_i64(m, "n_bad", 1, 3);
}

/* --- routes compared and counted ------------------------------------------------------------------------ */

void sy_make_routes_equal(struct sy_make *m, struct sy_routes_equal *op) {
    int64_t k, e = some_experts(m, &k), seq_len = typical(m) ? 512 : 1 + sy_make_below(m, 20);
    int64_t sequences = typical(m) ? 4 : 1 + sy_make_below(m, 4), n = sequences * seq_len * k;
    int32_t *ids = sy_make_ids(m, sequences * seq_len, e, k), *was = sy_make_i32(m, "was_ids", n, e);
    float *w = sy_make_f32(m, "w", n, SY_HOLDS_ANY), *was_w = sy_make_f32(m, "was_w", n, SY_HOLDS_ANY);
    *op = (struct sy_routes_equal){sequences * seq_len, seq_len, k,   was, ids, was_w, w, NULL,
                                   sy_make_below(m, 3), 3,       NULL};
    op->place = sy_make_coin(m) ? sy_make_i32(m, "place", sequences, 50) : NULL;
    op->changed = sy_make_i64(m, "changed", 3, sy_make_coin(m) ? 40 : SY_NO_TOKEN);
    int64_t changes = sy_make_below(m, 4) + typical(m);
    if (!m->filling)
        return;
    memcpy(sy_make_host(m, was), sy_make_host(m, ids), (size_t)n * sizeof *ids);
    memcpy(sy_make_host(m, was_w), sy_make_host(m, w), (size_t)n * sizeof *w);
    for (; changes > 0; changes--) { /* one bit of an id or of a weight */
        uint32_t *words = sy_make_host(m, sy_make_value_below(m, 2) ? (void *)was : (void *)was_w);
        words[sy_make_value_below(m, n)] ^= 1;
    }
}

void sy_make_count_routes(struct sy_make *m, struct sy_count_routes *op) {
    int64_t k, e = some_experts(m, &k), tokens = typical(m) ? 2048 : sy_make_below(m, 60);
    int even = sy_make_coin(m);
    int32_t *ids = even ? sy_make_i32(m, "ids", tokens * k, 1) : sy_make_ids(m, tokens, e, k),
            *host = sy_make_host(m, ids);
    for (int64_t i = 0; even && m->filling && i < tokens * k; i++)
        host[i] = (int32_t)(i % e);
    *op = (struct sy_count_routes){.tokens = tokens, .experts = e, .top_k = k, .ids = ids};
    int which = typical(m) ? 0 : (int)sy_make_below(m, 3); /* both, one of them */
    op->equal = which == 1 ? NULL : sy_make_i64(m, "equal", 1, 7);
    op->counts = which == 2 ? NULL : sy_make_i64(m, "counts", e, 11);
}

void sy_make_topk(struct sy_make *m, struct sy_topk *op) {
    int64_t rows = typical(m) ? 256 : 1 + sy_make_below(m, 40), n = sy_make_side(m, 512);
    *op = (struct sy_topk){.rows = rows, .n = n, .k = typical(m) ? 8 : 1 + sy_make_below(m, n)};
    op->smallest = sy_make_coin(m);
    op->sorted = sy_make_coin(m);
    op->x = sy_make_f32(m, "x", rows * n, sy_make_coin(m) ? SY_HOLDS_ANY : SY_HOLDS_LOGITS);
    op->values = sy_make_coin(m) ? NULL : sy_make_f32(m, "values", rows * op->k, SY_HOLDS_ANY);
    op->ids = sy_make_i32(m, "chosen", rows * op->k, 100);
    op->bad_row = sy_make_i64(m, "bad_row", 1, 77);
}

void sy_make_topk_bwd(struct sy_make *m, struct sy_topk_bwd *op) {
    int64_t rows = typical(m) ? 512 : 1 + sy_make_below(m, 40), n = sy_make_side(m, 512);
    int64_t k = typical(m) ? 8 : 1 + sy_make_below(m, n);
    *op = (struct sy_topk_bwd){.rows = rows, .n = n, .k = k, .ids = sy_make_ids(m, rows, n, k)};
    op->dvalues = sy_make_f32(m, "dvalues", rows * k, SY_HOLDS_ANY);
    op->dx = sy_make_f32(m, "dx", rows * n, SY_HOLDS_ANY);
}

/* --- rows of routes ------------------------------------------------------------------------------------- */

static void take_places(struct sy_make *m, struct sy_route_sort *op) {
    int64_t bins = op->experts * op->sequences, n = op->sequences * op->seq_len * op->top_k;
    int64_t rows = n + bins * (m->x->device->segment - 1), tiles = rows / SY_TILE_ROWS + op->experts;
    op->offset = sy_make_i64(m, "offset", bins + 1, 99);
    op->count = sy_make_coin(m) ? NULL : sy_make_i64(m, "count", bins, 98);
    op->row = sy_make_i32(m, "row", n, 1000);
    op->route = sy_make_i32(m, "route", rows, 1000);
    op->tile = sy_make_take(m, "tile", SY_WORDS_BYTES, tiles, sizeof *op->tile);
    op->n_tiles = sy_make_i64(m, "n_tiles", 1, 97);
}

void sy_make_route_sort(struct sy_make *m, struct sy_route_sort *op) {
    int64_t k, e = many_experts(m, &k);
    *op = (struct sy_route_sort){.sequences = typical(m) ? 4 : sy_make_below(m, 5), .experts = e, .top_k = k};
    op->seq_len = typical(m) ? 512 : 1 + sy_make_below(m, op->sequences == 1 ? 5000 : 300);
    op->ids = sy_make_ids(m, op->sequences * op->seq_len, e, k);
    take_places(m, op);
}

/* Forced balance: e of route i of its sequence is i mod E, ascending in each token. */
void sy_make_route_forced(struct sy_make *m, struct sy_route_forced *op) {
    struct sy_route_sort *s = &op->sort;
    int64_t k, e = some_experts(m, &k);
    *s = (struct sy_route_sort){
        .sequences = typical(m) ? 4 : 1 + sy_make_below(m, 4), .experts = e, .top_k = k};
    s->seq_len = e * (typical(m) ? 8 : 1 + sy_make_below(m, 3));
    int64_t n = s->sequences * s->seq_len * k;
    int32_t *ids = sy_make_i32(m, "ids", n, 1), *host = sy_make_host(m, ids);
    for (int64_t i = 0; m->filling && i < n; i++) {
        int64_t t = i / k % s->seq_len, first = t * k % e, wrapped = first + k > e ? first + k - e : 0,
                j = i % k;
        host[i] = (int32_t)(j < wrapped ? j : first + j - wrapped);
    }
    s->ids = ids;
    take_places(m, s);
}

void sy_make_move_segments(struct sy_make *m, struct sy_move_segments *op) {
    enum { MOST = 12 };
    int64_t n = typical(m) ? MOST : sy_make_below(m, MOST + 1), bytes = 2 * sy_make_side(m, 512),
            at[2] = {0, 0};
    int64_t *rows = sy_make_i64(m, "rows", n, 0), *from = sy_make_i64(m, "from_at", n, 0),
            *to = sy_make_i64(m, "to_at", n, 0);
    int64_t *host[3] = {sy_make_host(m, rows), sy_make_host(m, from), sy_make_host(m, to)};
    for (int64_t i = 0; i < n; i++) {
        int64_t size = typical(m) ? 64 : sy_make_below(m, 30);
        if (m->filling) {
            host[0][i] = size;
            host[1][i] = at[0];
            host[2][n - 1 - i] = at[1]; /* the other way round below */
        }
        at[0] += size + sy_make_gap(m);
        at[1] += 30 + typical(m) * 34;
    }
    int64_t to_rows = at[1] + 1;
    *op = (struct sy_move_segments){
        .segments = n, .row_bytes = bytes, .rows = rows, .from_at = from, .to_at = to};
    op->from = sy_make_take(m, "from", SY_WORDS_BYTES, (at[0] + 1) * bytes, 1);
    char *to_memory = sy_make_take(m, "to", SY_WORDS_BYTES, to_rows * bytes, 1);
    op->to = to_memory;
    op->clear_rows = sy_make_coin(m) ? 0 : to_rows;
    unsigned char *f = sy_make_host(m, op->from), *t = sy_make_host(m, to_memory);
    for (int64_t i = 0; m->filling && i < (at[0] + 1) * bytes; i++)
        f[i] = (unsigned char)sy_make_value_below(m, 256);
    if (m->filling)
        memset(t, 0x7b, (size_t)(to_rows * bytes));
}

/* The places of ids, by the host that made them up. */
static struct sy_rows sorted(struct sy_make *m, struct sy_route_sort *s) {
    int64_t k, b_count = s->sequences = typical(m) ? 2 : 1 + sy_make_below(m, 3), e = some_experts(m, &k),
               at = 0;
    s->experts = e;
    s->top_k = k;
    s->seq_len = typical(m) ? 128 : 1 + sy_make_below(m, 30);
    s->ids = sy_make_ids(m, b_count * s->seq_len, e, k);
    take_places(m, s);
    int64_t n = b_count * s->seq_len * k, most = n + e * b_count * (m->x->device->segment - 1);
    struct sy_rows rows = {.groups = e, .sequences = b_count, .max_rows = most, .offset = s->offset};
    rows.tile = s->tile;
    rows.n_tiles = s->n_tiles;
    if (!m->filling)
        return rows;
    const int32_t *ids = sy_make_host(m, s->ids);
    int32_t *row = sy_make_host(m, s->row), *route = sy_make_host(m, s->route);
    int64_t *offset = sy_make_host(m, s->offset);
    for (int64_t bin = 0; bin < e * b_count; bin++) {
        offset[bin] = at;
        for (int64_t i = bin % b_count * s->seq_len * k; i < (bin % b_count + 1) * s->seq_len * k; i++)
            if (ids[i] == bin / b_count) {
                row[i] = (int32_t)at;
                route[at++] = (int32_t)i;
            }
        for (; at % m->x->device->segment != 0; at++)
            route[at] = -1;
    }
    offset[e * b_count] = at;
    return rows;
}

void sy_make_permute(struct sy_make *m, struct sy_permute *op) {
    struct sy_route_sort s = {0};
    int64_t d = sy_make_side(m, 256);
    *op = (struct sy_permute){.rows = sorted(m, &s), .d = d};
    int64_t tokens = s.sequences * s.seq_len;
    op->top_k = s.top_k;
    op->route = s.route;
    op->w = sy_make_coin(m) ? NULL : sy_make_f32(m, "w", tokens * s.top_k, SY_HOLDS_ANY);
    op->x = sy_make_mat(m, "x", m->x->dtype, tokens, d, SY_HOLDS_ANY);
    op->y = sy_make_mat(m, "y", m->x->dtype, op->rows.max_rows, d, SY_HOLDS_ANY);
    op->tokens = tokens;
    op->row = sy_make_coin(m) ? NULL : s.row;
}

void sy_make_combine(struct sy_make *m, struct sy_combine *op) {
    struct sy_route_sort s = {0};
    struct sy_rows rows = sorted(m, &s);
    int64_t d = sy_make_side(m, 256), tokens = s.sequences * s.seq_len, e = s.experts;
    *op = (struct sy_combine){
        .tokens = tokens, .top_k = s.top_k, .d = d, .experts = e, .ids = s.ids, .row = s.row};
    op->groups = !sy_make_coin(m) ? 0 : e % 4 == 0 ? 4 : e;
    op->w = sy_make_coin(m) ? NULL : sy_make_f32(m, "w", tokens * s.top_k, SY_HOLDS_ANY);
    op->o = sy_make_mat(m, "o", m->x->dtype, rows.max_rows, d, SY_HOLDS_ANY);
    if (!sy_make_coin(m))
        op->shared = sy_make_mat(m, "shared", m->x->dtype, tokens, d, SY_HOLDS_ANY);
    op->y = sy_make_mat(m, "y", m->x->dtype, tokens, d, SY_HOLDS_ANY);
}

void sy_make_gather_f32(struct sy_make *m, struct sy_gather_f32 *op) {
    int64_t n = typical(m) ? 65536 : 1 + sy_make_below(m, 300), from = 1 + sy_make_below(m, 2 * n);
    int32_t *index = sy_make_i32(m, "index", n, from), *host = sy_make_host(m, index);
    for (int64_t i = 0; m->filling && !typical(m) && i < n; i++)
        host[i] = sy_make_value_below(m, 5) ? host[i] : -1;
    *op = (struct sy_gather_f32){.n = n, .index = index, .x = sy_make_f32(m, "x", from, SY_HOLDS_ANY)};
    op->used = sy_make_coin(m) ? sy_make_i64(m, "used", 1, sy_make_below(m, n + 1)) : NULL;
    op->y = sy_make_f32(m, "y", n, SY_HOLDS_ANY);
}

void sy_make_rowdot(struct sy_make *m, struct sy_rowdot *op) {
    struct sy_make_rows r = sy_make_some_rows(m, 30, 0);
    int64_t d = sy_make_side(m, 512);
    *op = (struct sy_rowdot){.rows = r.rows, .d = d};
    op->a = sy_make_mat(m, "a", m->x->dtype, r.rows.max_rows, d, SY_HOLDS_ANY);
    op->b = sy_make_mat(m, "b", m->x->dtype, r.rows.max_rows, d, SY_HOLDS_ANY);
    op->y = sy_make_f32(m, "y", r.rows.max_rows, SY_HOLDS_ANY);
}
