/* Final norm, head and loss: see head.h. */
#include "model/head.h"

static int64_t chunk_of(int64_t seq_len) { return seq_len < SY_HEAD_CHUNK ? seq_len : SY_HEAD_CHUNK; }

void sy_head_take(const struct sy_layer_ctx *c, struct sy_arena *a, int backward, struct sy_head *h) {
    int64_t chunk = chunk_of(c->seq_len), v = c->model->vocab_size;
    *h = (struct sy_head){0};
    h->xn = sy_take_mat(a, "head", c->max_tokens, c->model->dim, c->x->dtype);
    h->r = sy_take_f32(a, "head", c->max_tokens);
    h->logits = sy_take_f32(a, "head", chunk * v);
    if (!backward)
        return;
    h->dlogits = sy_take_mat(a, "head", chunk, v, c->x->dtype);
    h->dxn = sy_take_mat(a, "head", c->max_tokens, c->model->dim, c->x->dtype);
}

static void logits_of(const struct sy_layer_ctx *c, const struct sy_head *h, int64_t first, int64_t n, float *logits) {
    int64_t v = c->model->vocab_size;
    struct sy_gemm_part part = {sy_mat_rows(h->xn, first), sy_mat_t(sy_weight(c, c->w.params->head)), c->model->dim};
    c->x->ops->gemm(c->x, &(struct sy_gemm){.m = n, .n = v, .parts = &part, .n_parts = 1, .c = sy_mat_of(logits, SY_F32, v)},
                    1);
}

static void chunk_loss(const struct sy_layer_ctx *c, const struct sy_head *h, int64_t first, int64_t n, float w,
                       const struct sy_grad_sink *sink, struct sy_model_stats *stats) {
    logits_of(c, h, first, n, h->logits);
    c->x->ops->cross_entropy(c->x, &(struct sy_cross_entropy){.rows = n,
                                                              .vocab = c->model->vocab_size,
                                                              .logits = h->logits,
                                                              .labels = c->batch.labels + first,
                                                              .w = w,
                                                              .dlogits = sink ? h->dlogits : (struct sy_mat){0},
                                                              .loss = &stats->loss,
                                                              .n_valid = &stats->n_valid,
                                                              .n_bad = &stats->n_bad});
    if (!sink)
        return;
    struct sy_gemm_part part = {h->dlogits, sy_weight(c, c->w.params->head), c->model->vocab_size};
    c->x->ops->gemm(
        c->x, &(struct sy_gemm){.m = n, .n = c->model->dim, .parts = &part, .n_parts = 1, .c = sy_mat_rows(h->dxn, first)},
        1);
    sink->matrix(sink->self, c->w.params->head, first, n, h->dlogits, sy_mat_rows(h->xn, first));
}

void sy_head_loss(const struct sy_layer_ctx *c, const struct sy_head *h, struct sy_mat x, float w,
                  const struct sy_grad_sink *sink, struct sy_mat dx, struct sy_model_stats *stats) {
    int64_t s = c->batch.seq_len, chunk = chunk_of(s);
    sy_norm_fwd(c, c->w.params->final_norm, x, h->xn, h->r);
    for (int64_t b = 0; b < c->batch.sequences; b++)
        for (int64_t i = 0; i < s; i += chunk)
            chunk_loss(c, h, b * s + i, s - i < chunk ? s - i : chunk, w, sink, stats);
    if (!sink)
        return;
    sy_norm_bwd(c, c->w.params->final_norm, h->dxn, x, h->r, dx);
    sy_norm_weights(c, sink, c->w.params->final_norm, h->dxn, x, h->r);
}

void sy_head_logits(const struct sy_layer_ctx *c, const struct sy_head *h, struct sy_mat x, int64_t token, float *logits) {
    sy_norm_fwd(c, c->w.params->final_norm, x, h->xn, h->r);
    logits_of(c, h, token, 1, logits);
}
