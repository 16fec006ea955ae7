#!/usr/bin/env python3
"""Writes tests/data/hf_*: tiny folders of Hugging Face's transformers with random weights, and what transformers says of them.

    config.json, model*.safetensors   as save_pretrained writes them: bf16, experts of a layer in one tensor, several files
    theirs.safetensors                ids and logits of two sequences, float32
    texts.jsonl, quiz.jsonl           documents and questions; texts.nats: nats, texts.stride16: with --stride 16;
                                      quiz.chosen: the choices by sum, characters, bytes and tokens

  usage: make_hf_folders.py [NAME]   from the repository's root; needs what hf_compare.py needs
"""

import os
import random
import shutil
import sys

import hf_compare as hf
import model_compare as figures
import torch
from hf_cases import QWEN, QWEN2, V3, Theirs, sizes
from safetensors.torch import save_file

SMALL = sizes("hidden_size=16 num_hidden_layers=2 num_attention_heads=2 num_key_value_heads=2 moe_intermediate_size=8")
FOLDERS = {
    "hf_deepseek_v3": Theirs("", V3, dict(SMALL, n_routed_experts=4, n_group=2, topk_group=1, num_experts_per_tok=2,
                                          kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=8,
                                          intermediate_size=12),
                             fused=True, dtype="bfloat16", shard="12KB"),
    "hf_qwen2_moe": Theirs("", QWEN2, dict(SMALL, num_experts=4, num_key_value_heads=1, num_experts_per_tok=2,
                                           shared_expert_intermediate_size=16, intermediate_size=8),
                           fused=True, dtype="bfloat16", shard="12KB"),
    "hf_qwen3_moe": Theirs("", QWEN, dict(SMALL, num_experts=4, num_key_value_heads=1, head_dim=6, num_experts_per_tok=2,
                                          intermediate_size=8, attention_bias=True, tie_word_embeddings=True),
                           fused=True, dtype="bfloat16", shard="12KB"),
}


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


def fill(folder, seed):
    model, info = hf.their_model(folder)
    assert not info, info
    draw, tensors = random.Random(seed), {}
    for i, n in enumerate((3, 14)):
        ids = [hf.BOS] + [draw.randrange(256) for _ in range(n - 1)]
        tensors["ids.%d" % i] = torch.tensor(ids)
        tensors["logits.%d" % i] = figures.logits_of(model, ids).contiguous()
    save_file(tensors, os.path.join(folder, "theirs.safetensors"))
    texts, asked = figures.documents(3, seed), figures.questions(12, seed)
    figures.write_lines(os.path.join(folder, "texts.jsonl"), ({"text": text} for text in texts))
    figures.write_lines(os.path.join(folder, "quiz.jsonl"), asked)
    write(os.path.join(folder, "texts.nats"), ("%.9f" % figures.nats_of_document(model, t.encode()) for t in texts))
    write(os.path.join(folder, "texts.stride16"),
          ("%.9f" % figures.nats_with_context(model, t.encode(), 16) for t in texts))
    chosen = []
    for question in asked:
        scored = [figures.loglikelihood(model, question["context"], choice) for choice in question["choices"]]
        best = figures.chosen_of(question, [s for s, _ in scored], [n for _, n in scored])
        chosen.append(" ".join(str(best[key]) for key in ("acc", "acc_norm", "acc_bytes", "acc_tokens")))
    write(os.path.join(folder, "quiz.chosen"), chosen)


def main():
    torch.set_num_threads(1)
    for i, (name, case) in enumerate(FOLDERS.items()):
        if sys.argv[1:] not in ([], [name]):
            continue
        folder = os.path.join("tests/data", name)
        shutil.rmtree(folder, ignore_errors=True)
        hf.save_theirs(case, folder, 77 + i)
        fill(folder, 5 + i)


if __name__ == "__main__":
    main()
