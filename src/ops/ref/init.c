/* Initial values (NUMERICS 2): a function of key and index, so that the threads and who asks do not
 * matter.
 *
 * A block of values a time: words, then radii, then cosines, each in a loop of its own over values, which the
 * compiler vectorises. What lies beyond the cut is seldom, and drawn again one by one.
 */
#include "base/rng.h"
#include "ops/ref/protos.h"

enum { BLOCK = 256 };

/* Standard normals of index first .. first + n - 1, retry 0: sy_rng_normal, one after another. */
static void normals(uint64_t key, uint64_t first, int64_t n, double *restrict out) {
    uint32_t radius[BLOCK], angle[BLOCK];
    for (int64_t i = 0; i < n; i++) {
        uint32_t w[4];
        sy_rng_philox(key, first + (uint64_t)i, 0, w);
        radius[i] = w[0];
        angle[i] = w[1];
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = sy_rng_radius(radius[i]);
    for (int64_t i = 0; i < n; i++)
        out[i] = out[i] * sy_rng_cosine(angle[i]);
}

static void fill(const struct sy_init_item *q, int64_t lo, int64_t hi) {
    double x[BLOCK];
    for (int64_t at = lo; at < hi; at += BLOCK) {
        int64_t n = hi - at < BLOCK ? hi - at : BLOCK;
        float *restrict out = q->out + at;
        int beyond = 0;
        normals(q->key, (uint64_t)(q->first + at), n, x);
        for (int64_t i = 0; i < n; i++) {
            x[i] = q->sd * x[i];
            out[i] = (float)x[i];
            beyond |= x[i] > q->cut || x[i] < -q->cut;
        }
        for (int64_t i = 0; i < n && beyond && q->cut > 0.0; i++)
            if (x[i] > q->cut || x[i] < -q->cut)
                out[i] = (float)sy_rng_normal_cut(q->key, (uint64_t)(q->first + at + i), q->sd, q->cut);
    }
}

static void part(void *arg, int thread, int n_threads) {
    const struct sy_init_values *op = arg;
    for (int k = 0; k < op->n_items; k++) {
        const struct sy_init_item *q = &op->item[k];
        int64_t lo, hi;
        sy_range(q->n, 1024, thread, n_threads, &lo, &hi);
        if (q->sd > 0)
            fill(q, lo, hi);
        else
            for (int64_t i = lo; i < hi; i++)
                q->out[i] = q->constant;
    }
}

void SY_FN(init)(const struct sy_exec *x, const struct sy_init_values *op) {
    sy_pool_run(x->pool, part, (void *)(uintptr_t)op);
}
