/* The MoE layer as others call it (switchyard.h, "one MoE layer by itself"): the handle behind public.c (create, destroy),
 * public_check.c (what callers may get wrong), public_weights.c (weights, expert bias), public_pass.c (forward, eval), and
 * public_grads.c (backward).
 *
 * The layer itself is layer.h. Here is what it expects of its caller: memory, stored weights, a slot for each micro-batch,
 * and that all ranks call the same thing: every collective starts with sy_moe_enter, in which the ranks show each other
 * what they are about to do.
 */
#ifndef SY_MOE_PUBLIC_H
#define SY_MOE_PUBLIC_H

#include "moe/layer.h"

struct sy_moe_slot { /* a micro-batch: its call, and what backward reads */
    struct sy_moe_act act;
    struct sy_mat x; /* [T, D] stored */
    int waits;       /* for its backward */
    int64_t n_sequences;
    struct sy_sequences sequences;  /* of: one of the two arrays below */
    int64_t *table;                 /* [ranks * max_rounds] */
    struct sy_routes given, routes; /* the call's, ids NULL or routes'; memory [T, K] */
};

struct sy_moe {
    struct sy_moe_options o; /* defaults put in; its strings are gone */
    struct sy_config_moe config;
    enum sy_numeric_class cls;
    struct sy_pool *pool;
    struct sy_arena scratch, arena; /* of the threads; all the rest */
    struct sy_exec exec;
    struct sy_moe_env env;
    struct sy_moe_counters counters;
    int64_t first_expert, n_experts; /* this rank's */

    struct sy_moe_weights w;
    float *gate_bias, *expert_bias; /* [E], what w points to; NULL: none */
    struct sy_prepared prepared;
    int has_weights;

    int n_slots;              /* micro_batches, and one more when eval does not borrow */
    struct sy_moe_slot *slot; /* [n_slots] */
    struct sy_moe_work work;
    struct sy_mat y, dy, dx; /* [T, D] stored: out, in, out; dx is y */

    int64_t *counts; /* [E] of this rank */
    int64_t loss[2], n_bad;
    struct sy_gemm_part *parts; /* [sequences of all ranks] */
    float *leaf;                /* [E] of gate_bias */
    int64_t *tickets;           /* [ranks, SY_MOE_TICKET] */
};

/* --- public_check.c ------------------------------------------------------------------------------------------------- */

/* Local. Options with their defaults; the class. Errors: ERR_USAGE, ERR_MEMORY. */
sy_status sy_moe_check_options(const struct sy_config_moe *config, const struct sy_comm *comm,
                               struct sy_moe_options *options, enum sy_numeric_class *cls);

/* Collective. Every rank has the same options. Errors: ERR_USAGE with the first that differs. */
sy_status sy_moe_check_equal(const struct sy_comm *comm, const struct sy_config_moe *config,
                             const struct sy_moe_options *options, enum sy_numeric_class cls);

/* Local. What the members of `tensors` are: those the layer has not must be NULL, and with `all` the others not. */
sy_status sy_moe_check_tensors(const struct sy_moe *moe, const struct sy_moe_tensors *tensors, int all);

/* Local. No forward waits for its backward, so that `what` may change. */
sy_status sy_moe_check_idle(const struct sy_moe *moe, const char *what);

/* Local. The batch fits, and its table and given routes go into the slot. */
sy_status sy_moe_check_batch(const struct sy_moe *moe, const struct sy_moe_batch *batch, struct sy_moe_slot *slot);

/* A number for the table that all ranks say they know; 0 without. */
int64_t sy_moe_table_hash(const struct sy_moe_slot *slot, int size);

/* What a rank is about to do; equal on all. */
enum { SY_MOE_TICKET = 5 };
enum sy_moe_step { SY_MOE_FORWARD, SY_MOE_EVAL, SY_MOE_BACKWARD, SY_MOE_UPDATE_BIAS };
struct sy_moe_ticket {
    enum sy_moe_step step;
    int64_t micro_batch, rounds, table, version;
};

/* Collective. `status`, agreed, and that all have the same ticket. Errors: those of any rank; ERR_USAGE with both. */
sy_status sy_moe_enter(const struct sy_moe *moe, const struct sy_moe_ticket *ticket, sy_status status);

/* --- what the parts share --------------------------------------------------------------------------------------------- */

/* Rows between fp32 and the stored type. */
static inline void sy_moe_convert(const struct sy_moe *moe, int64_t tokens, struct sy_mat from, struct sy_mat to) {
    moe->exec.ops->join(&moe->exec, &(struct sy_join){.rows = tokens, .d = moe->o.dim, .n = 1, .term = {from}, .y = to});
}

static inline struct sy_mat sy_moe_host(const struct sy_moe *moe, const float *x) {
    return sy_mat_of((void *)(uintptr_t)x, SY_F32, moe->o.dim);
}

/* The call of a slot. */
static inline struct sy_moe_call sy_moe_call_of(const struct sy_moe_slot *s, enum sy_pass pass) {
    return (struct sy_moe_call){
        .pass = pass, .n_sequences = s->n_sequences, .sequences = s->sequences, .given = s->given.ids ? &s->given : NULL};
}

#endif
