#!/usr/bin/env python3
"""A tiny random checkpoint as auto-round saves it (4 bits, groups of 32, one module of 8 bits and one
left alone), with what transformers (float32) makes of the numbers that auto-round's own layers unpack.

Writes tiny/llama_auto_round, as make_tiny_checkpoints.py does.

    HF_HUB_OFFLINE=1 python make_auto_round_checkpoint.py

Needs torch, transformers, tokenizers, auto-round, on a CPU; made with torch 2.11.0, transformers
5.23.0, auto-round 0.16.1.
"""
import copy
import json
import pathlib
import shutil
import tempfile

import torch
from auto_round import AutoRound
from make_tiny_checkpoints import BASE, HERE, MIN_GAP, expected, make_model
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

CONFIG = LlamaConfig(**{**BASE, "hidden_size": 64, "intermediate_size": 96})
LAYERS = {"model.layers.1.mlp.down_proj": {"bits": 16},
          "model.layers.0.self_attn.o_proj": {"bits": 8, "group_size": 32}}


def save(model, folder):
    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(BASE["vocab_size"])}, unk_token="t0"))
    AutoRound(copy.deepcopy(model).to(torch.bfloat16), PreTrainedTokenizerFast(tokenizer_object=words),
              scheme="W4A16", group_size=32, sym=True, iters=0, disable_opt_rtn=True,
              layer_config=copy.deepcopy(LAYERS),
              device_map="cpu").quantize_and_save(folder, format="auto_round")
    return next(path.parent for path in pathlib.Path(folder).rglob("config.json"))


def take_unpacked(model, folder):
    """`model` gets the weights that the saved files mean."""
    packed = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="cpu")
    modules = {name: module for name, module in packed.named_modules() if hasattr(module, "qweight")}
    assert len(modules) == 13, list(modules)
    for name, module in modules.items():
        plain = model.get_submodule(name)
        with torch.no_grad():
            module.scales = module.scales.float()  # not rounded to f16 once more
            weight = module(torch.eye(plain.in_features)).t()
            error = (weight - plain.weight).abs().max() / plain.weight.abs().max()
            assert error < 0.2, (name, float(error))
            plain.weight.copy_(weight)


def main():
    torch.set_num_threads(1)
    target = HERE / "llama_auto_round"
    for seed in range(3, 200):
        model = make_model(CONFIG, seed)
        model.config.architectures = [type(model).__name__]
        with tempfile.TemporaryDirectory() as folder:
            saved = save(model, folder)
            take_unpacked(model, saved)
            gap, golden = expected(model, seed)
            if gap <= MIN_GAP:
                continue
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for name in ("config.json", "model.safetensors"):
                shutil.copy(saved / name, target / name)
        (target / "expected.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        return
    raise SystemExit("no seed without near ties")


if __name__ == "__main__":
    main()
