/* The mixture-of-experts layer: router, dispatch, routed and shared experts, combine, on one rank or over
 * the ranks of an expert-parallel group, with the same bits (NUMERICS 3).
 *
 * n [T, D] -> router -> dispatch begin -> shared experts -> dispatch wait -> experts -> combine -> y [T, D]
 *
 * A part of the model like attention: take, fwd, bwd. It knows no parameters' names: weights come as
 * operands, and what the weight gradients are products of is left in act and grad. Nothing in a call waits
 * for a device, but for the counts that a standard or equal exchange needs (moe/exchange.h).
 *
 * env what all layers of a rank share act what backward reads, of one layer and micro-batch, in two halves:
 * rebuilt by every recompute; saved by a selective one. A value, so that micro-batches may interleave grad
 * what the weight gradients read: lives from bwd until they are made scratch lives for the time of one call
 */
#ifndef SY_MOE_LAYER_H
#define SY_MOE_LAYER_H

#include "config/config.h"
#include "moe/direct.h"
#include "moe/mlp.h"
#include "moe/routes.h"

struct sy_moe_env {
    const struct sy_exec *x;
    const struct sy_config_moe *config;
    struct sy_comm ep;
    int64_t d, f; /* width, width of an expert */
    /* bounds of a call; over ranks every call has this seq_len */
    int64_t seq_len, max_sequences, max_tokens;
    int max_rounds; /* of a call */
    int64_t combine_groups;
    int forced_balance;
    /* of the global batch: the weight of one sequence's balance and z-loss is 1 / this */
    int64_t loss_sequences;
    int64_t planned_rows; /* of this rank's experts, over ranks; 0: the worst case */
    /* with ranks: becomes what the experts of a rank got at most, if that is more, up to the first call that
     * needed more than is planned; or NULL */
    int64_t *most_rows;
    int direct;  /* over ranks: rows go straight into the others' memory (moe/direct.h) */
    int recount; /* a planted bug: recompute counts routes again */
    int goes_on; /* after such a call: with no rows at all (moe/exchange.h); else it is refused */
    struct sy_moe_counters *counters;
};

struct sy_moe_weights {       /* of the experts, this rank's */
    struct sy_weight gate;    /* [E, D] */
    const float *gate_bias;   /* [E] or NULL */
    const float *expert_bias; /* [E] or NULL */
    struct sy_mlp_weights experts;
    struct sy_mlp_weights shared; /* with num_shared_experts */
    struct sy_weight shared_gate; /* [1, D] with shared_gate */
};

/* What a pass is for. Recompute makes again what backward reads; with `saved` the dispatched rows are still
 * there. */
enum sy_pass { SY_PASS_EVAL, SY_PASS_TRAIN, SY_PASS_RECOMPUTE };

struct sy_moe_call {
    enum sy_pass pass;
    int saved;
    int64_t n_sequences, seq_len; /* of this rank */
    struct sy_sequences sequences;
    const int32_t *place;          /* [n_sequences] of each in the step's batch; NULL: 0, 1, ... */
    int64_t layer, layers;         /* how the tally names tokens */
    const struct sy_routes *given; /* routes to follow instead of the router's choice, or NULL */
    int64_t *counts;               /* [E] += routes of this rank, in a pass TRAIN; or NULL */
    struct sy_tally *tally;        /* what is not finite, and in a pass TRAIN the losses */
};

struct sy_moe_act {
    /* rebuilt */
    float *s, *w;     /* scores [T, E], weights [T, K] */
    int32_t *ids;     /* [T, K] ascending */
    float *dl_loss;   /* [T, E] gradient of balance and z-loss at the logits, with either */
    struct sy_mat gu; /* pre-activation of the received rows */
    struct sy_mat shared_gu;
    struct sy_mat shared_y; /* before the sigmoid gate, with shared_gate */
    float *shared_logit;
    /* saved */
    struct sy_dispatch routes; /* of this rank's tokens */
    /* with more than one rank: the owner's, made before act is carved, which keeps it */
    struct sy_exchange *exchange;
    struct sy_mat x; /* rows as the experts get them, unless they gather */
    float *row_w;    /* weight of each of these rows, with scores after experts */
    /* what recompute is compared with; NULL: it is not */
    int32_t *first_ids;
    float *first_w;
};

struct sy_moe_grad {
    struct sy_mat dy; /* received rows [., D] */
    struct sy_mat x;  /* those of act.x, if the experts gather */
    struct sy_mlp_grad experts;
    struct sy_mat dlogits; /* [T, E] */
    struct sy_mlp_grad shared;
    struct sy_mat dys, dshared_logit; /* with shared_gate: [T, D], [T, 1] */
};

struct sy_moe_scratch {
    float *logits;         /* [T, E] fp32 */
    struct sy_mat rows, a; /* received rows: [., D] out of the experts, or their gradient; [., F] fp32 */
    float *row_dw, *dw;    /* received rows; [T, K] */
    struct sy_mat ys, ya;  /* shared: [T, D] output, [T, F'] fp32 */
    struct sy_mat d_gate, d_routed, d_shared, d_shared_gate; /* [T, D] terms of the input's gradient */
    /* [., D] rows of this rank's tokens: with ranks; with scores before experts */
    struct sy_mat local, local_x;
    float *local_w;            /* with ranks */
    struct sy_scatter scatter; /* with combine = scatter */
    struct sy_exchange_counts counts;
    struct sy_exchange_buffer exchange, exchange_w;
    struct sy_direct direct;
};

/* What planned_rows may be for: balanced load times a factor; 0 on one rank, which cannot get more than it
 * has. */
int64_t sy_moe_rows_for(const struct sy_moe_env *env, double factor);

/* Whether the experts' first product gathers tokens' rows itself: on one rank, with weights behind the
 * experts, where ops can. Then act.x is nowhere, and grad.x is. */
int sy_moe_gathers(const struct sy_moe_env *env);
/* Behind backward: the experts' input rows, of which W13's gradient is a product. */
static inline struct sy_mat sy_moe_inputs(const struct sy_moe_env *env, const struct sy_moe_act *act,
                                          const struct sy_moe_grad *grad) {
    return sy_moe_gathers(env) ? grad->x : act->x;
}

/* Local. Whether a call's rows can be numbered. Errors: ERR_USAGE with the numbers. */
sy_status sy_moe_check_rows(const struct sy_moe_env *env);

/* Local. The host's memory of an exchange, and of scratch, with more than one rank; else nothing. Errors:
 * ERR_MEMORY. fini: {0} is fine. */
sy_status sy_moe_exchange_init(const struct sy_moe_env *env, struct sy_exchange *e);
sy_status sy_moe_scratch_init(const struct sy_moe_env *env, struct sy_moe_scratch *scratch);
void sy_moe_scratch_fini(struct sy_moe_scratch *scratch);

/* All of act; or its halves apart. */
void sy_moe_take(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act);
void sy_moe_take_rebuilt(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act);
void sy_moe_take_saved(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act);
/* Gives act what recompute is compared with. */
void sy_moe_take_check(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act);
void sy_moe_take_grad(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_grad *grad);
void sy_moe_take_scratch(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_scratch *scratch);

/* Collective over env->ep, after scratch was carved. Errors: `mine`; ERR_PEER, ERR_MEMORY. */
sy_status sy_moe_connect(const struct sy_moe_env *env, sy_status mine, struct sy_moe_scratch *scratch);

/* What a call works in. */
struct sy_moe_memory {
    struct sy_moe_act *act;
    const struct sy_moe_grad *grad; /* backward's */
    struct sy_moe_scratch *scratch;
};

/* Collective over env->ep. y [T, D] from n; a pass RECOMPUTE leaves y alone. Errors: the exchange's. */
sy_status sy_moe_fwd(const struct sy_moe_env *env, const struct sy_moe_weights *w,
                     const struct sy_moe_call *call, const struct sy_moe_memory *memory, struct sy_mat n,
                     struct sy_mat y);

/* Collective. dn from dy; after forward (or recompute) of the same call. Errors: those of the exchange. */
sy_status sy_moe_bwd(const struct sy_moe_env *env, const struct sy_moe_weights *w,
                     const struct sy_moe_memory *memory, struct sy_mat n, struct sy_mat dy, struct sy_mat dn);

/* The rows of this rank's experts. */
static inline const struct sy_dispatch *sy_moe_rows(const struct sy_moe_env *env,
                                                    const struct sy_moe_act *act) {
    return env->ep.size > 1 ? &act->exchange->received : &act->routes;
}

#endif
