/* Tables of ops around tables of ops: from the one list, so that a new op is wrapped as soon as it is
 * there. */
#ifndef SY_OPS_WRAPPED_H
#define SY_OPS_WRAPPED_H

#include "ops/ops.h"

/* `inner` with the exec's device opened for the time of each op. Owned by the caller; must outlive the execs
 * that use it. */
void sy_ops_guard(const struct sy_ops *inner, struct sy_ops *out);

/* The exec's ops in `table`, so guarded, if its device is closed between ops; else nothing. */
void sy_exec_guard(struct sy_exec *x, struct sy_ops *table);

#endif
