/* Reading config.json: see hf_config.h. One table per Hugging Face class: which key is which of ours, what a
 * missing key means there, what is fixed, and what is refused because switchyard would compute something
 * else.
 */
#include "ckpt/hf_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/hf_fp8.h"
#include "ckpt/hf_reading.h"
#include "formats/json.h"
#include "model/params.h"

struct mapping {
    const char *theirs, *ours;
    const char *missing; /* the class's default; NULL: the key must be there */
    const char *null;    /* what null means; NULL: it is refused */
    const char *alias;   /* another name of the key; NULL: none */
};

struct wanted {
    const char *key;
    const char *value; /* compact JSON that is accepted; a missing key and null are, too */
};

struct class {
    int family;
    const char *const *fixed;     /* "key=value" */
    const struct mapping *mapped; /* ends in NULL */
    const struct wanted *wanted;  /* ends in NULL */
    const char *theta;            /* rope_theta's default */
    sy_status (*rest)(struct sy_hf_reading *r, int family);
};

#define END \
    { NULL, NULL, NULL, NULL, NULL }
#define SIZES                                                                                             \
    {"vocab_size", "model.vocab_size", NULL, NULL, NULL}, {"hidden_size", "model.dim", NULL, NULL, NULL}, \
        {"num_hidden_layers", "model.n_layers", NULL, NULL, NULL},                                        \
        {"num_attention_heads", "model.n_heads", NULL, NULL, NULL}, {                                     \
        "tie_word_embeddings", "model.tie_word_embeddings", "false", "false", NULL                        \
    }
#define BIASES                                                                  \
    {"attention_bias", "model.attention_bias", "false", "false", NULL}, {       \
        "attention_bias", "model.attention_output_bias", "false", "false", NULL \
    }
#define DEEPSEEK_SIZES                                                      \
    SIZES, {"kv_lora_rank", "model.kv_lora_rank", NULL, NULL, NULL},        \
        {"moe_intermediate_size", "model.moe_inter_dim", NULL, NULL, NULL}, \
        {"qk_nope_head_dim", "model.qk_nope_head_dim", NULL, NULL, NULL},   \
        {"qk_rope_head_dim", "model.qk_rope_head_dim", NULL, NULL, NULL},   \
        {"v_head_dim", "model.v_head_dim", NULL, NULL, NULL}, {             \
        "q_lora_rank", "model.q_lora_rank", "1536", "0", NULL               \
    }

static const struct mapping v3[] = {
    DEEPSEEK_SIZES,
    {"n_routed_experts", "moe.num_experts", NULL, NULL, "num_local_experts"},
    {"rms_norm_eps", "model.norm_eps", "1e-6", NULL, NULL},
    {"num_experts_per_tok", "moe.top_k", "8", NULL, NULL},
    {"n_shared_experts", "moe.num_shared_experts", "1", "0", NULL},
    {"routed_scaling_factor", "moe.route_scale", "2.5", NULL, NULL},
    {"norm_topk_prob", "moe.route_norm", "true", "false", NULL},
    BIASES,
    END,
};
static const struct mapping v2[] = {
    DEEPSEEK_SIZES,
    {"n_routed_experts", "moe.num_experts", NULL, NULL, "num_experts"},
    {"rms_norm_eps", "model.norm_eps", "1e-6", NULL, NULL},
    {"num_experts_per_tok", "moe.top_k", NULL, NULL, NULL},
    {"n_shared_experts", "moe.num_shared_experts", "2", "0", NULL},
    {"routed_scaling_factor", "moe.route_scale", "1.0", NULL, NULL},
    BIASES,
    END,
};
static const struct mapping qwen2[] = {
    SIZES,
    {"num_experts", "moe.num_experts", NULL, NULL, "num_local_experts"},
    {"moe_intermediate_size", "model.moe_inter_dim", NULL, NULL, NULL},
    {"head_dim", "model.head_dim", "0", "0", NULL},
    {"num_key_value_heads", "model.n_kv_heads", "16", "0", NULL},
    {"rms_norm_eps", "model.norm_eps", "1e-6", NULL, NULL},
    {"num_experts_per_tok", "moe.top_k", "4", NULL, NULL},
    {"norm_topk_prob", "moe.route_norm", "false", NULL, NULL},
    {"qkv_bias", "model.attention_bias", "true", NULL, NULL},
    END,
};
static const struct mapping qwen3[] = {
    SIZES,
    {"num_experts", "moe.num_experts", NULL, NULL, "num_local_experts"},
    {"moe_intermediate_size", "model.moe_inter_dim", NULL, NULL, NULL},
    {"head_dim", "model.head_dim", "0", NULL, NULL},
    {"num_key_value_heads", "model.n_kv_heads", "4", NULL, NULL},
    {"rms_norm_eps", "model.norm_eps", "1e-6", NULL, NULL},
    {"num_experts_per_tok", "moe.top_k", "8", NULL, NULL},
    {"norm_topk_prob", "moe.route_norm", "false", NULL, NULL},
    BIASES,
    END,
};
static const struct mapping olmoe[] = {
    SIZES,
    {"num_experts", "moe.num_experts", NULL, NULL, "num_local_experts"},
    {"intermediate_size", "model.moe_inter_dim", NULL, NULL, NULL},
    {"head_dim", "model.head_dim", "0", NULL, NULL},
    {"num_key_value_heads", "model.n_kv_heads", "0", "0", NULL},
    {"rms_norm_eps", "model.norm_eps", "1e-5", NULL, NULL},
    {"num_experts_per_tok", "moe.top_k", "8", NULL, NULL},
    {"norm_topk_prob", "moe.route_norm", "false", NULL, NULL},
    BIASES,
    END,
};
static const struct mapping mixtral[] = {
    SIZES,
    {"num_local_experts", "moe.num_experts", NULL, NULL, "num_experts"},
    {"intermediate_size", "model.moe_inter_dim", NULL, NULL, NULL},
    {"head_dim", "model.head_dim", "0", "0", NULL},
    {"num_key_value_heads", "model.n_kv_heads", "8", "0", NULL},
    {"rms_norm_eps", "model.norm_eps", "1e-5", NULL, NULL},
    {"num_experts_per_tok", "moe.top_k", "2", NULL, NULL},
    END,
};
/* What a folder of model_type "switchyard" says beside its object. */
static const struct mapping none[] = {SIZES, {"rms_norm_eps", "model.norm_eps", NULL, NULL, NULL}, END};
#undef SIZES
#undef BIASES
#undef DEEPSEEK_SIZES

#define MLA_FIXED "model.attention=mla"
#define GQA_FIXED                                                                                   \
    "model.attention=gqa", "model.rope=halves", "model.n_dense_layers=0", "moe.score_func=softmax", \
        "moe.load_balance_coeff=0.0", "moe.route_scale=1.0", "moe.num_expert_groups=0",             \
        "moe.num_limited_groups=0"
#define NOTHING_SHARED "moe.num_shared_experts=0"
static const char *const v3_fixed[] = {MLA_FIXED, "moe.score_func=sigmoid", "moe.load_balance_coeff=1e-3",
                                       "moe.group_score=top2_sum", NULL};
static const char *const v2_fixed[] = {MLA_FIXED,
                                       "model.rope=pairs",
                                       "moe.score_func=softmax",
                                       "moe.load_balance_coeff=0.0",
                                       "moe.group_score=max",
                                       "moe.route_norm=false",
                                       NULL};
static const char *const qwen2_fixed[] = {GQA_FIXED, "model.qk_norm=none", "moe.shared_gate=true", NULL};
static const char *const qwen3_fixed[] = {GQA_FIXED, NOTHING_SHARED, "model.qk_norm=head", NULL};
static const char *const olmoe_fixed[] = {GQA_FIXED, NOTHING_SHARED, "model.qk_norm=full", NULL};
static const char *const mixtral_fixed[] = {GQA_FIXED, NOTHING_SHARED, "model.qk_norm=none",
                                            "moe.route_norm=true", NULL};
static const char *const every_fixed[] = {"model.window=0",
                                          "model.attention_bias=false",
                                          "model.attention_output_bias=false",
                                          "moe.gate_bias=false",
                                          "moe.shared_gate=false",
                                          "moe.score_before_experts=false",
                                          NULL};

static const struct wanted common_wanted[] = {
    {"hidden_act", "\"silu\""},
    {"mlp_bias", "false"},
    {NULL, NULL},
};
static const struct wanted v3_wanted[] = {
    {"scoring_func", "\"sigmoid\""}, {"topk_method", "\"noaux_tc\""}, {"moe_layer_freq", "1"}, {NULL, NULL}};
static const struct wanted v2_wanted[] = {
    {"scoring_func", "\"softmax\""}, {"norm_topk_prob", "false"}, {"moe_layer_freq", "1"}, {NULL, NULL}};
static const struct wanted qwen2_wanted[] = {{"attention_bias", "false"},
                                             {"use_sliding_window", "false"}, /* every other layer has one */
                                             {NULL, NULL}};
static const struct wanted olmoe_wanted[] = {{"clip_qkv", "null"}, {"sliding_window", "null"}, {NULL, NULL}};
static const struct wanted mixtral_wanted[] = {{"attention_bias", "false"}, {NULL, NULL}};
static const struct wanted none_wanted[] = {{"hidden_act", "\"silu\""}, {NULL, NULL}};

/* ---- tables ---- */

static sy_status apply_mapped(struct sy_hf_reading *r, const struct mapping *m) {
    for (; m->theirs; m++) {
        const json_t *value = json_object_get(r->root, m->theirs),
                     *other = m->alias ? json_object_get(r->root, m->alias) : NULL;
        const char *theirs = value || !other ? m->theirs : m->alias;
        if (value && other && !json_equal(value, other))
            SY_FAIL(SY_ERR_DATA, "%s: keys \"%s\" and \"%s\" are the same and differ: leave one out", r->name,
                    m->theirs, m->alias);
        value = value ? value : other;
        const char *text = !value ? m->missing : json_is_null(value) ? m->null : NULL;
        if (text)
            SY_TRY(sy_hf_set(r, m->ours, theirs, text));
        else if (value && !json_is_null(value))
            SY_TRY(sy_hf_set_value(r, m->ours, theirs, value));
        else
            SY_FAIL(SY_ERR_DATA, "%s: key \"%s\" is %s", r->name, theirs, value ? "null" : "missing");
    }
    return SY_OK;
}

static sy_status apply_fixed(struct sy_hf_reading *r, const char *const *fixed) {
    char key[SY_HF_KEY_BYTES];
    for (; *fixed; fixed++) {
        const char *equals = strchr(*fixed, '=');
        snprintf(key, sizeof key, "%.*s", (int)(equals - *fixed), *fixed);
        SY_TRY(sy_hf_set(r, key, NULL, equals + 1));
    }
    return SY_OK;
}

static sy_status check_wanted(const struct sy_hf_reading *r, const struct wanted *w) {
    for (; w->key; w++) {
        const json_t *value = json_object_get(r->root, w->key);
        if (!value || json_is_null(value))
            continue;
        char *text = NULL;
        size_t bytes = 0;
        SY_TRY(sy_json_print(value, SY_JSON_COMPACT, &text, &bytes));
        int same = strcmp(text, w->value) == 0;
        sy_status status = same ? SY_OK
                                : sy_fail(SY_ERR_DATA, "%s: %s = %.60s is not supported, only %s is", r->name,
                                          w->key, text, w->value);
        free(text);
        SY_TRY(status);
    }
    return SY_OK;
}

/* Matrices of 8 bits with scales of blocks are read (hf_fp8.h), and nothing else that is quantized. */
static sy_status check_quantization(const struct sy_hf_reading *r) {
    static const char key[] = "quantization_config";
    const json_t *value = json_object_get(r->root, key);
    char *text = NULL;
    size_t bytes = 0;
    int64_t block[2];
    if (!value || json_is_null(value) || sy_hf_fp8_block(r->root, block))
        return SY_OK;
    SY_TRY(sy_json_print(value, SY_JSON_COMPACT, &text, &bytes));
    sy_status status =
        sy_fail(SY_ERR_DATA,
                "%s: %s = %.100s is not supported, only quant_method \"fp8\" of fmt \"e4m3\" with "
                "a weight_block_size [rows, columns] is",
                r->name, key, text);
    free(text);
    return status;
}

/* ---- classes ---- */

static const struct class classes[] = {
    {SY_FAMILY_DEEPSEEK_V3, v3_fixed, v3, v3_wanted, "1e4", sy_hf_rest_of_deepseek},
    {SY_FAMILY_DEEPSEEK_V2, v2_fixed, v2, v2_wanted, "1e4", sy_hf_rest_of_deepseek},
    {SY_FAMILY_QWEN2_MOE, qwen2_fixed, qwen2, qwen2_wanted, "1e4", sy_hf_rest_of_qwen2},
    {SY_FAMILY_QWEN3_MOE, qwen3_fixed, qwen3, NULL, "1e4", sy_hf_rest_of_qwen3},
    {SY_FAMILY_OLMOE, olmoe_fixed, olmoe, olmoe_wanted, "1e4", sy_hf_rest_of_olmoe},
    {SY_FAMILY_MIXTRAL, mixtral_fixed, mixtral, mixtral_wanted, "1e6", sy_hf_rest_of_mixtral},
    {SY_FAMILY_NONE, NULL, none, NULL, "1e4", sy_hf_rest_of_none},
};

static const struct class *find_class(const json_t *root) {
    const char *architecture = json_string_value(json_array_get(json_object_get(root, "architectures"), 0));
    const char *type = json_string_value(json_object_get(root, "model_type"));
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        const char *its_type, *its = sy_hf_architecture(classes[i].family, &its_type);
        if ((architecture && strcmp(architecture, its) == 0) ||
            (!architecture && type && strcmp(type, its_type) == 0))
            return &classes[i];
    }
    return NULL;
}

static sy_status apply_class(struct sy_hf_reading *r, const struct class *class) {
    int family = class->family, general = family == SY_FAMILY_NONE;
    SY_TRY(check_wanted(r, general ? none_wanted : common_wanted));
    if (!general)
        SY_TRY(check_quantization(r));
    if (class->wanted)
        SY_TRY(check_wanted(r, class->wanted));
    if (!general) {
        SY_TRY(apply_fixed(r, every_fixed));
        SY_TRY(apply_fixed(r, class->fixed));
    }
    SY_TRY(apply_mapped(r, class->mapped));
    SY_TRY(class->rest(r, family));
    int is_mla = general ? r->config->model.attention == SY_ATTENTION_MLA
                         : family == SY_FAMILY_DEEPSEEK_V2 || family == SY_FAMILY_DEEPSEEK_V3;
    return sy_hf_rope_apply(r, class->theta, is_mla);
}

sy_status sy_hf_theirs_apply(struct sy_hf_reading *r, int need_class) {
    const struct class *class = find_class(r->root);
    const json_t *names = json_object_get(r->root, "architectures");
    if (class && (!need_class || class->family != SY_FAMILY_NONE))
        return apply_class(r, class);
    if (!need_class && !names && !json_object_get(r->root, "model_type"))
        return SY_OK;
    const char *architecture = json_string_value(json_array_get(names, 0));
    SY_FAIL(SY_ERR_DATA,
            "%s: architecture \"%.80s\" is not one of DeepseekV3, DeepseekV2, Qwen3Moe, Qwen2Moe, Olmoe, "
            "Mixtral (ForCausalLM)",
            r->name, architecture ? architecture : "?");
}

sy_status sy_hf_config_apply(const char *name, const json_t *root, struct sy_config *config) {
    struct sy_hf_reading r = {.name = name, .root = root, .config = config};
    if (!json_is_object(root))
        SY_FAIL(SY_ERR_DATA, "%s: is not an object", name);
    const json_t *own = json_object_get(root, "switchyard");
    return own ? sy_hf_own_apply(&r, own) : sy_hf_theirs_apply(&r, 1);
}
