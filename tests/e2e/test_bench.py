"""`pingti bench` as a user runs it: what it prints and writes, against a real router and workers."""

import json
import os
import pty
import re
import signal
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from conftest import BIN, MODEL_ID, free_ports, http_get, program_env, wait_until

LATENCIES = ["ttft_ms", "tpot_ms", "itl_ms", "e2e_ms"]
SMALL = ["--input-tokens", "16-24", "--output-tokens", "4-8"]


def command(url, *args):
    return [BIN / "pingti", "bench", "--url", url, *map(str, args)]


def bench(url, *args, timeout_s=60):
    return subprocess.run(command(url, *args), capture_output=True, text=True, timeout=timeout_s,
                          env=program_env())


def rows(table):
    """Each row's cells by its name; names and cells are at least two spaces apart."""
    return {cells[0]: cells[1:] for cells in (re.split(r" {2,}", line) for line in table.splitlines())}


def num_circles(path):
    picture = ElementTree.parse(path).getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    return len(list(picture.iter("{http://www.w3.org/2000/svg}circle")))


def num_answered(router):
    found = re.findall(r'^pingti_router_requests_total\{(.*chat/completions.*)\} (\S+)$',
                       router.metrics(), re.MULTILINE)
    return sum(int(float(count)) for labels, count in found if 'code="200"' in labels)


def check_run(run, num_requests):
    assert run["answered"] + run["failed"] + run["unfinished"] == num_requests
    assert sum(run["errors"].values()) == run["failed"]
    for name in LATENCIES:
        of = run[name]
        assert 0 <= of["p50"] <= of["p95"] <= of["p99"] <= of["max"] * 1.01, (name, of)
        assert of["mean"] <= of["max"]
    assert 0 < run["ttft_ms"]["p50"] <= run["e2e_ms"]["p50"]
    assert run["e2e_ms"]["max"] <= run["wall_s"] * 1000
    assert run["requests_per_s"] == pytest.approx(run["answered"] / run["wall_s"])
    assert run["output_tokens_per_s"] == pytest.approx(
        run["output_tokens_mean"] * run["answered"] / run["wall_s"])
    assert 0 < run["client_cpu_share"] < 1


def test_an_open_loop_run_gives_a_table_json_and_a_picture(cluster, tmp_path):
    before = num_answered(cluster.router)
    done = bench(cluster.router.url, "--rate", 12, "--requests", 12, *SMALL, "--slo-ttft-ms", 60000,
                 "--slo-e2e-ms", 60000, "--json", tmp_path / "out.json", "--svg", tmp_path / "out.svg")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", "progress is for terminals"
    out = json.loads((tmp_path / "out.json").read_text())
    assert (out["model"], out["arrivals"], out["stopped"]) == (MODEL_ID, "poisson", False)
    assert out["input_tokens"] == "16-24" and out["slo"] == {"ttft_ms": 60000, "tpot_ms": None,
                                                              "e2e_ms": 60000}
    (run,) = out["runs"]
    check_run(run, 12)
    assert (run["rate"], run["answered"], run["failed"]) == (12, 12, 0)
    assert num_answered(cluster.router) - before == 12, "the router counts what the client sent"
    assert 4 <= run["output_tokens_mean"] <= 8
    assert run["input_tokens_mean"] > 16, "the template's tokens come on top"
    assert run["goodput_share"] == 1 and run["goodput_per_s"] == pytest.approx(run["requests_per_s"])
    table = rows(done.stdout)
    assert table["due requests / s"] == ["12.0"] and table["answered"] == ["12"]
    assert table["failed"] == ["0"] and table["goodput, share"] == ["1.00"]
    for name in LATENCIES:
        for p in ("p50", "p95", "p99"):
            shown = float(table[f"{name[:-3].upper()} {p} / ms"][0])
            assert shown == pytest.approx(run[name][p], rel=0.02, abs=0.001)
    assert num_circles(tmp_path / "out.svg") == 10


def test_a_concurrency_sweep_has_a_column_for_each_load(cluster, tmp_path):
    done = bench(cluster.router.url, "--concurrency", "1,2,4", "--requests", 6, *SMALL, "--warmup", 2,
                 "--temperature", 0, "--json", tmp_path / "out.json", "--svg", tmp_path / "out.svg")
    assert done.returncode == 0, done.stdout + done.stderr
    out = json.loads((tmp_path / "out.json").read_text())
    assert out["arrivals"] == "closed"
    assert [run["concurrency"] for run in out["runs"]] == [1, 2, 4]
    for run in out["runs"]:
        check_run(run, 6)
        assert run["most_in_flight"] == run["concurrency"]
    assert rows(done.stdout)["streams"] == ["1.00", "2.00", "4.00"]
    assert num_circles(tmp_path / "out.svg") == 30


def test_a_dataset_is_sent_line_by_line(cluster, tmp_path):
    dataset = tmp_path / "prompts.jsonl"
    dataset.write_text('{"prompt": "One fruit?", "max_tokens": 2}\n\n'
                       '{"messages": [{"role": "system", "content": "Be brief."},'
                       ' {"role": "user", "content": "One tree?"}], "max_tokens": 3}\n'
                       '{"prompt": "One river?"}\n')
    done = bench(cluster.router.url, "--concurrency", 2, "--requests", 6, "--dataset", dataset,
                 "--output-tokens", 4, "--json", tmp_path / "out.json")
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads((tmp_path / "out.json").read_text())["runs"]
    check_run(run, 6)
    assert run["output_tokens_mean"] == 3, "each line twice: 2, 3 and 4 tokens"


def test_completions_are_measured_as_well(cluster):
    done = bench(cluster.router.url, "--concurrency", 2, "--requests", 4, "--endpoint", "completions",
                 *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows(done.stdout)["answered"] == ["4"]


def test_missed_goodput_has_its_own_exit_status(cluster):
    done = bench(cluster.router.url, "--concurrency", 2, "--requests", 4, *SMALL, "--slo-e2e-ms",
                 0.001, "--require-goodput", 0.5)
    assert done.returncode == 3
    assert rows(done.stdout)["goodput, share"] == ["0.000"]


@pytest.mark.parametrize("args, words", [
    ([], "expected exactly one of --rate and --concurrency"),
    (["--rate", 1, "--concurrency", 1], "expected exactly one of --rate and --concurrency"),
    (["--rate", 0], "--rate 0"),
    (["--rate", "fast"], "--rate"),
    (["--concurrency", 0], "--concurrency 0"),
    (["--concurrency", 9, "--max-in-flight", 8], "--max-in-flight (8)"),
    (["--concurrency", 1, "--arrivals", "constant"], "--arrivals requires --rate"),
    (["--rate", 1, "--arrivals", "uniform"], "--arrivals"),
    (["--rate", 1, "--requests", 0], "--requests"),
    (["--rate", 1, "--input-tokens", "8-4"], "'8-4' is no length"),
    (["--rate", 1, "--output-tokens", "many"], "'many' is no length"),
    (["--rate", 1, "--shared-prefix", 64, "--input-tokens", "64"], "--shared-prefix 64"),
    (["--rate", 1, "--dataset", "x.jsonl", "--input-tokens", 8], "--input-tokens excludes --dataset"),
    (["--rate", 1, "--dataset", "x.jsonl", "--shared-prefix", 8], "--shared-prefix"),
    (["--rate", 1, "--endpoint", "images"], "--endpoint"),
    (["--rate", 1, "--require-goodput", 0.5], "--require-goodput needs a limit"),
    (["--rate", 1, "--require-goodput", 2, "--slo-ttft-ms", 1], "--require-goodput"),
    (["--rate", 1, "--slo-e2e-ms", -1], "--slo-e2e-ms"),
    (["--rate", 1, "--temperature", -1], "--temperature"),
    (["--rate", 1, "--tempreature", 1], "--tempreature"),
    (["--rate", 1, "--seed", -1], "--seed: -1: expected an integer"),
    (["--rate", 1, "--api-key", "a\r\nX-Other: y"], "--api-key: expected printable ASCII"),
])
def test_wrong_flags_are_refused_by_name_before_anything_is_sent(args, words):
    done = bench("http://127.0.0.1:1", *args)
    assert done.returncode == 2
    assert words in done.stderr, done.stderr
    assert done.stdout == ""


def test_a_server_that_is_not_there_is_named():
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    done = bench(url, "--rate", 1)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr and done.stderr.startswith("error: ")
    named = bench(url, "--model", "m", "--rate", 50, "--requests", 3)
    assert named.returncode == 1
    assert rows(named.stdout)["failed"] == ["3"] and "3 x connect" in named.stdout


def test_what_the_server_refuses_is_counted_and_told(cluster):
    done = bench(cluster.router.url, "--model", "gpt-9", "--concurrency", 2, "--requests", 3, *SMALL)
    assert done.returncode == 1
    assert rows(done.stdout)["failed"] == ["3"]
    assert "3 x HTTP 404" in done.stdout and "gpt-9" in done.stdout


@pytest.mark.parametrize("lines, status, words", [
    ('{"prompt": "a"}\n{"prompt": 3}\n', 2, "line 2"),
    ("", 2, "is empty"),
    (None, 1, "cannot be read"),
    ("a folder", 1, "cannot be read"),
])
def test_a_bad_dataset_is_refused_with_its_line(cluster, tmp_path, lines, status, words):
    dataset = tmp_path / "prompts.jsonl"
    if lines == "a folder":
        dataset.mkdir()
    elif lines is not None:
        dataset.write_text(lines)
    done = bench(cluster.router.url, "--rate", 1, "--dataset", dataset)
    assert done.returncode == status
    assert words in done.stderr and "prompts.jsonl" in done.stderr


@pytest.mark.parametrize("flag", ["--json", "--svg"])
def test_a_file_that_cannot_be_written_is_named_before_hours_are_measured(cluster, flag):
    done = bench(cluster.router.url, "--concurrency", 1, "--requests", 1, *SMALL, flag,
                 "/no/such/folder/out")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: '/no/such/folder/out' cannot be written\n"


def test_what_was_measured_is_printed_when_the_disk_is_full(cluster):
    done = bench(cluster.router.url, "--concurrency", 1, "--requests", 1, *SMALL, "--json",
                 "/dev/full")
    assert done.returncode == 1
    assert "'/dev/full' cannot be written" in done.stderr
    assert rows(done.stdout)["answered"] == ["1"]


def num_running(cluster):
    pages = [http_get(f"http://127.0.0.1:{worker.admin_port}/metrics")[1] for worker in cluster.workers]
    return sum(float(count) for page in pages
               for count in re.findall(r"^pingti_worker_running_sequences\S* (\S+)$", page, re.MULTILINE))


def test_ctrl_c_prints_what_was_measured_so_far(cluster, tmp_path):
    before = num_answered(cluster.router)
    running = subprocess.Popen(
        command(cluster.router.url, "--rate", 30, "--requests", 1000, "--input-tokens", 16,
                "--output-tokens", "4-400", "--json", tmp_path / "out.json"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=program_env())
    try:
        wait_until(lambda: num_answered(cluster.router) - before >= 2 and num_running(cluster) > 0, 20,
                   "some were answered, some run")
        running.send_signal(signal.SIGINT)
        table, errors = running.communicate(timeout=10)
    finally:
        running.kill()
    assert running.returncode == 130, errors
    out = json.loads((tmp_path / "out.json").read_text())
    (run,) = out["runs"]
    assert out["stopped"] is True
    assert run["answered"] >= 1 and run["unfinished"] >= 1 and run["failed"] == 0
    assert run["answered"] + run["unfinished"] < 1000
    assert rows(table)["unfinished"] == [str(run["unfinished"])]
    wait_until(lambda: num_running(cluster) == 0, 60, "the workers stop what nobody reads")


def test_a_terminal_gets_a_progress_bar(cluster):
    master, slave = pty.openpty()
    running = subprocess.Popen(command(cluster.router.url, "--concurrency", 1, "--requests", 4,
                                       "--input-tokens", 16, "--output-tokens", 24),
                               stdout=subprocess.DEVNULL, stderr=slave, env=program_env())
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:
        pass  # how Linux tells the end of a pseudo-terminal
    try:
        assert running.wait(20) == 0
    finally:
        os.close(master)
        running.kill()
    lines = re.findall(r"1 streams \[(#*)(\.*)\] (\d+)/4, \d+ running, 0 failed, \d+ tokens/s",
                       shown.decode())
    assert lines, shown
    assert all(len(done) + len(left) == 24 for done, left, _ in lines)
    assert lines[-1][2] == "4", "the last line shows the end"
    assert shown.endswith(b"\r\x1b[K"), "and is wiped"
