/* Prototypes of this tier's ops, from the one list. */
#ifndef SY_OPS_REF_PROTOS_H
#define SY_OPS_REF_PROTOS_H

#include "ops/ref/tier.h"

size_t SY_FN(pack_bytes)(const struct sy_exec *x, struct sy_mat m, int64_t k, int64_t n);
struct sy_peak SY_FN(peak)(enum sy_numeric_class cls, int64_t rounds);
#define X(name, type) void SY_FN(name)(const struct sy_exec *x, const struct type *op);
SY_OPS_LIST(X)
#undef X

#if defined(__AMX_BF16__) /* the weaker tier, for the classes that have no tiles */
void sy_attention_fwd_avx512_bf16(const struct sy_exec *x, const struct sy_attention *op);
void sy_attention_bwd_avx512_bf16(const struct sy_exec *x, const struct sy_attention *op);
#endif

#endif
