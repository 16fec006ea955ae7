/* See flat_store.h. */
#include "train/flat_store.h"

#include <string.h>

static float *at(const struct sy_flat_store *flat, const struct sy_ckpt_range *range) {
    return flat->buffer[range->kind] + flat->params->tensor[range->tensor].offset + range->first;
}

static sy_status get(void *self, const struct sy_ckpt_range *range, float *x) {
    memcpy(x, at(self, range), 4 * (size_t)range->n);
    return SY_OK;
}

static sy_status put(void *self, const struct sy_ckpt_range *range, const float *x) {
    memcpy(at(self, range), x, 4 * (size_t)range->n);
    return SY_OK;
}

struct sy_ckpt_store sy_flat_store(struct sy_flat_store *flat) {
    return (struct sy_ckpt_store){.self = flat, .get = get, .put = put};
}
