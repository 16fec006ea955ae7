/* Final norm, head and loss in chunks of a sequence: no [T, V] buffer exists. */
#ifndef SY_MODEL_HEAD_H
#define SY_MODEL_HEAD_H

#include "model/model.h"

enum { SY_HEAD_CHUNK = 256 }; /* tokens; a multiple of every KB, so that a cut falls between chain steps */

struct sy_head {
    struct sy_mat xn; /* [T, D] */
    float *r;         /* [T] */
    float *logits;    /* [chunk, V] fp32 */
    struct sy_mat dlogits, dxn;
};

void sy_head_take(const struct sy_layer_ctx *c, struct sy_arena *a, int backward, struct sy_head *head);

/* Loss of x [T, D]; with a sink also gradients: the head's to the sink, dx [T, D]. */
void sy_head_loss(const struct sy_layer_ctx *c, const struct sy_head *head, struct sy_mat x, float w,
                  const struct sy_grad_sink *sink, struct sy_mat dx, struct sy_model_stats *stats);

/* Logits [V] of one token. */
void sy_head_logits(const struct sy_layer_ctx *c, const struct sy_head *head, struct sy_mat x, int64_t token, float *logits);

#endif
