/* A build without CUDA has no ops for its devices, of which it makes none (device/cuda_absent.c). */
#include "ops/ops.h"

const struct sy_ops *sy_ops_cuda(void) { return NULL; }
