"""Proposed tokens with real processes: answers stay the same, and text that repeats is checked in fewer steps."""

import concurrent.futures
import json
import math
import random
import re
import struct

from conftest import MODEL_ID, Router, Worker, http_get, model_path, wait_until
from test_random_schemas import tokenizer_json

LIST = "\n".join(f"{i}. The quick brown fox number {i} jumps over the lazy dog." for i in range(1, 7))
PROMPTS = [f"Repeat this list word for word:\n{LIST}",
           "Write a short story about a lighthouse.",
           f"Copy the last line of this list five times:\n{LIST}"]


def counted(worker, name):
    text = http_get(f"http://127.0.0.1:{worker.admin_port}/metrics")[1]
    return float(re.search(rf"^{name} (\S+)", text, re.MULTILINE)[1])


def ask_with(client, case):
    prompt, temperature, speculation = case
    return client.chat.completions.create(
        model=MODEL_ID, messages=[{"role": "user", "content": prompt}], max_tokens=64,
        temperature=temperature, seed=7, logprobs=True,
        extra_body={"speculation": speculation}).choices[0]


def expect_same(answers, plain):
    for expected, answer in zip(plain, answers):
        assert answer.message.content == expected.message.content
        assert answer.finish_reason == expected.finish_reason
        assert [t.token for t in answer.logprobs.content] == [t.token for t in expected.logprobs.content]


def test_prompt_lookup_changes_no_answer_and_saves_steps(own_cluster):
    cluster = own_cluster(num_workers=1, worker_args=("--speculation", "ngram"))
    worker, client = cluster.workers[0], cluster.router.client()
    cases = [(PROMPTS[0], 0), (PROMPTS[1], 0.7), (PROMPTS[2], 0.7)]
    plain = [ask_with(client, (*case, False)) for case in cases]
    assert counted(worker, "pingti_worker_drafts_total") == 0
    steps = counted(worker, "pingti_worker_steps_total")
    expect_same([ask_with(client, (*case, True)) for case in cases], plain)
    assert counted(worker, "pingti_worker_drafts_accepted_total") >= 20
    assert counted(worker, "pingti_worker_steps_total") < 1.9 * steps
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        expect_same(list(pool.map(lambda case: ask_with(client, (*case, True)), cases)), plain)


def test_drafts_of_the_same_model_stand(own_cluster):
    cluster = own_cluster(num_workers=1, worker_args=(
        "--speculation", "draft_model", "--draft-model", model_path(), "--draft-kv-memory", "64MiB"))
    worker, client = cluster.workers[0], cluster.router.client()
    cases = [(PROMPTS[1], 0.7)]
    plain = [ask_with(client, (*case, False)) for case in cases]
    expect_same([ask_with(client, (*case, True)) for case in cases], plain)
    checked = counted(worker, "pingti_worker_drafts_total")
    assert counted(worker, "pingti_worker_drafts_accepted_total") > 0.9 * checked > 0
    assert counted(worker, "pingti_worker_draft_seconds_total") > 0


def test_a_draft_model_that_is_not_there_is_named(tmp_path):
    worker = Worker(tmp_path, "worker", "--speculation", "draft_model", "--draft-model", "/no/such/model")
    wait_until(lambda: worker.popen.poll() is not None, 30, "the worker gives up")
    assert worker.popen.returncode != 0
    assert "/no/such/model" in worker.text()


def write_head(directory):
    """An EAGLE-3 head for SmolLM2-135M that was never trained: its drafts are wrong, and fall."""
    hidden, inner, own = 576, 768, 512
    shapes = {"fc.weight": (hidden, 3 * hidden), "midlayer.input_layernorm.weight": (hidden,),
              "midlayer.hidden_norm.weight": (hidden,), "midlayer.post_attention_layernorm.weight": (hidden,),
              "midlayer.self_attn.q_proj.weight": (hidden, 2 * hidden),
              "midlayer.self_attn.k_proj.weight": (192, 2 * hidden),
              "midlayer.self_attn.v_proj.weight": (192, 2 * hidden),
              "midlayer.self_attn.o_proj.weight": (hidden, hidden),
              "midlayer.mlp.gate_proj.weight": (inner, hidden), "midlayer.mlp.up_proj.weight": (inner, hidden),
              "midlayer.mlp.down_proj.weight": (hidden, inner), "norm.weight": (hidden,),
              "lm_head.weight": (own, hidden)}
    header, data = {}, bytearray()
    # A pattern of small bf16 numbers of both signs, which no dimension divides.
    pattern = b"".join(struct.pack("<H", 0x3c00 + i * 37 % 256 | (i * 7919 % 2) << 15) for i in range(1021))
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += (pattern * (size // len(pattern) + 1))[:size]
    header["d2t"] = {"dtype": "I64", "shape": [own], "data_offsets": [len(data), len(data) + 8 * own]}
    data += struct.pack(f"<{own}q", *range(0, 20 * own, 20))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (directory / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": 1, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "draft_vocab_size": own,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "tie_word_embeddings": False}))


def test_a_head_changes_no_answer(own_cluster, tmp_path):
    write_head(tmp_path)
    cluster = own_cluster(num_workers=1, worker_args=("--speculation", "eagle3", "--draft-model", str(tmp_path)))
    worker, client = cluster.workers[0], cluster.router.client()
    cases = [(PROMPTS[0], 0), (PROMPTS[1], 0.7)]
    plain = [ask_with(client, (*case, False)) for case in cases]
    assert counted(worker, "pingti_worker_drafts_total") == 0
    expect_same([ask_with(client, (*case, True)) for case in cases], plain)
    assert counted(worker, "pingti_worker_drafts_total") > 0


def test_a_head_of_another_model_is_refused_by_name(tmp_path):
    write_head(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 32000}))
    worker = Worker(tmp_path, "worker", "--speculation", "eagle3", "--draft-model", str(tmp_path))
    wait_until(lambda: worker.popen.poll() is not None, 30, "the worker gives up")
    assert worker.popen.returncode != 0
    assert "'vocab_size' is 32000; expected the model's, 49152" in worker.text()


def write_mimo(folder):
    """A MiMo of two layers and its module, with random weights."""
    folder.mkdir()
    hidden, inner, tokenizer = 32, 48, tokenizer_json()
    vocab = len(tokenizer["model"]["vocab"])
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "lm_head.weight": (vocab, hidden),
              "model.norm.weight": (hidden,)}
    module = "model.mtp_layers.0."
    for layer in ("model.layers.0.", "model.layers.1.", module):
        shapes |= {layer + "mlp.gate_proj.weight": (inner, hidden), layer + "mlp.up_proj.weight": (inner, hidden),
                   layer + "mlp.down_proj.weight": (hidden, inner), layer + "self_attn.o_proj.weight": (hidden, hidden),
                   layer + "input_layernorm.weight": (hidden,), layer + "post_attention_layernorm.weight": (hidden,)}
        for name, rows in (("q", hidden), ("k", hidden // 2), ("v", hidden // 2)):
            shapes |= {f"{layer}self_attn.{name}_proj.weight": (rows, hidden),
                       f"{layer}self_attn.{name}_proj.bias": (rows,)}
    shapes |= {module + "token_layernorm.weight": (hidden,), module + "hidden_layernorm.weight": (hidden,),
               module + "final_layernorm.weight": (hidden,), module + "input_proj.weight": (hidden, 2 * hidden)}
    rng, header, data = random.Random(3), {}, bytearray()
    for name, shape in shapes.items():
        begin = len(data)
        for _ in range(math.prod(shape)):  # bf16: the upper half of a float
            data += struct.pack("<f", 1.0 if "norm" in name else rng.gauss(0, 0.3))[2:]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["MiMoForCausalLM"], "model_type": "mimo", "hidden_act": "silu", "hidden_size": hidden,
        "intermediate_size": inner, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "vocab_size": vocab, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 640000.0,
        "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0, "num_nextn_predict_layers": 1}))
    return folder


def test_a_models_own_module_changes_no_answer(tmp_path):
    worker = Worker(tmp_path, "worker", "--speculation", "mtp", model=write_mimo(tmp_path / "mimo"))
    router = Router(tmp_path, "router", [worker])
    try:
        wait_until(worker.is_ready, 60, f"worker ready\n{worker.text()[-2000:]}")
        wait_until(router.is_ready, 60, f"router ready\n{router.text()[-2000:]}")
        client = router.client()

        def ask(temperature, speculation):
            return client.completions.create(
                model=MODEL_ID, prompt="The quick brown fox", max_tokens=64, temperature=temperature, seed=7, logprobs=2,
                extra_body={"speculation": speculation}).choices[0]

        for temperature in (0, 0.7):
            plain, drafted = ask(temperature, False), ask(temperature, True)
            assert drafted.logprobs.tokens == plain.logprobs.tokens
            assert drafted.finish_reason == plain.finish_reason
        assert counted(worker, "pingti_worker_drafts_total") > 0
        assert counted(worker, "pingti_worker_draft_seconds_total") > 0
        assert counted(worker, "pingti_worker_draft_reads_total") > 0
    finally:
        router.kill()
        worker.kill()


def test_a_model_without_a_module_is_refused_by_name(tmp_path):
    worker = Worker(tmp_path, "worker", "--speculation", "mtp")
    wait_until(lambda: worker.popen.poll() is not None, 30, "the worker gives up")
    assert worker.popen.returncode != 0
    assert "has no multi-token-prediction module" in worker.text()
