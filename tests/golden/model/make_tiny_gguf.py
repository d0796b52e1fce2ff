#!/usr/bin/env python3
"""Tiny random GGUF files of every family and tensor type with what transformers (float32) makes of them.

Writes one directory a case under tiny/: model.gguf as the gguf package writes it, and expected.json as
make_tiny_checkpoints.py does. transformers reads the very same file, with the gguf package's
dequantization. Types that the package cannot quantize to (K types) get random blocks: any bytes with
finite scales are weights.

    python make_tiny_gguf.py [CASE...]      # all of them if none is named

Needs torch (CPU), transformers, gguf; made with torch 2.11.0, transformers 5.23.0, gguf 0.19.0.
"""
import json
import shutil
import sys

import numpy as np
import torch
from gguf import GGMLQuantizationType as T, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize
from make_tiny_checkpoints import HERE, MIN_GAP, expected
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB, FFN, LAYERS = 96, 32, 2
HEADS, KV_HEADS, HEAD_DIM = 4, 2, 16
WIDE_HEADS = 2, 1, 64  # of cases named _d64: heads as the GPU's attention needs them

MAX_BF16_KL = 2e-3  # of these: what a GPU computes in bf16 is held against float32

# Family, hidden size and types. Rows of 256 take any type; those of 64 and 32 (of ffn_down) none of the
# K types.
CASES = {
    "gguf_llama_k": ("llama", 256, {"token_embd": T.Q4_K, "output": T.Q6_K, "attn_q": T.Q4_K,
                               "attn_k": T.Q5_K, "attn_v": T.Q6_K, "attn_output": T.Q8_0,
                               "ffn_gate": T.Q4_K, "ffn_up": T.Q5_K, "ffn_down": T.Q4_0}),
    "gguf_qwen2_4bit": ("qwen2", 64, {"token_embd": T.Q8_0, "attn_q": T.Q4_0, "attn_k": T.Q4_1,
                                  "attn_v": T.Q8_0, "attn_output": T.Q4_1, "ffn_gate": T.Q4_0,
                                  "ffn_up": T.Q4_1, "ffn_down": T.Q8_0}),
    "gguf_phi3_4bit": ("phi3", 64, {"token_embd": T.Q8_0, "output": T.Q8_0, "attn_qkv": T.Q4_0,
                               "attn_output": T.Q8_0, "ffn_up": T.Q4_1, "ffn_down": T.Q8_0}),
    "gguf_qwen3_16bit": ("qwen3", 64, {"token_embd": T.F16, "output": T.BF16, "attn_q": T.BF16,
                                   "attn_k": T.F16, "attn_v": T.F32, "attn_output": T.BF16,
                                   "ffn_gate": T.F16, "ffn_up": T.BF16, "ffn_down": T.F16}),
}
CASES |= {name + "_d64": case for name, case in list(CASES.items())}
# Its heads are hidden / heads wide.
CASES["gguf_phi3_4bit_d64"] = ("phi3", 128, CASES["gguf_phi3_4bit"][2])
# Where a block keeps f16 numbers.
HALVES = {T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}


def random_blocks(kind, rows, cols, deviation, rng):
    """Bytes of a K type whose values have about that standard deviation."""
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows * cols // elements, size), dtype=np.uint8)

    def fill(values):
        for offset, value in zip(HALVES[kind], values):
            halves = (value * rng.uniform(0.8, 1.2, len(blocks))).astype(np.float16)
            blocks[:, offset:offset + 2] = halves.view(np.uint8).reshape(-1, 2)

    # d, and dmin such that the values centre on 0: the middle of 4 bits is 7.5, of 5 bits 15.5.
    ratios = [1.0, 15.5 if kind == T.Q5_K else 7.5][:len(HALVES[kind])]
    fill([0.01 * r for r in ratios])
    scale = deviation / dequantize(blocks, kind).std()
    fill([0.01 * scale * r for r in ratios])
    return blocks.reshape(rows, -1)


def tensor(kind, rows, cols, rng):
    deviation = 2 / cols**0.5  # large enough that 64 greedy tokens do not repeat at once
    if kind in HALVES:
        return random_blocks(kind, rows, cols, deviation, rng)
    return quantize((deviation * rng.standard_normal((rows, cols))).astype(np.float32), kind)


def write(path, architecture, hidden, heads, kinds, rng):
    num_heads, num_kv_heads, head_dim = heads
    w = GGUFWriter(path, architecture)
    w.add_name("tiny " + architecture)
    w.add_block_count(LAYERS)
    w.add_context_length(256)
    w.add_embedding_length(hidden)
    w.add_feed_forward_length(FFN)
    w.add_head_count(num_heads)
    w.add_head_count_kv(num_kv_heads)
    w.add_key_length(head_dim)
    w.add_value_length(head_dim)
    w.add_rope_dimension_count(head_dim)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(10000.0)
    w.add_tokenizer_model("gpt2")
    w.add_token_list([f"t{i}" for i in range(VOCAB)])
    w.add_token_types([1] * VOCAB)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    if architecture == "phi3":
        w.add_pad_token_id(0)  # else one beyond this vocabulary
    q, kv = num_heads * head_dim, num_kv_heads * head_dim
    shapes = {"attn_q": (q, hidden), "attn_k": (kv, hidden), "attn_v": (kv, hidden),
              "attn_output": (hidden, q), "ffn_gate": (FFN, hidden), "ffn_up": (FFN, hidden),
              "ffn_down": (hidden, FFN)}

    if architecture == "phi3":  # q, k and v are one module, and so are gate and up
        shapes = {"attn_qkv": (q + 2 * kv, hidden), "attn_output": (hidden, q),
                  "ffn_up": (2 * FFN, hidden), "ffn_down": (hidden, FFN)}

    def matrix(name, kind, rows, cols):
        w.add_tensor(name + ".weight", tensor(kind, rows, cols, rng), raw_dtype=kind)

    def vector(name, values):
        w.add_tensor(name, values.astype(np.float32))

    matrix("token_embd", kinds["token_embd"], VOCAB, hidden)
    if "output" in kinds:
        matrix("output", kinds["output"], VOCAB, hidden)
    vector("output_norm.weight", 1 + 0.2 * rng.standard_normal(hidden))
    for layer in range(LAYERS):
        for name, (rows, cols) in shapes.items():
            matrix(f"blk.{layer}.{name}", kinds[name], rows, cols)
            if architecture == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
                vector(f"blk.{layer}.{name}.bias", 0.5 * rng.standard_normal(rows))
        for name in ("attn_norm", "ffn_norm"):
            vector(f"blk.{layer}.{name}.weight", 1 + 0.2 * rng.standard_normal(hidden))
        if architecture == "qwen3":
            for name in ("attn_q_norm", "attn_k_norm"):
                vector(f"blk.{layer}.{name}.weight", 1 + 0.2 * rng.standard_normal(head_dim))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def bf16_divergence(model, golden):
    """KL(f32 || bf16) after the prompt, in nats."""
    with torch.no_grad():
        logits = model.to(torch.bfloat16)(torch.tensor([golden["prompt"]])).logits[0, -1]
    want = torch.tensor(golden["logprobs"])
    return float((want.exp() * (want - torch.log_softmax(logits.float(), -1))).sum())


def main():
    for name in sys.argv[1:] or CASES:
        architecture, hidden, kinds = CASES[name]
        heads = WIDE_HEADS if name.endswith("_d64") else (HEADS, KV_HEADS, HEAD_DIM)
        target = HERE / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for seed in range(200):
            write(target / "model.gguf", architecture, hidden, heads, kinds, np.random.default_rng(seed))
            # transformers does not read a GGUF file's attention.key_length for every family.
            config = AutoConfig.from_pretrained(target, gguf_file="model.gguf")
            config.head_dim = heads[2]
            model = AutoModelForCausalLM.from_pretrained(
                target, gguf_file="model.gguf", config=config, dtype=torch.float32,
                attn_implementation="eager")
            gap, golden = expected(model.eval(), seed)
            if gap < MIN_GAP or len(set(golden["greedy"])) <= 8:
                continue
            if not name.endswith("_d64") or bf16_divergence(model, golden) < MAX_BF16_KL:
                break
        else:
            raise SystemExit("no seed without near ties")
        (target / "expected.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        print(name, seed, gap, (target / "model.gguf").stat().st_size, golden["greedy"][:16])


if __name__ == "__main__":
    main()
