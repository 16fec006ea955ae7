/* A cache of keys and values: a sequence that grows is computed from its new tokens alone.
 *
 *     a batch of tokens c .. n - 1 of a sequence, batch.cached = c
 *     each layer:  its rows c .. n - 1 of q, k, v       behind those of the tokens before, which stay
 *                  attention of these queries           over the keys and values 0 .. n - 1
 *
 * A row of a layer depends on its own token and, in attention, on those before it; no bit depends on how many
 * rows are computed together (NUMERICS 1). So logits have the bits of a pass over the whole sequence.
 *
 * There is no copy: without backward the activations of attention have room for max_tokens rows, and a model
 * with `cached` has k and v (MLA: kv and kva) for each layer. Whose tokens they are the caller knows: after a
 * batch with c cached and t own tokens, those of 0 .. c + t - 1.
 */
#ifndef SY_MODEL_CACHE_H
#define SY_MODEL_CACHE_H

#include "model/attn.h"

/* The activations of tokens from `first` on. */
struct sy_attn_act sy_cache_rows(const struct sy_attn_act *act, int64_t first);

#endif
