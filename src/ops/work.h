/* What a call of an op is, for who looks at its time: shapes of its operands, bytes, FLOPs.
 *
 * Each op of SY_OPS_LIST says it in sy_work_<op> (work_*.c); an op that does not is no op: it does not link.
 * Bytes count each input read once and each output written once, in place twice, a row as often as an index
 * names it; FLOPs are those of products and attention (causal, without regard to documents), 0 of the other
 * ops. Of an op with a list of items the first one's operands are shown, and all are counted.
 *
 * How many rows routing made stands in the device's memory: it is read, or the bound that the host planned
 * with is taken (of some of the sequences their share of it).
 */
#ifndef SY_OPS_WORK_H
#define SY_OPS_WORK_H

#include "ops/ops.h"

enum { SY_WORK_OPERANDS = 16, SY_WORK_DIMS = 3, SY_WORK_TEXT = 512 };

struct sy_op_work {
    int n;
    struct sy_op_work_operand {
        const char *name;   /* as in the op's struct; static */
        int passes, n_dims; /* passes: 2: read and written */
        int64_t element, dim[SY_WORK_DIMS];
    } operand[SY_WORK_OPERANDS];
    int64_t items; /* of a list; 0: the op has none */
    double bytes, flops;
    int planned;                /* rows are what the host planned with, not counted */
    const struct sy_exec *from; /* counts are read from its memory; NULL: not read */
};

/* Local. *out = what the call is. reads: counts are copied from the exec's memory, which waits; else what
 * was planned is taken. */
#define X(name, type) \
    void sy_work_##name(const struct sy_exec *x, const struct type *op, int reads, struct sy_op_work *out);
SY_OPS_LIST(X)
#undef X

/* "x [512, 256], w [1, 256, 768], y [512, 768]", "… of 7" for a list's first item. Returns text. */
const char *sy_work_text(const struct sy_op_work *w, char text[SY_WORK_TEXT]);

#endif
