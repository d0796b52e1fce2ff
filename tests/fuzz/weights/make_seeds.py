#!/usr/bin/env python3
"""Small valid files for the fuzzers of this folder to start from, written by the formats' own packages.

    python make_seeds.py      (needs numpy, gguf and safetensors; made with gguf 0.19.0, safetensors 0.7)

Writes seeds/gguf/ and seeds/safetensors/. Run a fuzzer with a corpus of its own and the seeds behind it:

    build/fuzz/fuzz/gguf_fuzzer corpus/ tests/fuzz/weights/seeds/gguf
"""
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as T, GGUFWriter
from safetensors.numpy import save_file

SEEDS = pathlib.Path(__file__).resolve().parent / "seeds"


def gguf(name, architecture, head_dim, kinds, **more):
    writer = GGUFWriter(SEEDS / "gguf" / name, architecture)
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(head_dim)
    writer.add_feed_forward_length(head_dim)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b"])
    writer.add_token_scores([0.0, 1.0])
    writer.add_token_types([1, 3])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{{ messages }}")
    for key, value in more.items():
        writer.add_float64(key, value)
    for tensor, kind in kinds.items():
        sizes = {T.F32: 4, T.F16: 2, T.BF16: 2, T.Q8_0: 34, T.Q4_0: 18, T.Q4_1: 20, T.Q4_K: 144,
                 T.Q5_K: 176, T.Q6_K: 210}
        elements = 1 if kind in (T.F32, T.F16, T.BF16) else 256 if kind.name.endswith("K") else 32
        row = np.zeros(head_dim // elements * sizes[kind], np.uint8)
        rows = row.reshape(1, -1).repeat(2, 0) if "norm" not in tensor else row
        shape = rows.shape
        writer.add_tensor(tensor, rows, raw_shape=shape, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    (SEEDS / "gguf").mkdir(parents=True, exist_ok=True)
    (SEEDS / "safetensors").mkdir(exist_ok=True)
    gguf("llama.gguf", "llama", 32, {"token_embd.weight": T.Q4_1, "output_norm.weight": T.F32,
                                     "blk.0.attn_q.weight": T.Q8_0, "blk.0.ffn_up.weight": T.F16})
    gguf("qwen2_k.gguf", "qwen2", 256, {"token_embd.weight": T.Q4_K, "output.weight": T.Q6_K,
                                        "blk.0.attn_k.weight": T.Q5_K, "blk.0.attn_v.weight": T.Q4_0,
                                        "blk.0.attn_norm.weight": T.BF16},
         **{"qwen2.odd": 1.5})
    rng = np.random.default_rng(1)
    save_file({"model.norm.weight": rng.normal(size=4).astype(np.float32),
               "lm_head.weight": rng.normal(size=(3, 4)).astype(np.float16),
               "q.weight": np.ones((2, 2), np.int8), "ids": np.ones(2, np.int64)},
              SEEDS / "safetensors" / "four.safetensors", metadata={"format": "pt"})
    save_file({}, SEEDS / "safetensors" / "empty.safetensors")


if __name__ == "__main__":
    main()
