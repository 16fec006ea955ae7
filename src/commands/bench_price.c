/* What one answer on every layout costs: see bench_price.h. */
#include "commands/bench_price.h"

#include <stdlib.h>

#include "train/io.h"

enum { ELEMENTS = 1 << 22, TIMES = 5 };

/* ms of an element of y = y + x, the least of some times, by the profile's clock. */
static sy_status addition(const struct sy_exec *x, double (*clock)(void), double *ms) {
    float *a = calloc(2 * (size_t)ELEMENTS, sizeof *a);
    if (!a)
        SY_FAIL(SY_ERR_MEMORY, "bench model: no memory for an addition of %d elements", ELEMENTS);
    *ms = 0;
    for (int i = 0; i < TIMES; i++) {
        double begun = clock();
        x->ops->add_f32(x, &(struct sy_add_f32){&(struct sy_add_item){ELEMENTS, a, a + ELEMENTS}, 1});
        double took = 1e3 * (clock() - begun) / ELEMENTS;
        *ms = i == 0 || took < *ms ? took : *ms;
    }
    free(a);
    return SY_OK;
}

static double digest(struct sy_session *s, double (*clock)(void)) {
    double least = 0;
    for (int i = 0; i < TIMES; i++) {
        double begun = clock();
        sy_update_digest(s->update, s->step.verdict->digest);
        double took = 1e3 * (clock() - begun);
        least = i == 0 || took < least ? took : least;
    }
    return least;
}

sy_status sy_price_measure(struct sy_session *s, const struct sy_price_of *of, struct sy_price *out) {
    struct sy_gradients_work work = sy_gradients_work(s->gradients);
    const struct sy_profile *p = s->profile;
    double element = 0, rows = (double)(p->expert_rows + p->expert_padding);
    SY_TRY(addition(&s->exec, p->clock, &element));
    struct sy_price q = {.cut = element * (double)work.cut,
                         .folded = element * (double)work.folded,
                         .tree = of->tree,
                         .digest = digest(s, p->clock),
                         .padded = rows > 0 ? (double)p->expert_padding / rows : 0,
                         .step = of->step};
    q.padding = q.padded * of->experts;
    q.all = q.padding + q.cut + q.folded + q.tree + q.digest;
    *out = q;
    return SY_OK;
}

static void line(const struct sy_io *io, const struct sy_price *p, const char *what, double ms) {
    sy_io_printf(io, "  %-42s %9.2f %7.2f %%\n", what, ms, 100 * ms / p->step);
}

void sy_price_print(const struct sy_price *p, const struct sy_io *io) {
    char rows[64];
    snprintf(rows, sizeof rows, "padding of experts' leaves (%.1f %% of rows)", 100 * p->padded);
    sy_io_printf(io, "%-44s %9s %9s\n", "one answer on every layout, of a step", "ms", "");
    line(io, p, rows, p->padding);
    line(io, p, "leaves that are cut, at most", p->cut);
    line(io, p, "folds beyond a lane's first leaf, at most", p->folded);
    line(io, p, "tree: lanes, and nodes of ranks", p->tree);
    line(io, p, "digest of the weights, at most", p->digest);
    line(io, p, "in all", p->all);
}

void sy_price_json(const struct sy_price *p, const struct sy_io *io) {
    sy_io_printf(io,
                 "\"price_ms\":{\"padding\":%.4f,\"cut\":%.4f,\"folded\":%.4f,\"tree\":%.4f,\"digest\":%.4f,"
                 "\"all\":%.4f}",
                 p->padding, p->cut, p->folded, p->tree, p->digest, p->all);
}
