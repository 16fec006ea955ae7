/* Final norm, head and loss: see head.h. */
#include "model/head.h"

enum { LEAST = 256, STEP = 32 }; /* tokens of a chunk, also of a vast vocabulary; a multiple of every KB */

static int64_t tokens_of(int64_t values, int64_t vocab, int64_t seq_len, int64_t max_tokens) {
    int64_t n = values / vocab;
    n = n > LEAST ? n : LEAST;
    if (n < seq_len)
        return n / STEP * STEP;
    n = n / seq_len * seq_len;
    return n < max_tokens ? n : max_tokens;
}

struct sy_head_sizes sy_head_sizes(const struct sy_device *device, int64_t vocab, int64_t seq_len,
                                   int64_t max_tokens) {
    return (struct sy_head_sizes){.chunk = tokens_of(device->busy, vocab, seq_len, max_tokens),
                                  .piece = tokens_of(device->busy_sums, vocab, seq_len, max_tokens)};
}

void sy_head_take(const struct sy_layer_ctx *c, struct sy_arena *a, int backward, struct sy_head *h) {
    int64_t v = c->model->vocab_size;
    *h = (struct sy_head){.size = sy_head_sizes(c->x->device, v, c->max_seq_len, c->max_tokens)};
    h->xn = sy_take_mat(a, "head", c->max_tokens, c->model->dim, c->x->dtype);
    h->r = sy_take_f32(a, "head", c->max_tokens);
    h->logits = sy_take_f32(a, "head", h->size.chunk * v);
    if (!backward)
        return;
    h->dlogits = sy_take_mat(a, "head", h->size.piece, v, c->x->dtype);
    h->dxn = sy_take_mat(a, "head", c->max_tokens, c->model->dim, c->x->dtype);
}

static void logits_of(const struct sy_layer_ctx *c, const struct sy_head *h, int64_t first, int64_t n) {
    const struct sy_weight *w = &c->weights.ends(c->weights.self)->head;
    sy_linear_fwd(c->x, n, w, NULL, sy_mat_rows(h->xn, first),
                  sy_mat_of(h->logits, SY_F32, c->model->vocab_size));
}

/* The head's gradient of tokens first .. first+n-1: whole sequences, or a piece of one. */
static void hand_over(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_head *h,
                      const struct sy_grad_sink *sink, int64_t first, int64_t n) {
    int64_t s = b->at.seq_len, place = b->at.first + first / s;
    struct sy_mat x = sy_mat_rows(h->xn, first);
    if (n % s == 0)
        sink->matrix(sink->self, &(struct sy_span){place, n / s, s}, c->params->head, h->dlogits, x);
    else
        sink->piece(sink->self,
                    &(struct sy_sink_piece){place, s, first % s, n, c->params->head, h->dlogits, x});
    sink->flush(sink->self);
}

static void chunk_loss(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_head *h,
                       struct sy_mat dlogits, int64_t first, int64_t n) {
    logits_of(c, h, first, n);
    c->x->ops->cross_entropy(c->x, &(struct sy_cross_entropy){.rows = n,
                                                              .vocab = c->model->vocab_size,
                                                              .logits = h->logits,
                                                              .labels = b->labels + first,
                                                              .w = &c->scalars->w,
                                                              .dlogits = dlogits,
                                                              .tally = c->tally});
}

static void piece_loss(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_head *h,
                       const struct sy_grad_sink *sink, int64_t first, int64_t n) {
    for (int64_t i = 0; i < n; i += h->size.chunk)
        chunk_loss(c, b, h, sink ? sy_mat_rows(h->dlogits, i) : (struct sy_mat){0}, first + i,
                   n - i < h->size.chunk ? n - i : h->size.chunk);
    if (!sink)
        return;
    const struct sy_weight *w = &c->weights.ends(c->weights.self)->head;
    sy_linear_bwd(c->x, n, 1, (struct sy_linear_grad[]){{w, h->dlogits}}, sy_mat_rows(h->dxn, first));
    hand_over(c, b, h, sink, first, n);
}

static struct sy_row_norm norm_of(const struct sy_layer_ctx *c, const struct sy_head *h, struct sy_mat x) {
    return (struct sy_row_norm){c->model->dim, c->weights.ends(c->weights.self)->final_norm, x, h->r};
}

void sy_head_loss(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_head *h,
                  struct sy_mat x, const struct sy_grad_sink *sink, struct sy_mat dx) {
    /* a piece covers whole sequences or lies in one */
    int64_t s = b->at.seq_len, piece = h->size.piece, step = piece >= s ? piece / s * s : s;
    struct sy_row_norm norm = norm_of(c, h, x);
    sy_norm_fwd(c, c->model->norm_eps, b->tokens, &norm, h->xn);
    for (int64_t t = 0; t < b->tokens; t += step) {
        int64_t end = t + step < b->tokens ? t + step : b->tokens;
        for (int64_t i = t; i < end; i += piece)
            piece_loss(c, b, h, sink, i, end - i < piece ? end - i : piece);
    }
    if (!sink)
        return;
    sy_norm_bwd(c, b->tokens, &norm, h->dxn, (struct sy_mat){0}, dx);
    sy_norm_weights(b, sink, c->params->final_norm, &norm, h->dxn);
    sink->flush(sink->self);
}

void sy_head_norm(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_head *h,
                  struct sy_mat x) {
    struct sy_row_norm norm = norm_of(c, h, x);
    sy_norm_fwd(c, c->model->norm_eps, b->tokens, &norm, h->xn);
}

void sy_head_rows(const struct sy_layer_ctx *c, const struct sy_head *h, int64_t first, int64_t n) {
    logits_of(c, h, first, n);
}

void sy_head_loss_rows(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_head *h,
                       int64_t first, int64_t n) {
    for (int64_t i = 0; i < n; i += h->size.chunk)
        chunk_loss(c, b, h, (struct sy_mat){0}, first + i, n - i < h->size.chunk ? n - i : h->size.chunk);
}

void sy_head_logits(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_head *h,
                    struct sy_mat x, int64_t token) {
    sy_head_norm(c, b, h, x);
    logits_of(c, h, token, 1);
}
