"""One rank of the peer's side of bench/compare/checkpoint.sh: the state of a GPT-2 in f32 with AdamW's moments, cut among ranks by FSDP
(fully_shard), saved and loaded by torch.distributed.checkpoint. RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say who it is.
Rank 0 prints lines "what seconds bytes": the time of the slowest rank, the bytes of all ranks together, as bench/ckpt/bench_ckpt.c does.
Files are put out of the page cache (posix_fadvise) before they are loaded."""
import argparse
import os
import shutil
import time

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from ddp import GPT2, SHAPES
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

SHAPES["small"] = (2, 64, 2, 64, 512)


def make_state(shape):
    """A model and its optimizer after one step: moments are there."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = GPT2(*SHAPES[shape])
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.randint(0, 256, (1, 9))
    model(ids[:, :-1], ids[:, 1:]).backward()
    optimizer.step()
    optimizer.zero_grad()
    weights, moments = get_state_dict(model, optimizer)
    weights.pop("head.weight")  # tied: the same as wte.weight
    return {"model": weights, "optimizer": moments}


def local_bytes(state):
    if isinstance(state, dict):
        return sum(local_bytes(value) for value in state.values())
    if isinstance(state, (list, tuple)):
        return sum(local_bytes(value) for value in state)
    if isinstance(state, torch.Tensor):
        local = state.to_local() if hasattr(state, "to_local") else state
        return local.numel() * local.element_size()
    return 0


def tell(what, seconds, size):
    mine = torch.tensor([seconds, float(size)], dtype=torch.float64)
    ranks = [torch.zeros_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(ranks, mine)
    if dist.get_rank() == 0:
        slowest, total = max(r[0].item() for r in ranks), sum(r[1].item() for r in ranks)
        print(f"{what} {slowest:.6f} {int(total)}", flush=True)


def fresh(folder):
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        os.sync()  # what was removed must not be charged to what comes next
    dist.barrier()


def forget(folder):
    """Out of the page cache."""
    if dist.get_rank() == 0:
        for name in os.listdir(folder):
            fd = os.open(os.path.join(folder, name), os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
    dist.barrier()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=list(SHAPES), default="gpt2_124m")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(1)
    state = make_state(options.model)
    size = local_bytes(state)
    folder = os.path.join(options.dir, "peer")
    # cache_staged_state_dict would keep the copy's memory from save to save, but pins it, which needs a GPU's driver.
    for _ in range(options.times):
        fresh(folder)
        begun = time.perf_counter()
        dcp.save(state, storage_writer=dcp.FileSystemWriter(folder))
        tell("save", time.perf_counter() - begun, size)
        forget(folder)
        begun = time.perf_counter()
        dcp.load(state, storage_reader=dcp.FileSystemReader(folder))
        dist.barrier()
        tell("load", time.perf_counter() - begun, size)
        fresh(folder)
        begun = time.perf_counter()
        done = dcp.async_save(state, storage_writer=dcp.FileSystemWriter(folder))
        stall = time.perf_counter() - begun
        done.result()
        total = time.perf_counter() - begun
        tell("async_stall", stall, size)
        tell("async_total", total, size)
    fresh(folder)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
