/* The router of an MoE layer: logits, choice, weights, the two losses, and their backward (NUMERICS 3,
 * "Router"). */
#ifndef SY_MOE_ROUTER_H
#define SY_MOE_ROUTER_H

#include "moe/layer.h"

int sy_router_has_losses(const struct sy_config_moe *config);

/* Local. Fills s, ids, w and dl_loss of act; what is not finite goes to the call's tally. */
void sy_router_run(const struct sy_moe_env *env, const struct sy_moe_weights *w,
                   const struct sy_moe_call *call, struct sy_mat n, const struct sy_moe_act *act,
                   const struct sy_moe_scratch *scratch);

/* dlogits from scratch->dw. */
void sy_router_bwd(const struct sy_moe_env *env, int64_t tokens, const struct sy_moe_act *act,
                   const struct sy_moe_scratch *scratch, struct sy_mat dlogits);

#endif
