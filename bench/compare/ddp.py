"""One rank of the peer's side of bench/compare/ddp.sh: a GPT-2 trained by PyTorch's DDP or FSDP (fully_shard) on CPUs over gloo.
RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say who it is. Rank 0 prints the median tokens per second of the timed steps."""
import argparse
import statistics
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

SHAPES = {  # layers, width, heads, context, vocabulary
    "gpt2_124m": (12, 768, 12, 1024, 50257),
    "demo": (4, 256, 4, 128, 2048),
}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(self.ln_1(x)).split(d, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        x = x + self.proj(y)
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, layers, width, heads, context, vocab):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        self.head.weight = self.wte.weight
        nn.init.normal_(self.wte.weight, std=0.02)

    def forward(self, ids, targets):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.ln_f(x))
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def wrap(model, options):
    if options.kind == "ddp":
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
        if options.compress:
            from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

            model.register_comm_hook(None, bf16_compress_hook)
        return model
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    policy = MixedPrecisionPolicy()
    if options.precision == "bf16":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for block in model.blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    return fully_shard(model, mesh=mesh, mp_policy=policy)


def received():
    """Bytes that this network namespace received on eth0."""
    with open("/proc/net/dev") as lines:
        return sum(int(line.split(":")[1].split()[0]) for line in lines if line.strip().startswith("eth0:"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["ddp", "fsdp"])
    parser.add_argument("model", choices=list(SHAPES))
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--batch", type=int, help="sequences of a step, of all ranks")
    parser.add_argument("--window", type=int)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--compress", action="store_true", help="DDP's bf16 hook for gradients")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(1)
    model = wrap(GPT2(*SHAPES[options.model]), options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1)
    torch.manual_seed(2 + rank)
    seconds, before = [], 0
    for step in range(options.steps):
        before = received() if step == options.warmup else before
        ids = torch.randint(0, 256, (options.batch // size, options.window + 1))
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16" and options.kind == "ddp"):
            loss = model(ids[:, :-1], ids[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        seconds.append(time.perf_counter() - begun)
    if rank == 0:
        tokens = options.batch * options.window
        bytes_of_step = (received() - before) // (options.steps - options.warmup)
        print(f"tokens_per_second {tokens / statistics.median(seconds[options.warmup:]):.1f} loss {loss.item():.3f}", end="")
        print(f" bytes {bytes_of_step}", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
