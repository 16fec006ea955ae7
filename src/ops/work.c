/* What a call of an op is: operands, rows, lists, text. See work.h. */
#include <stdio.h>

#include "ops/work_make.h"

void sy_work_add(struct sy_op_work *w, const char *name, const void *data, int64_t element, int passes,
                 int n_dims, const int64_t *dim) {
    double bytes = (double)(element * passes);
    if (!data)
        return;
    struct sy_op_work_operand o = {.name = name, .passes = passes, .n_dims = n_dims, .element = element};
    for (int i = 0; i < n_dims; i++) {
        o.dim[i] = dim[i];
        bytes *= (double)dim[i];
    }
    w->bytes += bytes;
    if (w->n < SY_WORK_OPERANDS)
        w->operand[w->n++] = o;
}

int64_t sy_work_count(const struct sy_op_work *w, const int64_t *at) {
    const struct sy_device *d = w->from->device;
    int64_t n = 0;
    d->copy(d, &n, at, sizeof n);
    return sy_exec_wait(w->from) == SY_OK ? n : 0; /* a failure is said by the step's own wait */
}

int64_t sy_work_rows(struct sy_op_work *w, const struct sy_rows *r) {
    if (!r->offset)
        return r->max_rows;
    if (w->from)
        return sy_work_count(w, r->offset + r->groups * r->sequences);
    w->planned = 1;
    return r->max_rows;
}

int64_t sy_work_segments(struct sy_op_work *w, const struct sy_dw *p) {
    const struct sy_rows *r = &p->rows;
    int64_t n = 0;
    if (p->n_segments == r->sequences || r->sequences == 0)
        return sy_work_rows(w, r);
    if (!r->offset || !w->from) {
        w->planned |= r->offset != NULL;
        return r->max_rows / r->sequences * p->n_segments;
    }
    for (int64_t g = 0; g < r->groups; g++) {
        const int64_t *at = r->offset + g * r->sequences + p->first;
        n += sy_work_count(w, at + p->n_segments) - sy_work_count(w, at);
    }
    return n;
}

int64_t sy_work_used(struct sy_op_work *w, const int64_t *used, int64_t n) {
    if (!used)
        return n;
    if (w->from)
        return sy_work_count(w, used);
    w->planned = 1;
    return n;
}

void sy_work_item(struct sy_op_work *w, const struct sy_op_work *item) {
    if (w->items++ == 0) {
        *w = *item;
        w->items = 1;
        return;
    }
    w->bytes += item->bytes;
    w->flops += item->flops;
    w->planned |= item->planned;
}

/* snprintf at *at, which stays inside. */
#define ADD(...)                                                                \
    do {                                                                        \
        int n_ = snprintf(text + at, (size_t)(SY_WORK_TEXT - at), __VA_ARGS__); \
        at = at + n_ < SY_WORK_TEXT ? at + n_ : SY_WORK_TEXT - 1;               \
    } while (0)

const char *sy_work_text(const struct sy_op_work *w, char text[SY_WORK_TEXT]) {
    int at = 0;
    text[0] = 0;
    for (int i = 0; i < w->n; i++) {
        const struct sy_op_work_operand *o = &w->operand[i];
        ADD("%s%s [", i ? ", " : "", o->name);
        for (int d = 0; d < o->n_dims; d++)
            ADD("%s%lld", d ? ", " : "", (long long)o->dim[d]);
        ADD("]");
    }
    if (w->items > 1)
        ADD(" … of %lld", (long long)w->items);
    return text;
}
