#!/usr/bin/env python3
"""Makes tests/unit/optim/golden/optim.json: what each optimizer does to random tensors over 50 steps.

PyTorch's optimizers run in float64 from float32 starting values and gradients; LAMB and Lion, which PyTorch lacks, are
the papers' formulas in NumPy float64 (You et al. 2020, algorithm 2, phi the identity; Chen et al. 2023, algorithm 2).
Needs torch (tried with 1.13.1) and numpy. Usage: make_optim_goldens.py OUT.json
"""
import json
import math
import sys

import numpy as np
import torch

STEPS = 50
CHECKPOINTS = (1, 10, 50)
SHAPES = ([7, 5], [11], [3, 2, 4])

# NAdam runs in its foreach form: the plain form of PyTorch 1.13 multiplies the momentum product by mu(t) once too often
# (PyTorch 2 has both right).
# name, options of ls_optim_options, PyTorch's class (None: formula below), its arguments
CASES = [
    ("sgd", dict(kind="sgd", lr=0.05, weight_decay=0.01), "SGD", {}),
    ("sgd_momentum", dict(kind="sgd", lr=0.02, momentum=0.9), "SGD", dict(momentum=0.9)),
    ("sgd_nesterov", dict(kind="sgd", lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.01), "SGD",
     dict(momentum=0.9, nesterov=True)),
    ("adam", dict(kind="adam", lr=0.01), "Adam", {}),
    ("adam_l2", dict(kind="adam", lr=0.01, beta1=0.8, beta2=0.99, weight_decay=0.1), "Adam", dict(betas=(0.8, 0.99))),
    ("adamw", dict(kind="adamw", lr=0.01, weight_decay=0.1), "AdamW", {}),
    ("adamw_betas", dict(kind="adamw", lr=0.003, beta1=0.95, beta2=0.95, eps=1e-5, weight_decay=0.3), "AdamW",
     dict(betas=(0.95, 0.95), eps=1e-5)),
    ("nadam", dict(kind="nadam", lr=0.01), "NAdam", dict(foreach=True)),
    ("nadam_l2", dict(kind="nadam", lr=0.01, beta1=0.95, weight_decay=0.1), "NAdam", dict(betas=(0.95, 0.999), foreach=True)),
    ("rmsprop", dict(kind="rmsprop", lr=0.01), "RMSprop", {}),
    ("rmsprop_momentum", dict(kind="rmsprop", lr=0.005, beta2=0.9, momentum=0.9, weight_decay=0.01), "RMSprop",
     dict(alpha=0.9, momentum=0.9)),
    ("rmsprop_centered", dict(kind="rmsprop", lr=0.01, centered=True), "RMSprop", dict(centered=True)),
    ("rmsprop_both", dict(kind="rmsprop", lr=0.005, centered=True, momentum=0.5), "RMSprop",
     dict(centered=True, momentum=0.5)),
    ("adagrad", dict(kind="adagrad", lr=0.05, weight_decay=0.01), "Adagrad", {}),
    ("adadelta", dict(kind="adadelta", lr=1.0), "Adadelta", {}),
    ("adadelta_l2", dict(kind="adadelta", lr=0.5, beta2=0.95, eps=1e-4, weight_decay=0.01), "Adadelta",
     dict(rho=0.95, eps=1e-4)),
    ("lamb", dict(kind="lamb", lr=0.01, weight_decay=0.1), None, {}),
    ("lamb_plain", dict(kind="lamb", lr=0.02, beta1=0.8, beta2=0.99, eps=1e-8), None, {}),
    ("lion", dict(kind="lion", lr=0.003, weight_decay=0.3), None, {}),
    # steps of exactly lr: a power of two, or float32 storage rounds every one the same way and 50 roundings add up to 2e-6
    ("lion_betas", dict(kind="lion", lr=1 / 1024, beta1=0.95, beta2=0.98), None, {}),
]
CLIPPED = ("adamw_clip", dict(kind="adamw", lr=0.01, weight_decay=0.1, clip=1.0), "AdamW", {})


def decay_of(options, shape):
    """Vectors have no weight decay."""
    return options.get("weight_decay", 0.0) if len(shape) >= 2 else 0.0


def run_torch(options, name, arguments, params, grads):
    tensors = [torch.nn.Parameter(torch.tensor(p, dtype=torch.float64)) for p in params]
    groups = [dict(params=[t], weight_decay=decay_of(options, t.shape)) for t in tensors]
    optimizer = getattr(torch.optim, name)(groups, lr=options["lr"], **arguments)
    for step in range(STEPS):
        for t, g in zip(tensors, grads[step]):
            t.grad = torch.tensor(g, dtype=torch.float64)
        if "clip" in options:
            torch.nn.utils.clip_grad_norm_(tensors, options["clip"])
        optimizer.step()
        if step + 1 in CHECKPOINTS:
            yield [t.detach().numpy().copy() for t in tensors]


def step_lamb(options, p, g, state, t, decay):
    beta1, beta2 = options.get("beta1", 0.9), options.get("beta2", 0.999)
    state[0] = beta1 * state[0] + (1 - beta1) * g
    state[1] = beta2 * state[1] + (1 - beta2) * g * g
    m, v = state[0] / (1 - beta1**t), state[1] / (1 - beta2**t)
    update = m / (np.sqrt(v) + options.get("eps", 1e-6)) + decay * p
    norm_p, norm_u = math.sqrt((p * p).sum()), math.sqrt((update * update).sum())
    trust = norm_p / norm_u if norm_p > 0 and norm_u > 0 else 1.0
    return p - options["lr"] * trust * update


def step_lion(options, p, g, state, t, decay):
    beta1, beta2 = options.get("beta1", 0.9), options.get("beta2", 0.99)
    update = np.sign(beta1 * state[0] + (1 - beta1) * g) + decay * p
    state[0] = beta2 * state[0] + (1 - beta2) * g
    return p - options["lr"] * update


def run_formula(options, params, grads):
    step_one = {"lamb": step_lamb, "lion": step_lion}[options["kind"]]
    params = [p.astype(np.float64) for p in params]
    states = [[np.zeros_like(p), np.zeros_like(p)] for p in params]
    for step in range(STEPS):
        for i, shape in enumerate(SHAPES):
            params[i] = step_one(options, params[i], grads[step][i].astype(np.float64), states[i], step + 1,
                                 decay_of(options, shape))
        if step + 1 in CHECKPOINTS:
            yield [p.copy() for p in params]


def make_inputs():
    """Starting values around 1; gradients of very different sizes, so that every epsilon and bias correction shows."""
    rng = np.random.Generator(np.random.PCG64(2024))
    params = [rng.standard_normal(s).astype(np.float32) for s in SHAPES]
    sizes = [10.0 ** rng.uniform(-3, 1, s) for s in SHAPES]
    shifts = [rng.standard_normal(s) * 0.3 for s in SHAPES]
    grads = [[((rng.standard_normal(s) + h) * z).astype(np.float32) for s, h, z in zip(SHAPES, shifts, sizes)]
             for _ in range(STEPS)]
    return params, grads


def flatten(tensors, digits):
    return [float(f"{x:.{digits}g}") for t in tensors for x in np.asarray(t).ravel().tolist()]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    params, grads = make_inputs()
    cases = []
    for name, options, torch_name, arguments in CASES + [CLIPPED]:
        run = (run_torch(options, torch_name, arguments, params, grads) if torch_name
               else run_formula(options, params, grads))
        cases.append(dict(name=name, options=options, params=[flatten(state, 12) for state in run]))
    golden = dict(made_by="tools/goldens/make_optim_goldens.py", torch=torch.__version__.split("+")[0], steps=STEPS,
                  checkpoints=CHECKPOINTS, shapes=SHAPES, start=flatten(params, 9),
                  grads=[flatten(g, 9) for g in grads], cases=cases)
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        # one line per member and case: the file can be read and compared
        text = json.dumps(golden, separators=(",", ":"))
        out.write(text.replace('"cases":[', '"cases":[\n').replace('},{"name"', '},\n{"name"')
                  + "\n")


if __name__ == "__main__":
    main()
