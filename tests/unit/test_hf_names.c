/* config.json both ways, and the names and shapes of tensors, against what Hugging Face's classes and published models say.
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
    snprintf(text, sizeof text, "[model]\n%s%s%s\n%s\n[numerics]\nclass = \"x86\"\n", *flavor ? "flavor = \"" : "", flavor,
             *flavor ? "\"" : "", more);
    if (sy_config_load_text(c, "t", text, strlen(text)) != SY_OK || (*flavor && sy_config_finish(c, false) != SY_OK))
        fail_msg("%s", sy_error_message());
    return c;
}

/* Every key of [model] and [moe] is the same. */
static void same_model(struct sy_config *a, struct sy_config *b, const char *what) {
    const char *key, *ta = NULL, *tb = NULL;
    for (int i = 0; (key = sy_config_key(i, NULL)); i++) {
        if ((strncmp(key, "model.", 6) != 0 && strncmp(key, "moe.", 4) != 0) || strcmp(key, "model.flavor") == 0)
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

/* Every flavor comes back from its own config.json; those of a Hugging Face class also without our object. */
static void test_all_flavors(void **unused) {
    (void)unused;
    int n_theirs = 0;
    const char *flavor;
    for (int i = 0; (flavor = sy_config_flavor(i, NULL)); i++) {
        struct sy_config *a = new_config(flavor, ""), *b;
        json_t *root = NULL;
        assert_int_equal(sy_hf_config_make(a, &root), SY_OK);
        b = read_back(root, flavor);
        same_model(a, b, flavor);
        sy_config_destroy(b);
        if (strcmp(model_type(root), "switchyard") != 0) {
            assert_int_equal(json_object_del(root, "switchyard"), 0);
            b = read_back(root, flavor);
            same_model(a, b, flavor);
            sy_config_destroy(b);
            n_theirs++;
        }
        json_decref(root);
        sy_config_destroy(a);
    }
    assert_true(n_theirs >= 7);
}

/* Flavor, what is laid over it, model_type. DeepseekV2's scale has no mscale squared, OLMoE and Mixtral no head_dim. */
static void test_types(void **unused) {
    (void)unused;
    static const char *const types[][3] = {
        {"dsv3-671b", "", "deepseek_v3"},
        {"moonlight-16b", "", "deepseek_v3"},
        {"dsv2-236b", "", "switchyard"},
        {"dsv2-236b", "rope_factor = 1", "deepseek_v2"},
        {"qwen3-30b-a3b", "", "qwen3_moe"},
        {"olmoe-7b", "", "olmoe"},
        {"olmoe-7b", "head_dim = 64", "switchyard"},
        {"mixtral-8x7b", "", "mixtral"},
        {"mixtral-8x7b", "head_dim = 64", "switchyard"},
        {"dsv3-debug", "", "switchyard"},
        {"gqa-debug", "", "switchyard"},
        {"micro_gqa", "", "switchyard"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct sy_config *c = new_config(types[i][0], types[i][1]);
        json_t *root = NULL;
        assert_int_equal(sy_hf_config_make(c, &root), SY_OK);
        assert_string_equal(model_type(root), types[i][2]);
        assert_string_equal(json_string_value(json_object_get(root, "torch_dtype")), "float32");
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
    "\"n_routed_experts\":256,\"routed_scaling_factor\":2.5,\"kv_lora_rank\":512,\"q_lora_rank\":1536,\"qk_rope_head_dim\":"
    "64,"
    "\"v_head_dim\":128,\"qk_nope_head_dim\":128,\"n_group\":8,\"topk_group\":4,\"num_experts_per_tok\":8,"
    "\"first_k_dense_replace\":3,\"norm_topk_prob\":true,\"scoring_func\":\"sigmoid\",\"topk_method\":\"noaux_tc\","
    "\"moe_layer_freq\":1,\"num_nextn_predict_layers\":1,\"rms_norm_eps\":1e-06,\"rope_theta\":10000,"
    "\"rope_scaling\":{\"beta_fast\":32,\"beta_slow\":1,\"factor\":40,\"mscale\":1.0,\"mscale_all_dim\":1.0,"
    "\"original_max_position_embeddings\":4096,\"type\":\"yarn\"}}";
static const char deepseek_v3_rope_parameters[] = /* as transformers 5 writes it */
    "{\"architectures\":[\"DeepseekV3ForCausalLM\"],\"model_type\":\"deepseek_v3\"," COMMON
    "\"vocab_size\":129280,\"hidden_size\":7168,\"intermediate_size\":18432,\"moe_intermediate_size\":2048,"
    "\"num_hidden_layers\":61,\"num_attention_heads\":128,\"num_key_value_heads\":128,\"n_shared_experts\":1,"
    "\"n_routed_experts\":256,\"routed_scaling_factor\":2.5,\"kv_lora_rank\":512,\"q_lora_rank\":1536,\"qk_rope_head_dim\":"
    "64,"
    "\"v_head_dim\":128,\"qk_nope_head_dim\":128,\"n_group\":8,\"topk_group\":4,\"num_experts_per_tok\":8,"
    "\"first_k_dense_replace\":3,\"norm_topk_prob\":true,\"rms_norm_eps\":1e-06,\"rope_interleave\":true,"
    "\"rope_parameters\":{\"beta_fast\":32.0,\"beta_slow\":1.0,\"factor\":40.0,\"mscale\":1.0,\"mscale_all_dim\":1.0,"
    "\"original_max_position_embeddings\":4096,\"rope_type\":\"yarn\",\"rope_theta\":10000.0}}";
static const char qwen3[] =
    "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"model_type\":\"qwen3_moe\"," COMMON
    "\"decoder_sparse_step\":1,\"head_dim\":128,\"hidden_size\":2048,\"intermediate_size\":6144,\"mlp_only_layers\":[],"
    "\"moe_intermediate_size\":768,\"norm_topk_prob\":true,\"num_attention_heads\":32,\"num_experts\":128,"
    "\"num_experts_per_tok\":8,\"num_hidden_layers\":48,\"num_key_value_heads\":4,\"rms_norm_eps\":1e-06,"
    "\"rope_scaling\":null,\"rope_theta\":1000000.0,\"sliding_window\":null,\"use_sliding_window\":false,"
    "\"vocab_size\":151936}";
static const char olmoe[] =
    "{\"architectures\":[\"OlmoeForCausalLM\"],\"model_type\":\"olmoe\"," COMMON
    "\"clip_qkv\":null,\"hidden_size\":2048,\"intermediate_size\":1024,\"norm_topk_prob\":false,\"num_attention_heads\":16,"
    "\"num_experts\":64,\"num_experts_per_tok\":8,\"num_hidden_layers\":16,\"num_key_value_heads\":16,\"rms_norm_eps\":1e-"
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
    } models[] = {{"dsv3-671b", deepseek_v3},
                  {"dsv3-671b", deepseek_v3_rope_parameters},
                  {"qwen3-30b-a3b", qwen3},
                  {"olmoe-7b", olmoe},
                  {"mixtral-8x7b", mixtral}};
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
    refuses(mixtral, "{\"tie_word_embeddings\":true}", "tie_word_embeddings");
    refuses(mixtral, "{\"sliding_window\":4096}", "sliding_window");
    refuses(mixtral, "{\"hidden_size\":null}", "hidden_size");
    refuses(mixtral, "{\"hidden_size\":\"x\"}", "model.dim");
    refuses(mixtral, "{\"hidden_size\":-1}", "model.dim");
    refuses(mixtral, "{\"hidden_size\":[1]}", "hidden_size");
    refuses(mixtral, "{\"hidden_size\":1.5}", "model.dim");
    refuses(mixtral, "{\"rms_norm_eps\":1e300}", "model.norm_eps");
    refuses(mixtral, "{\"rope_theta\":null}", "rope_theta");
    refuses(mixtral, "{\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}}", "linear");
    refuses(mixtral, "{\"switchyard\":3}", "model");
    refuses(mixtral, "{\"switchyard\":{\"model\":{\"dimm\":3},\"moe\":{}}}", "model.dim");
    refuses(mixtral, "{\"switchyard\":{\"model\":{\"dim\":{}},\"moe\":{}}}", "dim");
    refuses(qwen3, "{\"mlp_only_layers\":[0]}", "mlp_only_layers");
    refuses(qwen3, "{\"decoder_sparse_step\":2}", "decoder_sparse_step");
    refuses(qwen3, "{\"attention_bias\":true}", "attention_bias");
    refuses(olmoe, "{\"clip_qkv\":8.0}", "clip_qkv");
    refuses(deepseek_v3, "{\"quantization_config\":{\"quant_method\":\"fp8\"}}", "quantization_config");
    refuses(deepseek_v3, "{\"scoring_func\":\"softmax\"}", "scoring_func");
    refuses(deepseek_v3, "{\"moe_layer_freq\":2}", "moe_layer_freq");
    refuses(deepseek_v3, "{\"rope_interleave\":false}", "rope_interleave");
    refuses(deepseek_v3, "{\"n_group\":\"x\"}", "n_group");
    refuses(deepseek_v3, "{\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,\"mscale\":1,\"mscale_all_dim\":0}}", "mscale");
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
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_deepseek_names),
        cmocka_unit_test(test_gqa_names),
        cmocka_unit_test(test_stronger_layers_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
