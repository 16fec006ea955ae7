/* config.json both ways: what we write is of the class that computes just that, and comes back; also changed
 * by hand, or saved again by others.
 */
#include "hf_case.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_flavors), cmocka_unit_test(test_types),
        cmocka_unit_test(test_configs),     cmocka_unit_test(test_changed_by_hand),
        cmocka_unit_test(test_saved_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
