/* What calls of the ops of op_routing.h are: see work.h. */
#include "ops/work_make.h"

OP(router_fwd, sy_router_fwd) {
    BEGIN;
    VALUES(w, "logits", o->logits, o->tokens, o->experts);
    VALUES(w, "bias", o->bias, o->experts);
    VALUES(w, "given", o->given, o->tokens, o->top_k);
    VALUES(w, "s", o->s, o->tokens, o->experts);
    VALUES(w, "ids", o->ids, o->tokens, o->top_k);
    VALUES(w, "w", o->w, o->tokens, o->top_k);
}

OP(router_bwd, sy_router_bwd) {
    BEGIN;
    VALUES(w, "s", o->s, o->tokens, o->experts);
    VALUES(w, "ids", o->ids, o->tokens, o->top_k);
    VALUES(w, "dw", o->dw, o->tokens, o->top_k);
    VALUES(w, "aux", o->aux, o->tokens, o->experts);
    VIEW(w, "dlogits", o->dlogits, o->tokens, o->experts);
}

OP(router_losses, sy_router_losses) {
    BEGIN;
    int64_t tokens = o->sequences * o->seq_len;
    VALUES(w, "logits", o->logits, tokens, o->experts);
    VALUES(w, "s", o->s, tokens, o->experts);
    VALUES(w, "ids", o->ids, tokens, o->top_k);
    VALUES(w, "dl", o->dl, tokens, o->experts);
}

OP(routes_equal, sy_routes_equal) {
    BEGIN;
    VALUES(w, "was_ids", o->was_ids, o->tokens, o->top_k);
    VALUES(w, "ids", o->ids, o->tokens, o->top_k);
    VALUES(w, "was_w", o->was_w, o->tokens, o->top_k);
    VALUES(w, "w", o->w, o->tokens, o->top_k);
}

OP(count_routes, sy_count_routes) {
    BEGIN;
    VALUES(w, "ids", o->ids, o->tokens, o->top_k);
    BOTH(w, "counts", o->counts, 8, o->experts);
}

OP(topk, sy_topk) {
    BEGIN;
    VALUES(w, "x", o->x, o->rows, o->n);
    VALUES(w, "values", o->values, o->rows, o->k);
    VALUES(w, "ids", o->ids, o->rows, o->k);
}

OP(topk_bwd, sy_topk_bwd) {
    BEGIN;
    VALUES(w, "ids", o->ids, o->rows, o->k);
    VALUES(w, "dvalues", o->dvalues, o->rows, o->k);
    VALUES(w, "dx", o->dx, o->rows, o->n);
}

static void sort(const struct sy_route_sort *o, struct sy_op_work *w) {
    int64_t tokens = o->sequences * o->seq_len, segments = o->experts * o->sequences;
    /* an op's outputs are not there before it; without padding there are as many rows as routes */
    VALUES(w, "ids", o->ids, tokens, o->top_k);
    VALUES(w, "offset", o->offset, o->experts, o->sequences);
    VALUES(w, "count", o->count, segments);
    VALUES(w, "row", o->row, tokens, o->top_k);
    VALUES(w, "route", o->route, tokens * o->top_k);
}

OP(route_sort, sy_route_sort) {
    BEGIN;
    sort(o, w);
}
OP(route_forced, sy_route_forced) {
    BEGIN;
    sort(&o->sort, w);
}

OP(move_segments, sy_move_segments) {
    BEGIN;
    int64_t rows = 0;
    for (int64_t i = 0; i < o->segments && w->from; i++)
        rows += sy_work_count(w, o->rows + i);
    w->planned = !w->from;
    VALUES(w, "rows", o->rows, o->segments);
    SEEN(w, "from", o->from, 1, rows, o->row_bytes);
    SEEN(w, "to", o->to, 1, rows + o->clear_rows, o->row_bytes);
}

OP(permute, sy_permute) {
    BEGIN;
    int64_t rows = sy_work_rows(w, &o->rows);
    VALUES(w, "route", o->route, rows);
    VALUES(w, "w", o->w, rows);
    VIEW(w, "x", o->x, rows, o->d);
    VIEW(w, "y", o->y, rows, o->d);
}

OP(combine, sy_combine) {
    BEGIN;
    VALUES(w, "row", o->row, o->tokens, o->top_k);
    VALUES(w, "w", o->w, o->tokens, o->top_k);
    VIEW(w, "o", o->o, o->tokens * o->top_k, o->d);
    VIEW(w, "shared", o->shared, o->tokens, o->d);
    VIEW(w, "y", o->y, o->tokens, o->d);
}

OP(gather_f32, sy_gather_f32) {
    BEGIN;
    int64_t n = sy_work_used(w, o->used, o->n);
    VALUES(w, "index", o->index, n);
    VALUES(w, "x", o->x, n);
    VALUES(w, "y", o->y, n);
}

OP(rowdot, sy_rowdot) {
    BEGIN;
    int64_t rows = sy_work_rows(w, &o->rows);
    VIEW(w, "a", o->a, rows, o->d);
    VIEW(w, "b", o->b, rows, o->d);
    VALUES(w, "y", o->y, rows);
}
