/* switchyard bench tune: which tile each product of a training's step is fastest with on this GPU
 * (ops/tiles.h).
 *
 *     a step of the configuration, enqueued, with a table of ops around the GPU's: the first call of each
 *     shape is repeated with every tile, on the step's own operands; then the step goes on
 *
 * What repeating does to its numbers is of no account. A tile's time is the median of rounds, in which all
 * tiles take turns, each a queue of calls and one wait. A shape whose fastest tile is not the one that it
 * would take, and faster by WORTH at least, is a row for tiles.def.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/sized.h"
#include "commands/bench.h"
#include "commands/bench_steps.h"
#include "comm/world.h"
#include "train/io.h"
#include "train/session.h"
#include "train/start.h"

enum { SHAPES = 256, SIZES = 12, ROUNDS = 9, MOST_CALLS = 256 };
static const double QUEUE = 2e-3, WORTH = 0.025; /* seconds of a queue; of a time */

static const int columns[] = {256, 128, 64}, bands[] = {16, 8, 32, 64};

struct tune {
    struct sy_ops ops; /* first: an op finds this by its exec's table */
    const struct sy_ops *inner;
    struct sy_tuning tuning;
    struct sy_product_shape known[SHAPES];
    int n_known, n_rows;
    const struct sy_io *io;
    FILE *to;
    sy_status status;
};

/* --- time ----------------------------------------------------------------------------------------------- */

struct timed {
    struct sy_tile_size size;
    double round[ROUNDS], seconds;
};

struct product_call { /* an op, whichever of the three it is */
    const struct sy_exec *x;
    void (*run)(const struct sy_ops *ops, const struct sy_exec *x, const void *op);
    const void *op;
};

static double queue(struct tune *t, const struct product_call *c, struct sy_tile_size size, int calls) {
    double begin = sy_clock();
    t->tuning.forced = size;
    for (int i = 0; i < calls; i++)
        c->run(t->inner, c->x, c->op);
    if (t->status == SY_OK)
        t->status = sy_exec_wait(c->x);
    return sy_clock() - begin;
}

/* Sizes that this shape can take: bands differ only where there are more row tiles than the least. */
static int sizes_of(const struct sy_product_shape *s, struct timed *out) {
    int n = 0, several = s->m > (int64_t)bands[1] * 128;
    for (int c = 0; c < 3; c++)
        for (int b = 0; b < (several ? 4 : 1) && columns[c] >= sy_product_least(s->product); b++)
            out[n++].size = (struct sy_tile_size){columns[c], bands[b]};
    return n;
}

static int is_size(struct sy_tile_size a, struct sy_tile_size b) {
    return a.columns == b.columns && a.band == b.band;
}

static void measure(struct tune *t, const struct product_call *c, struct timed *at, int n) {
    int calls = 1;
    for (int i = 0; i < n; i++)
        queue(t, c, at[i].size, 1); /* what a kernel does once */
    while (queue(t, c, at[0].size, calls) < QUEUE && calls < MOST_CALLS && t->status == SY_OK)
        calls *= 2;
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < n && t->status == SY_OK; i++)
            at[i].round[r] = queue(t, c, at[i].size, calls) / calls;
    for (int i = 0; i < n && t->status == SY_OK; i++) {
        qsort(at[i].round, ROUNDS, sizeof(double), sy_bench_by_time);
        at[i].seconds = at[i].round[ROUNDS / 2];
    }
}

/* --- what is found -------------------------------------------------------------------------------------- */

static void write_row(struct tune *t, const struct sy_product_shape *s, struct sy_tile_size size) {
    t->n_rows++;
    if (t->to)
        fprintf(t->to, "X(%d, %s, %lld, %lld, %lld, %lld, %d, %d)\n", t->tuning.multiprocessors,
                sy_product_name(s->product), (long long)s->m, (long long)s->n, (long long)s->k,
                (long long)s->groups, size.columns, size.band);
}

static void print_head(const char *name, const struct sy_io *io) {
    sy_io_printf(
        io,
        "%s: microseconds of a product by tiles of so many columns, the best of their bands of row tiles\n"
        "%-14s %-22s %6s %13s %13s %13s  %-8s  %s\n",
        name, "product", "m x n x k", "groups", "256", "128", "64", "takes", "faster");
}

/* The best band of tiles of so many columns. */
static void print_best(const struct tune *t, const struct timed *at, int n, int width) {
    int best = -1;
    for (int i = 0; i < n; i++)
        if (at[i].size.columns == width && (best < 0 || at[i].seconds < at[best].seconds))
            best = i;
    if (best < 0)
        sy_io_printf(t->io, " %13s", "-");
    else
        sy_io_printf(t->io, " %8.1f / %-2d", 1e6 * at[best].seconds, at[best].size.band);
}

static void report(struct tune *t, const struct sy_product_shape *s, const struct timed *at, int n) {
    struct sy_tile_size own = sy_tile_choose(NULL, t->tuning.multiprocessors, s);
    int now = 0, best = 0;
    for (int i = 0; i < n; i++) {
        best = at[i].seconds < at[best].seconds ? i : best;
        now = is_size(at[i].size, own) ? i : now;
    }
    int better = at[best].seconds < (1 - WORTH) * at[now].seconds;
    char shape[80];
    snprintf(shape, sizeof shape, "%lld x %lld x %lld", (long long)s->m, (long long)s->n, (long long)s->k);
    sy_io_printf(t->io, "%-14s %-22s %6lld", sy_product_name(s->product), shape, (long long)s->groups);
    for (int c = 0; c < 3; c++)
        print_best(t, at, n, columns[c]);
    sy_io_printf(t->io, "  %3d / %-2d", own.columns, own.band);
    if (better)
        sy_io_printf(t->io, "  %3d / %-2d  %4.1f %%", at[best].size.columns, at[best].size.band,
                     100 * (1 - at[best].seconds / at[now].seconds));
    sy_io_printf(t->io, "\n");
    if (better)
        write_row(t, s, at[best].size);
}

/* --- ops ------------------------------------------------------------------------------------------------ */

static int is_known(const struct tune *t, const struct sy_product_shape *s) {
    for (int i = 0; i < t->n_known; i++)
        if (sy_product_same(&t->known[i], s))
            return 1;
    return 0;
}

/* Does the op; if it is one product of a new shape, again by every tile. */
static void tune(const struct product_call *c) {
    struct tune *t = (struct tune *)(uintptr_t)c->x->ops;
    struct timed at[SIZES];
    t->tuning.n = 0;
    t->tuning.forced.columns = 0;
    c->run(t->inner, c->x, c->op);
    if (t->tuning.n != 1 || is_known(t, &t->tuning.seen[0]) || t->n_known == SHAPES || t->status != SY_OK)
        return;
    struct sy_product_shape shape = t->known[t->n_known++] = t->tuning.seen[0];
    int n = sizes_of(&shape, at);
    measure(t, c, at, n);
    if (t->status == SY_OK)
        report(t, &shape, at, n);
}

#define PRODUCT(name, type)                                                                     \
    static void run_##name(const struct sy_ops *ops, const struct sy_exec *x, const void *op) { \
        ops->name(x, op);                                                                       \
    }                                                                                           \
    static void tune_##name(const struct sy_exec *x, const struct type *op) {                   \
        tune(&(struct product_call){x, run_##name, op});                                        \
    }
PRODUCT(linear, sy_linear)
PRODUCT(linear_dx, sy_linear_dx)
PRODUCT(linear_dw, sy_linear_dw)

/* Those of experts are launches of their own: one by one. */
static void tune_each_dw(const struct sy_exec *x, const struct sy_linear_dw *op) {
    for (int i = 0, n; i < op->n_problems; i += n) {
        for (n = 1; op->problem[i].rows.groups == 1 && i + n < op->n_problems &&
                    op->problem[i + n].rows.groups == 1;)
            n++;
        tune_linear_dw(x, &(struct sy_linear_dw){op->problem + i, n});
    }
}

/* --- the file of rows ----------------------------------------------------------------------------------- */

static sy_status failed(const char *path) {
    SY_FAIL(SY_ERR_IO, "bench tune --tiles %s: cannot be written: %s", path, strerror(errno));
}

/* To append to; a new one begins with what its rows are. */
static sy_status open_rows(const char *path, FILE **out) {
    *out = path ? fopen(path, "a") : NULL;
    if (path && !*out)
        return failed(path);
    if (path && ftell(*out) == 0)
        fprintf(*out, "/* Tiles of products that were measured and beat the rule (tiles.h): `switchyard "
                      "bench tune --tiles`\n"
                      " * appends to this file; of a shape's rows the last counts.\n"
                      " * X(multiprocessors, product, m, n, k, groups, columns, band) */\n");
    return SY_OK;
}

static sy_status close_rows(const char *path, FILE *to) {
    int bad = to && ferror(to);
    if (to && (fclose(to) || bad))
        return failed(path);
    return SY_OK;
}

/* --- a configuration ------------------------------------------------------------------------------------ */

static void install(struct tune *t, struct sy_exec *x) {
    t->inner = x->ops;
    t->ops = *x->ops;
    t->ops.inner = x->ops;
    t->ops.linear = tune_linear;
    t->ops.linear_dx = tune_linear_dx;
    t->ops.linear_dw = tune_each_dw;
    x->ops = &t->ops;
    x->tuning = &t->tuning;
}

struct job {
    const char *name, *tiles; /* a file, or NULL */
    struct sy_config *config;
    const struct sy_io *io;
    int rows;
};

static sy_status tune_step(struct tune *t, struct sy_session *session, const struct job *job) {
    struct sy_step_result result;
    SY_TRY(open_rows(job->tiles, &t->to));
    install(t, &session->exec);
    print_head(job->name, job->io);
    sy_bench_fill(session, 0, 1);
    sy_status status = sy_session_step_filled(session, 0, &result), closed = close_rows(job->tiles, t->to);
    status = status == SY_OK ? t->status : status;
    return status == SY_OK ? closed : status;
}

static sy_status run(const struct sy_comm *world, void *arg) {
    struct job *job = arg;
    struct sy_log log = sy_io_log(job->io);
    struct sy_session *session = NULL;
    struct tune *t = calloc(1, sizeof *t);
    if (!t)
        SY_FAIL(SY_ERR_MEMORY, "bench tune: no memory for the shapes of a step");
    t->io = job->io;
    sy_status status = sy_session_join(
        &(struct sy_session_options){
            .config = job->config, .log = &log, .parts = SY_SESSION_TRAIN | SY_SESSION_INIT, .world = world},
        &session);
    if (status == SY_OK)
        status = tune_step(t, session, job);
    job->rows = t->n_rows;
    sy_session_destroy(session);
    free(t);
    return status;
}

sy_status sy_bench_tune(const char *name, struct sy_config *config, const struct sy_bench_tune_options *given,
                        const struct sy_io *io) {
    struct sy_bench_tune_options own;
    struct sy_log log = sy_io_log(io);
    int ordinal, ranks;
    SY_TRY(SY_OPTIONS(sy_bench_tune_options, given, &own));
    struct job job = {name, own.tiles, config, io, 0};
    SY_TRY(sy_start_finish(config, &log));
    if (!sy_config_cuda(config, &ordinal))
        SY_FAIL(SY_ERR_USAGE, "bench tune %s: run.device = %s: tiles are a GPU's: --run.device=cuda", name,
                sy_config_word(config, "run.device"));
    struct sy_world_options world = sy_world_options(config);
    SY_TRY(sy_world_size(&world, &ranks, NULL));
    if (ranks > 1)
        SY_FAIL(SY_ERR_USAGE, "bench tune %s: %d ranks: one measures its GPU alone: choose run.ranks = 1",
                name, ranks);
    SY_TRY(sy_world_run(&world, run, &job));
    sy_io_printf(io, "%d rows%s%s\n", job.rows, own.tiles ? " in " : ": --tiles FILE keeps them",
                 own.tiles ? own.tiles : "");
    return SY_OK;
}
