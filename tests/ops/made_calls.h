/* Made-up calls of ops (ops/calls.h), run to their end, for the tests that compare them. */
#ifndef TESTS_OPS_MADE_CALLS_H
#define TESTS_OPS_MADE_CALLS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execs.h"
#include "ops/calls.h"

/* To be closed by exec_close. */
static inline struct sy_exec exec_open(const struct sy_ops *ops, const struct sy_device *device,
                                       enum sy_numeric_class cls, int threads) {
    return exec_with(ops, device, cls, threads, sy_calls_scratch_bytes());
}

static inline struct sy_call *done(const struct sy_exec *x, int op, enum sy_call_size size, uint64_t seed) {
    struct sy_call *c = NULL;
    assert_int_equal(sy_call_create(x, op, size, seed, &c), SY_OK);
    sy_call_reset(x, c);
    sy_call_run(x, c);
    assert_int_equal(sy_call_finish(x, c), SY_OK);
    return c;
}

#endif
