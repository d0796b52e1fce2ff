#!/usr/bin/env python3
"""Question: what do clients get from some GPUs, router included, for a model of a published shape?

Starts pingti-workers with random weights of a config.json's shapes (`load_format: dummy`) and a router,
and asks with `pingti bench`: streams kept running, then open-loop arrivals. Prints the time to ready, the
most memory that a card had in use, and a table; --json keeps all. Needs nothing but Python and a GPU.

    python3 bench/serving/serve_random_model.py --bin build/release/bin \
        --shape bench/backend/shapes/qwen2.5-7b --worker dtype=int8 \
        --run "--concurrency 1,32 --input-tokens 512 --output-tokens 128 --requests 64"

--worker KEY=VALUE is passed to each worker as --KEY VALUE; each --run is one call of `pingti bench`. Of
several --workers each takes `tensor_parallel` GPUs of its own, the first from GPU 0 on.
"""

import argparse
import json
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/testing"))
from ports import free_ports  # noqa: E402

from processes import Processes  # noqa: E402

RUN_TIMEOUT_S = 400
COLUMNS = ("answered", "failed", "requests_per_s", "output_tokens_per_s")


def byte_alphabet():
    """The characters by which byte-level BPE writes the 256 bytes (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(others))]


def write_tokenizer(folder, config):
    """A byte-level BPE of the config's size: the bytes, and words that only answers have."""
    size, end = config["vocab_size"], config["eos_token_id"]
    vocab = {token: i for i, token in enumerate(byte_alphabet())}
    for i in range(len(vocab), size):
        vocab[f"\u0120t{i}"] = i
    del vocab[f"\u0120t{end}"]
    added = [{"id": end, "content": "<|im_end|>", "single_word": False, "lstrip": False,
              "rstrip": False, "normalized": False, "special": True}]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
                 "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
                 "model": {"type": "BPE", "dropout": None, "unk_token": None,
                           "continuing_subword_prefix": "", "end_of_word_suffix": "",
                           "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                           "vocab": vocab, "merges": []}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))


def fill_folder(options, folder):
    """What a worker is given as its model."""
    for file in options.shape.iterdir():
        shutil.copy(file, folder)
    if options.load_format == "dummy":
        write_tokenizer(folder, json.loads((folder / "config.json").read_text()))


def device_mib():
    """Of the card that has the most in use; 0 where no driver is."""
    if shutil.which("nvidia-smi") is None:
        return 0
    shown = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
                           capture_output=True, text=True, check=False)
    return max(map(int, shown.stdout.split())) if shown.returncode == 0 else 0


class Memory(threading.Thread):
    """The most memory that the device had in use, looked at four times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most = 0
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.wait(0.25):
            self.most = max(self.most, device_mib())


class Servers(Processes):
    def __init__(self, options, folder):
        super().__init__(folder)
        settings = {key.replace("-", "_"): value
                    for key, _, value in (pair.partition("=") for pair in options.worker)}
        router, grpc, admin, *ports = free_ports(3 + 2 * options.workers)
        workers, admins = ports[:options.workers], ports[options.workers:]
        begin = time.monotonic()
        for i, (port, worker_admin) in enumerate(zip(workers, admins)):
            if options.workers > 1 and settings.get("device") != "cpu":
                settings["gpu_index"] = i * int(settings.get("tensor_parallel", 1))
            flags = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
            self.spawn(f"worker {i}", [options.bin / "pingti-worker", f"--model={folder}",
                                       "--model-id=shape", f"--load-format={options.load_format}",
                                       f"--port={port}", f"--admin-port={worker_admin}", *flags])
        self.spawn("router", [options.bin / "pingti-router", "--address=127.0.0.1",
                              f"--workers={','.join(f'127.0.0.1:{port}' for port in workers)}",
                              f"--http-port={router}", f"--grpc-port={grpc}", f"--admin-port={admin}"])
        for worker_admin in admins:
            self.wait_ready(f"http://127.0.0.1:{worker_admin}/readyz")
        self.wait_ready(f"http://127.0.0.1:{admin}/readyz")
        self.ready_s = time.monotonic() - begin
        self.url = f"http://127.0.0.1:{router}"


def bench(options, servers, arguments):
    out = servers.folder / "bench.json"
    command = [str(options.bin / "pingti"), "bench", "--url", servers.url, "--endpoint", "completions",
               "--json", str(out), *shlex.split(arguments)]
    out.unlink(missing_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False)
    if done.returncode != 0 or not out.is_file():
        sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}\n"
                 f"{servers.logs()}")
    return json.loads(out.read_text())


def print_run(arguments, result):
    print(f"  {arguments}")
    for run in result["runs"]:
        load = f"rate {run['rate']}" if "rate" in run else f"streams {run.get('concurrency')}"
        counts = ", ".join(f"{name} {run[name]:.6g}" for name in COLUMNS)
        times = "; ".join(f"{name[:-3]} p50 {run[name]['p50']:.1f} p95 {run[name]['p95']:.1f} p99 "
                          f"{run[name]['p99']:.1f}" for name in ("ttft_ms", "tpot_ms", "itl_ms", "e2e_ms"))
        print(f"    {load}: {counts}; ms: {times}")
        if run["errors"]:
            print(f"    errors: {run['errors']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of the programs")
    parser.add_argument("--shape", type=pathlib.Path, required=True, help="folder with a config.json")
    parser.add_argument("--worker", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--workers", type=int, default=1, help="how many, all with these settings")
    parser.add_argument("--run", action="append", default=[], metavar="ARGUMENTS")
    parser.add_argument("--load-format", default="dummy", help="auto: --shape is a whole checkpoint")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        fill_folder(options, folder)
        memory = Memory()
        memory.start()
        servers = Servers(options, folder)
        try:
            print(f"{options.shape.name} {' '.join(options.worker)}: ready after {servers.ready_s:.1f} s",
                  flush=True)
            runs = []
            for arguments in options.run:
                result = bench(options, servers, arguments)
                runs.append({"arguments": arguments, **result})
                print_run(arguments, result)
                print(f"    device memory {device_mib()} MiB", flush=True)
        finally:
            servers.stop()
            memory.stopped.set()
        print(f"  most device memory {memory.most} MiB")
        if options.json:
            options.json.write_text(json.dumps({"ready_s": servers.ready_s, "most_mib": memory.most,
                                                "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
