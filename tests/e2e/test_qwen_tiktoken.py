"""A QWen v1 checkpoint with its qwen.tiktoken, from the files to an answer in ChatML."""

import base64
import json
import random
import struct

import pytest

from conftest import MODEL_ID, Router, Worker, http_get, wait_until

HIDDEN, INNER, LAYERS = 32, 48, 1
MERGES = [b"He", b"ll", b"Hell", b"us", b"er", b"user", b"sys", b"tem", b"as", b"is", b"ta", b"nt"]
RANKS = [bytes([b]) for b in range(256)] + MERGES
SPECIALS = 3 + 205
VOCAB = len(RANKS) + SPECIALS


def tensors():
    shapes = {"transformer.wte.weight": (VOCAB, HIDDEN), "transformer.ln_f.weight": (HIDDEN,),
              "lm_head.weight": (VOCAB, HIDDEN)}
    for i in range(LAYERS):
        h = f"transformer.h.{i}."
        shapes |= {h + "ln_1.weight": (HIDDEN,), h + "ln_2.weight": (HIDDEN,),
                   h + "attn.c_attn.weight": (3 * HIDDEN, HIDDEN), h + "attn.c_attn.bias": (3 * HIDDEN,),
                   h + "attn.c_proj.weight": (HIDDEN, HIDDEN), h + "mlp.w1.weight": (INNER, HIDDEN),
                   h + "mlp.w2.weight": (INNER, HIDDEN), h + "mlp.c_proj.weight": (HIDDEN, INNER)}
    return shapes


def write_checkpoint(folder, tiktoken):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["QWenLMHeadModel"], "model_type": "qwen", "hidden_size": HIDDEN,
        "intermediate_size": 2 * INNER, "kv_channels": 8, "num_attention_heads": 4,
        "num_hidden_layers": LAYERS, "vocab_size": VOCAB, "seq_length": 512,
        "layer_norm_epsilon": 1e-6, "no_bias": True, "rotary_emb_base": 10000}))
    (folder / "generation_config.json").write_text(json.dumps({"chat_format": "chatml"}))
    (folder / "qwen.tiktoken").write_bytes(tiktoken)
    rng = random.Random(5)
    header, data = {}, bytearray()
    for name, shape in tensors().items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        begin = len(data)
        for _ in range(count):  # bf16: the upper half of a float
            data += struct.pack("<f", rng.gauss(0, 0.3))[2:]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, len(data)]}
    head = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)
    return folder


def ranks():
    return b"".join(base64.b64encode(t) + b" %d\n" % i for i, t in enumerate(RANKS))


@pytest.fixture
def qwen(tmp_path):
    worker = Worker(tmp_path, "worker", model=write_checkpoint(tmp_path / "qwen", ranks()))
    router = Router(tmp_path, "router", [worker])
    try:
        wait_until(worker.is_ready, 30, f"worker ready\n{worker.text()[-2000:]}")
        wait_until(router.is_ready, 30, f"router ready\n{router.text()[-2000:]}")
        yield router
    finally:
        router.kill()
        worker.kill()


def test_the_prompt_is_chatml_in_qwens_tokens(qwen):
    client = qwen.client()
    answer = client.chat.completions.create(
        model=MODEL_ID, messages=[{"role": "user", "content": "Hello"}], max_tokens=8, temperature=0)
    # <|im_start|> and <|im_end|> are one token each; "Hell" and "user" are merges, the rest mostly bytes.
    text = ("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
    tokens = client.post("/tokenize", cast_to=dict,
                         body={"model": MODEL_ID, "prompt": text, "add_special_tokens": False})["tokens"]
    assert answer.usage.prompt_tokens == len(tokens)
    im_start, im_end = len(RANKS) + 1, len(RANKS) + 2
    assert tokens.count(im_start) == 3 and tokens.count(im_end) == 2
    assert 256 + MERGES.index(b"Hell") in tokens and 256 + MERGES.index(b"user") in tokens
    assert answer.usage.completion_tokens >= 1
    whole = client.post("/detokenize", cast_to=dict, body={"model": MODEL_ID, "tokens": tokens})
    assert whole["prompt"] == text


@pytest.mark.parametrize("file, complaint", [
    (b"IQ== 0\nIg==\n", "line 2: expected a base64 token, a space and a rank"),
    (b"IQ== 0\nIg== 0\n", "line 2: rank 0 appears twice"),
    (b"IQ== 0\nIg== 1\n", "no token for byte 0"),
], ids=["no rank", "a rank twice", "bytes missing"])
def test_a_broken_tiktoken_file_is_named(tmp_path, file, complaint):
    worker = Worker(tmp_path, "worker", model=write_checkpoint(tmp_path / "qwen", file))
    router = Router(tmp_path, "router", [worker])
    try:
        wait_until(lambda: complaint in worker.text() + router.text(), 20, complaint)
        assert http_get(f"http://127.0.0.1:{router.admin_port}/readyz")[0] != 200
    finally:
        router.kill()
        worker.kill()
