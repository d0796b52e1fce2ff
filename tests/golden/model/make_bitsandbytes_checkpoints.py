#!/usr/bin/env python3
"""Tiny random checkpoints as bitsandbytes saves them through transformers (load_in_8bit; nf4, also
quantized twice), with what transformers (float32) makes of the numbers that bitsandbytes unpacks.

Writes one directory a format under tiny/, as make_tiny_checkpoints.py does.

    python make_bitsandbytes_checkpoints.py

Needs torch, transformers, accelerate, bitsandbytes, on a CPU; made with torch 2.11.0, transformers
5.23.0, accelerate 1.15.0, bitsandbytes 0.50.2.
"""
import copy
import json
import shutil
import tempfile

import bitsandbytes
import torch
from make_tiny_checkpoints import BASE, HERE, MIN_GAP, expected, make_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

CONFIG = LlamaConfig(**{**BASE, "hidden_size": 64, "intermediate_size": 64})
FORMATS = {
    "llama_bnb8": BitsAndBytesConfig(load_in_8bit=True),
    "llama_nf4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                                    bnb_4bit_compute_dtype=torch.bfloat16),
    "llama_nf4_twice": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                                          bnb_4bit_use_double_quant=True,
                                          bnb_4bit_compute_dtype=torch.bfloat16),
}


def unpacked(module):
    weight = module.weight
    if isinstance(weight, bitsandbytes.nn.Int8Params):
        scales = weight.SCB if weight.SCB is not None else module.state.SCB
        return weight.data.float() * scales.float().unsqueeze(1) / 127
    state = weight.quant_state
    state.dtype = torch.float32
    return bitsandbytes.functional.dequantize_4bit(weight.data, state).float()


def quantize(model, quantization):
    """What bitsandbytes makes of `model`, and its modules by name."""
    with tempfile.TemporaryDirectory() as folder:
        copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)  # rounds the frequencies too
        packed = AutoModelForCausalLM.from_pretrained(folder, quantization_config=quantization,
                                                      dtype=torch.bfloat16, device_map="cpu")
    kinds = (bitsandbytes.nn.Linear8bitLt, bitsandbytes.nn.Linear4bit)
    modules = {name: module for name, module in packed.named_modules() if isinstance(module, kinds)}
    assert len(modules) == 14, list(modules)
    return packed, modules


def make(name, quantization):
    for seed in range(200):
        model = make_model(CONFIG, seed)
        packed, modules = quantize(model, quantization)
        target = HERE / name
        shutil.rmtree(target, ignore_errors=True)
        packed.save_pretrained(target)
        with torch.no_grad():
            for path, module in modules.items():
                model.get_submodule(path).weight.copy_(unpacked(module))
        gap, golden = expected(model, seed)
        if gap > MIN_GAP:
            break
    else:
        raise SystemExit("no seed without near ties")
    (target / "generation_config.json").unlink(missing_ok=True)
    (target / "expected.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


def main():
    torch.set_num_threads(1)
    for name, quantization in FORMATS.items():
        make(name, quantization)


if __name__ == "__main__":
    main()
