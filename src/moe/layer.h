/* The mixture-of-experts layer: router, dispatch, routed and shared experts, combine, on one rank or over the ranks of an
 * expert-parallel group, with the same bits (NUMERICS 3).
 *
 *     n [T, D] -> router -> dispatch begin -> shared experts -> dispatch wait -> experts -> combine -> y [T, D]
 *
 * A part of the model like attention: take, take_work, fwd, bwd. It knows no parameters' names: weights come as views, and
 * what the weight gradients are products of is left in act and work (struct sy_moe_grads).
 *
 *   env    what all layers of a rank share
 *   act    what backward reads, of one layer and micro-batch: a value, so that micro-batches may interleave
 *   work   scratch and gradients of one layer at a time
 */
#ifndef SY_MOE_LAYER_H
#define SY_MOE_LAYER_H

#include "config/config.h"
#include "moe/exchange.h"
#include "moe/mlp.h"
#include "moe/prepared.h"
#include "moe/routes.h"

struct sy_moe_env {
    const struct sy_exec *x;
    const struct sy_config_moe *config;
    struct sy_comm ep;
    int64_t d, f; /* width, width of an expert */
    int64_t seq_len, max_sequences;
    int max_rounds; /* of a call */
    int64_t max_rows; /* that this rank's experts may get from all ranks (sy_exchange_planned_rows); 0: every route */
    int64_t combine_groups;
    int forced_balance;
    int64_t loss_sequences; /* of the global batch: the weight of one sequence's balance and z-loss is 1 / this */
    struct sy_moe_counters *counters;
};

struct sy_moe_weights {       /* stored; of the experts, this rank's */
    struct sy_mat gate;       /* [E, D] */
    const float *gate_bias;   /* [E] or NULL */
    const float *expert_bias; /* [E] or NULL */
    struct sy_expert_weights experts;
    struct sy_mlp_weights shared; /* with num_shared_experts */
    struct sy_mat shared_gate;    /* [1, D] with shared_gate */
    struct sy_prepared *prepared; /* or NULL */
    int64_t version;              /* another one whenever a weight has changed; 0: nothing is cached */
};

/* What a pass is for. Recompute makes again what backward reads; with `kept` the dispatched rows are still there. */
enum sy_pass { SY_PASS_EVAL, SY_PASS_TRAIN, SY_PASS_RECOMPUTE };

struct sy_moe_call {
    enum sy_pass pass;
    int kept;
    int64_t n_sequences; /* of this rank */
    struct sy_sequences sequences;
    const struct sy_routes *given; /* routes to follow instead of the router's choice, or NULL */
    int64_t *counts;               /* [E] += routes of this rank, in a pass TRAIN; or NULL */
    int64_t *loss;                 /* [2] += balance and z-loss, 2^-24 (router_losses), in a pass TRAIN; or NULL */
    int64_t *n_bad;                /* += sequences where they are not finite; or NULL */
};

struct sy_moe_act {
    float *s, *w;     /* scores [T, E], weights [T, K] */
    int32_t *ids;     /* [T, K] ascending */
    float *dl_loss;   /* [T, E] gradient of balance and z-loss at the logits, with either */
    struct sy_mat gu; /* pre-activation of the received rows */
    struct sy_mlp_act shared;
    struct sy_mat shared_y; /* before the sigmoid gate, with shared_gate */
    float *shared_logit;
    /* what selective recompute keeps */
    struct sy_dispatch routes;   /* of this rank's tokens */
    struct sy_exchange exchange; /* with more than one rank */
    struct sy_mat x;             /* rows as the experts get them */
    float *row_w;                /* weight of each of these rows, with scores after experts */
    /* what recompute is compared with; NULL: it is not */
    int32_t *kept_ids;
    float *kept_w;
};

struct sy_moe_work {
    float *logits;      /* [T, E] fp32, forward scratch */
    int64_t *bad_token; /* [1] */
    struct sy_expert_lists lists;
    struct sy_mat o, h;                       /* received rows: forward scratch; h backward: rows of W2's gradient */
    struct sy_mat dy, a, dgu, dx;             /* received rows: [., D], [., F] fp32, [., 2F], [., D] */
    float *row_dw, *dw;                       /* received rows, or [N] before experts; [T, K] */
    struct sy_mat ys;                         /* [T, D] shared output */
    struct sy_mat dlogits;                    /* [T, E] */
    struct sy_mat d_gate, d_routed, d_shared; /* [T, D] terms of the input's gradient */
    struct sy_mlp_grad shared;
    struct sy_mat dys, dshared_logit, d_shared_gate;
    struct sy_mat local, local_x; /* [N, D] rows of this rank's tokens: with ranks; with scores before experts */
    float *local_w;               /* [N], with ranks */
    struct sy_scatter scatter;    /* with combine = scatter */
    struct sy_exchange_counts counts;
    struct sy_exchange_buffer rows, scalars;
};

/* All of act; or what every recompute makes again, and what the selective one keeps, apart. */
void sy_moe_take(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act);
void sy_moe_take_made(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act);
void sy_moe_take_kept(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act);
/* Gives act what recompute is compared with. */
void sy_moe_take_check(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_act *act);
void sy_moe_take_work(const struct sy_moe_env *env, struct sy_arena *a, struct sy_moe_work *work);
void sy_moe_take_prepared(const struct sy_moe_env *env, struct sy_arena *a, struct sy_prepared *p);

/* Collective over env->ep. A pass RECOMPUTE leaves y alone. Errors: ERR_NONFINITE names the token of a NaN logit;
 * ERR_RUNTIME when recompute chose other routes than forward; ERR_MEMORY, before any row has moved, when some rank's experts
 * get more than max_rows: act->exchange.needed_rows says how many, the same on all ranks; ERR_PEER. */
sy_status sy_moe_fwd(const struct sy_moe_env *env, const struct sy_moe_weights *w, const struct sy_moe_call *call,
                     struct sy_mat n, struct sy_moe_act *act, struct sy_moe_work *work, struct sy_mat y);

/* Collective. dn from dy; after forward (or recompute) of the same call. Errors: ERR_PEER. */
sy_status sy_moe_bwd(const struct sy_moe_env *env, const struct sy_moe_weights *w, int64_t n_sequences, struct sy_mat n,
                     struct sy_mat dy, const struct sy_moe_act *act, struct sy_moe_work *work, struct sy_mat dn);

/* The rows of this rank's experts. */
static inline const struct sy_dispatch *sy_moe_rows(const struct sy_moe_env *env, const struct sy_moe_act *act) {
    return env->ep.size > 1 ? &act->exchange.received : &act->routes;
}

#endif
