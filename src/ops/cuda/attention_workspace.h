/* Workspace of attention backward on a GPU, for the host's plan and for kernels: terms of all pairs (head of
 * a sequence), then ds of the pairs of some units (sequence, key-value head), as many at a time as fit.
 * With S rounded up to n tiles of 128, a pair has
 *
 *     terms   [3][128 n + 64] words: lse, D, first key of a query; beyond S they are 0
 *     ds      for key tile t = 0, 1, ..: two boxes of 64 keys, each with rows of 64 ds (128 bytes) of the
 *             queries from 128 t on, in the order of the 128-byte swizzle, as wgmma reads them
 */
#ifndef SY_OPS_CUDA_ATTENTION_WORKSPACE_H
#define SY_OPS_CUDA_ATTENTION_WORKSPACE_H

#include "base/both.h"
#include "ops/op_layer.h"

enum { SY_DS_TILE = 128, SY_DS_ROW_BYTES = 128, SY_DS_PAD = 64 };

SY_BOTH int64_t sy_ds_tiles(const struct sy_attention *p) {
    return (p->seq_len + SY_DS_TILE - 1) / SY_DS_TILE;
}
SY_BOTH int64_t sy_ds_term_rows(const struct sy_attention *p) {
    return sy_ds_tiles(p) * SY_DS_TILE + SY_DS_PAD;
}
SY_BOTH int64_t sy_ds_terms_bytes(const struct sy_attention *p) {
    return (3 * 4 * sy_ds_term_rows(p) + 1023) / 1024 * 1024;
}
/* Bytes of ds of the key tiles before t. */
SY_BOTH int64_t sy_ds_before(const struct sy_attention *p, int64_t t) {
    return (2 * t * sy_ds_tiles(p) - t * (t - 1)) * SY_DS_TILE * SY_DS_ROW_BYTES;
}
SY_BOTH int64_t sy_ds_unit_bytes(const struct sy_attention *p) {
    return p->heads / p->kv_heads * sy_ds_before(p, sy_ds_tiles(p));
}
SY_BOTH int64_t sy_ds_all_terms_bytes(const struct sy_attention *p) {
    return p->sequences * p->heads * sy_ds_terms_bytes(p);
}

#endif
