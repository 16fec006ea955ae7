/* What the readers of a Hugging Face config.json share. Private to src/ckpt/hf_*.c. See hf_config.h. */
#ifndef SY_CKPT_HF_READING_H
#define SY_CKPT_HF_READING_H

#include <jansson.h>

#include "config/config.h"

enum { SY_HF_MAX_SAID = 64, SY_HF_KEY_BYTES = 64 };

/* Which key of the file said one of ours. */
struct sy_hf_said {
    const char *theirs, *ours;
};

struct sy_hf_reading {
    const char *name; /* in messages */
    const json_t *root;
    struct sy_config *config;
    struct sy_hf_said said[SY_HF_MAX_SAID];
    int n_said;
};

/* Local. Sets one of ours from the text or value of a key of theirs (NULL: fixed, or of our own object).
 * Errors: ERR_DATA naming both. */
sy_status sy_hf_set(struct sy_hf_reading *r, const char *ours, const char *theirs, const char *text);
sy_status sy_hf_set_real(struct sy_hf_reading *r, const char *ours, const char *theirs, double x);
sy_status sy_hf_set_value(struct sy_hf_reading *r, const char *ours, const char *theirs, const json_t *value);

/* Local. rope_theta, rope_scaling, rope_parameters. `theta` is the class's default. Errors: ERR_DATA; any
 * key inside that is not known is refused by name. */
sy_status sy_hf_rope_apply(struct sy_hf_reading *r, const char *theta, int is_mla);

/* Local. Yarn's factor on cosines and sines where a file states none. */
double sy_hf_attention_factor(double factor, double mscale, double mscale_all_dim);

/* Local. All that a file's keys of theirs say. `need_class`: without one, or of model_type "switchyard",
 * it is refused; else such a file is read as far as its keys go. Errors: ERR_DATA. */
sy_status sy_hf_theirs_apply(struct sy_hf_reading *r, int need_class);

/* Local. What no table says of a class: keys that depend on others, or that are refused for what they ask. Of
 * an enum sy_family. Errors: ERR_DATA naming key and value. */
sy_status sy_hf_rest_of_deepseek(struct sy_hf_reading *r, int family);
sy_status sy_hf_rest_of_qwen2(struct sy_hf_reading *r, int family);
sy_status sy_hf_rest_of_qwen3(struct sy_hf_reading *r, int family);
sy_status sy_hf_rest_of_olmoe(struct sy_hf_reading *r, int family);
sy_status sy_hf_rest_of_mixtral(struct sy_hf_reading *r, int family);
sy_status sy_hf_rest_of_none(struct sy_hf_reading *r, int family);

/* Local. The object "switchyard": the config is set from it, and whatever the other keys say differently
 * is refused. */
sy_status sy_hf_own_apply(struct sy_hf_reading *r, const json_t *own);

/* Local. "DeepseekV3ForCausalLM" and "deepseek_v3" of a family. Static. */
const char *sy_hf_architecture(int family, const char **model_type);

#endif
