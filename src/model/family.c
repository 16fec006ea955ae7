/* Which Hugging Face class computes exactly what a configuration says: the model type of config.json and
 * the tensor names. None means model_type "switchyard" with Llama's names for attention and DeepSeek-V3's
 * for experts. See params.h. */
#include "model/params.h"

static enum sy_family none(const char **lack, const char *why) {
    *lack = why;
    return SY_FAMILY_NONE;
}

/* What none of the classes has; NULL: nothing of it. */
static const char *beyond_all(const struct sy_config_model *m, const struct sy_config_moe *e) {
    return e->gate_bias                       ? "moe.gate_bias = true"
           : e->score_before_experts          ? "moe.score_before_experts = true"
           : m->n_dense_layers == m->n_layers ? "no layer with experts"
                                              : NULL;
}

/* attention_bias of the classes is both. */
static const char one_bias[] =
    "one of model.attention_bias and model.attention_output_bias without the other";

static enum sy_family family_of_mla(const struct sy_config_model *m, const struct sy_config_moe *e,
                                    const char **lack) {
    int bias = sy_config_has_expert_bias(e), groups = e->num_expert_groups > 0;
    if (m->attention_bias != m->attention_output_bias)
        return none(lack, one_bias);
    if (e->shared_gate)
        return none(lack, "mla with moe.shared_gate = true");
    if (e->num_shared_experts < 1)
        return none(lack, "mla with moe.num_shared_experts = 0");
    if (e->score_func == SY_SCORE_SIGMOID)
        return !groups || e->group_score == SY_GROUP_TOP2_SUM
                   ? SY_FAMILY_DEEPSEEK_V3
                   : none(lack, "moe.score_func = \"sigmoid\" with moe.group_score = \"max\"");
    if (e->score_func != SY_SCORE_SOFTMAX)
        return none(lack, "mla with moe.score_func = \"topk_softmax\"");
    const char *why = e->route_norm                              ? "moe.route_norm = true"
                      : bias                                     ? "an expert bias (moe.load_balance_coeff)"
                      : m->rope != SY_ROPE_PAIRS                 ? "model.rope = \"halves\""
                      : groups && e->group_score != SY_GROUP_MAX ? "moe.group_score = \"top2_sum\""
                      : m->dim % m->n_heads != 0 ? "a model.dim that model.n_heads does not divide"
                                                 : NULL;
    return why ? none(lack, why) : SY_FAMILY_DEEPSEEK_V2; /* each is of mla with softmax */
}

/* Shared experts stand behind a gate, biases at queries, keys and values may be there or not. */
static enum sy_family qwen2(const struct sy_config_model *m, const struct sy_config_moe *e,
                            const char **lack) {
    const char *why = !e->shared_gate                 ? "gqa with shared experts without moe.shared_gate"
                      : m->qk_norm != SY_QK_NORM_NONE ? "moe.shared_gate = true with model.qk_norm"
                      : m->window > 0                 ? "moe.shared_gate = true with model.window"
                      : m->attention_output_bias ? "moe.shared_gate = true with model.attention_output_bias"
                                                 : NULL;
    return why ? none(lack, why) : SY_FAMILY_QWEN2_MOE;
}

static enum sy_family family_of_gqa(const struct sy_config_model *m, const struct sy_config_moe *e,
                                    const char **lack) {
    const char *why = m->rope != SY_ROPE_HALVES           ? "gqa with model.rope = \"pairs\""
                      : sy_config_has_expert_bias(e)      ? "gqa with an expert bias (moe.load_balance_coeff)"
                      : e->num_expert_groups > 0          ? "gqa with moe.num_expert_groups"
                      : e->score_func != SY_SCORE_SOFTMAX ? "gqa with a moe.score_func other than \"softmax\""
                      : e->route_scale != 1               ? "gqa with moe.route_scale"
                                                          : NULL;
    if (why)
        return none(lack, why);
    if (e->num_shared_experts > 0)
        return qwen2(m, e, lack);
    if (m->attention_bias != m->attention_output_bias)
        return none(lack, one_bias);
    if (m->attention_bias && m->qk_norm == SY_QK_NORM_NONE)
        return none(lack, "model.attention_bias = true without model.qk_norm");
    if (m->qk_norm == SY_QK_NORM_HEAD)
        return SY_FAMILY_QWEN3_MOE;
    if (m->n_dense_layers > 0)
        return none(lack, "gqa with model.n_dense_layers without model.qk_norm = \"head\"");
    if (m->qk_norm == SY_QK_NORM_NONE)
        return e->route_norm ? SY_FAMILY_MIXTRAL : none(lack, "moe.route_norm = false without model.qk_norm");
    if (m->window > 0)
        return none(lack, "model.qk_norm = \"full\" with model.window");
    return m->head_dim * m->n_heads == m->dim /* norms as wide as the model */
               ? SY_FAMILY_OLMOE
               : none(lack, "model.qk_norm = \"full\" with heads that are not as wide as model.dim together");
}

enum sy_family sy_model_family_lack(const struct sy_config_model *m, const struct sy_config_moe *e,
                                    const char **lack) {
    const char *why = beyond_all(m, e);
    *lack = "";
    if (why)
        return none(lack, why);
    return (m->attention == SY_ATTENTION_MLA ? family_of_mla : family_of_gqa)(m, e, lack);
}

enum sy_family sy_model_family(const struct sy_config_model *m, const struct sy_config_moe *e) {
    const char *lack;
    return sy_model_family_lack(m, e, &lack);
}
