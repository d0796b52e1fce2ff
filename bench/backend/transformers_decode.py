#!/usr/bin/env python3
"""Baseline of worker_step_bench: a decode step of transformers, bf16, random weights of a shape.

    python transformers_decode.py DIRECTORY [batch] [context]

DIRECTORY holds a config.json. One model, a static cache, torch.compile in reduce-overhead mode (so
CUDA graphs), greedy; prints the median step. Needs a GPU, torch, transformers.
"""
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM, StaticCache

STEPS = 32


def main():
    directory = sys.argv[1]
    batch = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    context = int(sys.argv[3]) if len(sys.argv) > 3 else 512
    config = AutoConfig.from_pretrained(directory)
    torch.set_default_device("cuda")
    torch.set_default_dtype(torch.bfloat16)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    cache = StaticCache(config=config, max_cache_len=context + 2 * STEPS)
    ids = torch.randint(100, 40000, (batch, context))

    @torch.no_grad()
    def prefill():
        out = model(ids, past_key_values=cache, cache_position=torch.arange(context),
                    use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].argmax(-1, keepdim=True)

    @torch.no_grad()
    def step(token, position):
        out = model(token, past_key_values=cache, cache_position=position, use_cache=True)
        return out.logits[:, -1].argmax(-1, keepdim=True)

    compiled = torch.compile(step, mode="reduce-overhead", fullgraph=False)
    token = prefill()
    times = []
    for i in range(STEPS + 8):
        position = torch.tensor([context + i])
        torch.cuda.synchronize()
        begin = time.perf_counter()
        token = compiled(token.clone(), position).clone()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    times = sorted(times[8:])
    print(f"transformers {directory} bf16 batch {batch} x {context}: "
          f"{1e3 * times[len(times) // 2]:.3f} ms a step (static cache, torch.compile)")


if __name__ == "__main__":
    main()
