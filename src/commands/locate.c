/* switchyard diff --locate: see locate.h. */
#include "commands/locate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/fmath.h"
#include "commands/redo.h"
#include "ops/trace.h"
#include "train/io.h"

struct name { /* of a value */
    const char *what;
    int64_t of, first, n, round; /* layer, sequence; or parameter, lanes and round */
};

struct value {
    struct name name;
    uint64_t hash;
};

struct values {
    struct value *v;
    int64_t n, capacity;
    const struct sy_session *s;
    const struct name *wanted; /* this one's numbers are kept */
    char *kept;
    size_t kept_bytes, element;
    int64_t columns;
    char *host; /* what is looked at */
    size_t host_bytes;
    sy_status status;
};

/* --- looking -------------------------------------------------------------------------------------------- */

static int order(const struct name *a, const struct name *b) {
    const int64_t x[] = {a->of, a->first, a->n, a->round}, y[] = {b->of, b->first, b->n, b->round};
    int c = strcmp(a->what, b->what);
    for (int i = 0; i < 4 && c == 0; i++)
        c = (x[i] > y[i]) - (x[i] < y[i]);
    return c;
}
static int by_name(const void *a, const void *b) {
    return order(&((const struct value *)a)->name, &((const struct value *)b)->name);
}
static int grow(void **memory, size_t bytes) {
    void *more = realloc(*memory, bytes + 1);
    if (more)
        *memory = more;
    return more != NULL;
}

static int has_room(struct values *t, size_t bytes) {
    if (t->status != SY_OK)
        return 0;
    int64_t capacity = t->n == t->capacity ? 2 * t->capacity + 64 : t->capacity;
    if (grow((void **)&t->v, (size_t)capacity * sizeof *t->v) &&
        (bytes <= t->host_bytes || grow((void **)&t->host, bytes))) {
        t->capacity = capacity;
        t->host_bytes = bytes > t->host_bytes ? bytes : t->host_bytes;
        return 1;
    }
    t->status = sy_fail(SY_ERR_MEMORY, "no memory to look at %zu bytes of a step", bytes);
    return 0;
}

/* bytes at x, which has `columns` elements in a row. */
static void look(struct values *t, const struct name *name, const void *x, size_t bytes, size_t element,
                 int64_t columns) {
    const struct sy_device *d = t->s->exec.device;
    if (!has_room(t, bytes))
        return;
    d->copy(d, t->host, x, bytes);
    t->status = sy_exec_wait(&t->s->exec);
    if (t->status != SY_OK)
        return;
    t->v[t->n] = (struct value){*name, XXH3_64bits(t->host, bytes)};
    t->n++;
    if (!t->wanted || order(t->wanted, name) != 0 || !grow((void **)&t->kept, bytes))
        return;
    memcpy(t->kept, t->host, bytes);
    t->kept_bytes = bytes;
    t->element = element;
    t->columns = columns;
}

static void look_at_rows(void *self, const struct sy_trace_rows *r) {
    struct values *t = self;
    size_t element = sy_dtype_bytes(r->x.dtype), bytes = (size_t)(r->seq_len * r->d) * element;
    for (int64_t i = 0; i < r->n; i++) {
        struct name name = {r->what, r->layer, sy_walk_sequence(&t->s->walk, r->first + i), 0, 0};
        look(t, &name, sy_mat_rows(r->x, i * r->seq_len).data, bytes, element, r->d);
    }
}

static const char gradient[] = "gradient";

static void look_at_sum(void *self, const struct sy_trace_sum *q) {
    struct values *t = self;
    struct name name = {gradient, q->param, q->lane, q->lanes, q->round};
    look(t, &name, q->x, (size_t)q->n * sizeof *q->x, sizeof *q->x, t->s->params->param[q->param].cols);
}

static const char weight[] = "weight";

/* The masters as the step leaves them. */
static void look_at_weights(struct values *t) {
    const struct sy_state *s = &t->s->state;
    for (int i = 0; i < s->params->n_tensors; i++) {
        const struct sy_tensor *q = &s->params->tensor[i];
        struct name name = {weight, i, 0, 0, 0};
        look(t, &name, s->of[SY_STATE_W][i], (size_t)q->n * sizeof(float), sizeof(float),
             q->dims[q->n_dims - 1]);
    }
}

/* --- a run's step --------------------------------------------------------------------------------------- */

static sy_status traced(struct values *t, struct sy_session *s, int64_t done, int64_t step) {
    struct sy_trace trace = {t, look_at_rows, look_at_sum};
    struct sy_step_result r;
    for (; done < step - 1; done++)
        SY_TRY(sy_session_step(s, done, &r));
    t->s = s;
    s->exec.trace = &trace;
    sy_status status = sy_session_step(s, done, &r);
    s->exec.trace = NULL;
    if (status == SY_OK)
        look_at_weights(t);
    return status == SY_OK ? t->status : status;
}

static sy_status run_step(const char *run, int64_t step, const struct sy_log *log, struct values *t) {
    char where[SY_CKPT_PATH_BYTES];
    struct sy_config *c;
    struct sy_resume resume = {0};
    struct sy_session *s = NULL;
    int64_t done;
    t->n = 0;
    SY_TRY(sy_config_create(&c));
    sy_status status = sy_redo_config(run, step, c, where);
    if (status == SY_OK)
        status = sy_config_clear(c, SY_LAYER_FLAG, "diff", "moe.routes_out");
    if (status == SY_OK)
        status = sy_config_finish(c, false);
    if (status == SY_OK)
        status = sy_redo_find(run, step, log, &resume);
    if (status == SY_OK)
        status = sy_redo_start(c, log, &resume, NULL, &s, &done);
    if (status == SY_OK)
        status = traced(t, s, done, step);
    sy_session_destroy(s);
    sy_resume_fini(&resume);
    sy_config_destroy(c);
    return status;
}

/* --- the first that differs ----------------------------------------------------------------------------- */

/* Of a's values in their order; NULL: none. *other: b's of the same name, or NULL. b is sorted. */
static const struct value *first_other(const struct values *a, struct values *b, const struct value **other) {
    qsort(b->v, (size_t)b->n, sizeof *b->v, by_name);
    for (int64_t i = 0; i < a->n; i++) {
        *other = bsearch(&a->v[i], b->v, (size_t)b->n, sizeof *b->v, by_name);
        if (!*other || (*other)->hash != a->v[i].hash)
            return &a->v[i];
    }
    return NULL;
}

static void print_bits(const struct values *t, size_t at, const struct sy_io *io) {
    uint32_t word = 0;
    float x;
    memcpy(t->element == 4 ? (char *)&word : (char *)&word + 2, t->kept + at, t->element);
    memcpy(&x, &word, sizeof x);
    if (t->element == 4)
        sy_io_printf(io, "    %08" PRIx32 "  %.9g\n", word, (double)x);
    else
        sy_io_printf(io, "    %04" PRIx32 "  %.9g\n", word >> 16, (double)x);
}

static void print_name(const struct name *q, const struct sy_params *p, const struct sy_io *io) {
    const char *of = "";
    if (q->what == weight) {
        sy_io_printf(io, "  %s after the update; all before it is equal", p->tensor[q->of].name);
        return;
    }
    if (q->what != gradient) {
        sy_io_printf(io, "  layer %" PRId64 ": %s, sequence %" PRId64 " of the batch", q->of, q->what,
                     q->first);
        return;
    }
    for (int i = p->n_tensors - 1; i >= 0; i--)
        if (p->tensor[i].param == q->of)
            of = p->tensor[i].name;
    sy_io_printf(io, "  gradient from %s on: lane%s %" PRId64, of, q->n > 1 ? "s" : "", q->first);
    if (q->n > 1)
        sy_io_printf(io, " to %" PRId64 ", a node of the tree", q->first + q->n - 1);
    else
        sy_io_printf(io, ", after round %" PRId64, q->round);
}

/* Both runs' numbers of the value; equal sizes. */
static void print_element(const struct values *a, const struct values *b, const struct sy_io *io) {
    size_t at = 0;
    if (!a->kept || !b->kept || a->kept_bytes != b->kept_bytes) {
        sy_io_printf(io, "\n    %zu and %zu bytes\n", a->kept_bytes, b->kept_bytes);
        return;
    }
    while (at < a->kept_bytes && memcmp(a->kept + at, b->kept + at, a->element) == 0)
        at += a->element;
    if (at == a->kept_bytes) {
        sy_io_printf(io, ": it differed, and does not any more\n");
        return;
    }
    int64_t i = (int64_t)(at / a->element);
    sy_io_printf(io, ", row %" PRId64 ", column %" PRId64 "\n", i / a->columns, i % a->columns);
    print_bits(a, at, io);
    print_bits(b, at, io);
}

static void free_values(struct values *t) {
    free(t->v);
    free(t->kept);
    free(t->host);
}

static sy_status compare(const char *a, const char *b, int64_t step, const struct sy_io *io,
                         struct values t[2]) {
    struct sy_log log = {0};
    const char *run[] = {a, b};
    const struct value *first, *other;
    struct sy_params *params;
    struct sy_config *c;
    char where[SY_CKPT_PATH_BYTES];
    for (int i = 0; i < 2; i++)
        SY_TRY(run_step(run[i], step, &log, &t[i]));
    first = first_other(&t[0], &t[1], &other);
    if (!first) {
        sy_io_printf(io,
                     "step %" PRId64 " again: %" PRId64
                     " values are equal: what made it differ cannot be repeated\n",
                     step, t[0].n);
        return SY_OK;
    }
    struct name name = first->name;
    int missing = !other;
    for (int i = 0; i < 2; i++) {
        t[i].wanted = &name;
        SY_TRY(run_step(run[i], step, &log, &t[i]));
    }
    SY_TRY(sy_config_create(&c));
    sy_status status = sy_redo_config(a, step, c, where);
    if (status == SY_OK)
        status = sy_params_create(&c->model, &c->moe, &params);
    if (status == SY_OK) {
        sy_io_printf(io, "step %" PRId64 " again: the first value that differs\n", step);
        print_name(&name, params, io);
        if (missing)
            sy_io_printf(io, ": only the first run has it\n");
        else
            print_element(&t[0], &t[1], io);
        sy_params_destroy(params);
    }
    sy_config_destroy(c);
    return status;
}

sy_status sy_locate(const char *a, const char *b, int64_t step, const struct sy_io *io) {
    struct values t[2] = {{0}, {0}};
    sy_status status = compare(a, b, step, io, t);
    free_values(&t[0]);
    free_values(&t[1]);
    return status;
}
