/* switchyard bench gemm|moe|layers: what they share, and the choice. */
#include "commands/bench.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/sized.h"
#include "formats/json.h"
#include "train/io.h"

/* --- medians and peaks ---------------------------------------------------------------------------------- */

int sy_bench_by_time(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double sy_bench_median(int n, double *a) {
    qsort(a, (size_t)n, sizeof *a, sy_bench_by_time);
    return a[n / 2];
}

double sy_bench_peak(const struct sy_exec *x) { return sy_ops_peak_now(x, 2e-3).flops; }

sy_status sy_bench_quote(const char *name, char **out) {
    json_t *string;
    SY_TRY(sy_json_string("bench", name, &string));
    *out = sy_json_dumps(string, JSON_ENCODE_ANY);
    json_decref(string);
    if (!*out)
        SY_FAIL(SY_ERR_MEMORY, "bench: no memory for the name of a config");
    return SY_OK;
}

/* --- classes and tiers ---------------------------------------------------------------------------------- */

static int is_word(const char *word, const char *name) { return !word || strcmp(word, name) == 0; }

int sy_bench_takes(const struct sy_bench_options *o, int cls, int tier) {
    return is_word(o->numeric_class, sy_class_name((enum sy_numeric_class)cls)) &&
           is_word(o->tier, sy_ops_tier_name(tier));
}

sy_status sy_bench_check(const struct sy_bench_options *o) {
    const struct sy_ops *ops;
    int cls = 0;
    while (cls < SY_N_CLASSES && !is_word(o->numeric_class, sy_class_name((enum sy_numeric_class)cls)))
        cls++;
    if (cls == SY_N_CLASSES)
        SY_FAIL(SY_ERR_USAGE, "bench --class %s: there is no such class; `switchyard info` lists them",
                o->numeric_class);
    return o->tier ? sy_ops_select(o->tier, &ops) : SY_OK;
}

sy_status sy_bench_choose(const struct sy_bench_options *o, struct sy_exec *x) {
    int cls = SY_NUMERIC_X86;
    for (int i = 0; o->numeric_class && i < SY_N_CLASSES; i++)
        if (is_word(o->numeric_class, sy_class_name((enum sy_numeric_class)i)))
            cls = i;
    sy_exec_set_class(x, (enum sy_numeric_class)cls);
    return sy_ops_select(o->tier ? o->tier : "auto", &x->ops);
}

/* --- copies --------------------------------------------------------------------------------------------- */

struct copy {
    char *to;
    const char *from;
    int64_t bytes;
};

static void copy_part(void *arg, int thread, int n_threads) {
    const struct copy *c = arg;
    int64_t lo, hi;
    sy_range(c->bytes, 4096, thread, n_threads, &lo, &hi);
    memcpy(c->to + lo, c->from + lo, (size_t)(hi - lo));
}

void sy_bench_copy(const struct sy_exec *x, void *to, const void *from, int64_t bytes) {
    sy_pool_run(x->pool, copy_part, &(struct copy){to, from, bytes});
}

/* --- the choice ----------------------------------------------------------------------------------------- */

sy_status sy_bench(const char *what, const struct sy_bench_options *given, const struct sy_io *io) {
    struct sy_bench_options own;
    SY_TRY(SY_OPTIONS(sy_bench_options, given, &own));
    const struct sy_bench_options *options = &own;
    static const struct {
        const char *name;
        sy_status (*run)(struct sy_exec *x, const struct sy_bench_options *o, const struct sy_io *io);
    } list[] = {{"gemm", sy_bench_gemm}, {"moe", sy_bench_moe}, {"layers", sy_bench_layers}};
    struct sy_exec x = {.device = sy_device_cpu()};
    size_t n = sizeof list / sizeof *list, i = 0;
    while (i < n && strcmp(what, list[i].name) != 0)
        i++;
    if (i == n)
        SY_FAIL(SY_ERR_USAGE, "bench %s: must be gemm, moe, layers, ops, model or scaling%s", what,
                strcmp(what, "attention") == 0 ? "; attention alone is timed on a GPU: --device cuda" : "");
    SY_TRY(sy_bench_check(options));
    SY_TRY(sy_pool_create(options->threads, &x.pool));
    sy_status status = SY_OK;
    x.scratch_bytes = sy_ops_scratch_bytes(SY_BENCH_ROW, 64, 64);
    x.scratch = aligned_alloc(64, x.scratch_bytes * (size_t)sy_pool_size(x.pool));
    if (!x.scratch)
        status = sy_fail(SY_ERR_MEMORY, "bench %s: no memory for the scratch of %d threads", what,
                         sy_pool_size(x.pool));
    else
        status = list[i].run(&x, options, io);
    free(x.scratch);
    sy_pool_destroy(x.pool);
    return status;
}
