/* Which Hugging Face class computes exactly what a configuration says: the model type of config.json and the tensor names.
 * None means model_type "switchyard" with Llama's names for attention and DeepSeek-V3's for experts. See params.h. */
#include "model/params.h"

static int has_bias_or_window(const struct sy_config_model *m, const struct sy_config_moe *e) {
    return m->attention_bias || m->window > 0 || e->gate_bias || e->shared_gate || e->score_before_experts;
}

enum sy_family sy_model_family(const struct sy_config_model *m, const struct sy_config_moe *e) {
    int bias = sy_config_has_expert_bias(e), groups = e->num_expert_groups > 0;
    if (has_bias_or_window(m, e) || m->n_dense_layers == m->n_layers)
        return SY_FAMILY_NONE;
    if (m->attention == SY_ATTENTION_MLA) {
        if (m->rope != SY_ROPE_PAIRS || e->num_shared_experts < 1)
            return SY_FAMILY_NONE;
        if (e->score_func == SY_SCORE_SIGMOID && e->route_norm && (!groups || e->group_score == SY_GROUP_TOP2_SUM))
            return SY_FAMILY_DEEPSEEK_V3;
        /* DeepseekV2Attention's softmax scale has no mscale squared under yarn, ours has (NUMERICS 3, "Attention") */
        if (e->score_func == SY_SCORE_SOFTMAX && !e->route_norm && !bias && m->rope_factor == 1 &&
            (!groups || e->group_score == SY_GROUP_MAX))
            return SY_FAMILY_DEEPSEEK_V2;
        return SY_FAMILY_NONE;
    }
    if (m->rope != SY_ROPE_HALVES || m->rope_factor != 1 || bias || groups || e->num_shared_experts > 0 ||
        m->n_dense_layers > 0 || e->score_func != SY_SCORE_SOFTMAX || e->route_scale != 1)
        return SY_FAMILY_NONE;
    int square = m->head_dim * m->n_heads == m->dim; /* these classes have no head_dim of their own */
    if (m->qk_norm == SY_QK_NORM_HEAD)
        return SY_FAMILY_QWEN3_MOE;
    if (m->qk_norm == SY_QK_NORM_FULL)
        return !e->route_norm && square ? SY_FAMILY_OLMOE : SY_FAMILY_NONE;
    return e->route_norm && square ? SY_FAMILY_MIXTRAL : SY_FAMILY_NONE;
}
