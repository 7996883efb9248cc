#!/usr/bin/env python3
"""Makes tests/train/golden/: what PyTorch's losses are over 100 steps of a small GPT-2 and a small Llama.

Plain PyTorch, no model library: the architectures are written out below under Hugging Face's parameter names. Each run
starts from <kind>_init.safetensors, reads batches.safetensors, and writes <kind>.json: the configuration, the options and
per step the loss (mean over counted targets) and the gradient norm before clipping, in float32 and in float64.
Needs torch (tried with 1.13.1) and numpy.

Usage: make_train_goldens.py FOLDER [--reuse]    --reuse takes first values and batches from FOLDER as they are
"""
import json
import math
import os
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

STEPS, BATCH, TOKENS, VOCAB = 100, 4, 32, 256
TEXT = "examples/data/tiny.txt"
# At this learning rate float32 and float64 stay within 2e-5; at 0.003 rounding alone moves a loss by 4e-4.
OPTIONS = dict(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.1, clip=1.0)
CONFIGS = {
    "gpt2": dict(model_type="gpt2", vocab_size=VOCAB, n_positions=40, n_embd=32, n_layer=4, n_head=4,
                 n_inner=None, layer_norm_epsilon=1e-5, initializer_range=0.02, resid_pdrop=0.0,
                 activation_function="gelu_new", tie_word_embeddings=True),
    "llama": dict(model_type="llama", vocab_size=VOCAB, max_position_embeddings=32, hidden_size=32,
                  num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, intermediate_size=80,
                  rms_norm_eps=1e-6, rope_theta=10000.0, initializer_range=0.02, hidden_act="silu",
                  tie_word_embeddings=False),
}
NUMPY_NAMES = {"F32": np.float32, "I32": np.int32}


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, a in tensors.items():
        kind = {np.dtype(v): k for k, v in NUMPY_NAMES.items()}[a.dtype]
        header[name] = dict(dtype=kind, shape=list(a.shape), data_offsets=[at, at + a.nbytes])
        at += a.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in tensors.values():
            f.write(np.ascontiguousarray(a).tobytes())


def read_safetensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    out = {}
    for name, e in json.loads(data[8:8 + n]).items():
        begin, end = e["data_offsets"]
        out[name] = np.frombuffer(data[8 + n + begin:8 + n + end], NUMPY_NAMES[e["dtype"]]).reshape(e["shape"])
    return out


def gpt2_shapes(c):
    d, f = c["n_embd"], 4 * c["n_embd"]
    shapes = {"transformer.wte.weight": (VOCAB, d), "transformer.wpe.weight": (c["n_positions"], d)}
    for i in range(c["n_layer"]):
        p = f"transformer.h.{i}."
        shapes.update({
            p + "ln_1.weight": (d,), p + "ln_1.bias": (d,),
            p + "attn.c_attn.weight": (d, 3 * d), p + "attn.c_attn.bias": (3 * d,),
            p + "attn.c_proj.weight": (d, d), p + "attn.c_proj.bias": (d,),
            p + "ln_2.weight": (d,), p + "ln_2.bias": (d,),
            p + "mlp.c_fc.weight": (d, f), p + "mlp.c_fc.bias": (f,),
            p + "mlp.c_proj.weight": (f, d), p + "mlp.c_proj.bias": (d,)})
    shapes.update({"transformer.ln_f.weight": (d,), "transformer.ln_f.bias": (d,)})
    return shapes


def llama_shapes(c):
    d, f = c["hidden_size"], c["intermediate_size"]
    kv = d // c["num_attention_heads"] * c["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (VOCAB, d)}
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        shapes.update({
            p + "input_layernorm.weight": (d,),
            p + "self_attn.q_proj.weight": (d, d), p + "self_attn.k_proj.weight": (kv, d),
            p + "self_attn.v_proj.weight": (kv, d), p + "self_attn.o_proj.weight": (d, d),
            p + "post_attention_layernorm.weight": (d,),
            p + "mlp.gate_proj.weight": (f, d), p + "mlp.up_proj.weight": (f, d),
            p + "mlp.down_proj.weight": (d, f)})
    shapes.update({"model.norm.weight": (d,), "lm_head.weight": (VOCAB, d)})
    return shapes


def make_init(shapes, seed):
    """Normal 0.02 for matrices; vectors near 1 (norms) and near 0 (biases), not at them, so that each one matters."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, shape in shapes.items():
        a = rng.standard_normal(shape)
        if len(shape) == 2:
            a *= 0.02 if "embed" in name or "wte" in name or "wpe" in name else 0.08
        elif name.endswith("bias"):
            a *= 0.02
        else:
            a = 1 + 0.1 * a
        out[name] = a.astype(np.float32)
    return out


def causal_attention(q, k, v):
    """q, k, v [B, H, T, K]"""
    t = q.shape[2]
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    mask = torch.full((t, t), float("-inf"), dtype=q.dtype).triu(1)
    return F.softmax(scores + mask, dim=-1) @ v


def gpt2(c, w, tokens):
    b, t = tokens.shape
    d, h = c["n_embd"], c["n_head"]
    eps = c["layer_norm_epsilon"]
    x = w["transformer.wte.weight"][tokens] + w["transformer.wpe.weight"][:t]
    for i in range(c["n_layer"]):
        p = f"transformer.h.{i}."
        y = F.layer_norm(x, (d,), w[p + "ln_1.weight"], w[p + "ln_1.bias"], eps)
        qkv = y @ w[p + "attn.c_attn.weight"] + w[p + "attn.c_attn.bias"]
        q, k, v = (a.view(b, t, h, d // h).transpose(1, 2) for a in qkv.split(d, dim=2))
        y = causal_attention(q, k, v).transpose(1, 2).reshape(b, t, d)
        x = x + y @ w[p + "attn.c_proj.weight"] + w[p + "attn.c_proj.bias"]
        y = F.layer_norm(x, (d,), w[p + "ln_2.weight"], w[p + "ln_2.bias"], eps)
        y = F.gelu(y @ w[p + "mlp.c_fc.weight"] + w[p + "mlp.c_fc.bias"], approximate="tanh")
        x = x + y @ w[p + "mlp.c_proj.weight"] + w[p + "mlp.c_proj.bias"]
    x = F.layer_norm(x, (d,), w["transformer.ln_f.weight"], w["transformer.ln_f.bias"], eps)
    return x @ w["transformer.wte.weight"].T


def rms_norm(x, gamma, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gamma


def rotate(x, theta):
    """x [B, H, T, K]; halves are the pairs."""
    t, k = x.shape[2], x.shape[3]
    frequency = 1.0 / theta ** (torch.arange(0, k, 2, dtype=torch.float64) / k)
    angle = torch.outer(torch.arange(t, dtype=torch.float64), frequency)
    cos, sin = torch.cat([angle, angle], 1).cos().to(x.dtype), torch.cat([angle, angle], 1).sin().to(x.dtype)
    turned = torch.cat([-x[..., k // 2:], x[..., :k // 2]], dim=-1)
    return x * cos + turned * sin


def llama(c, w, tokens):
    b, t = tokens.shape
    d, h, g = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
    eps, theta = c["rms_norm_eps"], c["rope_theta"]
    x = w["model.embed_tokens.weight"][tokens]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        y = rms_norm(x, w[p + "input_layernorm.weight"], eps)
        q = rotate(F.linear(y, w[p + "self_attn.q_proj.weight"]).view(b, t, h, d // h).transpose(1, 2), theta)
        k = rotate(F.linear(y, w[p + "self_attn.k_proj.weight"]).view(b, t, g, d // h).transpose(1, 2), theta)
        v = F.linear(y, w[p + "self_attn.v_proj.weight"]).view(b, t, g, d // h).transpose(1, 2)
        k, v = k.repeat_interleave(h // g, dim=1), v.repeat_interleave(h // g, dim=1)
        y = causal_attention(q, k, v).transpose(1, 2).reshape(b, t, d)
        x = x + F.linear(y, w[p + "self_attn.o_proj.weight"])
        y = rms_norm(x, w[p + "post_attention_layernorm.weight"], eps)
        y = F.silu(F.linear(y, w[p + "mlp.gate_proj.weight"])) * F.linear(y, w[p + "mlp.up_proj.weight"])
        x = x + F.linear(y, w[p + "mlp.down_proj.weight"])
    return F.linear(rms_norm(x, w["model.norm.weight"], eps), w["lm_head.weight"])


MODELS = {"gpt2": (gpt2_shapes, gpt2, 1), "llama": (llama_shapes, llama, 2)}


def make_batches():
    """Windows of bytes; -1 marks targets that do not count, another number of them in each step."""
    text = np.frombuffer(open(TEXT, "rb").read(), np.uint8)
    rng = np.random.default_rng(3)
    starts = rng.integers(0, len(text) - TOKENS - 1, (STEPS, BATCH))
    windows = np.stack([[text[s:s + TOKENS + 1] for s in row] for row in starts]).astype(np.int32)
    tokens, targets = windows[..., :-1].copy(), windows[..., 1:].copy()
    targets[rng.random(targets.shape) < rng.random((STEPS, 1, 1)) * 0.2] = -1
    return {"tokens": tokens, "targets": targets}


def train(kind, init, batches, dtype):
    config, (_, forward, _) = CONFIGS[kind], MODELS[kind]
    weights = {n: torch.nn.Parameter(torch.tensor(a.copy()).to(dtype)) for n, a in init.items()}
    groups = [dict(params=[w for w in weights.values() if w.dim() >= 2], weight_decay=OPTIONS["weight_decay"]),
              dict(params=[w for w in weights.values() if w.dim() < 2], weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=OPTIONS["lr"], betas=(OPTIONS["beta1"], OPTIONS["beta2"]),
                                  eps=OPTIONS["eps"])
    losses, norms = [], []
    for step in range(STEPS):
        tokens = torch.tensor(batches["tokens"][step], dtype=torch.long)
        targets = torch.tensor(batches["targets"][step], dtype=torch.long)
        logits = forward(config, weights, tokens)
        loss = F.cross_entropy(logits.view(-1, VOCAB), targets.view(-1), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(weights.values(), OPTIONS["clip"])))
        optimizer.step()
        losses.append(float(loss))
    return losses, norms


def main():
    folder, reuse = sys.argv[1], "--reuse" in sys.argv[2:]
    torch.set_num_threads(1)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "batches.safetensors")
    if not reuse:
        write_safetensors(path, make_batches())
    batches = read_safetensors(path)
    for kind, (shapes, _, seed) in MODELS.items():
        path = os.path.join(folder, f"{kind}_init.safetensors")
        if not reuse:
            write_safetensors(path, make_init(shapes(CONFIGS[kind]), seed))
        init = read_safetensors(path)
        losses, norms = train(kind, init, batches, torch.float32)
        wide_losses, _ = train(kind, init, batches, torch.float64)
        rows = [f'  "{name}": [' + ", ".join("%.9g" % v for v in values) + "]"
                for name, values in (("losses", losses), ("losses_f64", wide_losses), ("norms", norms))]
        with open(os.path.join(folder, f"{kind}.json"), "w") as f:
            f.write('{\n  "config": ' + json.dumps(CONFIGS[kind]) + ',\n  "options": ' + json.dumps(OPTIONS) + ",\n")
            f.write(f'  "batch": {BATCH}, "tokens": {TOKENS},\n' + ",\n".join(rows) + "\n}\n")
        gap = max(abs(a - b) for a, b in zip(losses, wide_losses))
        print(f"{kind}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, float32 against float64 {gap:.2g}")


if __name__ == "__main__":
    main()
