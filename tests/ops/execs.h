/* Where ops run: a table, a device, a class, threads and their scratch. Included after cmocka's headers. */
#ifndef TESTS_OPS_EXECS_H
#define TESTS_OPS_EXECS_H

#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"

/* scratch_bytes: of a thread, a multiple of 64. To be closed by exec_close. */
static inline struct sy_exec exec_with(const struct sy_ops *ops, const struct sy_device *device,
                                       enum sy_numeric_class cls, int threads, size_t scratch_bytes) {
    struct sy_exec x = {.ops = ops, .device = device, .scratch_bytes = scratch_bytes};
    sy_exec_set_class(&x, cls);
    assert_int_equal(sy_pool_create(threads, &x.pool), SY_OK);
    x.scratch = aligned_alloc(64, x.scratch_bytes * (size_t)threads);
    assert_non_null(x.scratch);
    /* NaN: nothing may depend on what was there */
    memset(x.scratch, 0xff, x.scratch_bytes * (size_t)threads);
    return x;
}

static inline void exec_close(struct sy_exec *x) {
    sy_pool_destroy(x->pool);
    free(x->scratch);
}

#endif
