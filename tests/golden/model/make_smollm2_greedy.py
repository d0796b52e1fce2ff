#!/usr/bin/env python3
"""Greedy answers of SmolLM2-135M-Instruct to 20 prompts, as transformers reads the same GGUF file.

Writes smollm2_greedy.json beside this file: for each prompt its token ids, 48 greedy tokens (fewer
after an end of sequence), and at each step the gap between the two highest logits.

    python make_smollm2_greedy.py /path/to/SmolLM2-135M-Instruct.Q4_1.gguf

Needs torch (CPU) and transformers with gguf; made with torch 2.11.0, transformers 5.23.0.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "Explain photosynthesis in one sentence.",
    "List three uses of a paper clip.",
    "What is 12 times 12?",
    "Translate 'good morning' into Spanish.",
    "Who wrote Romeo and Juliet?",
    "Give me a recipe for pancakes.",
    "Why is the sky blue?",
    "Name the planets of the solar system in order.",
    "Write a Python function that reverses a string.",
    "What does HTTP stand for?",
    "Tell me a short story about a brave cat.",
    "How do vaccines work?",
    "Summarize the water cycle.",
    "What is the difference between a list and a tuple in Python?",
    "Suggest a name for a small bakery.",
    "How many days are there in a leap year?",
    "Give two tips for better sleep.",
    "What is machine learning?",
]
NUM_TOKENS = 48


def main():
    path = pathlib.Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    cases = []
    for prompt in PROMPTS:
        messages = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True
        )["input_ids"]
        output, gaps, cache = [], [], None
        step = torch.tensor([ids])
        with torch.no_grad():
            while len(output) < NUM_TOKENS:
                result = model(step, past_key_values=cache, use_cache=True)
                cache = result.past_key_values
                top = torch.topk(result.logits[0, -1], 2)
                token = int(top.indices[0])
                output.append(token)
                gaps.append(round(float(top.values[0] - top.values[1]), 6))
                if token == tokenizer.eos_token_id:
                    break
                step = torch.tensor([[token]])
        cases.append({"prompt": prompt, "input_ids": ids, "output_ids": output, "gaps": gaps})
    target = pathlib.Path(__file__).with_name("smollm2_greedy.json")
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    target.write_text('{"model": "%s", "cases": [\n%s\n]}\n' % (path.name, lines))


if __name__ == "__main__":
    main()
