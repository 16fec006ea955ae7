#!/usr/bin/env python3
"""Compares `switchyard tokenize` with Hugging Face's tokenizers: ids and text, string by string, and speed.

    tools/tokenizer_compare.py [--bin build/switchyard] [--n 10000] [--write FOLDER] [--time] [TOKENIZER.json ...]

Without files, tokenizers of eight kinds are trained on texts of tools/tokenizer_texts.py. --write keeps small ones with
some strings and their ids, as tests/data/tokenizers has them. Exit 1 if anything differs.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tokenizer_texts import lines, strings

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
            r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "<｜begin▁of▁sentence｜>", "<s>", "</s>", "<|im_end|>"]


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(steps, normalizer=None, added=(), ignore_merges=False, **fields):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        t.normalizer = normalizer
    last = pre_tokenizers.ByteLevel(add_prefix_space=fields.get("prefix", False), use_regex=not steps)
    t.pre_tokenizer = pre_tokenizers.Sequence([*steps, last]) if steps else last
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return t, dict(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=SPECIAL), list(added)


def sentencepiece():
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    fields = dict(special_tokens=["<unk>", *SPECIAL, *[f"<0x{b:02X}>" for b in range(256)]], limit_alphabet=300)
    return t, fields, [AddedToken("day", normalized=True), AddedToken("<mask>", lstrip=True, normalized=False)]


def metaspace():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Digits(True)])
    t.decoder = decoders.Metaspace(prepend_scheme="first")
    return t, dict(special_tokens=["<unk>", *SPECIAL], limit_alphabet=400), [AddedToken("foo bar", single_word=True)]


STRIPPED = [AddedToken("<mask>", lstrip=True, normalized=False), AddedToken("<tail>", rstrip=True, normalized=False),
            AddedToken("word", single_word=True), AddedToken("  ", normalized=False), AddedToken("e\u0301f")]
KINDS = {
    "gpt2": lambda: byte_level([]),
    "qwen": lambda: byte_level([split(QWEN)], normalizers.NFC(), STRIPPED),
    "deepseek": lambda: byte_level([split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK)], normalizers.Sequence([])),
    "llama3": lambda: byte_level([split(LLAMA3)], ignore_merges=True, added=[AddedToken("<|x|>", special=True)]),
    "o200k": lambda: byte_level([split(O200K)], ignore_merges=True),
    "starcoder": lambda: byte_level([pre_tokenizers.Digits(True), split(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\s+", "merged_with_next", True)],
                                    normalizers.NFC(), STRIPPED, prefix=True),
    "sentencepiece": sentencepiece,
    "metaspace": metaspace,
}


def train(kind, texts, vocab_size):
    t, fields, added = KINDS[kind]()
    normalizer = t.normalizer
    if kind == "sentencepiece":
        t.normalizer = normalizers.Sequence([])
    if kind in ("sentencepiece", "metaspace"):
        texts = [s.replace("\0", "") for s in texts]  # NUL is no token of a vocabulary in JSON that all read
        vocab_size += 700
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, **fields))
    if kind == "sentencepiece":
        t.pre_tokenizer, t.normalizer = pre_tokenizers.Sequence([]), normalizer
        text = json.loads(t.to_str())
        text["pre_tokenizer"] = None
        t = Tokenizer.from_str(json.dumps(text))
    t.add_tokens(added)
    return t


def ours(args, tokenizer, path, decode=False):
    done = subprocess.run([args.bin, "tokenize", tokenizer, path, *(["--decode"] if decode else [])], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{tokenizer}: {done.stderr}")
    # JSON may hold line separators of Unicode as they are
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def compare(args, name, path, texts, room):
    t = Tokenizer.from_file(path)
    theirs = [e.ids for e in t.encode_batch(texts, add_special_tokens=False)]
    given = os.path.join(room, "texts.jsonl")
    with open(given, "w") as f:
        f.writelines(json.dumps({"text": s}) + "\n" for s in texts)
    got = ours(args, path, given)
    bad = [i for i in range(len(texts)) if i >= len(got) or got[i] != theirs[i]]
    ids = os.path.join(room, "ids")
    with open(ids, "w") as f:
        f.writelines(json.dumps(i) + "\n" for i in theirs)
    back = [line["text"] for line in ours(args, path, ids, decode=True)]
    wrong = [i for i in range(len(texts)) if back[i] != t.decode(theirs[i], skip_special_tokens=False)]
    print(f"{name}: {t.get_vocab_size()} tokens, {len(texts)} strings, {sum(map(len, theirs))} ids: {len(bad)} differ in ids, "
          f"{len(wrong)} in text", flush=True)
    for i in bad[:3]:
        print(f"  {texts[i]!r}\n    theirs {theirs[i]}\n    ours   {got[i] if i < len(got) else None}")
    for i in wrong[:3]:
        print(f"  ids {theirs[i]}\n    theirs {t.decode(theirs[i], skip_special_tokens=False)!r}\n    ours   {back[i]!r}")
    return len(bad) + len(wrong)


def measure(args, name, path, texts, room):
    given = os.path.join(room, "speed.jsonl")
    with open(given, "w") as f:
        f.writelines(json.dumps({"text": s}) + "\n" for s in texts)
    bytes_ = sum(len(s.encode()) for s in texts)
    t = Tokenizer.from_file(path)
    begin = time.time()
    t.encode_batch(texts, add_special_tokens=False)
    theirs = time.time() - begin
    begin = time.time()
    subprocess.run([args.bin, "tokenize", path, given, "--count"], check=True, stdout=subprocess.DEVNULL)
    own = time.time() - begin
    print(f"{name}: {bytes_ / 1e6:.1f} MB on {os.cpu_count()} threads: tokenizers {bytes_ / 1e6 / theirs:.1f} MB/s, "
          f"ours {bytes_ / 1e6 / own:.1f} MB/s with reading, {theirs / own:.1f} x", flush=True)


def write(folder, name, t, texts):
    t.save(os.path.join(folder, f"{name}.json"), pretty=False)
    with open(os.path.join(folder, f"{name}.jsonl"), "w") as f:
        for s in texts:
            ids = t.encode(s, add_special_tokens=False).ids
            back = t.decode(ids, skip_special_tokens=False)
            f.write(json.dumps({"text": s, "ids": ids, **({"back": back} if back != s else {})}) + "\n")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bin", default="build/switchyard")
    p.add_argument("--n", type=int, default=10000)
    p.add_argument("--write")
    p.add_argument("--time", action="store_true")
    p.add_argument("tokenizer", nargs="*")
    args = p.parse_args()
    special = [*SPECIAL, "<mask>", "<tail>", "word", "foo bar", "day", "é", "  "]
    if args.write:
        for kind in KINDS:
            write(args.write, kind, train(kind, lines(1, 400), 420), strings(3, 48, special))
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as room:
        named = [(os.path.relpath(path), path) for path in args.tokenizer]
        for kind in KINDS if not named else []:
            path = os.path.join(room, f"{kind}.json")
            train(kind, lines(1, 4000), 8000).save(path)
            named.append((kind, path))
        texts = strings(2, args.n, special)
        speed = ["\n".join(lines(5 + i, 40)) for i in range(1500)] if args.time else []
        for name, path in named:
            failed += compare(args, name, path, texts, room)
            if args.time:
                measure(args, name, path, speed, room)
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
