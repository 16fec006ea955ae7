#!/usr/bin/env python3
"""Recomputes a checkpoint's weights_digest from its files alone, by the rule of docs/NUMERICS.md:

for salt 1 and 2, the sum mod 2^64 over tensors and elements i of mix((k + i*G) xor bits_i), where k = mix(id + salt), id is
the FNV-1a 64 of the tensor's name, bits_i the fp32 element as an integer (any NaN: 0x7fc00000), G = 0x9e3779b97f4a7c15 and
mix the finaliser of SplitMix64. Prints 32 hex digits and whether switchyard.json says the same; exit 0 if so, 1 if not.
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


def tensor_sum(name, raw, salt):
    k = mix((fnv1a(name) + salt) & M)
    if np is not None:
        bits = np.frombuffer(raw, "<u4").astype(np.uint64)
        bits[(bits & np.uint64(0x7FFFFFFF)) > np.uint64(0x7F800000)] = 0x7FC00000
        i = np.arange(len(bits), dtype=np.uint64)
        return int(mix_array((np.uint64(k) + i * np.uint64(G)) ^ bits).sum(dtype=np.uint64))
    total = 0
    for i, (bits,) in enumerate(struct.iter_unpack("<I", raw)):
        if bits & 0x7FFFFFFF > 0x7F800000:
            bits = 0x7FC00000
        total += mix((k + i * G & M) ^ bits)
    return total


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
    sums = [0, 0]
    for path in sorted(glob.glob(os.path.join(sys.argv[1], "model-*.safetensors"))):
        for name, raw in tensors(path):
            for s in (0, 1):
                sums[s] = (sums[s] + tensor_sum(name, raw, s + 1)) & M
    digest = "%016x%016x" % tuple(sums)
    with open(os.path.join(sys.argv[1], "switchyard.json"), encoding="utf-8") as f:
        saved = json.load(f)["weights_digest"]
    print(digest, "as saved" if digest == saved else f"differs: switchyard.json says {saved}")
    return 0 if digest == saved else 1


if __name__ == "__main__":
    sys.exit(main())
