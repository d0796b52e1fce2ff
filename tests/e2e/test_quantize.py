"""`pingti quantize`: the files it writes, by the rules of safetensors and compressed-tensors alone; what
it refuses; and that it leaves nothing half."""

import json
import resource
import signal
import struct
import subprocess

import pytest

import conftest

TINY = conftest.ROOT / "tests/golden/model/tiny"
FAMILIES = ["llama3", "llama_linear_mha", "llama_dynamic", "llama_mqa_bias_tied", "qwen2", "qwen2_yarn", "qwen3",
            "mistral_window"]


def quantize(*args, **kwargs):
    return subprocess.run([conftest.BIN / "pingti", "quantize", *map(str, args), "--threads", "1", "--device", "cpu"],
                          capture_output=True, text=True, env=conftest.program_env(), **kwargs)


def read_tensors(folder):
    """Name to dtype, shape and bytes, of every safetensors file of the folder."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8:8 + length])
        end = 0
        for name, entry in sorted(((n, e) for n, e in header.items() if n != "__metadata__"),
                                  key=lambda item: item[1]["data_offsets"]):
            begin, finish = entry["data_offsets"]
            assert begin == end, f"{name}: a gap or an overlap"
            end = finish
            tensors[name] = (entry["dtype"], entry["shape"], data[8 + length + begin:8 + length + finish])
        assert 8 + length + end == len(data)
    return tensors


def values(tensor):
    dtype, _, data = tensor
    if dtype == "I8":
        return struct.unpack(f"<{len(data)}b", data)
    if dtype == "F32":
        return struct.unpack(f"<{len(data) // 4}f", data)
    assert dtype == "BF16"
    return [struct.unpack("<f", struct.pack("<I", bits << 16))[0]
            for bits in struct.unpack(f"<{len(data) // 2}H", data)]


@pytest.mark.parametrize("family", FAMILIES)
def test_files_follow_the_formats_rules(family, tmp_path):
    done = quantize(TINY / family, tmp_path / "out", "--keep", "model.layers.1.mlp.down_proj")
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "out/config.json").read_text())
    quantization = config.pop("quantization_config")
    assert config == json.loads((TINY / family / "config.json").read_text())
    assert quantization["quant_method"] == "compressed-tensors"
    assert quantization["format"] == "int-quantized"
    assert quantization["ignore"] == ["lm_head", "model.layers.1.mlp.down_proj"]
    (group,) = quantization["config_groups"].values()
    assert group["targets"] == ["Linear"]
    assert {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}.items() <= group["weights"].items()
    assert group["input_activations"]["dynamic"] is True and group["input_activations"]["strategy"] == "token"

    before, after = read_tensors(TINY / family), read_tensors(tmp_path / "out")
    quantized = [name for name in before if name.endswith("_proj.weight") and
                 name != "model.layers.1.mlp.down_proj.weight"]
    assert len(quantized) == 13
    for name, original in before.items():
        if name not in quantized:
            assert after[name] == original, name
            continue
        rows, cols = original[1]
        assert after[name][:2] == ("I8", [rows, cols])
        assert after[name + "_scale"][1] == [rows, 1]
        scales, numbers, wanted = values(after[name + "_scale"]), values(after[name]), values(original)
        for r in range(rows):
            for i in range(r * cols, (r + 1) * cols):
                assert abs(wanted[i] - scales[r] * numbers[i]) <= 0.501 * scales[r], f"{name} row {r}"
    assert set(after) == set(before) | {name + "_scale" for name in quantized}


def test_int4_follows_the_formats_rules(tmp_path):
    done = quantize(TINY / "qwen3_moe", tmp_path / "out", "--format", "int4", "--group-size", "32")
    assert done.returncode == 0, done.stderr
    assert "KL  " in done.stdout, done.stdout
    quantization = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    assert quantization["format"] == "pack-quantized"
    (group,) = quantization["config_groups"].values()
    assert group["input_activations"] is None
    assert group["weights"] == {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32,
                                "dynamic": False}

    before, after = read_tensors(TINY / "qwen3_moe"), read_tensors(tmp_path / "out")
    packed = [name for name in before if name.endswith("_proj.weight")]
    assert any(".experts." in name for name in packed)
    assert set(after) == set(before) - set(packed) | {
        name + end for name in packed for end in ("_packed", "_scale", "_shape")}
    for name in packed:
        rows, cols = before[name][1]
        assert after[name + "_packed"][:2] == ("I32", [rows, cols // 8])
        assert after[name + "_scale"][1] == [rows, cols // 32]
        assert struct.unpack("<2q", after[name + "_shape"][2]) == (rows, cols)
        wanted, scales = values(before[name]), values(after[name + "_scale"])
        words = struct.unpack(f"<{rows * cols // 8}I", after[name + "_packed"][2])
        for i, want in enumerate(wanted):
            scale = scales[i // 32]
            q = (words[i // 8] >> (4 * (i % 8)) & 15) - 8
            # The nearest of the sixteen, or the end of the range.
            assert abs(want - scale * q) <= 0.501 * scale or q == (7 if want > 0 else -8), f"{name} value {i}"


def test_the_report_has_errors_kl_and_perplexity(tmp_path):
    done = quantize(TINY / "qwen2", tmp_path / "out", "--smoothquant-alpha", "0.5", "--max-error", "0.0001")
    assert done.returncode == 0, done.stderr
    for part in ("kept        8 of 8 products", "perplexity ", "KL          0 nats", "same likeliest token 100.0 %",
                 f"written     {tmp_path / 'out'}"):
        assert part in done.stdout, done.stdout


def test_companions_are_copied_and_the_rest_is_named(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        (source / name).write_bytes((TINY / "qwen2" / name).read_bytes())
    (source / "generation_config.json").write_text('{"eos_token_id": [2]}')
    (source / "LICENSE").write_text("a licence")
    (source / "pytorch_model.bin").write_bytes(b"other weights")
    done = quantize(source, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "LICENSE", "config.json", "generation_config.json", "model.safetensors"]
    assert "not copied  pytorch_model.bin" in done.stdout


@pytest.mark.parametrize("arguments, words", [
    (["{tiny}/qwen2_int8", "{out}"], "is quantized already"),
    (["{tiny}/gguf_llama_k", "{out}"], "expected a directory with safetensors"),
    (["{tiny}/qwen2", "{folder}"], "exists; nothing is overwritten"),
    (["{tiny}/qwen2", "/nonexistent/out"], "/nonexistent"),
    (["{tiny}/nothing", "{out}"], "does not exist"),
    (["{tiny}/qwen2", "{out}", "--keep", "nothing.*"], "'nothing.*' matches no module"),
    (["{tiny}/qwen2", "{out}", "--calibration", "x"], "--smoothquant-alpha"),
    (["{tiny}/qwen2", "{out}", "--smoothquant-alpha", "2"], "2"),
    (["{tiny}/qwen2", "{out}", "--format", "int5"], "--format: 'int5': expected one of int8, int4"),
    (["{tiny}/qwen2", "{out}", "--group-size", "32"], "--group-size: expected with --format int4"),
    (["{tiny}/qwen2", "{out}", "--format", "int4", "--group-size", "48"], "--group-size 48"),
    (["{tiny}/qwen2", "{out}", "--format", "int4", "--smoothquant-alpha", "0.5"], "--smoothquant-alpha"),
])
def test_what_is_wrong_is_named(arguments, words, tmp_path):
    done = quantize(*(a.format(tiny=TINY, out=tmp_path / "out", folder=tmp_path) for a in arguments))
    assert done.returncode != 0
    assert words in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    done = quantize(TINY / "qwen2", tmp_path / "out", preexec_fn=limit, restore_signals=False)
    assert done.returncode == 1
    assert "cannot write" in done.stderr and "shard-0" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def write_large_model(folder, layers, hidden=1024, inner=4096):
    """A llama of zeros: a hole in the file, which takes no disk, and seconds to quantize."""
    config = {"architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "tie_word_embeddings": True,
              "max_position_embeddings": 256, "num_attention_heads": 16, "hidden_size": hidden,
              "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": 256}
    shapes = {"model.embed_tokens": [256, hidden], "model.norm": [hidden]}
    for layer in (f"model.layers.{i}." for i in range(layers)):
        shapes |= {layer + name: [hidden] for name in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {f"{layer}self_attn.{name}_proj": [hidden, hidden] for name in "qkvo"}
        shapes |= {f"{layer}mlp.{name}_proj": [inner, hidden] for name in ("gate", "up")}
        shapes[layer + "mlp.down_proj"] = [hidden, inner]
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)
        header[name + ".weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def test_ctrl_c_leaves_nothing(tmp_path):
    write_large_model(tmp_path / "in", layers=40)
    process = subprocess.Popen([conftest.BIN / "pingti", "quantize", tmp_path / "in", tmp_path / "out",
                                "--threads", "1", "--device", "cpu"],
                               stderr=subprocess.PIPE, text=True, env=conftest.program_env())
    try:
        assert process.stderr.readline() == "layer 0 done\n"
        assert len(list(tmp_path.glob("out.partial-*"))) == 1
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
