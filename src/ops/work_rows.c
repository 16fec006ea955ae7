/* What calls of the products (op_rows.h) and of the ops of op_direct.h are: see work.h. */
#include "ops/work_make.h"

static double product(int64_t m, int64_t n, int64_t k) { return 2.0 * (double)m * (double)n * (double)k; }

OP(linear, sy_linear) {
    BEGIN;
    int64_t rows = sy_work_rows(w, &o->rows);
    VIEW(w, "x", o->x, rows, o->k);
    VALUES(w, "route", o->named.route, rows);
    VIEW(w, "w", o->w.m, o->rows.groups, o->k, o->n);
    VALUES(w, "bias", o->bias, o->n);
    VIEW(w, "residual", o->residual, rows, o->n);
    VIEW(w, "y", o->y, rows, o->n);
    if (o->epilogue == SY_EPILOGUE_SWIGLU)
        VIEW(w, "h", o->h, rows, o->n / 2);
    w->flops = product(rows, o->n, o->k);
}

OP(linear_dx, sy_linear_dx) {
    static const char *const names[SY_DX_MAPS][2] = {
        {"dy0", "w0"}, {"dy1", "w1"}, {"dy2", "w2"}, {"dy3", "w3"}};
    BEGIN;
    int64_t rows = sy_work_rows(w, &o->rows);
    for (int i = 0; i < o->n_maps; i++) {
        const struct sy_dx_map *m = &o->map[i];
        VIEW(w, o->n_maps > 1 ? names[i][0] : "dy", m->dy, rows, m->k);
        VIEW(w, o->n_maps > 1 ? names[i][1] : "w", m->w.m, o->rows.groups, m->k, o->n);
        w->flops += product(rows, o->n, m->k);
    }
    if (o->epilogue == SY_EPILOGUE_SWIGLU_BACK) {
        VIEW(w, "gu", o->gu, rows, 2 * o->n);
        VALUES(w, "w of routes", o->w, rows);
        VIEW(w, "dgu", o->dgu, rows, 2 * o->n);
        VIEW(w, "hw", o->hw, rows, o->n);
        VALUES(w, "dw", o->dw, rows);
    } else {
        VIEW(w, "dx", o->dx, rows, o->n);
    }
}

OP(linear_dw, sy_linear_dw) {
    BEGIN;
    for (int i = 0; i < o->n_problems; i++) {
        const struct sy_dw *p = &o->problem[i];
        struct sy_op_work one = {.from = w->from};
        int64_t rows = sy_work_segments(&one, p);
        VIEW(&one, "dy", p->dy, rows, p->m);
        VIEW(&one, "x", p->x, rows, p->n);
        VALUES(&one, "acc", p->acc, p->rows.groups, p->m, p->n);
        sy_work_add(&one, "c", p->c, 4, 1 + (p->fold != 0), DIMS(p->rows.groups, p->m, p->n));
        one.flops = product(rows, p->m, p->n);
        sy_work_item(w, &one);
    }
}

OP(pack, sy_pack) {
    BEGIN;
    VIEW(w, "b", o->b.m, o->groups, o->k, o->n);
    SEEN(w, "packed", o->packed, 1, o->groups, o->packed_step);
}

/* --- straight into the memory of other ranks ------------------------------------------------------------ */

OP(route_slots, sy_route_slots) {
    BEGIN;
    int64_t tokens = o->sequences * o->seq_len;
    VALUES(w, "ids", o->ids, tokens, o->top_k);
    VALUES(w, "token", o->token, o->ranks, tokens);
    VALUES(w, "first", o->first, o->ranks, o->sequences + 1);
}

/* A token goes to a rank once: at most to all of them. */
OP(send_slots, sy_send_slots) {
    BEGIN;
    int64_t slots = 0;
    for (int64_t r = 0; r < o->ranks && o->first; r++)
        slots += sy_work_used(w, o->first + r * (o->sequences + 1) + o->sequences, o->tokens);
    SEEN(w, "token", o->token, 4, slots);
    VIEW(w, "x", o->x, slots, o->d);
    VALUES(w, "ids", o->ids, slots, o->top_k);
    VALUES(w, "row", o->ids ? o->row : NULL, slots, o->top_k);
    VALUES(w, "w", o->ids ? o->w : NULL, slots, o->top_k);
    SEEN(w, "to", o->to, (int64_t)sy_dtype_bytes(o->x.dtype), slots, o->d);
}

OP(route_arrived, sy_route_arrived) {
    BEGIN;
    VALUES(w, "ids", o->ids, o->ranks, o->max_tokens, o->top_k);
    VALUES(w, "home", o->home, o->ranks, o->max_tokens, o->top_k);
    VALUES(w, "offset", o->offset, o->experts, o->sequences);
    VALUES(w, "route", o->route, o->max_rows);
    VALUES(w, "back", o->back, o->max_rows);
    w->planned = 1;
}

OP(return_rows, sy_return_rows) {
    BEGIN;
    int64_t rows = sy_work_used(w, o->used, o->rows);
    VALUES(w, "route", o->route, rows);
    VALUES(w, "back", o->back, rows);
    SEEN(w, "from", o->from, 1, rows, o->row_bytes);
    SEEN(w, "to", o->to, 1, rows, o->row_bytes);
}
