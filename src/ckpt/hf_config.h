/* config.json: what a Hugging Face model folder says of its model, both ways.
 *
 * Written: the keys of the Hugging Face class whose semantics are exactly ours (sy_model_family), or
 * model_type "switchyard"; in every case an object "switchyard" with all keys of [model] and [moe], from
 * which our own files are read back. Read: ours, if no key beside the object says something else; or
 * DeepseekV3, DeepseekV2, Qwen3Moe, Qwen2Moe, Olmoe, Mixtral (ForCausalLM) as transformers 5.24 reads them: a
 * missing key means what the class takes for it, or is refused. A key that asks for something switchyard does
 * not compute is refused by name.
 */
#ifndef SY_CKPT_HF_CONFIG_H
#define SY_CKPT_HF_CONFIG_H

#include <jansson.h>

#include "config/config.h"
#include "tokenizer/tokenizer.h"

/* Local. config.json's value for a finished config. The caller's: json_decref. Errors: ERR_MEMORY. */
sy_status sy_hf_config_make(const struct sy_config *config, const struct sy_tokenizer *tokenizer,
                            json_t **out);

/* Local. Sets [model] and [moe] at SY_LAYER_CHECKPOINT. `name` is used in messages. Errors: ERR_DATA,
 * ERR_MEMORY. */
sy_status sy_hf_config_apply(const char *name, const json_t *root, struct sy_config *config);

/* Local. The class of a finished config, as "DeepseekV3ForCausalLM"; NULL if no class of Hugging Face
 * computes it. */
const char *sy_hf_class_name(const struct sy_config *config);

/* Local. Where there is none, which option it lacks, as "gqa with model.n_dense_layers"; else "". */
const char *sy_hf_class_lack(const struct sy_config *config);

#endif
