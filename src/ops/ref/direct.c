/* Rows straight into the memory of other ranks: slots by counting, rows and what is said of them into
 * windows, a stable counting sort of what has arrived, and rows back. See ops/op_direct.h. */
#include "ops/op_direct.h"

#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

/* Whether one of a token's experts first .. first + n - 1. */
static int goes_to(const int32_t *ids, int64_t k, int64_t first, int64_t n) {
    for (int64_t i = 0; i < k; i++)
        if (ids[i] >= first && ids[i] < first + n)
            return 1;
    return 0;
}

static void slots_part(void *arg, int thread, int n_threads) {
    const struct sy_route_slots *op = arg;
    int64_t tokens = op->sequences * op->seq_len, k = op->top_k;
    for (int64_t r = thread; r < op->ranks; r += n_threads) {
        int32_t *token = op->token + r * tokens;
        int64_t *at = op->first + r * (op->sequences + 1), slots = 0, first, n;
        sy_experts_share(op->experts, r, op->ranks, &first, &n);
        for (int64_t t = 0; t < tokens; t++) {
            if (t % op->seq_len == 0)
                at[t / op->seq_len] = slots;
            if (goes_to(op->ids + t * k, k, first, n))
                token[slots++] = (int32_t)t;
        }
        at[op->sequences] = slots;
    }
}

void SY_FN(route_slots)(const struct sy_exec *x, const struct sy_route_slots *op) {
    sy_pool_run(pool_for(x, op->ranks * op->sequences * op->seq_len * op->top_k), slots_part,
                (void *)(uintptr_t)op);
}

struct sending {
    const struct sy_exec *x;
    const struct sy_send_slots *op;
};

static void send_part(void *arg, int thread, int n_threads) {
    const struct sending *s = arg;
    const struct sy_send_slots *op = s->op;
    size_t routes = (size_t)op->top_k, row = (size_t)op->d * sy_dtype_bytes(s->x->dtype);
    for (int64_t r = 0; r < op->ranks; r++) {
        const int64_t *first = op->first + r * (op->sequences + 1);
        const struct sy_window *to = &op->to[r];
        int64_t lo, hi;
        sy_range(first[op->sequences], 1, thread, n_threads, &lo, &hi);
        for (int64_t i = lo; i < hi; i++) {
            int64_t t = op->token[r * op->tokens + i], at = i * op->top_k;
            memcpy((char *)to->rows + (size_t)i * row, sy_mat_rows(op->x, t).data, row);
            if (!op->ids)
                continue;
            memcpy(to->ids + at, op->ids + t * op->top_k, routes * sizeof *to->ids);
            memcpy(to->home + at, op->row + t * op->top_k, routes * sizeof *to->home);
            memcpy(to->w + at, op->w + t * op->top_k, routes * sizeof *to->w);
        }
        if (thread == 0 && op->ids)
            memcpy(to->first, first, (size_t)(op->sequences + 1) * sizeof *first);
    }
}

void SY_FN(send_slots)(const struct sy_exec *x, const struct sy_send_slots *op) {
    sy_pool_run(pool_for(x, op->tokens * op->d * op->ranks), send_part, &(struct sending){x, op});
}

/* --- arrival -------------------------------------------------------------------------------------------- */

static int64_t up_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

struct slots {      /* of one of the sequences */
    int64_t lo, hi; /* numbers of all windows */
};
static struct slots slots_of(const struct sy_route_arrived *op, int64_t s) {
    const int64_t *first = op->first + op->source[s] * (op->max_sequences + 1) + op->sequence[s];
    int64_t base = op->source[s] * op->max_tokens;
    return (struct slots){base + first[0], base + first[1]};
}

/* Rows of each (expert, sequence), one place up; returns how many in all. */
static int64_t count(const struct sy_route_arrived *op) {
    int64_t rows = 0;
    memset(op->offset, 0, (size_t)(op->experts * op->sequences + 1) * sizeof *op->offset);
    for (int64_t s = 0; s < op->sequences; s++)
        for (int64_t i = slots_of(op, s).lo * op->top_k; i < slots_of(op, s).hi * op->top_k; i++) {
            int64_t e = op->ids[i] - op->first_expert;
            if (e < 0 || e >= op->experts)
                continue;
            op->offset[e * op->sequences + s + 1]++;
            rows++;
        }
    return rows;
}

static void give_out(const struct sy_route_arrived *op) {
    for (int64_t s = 0; s < op->sequences; s++)
        for (int64_t i = slots_of(op, s).lo * op->top_k; i < slots_of(op, s).hi * op->top_k; i++) {
            int64_t e = op->ids[i] - op->first_expert;
            if (e < 0 || e >= op->experts)
                continue;
            int64_t row = op->offset[e * op->sequences + s]++;
            op->route[row] = (int32_t)i;
            op->back[row] = op->home[i];
        }
}

/* offset[i] is the end of segment i and becomes its start; padding has no route; tiles. */
static void finish(const struct sy_exec *x, const struct sy_route_arrived *op) {
    int64_t start = 0, n = 0;
    for (int64_t i = 0; i < op->experts * op->sequences; i++) {
        int64_t end = op->offset[i], next = up_to(end, x->device->segment);
        op->offset[i] = start;
        for (int64_t r = end; r < next; r++)
            op->route[r] = op->back[r] = -1;
        start = next;
    }
    op->offset[op->experts * op->sequences] = start;
    for (int64_t e = 0; e < op->experts; e++)
        for (int64_t i = op->offset[e * op->sequences]; i < op->offset[(e + 1) * op->sequences];
             i += SY_TILE_ROWS)
            op->tile[n++] = (struct sy_tile){e, i};
    *op->n_tiles = n;
}

void SY_FN(route_arrived)(const struct sy_exec *x, const struct sy_route_arrived *op) {
    int64_t rows = count(op), bins = op->experts * op->sequences;
    if (rows > op->max_rows) {
        *op->overflow = *op->overflow ? *op->overflow : rows;
        memset(op->offset, 0, (size_t)(bins + 1) * sizeof *op->offset);
        *op->n_tiles = 0;
        return;
    }
    for (int64_t i = 0; i < bins; i++)
        op->offset[i + 1] = op->offset[i] + up_to(op->offset[i + 1], x->device->segment);
    give_out(op);
    finish(x, op);
}

static void return_part(void *arg, int thread, int n_threads) {
    const struct sy_return_rows *op = arg;
    int64_t lo, hi;
    sy_range(*op->used, 1, thread, n_threads, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        if (op->route[i] < 0)
            continue;
        int64_t source = op->route[i] / op->top_k / op->max_tokens;
        memcpy((char *)op->to[source] + op->back[i] * op->row_bytes,
               (const char *)op->from + i * op->row_bytes, (size_t)op->row_bytes);
    }
}

void SY_FN(return_rows)(const struct sy_exec *x, const struct sy_return_rows *op) {
    assert(*op->used <= op->rows);
    sy_pool_run(pool_for(x, op->rows * op->row_bytes), return_part, (void *)(uintptr_t)op);
}
