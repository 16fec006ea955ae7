/* Dispatch straight into the memory of other ranks, where a transport has windows of it (comm.h).
 *
 *     source        slots of each destination -> rows, ids, homes, weights into its window -> flag
 *     destination   flag -> counting sort of what has arrived -> the experts' rows -> flag: window is free
 *     destination   rows of the experts, each to its route's row at the source -> flag
 *
 * A token goes to a rank once, whatever it has of its experts there (ops/op_direct.h). A window has room for
 * every token of every source, so nothing needs to be known before rows move: no count is exchanged, the host
 * waits for none. What may be too many are the rows of a rank's experts: then there are none at all, and the
 * tally says how many there would have been.
 *
 * Flags count dispatches and returns; all ranks of the group do the same ones in the same order. A source
 * writes its next dispatch when the window is free; it has read what was returned before it sends more, so
 * returns need no such flag. A rank whose device has failed, or that learns of another, raises all its flags
 * beyond any number, for good: nobody waits for it, all get an error.
 */
#ifndef SY_MOE_DIRECT_H
#define SY_MOE_DIRECT_H

#include "moe/exchange.h"

enum { SY_DIRECT_ARRIVED, SY_DIRECT_FREE, SY_DIRECT_RETURNED, SY_DIRECT_FLAGS };

struct sy_direct {
    const struct sy_comm *comm; /* NULL: not there */
    int64_t d, max_tokens, max_sequences, top_k;
    struct sy_window window; /* of all sources, one after the other: [size * ...] */
    void *back[2];           /* where rows, and their weights' gradients, come back: the caller's */
    /* the host's: of the other ranks */
    struct sy_window *to;                  /* [size] this rank's part of their windows */
    void **to_back[2];                     /* [size] */
    sy_comm_flag *flag[SY_DIRECT_FLAGS];   /* [size] that they raise */
    sy_comm_flag **raise[SY_DIRECT_FLAGS]; /* [size] that this rank raises */
    int32_t *source, *sequence;            /* [size * max_sequences] of the plan that is made */
    uint64_t dispatches, returns;
};

/* Local. The host's memory, for this shape. Errors: ERR_MEMORY. fini: {0} is fine. */
sy_status sy_direct_init(const struct sy_comm *comm, const struct sy_exchange_shape *shape,
                         struct sy_direct *direct);
void sy_direct_fini(struct sy_direct *direct);
/* The device's, for rows of d; rows come back to `rows` and `weights`, as many as the rank's routes have. */
void sy_direct_take(const struct sy_exec *x, struct sy_arena *a, int64_t d, void *rows, float *weights,
                    struct sy_direct *direct);
/* Collective. Ranks learn where the others' windows are. Errors: `mine`, ERR_PEER. */
sy_status sy_direct_connect(const struct sy_exec *x, sy_status mine, struct sy_direct *direct);

/* Collective. The plan of a micro-batch, and rows of its tokens, [T, d], on their way: d is the local sort,
 * w [T, K]. The sequences are known to all ranks. */
sy_status sy_direct_begin(const struct sy_exec *x, struct sy_exchange *e, struct sy_direct *direct,
                          const struct sy_dispatch *d, const struct sy_sequences *sequences,
                          struct sy_mat tokens, const float *w);
/* Collective. What has arrived, sorted: fills `received`; rows (BF(w x) with `weighted`), and the weight of
 * each, unless NULL. overflow: of the tally. */
sy_status sy_direct_wait(const struct sy_exec *x, struct sy_exchange *e, struct sy_direct *direct,
                         int weighted, struct sy_mat rows, float *row_w, int64_t *overflow);

/* Collective. Other rows of the same tokens, to the same places, there and back. */
sy_status sy_direct_again_begin(const struct sy_exec *x, const struct sy_exchange *e,
                                struct sy_direct *direct, const struct sy_dispatch *d, struct sy_mat tokens);
sy_status sy_direct_again_wait(const struct sy_exec *x, const struct sy_exchange *e, struct sy_direct *direct,
                               struct sy_mat rows);
/* Collective. The experts' rows, or (weights) a number for each, back to where their routes are. */
sy_status sy_direct_return(const struct sy_exec *x, const struct sy_exchange *e, struct sy_direct *direct,
                           int64_t row_bytes, const void *from, int weights);

#endif
