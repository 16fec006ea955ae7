/* Names and shapes under which a Hugging Face folder may hold the model's tensors, other than those of
 * params.h.
 *
 *     model.layers.<l>.mlp.experts.gate_up_proj [E, 2F, D]   W1 over W3 of every expert, as in transformers 5
 *     model.layers.<l>.mlp.experts.down_proj    [E, D, F]    W2
 *     Mixtral: mlp for block_sparse_moe
 */
#ifndef SY_CKPT_HF_TENSORS_H
#define SY_CKPT_HF_TENSORS_H

#include "formats/safetensors.h"
#include "model/params.h"

/* Local. The tensor that this is another name of, or -1. */
int sy_hf_tensor_alias(const struct sy_params *params, const char *name);

/* Experts in one tensor: the tensors of expert e are first + 3e (W1), first + 3e + 1 (W3), first + 3e + 2
 * (W2). */
struct sy_hf_fused {
    int first, experts, is_down;
};

/* Local. Whether `t` is such a tensor of the model; its shape is not looked at. */
int sy_hf_tensor_is_fused(const struct sy_params *params, const char *name, struct sy_hf_fused *out);

/* Local. The name in params.h's order; -1 if there is none. */
int sy_hf_tensor_find(const struct sy_params *params, const char *name);

#endif
