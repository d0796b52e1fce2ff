#!/usr/bin/env python3
"""Random blocks of every GGUF type that pingti reads, with what the gguf package makes of them.

    python make_ggml_blocks.py        (needs numpy and gguf; made with gguf 0.19.0)

Writes ggml_blocks.json: per type the bytes of 3 blocks in hex and their values.
"""
import json
import pathlib

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

# Where a block keeps f16 numbers, which must be finite.
HALVES = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
          T.Q5_0: [0], T.Q5_1: [0, 2], T.Q2_K: [80, 82], T.Q3_K: [108], T.IQ1_S: [0], T.IQ1_M: [],
          T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0],
          T.IQ4_NL: [0], T.IQ4_XS: [0], T.TQ1_0: [52], T.TQ2_0: [64], T.MXFP4: []}


def main():
    rng = np.random.default_rng(7)
    result = {}
    for kind, offsets in HALVES.items():
        elements, size = GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (3, size), dtype=np.uint8)
        for offset in offsets:
            halves = rng.uniform(-2, 2, 3).astype(np.float16)
            blocks[:, offset:offset + 2] = halves.view(np.uint8).reshape(3, 2)
        if kind == T.IQ1_M:  # its f16 number lies in the top halves of four words: 1.x
            blocks[:, 55] = 0x30 | (blocks[:, 55] & 15)
        if kind == T.MXFP4:  # scales about 1
            blocks[:, 0] = 120 + (blocks[:, 0] & 15)
        if kind in (T.TQ1_0,):  # bytes are digits in base 3 of fractions
            trits = rng.integers(0, 243, (3, 52))
            blocks[:, :52] = (trits * 256 + 242) // 243
        values = dequantize(blocks, kind).reshape(-1)
        assert values.size == 3 * elements
        result[kind.name] = {"bytes": blocks.tobytes().hex(), "values": [float(f"{v:.9g}") for v in values]}
    path = pathlib.Path(__file__).with_name("ggml_blocks.json")
    path.write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
