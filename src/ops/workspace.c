/* The workspace that a plan gives the ops of a GPU; no GPU is asked. See ops.h. */
#include "device/cuda.h"
#include "ops/cuda/attention_workspace.h"
#include "ops/ops.h"

/* Units whose key tiles are two for each of a GPU's 132 multiprocessors: the first tiles, which most queries see,
 * and the last ones then make equal shares. */
size_t sy_ops_workspace_bytes(const struct sy_attention *most) {
    enum { TILES = 264 };
    int64_t all = most->sequences * most->kv_heads, units = (TILES - 1) / sy_ds_tiles(most) + 1;
    int64_t ds = sy_ds_unit_bytes(most) * (units < all ? units : all);
    size_t attention = (size_t)(sy_ds_all_terms_bytes(most) + ds);
    return attention > SY_CUDA_WORKSPACE ? attention : SY_CUDA_WORKSPACE;
}
