/* A model's tensors one behind the other in one buffer of fp32, for tests that hold whole models in their
 * hands. */
#ifndef SY_TESTS_LIB_FLAT_H
#define SY_TESTS_LIB_FLAT_H

#include <string.h>

#include "ckpt/checkpoint.h"
#include "model/params.h"

/* First element of a tensor; of NULL how many elements there are. */
static inline int64_t flat_at(const struct sy_params *p, const struct sy_tensor *t) {
    int64_t at = 0;
    for (int i = 0; i < p->n_tensors && &p->tensor[i] != t; i++)
        at += (p->tensor[i].n + 15) / 16 * 16;
    return at;
}
static inline int64_t flat_size(const struct sy_params *p) { return flat_at(p, NULL); }

static inline int flat_is_buffer(const struct sy_params *p, const struct sy_tensor *t) {
    return p->param[t->param].kind == SY_PARAM_BUFFER;
}

/* A checkpoint's store (sy_ckpt_store.put) that fills such a buffer. */
struct flat {
    const struct sy_params *params;
    float *x;
};
static inline sy_status flat_put(void *self, const struct sy_ckpt_range *r, const float *from) {
    const struct flat *f = self;
    memcpy(f->x + flat_at(f->params, &f->params->tensor[r->tensor]) + r->first, from, 4 * (size_t)r->n);
    return SY_OK;
}

#endif
