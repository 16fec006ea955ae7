/* Dispatch straight into the memory of other ranks: see direct.h. */
#include "moe/direct.h"

#include <assert.h>
#include <stdlib.h>

/* --- memory --------------------------------------------------------------------------------------------- */

static const char tag[] = "windows of other ranks";

static sy_status no_memory(struct sy_direct *w, int ranks) {
    sy_direct_fini(w);
    SY_FAIL(SY_ERR_MEMORY, "direct dispatch: no memory for the windows of %d ranks", ranks);
}

sy_status sy_direct_init(const struct sy_comm *comm, const struct sy_exchange_shape *s, struct sy_direct *w) {
    size_t n = (size_t)comm->size;
    *w = (struct sy_direct){.comm = comm,
                            .max_tokens = s->max_sequences * s->seq_len,
                            .max_sequences = s->max_sequences,
                            .top_k = s->top_k};
    if (comm->size * w->max_tokens * s->top_k > INT32_MAX)
        SY_FAIL(
            SY_ERR_USAGE,
            "direct dispatch: %d ranks with %lld tokens in a pass and moe.top_k = %lld: a window's routes "
            "are numbers of 32 bits; choose a smaller training.local_batch_size, or "
            "parallelism.expert_parallel_comm_backend = \"standard\"",
            comm->size, (long long)w->max_tokens, (long long)s->top_k);
    int all = 1;
    for (int i = 0; i < SY_DIRECT_FLAGS; i++) {
        w->flag[i] = calloc(n, sizeof *w->flag[i]);
        w->raise[i] = calloc(n, sizeof *w->raise[i]);
        all &= w->flag[i] && w->raise[i];
    }
    for (int i = 0; i < 2; i++)
        all &= (w->to_back[i] = calloc(n, sizeof *w->to_back[i])) != NULL;
    w->to = calloc(n, sizeof *w->to);
    w->source = calloc(n * (size_t)s->max_sequences, sizeof *w->source);
    w->sequence = calloc(n * (size_t)s->max_sequences, sizeof *w->sequence);
    return all && w->to && w->source && w->sequence ? SY_OK : no_memory(w, comm->size);
}

void sy_direct_fini(struct sy_direct *w) {
    for (int i = 0; i < SY_DIRECT_FLAGS; i++) {
        free(w->flag[i]);
        free(w->raise[i]);
    }
    for (int i = 0; i < 2; i++)
        free(w->to_back[i]);
    free(w->to);
    free(w->source);
    free(w->sequence);
    *w = (struct sy_direct){0};
}

void sy_direct_take(const struct sy_exec *x, struct sy_arena *a, int64_t d, void *rows, float *weights,
                    struct sy_direct *w) {
    int64_t slots = w->comm->size * w->max_tokens, routes = slots * w->top_k;
    w->d = d;
    w->back[0] = rows;
    w->back[1] = weights;
    w->window.rows = sy_take_mat(a, tag, slots, d, x->dtype).data;
    w->window.ids = sy_arena_take(a, tag, (size_t)routes, sizeof *w->window.ids);
    w->window.home = sy_arena_take(a, tag, (size_t)routes, sizeof *w->window.home);
    w->window.w = sy_take_f32(a, tag, routes);
    w->window.first =
        sy_arena_take(a, tag, (size_t)(w->comm->size * (w->max_sequences + 1)), sizeof *w->window.first);
}

/* What a rank shows of its memory. */
struct shown {
    struct sy_window window;
    void *back[2];
    sy_comm_flag *flag[SY_DIRECT_FLAGS];
};

/* The part of rank r in windows that lie one after the other. */
static struct sy_window part_of(const struct sy_exec *x, const struct sy_direct *w,
                                const struct sy_window *all, int r) {
    int64_t slot = r * w->max_tokens;
    return (struct sy_window){sy_at(all->rows, x->dtype, slot * w->d), all->ids + slot * w->top_k,
                              all->home + slot * w->top_k, all->w + slot * w->top_k,
                              all->first + r * (w->max_sequences + 1)};
}

sy_status sy_direct_connect(const struct sy_exec *x, sy_status mine, struct sy_direct *w) {
    const struct sy_device *d = x->device;
    const struct sy_comm *c = w->comm;
    struct shown me = {.back = {d->alias(d, w->back[0]), d->alias(d, w->back[1])}}, *all;
    me.window = (struct sy_window){d->alias(d, w->window.rows), d->alias(d, w->window.ids),
                                   d->alias(d, w->window.home), d->alias(d, w->window.w),
                                   d->alias(d, w->window.first)};
    memcpy(me.flag, w->flag, sizeof me.flag);
    all = calloc((size_t)c->size, sizeof *all);
    if (mine == SY_OK && !all)
        mine = sy_fail(SY_ERR_MEMORY, "direct dispatch: no memory for what %d ranks show", c->size);
    sy_status status = c->ops->all_gather(c, mine, &me, sizeof me, all);
    for (int r = 0; status == SY_OK && r < c->size; r++) {
        w->to[r] = part_of(x, w, &all[r].window, c->rank);
        for (int i = 0; i < 2; i++)
            w->to_back[i][r] = all[r].back[i];
        for (int i = 0; i < SY_DIRECT_FLAGS; i++)
            w->raise[i][r] = all[r].flag[i] + c->rank;
    }
    free(all);
    return status;
}

/* --- flags ---------------------------------------------------------------------------------------------- */

static const uint64_t failed = UINT64_MAX;

/* All flags that this rank raises, for good. */
static void give_up(const struct sy_direct *w) {
    const struct sy_comm_windows *windows = w->comm->ops->windows;
    for (int i = 0; i < SY_DIRECT_FLAGS && windows->write_begin(w->comm) == SY_OK; i++)
        windows->write_end(w->comm, w->raise[i], failed);
}

/* What was enqueued is done: the others may know. */
static sy_status end_writing(const struct sy_exec *x, const struct sy_direct *w, int flag, uint64_t n) {
    sy_status status = sy_exec_wait(x);
    w->comm->ops->windows->write_end(w->comm, w->raise[flag], status == SY_OK ? n : failed);
    if (status != SY_OK)
        give_up(w);
    return status;
}

static sy_status wait_for(const struct sy_direct *w, int flag, uint64_t n) {
    SY_TRY(w->comm->ops->windows->wait(w->comm, w->flag[flag], n));
    for (int r = 0; r < w->comm->size; r++)
        if (atomic_load_explicit(&w->flag[flag][r], memory_order_acquire) == failed) {
            give_up(w);
            SY_FAIL(SY_ERR_RUNTIME, "direct dispatch: rank %d of those that share experts has failed", r);
        }
    return SY_OK;
}

/* --- there ---------------------------------------------------------------------------------------------- */

static sy_status send(const struct sy_exec *x, const struct sy_exchange *e, struct sy_direct *w,
                      const struct sy_dispatch *d, struct sy_mat tokens, const float *said) {
    SY_TRY(wait_for(w, SY_DIRECT_FREE, w->dispatches));
    SY_TRY(w->comm->ops->windows->write_begin(w->comm));
    x->ops->send_slots(x, &(struct sy_send_slots){.sequences = d->sequences,
                                                  .tokens = d->tokens,
                                                  .top_k = d->top_k,
                                                  .ranks = w->comm->size,
                                                  .d = w->d,
                                                  .token = e->slot_token,
                                                  .first = e->slot_first,
                                                  .x = tokens,
                                                  .ids = said ? d->ids : NULL,
                                                  .row = d->row,
                                                  .w = said,
                                                  .to = w->to});
    return end_writing(x, w, SY_DIRECT_ARRIVED, ++w->dispatches);
}

/* The group's sequences in canonical order: round, rank, sequence. */
static void place_sequences(struct sy_exchange *e, struct sy_direct *w, const struct sy_sequences *s) {
    int64_t n = 0;
    for (int j = 0; j < s->rounds; j++)
        for (int r = 0; r < w->comm->size; r++) {
            int64_t before = 0;
            for (int i = 0; i < j; i++)
                before += s->of[r * s->rounds + i];
            for (int64_t b = 0; b < s->of[r * s->rounds + j]; b++, n++) {
                w->source[n] = (int32_t)r;
                w->sequence[n] = (int32_t)(before + b);
            }
        }
    e->rounds = s->rounds;
    e->received.sequences = n;
    e->received.tokens = n * e->shape.seq_len;
}

sy_status sy_direct_begin(const struct sy_exec *x, struct sy_exchange *e, struct sy_direct *w,
                          const struct sy_dispatch *d, const struct sy_sequences *s, struct sy_mat tokens,
                          const float *weights) {
    assert(s->known);
    e->path = SY_PATH_DIRECT;
    e->counters->path_direct++;
    place_sequences(e, w, s);
    x->ops->route_slots(x, &(struct sy_route_slots){.sequences = d->sequences,
                                                    .seq_len = d->seq_len,
                                                    .experts = d->experts,
                                                    .top_k = d->top_k,
                                                    .ranks = w->comm->size,
                                                    .ids = d->ids,
                                                    .token = e->slot_token,
                                                    .first = e->slot_first});
    return send(x, e, w, d, tokens, weights);
}

/* The experts' rows out of the window, which is free then. */
static sy_status take_rows(const struct sy_exec *x, const struct sy_exchange *e, const struct sy_direct *w,
                           const float *weights, struct sy_mat rows) {
    x->ops->permute(x, &(struct sy_permute){.rows = sy_dispatch_rows_of(&e->received),
                                            .top_k = w->top_k,
                                            .d = w->d,
                                            .route = e->received.route,
                                            .w = weights,
                                            .x = sy_mat_of(w->window.rows, x->dtype, w->d),
                                            .y = rows});
    SY_TRY(w->comm->ops->windows->write_begin(w->comm));
    return end_writing(x, w, SY_DIRECT_FREE, w->dispatches);
}

sy_status sy_direct_wait(const struct sy_exec *x, struct sy_exchange *e, struct sy_direct *w, int weighted,
                         struct sy_mat rows, float *row_w, int64_t *overflow) {
    struct sy_dispatch *d = &e->received;
    SY_TRY(wait_for(w, SY_DIRECT_ARRIVED, w->dispatches));
    d->rows = sy_exchange_max_rows(x, w->comm, &e->shape);
    x->ops->route_arrived(x, &(struct sy_route_arrived){.ranks = w->comm->size,
                                                        .max_tokens = w->max_tokens,
                                                        .max_sequences = w->max_sequences,
                                                        .top_k = w->top_k,
                                                        .first_expert = e->first_expert,
                                                        .experts = e->n_experts,
                                                        .max_rows = sy_exchange_planned(w->comm, &e->shape),
                                                        .sequences = d->sequences,
                                                        .source = w->source,
                                                        .sequence = w->sequence,
                                                        .ids = w->window.ids,
                                                        .home = w->window.home,
                                                        .first = w->window.first,
                                                        .offset = d->offset,
                                                        .route = d->route,
                                                        .back = e->back,
                                                        .tile = d->tile,
                                                        .n_tiles = d->n_tiles,
                                                        .overflow = overflow});
    if (row_w)
        sy_dispatch_to_rows(x, d, w->window.w, row_w);
    return take_rows(x, e, w, weighted ? w->window.w : NULL, rows);
}

sy_status sy_direct_again_begin(const struct sy_exec *x, const struct sy_exchange *e, struct sy_direct *w,
                                const struct sy_dispatch *d, struct sy_mat tokens) {
    return send(x, e, w, d, tokens, NULL);
}

sy_status sy_direct_again_wait(const struct sy_exec *x, const struct sy_exchange *e, struct sy_direct *w,
                               struct sy_mat rows) {
    SY_TRY(wait_for(w, SY_DIRECT_ARRIVED, w->dispatches));
    return take_rows(x, e, w, NULL, rows);
}

/* --- and back ------------------------------------------------------------------------------------------- */

sy_status sy_direct_return(const struct sy_exec *x, const struct sy_exchange *e, struct sy_direct *w,
                           int64_t row_bytes, const void *from, int weights) {
    const struct sy_dispatch *d = &e->received;
    SY_TRY(w->comm->ops->windows->write_begin(w->comm));
    x->ops->return_rows(x, &(struct sy_return_rows){.rows = d->rows,
                                                    .row_bytes = row_bytes,
                                                    .top_k = w->top_k,
                                                    .max_tokens = w->max_tokens,
                                                    .ranks = w->comm->size,
                                                    .used = d->offset + d->experts * d->sequences,
                                                    .route = d->route,
                                                    .back = e->back,
                                                    .from = from,
                                                    .to = w->to_back[weights]});
    SY_TRY(end_writing(x, w, SY_DIRECT_RETURNED, ++w->returns));
    return wait_for(w, SY_DIRECT_RETURNED, w->returns);
}
