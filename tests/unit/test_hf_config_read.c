/* config.json of published models, in the keys that matter: what it means, what a key means that is missing,
 * what is refused.
 */
#include "hf_case.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published), cmocka_unit_test(test_stronger_layers_stay),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_class_defaults),
        cmocka_unit_test(test_missing),   cmocka_unit_test(test_yarn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
