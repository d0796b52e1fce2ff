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
import re
import shutil
import sys

import torch
from gguf import GGUFReader, dequantize
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from make_tiny_checkpoints import CASES as MODELS

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
    # Linears of single experts (EXPERTS), beside others.
    "mixtral_experts": ("mixtral", dict(r=3, lora_alpha=6, target_modules=["q_proj"])),
    "qwen2_moe_experts": ("qwen2_moe", dict(
        r=2, lora_alpha=3, use_rslora=True, target_modules=["gate_proj", "up_proj", "down_proj"],
        rank_pattern={r"experts\.[0-3]\.down_proj": 5}, alpha_pattern={r"experts\.7\.up_proj": 9})),
    "deepseek_v3_experts": ("deepseek_v3", dict(r=2, lora_alpha=4, target_modules=["q_b_proj"])),
    "gguf_qwen3_moe_experts": ("gguf_qwen3_moe", dict(r=2, lora_alpha=4,
                                                      target_modules=["o_proj"])),
    "qwen3_moe_d128_experts": ("qwen3_moe_d128", dict(r=8, lora_alpha=16,
                                                      target_modules=["q_proj"])),
    "qwen3_moe_d128_attention": ("qwen3_moe_d128", dict(r=4, lora_alpha=4,
                                                        target_modules=["q_proj", "o_proj"])),
    # Whole stacks of experts.
    "qwen3_moe_stacks": ("qwen3_moe", dict(
        r=3, lora_alpha=6, target_modules=["v_proj"],
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        rank_pattern={r"mlp\.experts\.down_proj": 5})),
    "mixtral_stacks": ("mixtral", dict(r=4, lora_alpha=8, target_modules=[],
                                       target_parameters=["mlp.experts.gate_up_proj"])),
    "gpt_oss_stacks": ("gpt_oss", dict(
        r=2, lora_alpha=4, target_modules=["q_proj"],
        target_parameters=["experts.gate_up_proj", "experts.down_proj"])),
    "qwen3_moe_d128_stacks": ("qwen3_moe_d128", dict(
        r=4, lora_alpha=8, target_modules=["o_proj"],
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])),
}

# Linears of single experts, as transformers had them before it stacked them: PEFT no longer makes
# such adapters, so that they are written and merged here. The names of an expert's module, and of
# its gate, up and down, of those that are adapted.
USUAL = ("mlp.experts.{}.", {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"})
EXPERTS = {
    "mixtral_experts": ("block_sparse_moe.experts.{}.", {"gate": "w1", "up": "w3", "down": "w2"}),
    "qwen2_moe_experts": USUAL,
    "deepseek_v3_experts": (USUAL[0], {"gate": "gate_proj", "down": "down_proj"}),
    "gguf_qwen3_moe_experts": USUAL,
    "qwen3_moe_d128_experts": USUAL,
}

# Merging would change the embedding with the head, which an adapter of the head alone does not.
UNMERGED = {"tied_head"}


def load_qwen3_moe(file):
    """A GGUF file of Qwen3-MoE, which transformers does not load."""
    model = AutoModelForCausalLM.from_config(MODELS["qwen3_moe"], dtype=torch.float32,
                                             attn_implementation="eager")
    values = {tensor.name: torch.tensor(dequantize(tensor.data, tensor.tensor_type))
              for tensor in GGUFReader(file).tensors}
    places = {"token_embd.weight": model.model.embed_tokens, "output.weight": model.lm_head,
              "output_norm.weight": model.model.norm}
    with torch.no_grad():
        for i, layer in enumerate(model.model.layers):
            attention, mlp, blk = layer.self_attn, layer.mlp, f"blk.{i}."
            for name, module in {
                    "attn_norm": layer.input_layernorm, "ffn_norm": layer.post_attention_layernorm,
                    "attn_q": attention.q_proj, "attn_k": attention.k_proj,
                    "attn_v": attention.v_proj, "attn_output": attention.o_proj,
                    "attn_q_norm": attention.q_norm, "attn_k_norm": attention.k_norm,
                    "ffn_gate_inp": mlp.gate}.items():
                places[f"{blk}{name}.weight"] = module
            stacks = [values.pop(f"{blk}ffn_{name}_exps.weight") for name in ("gate", "up", "down")]
            mlp.experts.gate_up_proj.copy_(torch.cat(stacks[:2], 1))
            mlp.experts.down_proj.copy_(stacks[2])
        for name, value in values.items():
            places[name].weight.copy_(value)
    return model


def load_base(directory):
    if directory.name == "gguf_qwen3_moe":
        return load_qwen3_moe(directory / "model.gguf")
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


def value_of(pattern, module, otherwise):
    """As PEFT takes ranks and factors from its patterns."""
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return otherwise


def add_experts(model, target, names, options, seed):
    """Adapters of single experts, to a saved adapter and to its merged model."""
    prefix, parts = names
    generator = torch.Generator().manual_seed(seed + 1000)

    def random(*shape):
        values = torch.randn(shape, generator=generator) * 1.5 / shape[-1] ** 0.5
        return values.to(torch.bfloat16).float()

    tensors = load_file(target / "adapter_model.safetensors")
    for number, layer in enumerate(model.model.layers):
        if not hasattr(layer.mlp, "experts"):
            continue
        stacks = layer.mlp.experts
        inner = stacks.down_proj.shape[2]
        for expert in range(stacks.down_proj.shape[0]):
            rows = {"gate": stacks.gate_up_proj.data[expert][:inner],
                    "up": stacks.gate_up_proj.data[expert][inner:],
                    "down": stacks.down_proj.data[expert]}
            for part, name in parts.items():
                module = f"model.layers.{number}." + prefix.format(expert) + name
                rank = value_of(options.get("rank_pattern", {}), module, options["r"])
                alpha = value_of(options.get("alpha_pattern", {}), module, options["lora_alpha"])
                scale = alpha / (rank ** 0.5 if options.get("use_rslora") else rank)
                a, b = random(rank, rows[part].shape[1]), random(rows[part].shape[0], rank)
                rows[part] += scale * b @ a
                tensors[f"base_model.model.{module}.lora_A.weight"] = a
                tensors[f"base_model.model.{module}.lora_B.weight"] = b
    save_file(tensors, target / "adapter_model.safetensors", {"format": "pt"})
    config = json.loads((target / "adapter_config.json").read_text())
    config["target_modules"] = sorted(set(config["target_modules"]) | set(parts.values()))
    (target / "adapter_config.json").write_text(json.dumps(config))


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
            if name in EXPERTS:
                add_experts(model, target, EXPERTS[name], options, seed)
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
