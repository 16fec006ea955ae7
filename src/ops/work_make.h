/* How the files work_*.c say what a call is (work.h). */
#ifndef SY_OPS_WORK_MAKE_H
#define SY_OPS_WORK_MAKE_H

#include "ops/work.h"

/* sy_work_<name> of an op `o`, of exec x, into `w`. */
#define OP(name, type) \
    void sy_work_##name(const struct sy_exec *x, const struct type *o, int reads, struct sy_op_work *w)
#define BEGIN (*w = (struct sy_op_work){.from = reads ? x : NULL})

/* An operand of elements of so many bytes, and its dims; one that is absent is left out. */
void sy_work_add(struct sy_op_work *w, const char *name, const void *data, int64_t element, int passes,
                 int n_dims, const int64_t *dim);

#define DIMS(...) \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) { __VA_ARGS__ }
/* Read or written; both. */
#define SEEN(w, name, data, element, ...) sy_work_add(w, name, data, element, 1, DIMS(__VA_ARGS__))
#define BOTH(w, name, data, element, ...) sy_work_add(w, name, data, element, 2, DIMS(__VA_ARGS__))
/* Views: sy_mat, sy_heads. */
#define VIEW(w, name, view, ...) \
    SEEN(w, name, (view).data, (int64_t)sy_dtype_bytes((view).dtype), __VA_ARGS__)
#define VIEWS(w, name, view, ...) \
    BOTH(w, name, (view).data, (int64_t)sy_dtype_bytes((view).dtype), __VA_ARGS__)
#define VALUES(w, name, data, ...) SEEN(w, name, data, (int64_t)sizeof *(data), __VA_ARGS__)

/* Counted by an op: *at. */
int64_t sy_work_count(const struct sy_op_work *w, const int64_t *at);
/* Rows that there are, or a bound; of the first n segments from `first` on of each group. */
int64_t sy_work_rows(struct sy_op_work *w, const struct sy_rows *rows);
int64_t sy_work_segments(struct sy_op_work *w, const struct sy_dw *p);
/* *used, or n. */
int64_t sy_work_used(struct sy_op_work *w, const int64_t *used, int64_t n);

/* Another item of a list. */
void sy_work_item(struct sy_op_work *w, const struct sy_op_work *item);

#endif
