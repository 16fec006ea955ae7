/* Someone who looks at a step's values while it is computed: `diff --locate`. Values are named by what
 * they are and which sequences or lanes they are of, so that they have the same names in every layout. In
 * all other runs nobody looks (struct sy_exec.trace is NULL).
 *
 * What is looked at is enqueued, not done: who looks waits. */
#ifndef SY_OPS_TRACE_H
#define SY_OPS_TRACE_H

#include "device/tensor.h"

struct sy_trace_rows { /* x [n * seq_len, d] of the sequences at places first .. first + n - 1 of the walk */
    const char *what;  /* static */
    int layer;
    int64_t first, n, seq_len, d;
    struct sy_mat x;
};

struct sy_trace_sum { /* fp32 x [n]: a parameter's gradient, or all experts' of a layer from their first on */
    int param;
    int64_t lane, lanes; /* of lanes (experts: lane groups) lane .. lane + lanes - 1 */
    int64_t round;       /* up to this one; the last: a node of the tree */
    int64_t n;
    const float *x;
};

struct sy_trace {
    void *self;
    void (*rows)(void *self, const struct sy_trace_rows *rows);
    void (*sum)(void *self, const struct sy_trace_sum *sum);
};

#endif
