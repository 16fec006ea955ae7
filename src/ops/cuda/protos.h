/* The functions of ops/cuda, one for each op of the list. */
#ifndef SY_OPS_CUDA_PROTOS_H
#define SY_OPS_CUDA_PROTOS_H

#include "ops/ops.h"

#define X(name, type) void sy_cuda_##name(const struct sy_exec *x, const struct type *op);
SY_OPS_LIST(X)
#undef X

#endif
