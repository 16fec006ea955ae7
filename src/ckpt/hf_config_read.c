/* Reading config.json: see hf_config.h. One table per Hugging Face class: which key is which of ours, what is fixed, and
 * what is refused because switchyard would compute something else. */
#include "ckpt/hf_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

struct mapping {
    const char *theirs, *ours;
    const char *absent; /* what a missing or null key means; NULL: it must be there */
};

struct wanted {
    const char *key;
    const char *value; /* compact JSON that is accepted; a missing key is, too */
};

struct class {
    const char *architecture, *model_type;
    const char *const *fixed;     /* "key=value" */
    const struct mapping *mapped; /* ends in NULL */
    const struct wanted *wanted;  /* ends in NULL */
};

static const struct mapping common[] = {
    {"vocab_size", "model.vocab_size", NULL},
    {"hidden_size", "model.dim", NULL},
    {"num_hidden_layers", "model.n_layers", NULL},
    {"num_attention_heads", "model.n_heads", NULL},
    {"rms_norm_eps", "model.norm_eps", NULL},
    {"num_experts_per_tok", "moe.top_k", NULL},
    {NULL, NULL, NULL},
};
static const struct wanted common_wanted[] = {
    {"hidden_act", "\"silu\""}, {"tie_word_embeddings", "false"}, {"attention_bias", "false"},
    {"mlp_bias", "false"},      {"quantization_config", "null"},  {NULL, NULL},
};

static const struct mapping deepseek[] = {
    {"intermediate_size", "model.inter_dim", NULL},
    {"moe_intermediate_size", "model.moe_inter_dim", NULL},
    {"first_k_dense_replace", "model.n_dense_layers", "0"},
    {"q_lora_rank", "model.q_lora_rank", "0"},
    {"kv_lora_rank", "model.kv_lora_rank", NULL},
    {"qk_nope_head_dim", "model.qk_nope_head_dim", NULL},
    {"qk_rope_head_dim", "model.qk_rope_head_dim", NULL},
    {"v_head_dim", "model.v_head_dim", NULL},
    {"n_routed_experts", "moe.num_experts", NULL},
    {"n_shared_experts", "moe.num_shared_experts", "0"},
    {"routed_scaling_factor", "moe.route_scale", "1.0"},
    {"norm_topk_prob", "moe.route_norm", NULL},
    {NULL, NULL, NULL},
};
static const struct mapping gqa[] = {
    {"num_key_value_heads", "model.n_kv_heads", "0"},
    {"head_dim", "model.head_dim", "0"},
    {NULL, NULL, NULL},
};
static const struct mapping qwen3[] = {
    {"moe_intermediate_size", "model.moe_inter_dim", NULL},
    {"num_experts", "moe.num_experts", NULL},
    {"norm_topk_prob", "moe.route_norm", NULL},
    {NULL, NULL, NULL},
};
static const struct mapping olmoe[] = {
    {"intermediate_size", "model.moe_inter_dim", NULL},
    {"num_experts", "moe.num_experts", NULL},
    {"norm_topk_prob", "moe.route_norm", "false"},
    {NULL, NULL, NULL},
};
static const struct mapping mixtral[] = {
    {"intermediate_size", "model.moe_inter_dim", NULL},
    {"num_local_experts", "moe.num_experts", NULL},
    {NULL, NULL, NULL},
};

static const char *const v3_fixed[] = {"model.attention=mla",         "model.rope=pairs",         "moe.score_func=sigmoid",
                                       "moe.load_balance_coeff=1e-3", "moe.group_score=top2_sum", NULL};
static const char *const v2_fixed[] = {"model.attention=mla",        "model.rope=pairs",    "moe.score_func=softmax",
                                       "moe.load_balance_coeff=0.0", "moe.group_score=max", NULL};
#define GQA_FIXED                                                                                                   \
    "model.attention=gqa", "model.rope=halves", "model.n_dense_layers=0", "moe.score_func=softmax",                 \
        "moe.num_shared_experts=0", "moe.load_balance_coeff=0.0", "moe.route_scale=1.0", "moe.num_expert_groups=0", \
        "moe.num_limited_groups=0"
static const char *const qwen3_fixed[] = {GQA_FIXED, "model.qk_norm=head", NULL};
static const char *const olmoe_fixed[] = {GQA_FIXED, "model.qk_norm=full", NULL};
static const char *const mixtral_fixed[] = {GQA_FIXED, "model.qk_norm=none", "moe.route_norm=true", NULL};
static const char *const every_fixed[] = {"model.window=0",        "model.attention_bias=false",     "moe.gate_bias=false",
                                          "moe.shared_gate=false", "moe.score_before_experts=false", NULL};

static const struct wanted v3_wanted[] = {{"scoring_func", "\"sigmoid\""},
                                          {"topk_method", "\"noaux_tc\""},
                                          {"moe_layer_freq", "1"},
                                          {"rope_interleave", "true"},
                                          {NULL, NULL}};
static const struct wanted v2_wanted[] = {
    {"scoring_func", "\"softmax\""}, {"norm_topk_prob", "false"}, {"moe_layer_freq", "1"}, {NULL, NULL}};
static const struct wanted qwen3_wanted[] = {
    {"decoder_sparse_step", "1"}, {"mlp_only_layers", "[]"}, {"use_sliding_window", "false"}, {NULL, NULL}};
static const struct wanted olmoe_wanted[] = {{"clip_qkv", "null"}, {NULL, NULL}};
static const struct wanted mixtral_wanted[] = {{"sliding_window", "null"}, {NULL, NULL}};

static const struct class classes[] = {
    {"DeepseekV3ForCausalLM", "deepseek_v3", v3_fixed, deepseek, v3_wanted},
    {"DeepseekV2ForCausalLM", "deepseek_v2", v2_fixed, deepseek, v2_wanted},
    {"Qwen3MoeForCausalLM", "qwen3_moe", qwen3_fixed, qwen3, qwen3_wanted},
    {"OlmoeForCausalLM", "olmoe", olmoe_fixed, olmoe, olmoe_wanted},
    {"MixtralForCausalLM", "mixtral", mixtral_fixed, mixtral, mixtral_wanted},
};

struct reading {
    const char *name;
    const json_t *root;
    struct sy_config *config;
};

/* A config's error (usage) is the file's fault here (data). */
static sy_status set(const struct reading *r, const char *key, const char *text) {
    sy_status status = sy_config_set(r->config, SY_LAYER_CHECKPOINT, r->name, key, text);
    return status == SY_ERR_USAGE ? SY_ERR_DATA : status;
}

/* A JSON scalar as the text that sy_config_set takes. `real`: an integer gets a ".0". */
static sy_status set_value(const struct reading *r, const char *ours, const char *theirs, const json_t *value) {
    char text[64];
    if (json_is_string(value))
        return set(r, ours, json_string_value(value));
    if (json_is_integer(value))
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(text, sizeof text, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(text, sizeof text, "%s", json_is_true(value) ? "true" : "false");
    else
        SY_FAIL(SY_ERR_DATA, "%s: key \"%s\" is no number, string or boolean", r->name, theirs);
    if (json_is_real(value) && !strpbrk(text, ".en"))
        memcpy(text + strlen(text), ".0", 3); /* 64 is room enough for 17 digits */
    return set(r, ours, text);
}

static sy_status apply_mapped(const struct reading *r, const struct mapping *m) {
    for (; m->theirs; m++) {
        const json_t *value = json_object_get(r->root, m->theirs);
        if (value && !json_is_null(value))
            SY_TRY(set_value(r, m->ours, m->theirs, value));
        else if (m->absent)
            SY_TRY(set(r, m->ours, m->absent));
        else
            SY_FAIL(SY_ERR_DATA, "%s: key \"%s\" is missing", r->name, m->theirs);
    }
    return SY_OK;
}

static sy_status apply_fixed(const struct reading *r, const char *const *fixed) {
    char key[64];
    for (; *fixed; fixed++) {
        const char *equals = strchr(*fixed, '=');
        snprintf(key, sizeof key, "%.*s", (int)(equals - *fixed), *fixed);
        SY_TRY(set(r, key, equals + 1));
    }
    return SY_OK;
}

static sy_status check_wanted(const struct reading *r, const struct wanted *w) {
    for (; w->key; w++) {
        const json_t *value = json_object_get(r->root, w->key);
        if (!value || json_is_null(value))
            continue;
        char *text = NULL;
        size_t bytes = 0;
        SY_TRY(sy_json_print(value, SY_JSON_COMPACT, &text, &bytes));
        int same = strcmp(text, w->value) == 0;
        sy_status status =
            same ? SY_OK
                 : sy_fail(SY_ERR_DATA, "%s: %s = %.60s is not supported, only %s is", r->name, w->key, text, w->value);
        free(text);
        SY_TRY(status);
    }
    return SY_OK;
}

/* ---- rope ---- */

static sy_status apply_yarn(const struct reading *r, const json_t *rope) {
    static const struct mapping yarn[] = {
        {"factor", "model.rope_factor", NULL},    {"original_max_position_embeddings", "model.original_seq_len", NULL},
        {"beta_fast", "model.beta_fast", "32.0"}, {"beta_slow", "model.beta_slow", "1.0"},
        {"mscale_all_dim", "model.mscale", NULL}, {NULL, NULL, NULL},
    };
    struct reading inner = {r->name, rope, r->config};
    double mscale = 0, all = 0;
    SY_TRY(sy_json_get_real(r->name, rope, "mscale", 0, 1e3, &mscale));
    SY_TRY(sy_json_get_real(r->name, rope, "mscale_all_dim", 0, 1e3, &all));
    if (mscale != all)
        SY_FAIL(SY_ERR_DATA, "%s: rope mscale = %g and mscale_all_dim = %g differ, which is not supported", r->name, mscale,
                all);
    return apply_mapped(&inner, yarn);
}

static sy_status apply_rope(const struct reading *r, int may_yarn) {
    const json_t *parameters = json_object_get(r->root, "rope_parameters"),
                 *scaling = json_object_get(r->root, "rope_scaling");
    const json_t *rope = json_is_object(parameters) ? parameters : scaling, *theta = json_object_get(r->root, "rope_theta");
    if (!theta)
        theta = json_object_get(rope, "rope_theta");
    if (!theta)
        SY_FAIL(SY_ERR_DATA, "%s: key \"rope_theta\" is missing", r->name);
    SY_TRY(set_value(r, "model.rope_theta", "rope_theta", theta));
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (!type)
        type = json_string_value(json_object_get(rope, "type"));
    if (!rope || json_is_null(rope) || (type && strcmp(type, "default") == 0))
        return set(r, "model.rope_factor", "1.0");
    if (!type || strcmp(type, "yarn") != 0 || !may_yarn)
        SY_FAIL(SY_ERR_DATA, "%s: rope scaling \"%.40s\" is not supported for this class", r->name, type ? type : "?");
    return apply_yarn(r, rope);
}

/* DeepSeek: one group is no groups; V2's topk_method decides. */
static sy_status apply_groups(const struct reading *r) {
    int64_t groups = 1, limited = 1;
    const char *method = json_string_value(json_object_get(r->root, "topk_method"));
    if (sy_json_has(r->root, "n_group"))
        SY_TRY(sy_json_get_int(r->name, r->root, "n_group", 0, 1 << 16, &groups));
    if (sy_json_has(r->root, "topk_group"))
        SY_TRY(sy_json_get_int(r->name, r->root, "topk_group", 0, 1 << 16, &limited));
    if (method && strcmp(method, "greedy") != 0 && strcmp(method, "group_limited_greedy") != 0 &&
        strcmp(method, "noaux_tc") != 0)
        SY_FAIL(SY_ERR_DATA, "%s: topk_method = \"%.40s\" is not supported", r->name, method);
    int is_grouped = groups > 1 && !(method && strcmp(method, "greedy") == 0);
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, is_grouped ? groups : 0);
    SY_TRY(set(r, "moe.num_expert_groups", text));
    snprintf(text, sizeof text, "%" PRId64, is_grouped ? limited : 0);
    return set(r, "moe.num_limited_groups", text);
}

/* ---- ours and theirs ---- */

static sy_status apply_own(const struct reading *r, const json_t *own) {
    static const char *const sections[] = {"model", "moe"};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        json_t *section = NULL, *value;
        const char *key;
        SY_TRY(sy_json_get_object(r->name, own, sections[i], &section));
        json_object_foreach(section, key, value) {
            char full[160];
            if (strcmp(key, "flavor") == 0)
                continue; /* a name of what all the other keys say; another version may not know it */
            snprintf(full, sizeof full, "%s.%.120s", sections[i], key);
            SY_TRY(set_value(r, full, key, value));
        }
    }
    return SY_OK;
}

static const struct class *find_class(const json_t *root) {
    const char *architecture = json_string_value(json_array_get(json_object_get(root, "architectures"), 0));
    const char *type = json_string_value(json_object_get(root, "model_type"));
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if ((architecture && strcmp(architecture, classes[i].architecture) == 0) ||
            (!architecture && type && strcmp(type, classes[i].model_type) == 0))
            return &classes[i];
    return NULL;
}

sy_status sy_hf_config_apply(const char *name, const json_t *root, struct sy_config *config) {
    struct reading r = {name, root, config};
    if (!json_is_object(root))
        SY_FAIL(SY_ERR_DATA, "%s: is not an object", name);
    const json_t *own = json_object_get(root, "switchyard");
    if (own)
        return apply_own(&r, own);
    const struct class *class = find_class(root);
    if (!class) {
        const char *architecture = json_string_value(json_array_get(json_object_get(root, "architectures"), 0));
        SY_FAIL(SY_ERR_DATA,
                "%s: architecture \"%.80s\" is not one of DeepseekV3, DeepseekV2, Qwen3Moe, Olmoe, Mixtral "
                "(ForCausalLM)",
                name, architecture ? architecture : "?");
    }
    int is_mla = class->mapped == deepseek;
    SY_TRY(check_wanted(&r, common_wanted));
    SY_TRY(check_wanted(&r, class->wanted));
    SY_TRY(apply_mapped(&r, common));
    SY_TRY(apply_fixed(&r, every_fixed));
    SY_TRY(apply_fixed(&r, class->fixed));
    SY_TRY(apply_mapped(&r, class->mapped));
    SY_TRY(is_mla ? apply_groups(&r) : apply_mapped(&r, gqa));
    return apply_rope(&r, is_mla);
}
