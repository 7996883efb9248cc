"""The peer's side of bench/compare/train.sh: the same networks as Lockstep's, trained by PyTorch in one process, as it is written or compiled.
Prints the median rate of the timed steps; FIRST gets a line at the end of the first step."""
import argparse
import contextlib
import statistics
import time

import torch
import torch.nn.functional as F
from ddp import GPT2, SHAPES
from torch import nn

WARMUP = 2


class LlamaBlock(nn.Module):
    """src/model/llama.c: weights without bias, rotary positions on halves, gated feed-forward."""

    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads = heads
        self.input_norm, self.post_norm = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate_up, self.down = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def forward(self, x, cos, sin):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(self.input_norm(x)).split(d, dim=2))
        cos, sin = cos.to(q.dtype), sin.to(q.dtype)
        q, k = (y * cos + rotate(y) * sin for y in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        gate, up = self.gate_up(self.post_norm(x)).chunk(2, dim=2)
        return x + self.down(F.silu(gate) * up)


def rotate(y):
    half = y.shape[-1] // 2
    return torch.cat((-y[..., half:], y[..., :half]), -1)


class Llama(nn.Module):
    def __init__(self, layers, width, heads, hidden, context, vocab, theta):
        super().__init__()
        self.wte = nn.Embedding(vocab, width)
        self.blocks = nn.ModuleList(LlamaBlock(width, heads, hidden) for _ in range(layers))
        self.norm, self.head = nn.RMSNorm(width, eps=1e-5), nn.Linear(width, vocab, bias=False)
        self.head.weight = self.wte.weight
        nn.init.normal_(self.wte.weight, std=0.05)
        k = width // heads
        angles = torch.outer(torch.arange(context).float(), theta ** (-torch.arange(0, k, 2).float() / k)).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids, targets):
        x = self.wte(ids)
        for block in self.blocks:
            x = block(x, self.cos[: ids.shape[1]], self.sin[: ids.shape[1]])
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1).float(), targets.flatten())


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """src/model/resnet.c: a 3x3 stem, stages of basic blocks, the mean over the image, a linear head."""

    def __init__(self, layers, width, stages, stem_stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, width, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(width)
        blocks, inputs = [], width
        for stage in range(stages):
            for i in range(layers):
                blocks.append(BasicBlock(inputs, width << stage, 2 if stage > 0 and i == 0 else 1))
                inputs = width << stage
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(inputs, 10)

    def forward(self, images, labels):
        x = self.blocks(F.relu(self.bn1(self.conv1(images))))
        return F.cross_entropy(self.fc(x.mean((2, 3))).float(), labels)


MODELS = {
    "gpt2_124m_64": lambda: GPT2(*SHAPES["gpt2_124m"]),
    "gpt2_124m_1024": lambda: GPT2(*SHAPES["gpt2_124m"]),
    "demo": lambda: Llama(4, 256, 4, 768, 128, 2048, 200.0),
    "resnet": lambda: ResNet(1, 32, 3, 2),
    "resnet18": lambda: ResNet(2, 64, 4, 2),
}


def draw(options):
    if options.images:
        images = torch.rand(options.batch, 1, 28, 28)
        if options.channels_last:
            images = images.to(memory_format=torch.channels_last)
        return images, torch.randint(0, 10, (options.batch,))
    ids = torch.randint(0, 256, (options.batch, options.window + 1))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("kind", choices=["eager", "compile"])
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--window", type=int)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--mode", default="default", help="of torch.compile")
    parser.add_argument("--first", default="/dev/null", help="file that gets a line at the end of the first step")
    options = parser.parse_args()
    options.images = options.model.startswith("resnet")
    return options


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    network = MODELS[options.model]()
    if options.channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    run = torch.compile(network, mode=options.mode) if options.kind == "compile" else network
    cast = torch.autocast("cpu", torch.bfloat16) if options.precision == "bf16" else contextlib.nullcontext()
    seconds = []
    for step in range(options.steps):
        inputs, targets = draw(options)
        begun = time.perf_counter()
        with cast:
            loss = run(inputs, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        seconds.append(time.perf_counter() - begun)
        if step == 0:
            with open(options.first, "w") as file:
                print("first step", file=file)
    items = options.batch * (1 if options.images else options.window)
    parameters = sum(p.numel() for p in network.parameters())
    print(f"rate {items / statistics.median(seconds[WARMUP:] or seconds):.1f} loss {loss.item():.3f} parameters {parameters}", flush=True)


if __name__ == "__main__":
    main()
