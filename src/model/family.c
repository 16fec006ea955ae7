/* Which Hugging Face class computes exactly what a configuration says: the model type of config.json and
 * the tensor names. None means model_type "switchyard" with Llama's names for attention and DeepSeek-V3's
 * for experts. See params.h. */
#include "model/params.h"

static int is_no_class(const struct sy_config_model *m, const struct sy_config_moe *e) {
    return m->attention_bias || e->gate_bias || e->shared_gate || e->score_before_experts ||
           m->n_dense_layers == m->n_layers;
}

static enum sy_family family_of_mla(const struct sy_config_model *m, const struct sy_config_moe *e) {
    int bias = sy_config_has_expert_bias(e), groups = e->num_expert_groups > 0;
    if (e->num_shared_experts < 1)
        return SY_FAMILY_NONE;
    if (e->score_func == SY_SCORE_SIGMOID && (!groups || e->group_score == SY_GROUP_TOP2_SUM))
        return SY_FAMILY_DEEPSEEK_V3;
    if (e->score_func == SY_SCORE_SOFTMAX && !e->route_norm && !bias && m->rope == SY_ROPE_PAIRS &&
        m->dim % m->n_heads == 0 && (!groups || e->group_score == SY_GROUP_MAX))
        return SY_FAMILY_DEEPSEEK_V2; /* which refuses other widths */
    return SY_FAMILY_NONE;
}

enum sy_family sy_model_family(const struct sy_config_model *m, const struct sy_config_moe *e) {
    if (is_no_class(m, e))
        return SY_FAMILY_NONE;
    if (m->attention == SY_ATTENTION_MLA)
        return family_of_mla(m, e);
    if (m->rope != SY_ROPE_HALVES || sy_config_has_expert_bias(e) || e->num_expert_groups > 0 ||
        e->num_shared_experts > 0 || m->n_dense_layers > 0 || e->score_func != SY_SCORE_SOFTMAX ||
        e->route_scale != 1)
        return SY_FAMILY_NONE;
    if (m->qk_norm == SY_QK_NORM_HEAD)
        return SY_FAMILY_QWEN3_MOE;
    if (m->qk_norm == SY_QK_NORM_FULL) /* norms as wide as the model, no window */
        return m->head_dim * m->n_heads == m->dim && m->window == 0 ? SY_FAMILY_OLMOE : SY_FAMILY_NONE;
    return e->route_norm ? SY_FAMILY_MIXTRAL : SY_FAMILY_NONE;
}
