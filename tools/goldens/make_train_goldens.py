#!/usr/bin/env python3
"""Makes tests/train/golden/: what PyTorch's losses are over 100 steps of a small GPT-2 and a small Llama, 40 of a ResNet
and a perceptron.

Plain PyTorch, no model library: the architectures are written out below under Hugging Face's (torchvision's) parameter
names. Each run starts from <kind>_init.safetensors, reads batches.safetensors (images.safetensors), and writes
<kind>.json: the configuration, the options, per step the loss (mean over counted targets) and the gradient norm before
clipping, and for images the loss and the correct answers on the first batch afterwards, in evaluation form.
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
OPTIONS = dict(beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.1, clip=1.0)
# At these learning rates float32 and float64 stay within 2e-5; at 0.003 rounding alone moves gpt2's loss by 4e-4.
LR = dict(gpt2=0.001, llama=0.001, resnet=0.01, mlp=0.003)
CONFIGS = {
    "gpt2": dict(model_type="gpt2", vocab_size=VOCAB, n_positions=40, n_embd=32, n_layer=4, n_head=4,
                 n_inner=None, layer_norm_epsilon=1e-5, initializer_range=0.02, resid_pdrop=0.0,
                 activation_function="gelu_new", tie_word_embeddings=True),
    "llama": dict(model_type="llama", vocab_size=VOCAB, max_position_embeddings=32, hidden_size=32,
                  num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, intermediate_size=80,
                  rms_norm_eps=1e-6, rope_theta=10000.0, initializer_range=0.02, hidden_act="silu",
                  tie_word_embeddings=False),
    "resnet": dict(model_type="lockstep_resnet", layers=1, width=4, heads=1, kv_heads=0, hidden=0, vocab=0, context=1,
                   tied=False, dropout=0.0, rope_theta=10000.0, norm_eps=1e-5, label_smoothing=0.0, init_std=0.02,
                   classes=5, channels=2, image=9, stages=2, stem_stride=1, norm_momentum=0.1),
}
CONFIGS["mlp"] = dict(CONFIGS["resnet"], model_type="lockstep_mlp", layers=2, width=16)
IMAGE_STEPS, IMAGES = 40, 8
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
        if len(shape) == 4:
            a *= math.sqrt(2 / np.prod(shape[1:]))
        elif len(shape) == 2 and (name.startswith("layers.") or name == "head.weight"):
            a *= math.sqrt(2 / shape[1])
        elif len(shape) == 2:
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


def resnet_shapes(c):
    w, k = c["width"], c["classes"]
    convs = {"conv1": (w, c["channels"], 3, 3), "layer1.0.conv1": (w, w, 3, 3), "layer1.0.conv2": (w, w, 3, 3),
             "layer2.0.conv1": (2 * w, w, 3, 3), "layer2.0.conv2": (2 * w, 2 * w, 3, 3),
             "layer2.0.downsample.0": (2 * w, w, 1, 1)}
    shapes = {}
    for name, shape in convs.items():
        norm = name.replace("conv", "bn").replace("downsample.0", "downsample.1")
        shapes.update({name + ".weight": shape, norm + ".weight": shape[:1], norm + ".bias": shape[:1]})
    shapes.update({"fc.weight": (k, 2 * w), "fc.bias": (k,)})
    return shapes


def resnet(c, w, images, running=None, training=True):
    """running: name of a norm -> [mean, var], changed in place while training."""
    running = {} if running is None else running

    def norm(name, x):
        n = len(w[name + ".weight"])
        mean, var = running.setdefault(name, [torch.zeros(n, dtype=x.dtype), torch.ones(n, dtype=x.dtype)])
        return F.batch_norm(x, mean, var, w[name + ".weight"], w[name + ".bias"], training, c["norm_momentum"],
                            c["norm_eps"])

    x = F.relu(norm("bn1", F.conv2d(images, w["conv1.weight"], padding=1)))
    for stage in (1, 2):
        p = f"layer{stage}.0."
        y = F.relu(norm(p + "bn1", F.conv2d(x, w[p + "conv1.weight"], stride=stage, padding=1)))
        y = norm(p + "bn2", F.conv2d(y, w[p + "conv2.weight"], padding=1))
        if stage > 1:
            x = norm(p + "downsample.1", F.conv2d(x, w[p + "downsample.0.weight"], stride=stage))
        x = F.relu(x + y)
    return F.linear(x.mean((2, 3)), w["fc.weight"], w["fc.bias"])


def mlp_shapes(c):
    d, n = c["width"], c["channels"] * c["image"] ** 2
    return {"layers.0.weight": (d, n), "layers.0.bias": (d,), "layers.1.weight": (d, d), "layers.1.bias": (d,),
            "head.weight": (c["classes"], d), "head.bias": (c["classes"],)}


def mlp(c, w, images, running=None, training=True):
    x = images.flatten(1)
    for i in range(c["layers"]):
        x = F.relu(F.linear(x, w[f"layers.{i}.weight"], w[f"layers.{i}.bias"]))
    return F.linear(x, w["head.weight"], w["head.bias"])


MODELS = {"gpt2": (gpt2_shapes, gpt2, 1), "llama": (llama_shapes, llama, 2), "resnet": (resnet_shapes, resnet, 4),
          "mlp": (mlp_shapes, mlp, 6)}
IMAGE_KINDS = ("resnet", "mlp")


def make_batches():
    """Windows of bytes; -1 marks targets that do not count, another number of them in each step."""
    text = np.frombuffer(open(TEXT, "rb").read(), np.uint8)
    rng = np.random.default_rng(3)
    starts = rng.integers(0, len(text) - TOKENS - 1, (STEPS, BATCH))
    windows = np.stack([[text[s:s + TOKENS + 1] for s in row] for row in starts]).astype(np.int32)
    tokens, targets = windows[..., :-1].copy(), windows[..., 1:].copy()
    targets[rng.random(targets.shape) < rng.random((STEPS, 1, 1)) * 0.2] = -1
    return {"tokens": tokens, "targets": targets}


def make_images():
    """Noise around one picture per class."""
    c = CONFIGS["resnet"]
    rng = np.random.default_rng(5)
    pictures = rng.standard_normal((c["classes"], c["channels"], c["image"], c["image"]))
    labels = rng.integers(0, c["classes"], (IMAGE_STEPS, IMAGES))
    images = pictures[labels] + 0.7 * rng.standard_normal((IMAGE_STEPS, IMAGES) + pictures.shape[1:])
    return {"images": images.astype(np.float32), "labels": labels.astype(np.int32)}


def make_optimizer(weights, lr):
    groups = [dict(params=[w for w in weights.values() if w.dim() >= 2], weight_decay=OPTIONS["weight_decay"]),
              dict(params=[w for w in weights.values() if w.dim() < 2], weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=lr, betas=(OPTIONS["beta1"], OPTIONS["beta2"]), eps=OPTIONS["eps"])


def train(kind, init, inputs, targets, dtype):
    """inputs, targets: one entry a step. Returns {losses, norms} and for images {eval_loss, eval_correct}."""
    config, (_, forward, _) = CONFIGS[kind], MODELS[kind]
    weights = {n: torch.nn.Parameter(torch.tensor(a.copy()).to(dtype)) for n, a in init.items()}
    optimizer = make_optimizer(weights, LR[kind])
    running, extra = {}, ()
    if kind in IMAGE_KINDS:
        inputs, extra = inputs.to(dtype), (running,)
    losses, norms = [], []
    for x, y in zip(inputs, targets):
        logits = forward(config, weights, x, *extra)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(weights.values(), OPTIONS["clip"])))
        optimizer.step()
        losses.append(float(loss))
    out = dict(losses=losses, norms=norms)
    if kind in IMAGE_KINDS:
        logits = forward(config, weights, inputs[0], running, training=False)
        out["eval_loss"] = [float(F.cross_entropy(logits, targets[0]))]
        out["eval_correct"] = [float((logits.argmax(1) == targets[0]).sum())]
    return out


def main():
    folder, reuse = sys.argv[1], "--reuse" in sys.argv[2:]
    torch.set_num_threads(1)
    os.makedirs(folder, exist_ok=True)
    data = {}
    for name, make in (("batches", make_batches), ("images", make_images)):
        path = os.path.join(folder, name + ".safetensors")
        if not reuse:
            write_safetensors(path, make())
        data.update(read_safetensors(path))
    for kind, (shapes, _, seed) in MODELS.items():
        path = os.path.join(folder, f"{kind}_init.safetensors")
        if not reuse:
            write_safetensors(path, make_init(shapes(CONFIGS[kind]), seed))
        init = read_safetensors(path)
        names = ("images", "labels") if kind in IMAGE_KINDS else ("tokens", "targets")
        inputs, targets = (torch.tensor(data[n].copy()) for n in names)
        inputs = inputs if kind in IMAGE_KINDS else inputs.long()
        out = train(kind, init, inputs, targets.long(), torch.float32)
        out["losses_f64"] = train(kind, init, inputs, targets.long(), torch.float64)["losses"]
        rows = [f'  "{name}": [' + ", ".join("%.9g" % v for v in values) + "]" for name, values in out.items()]
        with open(os.path.join(folder, f"{kind}.json"), "w") as f:
            f.write('{\n  "config": ' + json.dumps(CONFIGS[kind]) + ',\n  "options": ' + json.dumps(dict(OPTIONS, lr=LR[kind])) + ",\n")
            f.write(f'  "batch": {len(targets[0])}, "tokens": {TOKENS},\n' + ",\n".join(rows) + "\n}\n")
        losses = out["losses"]
        gap = max(abs(a - b) for a, b in zip(losses, out["losses_f64"]))
        print(f"{kind}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, float32 against float64 {gap:.2g}")


if __name__ == "__main__":
    main()
