#!/usr/bin/env python3
"""Models of Hugging Face's transformers against switchyard, in both directions: the greedy bytes must be equal.

  theirs   a tiny folder with random weights, saved by transformers: its greedy text is compared with `switchyard generate` at
           temperature 0 in class fp32. A folder that switchyard does not compute must be refused, and the message names the key.
  ours     a checkpoint of a few steps of `switchyard train`, loaded by transformers with every tensor in its place; the same
           folder with random weights in our files; this one saved again by transformers and read by switchyard.

A control is the same folder with one option undone by a flag: its text must be another, so that equal texts mean something.
Tokens are byte ids: 256 BOS, 257 EOS, 258 PAD; BOS, PAD and ids beyond are never chosen.

  usage: hf_compare.py [--bin build/switchyard] [--only WORD] [--table FILE]     from the repository's root

Needs transformers 5.24 and PyTorch (CPU): python3 -m pip install 'transformers==5.24.*' torch. Exit 0 if nothing differs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
try:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig, AutoModelForCausalLM
except ImportError as missing:
    sys.exit(
        "hf_compare.py needs transformers and torch: pip install 'transformers==5.24.*' torch (%s)" % missing
    )

from hf_cases import BASE, OURS, THEIRS

PROMPTS = ("The", "a long prompt of 41 bytes, 3 digits: 0.75", "~\t\xe9", "x")
NEW, SEQ_LEN = 20, 64
BOS, EOS, PAD = 256, 257, 258

# ---------------------------------------------------------------------------------------------------------------------
# 1. Both programs
# ---------------------------------------------------------------------------------------------------------------------


def randomise(tensors, seed):
    """Weights that make every option matter: matrices with gain, norms around 1, biases of the router."""
    generator = torch.Generator().manual_seed(seed)
    has_head = any("lm_head" in name for name, _ in tensors)  # else the embedding is it: logits of the same size
    with torch.no_grad():
        for name, x in tensors:
            if "inv_freq" in name:
                continue
            draw = torch.randn(x.shape, generator=generator)
            if "e_score_correction_bias" in name:
                x.copy_(0.1 * draw)
            elif "embed_tokens" in name and has_head:
                x.copy_(draw)
            elif "norm" in name:
                x.copy_(1 + 0.3 * draw)
            elif x.dim() >= 2:
                x.copy_(draw * 1.5 / x.shape[-1] ** 0.5)
            else:
                x.copy_(0.1 * draw)


def their_text(model, prompt):
    vocab = model.config.vocab_size
    ids = torch.tensor([[BOS] + list(prompt)])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=NEW,
        do_sample=False,
        eos_token_id=EOS,
        pad_token_id=PAD,
        suppress_tokens=[BOS] + list(range(PAD, vocab)),
    )
    new = out[0, ids.shape[1] :].tolist()
    return bytes(new[: new.index(EOS)] if EOS in new else new)


def our_text(program, folder, prompt, *flags):
    """(bytes, None) or (None, message)."""
    run = subprocess.run(
        [
            program,
            "generate",
            folder,
            "--prompt",
            prompt,
            "--max-tokens",
            str(NEW),
            "--temperature",
            "0",
            "--numerics.class=fp32",
            "--training.seq_len=%d" % SEQ_LEN,
            "--run.threads=1",
            *flags,
        ],
        capture_output=True,
    )
    if run.returncode != 0:
        return None, run.stderr.decode(errors="replace").strip() or "exit %d" % run.returncode
    assert run.stdout.startswith(prompt) and run.stdout.endswith(b"\n")
    return run.stdout[len(prompt) : -1], None


def their_model(folder):
    model, info = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
        output_loading_info=True,
    )
    return model.eval(), {k: sorted(str(x) for x in v) for k, v in info.items() if v}


def prompts():
    return [p.encode("latin-1") for p in PROMPTS]


def count_equal(program, folder, model):
    equal, note = 0, ""
    for prompt in prompts():
        theirs = their_text(model, prompt)
        ours, message = our_text(program, folder, prompt)
        if ours == theirs:
            equal += 1
        elif not note:
            note = message or "%r: theirs %r, ours %r" % (prompt, theirs, ours)
    return equal, note


# ---------------------------------------------------------------------------------------------------------------------
# 2. Directions
# ---------------------------------------------------------------------------------------------------------------------


def save_theirs(case, folder, seed):
    config = AutoConfig.for_model(
        case.kind,
        **dict(BASE[case.kind], **case.change),
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        max_position_embeddings=512
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(list(model.named_parameters()) + list(model.named_buffers()), seed)
    if case.change.get("tie_word_embeddings"):
        model.tie_weights()
    model.to(getattr(torch, case.dtype)).save_pretrained(
        folder, save_original_format=not case.fused, **({"max_shard_size": case.shard} if case.shard else {})
    )
    os.remove(os.path.join(folder, "generation_config.json"))
    if case.edit:
        path = os.path.join(folder, "config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        case.edit(config)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file, indent=2)


def form_of(folder):
    names = sorted(f for f in os.listdir(folder) if f.endswith(".safetensors"))
    return "%d file%s" % (len(names), "" if len(names) == 1 else "s")


def guarded(check, *arguments):
    """An error of transformers is a row that failed."""
    try:
        return check(*arguments)
    except Exception as error:
        return "%s: %s" % (type(error).__name__, str(error).splitlines()[0]), "", False


def check_theirs(program, case, folder, seed):
    """(result, control, good)"""
    save_theirs(case, folder, seed)
    if case.refused:
        ours, message = our_text(program, folder, b"x")
        good = ours is None and case.refused in message
        return ("refused: `%s`" % case.refused if good else "NOT REFUSED: %s" % message), "", good
    model, info = their_model(folder)
    if info:
        return "transformers: %s" % info, "", False
    equal, note = count_equal(program, folder, model)
    result, good = "%d of %d equal" % (equal, len(PROMPTS)), equal == len(PROMPTS)
    if not good:
        return result + ": " + note, "", False
    if not case.control:
        return result, "", True
    plain = [our_text(program, folder, p)[0] for p in prompts()]
    undone = [our_text(program, folder, p, case.control) for p in prompts()]
    n = sum(a != b for a, (b, _) in zip(plain, undone))
    broken = [message for text, message in undone if text is None]
    shown = "`%s`: %d of %d differ" % (case.control, n, len(PROMPTS)) if not broken else broken[0]
    return result, shown, n > 0 and not broken


def train_ours(program, words, folder):
    flags = []
    for word in words.split():
        key, value = word.split("=")
        flags.append("--%s=%s" % (key if "." in key else "model." + key, value))
    config = os.path.join(folder, "case.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write('[training]\ndataset_path = ["tests/data/prose.jsonl"]\n')
    run = subprocess.run(
        [
            program,
            "train",
            config,
            "--run.dir=" + folder,
            "--data.format=jsonl",
            "--training.steps=6",
            "--training.global_batch_size=4",
            "--training.seq_len=32",
            "--optimizer.lr=0.06",
            "--lr_scheduler.warmup_steps=1",
            "--numerics.class=fp32",
            "--run.threads=1",
            *flags,
        ],
        capture_output=True,
    )
    if run.returncode != 0:
        raise RuntimeError(run.stderr.decode(errors="replace"))
    return os.path.join(folder, "checkpoints", "step-00000006")


def randomise_ours(checkpoint, folder, seed):
    """A folder with random weights under the names and in the files of our checkpoint."""
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("switchyard.json", "optimizer"))
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            path = os.path.join(folder, name)
            tensors = load_file(path)
            randomise(sorted(tensors.items()), seed)
            save_file(tensors, path, metadata={"format": "pt"})
    return folder


def check_ours(program, kind, words, folder, seed):
    """(result, again, good)"""
    checkpoint = train_ours(program, words, folder)
    model, info = their_model(checkpoint)
    if model.config.model_type != kind:
        return "is a %s" % model.config.model_type, "", False
    bias = info.pop("missing_keys", [])  # a model without the router's bias: zeros there, none here
    if info or any(not name.endswith("e_score_correction_bias") for name in bias):
        return "transformers: %s %s" % (info, bias), "", False
    trained, note = count_equal(program, checkpoint, model)
    random_folder = randomise_ours(checkpoint, os.path.join(folder, "random"), seed)
    model, _ = their_model(random_folder)
    random, more = count_equal(program, random_folder, model)
    again = os.path.join(folder, "again")
    model.save_pretrained(again)
    same, most = count_equal(program, again, model)
    n = len(PROMPTS)
    result = "trained %d of %d, random %d of %d equal %s%s" % (trained, n, random, n, note, more)
    return result.strip(), ("%d of %d equal %s" % (same, n, most)).strip(), trained + random + same == 3 * n


# ---------------------------------------------------------------------------------------------------------------------
# 3. Table
# ---------------------------------------------------------------------------------------------------------------------


class Table:
    def __init__(self, path):
        self.lines, self.path, self.bad, self.n = [], path, 0, 0

    def head(self, *columns):
        self.lines += ["", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]

    def row(self, good, *columns):
        self.n += 1
        self.bad += not good
        self.lines.append("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in columns) + " |")
        print(("ok      " if good else "FAILED  ") + "; ".join(columns), flush=True)

    def write(self, summary):
        if self.path:
            with open(self.path, "w", encoding="utf-8") as file:
                file.write("\n".join([summary] + self.lines) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default="build/switchyard")
    parser.add_argument("--only", default="")
    parser.add_argument("--table", help="write the results there")
    parser.add_argument("--note", default="", help="machine and date, for the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    table = Table(options.table)
    table.head("#", "class", "their folder", "form", "greedy bytes", "control")
    for i, case in enumerate(THEIRS):
        if options.only not in "%s: %s" % (case.kind, case.name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            result, control, good = guarded(check_theirs, options.bin, case, folder, 1000 + i)
            form = "%s, %s%s" % (form_of(folder), case.dtype, ", fused" if case.fused else "")
            table.row(good, str(i + 1), case.kind, case.name, form, result, control)
    table.head("#", "class", "our checkpoint", "transformers' greedy bytes", "saved again by transformers")
    for i, (name, kind, words) in enumerate(OURS):
        if options.only not in "%s: %s" % (kind, name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            result, again, good = guarded(check_ours, options.bin, kind, words, folder, 2000 + i)
            table.row(good, str(len(THEIRS) + i + 1), kind, name, result, again)
    summary = (
        "%d folders, %d as they must be; transformers %s, PyTorch %s; %d prompts of up to %d new bytes each"
        % (table.n, table.n - table.bad, transformers.__version__, torch.__version__, len(PROMPTS), NEW)
    )
    print(summary)
    table.write(
        "# Against Hugging Face's transformers\n\n`tools/hf_compare.py --table FILE`%s\n\n%s"
        % ("; " + options.note if options.note else "", summary)
    )
    return 1 if table.bad or not table.n else 0


if __name__ == "__main__":
    sys.exit(main())
