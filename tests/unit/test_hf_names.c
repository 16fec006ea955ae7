/* config.json both ways, and the names and shapes of tensors, against what Hugging Face's classes and
 * published models say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/hf_config.h"
#include "formats/json.h"
#include "model/params.h"

static struct sy_config *new_config(const char *flavor, const char *more) {
    struct sy_config *c = NULL;
    char text[512];
    assert_int_equal(sy_config_create(&c), SY_OK);
    snprintf(text, sizeof text, "[model]\n%s%s%s\n%s\n[numerics]\nclass = \"x86\"\n",
             *flavor ? "flavor = \"" : "", flavor, *flavor ? "\"" : "", more);
    if (sy_config_load_text(c, "t", text, strlen(text)) != SY_OK ||
        (*flavor && sy_config_finish(c, false) != SY_OK))
        fail_msg("%s", sy_error_message());
    return c;
}

/* Every key of [model] and [moe] is the same. */
static void same_model(struct sy_config *a, struct sy_config *b, const char *what) {
    const char *key, *ta = NULL, *tb = NULL;
    for (int i = 0; (key = sy_config_key(i, NULL)); i++) {
        if ((strncmp(key, "model.", 6) != 0 && strncmp(key, "moe.", 4) != 0) ||
            strcmp(key, "model.flavor") == 0)
            continue;
        assert_int_equal(sy_config_get(a, key, &ta), SY_OK);
        assert_int_equal(sy_config_get(b, key, &tb), SY_OK);
        if (strcmp(ta, tb) != 0)
            fail_msg("%s: %s is %s, was %s", what, key, tb, ta);
    }
}

static struct sy_config *read_back(const json_t *root, const char *what) {
    struct sy_config *c = NULL;
    assert_int_equal(sy_config_create(&c), SY_OK);
    if (sy_hf_config_apply("config.json", root, c) != SY_OK || sy_config_finish(c, false) != SY_OK)
        fail_msg("%s: %s", what, sy_error_message());
    return c;
}

static const char *model_type(const json_t *root) {
    return json_string_value(json_object_get(root, "model_type"));
}

/* With our object, and of a Hugging Face class also without it. */
static void comes_back(struct sy_config *a, const json_t *root, const char *what) {
    struct sy_config *b = read_back(root, what);
    same_model(a, b, what);
    sy_config_destroy(b);
    if (strcmp(model_type(root), "switchyard") == 0)
        return;
    json_t *theirs = json_copy((json_t *)root);
    assert_int_equal(json_object_del(theirs, "switchyard"), 0);
    b = read_back(theirs, what);
    same_model(a, b, what);
    sy_config_destroy(b);
    json_decref(theirs);
}

static void test_all_flavors(void **unused) {
    (void)unused;
    int n_theirs = 0;
    const char *flavor;
    for (int i = 0; (flavor = sy_config_flavor(i, NULL)); i++) {
        struct sy_config *a = new_config(flavor, "");
        json_t *root = NULL;
        assert_int_equal(sy_hf_config_make(a, NULL, &root), SY_OK);
        comes_back(a, root, flavor);
        n_theirs += strcmp(model_type(root), "switchyard") != 0;
        json_decref(root);
        sy_config_destroy(a);
    }
    assert_true(n_theirs >= 9);
}

/* Flavor, what is laid over it, model_type. OLMoE has no head_dim of its own, DeepseekV2 no width that its
 * heads do not divide, and no class but Qwen3-MoE and Mixtral a window. */
static void test_types(void **unused) {
    (void)unused;
    static const char *const types[][3] = {
        {"dsv3-671b", "", "deepseek_v3"},
        {"moonlight-16b", "", "deepseek_v3"},
        {"dsv3-671b", "rope = \"halves\"\nrope_attention_factor = 0.5", "deepseek_v3"},
        {"dsv3-671b", "[moe]\nroute_norm = false", "deepseek_v3"},
        {"dsv3-671b", "[moe]\nnum_shared_experts = 0", "switchyard"},
        {"dsv2-236b", "", "deepseek_v2"},
        {"dsv2-236b", "rope_factor = 1", "deepseek_v2"},
        {"dsv2-236b", "dim = 5000", "switchyard"},
        {"dsv2-236b", "[moe]\nroute_norm = true", "switchyard"},
        {"qwen3-30b-a3b", "", "qwen3_moe"},
        {"qwen3-30b-a3b", "window = 64\nrope_factor = 4", "qwen3_moe"},
        {"qwen3-30b-a3b", "attention_bias = true", "switchyard"},
        {"qwen3-30b-a3b", "attention_output_bias = true", "switchyard"},
        {"qwen3-30b-a3b", "attention_bias = true\nattention_output_bias = true", "qwen3_moe"},
        {"olmoe-7b", "attention_bias = true\nattention_output_bias = true", "olmoe"},
        {"dsv3-671b", "attention_bias = true", "switchyard"},
        {"dsv3-671b", "attention_bias = true\nattention_output_bias = true", "deepseek_v3"},
        {"dsv2-236b", "attention_bias = true\nattention_output_bias = true\nq_lora_rank = 0", "deepseek_v2"},
        {"mixtral-8x7b", "attention_bias = true\nattention_output_bias = true", "switchyard"},
        {"mixtral-8x7b",
         "attention_bias = true\nattention_output_bias = true\n[moe]\nnum_shared_experts = 1\nshared_gate = "
         "true",
         "switchyard"},
        {"qwen3-30b-a3b", "[moe]\nnum_shared_experts = 2\nshared_gate = true", "switchyard"},
        {"mixtral-8x7b", "attention_bias = true", "switchyard"},
        {"dsv3-671b", "tie_word_embeddings = true", "deepseek_v3"},
        {"dsv2-236b", "tie_word_embeddings = true", "deepseek_v2"},
        {"qwen3-30b-a3b", "tie_word_embeddings = true", "qwen3_moe"},
        {"olmoe-7b", "tie_word_embeddings = true", "olmoe"},
        {"mixtral-8x7b", "tie_word_embeddings = true", "mixtral"},
        {"micro_gqa", "tie_word_embeddings = true", "switchyard"},
        {"mixtral-8x7b", "attention_bias = true\n[moe]\nnum_shared_experts = 2\nshared_gate = true",
         "qwen2_moe"},
        {"mixtral-8x7b", "[moe]\nnum_shared_experts = 1\nshared_gate = true\nroute_norm = false",
         "qwen2_moe"},
        {"mixtral-8x7b", "window = 9\n[moe]\nnum_shared_experts = 1\nshared_gate = true", "switchyard"},
        {"mixtral-8x7b", "[moe]\nnum_shared_experts = 1", "switchyard"},
        {"qwen3-30b-a3b", "n_dense_layers = 2\ninter_dim = 6144", "qwen3_moe"},
        {"mixtral-8x7b", "n_dense_layers = 1\ninter_dim = 64", "switchyard"},
        {"olmoe-7b", "n_dense_layers = 1\ninter_dim = 64", "switchyard"},
        {"olmoe-7b", "", "olmoe"},
        {"olmoe-7b", "[moe]\nroute_norm = true", "olmoe"},
        {"olmoe-7b", "head_dim = 64", "switchyard"},
        {"olmoe-7b", "window = 64", "switchyard"},
        {"mixtral-8x7b", "", "mixtral"},
        {"mixtral-8x7b", "head_dim = 64\nwindow = 7", "mixtral"},
        {"mixtral-8x7b", "[moe]\nroute_norm = false", "switchyard"},
        {"dsv3-debug", "", "switchyard"},
        {"gqa-debug", "", "qwen3_moe"},
        {"micro_gqa", "", "switchyard"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct sy_config *c = new_config(types[i][0], types[i][1]);
        json_t *root = NULL;
        assert_int_equal(sy_hf_config_make(c, NULL, &root), SY_OK);
        assert_string_equal(model_type(root), types[i][2]);
        assert_string_equal(json_string_value(json_object_get(root, "torch_dtype")), "float32");
        comes_back(c, root, types[i][0]);
        json_decref(root);
        sy_config_destroy(c);
    }
}

/* Checkpoints of the demo and of the debug model load in transformers. */
static void test_configs(void **unused) {
    (void)unused;
    static const char *const files[][2] = {{"configs/tiny.toml", "deepseek_v3"},
                                           {"configs/gqa_debug.toml", "qwen3_moe"}};
    for (int i = 0; i < 2; i++) {
        struct sy_config *c = NULL, *again;
        json_t *root = NULL;
        assert_int_equal(sy_config_create(&c), SY_OK);
        assert_int_equal(sy_config_load_file(c, files[i][0]), SY_OK);
        assert_int_equal(sy_config_finish(c, false), SY_OK);
        assert_int_equal(sy_hf_config_make(c, NULL, &root), SY_OK);
        assert_string_equal(model_type(root), files[i][1]);
        again = read_back(root, files[i][0]);
        same_model(c, again, files[i][0]);
        sy_config_destroy(again);
        json_decref(root);
        sy_config_destroy(c);
    }
}

/* ---- published config.json files, in the keys that matter ---- */

#define COMMON "\"hidden_act\":\"silu\",\"tie_word_embeddings\":false,\"attention_bias\":false,"
static const char deepseek_v3[] =
    "{\"architectures\":[\"DeepseekV3ForCausalLM\"],\"model_type\":\"deepseek_v3\"," COMMON
    "\"vocab_size\":129280,\"hidden_size\":7168,\"intermediate_size\":18432,\"moe_intermediate_size\":2048,"
    "\"num_hidden_layers\":61,\"num_attention_heads\":128,\"num_key_value_heads\":128,\"n_shared_experts\":1,"
    "\"n_routed_experts\":256,\"routed_scaling_factor\":2.5,\"kv_lora_rank\":512,\"q_lora_rank\":1536,\"qk_"
    "rope_head_dim\":"
    "64,"
    "\"v_head_dim\":128,\"qk_nope_head_dim\":128,\"n_group\":8,\"topk_group\":4,\"num_experts_per_tok\":8,"
    "\"first_k_dense_replace\":3,\"norm_topk_prob\":true,\"scoring_func\":\"sigmoid\",\"topk_method\":"
    "\"noaux_tc\","
    "\"moe_layer_freq\":1,\"num_nextn_predict_layers\":1,\"rms_norm_eps\":1e-06,\"rope_theta\":10000,"
    "\"rope_scaling\":{\"beta_fast\":32,\"beta_slow\":1,\"factor\":40,\"mscale\":1.0,\"mscale_all_dim\":1.0,"
    "\"original_max_position_embeddings\":4096,\"type\":\"yarn\"}}";
static const char deepseek_v3_rope_parameters[] = /* as transformers 5 writes it */
    "{\"architectures\":[\"DeepseekV3ForCausalLM\"],\"model_type\":\"deepseek_v3\"," COMMON
    "\"vocab_size\":129280,\"hidden_size\":7168,\"intermediate_size\":18432,\"moe_intermediate_size\":2048,"
    "\"num_hidden_layers\":61,\"num_attention_heads\":128,\"num_key_value_heads\":128,\"n_shared_experts\":1,"
    "\"n_routed_experts\":256,\"routed_scaling_factor\":2.5,\"kv_lora_rank\":512,\"q_lora_rank\":1536,\"qk_"
    "rope_head_dim\":"
    "64,"
    "\"v_head_dim\":128,\"qk_nope_head_dim\":128,\"n_group\":8,\"topk_group\":4,\"num_experts_per_tok\":8,"
    "\"first_k_dense_replace\":3,\"norm_topk_prob\":true,\"rms_norm_eps\":1e-06,\"rope_interleave\":true,"
    "\"rope_parameters\":{\"beta_fast\":32.0,\"beta_slow\":1.0,\"factor\":40.0,\"mscale\":1.0,\"mscale_all_"
    "dim\":1.0,"
    "\"original_max_position_embeddings\":4096,\"rope_type\":\"yarn\",\"rope_theta\":10000.0}}";
static const char deepseek_v2[] =
    "{\"architectures\":[\"DeepseekV2ForCausalLM\"],\"model_type\":\"deepseek_v2\"," COMMON
    "\"vocab_size\":102400,\"hidden_size\":5120,\"intermediate_size\":12288,\"moe_intermediate_size\":1536,"
    "\"num_hidden_layers\":60,\"num_attention_heads\":128,\"num_key_value_heads\":128,\"n_shared_experts\":2,"
    "\"n_routed_experts\":160,\"routed_scaling_factor\":16.0,\"kv_lora_rank\":512,\"q_lora_rank\":1536,"
    "\"qk_rope_head_dim\":64,\"v_head_dim\":128,\"qk_nope_head_dim\":128,\"n_group\":8,\"topk_group\":3,"
    "\"num_experts_per_tok\":6,\"first_k_dense_replace\":1,\"norm_topk_prob\":false,\"scoring_func\":"
    "\"softmax\","
    "\"topk_method\":\"group_limited_greedy\",\"moe_layer_freq\":1,\"rms_norm_eps\":1e-06,\"rope_theta\":"
    "10000,"
    "\"rope_scaling\":{\"beta_fast\":32,\"beta_slow\":1,\"factor\":40,\"mscale\":1.0,\"mscale_all_dim\":1.0,"
    "\"original_max_position_embeddings\":4096,\"type\":\"yarn\"}}";
static const char qwen3[] =
    "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"model_type\":\"qwen3_moe\"," COMMON
    "\"decoder_sparse_step\":1,\"head_dim\":128,\"hidden_size\":2048,\"intermediate_size\":6144,\"mlp_only_"
    "layers\":[],"
    "\"moe_intermediate_size\":768,\"norm_topk_prob\":true,\"num_attention_heads\":32,\"num_experts\":128,"
    "\"num_experts_per_tok\":8,\"num_hidden_layers\":48,\"num_key_value_heads\":4,\"rms_norm_eps\":1e-06,"
    "\"rope_scaling\":null,\"rope_theta\":1000000.0,\"sliding_window\":null,\"use_sliding_window\":false,"
    "\"vocab_size\":151936}";
static const char olmoe[] = "{\"architectures\":[\"OlmoeForCausalLM\"],\"model_type\":\"olmoe\"," COMMON
                            "\"clip_qkv\":null,\"hidden_size\":2048,\"intermediate_size\":1024,\"norm_topk_"
                            "prob\":false,\"num_attention_heads\":16,"
                            "\"num_experts\":64,\"num_experts_per_tok\":8,\"num_hidden_layers\":16,\"num_key_"
                            "value_heads\":16,\"rms_norm_eps\":1e-"
                            "05,"
                            "\"rope_scaling\":null,\"rope_theta\":10000.0,\"vocab_size\":50304}";
static const char mixtral[] =
    "{\"architectures\":[\"MixtralForCausalLM\"],\"model_type\":\"mixtral\",\"hidden_act\":\"silu\","
    "\"hidden_size\":4096,\"intermediate_size\":14336,\"num_attention_heads\":32,\"num_experts_per_tok\":2,"
    "\"num_hidden_layers\":32,\"num_key_value_heads\":8,\"num_local_experts\":8,\"rms_norm_eps\":1e-05,"
    "\"rope_theta\":1000000.0,\"sliding_window\":null,\"tie_word_embeddings\":false,\"vocab_size\":32000}";

static json_t *parse(const char *text) {
    json_t *root = NULL;
    assert_int_equal(sy_json_parse("t", text, strlen(text), 0, &root), SY_OK);
    return root;
}

static void test_published(void **unused) {
    (void)unused;
    static const struct {
        const char *flavor, *text;
    } models[] = {{"dsv3-671b", deepseek_v3}, {"dsv3-671b", deepseek_v3_rope_parameters},
                  {"dsv2-236b", deepseek_v2}, {"qwen3-30b-a3b", qwen3},
                  {"olmoe-7b", olmoe},        {"mixtral-8x7b", mixtral}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        struct sy_config *a = new_config(models[i].flavor, ""), *b;
        json_t *root = parse(models[i].text);
        b = read_back(root, models[i].flavor);
        same_model(a, b, models[i].flavor);
        json_decref(root);
        sy_config_destroy(a);
        sy_config_destroy(b);
    }
}

static void test_stronger_layers_stay(void **unused) {
    (void)unused;
    struct sy_config *c = new_config("", "n_layers = 5");
    json_t *root = parse(mixtral);
    assert_int_equal(sy_hf_config_apply("config.json", root, c), SY_OK);
    assert_int_equal(sy_config_finish(c, false), SY_OK);
    assert_int_equal(c->model.n_layers, 5);
    assert_int_equal(c->model.dim, 4096);
    json_decref(root);
    sy_config_destroy(c);
}

/* `change` is JSON that is laid over a published file; the message must have `word`. */
static void refuses(const char *text, const char *change, const char *word) {
    json_t *root = parse(text), *over = parse(change);
    struct sy_config *c = NULL;
    assert_int_equal(json_object_update(root, over), 0);
    assert_int_equal(sy_config_create(&c), SY_OK);
    if (sy_hf_config_apply("config.json", root, c) != SY_ERR_DATA)
        fail_msg("accepted: %s", change);
    if (!strstr(sy_error_message(), word) || !strstr(sy_error_message(), "config.json"))
        fail_msg("%s: %s", change, sy_error_message());
    sy_config_destroy(c);
    json_decref(root);
    json_decref(over);
}

static void test_refused(void **unused) {
    (void)unused;
    refuses(mixtral, "{\"architectures\":[\"LlamaForCausalLM\"]}", "LlamaForCausalLM");
    refuses(mixtral, "{\"architectures\":3,\"model_type\":4}", "architecture");
    refuses(mixtral, "{\"hidden_act\":\"gelu\"}", "hidden_act");
    refuses(mixtral, "{\"tie_word_embeddings\":1}", "tie_word_embeddings");
    refuses(mixtral, "{\"sliding_window\":0}", "sliding_window");
    refuses(mixtral, "{\"sliding_window\":\"x\"}", "sliding_window");
    refuses(mixtral, "{\"num_experts\":4}", "num_local_experts");
    refuses(mixtral, "{\"hidden_size\":null}", "\"hidden_size\" is null");
    refuses(mixtral, "{\"hidden_size\":\"x\"}", "model.dim");
    refuses(mixtral, "{\"hidden_size\":-1}", "model.dim");
    refuses(mixtral, "{\"hidden_size\":[1]}", "hidden_size");
    refuses(mixtral, "{\"hidden_size\":1.5}", "model.dim");
    refuses(mixtral, "{\"rms_norm_eps\":1e300}", "model.norm_eps");
    refuses(mixtral, "{\"rope_theta\":null}", "rope_theta");
    refuses(mixtral, "{\"partial_rotary_factor\":0.5}", "partial_rotary_factor");
    refuses(mixtral, "{\"rope_parameters\":3}", "rope_parameters");
    refuses(mixtral, "{\"rope_scaling\":[1]}", "rope_scaling");
    refuses(mixtral, "{\"rope_scaling\":{\"factor\":2.0}}", "\"factor\"");
    refuses(mixtral, "{\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e4}}}", "full_attention");
    refuses(mixtral, "{\"rope_parameters\":{\"rope_type\":4}}", "rope_type");
    refuses(mixtral, "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}}", "linear");
    refuses(mixtral, "{\"switchyard\":3}", "model");
    refuses(mixtral, "{\"switchyard\":{\"model\":{\"dimm\":3},\"moe\":{}}}", "model.dim");
    refuses(mixtral, "{\"switchyard\":{\"model\":{\"dim\":{}},\"moe\":{}}}", "dim");
    refuses(qwen3, "{\"mlp_only_layers\":[1]}", "make layer 1 dense");
    refuses(qwen3, "{\"mlp_only_layers\":[0,2]}", "mlp_only_layers");
    refuses(qwen3, "{\"mlp_only_layers\":3}", "mlp_only_layers");
    refuses(qwen3, "{\"mlp_only_layers\":[\"x\"]}", "mlp_only_layers[0]");
    refuses(qwen3, "{\"decoder_sparse_step\":2}", "decoder_sparse_step = 2 make layer 2 dense");
    refuses(qwen3, "{\"decoder_sparse_step\":0}", "decoder_sparse_step");
    refuses(qwen3, "{\"attention_bias\":\"x\"}", "attention_bias");
    refuses(mixtral, "{\"attention_bias\":true}", "attention_bias");
    refuses(olmoe, "{\"clip_qkv\":8.0}", "clip_qkv");
    refuses(deepseek_v3, "{\"quantization_config\":{\"quant_method\":\"fp8\"}}", "quantization_config");
    refuses(deepseek_v3, "{\"quantization_config\":3}", "quantization_config");
    refuses(qwen3, "{\"quantization_config\":{\"quant_method\":\"gptq\",\"weight_block_size\":[128,128]}}",
            "gptq");
    refuses(qwen3, "{\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[128,0]}}",
            "[128,0]");
    refuses(qwen3,
            "{\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\",\"weight_block_size\":[128,"
            "128]}}",
            "e5m2");
    refuses(deepseek_v3, "{\"scoring_func\":\"softmax\"}", "scoring_func");
    refuses(deepseek_v3, "{\"moe_layer_freq\":2}", "moe_layer_freq");
    refuses(deepseek_v3, "{\"rope_interleave\":null}", "rope_interleave");
    refuses(deepseek_v3, "{\"n_group\":\"x\"}", "n_group");
    refuses(deepseek_v3, "{\"n_group\":null}", "n_group");
    refuses(deepseek_v3, "{\"q_lora_rank\":0}", "q_lora_rank");
    refuses(deepseek_v3, "{\"num_key_value_heads\":64}", "num_key_value_heads");
    refuses(deepseek_v3, "{\"num_attention_heads\":64}", "num_key_value_heads");
    refuses(deepseek_v3, "{\"routed_scaling_factor\":null}", "routed_scaling_factor");
    refuses(olmoe, "{\"head_dim\":64}", "head_dim");
    refuses(olmoe, "{\"sliding_window\":64}", "sliding_window");
    refuses(qwen3, "{\"use_sliding_window\":3}", "use_sliding_window");
    refuses(qwen3, "{\"num_key_value_heads\":null}", "num_key_value_heads");
    refuses(qwen3, "{\"num_local_experts\":64}", "num_local_experts");
#define YARN(more) "{\"rope_scaling\":{\"type\":\"yarn\"" more "}}"
    refuses(deepseek_v3, YARN(""), "factor");
    refuses(deepseek_v3, YARN(",\"factor\":null"), "factor");
    refuses(deepseek_v3, YARN(",\"factor\":0.5"), "factor");
    refuses(deepseek_v3, YARN(",\"factor\":4"), "original_max_position_embeddings");
    refuses(deepseek_v3,
            YARN(",\"factor\":4,\"original_max_position_embeddings\":64,\"extrapolation_factor\":1"),
            "extrapolation_factor");
    refuses(deepseek_v3, YARN(",\"factor\":4,\"original_max_position_embeddings\":64,\"truncate\":1"),
            "truncate");
    refuses(deepseek_v3, YARN(",\"factor\":4,\"original_max_position_embeddings\":64,\"attention_factor\":0"),
            "attention_factor");
    refuses(deepseek_v3, YARN(",\"factor\":4,\"original_max_position_embeddings\":64,\"mscale\":-1"),
            "mscale");
    refuses(deepseek_v3, YARN(",\"factor\":4,\"original_max_position_embeddings\":\"x\""),
            "original_max_position_embeddings");
}

/* ---- what is not said, and what yarn says ---- */

/* `change` is laid over a published file (null: the key is taken out, with remove); ours is then `value`. */
static void means(const char *text, const char *remove, const char *change, const char *ours,
                  const char *value) {
    json_t *root = parse(text), *over = parse(change);
    const char *got = NULL;
    if (remove)
        json_object_del(root, remove);
    assert_int_equal(json_object_update(root, over), 0);
    struct sy_config *c = read_back(root, change);
    assert_int_equal(sy_config_get(c, ours, &got), SY_OK);
    if (strcmp(got, value) != 0)
        fail_msg("without %s, with %s: %s is %s, must be %s", remove ? remove : "nothing", change, ours, got,
                 value);
    sy_config_destroy(c);
    json_decref(root);
    json_decref(over);
}

/* A missing key means what transformers' class takes for it. */
static void test_class_defaults(void **unused) {
    (void)unused;
    means(deepseek_v3, "routed_scaling_factor", "{}", "moe.route_scale", "2.5");
    means(deepseek_v3, "norm_topk_prob", "{}", "moe.route_norm", "true");
    means(deepseek_v3, NULL, "{\"norm_topk_prob\":null}", "moe.route_norm", "false");
    means(deepseek_v3, "n_group", "{}", "moe.num_expert_groups", "8");
    means(deepseek_v3, "topk_group", "{}", "moe.num_limited_groups", "4");
    means(deepseek_v3, NULL, "{\"n_group\":1,\"topk_group\":1}", "moe.num_expert_groups", "0");
    means(deepseek_v3, "first_k_dense_replace", "{}", "model.n_dense_layers", "3");
    means(deepseek_v3, "first_k_dense_replace", "{\"num_hidden_layers\":2}", "model.n_dense_layers", "2");
    means(deepseek_v3, "n_shared_experts", "{}", "moe.num_shared_experts", "1");
    means(deepseek_v3, "q_lora_rank", "{}", "model.q_lora_rank", "1536");
    means(deepseek_v3, NULL, "{\"q_lora_rank\":null}", "model.q_lora_rank", "0");
    means(deepseek_v3, "num_experts_per_tok", "{}", "moe.top_k", "8");
    means(deepseek_v3, "rms_norm_eps", "{}", "model.norm_eps", "1e-6");
    means(deepseek_v3, "rope_interleave", "{}", "model.rope", "\"pairs\"");
    means(deepseek_v3, NULL, "{\"rope_interleave\":false}", "model.rope", "\"halves\"");
    means(deepseek_v3, NULL, "{\"num_key_value_heads\":null}", "model.n_kv_heads", "128");
    means(deepseek_v3, "n_routed_experts", "{\"num_local_experts\":64}", "moe.num_experts", "64");
    means(deepseek_v2, "topk_method", "{}", "moe.num_expert_groups", "0");
    means(deepseek_v2, NULL, "{\"topk_method\":\"greedy\"}", "moe.num_expert_groups", "0");
    means(deepseek_v2, NULL, "{}", "moe.num_expert_groups", "8");
    means(deepseek_v2, "routed_scaling_factor", "{}", "moe.route_scale", "1.0");
    means(deepseek_v2, "n_shared_experts", "{}", "moe.num_shared_experts", "2");
    means(deepseek_v2, "first_k_dense_replace", "{}", "model.n_dense_layers", "0");
    means(qwen3, "norm_topk_prob", "{}", "moe.route_norm", "false");
    means(qwen3, "rope_theta", "{}", "model.rope_theta", "10000.0");
    means(qwen3, "head_dim", "{}", "model.head_dim", "64");
    means(qwen3, "num_experts", "{\"num_local_experts\":64}", "moe.num_experts", "64");
    means(qwen3, NULL, "{\"sliding_window\":64}", "model.window", "0");
    means(qwen3, NULL, "{\"use_sliding_window\":true,\"sliding_window\":64}", "model.window", "64");
    means(qwen3, "sliding_window", "{\"use_sliding_window\":true}", "model.window", "4096");
    means(olmoe, "num_key_value_heads", "{}", "model.n_kv_heads", "16");
    means(olmoe, "rms_norm_eps", "{}", "model.norm_eps", "1e-5");
    means(mixtral, "num_key_value_heads", "{}", "model.n_kv_heads", "8");
    means(mixtral, NULL, "{\"num_key_value_heads\":null}", "model.n_kv_heads", "32");
    means(mixtral, "rope_theta", "{}", "model.rope_theta", "1000000.0");
    means(mixtral, NULL, "{\"head_dim\":96}", "model.head_dim", "96");
    means(mixtral, NULL, "{\"head_dim\":null}", "model.head_dim", "128");
    means(mixtral, NULL, "{\"sliding_window\":4096}", "model.window", "4096");
    means(mixtral, "num_local_experts", "{\"num_experts\":16}", "moe.num_experts", "16");
    means(mixtral, NULL, "{\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":\"default\"}}",
          "model.rope_theta", "500000.0");
    refuses(deepseek_v2, "{\"topk_method\":\"noaux_tc\"}", "topk_method");
    refuses(deepseek_v2, "{\"n_group\":null}", "n_group");
    refuses(deepseek_v2, "{\"norm_topk_prob\":true}", "norm_topk_prob");
}

/* A key that the class has no value for is asked for by its name. */
static void test_missing(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *key;
    } wanted[] = {{mixtral, "hidden_size"},
                  {olmoe, "num_experts"},
                  {qwen3, "moe_intermediate_size"},
                  {deepseek_v2, "num_experts_per_tok"},
                  {deepseek_v3, "num_hidden_layers"}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        json_t *root = parse(wanted[i].text);
        char says[120];
        assert_int_equal(json_object_del(root, wanted[i].key), 0);
        char *text = json_dumps(root, 0);
        snprintf(says, sizeof says, "\"%s\" is missing", wanted[i].key);
        refuses(text, "{}", says);
        free(text);
        json_decref(root);
    }
}

/* The numbers are those that transformers 5.24 computes (modeling_rope_utils, yarn_apply_mscale). */
static void test_yarn(void **unused) {
    (void)unused;
#define LONG ",\"factor\":40,\"original_max_position_embeddings\":64"
    static const char factor[] = "model.rope_attention_factor", scale[] = "model.mscale";
    means(deepseek_v3, NULL, YARN(LONG), factor, "1.3688879454113936");
    means(deepseek_v3, NULL, YARN(LONG), scale, "0.0");
    means(deepseek_v3, NULL, YARN(LONG ",\"mscale\":0.7,\"mscale_all_dim\":0.7"), factor, "1.0");
    means(deepseek_v3, NULL, YARN(LONG ",\"mscale\":0.7,\"mscale_all_dim\":0.7"), scale, "0.7");
    means(deepseek_v3, NULL, YARN(LONG ",\"mscale\":0.7,\"mscale_all_dim\":1.2"), factor,
          "0.8721505655360163");
    means(deepseek_v3, NULL, YARN(LONG ",\"mscale\":0.7,\"mscale_all_dim\":1.2"), scale, "1.2");
    means(deepseek_v3, NULL, YARN(LONG ",\"mscale_all_dim\":1"), factor, "1.3688879454113936");
    means(deepseek_v3, NULL, YARN(LONG ",\"mscale_all_dim\":1"), scale, "1.0");
    means(deepseek_v3, NULL, YARN(LONG ",\"mscale\":1,\"mscale_all_dim\":0"), scale, "0.0");
    means(deepseek_v3, NULL, YARN(LONG ",\"attention_factor\":0.75,\"mscale_all_dim\":1"), factor, "0.75");
    means(deepseek_v3, NULL, YARN(LONG), "model.yarn_truncate", "true");
    means(deepseek_v3, NULL, YARN(LONG ",\"truncate\":false"), "model.yarn_truncate", "false");
    means(deepseek_v3, NULL, YARN(LONG ",\"beta_fast\":null,\"beta_slow\":0.5"), "model.beta_fast", "32.0");
    means(deepseek_v3, NULL, YARN(LONG ",\"beta_fast\":0,\"beta_slow\":0.5"), "model.beta_slow", "0.5");
    means(deepseek_v3, NULL, YARN(LONG), "model.original_seq_len", "64");
    means(deepseek_v3, NULL, YARN(LONG ",\"rope_theta\":5e5"), "model.rope_theta", "500000.0");
    means(qwen3, NULL, YARN(LONG), factor, "1.3688879454113936");
    means(mixtral, NULL, YARN(LONG ",\"attention_factor\":1.0"), factor, "1.0");
    means(qwen3, NULL,
          "{\"rope_scaling\":null,\"max_position_embeddings\":512,\"rope_parameters\":{\"rope_type\":"
          "\"yarn\",\"factor\":4."
          "0}}",
          "model.original_seq_len", "512");
    means(qwen3, NULL,
          "{\"rope_scaling\":{\"rope_type\":\"default\"},\"rope_parameters\":{\"rope_type\":\"yarn\","
          "\"factor\":4.0}}",
          "model.rope_factor", "1.0");
}

/* ---- our own folder, changed by hand ---- */

/* The key's value, other than the object "switchyard" says: refused, and both are named. */
static void test_changed_by_hand(void **unused) {
    (void)unused;
    static const char *const changes[][4] = {
        {"micro_mla", "{\"rms_norm_eps\":1e-3}", "rms_norm_eps", "model.norm_eps"},
        {"micro_mla", "{\"hidden_size\":64}", "hidden_size", "model.dim"},
        {"micro_mla", "{\"n_group\":1}", "n_group", "moe.num_expert_groups"},
        {"micro_mla", "{\"routed_scaling_factor\":1.0}", "routed_scaling_factor", "moe.route_scale"},
        {"micro_mla", "{\"rope_scaling\":null}", "rope_type", "model.rope_factor"},
        {"micro_mla", "{\"rope_theta\":5e5}", "rope_theta", "model.rope_theta"},
        {"micro_mla", "{\"first_k_dense_replace\":0}", "first_k_dense_replace", "model.n_dense_layers"},
        {"micro_mla", "{\"q_lora_rank\":null}", "q_lora_rank", "model.q_lora_rank"},
        {"micro_mla", "{\"norm_topk_prob\":false}", "norm_topk_prob", "moe.route_norm"},
        {"micro_mla", "{\"architectures\":[\"DeepseekV2ForCausalLM\"]}", "architectures",
         "DeepseekV3ForCausalLM"},
        {"micro_mla", "{\"hidden_act\":\"gelu\"}", "hidden_act", "gelu"},
        {"micro_mla", "{\"tie_word_embeddings\":true}", "tie_word_embeddings", "true"},
        {"micro_gqa", "{\"tie_word_embeddings\":true}", "tie_word_embeddings", "says false"},
        {"micro_gqa", "{\"rms_norm_eps\":1e-3}", "rms_norm_eps", "model.norm_eps"}, /* of no class */
        {"micro_gqa", "{\"num_key_value_heads\":2}", "num_key_value_heads", "model.n_kv_heads"},
        {"micro_gqa", "{\"architectures\":[\"LlamaForCausalLM\"]}", "architecture", "LlamaForCausalLM"},
        {"micro_gqa", "{\"rope_theta\":5e5}", "rope_theta", "model.rope_theta"},
        {"mixtral-8x7b", "{\"sliding_window\":5}", "sliding_window", "model.window"},
        {"mixtral-8x7b", "{\"num_local_experts\":9}", "num_local_experts", "moe.num_experts"},
        {"qwen3-30b-a3b", "{\"head_dim\":64}", "head_dim", "model.head_dim"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct sy_config *a = new_config(changes[i][0], ""), *c;
        json_t *root = NULL, *over = parse(changes[i][1]);
        assert_int_equal(sy_hf_config_make(a, NULL, &root), SY_OK);
        assert_int_equal(json_object_update(root, over), 0);
        assert_int_equal(sy_config_create(&c), SY_OK);
        if (sy_hf_config_apply("config.json", root, c) != SY_ERR_DATA)
            fail_msg("%s: accepted: %s", changes[i][0], changes[i][1]);
        if (!strstr(sy_error_message(), changes[i][2]) || !strstr(sy_error_message(), changes[i][3]))
            fail_msg("%s: %s: %s", changes[i][0], changes[i][1], sy_error_message());
        sy_config_destroy(a);
        sy_config_destroy(c);
        json_decref(root);
        json_decref(over);
    }
}

/* What transformers changes when it saves such a folder again means the same. */
static void test_saved_again(void **unused) {
    (void)unused;
    struct sy_config *a = new_config("micro_mla", ""), *b;
    json_t *root = NULL, *over;
    assert_int_equal(sy_hf_config_make(a, NULL, &root), SY_OK);
    over = parse("{\"rope_parameters\":{\"rope_theta\":10000.0,\"type\":\"yarn\",\"rope_type\":\"yarn\","
                 "\"factor\":40.0,"
                 "\"beta_fast\":32.0,\"beta_slow\":1.0,\"mscale\":1.0,\"mscale_all_dim\":1.0,"
                 "\"original_max_position_embeddings\":4096},\"dtype\":\"float32\",\"head_dim\":8,\"qk_head_"
                 "dim\":24}");
    json_object_del(root, "rope_theta");
    json_object_del(root, "rope_scaling");
    json_object_del(root, "torch_dtype");
    assert_int_equal(json_object_update(root, over), 0);
    b = read_back(root, "saved again");
    same_model(a, b, "saved again");
    sy_config_destroy(a);
    sy_config_destroy(b);
    json_decref(root);
    json_decref(over);
}

/* ---- tensors: name, shape ---- */

static void has(const struct sy_params *p, const char *name, int64_t rows, int64_t cols) {
    for (int i = 0; i < p->n_tensors; i++)
        if (strcmp(p->tensor[i].name, name) == 0) {
            assert_int_equal(p->tensor[i].dims[0], rows);
            assert_int_equal(p->tensor[i].n_dims, cols ? 2 : 1);
            assert_int_equal(cols ? p->tensor[i].dims[1] : 0, cols);
            return;
        }
    fail_msg("there is no tensor %s", name);
}

static struct sy_params *params_of(const char *flavor, struct sy_config **config) {
    struct sy_params *p = NULL;
    *config = new_config(flavor, "");
    assert_int_equal(sy_params_create(&(*config)->model, &(*config)->moe, &p), SY_OK);
    for (int i = 1; i < p->n_tensors; i++)
        assert_true(strcmp(p->tensor[p->by_name[i - 1]].name, p->tensor[p->by_name[i]].name) < 0);
    return p;
}

static void test_deepseek_names(void **unused) {
    (void)unused;
    struct sy_config *c;
    struct sy_params *p = params_of("dsv3-671b", &c);
    has(p, "model.embed_tokens.weight", 129280, 7168);
    has(p, "lm_head.weight", 129280, 7168);
    has(p, "model.norm.weight", 7168, 0);
    has(p, "model.layers.0.self_attn.q_a_proj.weight", 1536, 7168);
    has(p, "model.layers.0.self_attn.q_a_layernorm.weight", 1536, 0);
    has(p, "model.layers.0.self_attn.q_b_proj.weight", 128 * 192, 1536);
    has(p, "model.layers.0.self_attn.kv_a_proj_with_mqa.weight", 576, 7168);
    has(p, "model.layers.0.self_attn.kv_a_layernorm.weight", 512, 0);
    has(p, "model.layers.0.self_attn.kv_b_proj.weight", 128 * 256, 512);
    has(p, "model.layers.0.self_attn.o_proj.weight", 7168, 128 * 128);
    has(p, "model.layers.2.mlp.gate_proj.weight", 18432, 7168);
    has(p, "model.layers.2.mlp.down_proj.weight", 7168, 18432);
    has(p, "model.layers.3.input_layernorm.weight", 7168, 0);
    has(p, "model.layers.3.post_attention_layernorm.weight", 7168, 0);
    has(p, "model.layers.3.mlp.gate.weight", 256, 7168);
    has(p, "model.layers.3.mlp.gate.e_score_correction_bias", 256, 0);
    has(p, "model.layers.3.mlp.shared_experts.up_proj.weight", 2048, 7168);
    has(p, "model.layers.60.mlp.experts.255.gate_proj.weight", 2048, 7168);
    has(p, "model.layers.60.mlp.experts.255.down_proj.weight", 7168, 2048);
    sy_params_destroy(p);
    sy_config_destroy(c);
}

static void test_gqa_names(void **unused) {
    (void)unused;
    struct sy_config *c;
    struct sy_params *p = params_of("qwen3-30b-a3b", &c);
    has(p, "model.layers.0.self_attn.q_proj.weight", 4096, 2048);
    has(p, "model.layers.0.self_attn.k_proj.weight", 512, 2048);
    has(p, "model.layers.0.self_attn.v_proj.weight", 512, 2048);
    has(p, "model.layers.0.self_attn.o_proj.weight", 2048, 4096);
    has(p, "model.layers.0.self_attn.q_norm.weight", 128, 0);
    has(p, "model.layers.47.mlp.gate.weight", 128, 2048);
    has(p, "model.layers.47.mlp.experts.127.up_proj.weight", 768, 2048);
    sy_params_destroy(p);
    sy_config_destroy(c);
    p = params_of("olmoe-7b", &c);
    has(p, "model.layers.0.self_attn.q_norm.weight", 2048, 0);
    has(p, "model.layers.15.mlp.experts.63.down_proj.weight", 2048, 1024);
    sy_params_destroy(p);
    sy_config_destroy(c);
    p = params_of("mixtral-8x7b", &c);
    has(p, "model.layers.31.block_sparse_moe.gate.weight", 8, 4096);
    has(p, "model.layers.31.block_sparse_moe.experts.7.w1.weight", 14336, 4096);
    has(p, "model.layers.31.block_sparse_moe.experts.7.w2.weight", 4096, 14336);
    has(p, "model.layers.31.block_sparse_moe.experts.7.w3.weight", 14336, 4096);
    sy_params_destroy(p);
    sy_config_destroy(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_flavors),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_configs),
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_class_defaults),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_yarn),
        cmocka_unit_test(test_changed_by_hand),
        cmocka_unit_test(test_saved_again),
        cmocka_unit_test(test_deepseek_names),
        cmocka_unit_test(test_gqa_names),
        cmocka_unit_test(test_stronger_layers_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
