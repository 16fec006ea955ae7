/* The held-out split: see holdout.h. */
#include "data/holdout.h"

#include <inttypes.h>
#include <stdlib.h>

struct ranked {
    uint64_t hash;
    int64_t index;
};

static int by_hash(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

sy_status sy_holdout_split(struct sy_documents *d, double holdout) {
    int64_t n = d->n_documents;
    struct ranked *ranked = malloc((size_t)n * sizeof *ranked);
    d->train = malloc((size_t)n * sizeof *d->train);
    d->heldout = malloc((size_t)n * sizeof *d->heldout);
    if (!ranked || !d->train || !d->heldout) {
        free(ranked);
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the split of %" PRId64 " documents", n);
    }
    int64_t total = 0;
    for (int64_t i = 0; i < n; i++) {
        ranked[i] = (struct ranked){d->document[i].hash, i};
        total += d->document[i].bytes;
    }
    qsort(ranked, (size_t)n, sizeof *ranked, by_hash);
    double wanted = holdout * (double)total;
    for (int64_t i = 0; i < n; i++) {
        int64_t bytes = d->document[ranked[i].index].bytes;
        if (i < n - 1 && (double)d->heldout_bytes < wanted) {
            d->heldout[d->n_heldout++] = ranked[i].index;
            d->heldout_bytes += bytes;
        } else {
            d->train[d->n_train++] = ranked[i].index;
            d->train_bytes += bytes;
        }
    }
    free(ranked);
    qsort(d->train, (size_t)d->n_train, sizeof *d->train, ascending);
    return SY_OK;
}
