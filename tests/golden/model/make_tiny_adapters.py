#!/usr/bin/env python3
"""LoRA adapters of the tiny checkpoints, saved by PEFT, with what transformers (float32) makes of
the base model once each is merged into its weights (or beside them, where one table is two weights).

Writes a directory a case under tiny_adapters/: adapter_config.json, adapter_model.safetensors (f32),
and expected.json with the base model's directory, a prompt, the log-probabilities after it, and 16
greedy tokens.

    python make_tiny_adapters.py [CASE...]      # all of them if none is named

Needs torch (CPU), transformers, safetensors, peft, and gguf for the case of a GGUF file; made with
torch 2.11.0, transformers 5.23.0, peft 0.21.2.
"""
import json
import pathlib
import shutil
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
BASES = HERE / "tiny"
TARGET = HERE / "tiny_adapters"
PROMPT_TOKENS = 24
NUM_TOKENS = 16
MIN_GAP = 2e-3  # between the two highest logits of every step: no near ties in the fixture

LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

CASES = {
    # Some modules alone, of some layers.
    "llama3_qv": ("llama3", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])),
    "llama3_mlp": ("llama3", dict(r=2, lora_alpha=5, target_modules=["gate_proj", "down_proj"],
                                  layers_to_transform=[1])),
    # Every linear module, an expression, ranks and factors of their own.
    "llama3_all": ("llama3", dict(r=6, lora_alpha=9, use_rslora=True,
                                  target_modules=r".*\.(" + "|".join(LLAMA) + ")",
                                  rank_pattern={"k_proj": 3, r"layers\.0\.mlp\.up_proj": 8},
                                  alpha_pattern={r"model\.layers\.1\.self_attn\.o_proj": 4})),
    # Modules that hold several parts.
    "phi3_fused": ("phi3_window", dict(r=4, lora_alpha=8,
                                       target_modules=["qkv_proj", "gate_up_proj", "o_proj"])),
    "falcon_fused": ("falcon_new", dict(r=4, lora_alpha=8, target_modules="all-linear")),
    "gguf_llama": ("gguf_llama_k", dict(r=4, lora_alpha=8, target_modules=LLAMA)),
    # All of latent attention but kv_b_proj.
    "deepseek_v3_latent": ("deepseek_v3", dict(
        r=4, lora_alpha=8, target_modules=["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj"])),
    # As wide as the GPU's attention needs it.
    "llama3_d64_qv": ("llama3_d64", dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])),
    "llama3_d64_all": ("llama3_d64", dict(r=16, lora_alpha=16, target_modules=LLAMA)),
    # The vocabulary's two ends, alone and together with layers.
    "llama3_ends": ("llama3", dict(r=5, lora_alpha=10, target_modules=["embed_tokens", "lm_head"])),
    "llama3_d64_ends": ("llama3_d64", dict(r=8, lora_alpha=16, target_modules=[
        "embed_tokens", "q_proj", "down_proj", "lm_head"])),
    "tied_head": ("llama_mqa_bias_tied", dict(r=4, lora_alpha=8, target_modules=["lm_head"])),
}

# Merging would change the embedding with the head, which an adapter of the head alone does not.
UNMERGED = {"tied_head"}


def load_base(directory):
    files = list(directory.glob("*.gguf"))
    more = {"gguf_file": files[0].name} if files else {}
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32,
                                                attn_implementation="eager", **more)


def adapt(base, options, seed):
    model = get_peft_model(load_base(base), LoraConfig(task_type="CAUSAL_LM", **options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                deviation = 1.5 / parameter.shape[-1] ** 0.5
                values = torch.randn(parameter.shape, generator=generator)
                parameter.copy_((deviation * values).to(torch.bfloat16).float())
    return model.eval()


def expected(model, base, seed):
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randint(3, 96, (1, PROMPT_TOKENS), generator=generator)
    tokens, gap, first, text = [], 1e9, None, prompt
    with torch.no_grad():
        while len(tokens) < NUM_TOKENS:
            logits = model(text).logits[0, -1]
            first = torch.log_softmax(logits, -1) if first is None else first
            top = torch.topk(logits, 2).values
            gap = min(gap, float(top[0] - top[1]))
            tokens.append(int(logits.argmax()))
            text = torch.cat([text, torch.tensor([[tokens[-1]]])], 1)
    return gap, {"base": base, "prompt": prompt[0].tolist(),
                 "logprobs": [round(float(x), 6) for x in first], "greedy": tokens}


def main():
    for name in sys.argv[1:] or CASES:
        base, options = CASES[name]
        for seed in range(200):
            model = adapt(BASES / base, options, seed)
            target = TARGET / name
            shutil.rmtree(target, ignore_errors=True)
            model.save_pretrained(target)
            if name not in UNMERGED:
                model = model.merge_and_unload()
            gap, golden = expected(model, base, seed)
            if gap > MIN_GAP:
                break
        else:
            raise SystemExit(f"{name}: no seed without near ties")
        (target / "README.md").unlink(missing_ok=True)
        config = json.loads((target / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = base
        (target / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
        (target / "expected.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
