/* The values of a step, taken and compared: see values.h. */
#include "commands/values.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "ops/trace.h"
#include "train/feed.h"
#include "train/io.h"

/* What values are that no op shows. */
static const char tokens[] = "tokens", gradient[] = "gradient", routes[] = "routes of each expert",
                  joined[] = "joined gradient", norm[] = "norm", weight[] = "weight";

void sy_values_fini(struct sy_values *t) {
    free(t->v);
    free(t->kept);
    free(t->host);
    *t = (struct sy_values){0};
}

static int order(const struct sy_value_name *a, const struct sy_value_name *b) {
    const int64_t x[] = {a->of, a->first, a->n, a->round}, y[] = {b->of, b->first, b->n, b->round};
    int c = strcmp(a->what, b->what);
    for (int i = 0; i < 4 && c == 0; i++)
        c = (x[i] > y[i]) - (x[i] < y[i]);
    return c;
}
static int by_name(const void *a, const void *b) {
    return order(&((const struct sy_value *)a)->name, &((const struct sy_value *)b)->name);
}

/* --- looking -------------------------------------------------------------------------------------------- */

static int grow(void **memory, size_t bytes) {
    void *more = realloc(*memory, bytes + 1);
    if (more)
        *memory = more;
    return more != NULL;
}

static int has_room(struct sy_values *t, size_t bytes) {
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

struct seen { /* n numbers, in rows of `columns` */
    enum sy_value_type type;
    int64_t n, columns;
    const void *x;
};

static size_t element_bytes(enum sy_value_type type) {
    return type == SY_VALUE_BF16 ? 2 : type == SY_VALUE_F32 || type == SY_VALUE_I32 ? 4 : 8;
}

/* What lies in the host's memory. */
static void note(struct sy_values *t, const struct sy_value_name *name, const struct seen *q) {
    size_t bytes = (size_t)q->n * element_bytes(q->type);
    if (!has_room(t, 0))
        return;
    t->v[t->n++] = (struct sy_value){*name, XXH3_64bits(q->x, bytes)};
    if (!t->wanted || order(t->wanted, name) != 0 || !grow((void **)&t->kept, bytes))
        return;
    memcpy(t->kept, q->x, bytes);
    t->kept_bytes = bytes;
    t->type = q->type;
    t->columns = q->columns;
}

/* What lies in the device's. */
static void look(struct sy_values *t, const struct sy_value_name *name, const struct seen *q) {
    const struct sy_device *d = t->s->exec.device;
    size_t bytes = (size_t)q->n * element_bytes(q->type);
    if (!has_room(t, bytes))
        return;
    d->copy(d, t->host, q->x, bytes);
    t->status = sy_exec_wait(&t->s->exec);
    if (t->status == SY_OK)
        note(t, name, &(struct seen){q->type, q->n, q->columns, t->host});
}

static void note_tokens(struct sy_values *t) {
    const struct sy_session *s = t->s;
    int64_t n = s->config->training.seq_len;
    for (int64_t k = 0; k < sy_walk_length(&s->walk); k++) {
        struct sy_value_name name = {tokens, 0, sy_walk_sequence(&s->walk, k), 0, 0};
        note(t, &name, &(struct seen){SY_VALUE_I32, n, n, s->feed.ids + k * n});
    }
}

/* The first rows of a step: tokens come before them. Once more the same: what was seen was a step whose
 * experts had too little room, and which is computed again. */
static void begin_rows(struct sy_values *t, const struct sy_value_name *name) {
    if (t->n == 0) {
        note_tokens(t);
        t->begun = t->n;
    } else if (t->begun < t->n && order(&t->v[t->begun].name, name) == 0) {
        t->n = t->begun;
    }
}

static void look_at_rows(void *self, const struct sy_trace_rows *r) {
    struct sy_values *t = self;
    enum sy_value_type type = sy_dtype_bytes(r->x.dtype) == 2 ? SY_VALUE_BF16 : SY_VALUE_F32;
    for (int64_t i = 0; i < r->n; i++) {
        struct sy_value_name name = {r->what, r->layer, sy_walk_sequence(&t->s->walk, r->first + i), 0, 0};
        begin_rows(t, &name);
        look(t, &name, &(struct seen){type, r->seq_len * r->d, r->d, sy_mat_rows(r->x, i * r->seq_len).data});
    }
}

static void look_at_sum(void *self, const struct sy_trace_sum *q) {
    struct sy_values *t = self;
    struct sy_value_name name = {gradient, q->param, q->lane, q->lanes, q->round};
    look(t, &name, &(struct seen){SY_VALUE_F32, q->n, t->s->params->param[q->param].cols, q->x});
}

/* Of all ranks: each layer's routes, and the norm, as the update took them. */
static void note_totals(struct sy_values *t) {
    const struct sy_session *s = t->s;
    int64_t e = s->config->moe.num_experts;
    for (int i = 0; i < s->params->n_layers && e > 0; i++)
        note(t, &(struct sy_value_name){routes, i, 0, 0, 0},
             &(struct seen){SY_VALUE_I64, e, e, s->seen.counts + i * e});
}

/* This rank's part of each tensor; of: its gradient, or its master as the step leaves it. */
static void look_at_own(struct sy_values *t, const char *what) {
    const struct sy_session *s = t->s;
    for (int i = 0; i < s->params->n_tensors; i++) {
        const struct sy_tensor *q = &s->params->tensor[i];
        struct sy_range_of own = sy_state_own(&s->state, i);
        const float *x = s->state.of[SY_STATE_W][i];
        if (what == joined)
            x = sy_state_is_trained(s->params, i) && own.n > 0 ? sy_reduce_own(s->reduce, i) : NULL;
        if (own.n > 0 && x)
            look(t, &(struct sy_value_name){what, i, own.first, own.n, 0},
                 &(struct seen){SY_VALUE_F32, own.n, q->dims[q->n_dims - 1], x});
    }
}

sy_status sy_values_step(struct sy_values *t, struct sy_session *s, int64_t step,
                         struct sy_step_result *out) {
    struct sy_trace trace = {t, look_at_rows, look_at_sum};
    t->n = 0;
    t->status = SY_OK;
    t->s = s;
    s->exec.trace = &trace;
    sy_status status = sy_session_step(s, step, out);
    s->exec.trace = NULL;
    if (status == SY_OK) {
        note_totals(t);
        look_at_own(t, joined);
        note(t, &(struct sy_value_name){norm, 0, 0, 0, 0},
             &(struct seen){SY_VALUE_F64, 1, 1, &s->seen.verdict->norm});
        look_at_own(t, weight);
    }
    return status == SY_OK ? t->status : status;
}

/* --- comparing ------------------------------------------------------------------------------------------ */

static int is_of_model(const char *what) { return what == gradient || what == joined || what == weight; }

int64_t sy_values_differ(const struct sy_values *a, struct sy_values *b, int of_model, int *missing) {
    if (b->n > 0)
        qsort(b->v, (size_t)b->n, sizeof *b->v, by_name);
    for (int64_t i = 0; i < a->n; i++) {
        if (of_model && !is_of_model(a->v[i].name.what))
            continue;
        const struct sy_value *other =
            b->n > 0 ? bsearch(&a->v[i], b->v, (size_t)b->n, sizeof *b->v, by_name) : NULL;
        *missing = !other;
        if (!other || other->hash != a->v[i].hash)
            return i;
    }
    return -1;
}

/* --- said ----------------------------------------------------------------------------------------------- */

const char *sy_value_tensor(const struct sy_value_name *q, const struct sy_params *p) {
    const char *of = "";
    if (q->what != gradient)
        return p->tensor[q->of].name;
    for (int i = p->n_tensors + p->n_sites - 1; i >= 0; i--)
        if (p->tensor[i].param == q->of)
            of = p->tensor[i].name;
    return of;
}

void sy_value_print(const struct sy_value_name *q, const struct sy_params *p, const struct sy_io *io) {
    if (q->what == weight)
        sy_io_printf(io, "  %s after the update; all before it is equal", sy_value_tensor(q, p));
    else if (q->what == joined)
        sy_io_printf(io, "  gradient of %s, joined; all lanes' sums are equal", sy_value_tensor(q, p));
    else if (q->what == norm)
        sy_io_printf(io, "  the norm of the gradients, which are equal");
    else if (q->what == tokens)
        sy_io_printf(io, "  tokens, sequence %" PRId64 " of the batch", q->first);
    else if (q->what == routes)
        sy_io_printf(io, "  layer %" PRId64 ": %s", q->of, q->what);
    else if (q->what != gradient)
        sy_io_printf(io, "  layer %" PRId64 ": %s, sequence %" PRId64 " of the batch", q->of, q->what,
                     q->first);
    if (q->what != gradient)
        return;
    sy_io_printf(io, "  gradient from %s on: lane%s %" PRId64, sy_value_tensor(q, p), q->n > 1 ? "s" : "",
                 q->first);
    if (q->n > 1)
        sy_io_printf(io, " to %" PRId64 ", a node of the tree", q->first + q->n - 1);
    else
        sy_io_printf(io, ", after round %" PRId64, q->round);
}

static uint32_t word_at(const char *p) {
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return u;
}
static uint64_t wide_at(const char *p) {
    uint64_t u;
    memcpy(&u, p, sizeof u);
    return u;
}

static void print_number(const struct sy_values *t, int64_t i, const struct sy_io *io) {
    const char *at = t->kept + (size_t)i * element_bytes(t->type);
    uint16_t half;
    switch (t->type) {
    case SY_VALUE_BF16:
        memcpy(&half, at, sizeof half);
        sy_io_printf(io, "    %04x  %.9g\n", half, (double)sy_f32_from_bits((uint32_t)half << 16));
        break;
    case SY_VALUE_F32:
        sy_io_printf(io, "    %08" PRIx32 "  %.9g\n", word_at(at), (double)sy_f32_from_bits(word_at(at)));
        break;
    case SY_VALUE_F64:
        sy_io_printf(io, "    %016" PRIx64 "  %.17g\n", wide_at(at), sy_f64_from_bits(wide_at(at)));
        break;
    case SY_VALUE_I32:
        sy_io_printf(io, "    %" PRId32 "\n", (int32_t)word_at(at));
        break;
    case SY_VALUE_I64:
        sy_io_printf(io, "    %" PRId64 "\n", (int64_t)wide_at(at));
        break;
    }
}

void sy_value_print_element(const struct sy_values *a, const struct sy_values *b, const struct sy_io *io) {
    if (!a->kept || !b->kept || a->kept_bytes != b->kept_bytes) {
        sy_io_printf(io, "\n    %zu and %zu bytes\n", a->kept_bytes, b->kept_bytes);
        return;
    }
    size_t element = element_bytes(a->type), n = a->kept_bytes / element, i = 0;
    while (i < n && memcmp(a->kept + i * element, b->kept + i * element, element) == 0)
        i++;
    if (i == n) {
        sy_io_printf(io, ": it differed, and does not any more\n");
        return;
    }
    int64_t at = (int64_t)i + (a->wanted->what == weight || a->wanted->what == joined ? a->wanted->first : 0);
    sy_io_printf(io, n > 1 ? ", row %" PRId64 ", column %" PRId64 "\n" : "\n", at / a->columns,
                 at % a->columns);
    print_number(a, (int64_t)i, io);
    print_number(b, (int64_t)i, io);
}
