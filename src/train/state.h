/* What a run's steps change: fp32 master weights and Adam's moments, by tensor and block of 1024 elements, of
 * what this rank owns (parallel/owner.h). In the exec's memory; the host reads and writes it through copies,
 * when nothing is enqueued. */
#ifndef SY_TRAIN_STATE_H
#define SY_TRAIN_STATE_H

#include "model/params.h"
#include "device/carve.h"
#include "ops/ops.h"
#include "parallel/owner.h"

enum sy_state_kind { SY_STATE_W, SY_STATE_M, SY_STATE_V, SY_STATE_KINDS };

/* A piece of the state on its way to the host while the one before it is used (sy_state_ahead). */
struct sy_state_ahead {
    struct sy_arena arena; /* pinned */
    float *x;              /* [SY_STATE_AHEAD] */
    enum sy_state_kind kind;
    int tensor;
    int64_t first, n; /* n = 0: nothing is on its way */
};
enum { SY_STATE_AHEAD = 1 << 18 };

struct sy_state {
    const struct sy_params *params;
    const struct sy_exec *exec;
    struct sy_owner own;
    int has_moments;
    struct sy_arena arena;
    float **of[SY_STATE_KINDS]; /* [n_tensors] first element that this rank owns; NULL: none */
    float **master;             /* [n_params] first element of a parameter that this rank owns whole; NULL */
    struct sy_state_ahead ahead;
};

/* Local. Adds what create takes to a measuring arena. Errors: ERR_MEMORY. */
sy_status sy_state_measure(const struct sy_params *params, const struct sy_exec *exec,
                           const struct sy_owner *own, int moments, struct sy_arena *arena);
/* Local. Zeros; `moments`: for training. Errors: ERR_MEMORY with the bytes. sy_state_fini (of {0} too). */
sy_status sy_state_init(const struct sy_params *params, const struct sy_exec *exec,
                        const struct sy_owner *own, int moments, struct sy_state *out);
void sy_state_fini(struct sy_state *s);

/* What this rank owns of a tensor. */
static inline struct sy_range_of sy_state_own(const struct sy_state *s, int tensor) {
    return sy_owner_range(&s->own, s->params, tensor);
}

/* Local. Elements first .. first + n - 1 of a tensor, all of them this rank's own, to and from the host.
 * Errors: of the device. */
sy_status sy_state_read(struct sy_state *s, enum sy_state_kind kind, int tensor, int64_t first, int64_t n,
                        float *out);
sy_status sy_state_write(struct sy_state *s, enum sy_state_kind kind, int tensor, int64_t first, int64_t n,
                         const float *in);

/* Local. sy_state_read of these elements will come next, and nothing changes them before: a device's copy
 * begins. Of more than SY_STATE_AHEAD elements, and of a CPU's, nothing is done. */
void sy_state_ahead(struct sy_state *s, enum sy_state_kind kind, int tensor, int64_t first, int64_t n);

/* Whether a tensor is trained: it has moments. */
static inline int sy_state_is_trained(const struct sy_params *p, int tensor) {
    return p->param[p->tensor[tensor].param].kind != SY_PARAM_BUFFER;
}

#endif
