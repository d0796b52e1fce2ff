#!/usr/bin/env python3
"""Random checkpoints of every family on a GPU: pingti's worker against transformers on the same card.

    python compare_transformers.py path/to/model_logprobs

For each family a checkpoint of random bf16 weights is written; transformers computes its
log-probabilities in float32 (the truth) and bf16; pingti in bf16 and int8. pingti's bf16 may be at
most 1.5 times as far from the truth as transformers' own bf16; its int8 weights and its int8 KV cache are
reported as KL. Exits
with 1 if a bound is broken, with 77 without a GPU. Needs torch, transformers, safetensors.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from transformers import (AutoModelForCausalLM, DeepseekV2Config, DeepseekV3Config, LlamaConfig,
                          MistralConfig, Qwen2Config, Qwen3Config)

MAX_RATIO = 1.5
MAX_INT8_KL = 0.025
TOKENS = 90
BASE = dict(vocab_size=512, hidden_size=512, intermediate_size=1408, num_hidden_layers=4,
            num_attention_heads=8, num_key_value_heads=2, max_position_embeddings=2048,
            tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
# Latent attention of the sizes that kernels have, in layers without experts, whose choice a
# rounding may change.
LATENT = {**BASE, **dict(num_key_value_heads=8, kv_lora_rank=512, qk_nope_head_dim=128,
                         qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=8,
                         n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=256,
                         first_k_dense_replace=4)}
CASES = {
    "qwen2.5": Qwen2Config(**BASE),
    "qwen3": Qwen3Config(**BASE, head_dim=128),
    "llama3": LlamaConfig(**BASE, head_dim=128, rope_parameters={
        "rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 256}),
    "mistral window": MistralConfig(**BASE, head_dim=64, sliding_window=32),
    "llama 9/3 tied": LlamaConfig(**{**BASE, "hidden_size": 576, "num_attention_heads": 9,
                                     "num_key_value_heads": 3, "tie_word_embeddings": True}),
    "deepseek v2": DeepseekV2Config(**LATENT, q_lora_rank=None),
    "deepseek v3": DeepseekV3Config(**LATENT, q_lora_rank=256, n_group=4, topk_group=2),
}


def make(config, seed):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32,
                                             attn_implementation="eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
            parameter.copy_(parameter.to(torch.bfloat16).float())
        # Logits as wide apart as a trained model's.
        if not config.tie_word_embeddings:
            model.lm_head.weight.mul_(4)
    return model.eval().cuda()


def logprobs(model, tokens):
    with torch.no_grad():
        logits = model(tokens).logits[0].float()
    return torch.log_softmax(logits, -1).double().cpu().numpy()


def distance(truth, got):
    return float(numpy.sqrt(numpy.mean((truth - got) ** 2)))


def divergence(truth, got):
    return float(numpy.mean(numpy.sum(numpy.exp(truth) * (truth - got), axis=-1)))


def ours(program, directory, form, tokens):
    out = pathlib.Path(directory) / "logprobs.bin"
    run = subprocess.run([program, directory, form, str(out), *map(str, tokens)],
                         capture_output=True, text=True, timeout=120)
    if run.returncode:
        raise SystemExit(f"{program}: {run.stderr}")
    rows = numpy.fromfile(out, dtype=numpy.float32).reshape(len(tokens) + 2, -1)
    return rows.astype(numpy.float64), run.stdout.strip()


def main():
    if not torch.cuda.is_available():
        print("SKIPPED: no CUDA device")
        return 77
    torch.backends.cuda.matmul.allow_tf32 = False
    failed = 0
    for seed, (name, config) in enumerate(CASES.items()):
        model = make(config, seed)
        tokens = torch.randint(3, 512, (1, TOKENS), generator=torch.Generator().manual_seed(seed))
        truth = logprobs(model, tokens.cuda())
        with tempfile.TemporaryDirectory() as directory:
            model.to(torch.bfloat16).save_pretrained(directory)
            theirs = distance(truth, logprobs(model, tokens.cuda()))
            ids = tokens[0].tolist()
            bf16, batched = ours(sys.argv[1], directory, "bf16", ids)
            int8, _ = ours(sys.argv[1], directory, "int8", ids)
            kv8, _ = ours(sys.argv[1], directory, "bf16+kv8", ids)
        expected = numpy.concatenate([truth, truth[-1:], truth[-1:]])
        decode = distance(truth, bf16[:-2])
        prefill = distance(expected[-2:], bf16[-2:])
        kl = divergence(expected, int8)
        kv_kl = divergence(expected, kv8)
        ok = decode <= MAX_RATIO * theirs and max(kl, kv_kl) <= MAX_INT8_KL
        failed += not ok
        print(f"{name:15} rms error to float32: transformers bf16 {theirs:.4f}, pingti bf16 "
              f"{decode:.4f} = {decode / theirs:.2f}x (last row by prefill {prefill:.4f}); KL bf16 "
              f"{divergence(truth, bf16[:-2]):.2e}, int8 {kl:.2e}, int8 KV {kv_kl:.2e}  {'ok' if ok else 'FAILED'}")
        print(f"{'':15} {batched}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
