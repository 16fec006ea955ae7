/* The names and shapes of tensors are those of Hugging Face's classes. */
#include "hf_case.h"
#include "model/params.h"

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
        cmocka_unit_test(test_deepseek_names),
        cmocka_unit_test(test_gqa_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
