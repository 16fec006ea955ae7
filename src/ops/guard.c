/* Ops of a device whose memory is closed between them: see wrapped.h, device/guarded.c. */
#include "ops/wrapped.h"

#define X(name, type)                                                            \
    static void name##_guarded(const struct sy_exec *x, const struct type *op) { \
        x->device->open(x->device);                                              \
        x->ops->inner->name(x, op);                                              \
        x->device->close(x->device);                                             \
    }
SY_OPS_LIST(X)
#undef X

void sy_ops_guard(const struct sy_ops *inner, struct sy_ops *out) {
    *out = *inner;
    out->inner = inner;
#define X(name, type) out->name = name##_guarded;
    SY_OPS_LIST(X)
#undef X
}

void sy_exec_guard(struct sy_exec *x, struct sy_ops *table) {
    if (!x->device->open)
        return;
    sy_ops_guard(x->ops, table);
    x->ops = table;
}
