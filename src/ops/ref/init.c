/* Initial values (NUMERICS 2): a function of key and index, so that the threads and who asks do not
 * matter. */
#include "base/rng.h"
#include "ops/ref/protos.h"

static void part(void *arg, int thread, int n_threads) {
    const struct sy_init_values *op = arg;
    for (int k = 0; k < op->n_items; k++) {
        const struct sy_init_item *q = &op->item[k];
        int64_t lo, hi;
        sy_range(q->n, 1024, thread, n_threads, &lo, &hi);
        for (int64_t i = lo; i < hi; i++)
            q->out[i] = q->sd > 0 ? (float)sy_rng_normal_cut(q->key, (uint64_t)(q->first + i), q->sd, q->cut)
                                  : q->constant;
    }
}

void SY_FN(init)(const struct sy_exec *x, const struct sy_init_values *op) {
    sy_pool_run(x->pool, part, (void *)(uintptr_t)op);
}
