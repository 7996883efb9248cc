"""Peer of test_tokenizer_peer.c: what Hugging Face tokenizers makes of the same texts.

usage: tokenizer_peer.py FOLDER. Reads FOLDER/cases.json (a list of texts) and FOLDER/ours.json (a tokenizer saved by
lockstep), trains tokenizers of several families on the cases, and writes for each NAME.json a NAME.ids.json.
Exits with 77 when the package is not installed.
"""
import json
import sys

try:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
except ImportError:
    sys.exit(77)

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def families():
    byte_level = pre_tokenizers.ByteLevel
    yield "gpt2", byte_level(add_prefix_space=False)
    yield "llama3", pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated"),
            byte_level(add_prefix_space=False, use_regex=False),
        ]
    )
    yield "smollm", pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), byte_level(add_prefix_space=False)]
    )


def write_ids(folder, name, tokenizer, cases):
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in cases]
    with open(f"{folder}/{name}.ids.json", "w") as file:
        json.dump(ids, file)


def main(folder):
    with open(f"{folder}/cases.json", encoding="utf-8") as file:
        cases = json.load(file)
    ours = Tokenizer.from_file(f"{folder}/ours.json")
    write_ids(folder, "ours", ours, cases)
    for text in cases:
        back = ours.decode(ours.encode(text).ids, skip_special_tokens=False)
        assert back == text, (text, back)
    for name, pre in families():
        tokenizer = Tokenizer(models.BPE(ignore_merges=name == "llama3"))
        tokenizer.pre_tokenizer = pre
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=700,
            show_progress=False,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        tokenizer.train_from_iterator(cases, trainer)
        tokenizer.save(f"{folder}/{name}.json")
        write_ids(folder, name, tokenizer, cases)
    # merges as our trainer should find them
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        min_frequency=2,
        show_progress=False,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train(["examples/data/tiny.txt"], trainer)
    tokenizer.save(f"{folder}/trained.json")


if __name__ == "__main__":
    main(sys.argv[1])
