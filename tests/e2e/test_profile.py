"""`pingti profile` and `pingti inspect --fit` as a user runs them."""

import json
import subprocess
import sys

import pytest

import conftest

STAGES = ["embedding", "norm", "qkv", "rope_kv", "attention", "projection", "mlp", "logits", "sampling", "host"]


def pingti(*args):
    return subprocess.run([conftest.BIN / "pingti", *map(str, args)], capture_output=True, text=True,
                          env=conftest.program_env())


def test_profile_accounts_for_all_of_a_step():
    done = pingti("profile", conftest.model_path(), "--batch", 2, "--context", 64, "--decode-steps", 4,
                  "--prefill-steps", 1, "--text", conftest.ROOT / "LICENSE", "--threads", 1, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    profile = json.loads(done.stdout)
    assert (profile["batch"], profile["context"], profile["device"]) == (2, 64, "cpu")
    prefill, decode = profile["phases"]
    assert (prefill["tokens"], decode["tokens"]) == (128, 2)
    assert [s["name"] for s in prefill["stages"]] == STAGES + ["tokenizer"]
    assert [s["name"] for s in decode["stages"]] == STAGES
    for phase in (prefill, decode):
        assert all(stage["seconds"] > 0 for stage in phase["stages"])
        assert abs(sum(stage["share"] for stage in phase["stages"]) - 1) < 1e-6
        assert abs(sum(stage["seconds"] for stage in phase["stages"]) - phase["profiled_seconds"]) < 1e-6
        assert 0 < phase["stage_sum_seconds"] < phase["profiled_seconds"]
        assert phase["seconds"] > 0 and not phase["recorded"]
        shares = {stage["name"]: stage["share"] for stage in phase["stages"]}
        assert shares["mlp"] > shares["norm"]  # of this model three quarters of the blocks' weights


def test_splits_of_cards_among_workers_are_timed_side_by_side(tmp_path):
    shape, result = tmp_path / "shape", tmp_path / "result.json"
    shape.mkdir()
    (shape / "model.gguf").symlink_to(conftest.model_path())
    command = [sys.executable, conftest.ROOT / "bench/serving/compare_splits.py", "--bin", conftest.BIN, "--shape", shape,
               "--cards", "2", "--ranks", "2,1", "--batch", "1", "--context", "16", "--streams", "1", "--turns", "1",
               "--tokens", "16,4", "--device", "cpu", "--load-format", "auto", "--setting", "threads=2", "--json", result]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=conftest.program_env())
    assert done.returncode == 0, done.stderr
    together, apart = json.loads(result.read_text())
    assert [(row["workers"], row["ranks"]) for row in (together, apart)] == [(1, 2), (2, 1)]
    assert 0 < together["steps"][0]["sums"] < 1 and apart["steps"][0]["sums"] == 0
    for row in (together, apart):
        assert row["steps"][0]["step_ms"] > 0 and row["served"]["failed"] == 0
        assert abs(row["served"]["tokens_per_s"] / row["served"]["tokens_per_s_card"] - 2) < 1e-6


def test_profile_names_a_context_that_is_too_long():
    done = pingti("profile", conftest.ROOT / "tests/golden/model/tiny/qwen2", "--context", 300)
    assert done.returncode == 1
    assert "context 300" in done.stderr


@pytest.mark.parametrize("flag", [["--context", "8"], ["--cards", "3"],
                                  ["--memory-fraction", "0.5"], ["--enable-expert-parallel"]])
def test_inspect_takes_what_is_for_fit_only_with_it(flag):
    tiny = conftest.ROOT / "tests/golden/model/tiny/llama3"
    done = pingti("inspect", tiny, "--shapes-only", *flag)
    assert done.returncode == 2 and f"{flag[0]} requires --fit" in done.stderr


def test_inspect_tells_what_fits_on_which_card():
    done = pingti("inspect", conftest.ROOT / "tests/golden/model/tiny/llama3", "--shapes-only", "--fit",
                  "--context", "64,128")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    header = next(row for row in rows if row[:2] == ["card", "format"])
    assert header[-2:] == ["64", "128"]
    (h200,) = [row for row in rows if row[:2] == ["H200", "int8"]]
    assert abs(int(h200[-2]) - 2 * int(h200[-1])) <= 1
