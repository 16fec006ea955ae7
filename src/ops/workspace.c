/* The workspace that a plan gives the ops of a GPU; no GPU is asked. See ops.h. */
#include "device/cuda.h"
#include "ops/cuda/attention_workspace.h"
#include "ops/ops.h"

/* Enough heads for the key tiles of one launch to fill four rounds of a GPU's 132 multiprocessors. */
size_t sy_ops_workspace_bytes(const struct sy_attention *most) {
    enum { TILES = 528 };
    int64_t group = most->heads / most->kv_heads, tiles = sy_ds_tiles(most);
    int64_t all = most->sequences * most->kv_heads, units = (TILES + group * tiles - 1) / (group * tiles);
    size_t attention = (size_t)(sy_ds_unit_bytes(most) * (units < all ? units : all));
    return attention > SY_CUDA_WORKSPACE ? attention : SY_CUDA_WORKSPACE;
}
