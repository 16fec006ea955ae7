/* The workspace that a plan gives the ops of a GPU; no GPU is asked. See ops.h. */
#include "device/cuda.h"
#include "ops/cuda/attention_workspace.h"
#include "ops/ops.h"

static int64_t ratio_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Units that give each of a GPU's 132 multiprocessors two tiles of keys, and two of 256 queries of a
 * head: the longest, which are begun first, and the shortest then make equal shares. */
size_t sy_ops_workspace_bytes(const struct sy_attention *most) {
    enum { TILES = 264 };
    int64_t all = most->sequences * most->kv_heads, tiles = sy_ds_tiles(most);
    int64_t keys = ratio_up(TILES, tiles),
            units = ratio_up(TILES, most->heads / most->kv_heads * ratio_up(tiles, 2));
    units = units > keys ? units : keys;
    int64_t ds = sy_ds_unit_bytes(most) * (units < all ? units : all);
    size_t attention = (size_t)(sy_ds_all_terms_bytes(most) + ds);
    return attention > SY_CUDA_WORKSPACE ? attention : SY_CUDA_WORKSPACE;
}
