/* Embedding: rows by id. Its gradient is a scatter_add (scatter.c). */
#include "ops/ref/protos.h"
#include "ops/ref/rows.h"

static void fwd_row(const struct sy_exec *x, const void *arg, int64_t t, float *scratch) {
    const struct sy_embed_fwd *op = arg;
    (void)x;
    (void)scratch;
    assert(op->w.dtype == op->y.dtype);
    memcpy(mat_row(op->y, t), mat_row(op->w, op->ids[t]), (size_t)op->d * sy_dtype_bytes(op->y.dtype));
}

void SY_FN(embed_fwd)(const struct sy_exec *x, const struct sy_embed_fwd *op) {
    run_rows(x, op, op->tokens, 0, fwd_row);
}
