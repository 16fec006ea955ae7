#!/usr/bin/env python3
"""Oracles in double precision: an independent PyTorch implementation of the model, router and attention.

Writes tests/data/oracles/{micro_mla,micro_gqa,micro_mla_tied,micro_gqa_tied,router,router_losses,attention}.json; unit tests
compare the C code, in class fp32, with them.  Needs Python 3.9, numpy and PyTorch (CPU).  Weights, tokens and operands come from integer formulae (section 1 below;
repeated in every file under "formula"), so no weight file is needed.

  make_oracles.py             regenerate all files (same bytes on the same machine and PyTorch; elsewhere the last digits of
                              a %.17g may differ)
  make_oracles.py --check     recompute and compare with the committed files to 1e-9
  make_oracles.py --search N  smallest top-k gap of the micro models for gate salts 0..N-1 (see GATE_SALT)
"""
import json
import math
import os
import sys

try:
    import numpy as np
    import torch
    import torch.nn.functional as nnf
except ImportError as missing:
    sys.exit("make_oracles.py needs numpy and torch: python3 -m pip install numpy torch (%s)" % missing)

OUT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "data", "oracles")

# ---------------------------------------------------------------------------------------------------------------------
# 1. Formulae.  All integers are unsigned 64 bit and wrap.
# ---------------------------------------------------------------------------------------------------------------------
GOLDEN = 0x9E3779B97F4A7C15
M64 = (1 << 64) - 1
PROJECTION_STEP = 0x51ED2701    # salt 1..3: projections; salt 4: indices of samples
TOKEN_SEED, DOCUMENT_SEED = 0x5EED, 0xD0C
# Added, times PROJECTION_STEP, to the key of every "*.mlp.gate.weight": chosen so that no top-k choice of the 10 steps is
# nearly tied, for the C code computes in fp32.
GATE_SALT = {"micro_mla": 48, "micro_gqa": 31, "micro_mla_tied": 33, "micro_gqa_tied": 9}


def fnv(name):
    """FNV-1a, 64 bits, over the bytes of the name without a terminator."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) & M64
    return h


def mix(z):
    """Finaliser of SplitMix64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def stream(key, n, first=0):
    """mix(key + i * GOLDEN) for i = first .. first + n - 1."""
    i = np.arange(first, first + n, dtype=np.uint64)
    return mix(np.uint64(key & M64) + i * np.uint64(GOLDEN))


def units(key, n):
    """((h >> 40) - 2^23) * 2^-23: multiples of 2^-23 in [-1, 1), exact in fp32."""
    return ((stream(key, n) >> np.uint64(40)).astype(np.int64) - (1 << 23)).astype(np.float64) * 2.0 ** -23


def operand(name, shape, scale=1.0):
    """An operand of an op-level oracle: units(fnv(name)) * scale."""
    return torch.tensor(units(fnv(name), math.prod(shape)) * scale).reshape(shape)


def weight(flavour, name, shape):
    """A weight by its name in the checkpoint; flat index in the checkpoint's shape, row-major."""
    key = fnv(name)
    if name.endswith(".mlp.gate.weight"):
        key += GATE_SALT[flavour] * PROJECTION_STEP
    v = units(key, math.prod(shape))
    if name.endswith("e_score_correction_bias"):
        v = v * 2.0 ** -6
    elif ".self_attn." in name and name.endswith(".bias"):
        v = v * 2.0 ** -2
    elif len(shape) == 1:
        v = (1.0 + v * 2.0 ** -2).astype(np.float32).astype(np.float64)     # the only formula that rounds, once, to fp32
    elif name != "model.embed_tokens.weight":
        v = v * 2.0 ** -2
    return torch.tensor(v).reshape(shape)


def sequences(first, count, S):
    """Tokens, documents' first positions and labels of sequences first .. first + count - 1, each [count, S]."""
    token = (stream(TOKEN_SEED, count * S, first * S) % np.uint64(259)).astype(np.int64).reshape(count, S)
    start = (stream(DOCUMENT_SEED, count * S, first * S) % np.uint64(13) == 0).reshape(count, S)
    start[:, 0] = True
    doc_start = np.maximum.accumulate(np.where(start, np.arange(S), 0), axis=1)
    label = np.full((count, S), -100, dtype=np.int64)
    label[:, :-1] = np.where(start[:, 1:], -100, token[:, 1:])
    return torch.tensor(token), torch.tensor(doc_start), torch.tensor(label)


def summary(name, tensor, n_samples):
    """Norm, three projections on units(fnv(name) + salt * PROJECTION_STEP), samples at stream(salt 4) mod size."""
    g = tensor.detach().double().reshape(-1).numpy()
    if g.size <= n_samples:
        samples = g
    else:
        samples = g[(stream(fnv(name) + 4 * PROJECTION_STEP, n_samples) % np.uint64(g.size)).astype(np.int64)]
    projections = [math.fsum(g * units(fnv(name) + salt * PROJECTION_STEP, g.size)) for salt in (1, 2, 3)]
    return {"norm": math.sqrt(math.fsum(g * g)), "projections": projections, "samples": [float(x) for x in samples]}


FORMULA = {
    "integers": "unsigned 64 bit, wrapping; G = 0x9e3779b97f4a7c15",
    "fnv(name)": "FNV-1a 64: h = 0xcbf29ce484222325; per byte h = (h ^ byte) * 0x100000001b3",
    "mix(z)": "z = (z ^ z>>30) * 0xbf58476d1ce4e5b9; z = (z ^ z>>27) * 0x94d049bb133111eb; z ^ z>>31",
    "unit(key,i)": "((mix(key + i*G) >> 40) - 2^23) * 2^-23, in [-1,1)",
    "projection p = 1,2,3": "sum of x_i * unit(fnv(name) + p*0x51ed2701, i), i the flat row-major index",
    "samples": "n = 64 (32 for names with .experts.); size <= n: all elements in order; else sample j = 0..n-1 is element "
               "mix(fnv(name) + 4*0x51ed2701 + j*G) % size",
}
MODEL_FORMULA = dict(FORMULA, **{
    "weight": "unit(fnv(name), i) * scale; scale 1 for model.embed_tokens.weight, 2^-2 for other matrices, 2^-6 for "
              "e_score_correction_bias; norms: (float)(1 + unit * 2^-2)",
    "gate": "key of *.mlp.gate.weight is fnv(name) + gate_salt*0x51ed2701",
    "token": "mix(0x5eed + (n*S+i)*G) % 259, n the global number of the sequence; step s has sequences 16s .. 16s+15",
    "document": "starts at i = 0 and where mix(0xd0c + (n*S+i)*G) % 13 == 0",
    "label": "token i+1, or -100 where i+1 == S or i+1 starts a document",
})

TIED_FORMULA = dict(MODEL_FORMULA, **{
    "bias": "attention's biases: unit(fnv(name), i) * 2^-2", "samples": MODEL_FORMULA["samples"].replace(
        "n = 64 (32 for names with .experts.)", "n = 16"),
    "head": "model.embed_tokens.weight is the head, too"})

# ---------------------------------------------------------------------------------------------------------------------
# 2. Operations
# ---------------------------------------------------------------------------------------------------------------------


def rmsnorm(x, g, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * g


def swiglu(x, w1, w3, w2):
    return (nnf.silu(x @ w1.T) * (x @ w3.T)) @ w2.T


def rope(x, position, theta, pairs):
    """x [B,S,H,d], position [B,S]; pair j turns by position * theta^(-2j/d).  pairs: (2j, 2j+1); halves: (j, j+d/2)."""
    d = x.shape[-1]
    angle = position.double()[..., None] * theta ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    c, s = angle.cos().to(x.dtype)[:, :, None, :], angle.sin().to(x.dtype)[:, :, None, :]
    if pairs:
        x0, x1 = x[..., 0::2], x[..., 1::2]
        return torch.stack((x0 * c - x1 * s, x1 * c + x0 * s), dim=-1).flatten(-2)
    x0, x1 = x[..., : d // 2], x[..., d // 2:]
    return torch.cat((x0 * c - x1 * s, x1 * c + x0 * s), dim=-1)


def attention(q, k, v, doc_start, scale):
    """q [B,S,H,d], k [B,S,KV,d], v [B,S,KV,dv], doc_start [B,S] -> o [B,S,H,dv], natural lse [B,S,H]."""
    B, S, H, _ = q.shape
    group = H // k.shape[2]                                          # query head h reads key head h / group
    k, v = k.repeat_interleave(group, dim=2), v.repeat_interleave(group, dim=2)
    score = torch.einsum("bqhd,bkhd->bhqk", q, k) * scale
    at = torch.arange(S)
    seen = (at[None, None, :] <= at[None, :, None]) & (at[None, None, :] >= doc_start[:, :, None])
    score = score.masked_fill(~seen[:, None], float("-inf"))
    return torch.einsum("bhqk,bkhd->bqhd", score.softmax(-1), v), torch.logsumexp(score, -1).transpose(1, 2)


def best(c, k):
    """Ids of the k largest of each row, equal scores by lower id, and the gap to the first that is left out."""
    value, order = torch.sort(c, dim=-1, descending=True, stable=True)
    gap = (value[:, k - 1] - value[:, k]).min().item() if k < c.shape[-1] else math.inf
    return order[:, :k], gap


def route(logits, bias, K, score_func, norm, scale, groups=0, limited=0, group_score=None):
    """logits [T,E] -> ids [T,K] ascending, weights [T,K], smallest gap of any choice made here."""
    T, E = logits.shape
    s = {"sigmoid": torch.sigmoid, "softmax": lambda x: x.softmax(-1), "topk_softmax": lambda x: x}[score_func](logits)
    c, gap = (s + bias).detach(), math.inf
    if groups:
        of_group = c.reshape(T, groups, E // groups)
        score = of_group.topk(2, dim=-1).values.sum(-1) if group_score == "top2_sum" else of_group.amax(-1)
        kept, gap = best(score, limited)
        out = torch.ones(T, groups, dtype=torch.bool).scatter(1, kept, False)
        c = c.masked_fill(out.repeat_interleave(E // groups, dim=1), float("-inf"))
    ids, gap_k = best(c, K)
    ids = ids.sort(dim=-1).values
    w = s.gather(1, ids)
    if score_func == "topk_softmax":
        w = w.softmax(-1)
    if norm:
        w = w / (w.sum(-1, keepdim=True) + 1e-20)
    return ids, w * scale, min(gap, gap_k)


# ---------------------------------------------------------------------------------------------------------------------
# 3. Micro models
# ---------------------------------------------------------------------------------------------------------------------
V, D, LAYERS, H, F, E, K, S, BATCH, STEPS = 272, 32, 2, 2, 32, 8, 2, 32, 16, 10
DENSE_WIDTH, Q_LORA, KV_LORA, NOPE, ROPE, V_HEAD = 64, 16, 16, 16, 8, 16
KV_HEADS, HEAD = 1, 16
# DeepSeek's norms of Wqa x and Wkva x have an eps of their own: far from the model's here, so that a mix-up shows.
EPS, LATENT_EPS, THETA, COEFF = {True: 1e-2, False: 1e-5}, 1e-6, 1e4, 1e-3
LR, WARMUP, BETA1, BETA2, ADAM_EPS, DECAY, MAX_NORM = 8e-4, 2, 0.9, 0.95, 1e-8, 0.1, 1.0


BIASED = {True: ("q_a_proj", "kv_a_proj_with_mqa", "o_proj"), False: ("q_proj", "k_proj", "v_proj", "o_proj")}


def is_mla(flavour):
    return flavour.startswith("micro_mla")


def is_tied(flavour):
    """One weight is embedding and head, and attention has every bias that transformers' attention_bias means."""
    return flavour.endswith("_tied")


def is_moe(flavour, layer):
    return not is_mla(flavour) or layer >= 1


def shapes(flavour):
    """Names and shapes of the checkpoint; the expert biases are among them but are no parameters."""
    out = {"model.embed_tokens.weight": (V, D)}

    def ffn(prefix, width):
        out.update({prefix + "gate_proj.weight": (width, D), prefix + "up_proj.weight": (width, D),
                    prefix + "down_proj.weight": (D, width)})

    for layer in range(LAYERS):
        p = "model.layers.%d." % layer
        a = p + "self_attn."
        out.update({p + "input_layernorm.weight": (D,), p + "post_attention_layernorm.weight": (D,)})
        if is_mla(flavour):
            out.update({a + "q_a_proj.weight": (Q_LORA, D), a + "q_a_layernorm.weight": (Q_LORA,),
                        a + "q_b_proj.weight": (H * (NOPE + ROPE), Q_LORA),
                        a + "kv_a_proj_with_mqa.weight": (KV_LORA + ROPE, D), a + "kv_a_layernorm.weight": (KV_LORA,),
                        a + "kv_b_proj.weight": (H * (NOPE + V_HEAD), KV_LORA), a + "o_proj.weight": (D, H * V_HEAD)})
        else:
            out.update({a + "q_proj.weight": (H * HEAD, D), a + "k_proj.weight": (KV_HEADS * HEAD, D),
                        a + "v_proj.weight": (KV_HEADS * HEAD, D), a + "o_proj.weight": (D, H * HEAD)})
        for name in BIASED[is_mla(flavour)] if is_tied(flavour) else ():
            out[a + name + ".bias"] = out[a + name + ".weight"][:1]
        if not is_moe(flavour, layer):
            ffn(p + "mlp.", DENSE_WIDTH)
            continue
        out.update({p + "mlp.gate.weight": (E, D), p + "mlp.gate.e_score_correction_bias": (E,)})
        for e in range(E):
            ffn(p + "mlp.experts.%d." % e, F)
        if is_mla(flavour):
            ffn(p + "mlp.shared_experts.", F)
    out["model.norm.weight"] = (D,)
    if not is_tied(flavour):
        out["lm_head.weight"] = (V, D)
    return out


class Micro:
    """Weights as leaves of autograd, expert biases in fp32 arithmetic, and what the router did in the last forward."""

    def __init__(self, flavour, dtype):
        self.flavour, self.dtype = flavour, dtype
        self.w, self.bias = {}, {}
        for name, shape in shapes(flavour).items():
            x = weight(flavour, name, shape)
            if name.endswith("e_score_correction_bias"):
                self.bias[name] = x.to(torch.float32)
            else:
                self.w[name] = x.to(dtype).requires_grad_()
        self.routed, self.gap = {}, math.inf

    def map(self, x, name):
        y = x @ self.w[name + ".weight"].T
        return y + self.w[name + ".bias"] if name + ".bias" in self.w else y

    def ffn(self, x, prefix):
        return swiglu(x, *(self.w[prefix + n + "_proj.weight"] for n in ("gate", "up", "down")))

    def mla(self, x, doc_start, a):
        B, position = x.shape[0], torch.arange(S) - doc_start
        q = rmsnorm(self.map(x, a + "q_a_proj"), self.w[a + "q_a_layernorm.weight"], LATENT_EPS)
        q = (q @ self.w[a + "q_b_proj.weight"].T).reshape(B, S, H, NOPE + ROPE)
        kv, k_pe = self.map(x, a + "kv_a_proj_with_mqa").split([KV_LORA, ROPE], dim=-1)
        kv = rmsnorm(kv, self.w[a + "kv_a_layernorm.weight"], LATENT_EPS) @ self.w[a + "kv_b_proj.weight"].T
        k_nope, v = kv.reshape(B, S, H, NOPE + V_HEAD).split([NOPE, V_HEAD], dim=-1)
        q = torch.cat((q[..., :NOPE], rope(q[..., NOPE:], position, THETA, True)), dim=-1)
        k_pe = rope(k_pe[:, :, None, :], position, THETA, True).expand(B, S, H, ROPE)
        o, _ = attention(q, torch.cat((k_nope, k_pe), dim=-1), v, doc_start, (NOPE + ROPE) ** -0.5)
        return self.map(o.reshape(B, S, H * V_HEAD), a + "o_proj")

    def gqa(self, x, doc_start, a):
        B, position = x.shape[0], torch.arange(S) - doc_start
        q, k, v = (self.map(x, a + n + "_proj").reshape(B, S, -1, HEAD) for n in "qkv")
        q, k = rope(q, position, THETA, False), rope(k, position, THETA, False)
        o, _ = attention(q, k, v, doc_start, HEAD ** -0.5)
        return self.map(o.reshape(B, S, H * HEAD), a + "o_proj")

    def moe(self, x, p):
        B = x.shape[0]
        x = x.reshape(B * S, D)
        logits = x @ self.w[p + "gate.weight"].T
        how = ("sigmoid", True, 1.0, 4, 2, "top2_sum") if is_mla(self.flavour) else ("softmax", True, 1.0)
        ids, w, gap = route(logits, self.bias[p + "gate.e_score_correction_bias"].to(self.dtype), K, *how)
        self.routed[p], self.gap = (ids, w), min(self.gap, gap)
        y = torch.zeros_like(x)
        for e in range(E):
            token, k = torch.where(ids == e)
            y = y.index_add(0, token, w[token, k, None] * self.ffn(x[token], p + "experts.%d." % e))
        if is_mla(self.flavour):
            y = y + self.ffn(x, p + "shared_experts.")
        return y.reshape(B, S, D)

    def loss(self, token, doc_start, label):
        x, eps = self.w["model.embed_tokens.weight"][token], EPS[is_mla(self.flavour)]
        for layer in range(LAYERS):
            p = "model.layers.%d." % layer
            attn = self.mla if is_mla(self.flavour) else self.gqa
            x = x + attn(rmsnorm(x, self.w[p + "input_layernorm.weight"], eps), doc_start, p + "self_attn.")
            h = rmsnorm(x, self.w[p + "post_attention_layernorm.weight"], eps)
            x = x + (self.moe(h, p + "mlp.") if is_moe(self.flavour, layer) else self.ffn(h, p + "mlp."))
        head = self.w.get("lm_head.weight", self.w["model.embed_tokens.weight"])
        logits = rmsnorm(x, self.w["model.norm.weight"], eps) @ head.T
        total = nnf.cross_entropy(logits.reshape(-1, V), label.reshape(-1), ignore_index=-100, reduction="sum")
        return total / (label != -100).sum()

    def update_bias(self):
        """delta = coeff * (E * sign - sum of signs) / E in fp64, rounded to fp32; added in fp32."""
        for name, b in self.bias.items():
            ids = self.routed[name[: -len("gate.e_score_correction_bias")]][0]
            count = torch.bincount(ids.reshape(-1), minlength=E)
            sign = torch.sign(BATCH * S * K - count * E)
            b += (COEFF * (E * sign - sign.sum()).double() / E).to(torch.float32)


def schedule(s):
    """Linear warm-up, one step at 1, linear decay to 0 (no decay ratio, min 0); s from 0."""
    W = min(WARMUP, STEPS)
    Dk = STEPS - W
    St = STEPS + 1 - W - Dk
    if s < W:
        return (s + 1) / W
    return 1.0 if s < W + St else 1.0 - (s + 1 - W - St) / Dk


def train(flavour, dtype):
    """Ten steps; everything that the files need, as tensors and floats."""
    model, r = Micro(flavour, dtype), {"loss": [], "grad_norm": [], "lr": [], "valid": [], "bias": [], "choices": []}
    m, v = ({n: torch.zeros_like(w, requires_grad=False) for n, w in model.w.items()} for _ in range(2))
    for s in range(STEPS):
        token, doc_start, label = sequences(s * BATCH, BATCH, S)
        loss = model.loss(token, doc_start, label)
        grads = dict(zip(model.w, torch.autograd.grad(loss, list(model.w.values()))))
        norm = math.sqrt(sum(g.double().pow(2).sum().item() for g in grads.values()))
        if s == 0:
            r["grads"] = grads
            r["router"] = {p: (ids[:S].clone(), w[:S].detach().clone()) for p, (ids, w) in model.routed.items()}
        r["choices"].append({p: ids.clone() for p, (ids, _) in model.routed.items()})
        lr, clip, t = LR * schedule(s), min(1.0, MAX_NORM / (norm + 1e-6)), s + 1
        with torch.no_grad():
            for n, w in model.w.items():
                g = grads[n] * clip
                m[n] = BETA1 * m[n] + (1 - BETA1) * g
                v[n] = BETA2 * v[n] + (1 - BETA2) * g * g
                q = (m[n] / (1 - BETA1 ** t)) / ((v[n] / (1 - BETA2 ** t)).sqrt() + ADAM_EPS)
                w -= lr * (DECAY * w + q)
        model.update_bias()
        r["loss"].append(loss.item())
        r["grad_norm"].append(norm)
        r["lr"].append(lr)
        r["valid"].append(int((label != -100).sum()))
        r["bias"].append({n: [float(x) for x in b] for n, b in model.bias.items()})
    r["weights"], r["gap"] = {n: w.detach() for n, w in model.w.items()}, model.gap
    return r


def noise(exact, rough):
    """How far the same code in fp32 is from fp64: what a test's tolerance must leave room for."""
    def worst(part):
        return max(((rough[part][n].double() - g).norm() / g.norm()).item() for n, g in exact[part].items())
    same = all(torch.equal(a[p], b[p]) for a, b in zip(exact["choices"], rough["choices"]) for p in a)
    return {"loss": max(abs(a - b) / a for a, b in zip(exact["loss"], rough["loss"])),
            "gradients": worst("grads"), "weights": worst("weights"), "same_choices": same}


def micro(flavour):
    r = train(flavour, torch.float64)
    token, doc_start, label = sequences(0, 1, S)
    names = shapes(flavour)

    few = is_tied(flavour)  # what differs from the other two models: no experts, fewer samples

    def table(part):
        return [dict({"name": n, "shape": list(names[n])}, **summary(n, x, 16 if few else 32 if ".experts." in n else 64))
                for n, x in r[part].items() if not (few and ".mlp." in n)]

    return {
        "model": {
            "flavour": flavour, "V": V, "D": D, "layers": LAYERS, "dense_layers": int(is_mla(flavour)),
            "norm_eps": EPS[is_mla(flavour)], "rope_theta": THETA, "sequences_per_step": BATCH, "S": S, "expert_bias_coeff": COEFF,
            "parameters": sum(math.prod(names[n]) for n in r["weights"])},
        "formula": TIED_FORMULA if few else MODEL_FORMULA, "gate_salt": GATE_SALT[flavour],
        "optimizer": {"lr": LR, "warmup_steps": WARMUP, "total_steps": STEPS, "decay": "linear", "min_lr_factor": 0.0,
                      "beta1": BETA1, "beta2": BETA2, "eps": ADAM_EPS, "weight_decay": DECAY, "max_norm": MAX_NORM},
        "formula_check": {
            "fnv(lm_head.weight)": "%016x" % fnv("lm_head.weight"),
            "initial": {n: [float(x) for x in weight(flavour, n, names[n]).reshape(-1)[:3]] for n in (
                "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight", "model.layers.1.mlp.gate.weight",
                "model.layers.1.mlp.gate.e_score_correction_bias") if n in names},
            "tokens_sequence_0": token[0].tolist(), "doc_start_sequence_0": doc_start[0].tolist(),
            "labels_sequence_0": label[0].tolist()},
        "loss": r["loss"], "lr": r["lr"], "valid_labels": r["valid"], "grad_norm": r["grad_norm"],
        "min_topk_gap": r["gap"], "fp32_noise": noise(r, train(flavour, torch.float32)),
        "router_sequence_0": [{"layer": int(p.split(".")[2]), "ids": ids.tolist(), "weights": w.tolist()}
                              for p, (ids, w) in r["router"].items() if not few],
        "expert_bias_after_step": [{"layer": int(n.split(".")[2]), "bias": [b[n] for b in r["bias"]]}
                                   for n in r["bias"][0]],
        "gradients_step_0": table("grads"), "weights_step_10": table("weights")}


# ---------------------------------------------------------------------------------------------------------------------
# 4. Oracles of single ops
# ---------------------------------------------------------------------------------------------------------------------
ROUTER_T, ROUTER_E, ROUTER_K, ROUTER_SCALE = 24, 16, 4, 2.5


def router():
    logits = operand("router.logits", (ROUTER_T, ROUTER_E), 4.0)
    bias = operand("router.bias", (ROUTER_E,), 2.0 ** -4)
    dw = operand("router.dw", (ROUTER_T, ROUTER_K))
    cases, smallest = [], math.inf
    for score_func in ("sigmoid", "softmax", "topk_softmax"):
        for norm in (0, 1):
            for groups, limited, kind in ((0, 0, "none"), (4, 2, "top2_sum"), (4, 2, "max")):
                x = logits.clone().requires_grad_()
                ids, w, gap = route(x, bias, ROUTER_K, score_func, norm, ROUTER_SCALE, groups, limited, kind)
                dlogits, = torch.autograd.grad(w, x, dw)
                smallest = min(smallest, gap)
                cases.append({"score_func": score_func, "route_norm": norm, "groups": groups, "limited": limited,
                              "group_score": kind, "ids": ids.tolist(), "w": w.tolist(), "dlogits": dlogits.tolist()})
    return {"formula": dict(FORMULA, **{
        "logits": "[T][E]: 4 * unit(fnv(\"router.logits\"), t*E + e)", "bias": "[E]: 2^-4 * unit(fnv(\"router.bias\"), e)",
        "dw": "[T][K]: unit(fnv(\"router.dw\"), t*K + k), k over the chosen by ascending id"}),
        "T": ROUTER_T, "E": ROUTER_E, "K": ROUTER_K, "route_scale": ROUTER_SCALE, "min_topk_gap": smallest, "cases": cases}


LOSSES_B, LOSSES_S, LOSSES_BALANCE, LOSSES_Z = 2, 72, 0.5, 0.25


def router_losses():
    """Sequence balance loss (arXiv:2412.19437, eq. 17-20) and z-loss (arXiv:2202.08906, eq. 5) with every router."""
    B, S, E, K = LOSSES_B, LOSSES_S, ROUTER_E, ROUTER_K
    logits = operand("router_losses.logits", (B * S, E), 4.0)
    bias = operand("router.bias", (E,), 2.0 ** -4)
    dw = operand("router_losses.dw", (B * S, K))
    cases, smallest = [], math.inf
    for score_func in ("sigmoid", "softmax", "topk_softmax"):
        for norm in (0, 1):
            for groups, limited, kind in ((0, 0, "none"), (4, 2, "top2_sum"), (4, 2, "max")):
                x = logits.clone().requires_grad_()
                ids, w, gap = route(x, bias, K, score_func, norm, ROUTER_SCALE, groups, limited, kind)
                smallest = min(smallest, gap)
                s = torch.sigmoid(x) if score_func == "sigmoid" else x.softmax(-1)
                p = (s / s.sum(-1, keepdim=True)).reshape(B, S, E)
                count = torch.stack([torch.bincount(i.reshape(-1), minlength=E) for i in ids.reshape(B, S, K)])
                balance = (count.double() * E / (K * S) * p.mean(1)).sum(-1)
                z = torch.logsumexp(x, -1).pow(2).reshape(B, S).mean(-1)
                both = LOSSES_BALANCE * balance.sum() + LOSSES_Z * z.sum()
                results = []
                for name, value in (("balance", balance.sum()), ("both", both), ("dlogits", both + (w * dw).sum())):
                    g, = torch.autograd.grad(value, x, retain_graph=True)
                    results.append(dict({"name": name}, **summary("router_losses." + name, g, 32)))
                cases.append({"score_func": score_func, "route_norm": norm, "groups": groups, "limited": limited,
                              "group_score": kind, "count": count.tolist(), "balance": balance.tolist(), "z": z.tolist(),
                              "results": results})
    return {"formula": dict(FORMULA, **{
        "logits": "[B*S][E]: 4 * unit(fnv(\"router_losses.logits\"), t*E + e)",
        "bias": "[E]: 2^-4 * unit(fnv(\"router.bias\"), e)",
        "dw": "[B*S][K]: unit(fnv(\"router_losses.dw\"), t*K + k), k over the chosen by ascending id",
        "samples": "n = 32; sample j = 0..n-1 is element mix(fnv(name) + 4*0x51ed2701 + j*G) % size",
        "count, balance, z": "of each sequence, without weights",
        "results": "gradients at the logits, names router_losses.NAME: of the sum of the balance losses; of both losses with "
                   "their weights; of both and of sum w*dw"}),
        "B": B, "S": S, "E": E, "K": K, "route_scale": ROUTER_SCALE, "balance_weight": LOSSES_BALANCE,
        "z_weight": LOSSES_Z, "min_topk_gap": smallest, "cases": cases}


def attention_cases():
    T, heads, kv_heads, d, dv = 200, 4, 2, 24, 16
    cases = []
    for name, starts, q_scale in (("packed", [0, 5, 6, 90], 1.0), ("sharp", [0], 8.0)):
        doc_start = torch.zeros(T, dtype=torch.int64)
        for first in starts:
            doc_start[first:] = first
        q = operand("attention.q", (T, heads, d), q_scale).requires_grad_()
        k = operand("attention.k", (T, kv_heads, d)).requires_grad_()
        v = operand("attention.v", (T, kv_heads, dv)).requires_grad_()
        do = operand("attention.do", (T, heads, dv))
        o, lse = attention(q[None], k[None], v[None], doc_start[None], d ** -0.5)
        dq, dk, dv_ = torch.autograd.grad(o[0], (q, k, v), do)
        lse2 = lse[0].detach() / math.log(2.0)
        cases.append({"name": name, "document_starts": starts, "q_scale": q_scale,
                      "lse_sum_per_head": [math.fsum(lse2[:, h].tolist()) for h in range(heads)],
                      "results": [dict({"name": n, "shape": list(x.shape)}, **summary("attention." + n, x, 64)) for n, x in (
                          ("o", o[0]), ("lse", lse2), ("dq", dq), ("dk", dk), ("dv", dv_))]})
    return {"formula": dict(FORMULA, **{
        "q, k, v, do": "[T][heads or kv_heads][d_qk or d_v]: unit(fnv(name), flat index), names attention.q, attention.k, "
                       "attention.v, attention.do; q times q_scale",
        "results": "layout as the operand's; lse [T][heads], to base 2: log2 of the sum of exp(scale*q.k); names for "
                   "projections and samples are attention.o, attention.lse, attention.dq, attention.dk, attention.dv"}),
        "T": T, "heads": heads, "kv_heads": kv_heads, "d_qk": d, "d_v": dv, "scale": d ** -0.5, "cases": cases}


# ---------------------------------------------------------------------------------------------------------------------
# 5. Files
# ---------------------------------------------------------------------------------------------------------------------


def dump(x, digits, depth=0):
    """JSON with a fixed number of digits; reals always have a point or an exponent; a line per entry of the outer levels."""
    if isinstance(x, bool) or x is None or isinstance(x, (int, str)):
        return json.dumps(x, ensure_ascii=True)
    if isinstance(x, float):
        assert math.isfinite(x)
        text = "%.*g" % (digits, x)
        return text if "." in text or "e" in text else text + ".0"
    ends = "{}" if isinstance(x, dict) else "[]"
    if isinstance(x, dict):
        parts = [json.dumps(k) + ":" + dump(v, digits, depth + 1) for k, v in x.items()]
    else:
        parts = [dump(v, digits, depth + 1) for v in x]
    inner = x.values() if isinstance(x, dict) else x
    if depth < 2 and any(isinstance(v, (dict, list, str)) for v in inner):
        return ends[0] + "\n" + ",\n".join(parts) + "\n" + ends[1]
    return ends[0] + ",".join(parts) + ends[1]


def difference(a, b, where=""):
    """First place where two JSON values differ by more than 1e-9, relatively to 1 or more; fp32_noise is not compared."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        found = (difference(a[k], b[k], where + "/" + k) for k in a if k != "fp32_noise")
        return next((f for f in found if f), None)
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return next((f for i, (x, y) in enumerate(zip(a, b)) if (f := difference(x, y, "%s/%d" % (where, i)))), None)
    if isinstance(a, float) and isinstance(b, float):
        return None if abs(a - b) <= 1e-9 * max(1.0, abs(a)) else "%s: %.17g against %.17g" % (where, a, b)
    return None if a == b else "%s: %r against %r" % (where, a, b)


def search(n):
    for flavour in GATE_SALT:
        for GATE_SALT[flavour] in range(n):
            print("%s gate_salt %d min_topk_gap %.3g" % (flavour, GATE_SALT[flavour], train(flavour, torch.float64)["gap"]),
                  flush=True)


def main(arguments):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if arguments[:1] == ["--search"] and len(arguments) == 2 and arguments[1].isdigit():
        return search(int(arguments[1]))
    if arguments not in ([], ["--check"]):
        return __doc__
    os.makedirs(OUT, exist_ok=True)
    models = tuple((name, lambda name=name: micro(name), 17) for name in GATE_SALT)
    for name, make, digits in models + (("router", router, 9), ("router_losses", router_losses, 9),
                                        ("attention", attention_cases, 17)):
        path = os.path.join(OUT, name + ".json")
        text = dump(make(), digits) + "\n"
        if arguments:
            with open(path, encoding="ascii") as committed:
                wrong = difference(json.load(committed), json.loads(text))
            if wrong:
                return "%s differs at %s" % (path, wrong)
        else:
            with open(path, "w", encoding="ascii") as out:
                out.write(text)
        print("%s: %d bytes%s" % (os.path.basename(path), len(text), ", agrees" if arguments else ""))
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
