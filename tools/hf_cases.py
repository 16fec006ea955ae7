"""The folders of hf_compare.py: what is laid over a tiny model of each class, and what is expected of it."""

def sizes(words):
    return {key: int(value) for key, value in (word.split("=") for word in words.split())}


COMMON = "vocab_size=272 hidden_size=48 num_hidden_layers=2 num_attention_heads=4 "
DEEPSEEK = (
    COMMON + "intermediate_size=56 moe_intermediate_size=20 n_routed_experts=8 kv_lora_rank=16 q_lora_rank=24 "
    "qk_rope_head_dim=8 v_head_dim=10 qk_nope_head_dim=12 num_experts_per_tok=3 first_k_dense_replace=1 "
)
BASE = {
    "deepseek_v3": sizes(DEEPSEEK + "num_key_value_heads=4 n_shared_experts=1 n_group=4 topk_group=2"),
    "deepseek_v2": sizes(DEEPSEEK + "n_shared_experts=2"),
    "qwen3_moe": dict(
        sizes(
            COMMON + "intermediate_size=56 moe_intermediate_size=20 num_key_value_heads=2 head_dim=16 num_experts=8 "
            "num_experts_per_tok=3"
        ),
        norm_topk_prob=True,
    ),
    "qwen2_moe": sizes(
        COMMON + "intermediate_size=56 moe_intermediate_size=20 shared_expert_intermediate_size=40 num_key_value_heads=2 "
        "num_experts=8 num_experts_per_tok=3"
    ),
    "olmoe": sizes(COMMON + "intermediate_size=20 num_key_value_heads=4 num_experts=8 num_experts_per_tok=3"),
    "mixtral": sizes(COMMON + "intermediate_size=20 num_key_value_heads=2 num_local_experts=8 num_experts_per_tok=2"),
}


def yarn(**more):
    return {
        "rope_parameters": dict(
            dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=16), **more
        )
    }


class Theirs:
    """What is laid over the base; how the folder is saved; what is done to its config.json; what is expected."""

    def __init__(
        self,
        name,
        kind,
        change=None,
        fused=False,
        dtype="float32",
        shard=None,
        edit=None,
        refused=None,
        control=None,
    ):
        self.name, self.kind, self.change = name, kind, change or {}
        self.fused, self.dtype, self.shard, self.edit = fused, dtype, shard, edit
        self.refused, self.control = refused, control


def without(*keys):
    def edit(config):
        for key in keys:
            del config[key]

    return edit


def with_keys(**keys):
    return lambda config: config.update(keys)


def renamed(old, new):
    def edit(config):
        config[new] = config.pop(old)

    return edit


def as_transformers_4(config):
    """rope_theta and rope_scaling instead of rope_parameters, torch_dtype instead of dtype."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    rope["type"] = rope.pop("rope_type")
    config["rope_scaling"] = rope if len(rope) > 1 else None
    config["torch_dtype"] = config.pop("dtype")


def shared(**change):
    return dict(dict(num_attention_heads=3, num_key_value_heads=3), **change)


V3, V2, QWEN, OLMOE, MIXTRAL = "deepseek_v3", "deepseek_v2", "qwen3_moe", "olmoe", "mixtral"
QWEN2 = "qwen2_moe"
THEIRS = [
    Theirs("as it is", V3, control="--moe.route_scale=1"),
    Theirs("q_lora_rank null", V3, {"q_lora_rank": None}),
    Theirs("n_group 1", V3, {"n_group": 1, "topk_group": 1}, control="--moe.top_k=2"),
    Theirs(
        "n_group 2, topk_group 1", V3, {"n_group": 2, "topk_group": 1}, control="--moe.num_limited_groups=2"
    ),
    Theirs("norm_topk_prob false", V3, {"norm_topk_prob": False}, control="--moe.route_norm"),
    Theirs("routed_scaling_factor 0.7", V3, {"routed_scaling_factor": 0.7}, control="--moe.route_scale=2.5"),
    Theirs("rms_norm_eps 0.3", V3, {"rms_norm_eps": 0.3}, control="--model.norm_eps=1e-6"),
    Theirs("rope_interleave false", V3, {"rope_interleave": False}, control="--model.rope=pairs"),
    Theirs(
        "rope_theta 500",
        V3,
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        control="--model.rope_theta=1e4",
    ),
    Theirs("yarn, mscale 1 twice", V3, yarn(mscale=1.0, mscale_all_dim=1.0), control="--model.mscale=0"),
    Theirs("yarn, no mscale", V3, yarn(), control="--model.rope_attention_factor=1"),
    Theirs(
        "yarn, mscale 0.7, mscale_all_dim 3",
        V3,
        yarn(mscale=0.7, mscale_all_dim=3.0),
        control="--model.rope_attention_factor=1",
    ),
    Theirs("yarn, mscale_all_dim alone", V3, yarn(mscale_all_dim=2.0), control="--model.mscale=0"),
    Theirs(
        "yarn, attention_factor 2.5",
        V3,
        yarn(attention_factor=2.5),
        control="--model.rope_attention_factor=1",
    ),
    Theirs(
        "yarn, truncate false",
        V3,
        yarn(truncate=False, beta_fast=2.0, beta_slow=0.1, factor=16.0),
        control="--model.yarn_truncate",
    ),
    Theirs(
        "yarn, beta_fast 4, beta_slow 0.2",
        V3,
        yarn(beta_fast=4.0, beta_slow=0.2, factor=16.0),
        control="--model.beta_slow=3",
    ),
    Theirs(
        "yarn as transformers 4 wrote it", V3, yarn(mscale=1.0, mscale_all_dim=1.0), edit=as_transformers_4
    ),
    Theirs(
        "yarn, another key inside",
        V3,
        yarn(),
        edit=lambda c: c["rope_parameters"].update(extrapolation_factor=1.0),
        refused="extrapolation_factor",
    ),
    Theirs(
        "rope linear",
        V3,
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
        refused="linear",
    ),
    Theirs(
        "odd sizes, vocabulary 259",
        V3,
        shared(
            hidden_size=33,
            qk_nope_head_dim=5,
            qk_rope_head_dim=6,
            v_head_dim=7,
            kv_lora_rank=9,
            q_lora_rank=11,
            moe_intermediate_size=13,
            intermediate_size=17,
            vocab_size=259,
        ),
    ),
    Theirs("3 shared experts, no dense layer", V3, {"n_shared_experts": 3, "first_k_dense_replace": 0}),
    Theirs("no shared expert", V3, {"n_shared_experts": 0}),
    Theirs("dense layers alone", V3, {"first_k_dense_replace": 2}),
    Theirs(
        "16 experts, keys of groups and weights missing",
        V3,
        {"n_routed_experts": 16, "n_group": 8, "topk_group": 4, "first_k_dense_replace": 1},
        edit=without("n_group", "topk_group", "routed_scaling_factor", "norm_topk_prob", "rms_norm_eps"),
    ),
    Theirs(
        "num_local_experts for n_routed_experts", V3, edit=renamed("n_routed_experts", "num_local_experts")
    ),
    Theirs("experts fused", V3, fused=True),
    Theirs("experts fused, bf16", V3, fused=True, dtype="bfloat16"),
    Theirs("several files, fp16", V3, dtype="float16", shard="40KB"),
    Theirs("attention_bias", V3, {"attention_bias": True}),
    Theirs("tied weights", V3, {"tie_word_embeddings": True}),
    Theirs("hidden_act gelu", V3, {"hidden_act": "gelu"}, refused="hidden_act"),
    Theirs(
        "num_key_value_heads missing (128)",
        V3,
        edit=without("num_key_value_heads"),
        refused="num_key_value_heads",
    ),
    Theirs("top_k beyond the groups kept", V3, {"num_experts_per_tok": 5}, refused="moe.top_k"),
    Theirs("as it is", V2, control="--moe.route_scale=3"),
    Theirs("q_lora_rank null", V2, {"q_lora_rank": None}),
    Theirs(
        "group_limited_greedy 4/2",
        V2,
        {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2},
        control="--moe.num_limited_groups=4",
    ),
    Theirs("greedy with groups", V2, {"topk_method": "greedy", "n_group": 4, "topk_group": 1}),
    Theirs("routed_scaling_factor 16", V2, {"routed_scaling_factor": 16.0}, control="--moe.route_scale=1"),
    Theirs("rms_norm_eps 0.3", V2, {"rms_norm_eps": 0.3}, control="--model.norm_eps=1e-6"),
    Theirs("yarn, mscale 1 twice", V2, yarn(mscale=1.0, mscale_all_dim=1.0), control="--model.mscale=0"),
    Theirs(
        "yarn, mscale 0.707 twice, q_lora_rank null",
        V2,
        dict(yarn(mscale=0.707, mscale_all_dim=0.707), q_lora_rank=None),
    ),
    Theirs(
        "yarn, attention_factor 2.5, truncate false",
        V2,
        yarn(attention_factor=2.5, truncate=False),
        control="--model.rope_attention_factor=1",
    ),
    # DeepseekV2's rotation in transformers fails where qk_nope_head_dim or kv_lora_rank is odd.
    Theirs(
        "odd sizes, vocabulary 261",
        V2,
        dict(
            hidden_size=44,
            qk_nope_head_dim=10,
            qk_rope_head_dim=6,
            v_head_dim=7,
            kv_lora_rank=14,
            q_lora_rank=11,
            moe_intermediate_size=13,
            vocab_size=261,
        ),
    ),
    Theirs(
        "topk_method, routed_scaling_factor missing",
        V2,
        edit=without(
            "topk_method", "routed_scaling_factor", "n_group", "topk_group", "first_k_dense_replace"
        ),
        change={"first_k_dense_replace": 0},
    ),
    Theirs("experts fused", V2, fused=True),
    Theirs("norm_topk_prob", V2, {"norm_topk_prob": True}, refused="norm_topk_prob"),
    Theirs("mlp_bias", V2, {"mlp_bias": True}, refused="mlp_bias"),
    Theirs("as it is", QWEN, control="--moe.no-route_norm"),
    Theirs("norm_topk_prob false", QWEN, {"norm_topk_prob": False}, control="--moe.route_norm"),
    Theirs("norm_topk_prob missing", QWEN, {"norm_topk_prob": False}, edit=without("norm_topk_prob")),
    Theirs("heads 6/1, head_dim 10", QWEN, dict(num_attention_heads=6, num_key_value_heads=1, head_dim=10)),
    Theirs(
        "heads 4/4, no head_dim", QWEN, dict(num_key_value_heads=4, head_dim=12), edit=without("head_dim")
    ),
    Theirs("8 experts per token of 8", QWEN, {"num_experts_per_tok": 8}),
    Theirs("one expert per token", QWEN, {"num_experts_per_tok": 1}),
    Theirs(
        "sliding window 7",
        QWEN,
        {"use_sliding_window": True, "sliding_window": 7},
        control="--model.window=8",
    ),
    Theirs(
        "sliding window 7, not used",
        QWEN,
        {"use_sliding_window": False, "sliding_window": 7},
        edit=with_keys(sliding_window=7),
        control="--model.window=7",
    ),
    Theirs("yarn", QWEN, yarn(), control="--model.rope_attention_factor=1"),
    Theirs(
        "yarn, truncate false, attention_factor 1.7",
        QWEN,
        yarn(truncate=False, attention_factor=1.7, factor=16.0, beta_fast=2.0, beta_slow=0.1),
        control="--model.yarn_truncate",
    ),
    Theirs("rms_norm_eps 0.3", QWEN, {"rms_norm_eps": 0.3}, control="--model.norm_eps=1e-6"),
    Theirs(
        "num_experts for num_local_experts, rope as transformers 4 wrote it",
        QWEN,
        edit=lambda c: (renamed("num_local_experts", "num_experts")(c), as_transformers_4(c)),
    ),
    Theirs(
        "odd sizes, vocabulary 301",
        QWEN,
        shared(hidden_size=35, head_dim=14, moe_intermediate_size=9, vocab_size=301),
    ),
    Theirs("experts fused", QWEN, fused=True),
    Theirs("experts fused, fp16, several files", QWEN, fused=True, dtype="float16", shard="40KB"),
    Theirs("attention_bias", QWEN, {"attention_bias": True}),
    Theirs("mlp_only_layers [0]", QWEN, {"mlp_only_layers": [0]}),
    Theirs("mlp_only_layers [1]", QWEN, {"mlp_only_layers": [1]}, refused="mlp_only_layers"),
    Theirs("tied weights", QWEN, {"tie_word_embeddings": True}),
    Theirs(
        "rope dynamic",
        QWEN,
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        refused="dynamic",
    ),
    Theirs("as it is", OLMOE, control="--moe.route_norm"),
    Theirs("heads 4/2", OLMOE, {"num_key_value_heads": 2}),
    Theirs("norm_topk_prob", OLMOE, {"norm_topk_prob": True}, control="--moe.no-route_norm"),
    Theirs("rms_norm_eps 0.3", OLMOE, {"rms_norm_eps": 0.3}, control="--model.norm_eps=1e-5"),
    Theirs("yarn", OLMOE, yarn(), control="--model.rope_attention_factor=1"),
    Theirs(
        "odd sizes, vocabulary 277, keys missing",
        OLMOE,
        shared(hidden_size=42, intermediate_size=11, vocab_size=277),
        edit=without("norm_topk_prob", "rms_norm_eps", "num_key_value_heads"),
    ),
    Theirs("experts fused", OLMOE, fused=True),
    Theirs("clip_qkv", OLMOE, {"clip_qkv": 0.5}, refused="clip_qkv"),
    Theirs("attention_bias", OLMOE, {"attention_bias": True}),
    Theirs("a sliding_window", OLMOE, edit=with_keys(sliding_window=7), refused="sliding_window"),
    Theirs("tied weights", OLMOE, {"tie_word_embeddings": True}),
    Theirs("as it is", MIXTRAL, control="--model.norm_eps=0.1"),
    Theirs("head_dim 20", MIXTRAL, {"head_dim": 20}),
    Theirs("head_dim null, heads 4/4", MIXTRAL, {"head_dim": None, "num_key_value_heads": 4}),
    Theirs("sliding window 5", MIXTRAL, {"sliding_window": 5}, control="--model.window=6"),
    Theirs(
        "rope_theta missing (1e6)",
        MIXTRAL,
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
        edit=without("rope_parameters"),
        control="--model.rope_theta=1e4",
    ),
    Theirs(
        "yarn, head_dim 16", MIXTRAL, dict(yarn(), head_dim=16), control="--model.rope_attention_factor=1"
    ),
    Theirs(
        "5 experts, 3 per token, heads 5/5",
        MIXTRAL,
        dict(
            num_local_experts=5,
            num_experts_per_tok=3,
            hidden_size=50,
            num_attention_heads=5,
            num_key_value_heads=5,
        ),
    ),
    Theirs("odd sizes, vocabulary 265", MIXTRAL, shared(hidden_size=30, intermediate_size=7, vocab_size=265)),
    Theirs("experts fused, under mlp", MIXTRAL, fused=True),
    Theirs("num_experts for num_local_experts", MIXTRAL, edit=renamed("num_local_experts", "num_experts")),
    Theirs(
        "partial_rotary_factor 0.5",
        MIXTRAL,
        edit=lambda c: c["rope_parameters"].update(partial_rotary_factor=0.5),
        refused="partial_rotary_factor",
    ),
    Theirs("tied weights", MIXTRAL, {"tie_word_embeddings": True}),
    Theirs("as it is", QWEN2, control="--moe.route_norm"),
    Theirs("no qkv_bias", QWEN2, {"qkv_bias": False}),
    Theirs("norm_topk_prob, rope_theta 1e6", QWEN2,
           {"norm_topk_prob": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, control="--moe.no-route_norm"),
    Theirs("one shared expert, heads 4/4", QWEN2, {"shared_expert_intermediate_size": 20, "num_key_value_heads": 4}),
    Theirs("experts fused, bf16, several files", QWEN2, fused=True, dtype="bfloat16", shard="40KB"),
    Theirs("qkv_bias and norm_topk_prob missing", QWEN2, edit=without("qkv_bias", "norm_topk_prob")),
    Theirs("odd sizes, vocabulary 261", QWEN2, shared(hidden_size=33 * 2, moe_intermediate_size=7, vocab_size=261,
                                                     shared_expert_intermediate_size=21)),
    Theirs("a shared expert of another width", QWEN2, {"shared_expert_intermediate_size": 36},
           refused="shared_expert_intermediate_size = 36"),
    Theirs("sliding windows", QWEN2, {"use_sliding_window": True, "sliding_window": 5}, refused="use_sliding_window"),
    Theirs("a sliding layer", QWEN2, {"layer_types": ["full_attention", "sliding_attention"]}, refused="layer_types[1]"),
    Theirs("mlp_only_layers [0]", QWEN2, {"mlp_only_layers": [0]}),
    Theirs("tied weights", QWEN2, {"tie_word_embeddings": True}),
    Theirs("decoder_sparse_step 2, 3 layers", QWEN2, {"decoder_sparse_step": 2, "num_hidden_layers": 3},
           refused="decoder_sparse_step = 2 make layer 2"),
    Theirs("attention_bias", V2, {"attention_bias": True}),
    Theirs("attention_bias, q_lora_rank null", V2, {"attention_bias": True, "q_lora_rank": None}),
    Theirs("attention_bias, tied, fp16, several files", V3,
           {"attention_bias": True, "tie_word_embeddings": True}, dtype="float16", shard="40KB"),
    Theirs("attention_bias, tied, bf16, experts fused", QWEN,
           {"attention_bias": True, "tie_word_embeddings": True}, fused=True, dtype="bfloat16"),
    Theirs("tied weights, experts fused, bf16, several files", V2, {"tie_word_embeddings": True},
           fused=True, dtype="bfloat16", shard="40KB"),
    Theirs("decoder_sparse_step 2, tied", QWEN, {"decoder_sparse_step": 2, "tie_word_embeddings": True}),
]

MLA = (
    "attention=mla rope=pairs dim=48 n_layers=2 n_dense_layers=1 n_heads=4 inter_dim=56 moe_inter_dim=20 q_lora_rank=24 "
    "kv_lora_rank=16 qk_nope_head_dim=12 qk_rope_head_dim=8 v_head_dim=10 vocab_size=272 moe.num_experts=8 moe.top_k=3 "
    "moe.num_shared_experts=1 "
)
SIGMOID = MLA + "moe.score_func=sigmoid moe.route_norm=true moe.route_scale=2.5 moe.load_balance_coeff=0.02 "
SOFTMAX = MLA + "moe.score_func=softmax moe.route_norm=false moe.load_balance_coeff=0 "
YARN = "rope_factor=4 original_seq_len=16 "
GQA = (
    "attention=gqa rope=halves dim=48 n_layers=2 n_heads=4 n_kv_heads=2 moe_inter_dim=20 vocab_size=272 moe.num_experts=8 "
    "moe.top_k=3 moe.score_func=softmax moe.load_balance_coeff=0 "
)
OURS = [
    ("as it is", V3, SIGMOID),
    (
        "groups 4/2, q_lora_rank 0",
        V3,
        SIGMOID + "moe.num_expert_groups=4 moe.num_limited_groups=2 q_lora_rank=0",
    ),
    ("yarn, mscale 1", V3, SIGMOID + YARN + "mscale=1"),
    ("yarn, mscale 0", V3, SIGMOID + YARN + "mscale=0"),
    (
        "yarn, mscale 0.7, rope_attention_factor 1.7, not truncated",
        V3,
        SIGMOID + YARN + "mscale=0.7 rope_attention_factor=1.7 yarn_truncate=false",
    ),
    ("rope in halves, norm_eps 0.1", V3, SIGMOID + "rope=halves norm_eps=0.1"),
    ("no expert bias, weights not normalised", V3, SIGMOID + "moe.load_balance_coeff=0 moe.route_norm=false"),
    (
        "odd sizes, vocabulary 259",
        V3,
        SIGMOID + "dim=33 n_heads=3 q_lora_rank=11 kv_lora_rank=9 qk_nope_head_dim=5 "
        "qk_rope_head_dim=6 v_head_dim=7 moe_inter_dim=13 vocab_size=259 n_dense_layers=0",
    ),
    ("as it is", V2, SOFTMAX),
    (
        "yarn, groups 4/2",
        V2,
        SOFTMAX + YARN + "moe.num_expert_groups=4 moe.num_limited_groups=2 moe.group_score=max",
    ),
    (
        "route_scale 16, 2 shared experts, q_lora_rank 0",
        V2,
        SOFTMAX + "moe.route_scale=16 moe.num_shared_experts=2 q_lora_rank=0",
    ),
    ("as it is", QWEN, GQA + "qk_norm=head moe.route_norm=true"),
    ("head_dim 20, window 7", QWEN, GQA + "qk_norm=head head_dim=20 window=7 moe.route_norm=true"),
    (
        "yarn, heads 6/1, weights not normalised",
        QWEN,
        GQA + YARN + "qk_norm=head n_heads=6 n_kv_heads=1 head_dim=10 " "moe.route_norm=false",
    ),
    ("as it is", OLMOE, GQA + "qk_norm=full moe.route_norm=false"),
    (
        "heads 4/4, weights normalised, rope_attention_factor 1.5",
        OLMOE,
        GQA + "qk_norm=full n_kv_heads=4 rope_attention_factor=1.5 moe.route_norm=true",
    ),
    ("as it is", MIXTRAL, GQA + "moe.route_norm=true"),
    ("head_dim 20, window 5, yarn", MIXTRAL, GQA + YARN + "head_dim=20 window=5 moe.route_norm=true"),
    ("as it is", QWEN2, GQA + "attention_bias=true moe.num_shared_experts=2 moe.shared_gate=true moe.route_norm=false"),
    ("no bias, head_dim 20, weights normalised", QWEN2,
     GQA + "head_dim=20 moe.num_shared_experts=1 moe.shared_gate=true moe.route_norm=true"),
    ("tied", V3, SIGMOID + "tie_word_embeddings=true"),
    ("tied, 2 shared experts", V2, SOFTMAX + "moe.num_shared_experts=2 tie_word_embeddings=true"),
    ("tied", QWEN, GQA + "qk_norm=head moe.route_norm=true tie_word_embeddings=true"),
    ("tied", OLMOE, GQA + "qk_norm=full moe.route_norm=false tie_word_embeddings=true"),
    ("tied", MIXTRAL, GQA + "moe.route_norm=true tie_word_embeddings=true"),
    ("tied", QWEN2, GQA + "moe.num_shared_experts=1 moe.shared_gate=true tie_word_embeddings=true"),
    ("biases", V3, SIGMOID + "attention_bias=true attention_output_bias=true"),
    ("biases, q_lora_rank 0", V2, SOFTMAX + "q_lora_rank=0 attention_bias=true attention_output_bias=true"),
    ("biases", QWEN, GQA + "qk_norm=head moe.route_norm=true attention_bias=true attention_output_bias=true"),
    ("biases, tied", OLMOE, GQA + "qk_norm=full moe.route_norm=false attention_bias=true attention_output_bias=true "
     "tie_word_embeddings=true"),
    ("a dense layer", QWEN, GQA + "qk_norm=head moe.route_norm=true n_dense_layers=1 inter_dim=40"),
    ("a dense layer", QWEN2, GQA + "moe.num_shared_experts=1 moe.shared_gate=true n_dense_layers=1 inter_dim=40"),
    ("flavor gqa-debug", QWEN, "model.flavor=gqa-debug"),
    ("flavor micro_mla", V3, "model.flavor=micro_mla"),
]
