/* Keys and values of texts that grow: a batch has their new tokens alone, those of several texts side by
 * side.
 *
 *     rows row .. row + n - 1 of a batch     tokens cached .. cached + n - 1 of a text
 *     each layer: their keys and values      go to the text's slot, behind those of the tokens before
 *     attention of these queries             over the keys and values 0 .. cached + n - 1 of the slot
 *
 * A row of a layer depends on its own token and, in attention, on those of its text before it; no bit
 * depends on which rows are computed together (NUMERICS 1). So logits have the bits of a pass over the text
 * alone.
 *
 * A slot has head after head, so that a head's keys are read one behind the other. Whose tokens a slot
 * holds the caller knows. Without a cache texts are whole, and attention reads the batch's rows.
 */
#ifndef SY_MODEL_CACHE_H
#define SY_MODEL_CACHE_H

#include "model/attn.h"

/* Local. Takes what all layers share: queries and outputs of texts by their tokens, as attention reads and
 * writes them. */
void sy_cache_take_shared(const struct sy_layer_ctx *c, struct sy_arena *a, const struct sy_attn_widths *w,
                          struct sy_attn_cache *cache);
/* Local. Takes a layer's slots. */
void sy_cache_take_layer(const struct sy_layer_ctx *c, struct sy_arena *a, const struct sy_attn_widths *w,
                         struct sy_attn_cache *cache);

/* Attention of a call's batch. Of texts: rows are its own, `op` makes the op that reads and writes such
 * views but for sequences, seq_len and first. Without texts: `whole`, unless what it writes was saved. */
struct sy_attend {
    struct sy_attn_widths widths;
    struct sy_attn_views rows;
    const struct sy_attn_cache *cache;
    struct sy_attention (*op)(const struct sy_layer_ctx *c, const struct sy_attn_views *views);
};
void sy_attend(const struct sy_layer_ctx *c, const struct sy_attn_call *call,
               const struct sy_attention *whole, const struct sy_attend *texts);

/* The first n tokens of slot `from` of a layer are those of slot `to`, too. */
void sy_cache_copy(const struct sy_layer_ctx *c, const struct sy_attn_widths *w,
                   const struct sy_attn_cache *cache, int from, int to, int64_t n);

#endif
