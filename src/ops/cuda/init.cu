/* Initial values (docs/NUMERICS.md 2): a function of key and index, by the host's own functions in fp64. */
#include "ops/cuda/values.cuh"

#include "base/rng.h"

enum { CHUNK = 4096 };

SY_LIST_KERNEL init_all(const struct sy_init_item *items, int n_items) {
    sy_deal(items, n_items, CHUNK, [](const struct sy_init_item &q, int64_t lo, int64_t hi) {
        for (int64_t i = lo + threadIdx.x; i < hi; i += SY_THREADS)
            q.out[i] =
                q.sd > 0 ? (float)sy_rng_normal_cut(q.key, (uint64_t)(q.first + i), q.sd, q.cut) : q.constant;
    });
}

extern "C" void sy_cuda_init(const struct sy_exec *x, const struct sy_init_values *op) {
    unsigned blocks = sy_blocks_of_list(x, op->item, op->n_items, CHUNK);
    if (blocks > 0)
        SY_LAUNCH(x, init_all, blocks, SY_THREADS, 0, sy_cuda_upload(x, op->item, (size_t)op->n_items),
                  op->n_items);
}
