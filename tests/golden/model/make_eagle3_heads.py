#!/usr/bin/env python3
"""Tiny random EAGLE-3 heads of a tiny model, with what they draft.

Written from the equations of Li et al. 2025, "EAGLE-3", section 3.1, in float64; the model's hidden
states are transformers'. Writes one directory a case under eagle3/: config.json, safetensors (bf16)
and expected.json:

  prompt        token ids; the model has computed all of them
  next_token    what the model says behind the prompt
  tokens        the head's own vocabulary, as the model's token ids
  logprobs      of those, for the token behind next_token
  drafts        the head's greedy chain behind next_token

    python make_eagle3_heads.py

Needs torch (CPU), transformers, safetensors; made with torch 2.11.0, transformers 5.23.0.
"""
import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE / "tiny" / "llama_mqa_bias_tied_d64"
NUM_DRAFTS = 4
MIN_GAP = 0.3  # between the two highest logits of every draft, so that bf16 makes the same ones

COMMON = {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_act": "silu",
          "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 1, "head_dim": 64,
          "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96,
          "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
          "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
CASES = {
    # As SGLang and SafeAILab write them: a part of the vocabulary, the model's embedding.
    "part": {**COMMON, "draft_vocab_size": 40,
             "eagle_config": {"eagle_aux_hidden_state_layer_ids": [-1, 0]}},
    # As vLLM writes them: all tokens, an embedding of its own.
    "whole": {**COMMON, "eagle_aux_hidden_state_layer_ids": [1], "norm_before_residual": True,
              "bias": True, "attention_bias": True},
}
TARGET_LAYERS = {"part": [0, 1], "whole": [1]}


def rms(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def rotate(x, positions, theta):
    """x: [tokens, heads, dim]; element i turns with i + dim / 2."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * theta ** (-torch.arange(half, dtype=torch.float64) / half)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Head:
    def __init__(self, config, layers, seed):
        self.c = config
        g = torch.Generator().manual_seed(seed)
        hidden, inner, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
        q, kv = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
        own = config.get("draft_vocab_size", config["vocab_size"])

        def rand(*shape, scale=0.3):
            return (torch.randn(*shape, generator=g) * scale).to(torch.bfloat16)

        self.w = {
            "fc.weight": rand(hidden, hidden * len(layers)),
            "midlayer.input_layernorm.weight": 1 + rand(hidden),
            "midlayer.hidden_norm.weight": 1 + rand(hidden),
            "midlayer.self_attn.q_proj.weight": rand(q, 2 * hidden),
            "midlayer.self_attn.k_proj.weight": rand(kv, 2 * hidden),
            "midlayer.self_attn.v_proj.weight": rand(kv, 2 * hidden),
            "midlayer.self_attn.o_proj.weight": rand(hidden, q),
            "midlayer.post_attention_layernorm.weight": 1 + rand(hidden),
            "midlayer.mlp.gate_proj.weight": rand(inner, hidden),
            "midlayer.mlp.up_proj.weight": rand(inner, hidden),
            "midlayer.mlp.down_proj.weight": rand(hidden, inner),
            "norm.weight": 1 + rand(hidden),
            "lm_head.weight": rand(own, hidden),
        }
        if config.get("bias"):
            self.w["fc.bias"] = rand(hidden)
        if config.get("attention_bias"):
            for name, size in (("q", q), ("k", kv), ("v", kv), ("o", hidden)):
                self.w[f"midlayer.self_attn.{name}_proj.bias"] = rand(size)
        self.tokens = torch.arange(own)
        if own < config["vocab_size"]:
            chosen = torch.randperm(config["vocab_size"], generator=g)[:own].sort().values
            self.tokens = chosen
            self.w["d2t"] = chosen - torch.arange(own)
            used = torch.zeros(config["vocab_size"], dtype=torch.bool)
            used[chosen] = True
            self.w["t2d"] = used
        else:
            self.w["embed_tokens.weight"] = rand(config["vocab_size"], hidden, scale=1.0)

    def get(self, name):
        return self.w[name].double()

    def linear(self, name, x):
        y = x @ self.get(name + ".weight").T
        return y + self.get(name + ".bias") if name + ".bias" in self.w else y

    def first_states(self, joined):
        return self.linear("fc", joined)

    def forward(self, embedded, states):
        """Next states and logits at all positions; both inputs [tokens, hidden]."""
        c = self.c
        eps, dim = c["rms_norm_eps"], c["head_dim"]
        positions = torch.arange(len(states), dtype=torch.float64)
        normed = rms(states, self.get("midlayer.hidden_norm.weight"), eps)
        residual = normed if c.get("norm_before_residual") else states
        x = torch.cat([rms(embedded, self.get("midlayer.input_layernorm.weight"), eps), normed], -1)
        heads = {n: self.linear(f"midlayer.self_attn.{n}_proj", x).view(len(x), -1, dim) for n in "qkv"}
        q = rotate(heads["q"], positions, c["rope_theta"])
        k = rotate(heads["k"], positions, c["rope_theta"])
        group = c["num_attention_heads"] // c["num_key_value_heads"]
        k, v = k.repeat_interleave(group, 1), heads["v"].repeat_interleave(group, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) / dim ** 0.5
        scores += torch.full_like(scores, float("-inf")).triu(1)
        context = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(len(x), -1)
        r = residual + self.linear("midlayer.self_attn.o_proj", context)
        n = rms(r, self.get("midlayer.post_attention_layernorm.weight"), eps)
        inner = torch.nn.functional.silu(self.linear("midlayer.mlp.gate_proj", n))
        r = r + self.linear("midlayer.mlp.down_proj", inner * self.linear("midlayer.mlp.up_proj", n))
        return r, self.linear("lm_head", rms(r, self.get("norm.weight"), eps))


def vllm_name(name):
    return name if name == "lm_head.weight" else "model." + name.replace("midlayer.", "layers.0.")


def expect(model, head, layers, prompt):
    with torch.no_grad():
        out = model(torch.tensor([prompt]), output_hidden_states=True)
    next_token = int(out.logits[0, -1].argmax())
    # hidden_states[i]: what layer i begins with.
    joined = torch.cat([out.hidden_states[i][0] for i in layers], -1)
    own = head.w.get("embed_tokens.weight")
    table = model.get_input_embeddings().weight.detach() if own is None else own.double()
    tokens = prompt[1:] + [next_token]
    states = head.first_states(joined)
    drafts, logprobs = [], None
    while len(drafts) < NUM_DRAFTS:
        made, logits = head.forward(table[torch.tensor(tokens)], states)
        last = logits[-1]
        if logprobs is None:
            logprobs = last.log_softmax(-1)
        best = last.topk(2)
        if best.values[0] - best.values[1] < MIN_GAP:
            return None
        drafts.append(int(head.tokens[best.indices[0]]))
        tokens.append(drafts[-1])
        states = torch.cat([states, made[-1:]])
    return {"prompt": prompt, "next_token": next_token, "tokens": head.tokens.tolist(),
            "logprobs": [round(float(x), 6) for x in logprobs], "drafts": drafts}


def main():
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float64)
    prompt = [(5 + 37 * i) % 96 for i in range(24)]
    for name, config in CASES.items():
        for seed in range(5000):
            head = Head(config, TARGET_LAYERS[name], seed)
            expected = expect(model, head, TARGET_LAYERS[name], prompt)
            if expected is not None and len(set(expected["drafts"])) > 2:
                break
        else:
            raise SystemExit(f"{name}: no seed without near ties")
        directory = HERE / "eagle3" / name
        directory.mkdir(parents=True, exist_ok=True)
        tensors = head.w
        if name == "whole":
            tensors = {vllm_name(n): t for n, t in head.w.items()}
        save_file({n: t.contiguous() for n, t in tensors.items()}, directory / "model.safetensors")
        (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        (directory / "expected.json").write_text(json.dumps(expected) + "\n")
        print(name, "seed", seed, expected["drafts"])


main()
