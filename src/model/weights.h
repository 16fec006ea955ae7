/* A layer's weights as its parts read them, and where they come from.
 *
 * A source lends a layer's weights from acquire to release, and may fetch the next ones meanwhile (prefetch):
 * they may lie in this rank's memory (parallel/resident.h) or be gathered from others (parallel/sharded.h).
 * Nothing in model/ knows which. Gathering is collective: ranks that share weights make the same calls, with
 * batches of no sequences where one has none left; what fails in it is kept for who asks the source.
 */
#ifndef SY_MODEL_WEIGHTS_H
#define SY_MODEL_WEIGHTS_H

#include "model/params.h"
#include "moe/layer.h"

struct sy_layer_weights { /* what a layer has not is 0 or NULL */
    const float *attn_norm, *ffn_norm;
    struct sy_weight wq, wk, wv, wo;
    const float *bq, *bk, *bv, *bo, *q_norm, *k_norm;
    struct sy_weight wqa, wqb, wkva, wkvb;
    const float *bqa, *bkva, *qa_norm, *kva_norm;
    struct sy_mlp_weights ffn;
    struct sy_moe_weights moe;
};

struct sy_end_weights {
    struct sy_mat embedding; /* [V, D] stored */
    const float *final_norm;
    struct sy_weight head; /* [V, D] */
};

struct sy_weight_source {
    void *self;
    void (*prefetch)(void *self, int layer); /* of 0 .. n_layers - 1; a hint */
    const struct sy_layer_weights *(*acquire)(void *self, int layer);
    void (*release)(void *self, int layer);
    const struct sy_end_weights *(*ends)(void *self); /* as long as the source */
};

#endif
