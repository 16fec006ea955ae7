#!/usr/bin/env python3
"""Recomputes a checkpoint's digests from its files alone, by the rule of docs/NUMERICS.md:

for salt 1 and 2, the sum mod 2^64 over tensors and elements i of mix((k + i*G) xor bits_i), where k = mix(id + salt), id is
the FNV-1a 64 of the tensor's name, bits_i the fp32 element as an integer (any NaN: 0x7fc00000), G = 0x9e3779b97f4a7c15 and
mix the finaliser of SplitMix64. Prints 32 hex digits and whether switchyard.json says the same; exit 0 if so, 1 if not.
Since format version 2 also the digest of each tensor of weights, adam_m and adam_v, over its words as they are (a NaN too).
Needs nothing but Python; with numpy it is some hundred times faster.   usage: recompute_digest.py CHECKPOINT
"""
import glob, json, os, struct, sys

try:
    import numpy as np
except ImportError:
    np = None

M, G = (1 << 64) - 1, 0x9E3779B97F4A7C15


def mix(z):  # of an int, or of a numpy uint64 array (which wraps by itself)
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & M
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & M
    return z ^ (z >> 31)


def mix_array(z):
    u = np.uint64
    z = (z ^ (z >> u(30))) * u(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> u(27))) * u(0x94D049BB133111EB)
    return z ^ (z >> u(31))


def fnv1a(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 & M
    return h


def words_sum(name, bits, salt):
    k = mix((fnv1a(name) + salt) & M)
    if np is not None:
        i = np.arange(len(bits), dtype=np.uint64)
        return int(mix_array((np.uint64(k) + i * np.uint64(G)) ^ bits).sum(dtype=np.uint64))
    return sum(mix((k + i * G & M) ^ word) for i, word in enumerate(bits)) & M


def words_of(raw):
    if np is not None:
        return np.frombuffer(raw, "<u4").astype(np.uint64)
    return [word for (word,) in struct.iter_unpack("<I", raw)]


def folded(bits):  # any NaN is 0x7fc00000; the same object if there is none
    if np is not None:
        nan = (bits & np.uint64(0x7FFFFFFF)) > np.uint64(0x7F800000)
        return np.where(nan, np.uint64(0x7FC00000), bits) if nan.any() else bits
    nan = any(word & 0x7FFFFFFF > 0x7F800000 for word in bits)
    return [0x7FC00000 if word & 0x7FFFFFFF > 0x7F800000 else word for word in bits] if nan else bits


def tensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        start = f.tell()
        for name, t in header.items():
            if name == "__metadata__":
                continue
            assert t["dtype"] == "F32", f"{path}: {name} is {t['dtype']}"
            first, end = t["data_offsets"]
            f.seek(start + first)
            yield name, f.read(end - first)


def main():
    if len(sys.argv) != 2 or not os.path.isdir(sys.argv[1]):
        sys.exit("usage: recompute_digest.py CHECKPOINT")
    with open(os.path.join(sys.argv[1], "switchyard.json"), encoding="utf-8") as f:
        manifest = json.load(f)
    total, bad = [0, 0], 0
    for kind, prefix in ("weights", "model"), ("adam_m", "optimizer/adam_m"), ("adam_v", "optimizer/adam_v"):
        saved = dict(manifest.get("tensors", {}).get(kind, {}))
        if kind != "weights" and not saved:
            continue
        for path in sorted(glob.glob(os.path.join(sys.argv[1], prefix + "-*.safetensors"))):
            for name, raw in tensors(path):
                bits = words_of(raw)
                sums = [words_sum(name, bits, salt) for salt in (1, 2)]
                if saved and "%016x%016x" % tuple(sums) != saved.pop(name, None):
                    print(f"{path}: tensor {name} is not as switchyard.json says")
                    bad += 1
                if kind == "weights":
                    fold = folded(bits)
                    sums = sums if fold is bits else [words_sum(name, fold, salt) for salt in (1, 2)]
                    total = [(total[s] + sums[s]) & M for s in (0, 1)]
        for name in saved:
            print(f"{prefix}-*.safetensors: tensor {name} has a digest and is in none of them")
            bad += 1
    digest, want = "%016x%016x" % tuple(total), manifest["weights_digest"]
    print(digest, "as saved" if digest == want else f"differs: switchyard.json says {want}")
    return 0 if digest == want and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
