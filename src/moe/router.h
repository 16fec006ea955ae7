/* The router of an MoE layer: logits, choice, weights, the two losses, and their backward (NUMERICS 3, "Router"). */
#ifndef SY_MOE_ROUTER_H
#define SY_MOE_ROUTER_H

#include "moe/layer.h"

int sy_router_has_losses(const struct sy_config_moe *config);

/* Collective. Fills s, ids, w and dl_loss of act. Errors as sy_moe_fwd, agreed by all ranks. */
sy_status sy_router_run(const struct sy_moe_env *env, const struct sy_moe_weights *w, const struct sy_moe_call *call,
                        struct sy_mat n, struct sy_moe_act *act, struct sy_moe_work *work);

/* work->dlogits from work->dw. */
void sy_router_bwd(const struct sy_moe_env *env, int64_t tokens, const struct sy_moe_act *act, struct sy_moe_work *work);

#endif
