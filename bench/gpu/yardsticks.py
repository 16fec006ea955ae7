"""Speed of cuBLAS, torch's grouped_mm and SDPA on the shapes of gemm_sm90 and attention_sm90.

usage: python3 yardsticks.py gemm|attention
"""
import sys
import time

import torch
import torch.nn.functional as fn

torch.manual_seed(0)
BF = dict(device="cuda", dtype=torch.bfloat16)


def queue(call, n):
    begin = time.perf_counter()
    for _ in range(n):
        call()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def median_ms(call):
    """As `switchyard bench` does: a median of 5 rounds, each a queue of calls of at least 20 ms and one wait."""
    n = 1
    queue(call, 1)
    while queue(call, n) < 0.02:
        n *= 2
    return sorted(queue(call, n) / n for _ in range(5))[2] * 1e3


def report(name, flops, call):
    try:
        ms = median_ms(call)
        print(f"PEER {name:<46} {ms:8.4f} ms {flops / ms * 1e-9:7.1f} TFLOP/s", flush=True)
    except Exception as e:  # a yardstick that is not there is no failure
        print(f"PEER {name:<46} {repr(e)[:90]}", flush=True)


def dense(m, n, k):
    x, w = torch.randn(m, k, **BF), torch.randn(n, k, **BF)
    report(f"cuBLAS {m} x {n} x {k}", 2 * m * n * k, lambda: x @ w.t())
    wn = torch.randn(k, n, **BF)
    report(f"cuBLAS dx {m} x {n} x {k}", 2 * m * n * k, lambda: x @ wn)
    if m > k:
        dy, x2 = torch.randn(m, n, **BF), torch.randn(m, k, **BF)
        report(f"cuBLAS dW {n} x {k}, {m} rows", 2 * m * n * k, lambda: dy.t() @ x2)


def experts(name, tokens, d, f, e, top):
    chosen = torch.rand(tokens, e, device="cuda").topk(top).indices.flatten()
    ends = torch.cumsum(torch.bincount(chosen, minlength=e), 0).to(torch.int32)
    rows = tokens * top
    x, h, gu = torch.randn(rows, d, **BF), torch.randn(rows, f, **BF), torch.randn(rows, 2 * f, **BF)
    w13, w2 = torch.randn(e, 2 * f, d, **BF), torch.randn(e, d, f, **BF)
    flops = 2 * rows * d * f
    w13t, w2t = w13.transpose(1, 2), w2.transpose(1, 2)
    report(f"grouped_mm {name} up (no SwiGLU)", 2 * flops, lambda: torch._grouped_mm(x, w13t, offs=ends))
    report(f"grouped_mm {name} down", flops, lambda: torch._grouped_mm(h, w2t, offs=ends))
    report(f"grouped_mm {name} dx of down", flops, lambda: torch._grouped_mm(x, w2, offs=ends))
    report(f"grouped_mm {name} dx of up", 2 * flops, lambda: torch._grouped_mm(gu, w13, offs=ends))
    report(f"grouped_mm {name} dW up (bf16 out)", 2 * flops, lambda: torch._grouped_mm(gu.t(), x, offs=ends))
    report(f"grouped_mm {name} dW down (bf16 out)", flops, lambda: torch._grouped_mm(x.t(), h, offs=ends))


def attention(b, s, h, hk, dq, dv):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    q = torch.randn(b, s, h, dq, **BF).transpose(1, 2)
    k = torch.randn(b, s, hk, dq, **BF).transpose(1, 2)
    v = torch.randn(b, s, hk, dv, **BF).transpose(1, 2)
    flops = b * h * s * s * (dq + dv)  # the causal half
    for back in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
        def call():
            with sdpa_kernel([back]):
                return fn.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=hk != h)
        report(f"{back.name} B {b} S {s} heads {h}/{hk} of {dq}/{dv}", flops, call)


if sys.argv[1] == "gemm":
    dense(8192, 8192, 8192)
    dense(16384, 2048, 2048)
    dense(16384, 10944, 2048)
    experts("dsv3-16b", 16384, 2048, 1408, 64, 6)
    experts("qwen3-30b", 16384, 2048, 768, 128, 8)
else:
    for s, b in ((4096, 4), (8192, 2)):
        attention(b, s, 16, 16, 192, 128)
        attention(b, s, 32, 4, 128, 128)
        attention(b, s, 16, 16, 128, 128)
