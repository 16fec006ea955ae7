/* What the MoE layers did: paths taken, rows moved, caches hit. Counted once a call, never inside a loop over
 * rows. */
#ifndef SY_MOE_COUNTERS_H
#define SY_MOE_COUNTERS_H

#include <stdint.h>

/* name, what one count is */
#define SY_MOE_COUNTER_LIST(X)                                             \
    X(path_local, "dispatches without other ranks, sorted")                \
    X(path_standard, "dispatches by counts and an all-to-all")             \
    X(path_equal, "dispatches whose parts were all equal")                 \
    X(path_equal_padded, "dispatches whose parts were padded to be equal") \
    X(path_forced, "dispatches in closed form, under forced balance")      \
    X(path_direct, "dispatches straight into the peers' memory")           \
    X(counts_exchanged, "exchanges of counts between ranks")               \
    X(host_waits, "waits of the host for a device; 0 on a CPU")            \
    X(rows_sent, "rows sent to other ranks, padding included")             \
    X(bytes_sent, "bytes sent to other ranks by all-to-alls")              \
    X(rows_padded, "rows of zeros among them")                             \
    X(a2a_in_backward, "all-to-alls of forward that recompute repeated")   \
    X(cached_w13_hit, "forwards that found W1 and W3 prepared")            \
    X(cached_w13_miss, "forwards that had to prepare them")                \
    X(cached_w2t_hit, "forwards that found W2 prepared")                   \
    X(cached_w2t_miss, "forwards that had to prepare it")                  \
    X(batched_no_grad, "passes without gradients with equal counts")       \
    X(buffer_regrown, "steps run again with a larger buffer")              \
    X(scatter_add, "combines by scatter-add, out of place")                \
    X(scatter_add_inplace, "combines by scatter-add, in place")

struct sy_moe_counters {
#define X(name, text) int64_t name;
    SY_MOE_COUNTER_LIST(X)
#undef X
};

#endif
