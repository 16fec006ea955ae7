/* Ops that take rows by name, as a GPU's do (sy_ops.gathers): those of a table, whose linear gets copies. */
#ifndef SY_TESTS_LIB_BY_NAME_H
#define SY_TESTS_LIB_BY_NAME_H

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"

static _Atomic int calls_by_name; /* of linear */

static inline void linear_by_name(const struct sy_exec *x, const struct sy_linear *op) {
    struct sy_linear plain = *op;
    const struct sy_rows *r = &op->rows;
    int64_t n = r->offset ? r->offset[r->groups * r->sequences] : r->max_rows;
    size_t size = sy_dtype_bytes(op->x.dtype), bytes = (size_t)op->k * size;
    char *copies = op->named.route ? calloc((size_t)r->max_rows + 1, bytes + 1) : NULL;
    if (op->named.route && !copies)
        abort();
    for (int64_t i = 0; copies && i < n; i++) {
        int64_t route = op->named.route[i];
        if (route >= 0)
            memcpy(copies + (size_t)i * bytes,
                   (const char *)op->x.data + (size_t)(route / op->named.top_k * op->x.row) * size, bytes);
    }
    if (copies)
        plain.x = sy_mat_of(copies, op->x.dtype, op->k);
    plain.named = (struct sy_named_rows){0};
    calls_by_name += copies != NULL;
    x->ops->inner->linear(x, &plain);
    free(copies);
}

static inline struct sy_ops ops_by_name(const struct sy_ops *inner) {
    struct sy_ops ops = *inner;
    ops.inner = inner;
    ops.gathers = 1;
    ops.linear = linear_by_name;
    return ops;
}

#endif
