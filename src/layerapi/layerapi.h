/* One MoE layer as other programs call it (switchyard.h, "one MoE layer by itself"): the handle, and what
 * its files share.
 *
 *   layer.c     create, destroy, what was counted         weights.c   weights, expert bias
 *   memory.c    what is carved; larger row buffers        pass.c      forward, eval
 *   check.c     what callers may get wrong                backward.c  backward
 *   entry.c     that all ranks call the same thing        leaves.c    the sink of weight gradients
 *
 * The layer itself is moe/layer.h. Here is what it expects of its caller: device memory, stored weights,
 * a slot for each micro-batch, a sink. All numbers lie in device memory; arrays of callers are copied in
 * and out. Every collective begins with sy_moe_enter, in which the ranks show each other what they are
 * about to do, and ends with an agreed status before the caller's arrays are written.
 *
 * Over ranks the rows that a rank's experts may get have a planned size. A call that needs more does
 * nothing on any rank but say how many: buffers become larger, on all ranks alike, and the call is run
 * again. A micro-batch that waits for its backward keeps the buffers that it has.
 */
#ifndef SY_LAYERAPI_LAYERAPI_H
#define SY_LAYERAPI_LAYERAPI_H

#include "model/ffn_weights.h"
#include "ops/wrapped.h"

struct sy_moe_slot {         /* a micro-batch: its call, and what backward reads */
    struct sy_mat x;         /* [T, D] stored */
    struct sy_routes routes; /* [T, K] memory of given routes */
    int32_t *first_ids;      /* what recompute is compared with; NULL: it is not */
    float *first_w;
    struct sy_moe_act act;
    struct sy_exchange exchange; /* when the dispatched rows are this slot's own */
    struct sy_arena rows;        /* what depends on planned rows */
    int64_t planned;             /* rows that `rows` is for; negative: not made */
    /* the call */
    int waits; /* for its backward */
    int64_t n_sequences;
    int64_t *table; /* [ranks * max_rounds], the host's */
    struct sy_sequences sequences;
    struct sy_routes given; /* `routes`, in part or none */
};

struct sy_moe_work {       /* of one call at a time: sized like a slot's rows, at least */
    struct sy_moe_act act; /* with recompute: what slots have no own of */
    struct sy_exchange exchange;
    struct sy_moe_grad grad;
    struct sy_moe_scratch scratch;
    struct sy_arena arena;
    int64_t planned;
};

struct sy_moe {
    struct sy_moe_options o; /* defaults put in; its strings are gone */
    struct sy_config_moe config;
    enum sy_numeric_class cls;
    struct sy_pool *pool;
    struct sy_device *own_device; /* the CPU of the pool; NULL: another */
    struct sy_ops guarded;        /* around the tier's, when the device is closed between ops */
    struct sy_exec exec;
    struct sy_moe_env env;
    struct sy_moe_counters counters;
    int64_t first_expert, n_experts; /* this rank's */
    int64_t most_rows;               /* of the call under way */

    struct sy_arena scratch, arena; /* of the threads; all that has one size */
    struct sy_mat gate, w13, w2, shared_w13, shared_w2, shared_gate; /* stored */
    float *gate_bias, *expert_bias;                                  /* [E]; NULL: none */
    struct sy_weight_cache gate_cache, shared_gate_cache;
    struct sy_mlp_cache experts_cache, shared_cache;
    struct sy_moe_weights w; /* views of them */
    int64_t version, made;   /* the caller's; how often weights were set */
    int has_weights;

    int n_slots;              /* micro_batches, and one more when eval does not borrow */
    struct sy_moe_slot *slot; /* [n_slots] */
    struct sy_moe_work work;
    struct sy_mat y, dy, dx;       /* [T, D] stored: out, in, out; dx is y */
    float *io;                     /* [T, D] a caller's rows on their way */
    struct sy_moe_tensors tensors; /* a caller's tensors on their way, all that the layer has */
    struct sy_tally *tally;        /* of a call */
    int64_t *call_counts;          /* [E] of a call */

    /* the host's */
    struct sy_tally seen;      /* the tally of the last call */
    int64_t *seen_counts;      /* [E] */
    int64_t *counts;           /* [E] since the last update of the bias: of this rank */
    int64_t loss[2], n_bad;    /* since then */
    struct sy_routes sorted;   /* [T, K] given routes before they are copied */
    int64_t *tickets;          /* [ranks, SY_MOE_TICKET] */
    struct sy_cast_item *cast; /* [n_casts] of `tensors` to stored weights */
    int n_casts;
};

/* --- layer.c ----------------------------------------------------------------------------------- */

/* Collective. sy_moe_create with the memory of a device that lives as long as the layer. */
sy_status sy_moe_create_on(const struct sy_device *device, const struct sy_config *config,
                           const struct sy_moe_options *options, const struct sy_comm *comm,
                           struct sy_moe **out);

static inline int sy_moe_recomputes(const struct sy_moe *m) {
    return m->o.recompute != SY_MOE_RECOMPUTE_NONE;
}
static inline int64_t sy_moe_shared_width(const struct sy_moe *m) {
    return m->config.num_shared_experts * m->o.inter_dim;
}
static inline int64_t sy_moe_tokens(const struct sy_moe *m, const struct sy_moe_slot *s) {
    return s->n_sequences * m->o.seq_len;
}

/* --- memory.c ---------------------------------------------------------------------------------- */

/* Local. Everything that is carved, with slots for micro-batches. Errors: ERR_MEMORY with the bytes. */
sy_status sy_moe_memory_init(struct sy_moe *m);
void sy_moe_memory_fini(struct sy_moe *m);

/* Local. The buffers of a call in slot s (NULL: of a backward) have at least the planned rows. Errors:
 * ERR_MEMORY. */
sy_status sy_moe_fit(struct sy_moe *m, struct sy_moe_slot *s);

/* Collective. Plans more rows after a call that needed more, and makes its buffers. Errors: ERR_MEMORY. */
sy_status sy_moe_grow(struct sy_moe *m, struct sy_moe_slot *s);

/* Local. The slot's act for the call to come: its own halves and those that slots share. */
void sy_moe_bind(const struct sy_moe *m, struct sy_moe_slot *s);

/* --- check.c ----------------------------------------------------------------------------------- */

struct sy_moe_tensor { /* one of struct sy_moe_tensors */
    const char *name;
    size_t at; /* offset of its pointer there */
    int64_t n; /* elements on this rank */
    int has;   /* the layer has it */
    const char *why_not;
};
enum { SY_MOE_TENSORS = 9 };
void sy_moe_list_tensors(const struct sy_moe *m, struct sy_moe_tensor list[SY_MOE_TENSORS]);
static inline float **sy_moe_tensor_of(const struct sy_moe_tensors *t, const struct sy_moe_tensor *which) {
    return (float **)((char *)(uintptr_t)t + which->at);
}

/* Local. Options with their defaults; the class. Errors: ERR_USAGE, ERR_MEMORY. */
sy_status sy_moe_check_options(const struct sy_config_moe *config, const struct sy_comm *comm,
                               struct sy_moe_options *options, enum sy_numeric_class *cls);

/* Local. What the members of `tensors` are: those the layer has not must be NULL, with `all` the others
 * not. */
sy_status sy_moe_check_tensors(const struct sy_moe *m, const struct sy_moe_tensors *tensors, int all);

/* Local. No forward waits for its backward, so that `what` may change. */
sy_status sy_moe_check_idle(const struct sy_moe *m, const char *what);

/* Local. The batch fits, and its table goes into the slot; given routes are sorted, in m->sorted. */
sy_status sy_moe_check_batch(struct sy_moe *m, const struct sy_moe_batch *batch, struct sy_moe_slot *slot);

/* --- entry.c ----------------------------------------------------------------------------------- */

/* Collective. Every rank has the same options. Errors: ERR_USAGE with the first that differs. */
sy_status sy_moe_check_equal(const struct sy_comm *comm, const struct sy_config_moe *config,
                             const struct sy_moe_options *options, enum sy_numeric_class cls);

/* What a rank is about to do; equal on all. */
enum { SY_MOE_TICKET = 5 };
enum sy_moe_step { SY_MOE_FORWARD, SY_MOE_EVAL, SY_MOE_BACKWARD, SY_MOE_UPDATE_BIAS };
struct sy_moe_ticket {
    enum sy_moe_step step;
    int64_t micro_batch, rounds, table, version;
};

/* Collective. `status`, agreed, and that all have the same ticket. Errors: those of any rank; ERR_USAGE with
 * both. */
sy_status sy_moe_enter(const struct sy_moe *m, const struct sy_moe_ticket *ticket, sy_status status);

/* A number for the table that all ranks say they know; 0 without. */
int64_t sy_moe_table_hash(const struct sy_moe_slot *slot, int size);

/* --- what the parts share ---------------------------------------------------------------------- */

/* Device memory and the host's arrays; enqueued. */
static inline void sy_moe_copy(const struct sy_moe *m, void *to, const void *from, size_t bytes) {
    if (bytes)
        m->exec.device->copy(m->exec.device, to, from, bytes);
}

/* A caller's rows into stored ones, and back. */
static inline void sy_moe_convert(const struct sy_moe *m, int64_t tokens, struct sy_mat from,
                                  struct sy_mat to) {
    m->exec.ops->join(&m->exec,
                      &(struct sy_join){.rows = tokens, .d = m->o.dim, .n = 1, .term = {from}, .y = to});
}
static inline struct sy_mat sy_moe_io(const struct sy_moe *m) { return sy_mat_of(m->io, SY_F32, m->o.dim); }
static inline size_t sy_moe_row_bytes(const struct sy_moe *m, int64_t tokens) {
    return (size_t)(tokens * m->o.dim) * sizeof(float);
}

/* The call of a slot. */
static inline struct sy_moe_call sy_moe_call_of(const struct sy_moe *m, const struct sy_moe_slot *s,
                                                enum sy_pass pass) {
    return (struct sy_moe_call){.pass = pass,
                                .n_sequences = s->n_sequences,
                                .seq_len = m->o.seq_len,
                                .sequences = s->sequences,
                                .layers = 1,
                                .given = s->given.ids ? &s->given : NULL,
                                .counts = m->call_counts,
                                .tally = m->tally};
}

static inline struct sy_moe_memory sy_moe_memory_of(struct sy_moe *m, struct sy_moe_slot *s) {
    return (struct sy_moe_memory){&s->act, &m->work.grad, &m->work.scratch};
}

/* An empty tally for the call to come. */
void sy_moe_clear_tally(const struct sy_moe *m);

/* --- weights.c --------------------------------------------------------------------------------- */

/* The list of what weights that are set become: made once, when all memory is carved. */
int64_t sy_moe_most_casts(const struct sy_moe *m);
void sy_moe_list_casts(struct sy_moe *m);

/* --- leaves.c ---------------------------------------------------------------------------------- */

struct sy_moe_leaves { /* a leaf onto each tensor of `to`, whose members that are NULL are not computed */
    const struct sy_moe *m;
    const struct sy_moe_tensors *to; /* the device's */
    struct sy_dw problem[SY_MOE_TENSORS];
    int n;
};
struct sy_grad_sink sy_moe_leaf_sink(struct sy_moe_leaves *leaves);
/* What the sink calls the layer's parameters. */
struct sy_layer_params sy_moe_leaf_params(const struct sy_moe *m);

#endif
