"""Files that llm.c's train_gpt2 reads, with random contents: the GPT-2 124M it starts from and two token files (little-endian; a header of
256 32-bit words, then the values). usage: llmc_files.py FOLDER"""
import array
import os
import random
import sys

LAYERS, WIDTH, HEADS, CONTEXT, VOCAB, PADDED = 12, 768, 12, 1024, 50257, 50304
TOKENS = 65536  # at least a batch of every window; below 256, as for the other peers
TILE = 1 << 20


def header(*words):
    return array.array("i", list(words) + [0] * (256 - len(words)))


def write_model(path):
    tile = array.array("f", (random.gauss(0, 0.02) for _ in range(TILE)))
    layer, square = LAYERS * WIDTH, LAYERS * WIDTH * WIDTH

    def normal(n):
        while n > 0:
            tile[: min(n, TILE)].tofile(file)
            n -= TILE

    def constant(n, value):
        array.array("f", [value]).__mul__(n).tofile(file)

    def norm(n):
        constant(n, 1.0)
        constant(n, 0.0)

    with open(path, "wb") as file:
        header(20240326, 3, CONTEXT, VOCAB, LAYERS, HEADS, WIDTH, PADDED).tofile(file)
        normal(PADDED * WIDTH)
        normal(CONTEXT * WIDTH)
        norm(layer)
        for outputs, inputs in ((3, 1), (1, 1)):
            normal(outputs * inputs * square)
            constant(outputs * layer, 0.0)
        norm(layer)
        for outputs, inputs in ((4, 1), (1, 4)):
            normal(outputs * inputs * square)
            constant(outputs * layer, 0.0)
        norm(WIDTH)


def main():
    folder = sys.argv[1]
    random.seed(1)
    write_model(os.path.join(folder, "gpt2_124M.bin"))
    data = os.path.join(folder, "dev/data/tinyshakespeare")
    os.makedirs(data, exist_ok=True)
    for part in ("train", "val"):
        with open(os.path.join(data, f"tiny_shakespeare_{part}.bin"), "wb") as file:
            header(20240520, 1, TOKENS).tofile(file)
            array.array("H", (random.randrange(256) for _ in range(TOKENS))).tofile(file)


main()
