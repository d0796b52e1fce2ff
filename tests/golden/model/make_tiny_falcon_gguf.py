#!/usr/bin/env python3
"""Tiny random Falcon GGUF files with what transformers (float32) makes of the same weights.

Writes one directory a case under tiny/, as make_tiny_gguf.py does, with the keys and tensor names of
llama.cpp's converter: the rows of attn_qkv are all queries, then all keys, then all values, and of the
new architecture's two norms attn_norm is the MLP's and attn_norm_2 the attention's. transformers does not
undo that, so its model is built here from the dequantized tensors.

    python make_tiny_falcon_gguf.py [CASE...]      # all of them if none is named

Needs torch (CPU), transformers, gguf; made with torch 2.11.0, transformers 5.23.0, gguf 0.19.0.
"""
import json
import shutil
import sys

import numpy as np
import torch
from gguf import GGMLQuantizationType as T, GGUFWriter
from gguf.quants import dequantize
from make_tiny_checkpoints import HERE, MIN_GAP, expected
from make_tiny_gguf import FFN, LAYERS, MAX_BF16_KL, VOCAB, bf16_divergence, tensor
from transformers import FalconConfig, FalconForCausalLM

# Heads, KV heads, head size, new architecture, types.
CASES = {
    "gguf_falcon_4bit": (4, 1, 16, False, {"token_embd": T.Q8_0, "attn_qkv": T.Q4_0, "attn_output": T.Q8_0,
                                           "ffn_up": T.Q4_1, "ffn_down": T.Q4_0}),
    "gguf_falcon_new": (4, 2, 16, True, {"token_embd": T.BF16, "output": T.F16, "attn_qkv": T.F16,
                                         "attn_output": T.BF16, "ffn_up": T.F16, "ffn_down": T.Q8_0}),
    "gguf_falcon_4bit_d64": (2, 1, 64, False, {"token_embd": T.Q8_0, "attn_qkv": T.Q4_0,
                                               "attn_output": T.Q8_0, "ffn_up": T.Q4_1,
                                               "ffn_down": T.Q4_0}),
    "gguf_falcon_new_d64": (2, 2, 64, True, {"token_embd": T.Q8_0, "output": T.Q8_0, "attn_qkv": T.Q8_0,
                                             "attn_output": T.Q4_0, "ffn_up": T.Q8_0,
                                             "ffn_down": T.Q8_0}),
}
NAMES = {"attn_qkv": "self_attention.query_key_value", "attn_output": "self_attention.dense",
         "ffn_up": "mlp.dense_h_to_4h", "ffn_down": "mlp.dense_4h_to_h"}


class Checkpoint:
    """Writes tensors to a GGUF file, and keeps them under transformers' names as the file holds them."""

    def __init__(self, writer, rng):
        self.writer, self.rng, self.weights = writer, rng, {}

    def matrix(self, name, hf_name, kind, rows, cols):
        blocks = tensor(kind, rows, cols, self.rng)
        self.writer.add_tensor(name + ".weight", blocks, raw_dtype=kind)
        self.weights[hf_name + ".weight"] = torch.from_numpy(
            np.ascontiguousarray(dequantize(blocks, kind).reshape(rows, cols)))

    def norm(self, name, hf_name, size):
        for part, centre in (("weight", 1.0), ("bias", 0.0)):
            values = (centre + 0.2 * self.rng.standard_normal(size)).astype(np.float32)
            self.writer.add_tensor(f"{name}.{part}", values)
            self.weights[f"{hf_name}.{part}"] = torch.from_numpy(values)


def group_heads(qkv, heads, kv_heads, head_dim):
    """Rows of all queries, all keys, all values to those of one KV head after the other."""
    q, k, v = qkv.split([heads * head_dim, kv_heads * head_dim, kv_heads * head_dim])
    parts = [q.reshape(kv_heads, heads // kv_heads, head_dim, -1), k.reshape(kv_heads, 1, head_dim, -1),
             v.reshape(kv_heads, 1, head_dim, -1)]
    return torch.cat(parts, 1).reshape(qkv.shape)


def write(path, case, rng):
    heads, kv_heads, head_dim, new, kinds = case
    hidden = heads * head_dim
    w = GGUFWriter(path, "falcon")
    w.add_name("tiny falcon")
    w.add_context_length(256)
    w.add_tensor_data_layout("jploski")
    w.add_embedding_length(hidden)
    w.add_feed_forward_length(FFN)
    w.add_block_count(LAYERS)
    w.add_head_count(heads)
    w.add_head_count_kv(kv_heads)
    w.add_layer_norm_eps(1e-5)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("falcon")
    w.add_token_list([f"t{i}" for i in range(VOCAB)])
    w.add_token_types([1] * VOCAB)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    checkpoint = Checkpoint(w, rng)
    checkpoint.matrix("token_embd", "transformer.word_embeddings", kinds["token_embd"], VOCAB, hidden)
    if "output" in kinds:
        checkpoint.matrix("output", "lm_head", kinds["output"], VOCAB, hidden)
    checkpoint.norm("output_norm", "transformer.ln_f", hidden)
    shapes = {"attn_qkv": ((heads + 2 * kv_heads) * head_dim, hidden), "attn_output": (hidden, hidden),
              "ffn_up": (FFN, hidden), "ffn_down": (hidden, FFN)}
    for layer in range(LAYERS):
        gguf, hf = f"blk.{layer}.", f"transformer.h.{layer}."
        for name, (rows, cols) in shapes.items():
            checkpoint.matrix(gguf + name, hf + NAMES[name], kinds[name], rows, cols)
        checkpoint.norm(gguf + "attn_norm", hf + ("ln_mlp" if new else "input_layernorm"), hidden)
        if new:
            checkpoint.norm(gguf + "attn_norm_2", hf + "ln_attn", hidden)
            qkv = hf + "self_attention.query_key_value.weight"
            checkpoint.weights[qkv] = group_heads(checkpoint.weights[qkv], heads, kv_heads, head_dim)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return checkpoint.weights


def make_model(case, weights):
    heads, kv_heads, head_dim, new, kinds = case
    config = FalconConfig(vocab_size=VOCAB, hidden_size=heads * head_dim, ffn_hidden_size=FFN,
                          num_hidden_layers=LAYERS, num_attention_heads=heads, num_kv_heads=kv_heads,
                          new_decoder_architecture=new, tie_word_embeddings="output" not in kinds)
    model = FalconForCausalLM._from_config(config, dtype=torch.float32, attn_implementation="eager")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    return model.eval()


def main():
    for name in sys.argv[1:] or CASES:
        target = HERE / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for seed in range(200):
            weights = write(target / "model.gguf", CASES[name], np.random.default_rng(seed))
            model = make_model(CASES[name], weights)
            gap, golden = expected(model, seed)
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
