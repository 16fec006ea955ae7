/* Final norm, head and loss in chunks of tokens: no [T, V] buffer exists beyond a planned size. Logits are
 * made of a chunk at a time; their gradients of a piece, some chunks, from which the products of the
 * backward are made. How many tokens both have is planned; no bit depends on it. */
#ifndef SY_MODEL_HEAD_H
#define SY_MODEL_HEAD_H

#include "model/layer.h"

struct sy_head_sizes {
    int64_t chunk; /* tokens */
    int64_t piece; /* tokens: whole sequences, or a part of one that is a multiple of every KB */
};

struct sy_head {
    struct sy_head_sizes size;
    struct sy_mat xn;      /* [T, D] */
    float *r;              /* [T] */
    float *logits;         /* [chunk, V] fp32 */
    struct sy_mat dlogits; /* [piece, V] */
    struct sy_mat dxn;     /* [T, D] */
};

/* For sequences of seq_len, max_tokens at a time. */
struct sy_head_sizes sy_head_sizes(const struct sy_device *device, int64_t vocab, int64_t seq_len,
                                   int64_t max_tokens);

void sy_head_take(const struct sy_layer_ctx *c, struct sy_arena *a, int backward, struct sy_head *head);

/* Loss of x [T, D] to the tally; with a sink also gradients: the head's to the sink, dx [T, D]. */
void sy_head_loss(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_head *head,
                  struct sy_mat x, const struct sy_grad_sink *sink, struct sy_mat dx);

/* Logits of one token into head->logits [V]. */
void sy_head_logits(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_head *head,
                    struct sy_mat x, int64_t token);

/* The same of many tokens, in pieces: their norm once, then of up to head->chunk of them into head->logits
 * [n, V]. */
void sy_head_norm(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_head *head,
                  struct sy_mat x);
void sy_head_rows(const struct sy_layer_ctx *c, const struct sy_head *head, int64_t first, int64_t n);

/* Loss of tokens first .. first + n - 1 to the tally, after their norm. */
void sy_head_loss_rows(const struct sy_layer_ctx *c, const struct sy_batch *b, const struct sy_head *head,
                       int64_t first, int64_t n);

#endif
