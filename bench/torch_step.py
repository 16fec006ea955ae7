#!/usr/bin/env python3
"""Training steps of dsv3-debug or gqa-debug by PyTorch on a CPU: the same shapes, AdamW, bf16 autocast.

    python3 bench/torch_step.py dsv3-debug|gqa-debug [--threads 2] [--steps 7] [--batch 4] [--seq 512]

Prints the median tokens/s of each way to do attention (scores written out, or scaled_dot_product_attention), experts
as a loop over unbound weights. bench/torch_pairs.sh runs it and `switchyard bench model` in turn.
"""
import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

DIM, LAYERS, EXPERTS, TOP, SHARED, DENSE_F, F_, VOCAB = 256, 6, 8, 3, 2, 1024, 256, 2048
HEADS, LORA, NOPE, ROPE, V = 16, 512, 128, 64, 128  # latent attention
HEAD, KV_HEADS = 64, 4  # grouped queries


class Norm(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.w = nn.Parameter(torch.ones(d))

    def forward(self, x):
        f = x.float()
        return (f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + 1e-6)).type_as(x) * self.w.type_as(x)


def linear(i, o):
    return nn.Linear(i, o, bias=False)


def rotary(seq, d):
    t = torch.outer(torch.arange(seq).float(), 1e-4 ** (torch.arange(0, d, 2).float() / d))
    return torch.cos(t)[None, :, None], torch.sin(t)[None, :, None]


def rotate(x, table):
    cos, sin = table
    a, b = x.float()[..., 0::2], x.float()[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).type_as(x)


def attend(way, q, k, v, scale, mask):
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    if way == "sdpa":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale).transpose(1, 2)
    w = torch.softmax((q @ k.transpose(-1, -2) * scale + mask.type_as(q)).float(), -1).type_as(v)
    return (w @ v).transpose(1, 2)


class Latent(nn.Module):
    def __init__(self, way, seq):
        super().__init__()
        self.way, self.table = way, rotary(seq, ROPE)
        self.q, self.kv_a = linear(DIM, HEADS * (NOPE + ROPE)), linear(DIM, LORA + ROPE)
        self.norm, self.kv_b, self.o = Norm(LORA), linear(LORA, HEADS * (NOPE + V)), linear(HEADS * V, DIM)

    def forward(self, x, mask):
        b, t, _ = x.shape
        nope, rope = self.q(x).view(b, t, HEADS, -1).split([NOPE, ROPE], -1)
        c, k_rope = self.kv_a(x).split([LORA, ROPE], -1)
        k_nope, v = self.kv_b(self.norm(c)).view(b, t, HEADS, -1).split([NOPE, V], -1)
        k_rope = rotate(k_rope.unsqueeze(2), self.table).expand(-1, -1, HEADS, -1)
        q, k = torch.cat([nope, rotate(rope, self.table)], -1), torch.cat([k_nope, k_rope], -1)
        return self.o(attend(self.way, q, k, v, (NOPE + ROPE) ** -0.5, mask).reshape(b, t, -1))


class Grouped(nn.Module):
    def __init__(self, way, seq):
        super().__init__()
        self.way, self.table, self.heads = way, rotary(seq, HEAD), DIM // HEAD
        self.q, self.o = linear(DIM, DIM), linear(DIM, DIM)
        self.k, self.v = linear(DIM, KV_HEADS * HEAD), linear(DIM, KV_HEADS * HEAD)

    def forward(self, x, mask):
        b, t, _ = x.shape
        q = rotate(self.q(x).view(b, t, -1, HEAD), self.table)
        k, v = rotate(self.k(x).view(b, t, -1, HEAD), self.table), self.v(x).view(b, t, -1, HEAD)
        if self.heads > KV_HEADS:
            k, v = (m.repeat_interleave(self.heads // KV_HEADS, 2) for m in (k, v))
        return self.o(attend(self.way, q, k, v, HEAD**-0.5, mask).reshape(b, t, -1))


class Mlp(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.w1, self.w3, self.w2 = linear(DIM, f), linear(DIM, f), linear(f, DIM)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Moe(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.shared = linear(DIM, EXPERTS), Mlp(F_ * SHARED)
        self.w1, self.w3, self.w2 = (
            nn.Parameter(torch.randn(EXPERTS, *s) * 0.02) for s in ((F_, DIM), (F_, DIM), (DIM, F_))
        )
        self.register_buffer("bias", torch.zeros(EXPERTS))

    def forward(self, x):
        shape, x = x.shape, x.reshape(-1, DIM)
        with torch.autocast("cpu", enabled=False):
            scores = torch.sigmoid(F.linear(x.float(), self.gate.weight))
        ids = torch.topk(scores + self.bias, TOP, -1)[1]
        w = scores.gather(1, ids)
        w = (w / (w.sum(-1, keepdim=True) + 1e-20)).reshape(-1)
        flat = ids.reshape(-1)
        self.load = torch.bincount(flat, minlength=EXPERTS)
        order = torch.argsort(flat, stable=True)
        token = order // TOP
        out = []
        rows = x.index_select(0, token).split(self.load.tolist())
        for xe, w1, w3, w2 in zip(rows, self.w1.unbind(0), self.w3.unbind(0), self.w2.unbind(0)):
            out.append(F.linear(F.silu(F.linear(xe, w1)) * F.linear(xe, w3), w2))
        o = torch.cat(out)
        o = o * w.index_select(0, order).unsqueeze(-1).type_as(o)
        y = torch.zeros_like(x, dtype=o.dtype).index_add_(0, token, o)
        return (y + self.shared(x)).reshape(shape)


class Model(nn.Module):
    def __init__(self, name, way, seq):
        super().__init__()
        attention = Latent if name == "dsv3-debug" else Grouped
        self.embedding, self.head, self.norm = nn.Embedding(VOCAB, DIM), linear(DIM, VOCAB), Norm(DIM)
        self.layers = nn.ModuleList(
            nn.ModuleList([Norm(DIM), attention(way, seq), Norm(DIM), Moe() if i else Mlp(DENSE_F)])
            for i in range(LAYERS)
        )
        self.mask = torch.full((seq, seq), float("-inf")).triu(1)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids):
        x = self.embedding(ids)
        for n1, attention, n2, ffn in self.layers:
            x = x + attention(n1(x), self.mask)
            x = x + ffn(n2(x))
        return self.head(self.norm(x))


def step(model, optimizer, batch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(batch[:, :-1])
    loss = F.cross_entropy(logits.float().view(-1, VOCAB), batch[:, 1:].reshape(-1))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        for layer in model.layers:
            if isinstance(layer[3], Moe):
                load = layer[3].load.float()
                layer[3].bias += 1e-3 * torch.sign(load.mean() - load)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model", choices=["dsv3-debug", "gqa-debug"])
    for name, default in (("threads", 2), ("steps", 7), ("batch", 4), ("seq", 512)):
        p.add_argument("--" + name, type=int, default=default)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    for way in ("scores", "sdpa"):
        torch.manual_seed(0)
        model = Model(a.model, way, a.seq)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)
        seconds = []
        for _ in range(a.steps + 3):
            batch = torch.randint(0, VOCAB, (a.batch, a.seq + 1))
            begin = time.perf_counter()
            step(model, optimizer, batch)
            seconds.append(time.perf_counter() - begin)
        rate = a.batch * a.seq / statistics.median(seconds[3:])
        parameters = sum(q.numel() for q in model.parameters())
        print(f"{a.model} torch {torch.__version__} {way} {parameters} parameters {rate:.0f} tokens/s", flush=True)


main()
