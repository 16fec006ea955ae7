/* Ops that a caller outside the library may use by themselves, on fp32 arrays of its own, and the checks that
 * such calls need: what an op asserts or counts is an error with the value and the bound here. The calling
 * thread does the work, in the fastest tier; outputs are written when nothing can fail any more.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "ops/ops.h"

/* --- checks --------------------------------------------------------------------------------------------- */

/* Bytes of a rows x cols array of elements of 4 bytes, or an error. */
static sy_status array_bytes(const char *what, int64_t rows, int64_t cols, size_t *out) {
    if (rows < 0 || cols < 0 || (cols > 0 && rows > INT64_MAX / 8 / cols))
        SY_FAIL(SY_ERR_USAGE, "%s: %" PRId64 " x %" PRId64 " elements: negative, or more than memory has",
                what, rows, cols);
    *out = (size_t)(rows * cols) * 4;
    return SY_OK;
}

sy_status sy_topk_check(int64_t rows, int64_t n, int64_t k, int64_t *out_rows, int64_t *out_k) {
    size_t bytes;
    if (k < 1 || k > n)
        SY_FAIL(SY_ERR_USAGE, "topk: k = %" PRId64 " of rows of n = %" PRId64 ": must be 1 <= k <= n", k, n);
    if (n > INT32_MAX)
        SY_FAIL(SY_ERR_USAGE, "topk: n = %" PRId64 ": ids have 32 bits, n must be at most %" PRId32, n,
                INT32_MAX);
    SY_TRY(array_bytes("topk", rows, n, &bytes));
    *out_rows = rows;
    *out_k = k;
    return SY_OK;
}

struct range {
    const char *name;
    const void *at;
    size_t bytes;
};

static int overlap(struct range a, struct range b) {
    uintptr_t p = (uintptr_t)a.at, q = (uintptr_t)b.at;
    return a.bytes > 0 && b.bytes > 0 && p + a.bytes > q && q + b.bytes > p;
}

static sy_status apart(struct range a, struct range b) {
    uintptr_t p = (uintptr_t)a.at, q = (uintptr_t)b.at;
    if (!overlap(a, b))
        return SY_OK;
    SY_FAIL(SY_ERR_USAGE,
            "scatter_add: %s, bytes 0x%" PRIxPTR " to 0x%" PRIxPTR ", overlaps %s, bytes 0x%" PRIxPTR
            " to 0x%" PRIxPTR,
            a.name, p, p + a.bytes, b.name, q, q + b.bytes);
}

static struct range range_of(const char *name, struct sy_bytes b) {
    return (struct range){name, b.at, b.at ? b.n : 0};
}

sy_status sy_scatter_add_check(const struct sy_scatter_memory *m) {
    struct range to = range_of("out", m->out);
    SY_TRY(apart(to, range_of("src", m->src)));
    SY_TRY(apart(to, range_of("index", m->index)));
    return apart(to, range_of("protect", m->protect));
}

int sy_scatter_add_overlaps(const struct sy_scatter_memory *m) {
    struct range to = range_of("out", m->out);
    return overlap(to, range_of("src", m->src)) || overlap(to, range_of("index", m->index)) ||
           overlap(to, range_of("protect", m->protect));
}

/* --- execution ------------------------------------------------------------------------------------------ */

/* The calling thread, with `floats` of scratch: free(x->scratch). */
static sy_status exec_open(int64_t floats, struct sy_exec *x) {
    const struct sy_ops *ops;
    SY_TRY(sy_ops_select("auto", &ops));
    *x = (struct sy_exec){.ops = ops,
                          .device = sy_device_cpu(),
                          .scratch_bytes = ((size_t)floats * sizeof(float) + 63) / 64 * 64};
    sy_exec_set_class(x, SY_NUMERIC_FP32);
    if (x->scratch_bytes && !(x->scratch = aligned_alloc(64, x->scratch_bytes)))
        SY_FAIL(SY_ERR_MEMORY, "out of memory: %zu bytes of scratch", x->scratch_bytes);
    return SY_OK;
}

/* --- top-k ---------------------------------------------------------------------------------------------- */

sy_status sy_topk_shape(int64_t rows, int64_t n, int64_t k, int64_t *out_rows, int64_t *out_k) {
    return sy_topk_check(rows, n, k, out_rows, out_k);
}

sy_status sy_topk(const float *x, int64_t rows, int64_t n, int64_t k, int smallest, int sorted, float *values,
                  int32_t *ids) {
    struct sy_exec exec;
    int64_t bad;
    SY_TRY(sy_topk_check(rows, n, k, &rows, &k));
    for (int64_t i = 0; i < rows * n; i++)
        if (x[i] != x[i])
            SY_FAIL(SY_ERR_NONFINITE, "topk: NaN in row %" PRId64 ", column %" PRId64, i / n, i % n);
    SY_TRY(exec_open(n, &exec));
    exec.ops->topk(&exec, &(struct sy_topk){rows, n, k, smallest, sorted, x, values, ids, &bad});
    free(exec.scratch);
    return SY_OK;
}

/* Every id in range, none twice in its row; taken: [n], zeros before and after. */
static sy_status check_ids(const int32_t *ids, int64_t rows, int64_t n, int64_t k, unsigned char *taken) {
    for (int64_t r = 0; r < rows; r++) {
        const int32_t *row = ids + r * k;
        for (int64_t j = 0; j < k; j++) {
            if (row[j] < 0 || row[j] >= n)
                SY_FAIL(SY_ERR_USAGE,
                        "topk: id %" PRId64 " of row %" PRId64 " is %" PRId32 ": must be 0 to %" PRId64, j, r,
                        row[j], n - 1);
            if (taken[row[j]]++)
                SY_FAIL(SY_ERR_USAGE,
                        "topk: id %" PRId64 " of row %" PRId64 " is %" PRId32 ", as an earlier one", j, r,
                        row[j]);
        }
        for (int64_t j = 0; j < k; j++)
            taken[row[j]] = 0;
    }
    return SY_OK;
}

sy_status sy_topk_bwd(const float *dvalues, const int32_t *ids, int64_t rows, int64_t n, int64_t k,
                      float *dx) {
    struct sy_exec exec;
    SY_TRY(sy_topk_check(rows, n, k, &rows, &k));
    SY_TRY(exec_open((n + 3) / 4, &exec));
    if (exec.scratch)
        memset(exec.scratch, 0, (size_t)n);
    sy_status status = check_ids(ids, rows, n, k, (unsigned char *)exec.scratch);
    if (status == SY_OK)
        exec.ops->topk_bwd(&exec, &(struct sy_topk_bwd){rows, n, k, ids, dvalues, dx});
    free(exec.scratch);
    return status;
}

/* --- scatter_add ---------------------------------------------------------------------------------------- */

struct scatter {
    const float *src, *scale, *base; /* base: what out begins with */
    const int32_t *index;
    int64_t n, d, out_rows;
    struct sy_bytes protect;
    int in_place; /* out begins with what it holds; else with base, or zeros without one */
};

static sy_status scatter(const struct scatter *c, float *out) {
    size_t src_bytes = 0, index_bytes = 0, out_bytes = 0;
    struct sy_exec exec;
    SY_TRY(array_bytes("scatter_add: src", c->n, c->d, &src_bytes));
    SY_TRY(array_bytes("scatter_add: index", c->n, 1, &index_bytes));
    SY_TRY(array_bytes("scatter_add: out", c->out_rows, c->d, &out_bytes));
    SY_TRY(sy_scatter_add_check(&(struct sy_scatter_memory){
        {out, out_bytes}, {c->src, src_bytes}, {c->index, index_bytes}, c->protect}));
    struct range to = {"out", out, out_bytes};
    SY_TRY(apart(to, (struct range){"scale", c->scale, c->scale ? index_bytes : 0}));
    SY_TRY(apart(to, (struct range){"base", c->base, c->base ? out_bytes : 0}));
    for (int64_t i = 0; i < c->n; i++)
        if (c->index[i] < 0 || c->index[i] >= c->out_rows)
            SY_FAIL(SY_ERR_USAGE, "scatter_add: index %" PRId64 " is %" PRId32 ": must be 0 to %" PRId64, i,
                    c->index[i], c->out_rows - 1);
    SY_TRY(exec_open(0, &exec));
    if (c->base && out_bytes)
        memcpy(out, c->base, out_bytes);
    else if (!c->in_place && out_bytes)
        memset(out, 0, out_bytes);
    exec.ops->scatter_add(&exec,
                          &(struct sy_scatter_add){.n = c->n,
                                                   .d = c->d,
                                                   .out_rows = c->out_rows,
                                                   .index = c->index,
                                                   .scale = c->scale,
                                                   .src = sy_mat_of((void *)(uintptr_t)c->src, SY_F32, c->d),
                                                   .out = sy_mat_of(out, SY_F32, c->d)});
    return SY_OK;
}

sy_status sy_scatter_add(const float *src, const int32_t *index, const float *scale, int64_t n, int64_t d,
                         const float *base, int64_t out_rows, float *out) {
    return scatter(&(struct scatter){src, scale, base, index, n, d, out_rows, {NULL, 0}, 0}, out);
}

sy_status sy_scatter_add_in_place(const float *src, const int32_t *index, const float *scale, int64_t n,
                                  int64_t d, const void *protect, size_t protect_bytes, int64_t out_rows,
                                  float *out) {
    return scatter(&(struct scatter){src, scale, NULL, index, n, d, out_rows, {protect, protect_bytes}, 1},
                   out);
}
