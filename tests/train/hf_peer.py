#!/usr/bin/env python3
"""Loads a checkpoint folder with Hugging Face's transformers and prints the loss of the first golden batch.

Usage: hf_peer.py FOLDER BATCHES.safetensors. Fails when a weight is missing, left over or of another shape.
"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

folder, batches = sys.argv[1:3]
config = AutoConfig.from_pretrained(folder)
model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
for key in ("unexpected_keys", "mismatched_keys", "error_msgs"):
    assert not info[key], (key, info[key])
missing = [k for k in info["missing_keys"] if not (config.tie_word_embeddings and k == "lm_head.weight")]
assert not missing, missing
data = load_file(batches)
tokens, targets = data["tokens"][0].long(), data["targets"][0].long()
with torch.no_grad():
    logits = model.eval()(tokens).logits
print("%.9g" % F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1), ignore_index=-1))
