/* What no table of hf_config_read.c says of a class's config.json: see hf_reading.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ckpt/hf_reading.h"
#include "formats/json.h"
#include "model/params.h"

/* An integer key; missing means `missing`, which if negative is an error, as null always is. */
static sy_status int_of(const struct sy_hf_reading *r, const char *key, int64_t missing, int64_t low,
                        int64_t *out) {
    *out = missing;
    if (missing >= 0 && !json_object_get(r->root, key))
        return SY_OK;
    return sy_json_get_int(r->name, r->root, key, low, INT32_MAX, out);
}

static sy_status set_int(struct sy_hf_reading *r, const char *ours, const char *theirs, int64_t x) {
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, x);
    return sy_hf_set(r, ours, theirs, text);
}

/* Multi-head latent attention has a key and a value per head; transformers divides all the same. */
static sy_status check_kv_heads(const struct sy_hf_reading *r, int is_v3) {
    static const char key[] = "num_key_value_heads";
    int64_t heads = 0, kv = 0;
    SY_TRY(int_of(r, "num_attention_heads", -1, 1, &heads));
    if (json_is_null(json_object_get(r->root, key)))
        return SY_OK;
    SY_TRY(int_of(r, key, is_v3 ? 128 : heads, 1, &kv));
    if (kv != heads)
        SY_FAIL(SY_ERR_DATA, "%s: %s = %" PRId64 "%s, must be num_attention_heads = %" PRId64, r->name, key,
                kv, sy_json_has(r->root, key) ? "" : " (missing: the class's default)", heads);
    return SY_OK;
}

static sy_status apply_dense(struct sy_hf_reading *r, int is_v3) {
    int64_t layers = 0, dense = 0;
    SY_TRY(int_of(r, "num_hidden_layers", -1, 1, &layers));
    SY_TRY(int_of(r, "first_k_dense_replace", is_v3 ? 3 : 0, 0, &dense));
    SY_TRY(set_int(r, "model.n_dense_layers", "first_k_dense_replace", dense < layers ? dense : layers));
    if (dense == 0)
        return SY_OK; /* no layer has intermediate_size */
    SY_TRY(int_of(r, "intermediate_size", -1, 1, &dense));
    return set_int(r, "model.inter_dim", "intermediate_size", dense);
}

/* One group is no groups; of V2 topk_method says whether there are any. */
static sy_status apply_groups(struct sy_hf_reading *r, int is_v3) {
    int64_t groups = 1, limited = 1;
    const json_t *method = json_object_get(r->root, "topk_method");
    const char *name = method ? json_string_value(method) : "greedy";
    int greedy = !is_v3 && name && strcmp(name, "greedy") == 0;
    if (!is_v3 && !greedy && (!name || strcmp(name, "group_limited_greedy") != 0))
        SY_FAIL(
            SY_ERR_DATA,
            "%s: topk_method = \"%.40s\" is not supported, only \"greedy\" and \"group_limited_greedy\" are",
            r->name, name ? name : "?");
    if (!greedy) {
        SY_TRY(int_of(r, "n_group", is_v3 ? 8 : -1, 1, &groups));
        SY_TRY(int_of(r, "topk_group", is_v3 ? 4 : -1, 1, &limited));
    }
    if (groups == 1 && r->config->moe.num_expert_groups == 1)
        return SY_OK; /* our own object said so: the same model */
    SY_TRY(set_int(r, "moe.num_expert_groups", greedy ? "topk_method" : "n_group", groups > 1 ? groups : 0));
    return set_int(r, "moe.num_limited_groups", greedy ? "topk_method" : "topk_group",
                   groups > 1 ? limited : 0);
}

sy_status sy_hf_rest_of_deepseek(struct sy_hf_reading *r, int family) {
    int is_v3 = family == SY_FAMILY_DEEPSEEK_V3;
    const json_t *rank = json_object_get(r->root, "q_lora_rank"),
                 *interleave = json_object_get(r->root, "rope_interleave");
    if (json_is_integer(rank) && json_integer_value(rank) == 0)
        SY_FAIL(SY_ERR_DATA,
                "%s: q_lora_rank = 0 is not supported: null says that queries are projected directly",
                r->name);
    SY_TRY(check_kv_heads(r, is_v3));
    SY_TRY(apply_dense(r, is_v3));
    SY_TRY(apply_groups(r, is_v3));
    if (!is_v3)
        return SY_OK;
    if (interleave && !json_is_boolean(interleave))
        SY_FAIL(SY_ERR_DATA, "%s: key \"rope_interleave\": true or false is needed", r->name);
    return sy_hf_set(r, "model.rope", "rope_interleave", json_is_false(interleave) ? "halves" : "pairs");
}

static sy_status apply_window(struct sy_hf_reading *r, int64_t missing) {
    int64_t window = 0;
    if (json_is_null(json_object_get(r->root, "sliding_window")))
        return set_int(r, "model.window", "sliding_window", 0);
    SY_TRY(int_of(r, "sliding_window", missing, 1, &window));
    return set_int(r, "model.window", "sliding_window", window);
}

static sy_status check_layer_types(const struct sy_hf_reading *r) {
    const json_t *types = json_object_get(r->root, "layer_types"), *type;
    size_t i;
    json_array_foreach(types, i, type) {
        const char *word = json_string_value(type);
        if (!word || strcmp(word, "full_attention") != 0)
            SY_FAIL(SY_ERR_DATA, "%s: layer_types[%zu] = %.40s is not supported, only \"full_attention\" is",
                    r->name, i, word ? word : "?");
    }
    return SY_OK;
}

/* Whether layer l of a Qwen class has a plain feed-forward. */
static int is_dense(const json_t *only, int64_t step, int64_t l) {
    size_t i;
    const json_t *x;
    json_array_foreach(only, i, x) {
        if (json_integer_value(x) == l)
            return 1;
    }
    return (l + 1) % step != 0;
}

/* mlp_only_layers and decoder_sparse_step may say any; here the first ones can be dense. */
static sy_status apply_sparse(struct sy_hf_reading *r, int64_t width) {
    static const char key[] = "mlp_only_layers";
    int64_t layers = 0, step = 1, dense = 0;
    size_t i;
    const json_t *only = json_object_get(r->root, key), *x;
    SY_TRY(int_of(r, "num_hidden_layers", -1, 1, &layers));
    SY_TRY(int_of(r, "decoder_sparse_step", 1, 1, &step));
    if (only && !json_is_null(only) && !json_is_array(only))
        SY_FAIL(SY_ERR_DATA, "%s: key \"%s\": a list of layers is needed", r->name, key);
    json_array_foreach(only, i, x) {
        if (!json_is_integer(x))
            SY_FAIL(SY_ERR_DATA, "%s: %s[%zu] is no integer", r->name, key, i);
    }
    while (dense < layers && is_dense(only, step, dense))
        dense++;
    for (int64_t l = dense; l < layers; l++)
        if (is_dense(only, step, l))
            SY_FAIL(SY_ERR_DATA,
                    "%s: mlp_only_layers and decoder_sparse_step = %" PRId64 " make layer %" PRId64
                    " dense behind one with experts, which is not supported: the first layers alone can be",
                    r->name, step, l);
    SY_TRY(set_int(r, "model.n_dense_layers", key, dense));
    if (dense == 0)
        return SY_OK; /* no layer has intermediate_size */
    SY_TRY(int_of(r, "intermediate_size", width, 1, &width));
    return set_int(r, "model.inter_dim", "intermediate_size", width);
}

/* Shared experts are one network, as wide as several. */
sy_status sy_hf_rest_of_qwen2(struct sy_hf_reading *r, int family) {
    static const char key[] = "shared_expert_intermediate_size";
    int64_t width = 0, one = 0;
    (void)family;
    SY_TRY(check_layer_types(r));
    SY_TRY(apply_sparse(r, 5632));
    SY_TRY(int_of(r, key, 5632, 1, &width));
    SY_TRY(int_of(r, "moe_intermediate_size", -1, 1, &one));
    if (width % one != 0)
        SY_FAIL(SY_ERR_DATA,
                "%s: %s = %" PRId64 " is not supported, only multiples of moe_intermediate_size = %" PRId64
                " are",
                r->name, key, width, one);
    return set_int(r, "moe.num_shared_experts", key, width / one);
}

sy_status sy_hf_rest_of_qwen3(struct sy_hf_reading *r, int family) {
    const json_t *use = json_object_get(r->root, "use_sliding_window");
    (void)family;
    SY_TRY(apply_sparse(r, 6144));
    if (use && !json_is_boolean(use))
        SY_FAIL(SY_ERR_DATA, "%s: key \"use_sliding_window\": true or false is needed", r->name);
    if (!json_is_true(use))
        return set_int(r, "model.window", "use_sliding_window", 0);
    return apply_window(r, 4096);
}

sy_status sy_hf_rest_of_mixtral(struct sy_hf_reading *r, int family) {
    (void)family;
    return apply_window(r, 0);
}

/* OLMoE's norms of queries and keys are as wide as hidden_size whatever head_dim is. */
sy_status sy_hf_rest_of_olmoe(struct sy_hf_reading *r, int family) {
    int64_t dim = 0, heads = 0, head_dim = 0;
    (void)family;
    SY_TRY(int_of(r, "hidden_size", -1, 1, &dim));
    SY_TRY(int_of(r, "num_attention_heads", -1, 1, &heads));
    SY_TRY(int_of(r, "head_dim", dim / heads, 1, &head_dim));
    if (head_dim * heads != dim)
        SY_FAIL(SY_ERR_DATA,
                "%s: head_dim = %" PRId64 " times num_attention_heads = %" PRId64
                " is not hidden_size = %" PRId64 ", which this class needs",
                r->name, head_dim, heads, dim);
    return SY_OK;
}

sy_status sy_hf_rest_of_none(struct sy_hf_reading *r, int family) {
    (void)family;
    for (int i = 0; i < 2; i++) {
        static const char *const keys[][2] = {{"num_key_value_heads", "model.n_kv_heads"},
                                              {"attention_bias", "model.attention_bias"}};
        if (sy_json_has(r->root, keys[i][0]))
            SY_TRY(sy_hf_set_value(r, keys[i][1], keys[i][0], json_object_get(r->root, keys[i][0])));
    }
    return SY_OK;
}
