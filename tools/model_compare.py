#!/usr/bin/env python3
"""What a model says, in numbers: switchyard in class fp32 beside Hugging Face's transformers in float32, on tiny random folders.

  in       logits of random sequences (`switchyard logits --compare`), nats of documents (`eval --data`), log-likelihoods and
           answers of 200 questions by lm-evaluation-harness's arithmetic, done here in Python (`eval --multiple-choice`)
  on       `train` begins with the folder: 20 steps on one rank and on three, one digest
  out      the trained checkpoint converted to fp32: transformers loads it with no tensor missing or left over, equal loss;
           converted to bf16: equal greedy bytes, float32 there on the bf16 weights; `logits` of these again

  usage: model_compare.py [--bin build/switchyard] [--only WORD] [--table FILE]     from the repository's root

Needs transformers 5.24 and PyTorch (CPU), as hf_compare.py. Exit 0 if every figure is within its bound.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import warnings

import hf_compare as hf
import torch
import transformers
from hf_cases import THEIRS
from safetensors.torch import save_file

SEQ_LEN, QUESTIONS, STEPS, GREEDY = 64, 200, 20, 64
BOUND_LOGITS, BOUND_NATS = 1e-5, 1e-6  # of the largest logit, and of one text's nats per token; of all texts'
BOS, EOS = hf.BOS, hf.EOS
FLAGS = ["--numerics.class=fp32", "--training.seq_len=%d" % SEQ_LEN, "--run.threads=1"]


def call(program, *arguments):
    run = subprocess.run([program, *arguments], capture_output=True)
    if run.returncode != 0:
        raise RuntimeError("%s: %s" % (arguments[0], run.stderr.decode(errors="replace").strip().splitlines()[-1]))
    return run.stdout


def lines_of(output):
    return [json.loads(line) for line in output.decode().splitlines()]


# ---------------------------------------------------------------------------------------------------------------------
# 1. The same figures by transformers
# ---------------------------------------------------------------------------------------------------------------------


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def nats_of(model, ids, first):
    """-ln p of ids[first:], each after those before it, of up to SEQ_LEN + 1 ids."""
    logs = torch.log_softmax(logits_of(model, ids[:-1]).double(), -1)
    return -sum(logs[i - 1, ids[i]].item() for i in range(first, len(ids)))


def nats_of_document(model, text):
    """Windows of SEQ_LEN predictions; each begins with the last token of the one before."""
    ids = [BOS] + list(text)
    return sum(nats_of(model, ids[at - 1 : at + SEQ_LEN], 1) for at in range(1, len(ids), SEQ_LEN))


def nats_with_context(model, text, stride):
    """Windows that score `stride` tokens (the first all it can), with as many before them as are read at once."""
    ids, total, at = [BOS] + list(text), 0.0, 1
    while at < len(ids):
        end = min(len(ids), at + (SEQ_LEN if at == 1 else stride))
        begin = max(0, end - 1 - SEQ_LEN)
        total += nats_of(model, ids[begin:end], at - begin)
        at = end
    return total


def loglikelihood(model, context, choice):
    """lm-evaluation-harness: white space at the end of the context goes to the continuation; at most the last SEQ_LEN + 1."""
    continuation = " " + choice
    kept = context.rstrip()
    continuation = context[len(kept) :] + continuation
    begin, rest = [BOS] + list(kept.encode()), list(continuation.encode())
    ids = (begin + rest)[-(SEQ_LEN + 1) :]
    return -nats_of(model, ids, len(ids) - len(rest)), len(rest)


def best(values):
    return max(range(len(values)), key=lambda i: (values[i], -i))


def chosen_of(question, sums, tokens):
    choices = question["choices"]
    return {
        "acc": best(sums),
        "acc_norm": best([s / len(c) for s, c in zip(sums, choices)]),
        "acc_bytes": best([s / len(c.encode()) for s, c in zip(sums, choices)]),
        "acc_tokens": best([s / n for s, n in zip(sums, tokens)]),
    }


# ---------------------------------------------------------------------------------------------------------------------
# 2. Texts
# ---------------------------------------------------------------------------------------------------------------------

WORDS = "the sky is blue and green; 3.5 lions, naïve café — 雪 и снег\tnumbers 17 or 0x1f end. \u3000 a".split(" ")


def documents(n, seed):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 60))) or "x" for _ in range(n)]


def questions(n, seed):
    draw = random.Random(seed)
    out = []
    for _ in range(n):
        context = " ".join(draw.choices(WORDS, k=draw.randint(0, 12))) + draw.choice(["", " ", "  ", "\n", "\u3000"])
        choices = []
        while len(choices) < draw.randint(2, 5) or len(choices) < 2:
            text = " ".join(draw.choices(WORDS, k=draw.randint(1, 4))).strip()
            if text and text not in choices:
                choices.append(text)
        out.append({"context": context, "choices": choices, "answer": draw.randrange(len(choices))})
    return out


def write_lines(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


# ---------------------------------------------------------------------------------------------------------------------
# 3. Checks: each returns a figure and whether it is good
# ---------------------------------------------------------------------------------------------------------------------


def check_logits(program, folder, model, room):
    draw = random.Random(5)
    tensors, largest = {}, 1.0
    for i, n in enumerate((1, 7, 33, SEQ_LEN)):
        ids = [BOS] + [draw.randrange(256) for _ in range(n - 1)]
        logits = logits_of(model, ids)
        largest = max(largest, logits.abs().max().item())
        tensors["ids.%d" % i], tensors["logits.%d" % i] = torch.tensor(ids), logits.contiguous()
    path = os.path.join(room, "theirs.safetensors")
    save_file(tensors, path)
    told = json.loads(call(program, "logits", folder, "--compare", path, "--json", *FLAGS))
    difference = told["max_difference"] / largest
    good = difference <= BOUND_LOGITS and told["top1_agreement"] == 1 and told["kl_max"] < 1e-9
    return "%.1e of %.1f" % (difference, largest), good


def check_eval(program, folder, model, room, seed):
    """Differences of the nats per token of all documents, and at most of one."""
    texts, path = documents(6, seed), os.path.join(room, "texts.jsonl")
    write_lines(path, ({"text": text} for text in texts))
    told = lines_of(call(program, "eval", folder, "--data", path, "--json", *FLAGS))
    theirs = [nats_of_document(model, text.encode()) for text in texts]
    n = [len(text.encode()) for text in texts]
    one = max(abs(row["nats"] - t) / k for row, t, k in zip(told, theirs, n))
    every = abs(told[-1]["nats_per_token"] - sum(theirs) / sum(n))
    good = every <= BOUND_NATS and one <= BOUND_LOGITS and [row["tokens"] for row in told[:-1]] == n
    return "%.1e, one %.1e" % (every, one), good


def check_questions(program, folder, model, room):
    asked, path = questions(QUESTIONS, 9), os.path.join(room, "quiz.jsonl")
    write_lines(path, asked)
    told = lines_of(call(program, "eval", folder, "--multiple-choice", path, "--json", *FLAGS))
    apart, same = 0.0, 0
    right = dict.fromkeys(("acc", "acc_norm", "acc_bytes", "acc_tokens"), 0)
    for question, row in zip(asked, told):
        scored = [loglikelihood(model, question["context"], choice) for choice in question["choices"]]
        sums, tokens = [s for s, _ in scored], [n for _, n in scored]
        apart = max([apart] + [abs(a - b) / n for a, b, n in zip(sums, row["loglikelihood"], tokens)])
        chosen = chosen_of(question, sums, tokens)
        same += chosen == row["chosen"] and tokens == row["tokens"]
        for key in right:
            right[key] += chosen[key] == question["answer"]
    shares = all(abs(told[-1][key] - right[key] / QUESTIONS) < 1e-12 for key in right)
    shown = "%d of %d, %.1e; acc %.3f, acc_norm %.3f" % (
        same, QUESTIONS, apart, told[-1]["acc"], told[-1]["acc_norm"])
    return shown, same == QUESTIONS and shares and apart <= BOUND_LOGITS


def train_from(program, folder, room, ranks):
    """The checkpoint of STEPS steps, and the digest."""
    run, config = os.path.join(room, "run%d" % ranks), os.path.join(room, "from.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write('[training]\ndataset_path = ["tests/data/prose.jsonl"]\nseq_len = 32\nglobal_batch_size = 8\n')
    out = call(program, "train", config, "--run.dir=" + run, "--checkpoint.initial_load_path=" + folder,
               "--training.steps=%d" % STEPS, "--optimizer.lr=1e-3", "--lr_scheduler.warmup_steps=1",
               "--run.ranks=%d" % ranks, "--numerics.class=fp32", "--run.threads=1", "--training.local_batch_size=%d" % ranks)
    return os.path.join(run, "checkpoints", "step-%08d" % STEPS), out.decode().split()[-1]


def check_out(program, checkpoint, room, seed):
    """(loss of the fp32 folder, greedy bytes of the bf16 folder, its logits), good"""
    fp32, bf16 = os.path.join(room, "fp32"), os.path.join(room, "bf16")
    call(program, "convert", checkpoint, fp32, "--dtype", "fp32", "--max-shard", "100KB")
    call(program, "convert", checkpoint, bf16, "--max-shard", "60KB")
    with open(os.path.join(fp32, "config.json"), encoding="utf-8") as file:
        if json.load(file)["model_type"] == "switchyard":
            return "no class computes it", "", "", True
    model, info = hf.their_model(fp32)
    missing = [k for k in info.pop("missing_keys", []) if not k.endswith("e_score_correction_bias")]
    if info or missing:
        return "transformers: %s %s" % (info, missing), "", "", False
    loss, good = check_eval(program, fp32, model, room, seed)
    model, info = hf.their_model(bf16)
    hf.NEW, hf.SEQ_LEN = GREEDY, SEQ_LEN + GREEDY
    equal, note = hf.count_equal(program, bf16, model)
    logits, close = check_logits(program, bf16, model, room)
    n = len(hf.PROMPTS)
    return loss, "%d of %d %s" % (equal, n, note), logits, good and equal == n and close and not info


def check(program, case, room, seed):
    folder = os.path.join(room, "theirs")
    hf.save_theirs(case, folder, seed)
    model, info = hf.their_model(folder)
    if info:
        return ["transformers: %s" % info], False
    results = [
        check_logits(program, folder, model, room),
        check_eval(program, folder, model, room, seed),
        check_questions(program, folder, model, room),
    ]
    checkpoint, one = train_from(program, folder, room, 1)
    _, three = train_from(program, folder, room, 3)
    results.append((one[:8] if one == three else "%s, %s" % (one, three), one == three))
    *shown, good = check_out(program, checkpoint, room, seed)
    return [text for text, _ in results] + shown, good and all(good for _, good in results)


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
    table = hf.Table(options.table)
    table.head("#", "class", "folder", "logits", "eval", "questions", "digest of %d steps" % STEPS, "loss, converted",
               "greedy, bf16", "logits, bf16")
    for i, case in enumerate(THEIRS):
        if case.refused or options.only not in "%s: %s" % (case.kind, case.name):
            continue
        with tempfile.TemporaryDirectory() as room:
            try:
                shown, good = check(options.bin, case, room, 3000 + i)
            except Exception as error:
                shown, good = ["%s: %s" % (type(error).__name__, str(error).splitlines()[0])], False
            table.row(good, str(i + 1), case.kind, case.name, *shown)
    summary = "%d folders, %d as they must be; transformers %s, PyTorch %s" % (
        table.n, table.n - table.bad, transformers.__version__, torch.__version__)
    print(summary)
    table.write("# Figures against Hugging Face's transformers\n\n`tools/model_compare.py --table FILE`%s\n\n%s\n\n%s" % (
        "; " + options.note if options.note else "", summary,
        "Logits: the greatest difference, in units of the largest logit (bound %.0e). Eval, loss: differences of the nats per "
        "token of all documents (bound %.0e) and of one (%.0e). Questions: equal in tokens and in the answers chosen by sum, "
        "characters, bytes and tokens; the greatest difference of a choice's log-likelihood per token (%.0e)."
        % (BOUND_LOGITS, BOUND_NATS, BOUND_LOGITS, BOUND_LOGITS)))
    return 1 if table.bad or not table.n else 0


if __name__ == "__main__":
    sys.exit(main())
