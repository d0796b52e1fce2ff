"""200 random schemas, a model with random weights: only the mask can keep its answers valid."""

import concurrent.futures
import json
import random
import struct

import jsonschema
import openai
import pytest

from conftest import MODEL_ID, Cluster, Router, Worker, wait_until

NUM_SCHEMAS = 200
WORDS = [" ", '"', '":', '", "', '": "', "{", '{"', "}", '"}', "[", "]", "],", ",", ", ", "true",
         "false", "null", "-", "0.", "12", "34", "e+", "\\u", '\\"', "ab", "xyz", "é", "日本", "name",
         "20", "-0", "T1", "://", "}}", "]}", '"]', "  ", "\n", "the ", " and"]


def byte_alphabet():
    """GPT-2's: each byte as one printable character."""
    kept = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(256, 512))
    return {byte: chr(byte) if byte in kept else chr(next(spare)) for byte in range(256)}


def tokenizer_json():
    alphabet = byte_alphabet()
    vocab = {"<|end|>": 0}
    for byte in range(256):
        vocab[alphabet[byte]] = len(vocab)
    merges = []
    for word in WORDS:
        pieces = [alphabet[byte] for byte in word.encode()]
        left = pieces[0]
        for right in pieces[1:]:
            if left + right not in vocab:
                vocab[left + right] = len(vocab)
                merges.append(f"{left} {right}")
            left += right
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": False}
    end = {"id": 0, "content": "<|end|>", "single_word": False, "lstrip": False, "rstrip": False,
           "normalized": False, "special": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end],
            "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None,
            "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": vocab, "merges": merges}}


HIDDEN = 32


def random_weights(vocab_size):
    """A safetensors file of one layer, in BF16: the upper half of a float."""
    layer = "model.layers.0."
    shapes = {"model.embed_tokens.weight": (vocab_size, HIDDEN), "lm_head.weight": (vocab_size, HIDDEN),
              layer + "self_attn.q_proj.weight": (HIDDEN, HIDDEN),
              layer + "self_attn.k_proj.weight": (HIDDEN // 2, HIDDEN),
              layer + "self_attn.v_proj.weight": (HIDDEN // 2, HIDDEN),
              layer + "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
              layer + "mlp.gate_proj.weight": (2 * HIDDEN, HIDDEN),
              layer + "mlp.up_proj.weight": (2 * HIDDEN, HIDDEN),
              layer + "mlp.down_proj.weight": (HIDDEN, 2 * HIDDEN),
              layer + "input_layernorm.weight": (HIDDEN,),
              layer + "post_attention_layernorm.weight": (HIDDEN,), "model.norm.weight": (HIDDEN,)}
    drawn = random.Random(1)
    header, data = {}, bytearray()
    for name, shape in shapes.items():
        begin = len(data)
        for _ in range(shape[0] * (shape[1] if len(shape) > 1 else 1)):
            data += struct.pack("<f", 1.0 if len(shape) == 1 else drawn.gauss(0, 0.3))[2:]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


@pytest.fixture(scope="module")
def random_client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random")
    model = folder / "model"
    model.mkdir()
    tokenizer = tokenizer_json()
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    vocab_size = len(tokenizer["model"]["vocab"])
    (model / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "vocab_size": vocab_size, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
        "eos_token_id": 0, "bos_token_id": 0, "hidden_act": "silu", "torch_dtype": "bfloat16"}))
    (model / "model.safetensors").write_bytes(random_weights(vocab_size))
    cluster = Cluster.__new__(Cluster)
    cluster.workers = [Worker(folder, "worker", model=model)]
    cluster.router = Router(folder, "router", cluster.workers)
    try:
        wait_until(cluster.workers[0].is_ready, 60, "worker ready")
        wait_until(cluster.router.is_ready, 30, "router ready")
        yield cluster.router.client()
    finally:
        cluster.close()


class Schemas:
    """Bounded ones, so that a random text ends."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.definitions = {}

    def make(self):
        schema = self.value(3)
        if self.definitions:
            schema = {"allOf": [schema], "$defs": self.definitions}
        return schema

    def value(self, depth):
        leaves = [self.string, self.integer, self.number, self.constant, self.types]
        inner = [self.object, self.object, self.array, self.any_of, self.reference, self.all_of]
        kind = self.random.choice(leaves + (inner * 2 if depth > 0 else []))
        return kind(depth - 1)

    def string(self, _):
        low = self.random.randrange(4)
        return self.random.choice([
            {"type": "string", "minLength": low, "maxLength": low + self.random.randrange(5)},
            {"type": "string", "pattern": "^[a-c]{2,3}(-|_)\\d+\\.$".replace("+", "{1,4}")},
            {"type": "string", "pattern": "^(é|日|\\\\|\"){1,3}$"},
            {"type": "string", "format": self.random.choice(["date", "uuid", "ipv4"])},
            {"type": "string", "maxLength": 3, "title": "a", "description": "b"},
        ])

    def integer(self, _):
        low = self.random.randrange(-5000, 5000)
        high = low + self.random.choice([0, 1, 7, 100, 12345])
        return self.random.choice([
            {"type": "integer", "minimum": low, "maximum": high},
            {"type": "integer", "exclusiveMinimum": low, "exclusiveMaximum": high + 2},
            {"type": "integer"},
        ])

    def number(self, _):
        low = self.random.randrange(-300, 300) / 4
        return self.random.choice([{"type": "number"},
                                   {"type": "number", "minimum": low, "maximum": low + 2.5}])

    def constant(self, _):
        values = ["a", "é\"\\", 1, -2.5, True, None, [1, {"k": "v"}], {}, {"z": [], "a": "\n"}]
        if self.random.random() < 0.3:
            return {"const": self.random.choice(values)}
        return {"enum": self.random.sample(values, self.random.randrange(1, 5))}

    def types(self, _):
        return self.random.choice([{"type": "boolean"}, {"type": "null"},
                                   {"type": ["boolean", "null", "integer"]}])

    def object(self, depth):
        names = self.random.sample(["a", "b b", "é", "\"q\"", "name", "x1", "$ref"],
                                   self.random.randrange(0, 5))
        schema = {"type": "object", "properties": {name: self.value(depth) for name in names},
                  "additionalProperties": False}
        schema["required"] = [name for name in names if self.random.random() < 0.6]
        return schema

    def array(self, depth):
        low = self.random.randrange(3)
        schema = {"type": "array", "items": self.value(depth), "minItems": low,
                  "maxItems": low + self.random.randrange(3)}
        if self.random.random() < 0.3:
            schema["prefixItems"] = [self.value(depth)]
        return schema

    def any_of(self, depth):
        return {"anyOf": [self.value(depth) for _ in range(self.random.randrange(1, 4))]}

    def all_of(self, depth):
        one = {"type": "object", "properties": {"l": self.value(depth)}, "required": ["l"]}
        two = {"type": "object", "properties": {"r": self.value(depth)}}
        return {"allOf": [one, two]}

    def reference(self, depth):
        name = f"d{len(self.definitions)}"
        self.definitions[name] = {}
        self.definitions[name] = self.value(depth)
        return {"$ref": f"#/$defs/{name}"}


def test_every_answer_that_ends_is_valid(random_client):
    checker = jsonschema.FormatChecker(["date", "uuid", "ipv4"])

    def run(seed):
        schema = Schemas(seed).make()
        jsonschema.Draft202012Validator.check_schema(schema)
        answer = random_client.completions.create(
            model=MODEL_ID, prompt="x", max_tokens=1500, temperature=1, seed=seed,
            extra_body={"guided_json": schema}).choices[0]
        if answer.finish_reason != "stop":
            return False
        value = json.loads(answer.text)
        jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator,
                            format_checker=checker)
        return True

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        ended = list(pool.map(run, range(NUM_SCHEMAS)))
    assert sum(ended) >= NUM_SCHEMAS * 0.95, sum(ended)


def test_without_the_mask_nothing_would_be_valid(random_client):
    for seed in range(20):
        text = random_client.completions.create(model=MODEL_ID, prompt="x", max_tokens=30,
                                                temperature=1, seed=seed).choices[0].text
        with pytest.raises(ValueError):
            json.loads(text)


def test_a_schema_that_nothing_satisfies_is_refused(random_client):
    with pytest.raises(openai.BadRequestError):
        random_client.completions.create(
            model=MODEL_ID, prompt="x",
            extra_body={"guided_json": {"allOf": [{"type": "string"}, {"type": "integer"}]}})
