/* Writing config.json: see hf_config.h. The keys are those of transformers' configuration_<model_type>.py. */
#include "ckpt/hf_config.h"

#include <stdio.h>
#include <string.h>

#include "ckpt/hf_reading.h"
#include "ckpt/text.h"
#include "formats/json.h"
#include "model/params.h"

static const struct {
    const char *architecture, *model_type;
} families[] = {
    [SY_FAMILY_NONE] = {"SwitchyardForCausalLM", "switchyard"},
    [SY_FAMILY_DEEPSEEK_V2] = {"DeepseekV2ForCausalLM", "deepseek_v2"},
    [SY_FAMILY_DEEPSEEK_V3] = {"DeepseekV3ForCausalLM", "deepseek_v3"},
    [SY_FAMILY_QWEN2_MOE] = {"Qwen2MoeForCausalLM", "qwen2_moe"},
    [SY_FAMILY_QWEN3_MOE] = {"Qwen3MoeForCausalLM", "qwen3_moe"},
    [SY_FAMILY_OLMOE] = {"OlmoeForCausalLM", "olmoe"},
    [SY_FAMILY_MIXTRAL] = {"MixtralForCausalLM", "mixtral"},
};

const char *sy_hf_architecture(int family, const char **model_type) {
    if (model_type)
        *model_type = families[family].model_type;
    return families[family].architecture;
}

/* Setters that remember a failure, so that a long list reads as one. */
struct making {
    json_t *root;
    int failed;
};

static void put(struct making *m, const char *key, json_t *value) {
    m->failed |= json_object_set_new(m->root, key, value) != 0;
}
static void put_int(struct making *m, const char *key, int64_t x) { put(m, key, json_integer(x)); }
static void put_real(struct making *m, const char *key, double x) { put(m, key, json_real(x)); }
static void put_bool(struct making *m, const char *key, int x) { put(m, key, json_boolean(x)); }
static void put_text(struct making *m, const char *key, const char *x) { put(m, key, json_string(x)); }
static void put_null(struct making *m, const char *key) { put(m, key, json_null()); }

static void put_token(struct making *m, const char *key, int32_t id) {
    put(m, key, id == SY_TOKEN_NONE ? json_null() : json_integer(id));
}

static void put_window(struct making *m, int64_t window) {
    if (window > 0)
        put_int(m, "sliding_window", window);
    else
        put_null(m, "sliding_window");
}

/* attention_factor and truncate stand there only if a reader would not assume them. */
static json_t *make_yarn(const struct sy_config_model *model) {
    struct making m = {json_object(), 0};
    int is_mla = model->attention == SY_ATTENTION_MLA;
    double mscale = is_mla ? model->mscale : 0;
    put_text(&m, "type", "yarn");
    put_text(&m, "rope_type", "yarn");
    put_real(&m, "factor", model->rope_factor);
    put_real(&m, "beta_fast", model->beta_fast);
    put_real(&m, "beta_slow", model->beta_slow);
    if (is_mla) {
        put_real(&m, "mscale", mscale);
        put_real(&m, "mscale_all_dim", mscale);
    }
    put_int(&m, "original_max_position_embeddings", model->original_seq_len);
    if (model->rope_attention_factor != sy_hf_attention_factor(model->rope_factor, mscale, mscale))
        put_real(&m, "attention_factor", model->rope_attention_factor);
    if (!model->yarn_truncate)
        put_bool(&m, "truncate", 0);
    if (!m.failed)
        return m.root;
    json_decref(m.root);
    return NULL; /* put takes it as a failure */
}

/* BOS, EOS, PAD; without a tokenizer those of bytes. */
static void put_tokens(struct making *m, const struct sy_tokenizer *t) {
    put_token(m, "bos_token_id", t ? sy_tokenizer_bos(t) : SY_TOKEN_BOS);
    put_token(m, "eos_token_id", t ? sy_tokenizer_eos(t) : SY_TOKEN_EOS);
    put_token(m, "pad_token_id", t ? sy_tokenizer_pad(t) : SY_TOKEN_PAD);
}

static void put_common(struct making *m, const struct sy_config *c, const struct sy_tokenizer *tokenizer,
                       enum sy_family family) {
    const struct sy_config_model *model = &c->model;
    int yarn = model->rope_factor > 1 || model->rope_attention_factor != 1;
    put_int(m, "vocab_size", model->vocab_size);
    put_int(m, "hidden_size", model->dim);
    put_int(m, "num_hidden_layers", model->n_layers);
    put_int(m, "num_attention_heads", model->n_heads);
    put_int(m, "num_key_value_heads", model->n_kv_heads);
    put_text(m, "hidden_act", "silu");
    put_int(m, "max_position_embeddings",
            yarn ? (int64_t)((double)model->original_seq_len * model->rope_factor) : c->training.seq_len);
    put_real(m, "initializer_range", 0.02);
    put_real(m, "rms_norm_eps", model->norm_eps);
    put_bool(m, "use_cache", 1);
    put_bool(m, "tie_word_embeddings", model->tie_word_embeddings);
    put_real(m, "rope_theta", model->rope_theta);
    if (yarn)
        put(m, "rope_scaling", make_yarn(model));
    else
        put_null(m, "rope_scaling");
    if (family != SY_FAMILY_QWEN2_MOE) /* which says qkv_bias */
        put_bool(m, "attention_bias", model->attention_bias);
    put_real(m, "attention_dropout", 0);
    put_tokens(m, tokenizer);
    put_text(m, "torch_dtype", "float32");
}

static void put_deepseek(struct making *m, const struct sy_config *c, int v3) {
    const struct sy_config_model *model = &c->model;
    const struct sy_config_moe *moe = &c->moe;
    int groups = moe->num_expert_groups > 0;
    if (model->n_dense_layers > 0)
        put_int(m, "intermediate_size", model->inter_dim);
    else
        put_int(m, "intermediate_size", model->moe_inter_dim); /* no layer uses it */
    put_int(m, "moe_intermediate_size", model->moe_inter_dim);
    put_int(m, "first_k_dense_replace", model->n_dense_layers);
    put_int(m, "moe_layer_freq", 1);
    if (model->q_lora_rank > 0)
        put_int(m, "q_lora_rank", model->q_lora_rank);
    else
        put_null(m, "q_lora_rank");
    put_int(m, "kv_lora_rank", model->kv_lora_rank);
    put_int(m, "qk_nope_head_dim", model->qk_nope_head_dim);
    put_int(m, "qk_rope_head_dim", model->qk_rope_head_dim);
    put_int(m, "v_head_dim", model->v_head_dim);
    put_int(m, "n_routed_experts", moe->num_experts);
    put_int(m, "n_shared_experts", moe->num_shared_experts);
    put_int(m, "num_experts_per_tok", moe->top_k);
    put_bool(m, "norm_topk_prob", moe->route_norm);
    put_real(m, "routed_scaling_factor", moe->route_scale);
    put_text(m, "scoring_func", v3 ? "sigmoid" : "softmax");
    put_text(m, "topk_method", v3 ? "noaux_tc" : groups ? "group_limited_greedy" : "greedy");
    put_int(m, "n_group", groups ? moe->num_expert_groups : 1);
    put_int(m, "topk_group", groups ? moe->num_limited_groups : 1);
    if (v3)
        put_bool(m, "rope_interleave", model->rope == SY_ROPE_PAIRS);
}

/* Which layers have no experts, and how wide they are. */
static void put_sparse(struct making *m, const struct sy_config_model *model) {
    json_t *dense = json_array();
    for (int64_t l = 0; l < model->n_dense_layers; l++)
        m->failed |= json_array_append_new(dense, json_integer(l)) != 0;
    put(m, "mlp_only_layers", dense);
    put_int(m, "decoder_sparse_step", 1);
    put_int(m, "intermediate_size",
            model->n_dense_layers > 0 ? model->inter_dim : model->moe_inter_dim); /* 0: no layer uses it */
}

static void put_qwen3(struct making *m, const struct sy_config *c) {
    put_int(m, "head_dim", c->model.head_dim);
    put_int(m, "moe_intermediate_size", c->model.moe_inter_dim);
    put_int(m, "num_experts", c->moe.num_experts);
    put_int(m, "num_experts_per_tok", c->moe.top_k);
    put_bool(m, "norm_topk_prob", c->moe.route_norm);
    put_sparse(m, &c->model);
    put_bool(m, "use_sliding_window", c->model.window > 0);
    put_window(m, c->model.window);
    put_bool(m, "output_router_logits", 0);
    put_real(m, "router_aux_loss_coef", 0);
}

static void put_qwen2(struct making *m, const struct sy_config *c) {
    put_int(m, "head_dim", c->model.head_dim);
    put_int(m, "moe_intermediate_size", c->model.moe_inter_dim);
    put_int(m, "shared_expert_intermediate_size", c->moe.num_shared_experts * c->model.moe_inter_dim);
    put_int(m, "num_experts", c->moe.num_experts);
    put_int(m, "num_experts_per_tok", c->moe.top_k);
    put_bool(m, "norm_topk_prob", c->moe.route_norm);
    put_bool(m, "qkv_bias", c->model.attention_bias);
    put_sparse(m, &c->model);
    put_bool(m, "use_sliding_window", 0);
    put_bool(m, "output_router_logits", 0);
    put_real(m, "router_aux_loss_coef", 0);
}

static void put_olmoe(struct making *m, const struct sy_config *c) {
    put_int(m, "head_dim", c->model.head_dim);
    put_int(m, "intermediate_size", c->model.moe_inter_dim);
    put_int(m, "num_experts", c->moe.num_experts);
    put_int(m, "num_experts_per_tok", c->moe.top_k);
    put_bool(m, "norm_topk_prob", c->moe.route_norm);
    put_null(m, "clip_qkv");
    put_bool(m, "output_router_logits", 0);
    put_real(m, "router_aux_loss_coef", 0);
}

static void put_mixtral(struct making *m, const struct sy_config *c) {
    put_int(m, "head_dim", c->model.head_dim);
    put_int(m, "intermediate_size", c->model.moe_inter_dim);
    put_int(m, "num_local_experts", c->moe.num_experts);
    put_int(m, "num_experts_per_tok", c->moe.top_k);
    put_window(m, c->model.window);
    put_bool(m, "output_router_logits", 0);
    put_real(m, "router_aux_loss_coef", 0);
    put_real(m, "router_jitter_noise", 0);
}

/* ---- the object "switchyard" ---- */

static sy_status put_own(void *user, const char *key, enum sy_config_effect effect, const char *text) {
    struct making *m = user;
    const char *dot = strchr(key, '.');
    (void)effect;
    if (strncmp(key, "model.", 6) != 0 && strncmp(key, "moe.", 4) != 0)
        return SY_OK;
    char section[16];
    snprintf(section, sizeof section, "%.*s", (int)(dot - key), key);
    json_t *object = json_object_get(m->root, section);
    if (!object) {
        put(m, section, json_object());
        object = json_object_get(m->root, section);
    }
    json_t *value =
        json_loads(text, JSON_DECODE_ANY, NULL); /* a value of TOML that is no list reads as JSON */
    if (!value)
        SY_FAIL(SY_ERR_RUNTIME, "%s = %s has no form in JSON (or out of memory)", key, text);
    if (json_object_set_new(object, dot + 1, value) != 0)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for config.json");
    return SY_OK;
}

static sy_status make_own(const struct sy_config *config, json_t **out) {
    struct making own = {json_object(), 0};
    sy_status status = sy_ckpt_config_walk(config, put_own, &own);
    if (status == SY_OK && (own.failed || !own.root))
        status = sy_fail(SY_ERR_MEMORY, "out of memory for config.json");
    if (status != SY_OK) {
        json_decref(own.root);
        return status;
    }
    *out = own.root;
    return SY_OK;
}

sy_status sy_hf_config_make(const struct sy_config *config, const struct sy_tokenizer *tokenizer,
                            json_t **out) {
    enum sy_family family = sy_model_family(&config->model, &config->moe);
    json_t *own = NULL;
    SY_TRY(make_own(config, &own));
    struct making m = {json_object(), 0};
    put(&m, "architectures", json_pack("[s]", families[family].architecture));
    put_text(&m, "model_type", families[family].model_type);
    put_common(&m, config, tokenizer, family);
    switch (family) {
    case SY_FAMILY_DEEPSEEK_V2:
    case SY_FAMILY_DEEPSEEK_V3:
        put_deepseek(&m, config, family == SY_FAMILY_DEEPSEEK_V3);
        break;
    case SY_FAMILY_QWEN2_MOE:
        put_qwen2(&m, config);
        break;
    case SY_FAMILY_QWEN3_MOE:
        put_qwen3(&m, config);
        break;
    case SY_FAMILY_OLMOE:
        put_olmoe(&m, config);
        break;
    case SY_FAMILY_MIXTRAL:
        put_mixtral(&m, config);
        break;
    case SY_FAMILY_NONE:
        break;
    }
    put(&m, "switchyard", own);
    if (m.failed) {
        json_decref(m.root);
        SY_FAIL(SY_ERR_MEMORY, "out of memory for config.json");
    }
    *out = m.root;
    return SY_OK;
}

const char *sy_hf_class_name(const struct sy_config *config) {
    enum sy_family family = sy_model_family(&config->model, &config->moe);
    return family == SY_FAMILY_NONE ? NULL : families[family].architecture;
}

const char *sy_hf_class_lack(const struct sy_config *config) {
    const char *lack;
    sy_model_family_lack(&config->model, &config->moe, &lack);
    return lack;
}
