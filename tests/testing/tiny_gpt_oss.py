"""A gpt-oss checkpoint with the real vocabulary, a hidden size of 32 and random weights; and tools
to ask it with."""

import json
import pathlib
import random
import struct

from harmony_tokenizer import VOCAB_SIZE

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = (ROOT / "tests/golden/text/templates/gpt_oss_style.jinja").read_text()
RETURN, CALL, END_OF_TEXT = 200_002, 200_012, 199_999
HIDDEN, INNER, HEADS, HEAD_SIZE, EXPERTS = 32, 64, 4, 16, 4
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Which city", "maxLength": 12},
        "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "The weather.", "parameters": WEATHER},
    },
    {"type": "function", "function": {"name": "now", "description": "The time."}},
]


def config():
    return {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "attention_bias": True,
        "dtype": "bfloat16",
        "eos_token_id": RETURN,
        "head_dim": HEAD_SIZE,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "layer_types": ["sliding_attention"],
        "max_position_embeddings": 8192,
        "num_attention_heads": HEADS,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 1,
        "num_key_value_heads": 2,
        "num_local_experts": EXPERTS,
        "rms_norm_eps": 1e-5,
        "sliding_window": 128,
        "swiglu_limit": 7.0,
        "rope_theta": 150000,
        "tie_word_embeddings": False,
        "vocab_size": VOCAB_SIZE,
    }


def tensors():
    layer, q, kv = "model.layers.0.", HEADS * HEAD_SIZE, 2 * HEAD_SIZE
    shapes = {
        "model.embed_tokens.weight": (VOCAB_SIZE, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCAB_SIZE, HIDDEN),
    }
    for name, rows in (("q", q), ("k", kv), ("v", kv)):
        shapes[f"{layer}self_attn.{name}_proj.weight"] = (rows, HIDDEN)
        shapes[f"{layer}self_attn.{name}_proj.bias"] = (rows,)
    return shapes | {
        layer + "input_layernorm.weight": (HIDDEN,),
        layer + "post_attention_layernorm.weight": (HIDDEN,),
        layer + "self_attn.o_proj.weight": (HIDDEN, q),
        layer + "self_attn.o_proj.bias": (HIDDEN,),
        layer + "self_attn.sinks": (HEADS,),
        layer + "mlp.router.weight": (EXPERTS, HIDDEN),
        layer + "mlp.router.bias": (EXPERTS,),
        layer + "mlp.experts.gate_up_proj": (EXPERTS, HIDDEN, 2 * INNER),
        layer + "mlp.experts.gate_up_proj_bias": (EXPERTS, 2 * INNER),
        layer + "mlp.experts.down_proj": (EXPERTS, INNER, HIDDEN),
        layer + "mlp.experts.down_proj_bias": (EXPERTS, HIDDEN),
    }


# Upper bytes of bf16 values from 1/8 up to 1/2, of either sign.
UPPER_BYTES = bytes(0x3E | (b & 0x80) for b in range(256))


def write_checkpoint(folder, tokenizer):
    folder.mkdir()
    rng = random.Random(5)
    header, parts, begin = {}, [], 0
    for name, shape in tensors().items():
        count = 1
        for size in shape:
            count *= size
        data = bytearray(rng.randbytes(2 * count))
        data[1::2] = data[1::2].translate(UPPER_BYTES)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, begin + len(data)]}
        begin += len(data)
        parts.append(data)
    head = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(
        b"".join([struct.pack("<Q", len(head)), head, *parts])
    )
    (folder / "config.json").write_text(json.dumps(config()))
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [RETURN, END_OF_TEXT, CALL]})
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "bos_token": "<|startoftext|>",
                "eos_token": "<|return|>",
                "pad_token": "<|endoftext|>",
            }
        )
    )
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    return folder
