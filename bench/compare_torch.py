#!/usr/bin/env python3
"""One MoE layer, forward and backward, by switchyard and by PyTorch in turn: medians of pairs and of ratios.

    python3 bench/compare_torch.py build/switchyard [--threads 2] [--pairs 7] [--out FILE.json]

T 4096, D 512, F 256, E 64, K 6, bf16 weights, as in `switchyard bench moe`. A pair is one run of switchyard
(itself a median of 9) and, of each of PyTorch's ways to do it, the median of 3 after one that is not counted:

    loop       for each expert index_select, two F.linear, SwiGLU, index_add
    grouped    torch._grouped_mm over rows sorted by expert, where this PyTorch has it
    padded     bmm over rows padded to the fullest expert

Its best way of the pair counts. Routes are PyTorch's own, from a seed, as even as ours, with weights that sum
to one; to choose them is in our time and not in its, the gate's product in neither. OPENBLAS_CORETYPE and
OPENBLAS_L2_SIZE are taken out of the environment.
"""
import argparse, json, os, platform, statistics, subprocess, time

for key in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(key, None)
import torch
import torch.nn.functional as F

T, D, FF, E, K = 4096, 512, 256, 64, 6


def routes():
    g = torch.Generator().manual_seed(1)
    scores = torch.rand(T, E, generator=g)
    w, ids = scores.topk(K, dim=1)
    flat = ids.flatten()
    order = flat.argsort(stable=True)
    return (w / w.sum(1, keepdim=True)).to(torch.bfloat16), flat, order


def swiglu(gu):
    g, u = gu.chunk(2, dim=-1)
    return F.silu(g) * u


def loop(x, w13, w2, weight, flat, order):
    y = torch.zeros_like(x)
    counts = torch.bincount(flat, minlength=E).tolist()
    at = 0
    for e, n in enumerate(counts):
        where = order[at : at + n]
        at += n
        h = swiglu(F.linear(x.index_select(0, where // K), w13[e]))
        y = y.index_add(0, where // K, F.linear(h, w2[e]) * weight.flatten()[where, None])
    return y


def grouped(x, w13, w2, weight, flat, order):
    ends = torch.bincount(flat, minlength=E).cumsum(0).to(torch.int32)
    rows = x.index_select(0, order // K)
    h = swiglu(torch._grouped_mm(rows, w13.transpose(1, 2), offs=ends))
    out = torch._grouped_mm(h, w2.transpose(1, 2), offs=ends) * weight.flatten()[order, None]
    return torch.zeros_like(x).index_add(0, order // K, out)


def padded(x, w13, w2, weight, flat, order):
    counts = torch.bincount(flat, minlength=E)
    most, starts = int(counts.max()), counts.cumsum(0) - counts
    place = flat[order] * most + torch.arange(T * K) - starts[flat[order]]
    rows = torch.zeros(E * most, D, dtype=x.dtype).index_copy(0, place, x.index_select(0, order // K))
    h = swiglu(torch.bmm(rows.view(E, most, D), w13.transpose(1, 2)))
    out = torch.bmm(h, w2.transpose(1, 2)).view(E * most, D).index_select(0, place)
    return torch.zeros_like(x).index_add(0, order // K, out * weight.flatten()[order, None])


def seconds(way, args, times):
    taken = []
    for i in range(times + 1):
        leaves = [a.detach().requires_grad_() for a in args[:4]]
        begin = time.perf_counter()
        way(*leaves, *args[4:]).sum().backward()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[1:])


def ours(program, threads):
    out = subprocess.run([program, "bench", "moe", "--json", "--threads", str(threads)], check=True,
                         capture_output=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines() if '"bench":"layer"' in line][0]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--pairs", type=int, default=7)
    p.add_argument("--out")
    o = p.parse_args()
    if o.pairs < 7:
        p.error("--pairs %d: a median of fewer than 7 says little" % o.pairs)
    torch.set_num_threads(o.threads)
    g = torch.Generator().manual_seed(2)
    make = lambda *s: (torch.rand(*s, generator=g) * 0.1 - 0.05).to(torch.bfloat16)
    weight, flat, order = routes()
    args = [make(T, D) * 20, make(E, 2 * FF, D), make(E, D, FF), weight, flat, order]
    ways = {}
    for way in (loop, grouped, padded):
        try:
            seconds(way, args, 1)
            ways[way.__name__] = []
        except (AttributeError, RuntimeError) as e:
            print("%s: not in this PyTorch: %s" % (way.__name__, str(e).splitlines()[0]))
    mine, ratio, share = [], [], []
    for i in range(o.pairs):
        r = ours(o.program, o.threads)
        for name in ways:
            ways[name].append(1e3 * seconds(globals()[name], args, 3))
        mine.append(r["ms"])
        share.append(r["share"])
        ratio.append(r["ms"] / min(v[-1] for v in ways.values()))
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    commit = head.stdout.strip()
    result = {"bench": "compare_torch", "commit": commit, "torch": torch.__version__, "threads": o.threads,
              "pairs": o.pairs, "cpu": cpu(), "tier": r["tier"], "T": T, "D": D, "F": FF, "E": E, "K": K,
              "switchyard_ms": statistics.median(mine), "share_of_peak": statistics.median(share),
              "torch_ms": {k: statistics.median(v) for k, v in ways.items()},
              "ratio": statistics.median(ratio), "ratios": [round(v, 3) for v in ratio]}
    text = json.dumps(result)
    print(text)
    if o.out:
        with open(o.out, "w") as f:
            f.write(text + "\n")


def cpu():
    with open("/proc/cpuinfo") as f:
        found = {k.strip(): v.strip() for k, v in (line.split(":", 1) for line in f if ":" in line)}
    name, family, model = (found.get(k, "?") for k in ("model name", "cpu family", "model"))
    where = "%s, family %s model %s, %d processors (%s)"
    return where % (name, family, model, os.cpu_count(), platform.machine())


if __name__ == "__main__":
    main()
