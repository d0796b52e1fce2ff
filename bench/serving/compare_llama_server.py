#!/usr/bin/env python3
"""Question: is pingti on a CPU as fast as llama.cpp's server with the same GGUF file and cores?

Starts one server after the other on the same CPUs and sends both the same requests over HTTP: prompts
of 128 random token ids with 128 tokens out (greedy, past the end of text) from 1, 8 and 32 streams, then
single prompts of 1,024 ids with one token out. Every prompt is new, so no prefix cache helps. Rounds
alternate which server goes first; each has its own warm-up; the table holds medians over rounds and the
ratio pingti / llama.cpp. Baseline: llama-server, built as README.md here says.

    python3 bench/serving/compare_llama_server.py --llama-server LLAMA/bin/llama-server \
        --model MODEL.gguf --cpus 0,1 --json result.json

Needs nothing but Python. The client runs on --client-cpus if given, else on the same CPUs.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/testing"))
from ports import free_port  # noqa: E402

from processes import Processes  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPT_TOKENS, OUTPUT_TOKENS, LONG_PROMPT = 128, 128, 1024
MAX_STREAMS = 32
REQUEST_TIMEOUT_S = 600


class Server(Processes):
    """On the given CPUs."""

    def __init__(self, name, options, folder):
        super().__init__(folder, options.cpus)
        self.name, self.options = name, options


class Llama(Server):
    def start(self):
        o = self.options
        self.port = free_port()
        context = MAX_STREAMS * (LONG_PROMPT + OUTPUT_TOKENS)  # slots share it out evenly
        self.spawn("llama-server",
                   [o.llama_server, "-m", o.model, "--host", "127.0.0.1", "--port", self.port, "-t",
                    len(o.cpus), "-tb", len(o.cpus), "-np", MAX_STREAMS, "-c", context,
                    *o.llama_args.split()])
        self.wait_ready(f"http://127.0.0.1:{self.port}/health")


class Pingti(Server):
    def start(self):
        o = self.options
        worker, worker_admin, self.port, grpc, admin = (free_port() for _ in range(5))
        self.spawn("pingti-worker",
                   [o.bin / "pingti-worker", "--model", o.model, "--model-id", "model", "--port", worker,
                    "--admin-port", worker_admin, "--threads", len(o.cpus), "--max-batch-size",
                    MAX_STREAMS, *o.worker_args.split()])
        self.wait_ready(f"http://127.0.0.1:{worker_admin}/readyz")
        self.spawn("pingti-router",
                   [o.bin / "pingti-router", "--address", "127.0.0.1", "--workers",
                    f"127.0.0.1:{worker}", "--http-port", self.port, "--grpc-port", grpc,
                    "--admin-port", admin])
        self.wait_ready(f"http://127.0.0.1:{admin}/readyz")


class Answer:
    def __init__(self, ttft_s, total_s, usage):
        self.ttft_s, self.total_s, self.usage = ttft_s, total_s, usage


async def complete(port, prompt, output_tokens):
    """One streamed completion. Raw HTTP/1.1: the client must not be what is measured."""
    body = json.dumps({"model": "model", "prompt": prompt, "max_tokens": output_tokens, "stream": True,
                       "stream_options": {"include_usage": True}, "temperature": 0,
                       "ignore_eos": True}).encode()
    begin = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                     b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                     % (len(body), body))
        status = (await reader.readline()).split()
        first, usage = None, None
        async for line in reader:
            # The framing of chunked transfer stands on lines of its own, so data lines are whole.
            if not line.startswith(b"data: {"):
                continue
            first = first or time.perf_counter()
            if b'"usage":{' in line:
                usage = json.loads(line[6:])["usage"]
        if int(status[1]) != 200 or usage is None:
            raise RuntimeError(f"status {status}, usage {usage}")
        return Answer(first - begin, time.perf_counter() - begin, usage)
    finally:
        writer.close()


def new_prompt(rng, length):
    return [rng.randrange(1000, 40000) for _ in range(length)]


async def run_streams(port, rng, streams, requests_each, length, output_tokens):
    """Each stream sends its next request when the last is answered. Seconds from first to last."""
    prompts = [[new_prompt(rng, length) for _ in range(requests_each)] for _ in range(streams)]
    results = []

    async def stream(own):
        for prompt in own:
            answer = await asyncio.wait_for(complete(port, prompt, output_tokens), REQUEST_TIMEOUT_S)
            if answer.usage["completion_tokens"] != output_tokens:
                raise RuntimeError(f"{answer.usage}: expected {output_tokens} tokens out")
            if not length <= answer.usage["prompt_tokens"] <= length + 1:  # one may begin the text
                raise RuntimeError(f"{answer.usage}: expected {length} tokens in")
            results.append(answer)

    begin = time.perf_counter()
    await asyncio.gather(*map(stream, prompts))
    return time.perf_counter() - begin, results


async def measure(server, options, rng):
    """The figures of one round, by name; larger is better but for *_ms."""
    figures = {}
    await run_streams(server.port, rng, 1, 1, LONG_PROMPT, 1)
    for streams in options.streams:
        await run_streams(server.port, rng, streams, 1, PROMPT_TOKENS, 16)
        each = options.requests * (2 if streams == 1 else 1)
        seconds, results = await run_streams(server.port, rng, streams, each, PROMPT_TOKENS,
                                             OUTPUT_TOKENS)
        tokens = sum(r.usage["completion_tokens"] for r in results)
        figures[f"{streams} streams, tok/s"] = tokens / seconds
        figures[f"{streams} streams, first token ms"] = 1e3 * statistics.median(
            r.ttft_s for r in results)
    seconds = [(await run_streams(server.port, rng, 1, 1, LONG_PROMPT, 1))[0] for _ in range(3)]
    figures[f"prompt of {LONG_PROMPT}, tok/s"] = LONG_PROMPT / statistics.median(seconds)
    return figures


def report(rounds):
    """Medians over rounds and their ratio."""
    table = {}
    for figure in rounds[0]["pingti"]:
        ours, theirs = ([r[name][figure] for r in rounds] for name in ("pingti", "llama.cpp"))
        a, b = statistics.median(ours), statistics.median(theirs)
        ratios = sorted(x / y for x, y in zip(ours, theirs))
        table[figure] = {"pingti": a, "llama.cpp": b, "ratio": a / b,
                         "ratio_range": [ratios[0], ratios[-1]]}
    print(f"| {'':28} | {'pingti':>9} | {'llama.cpp':>9} | ratio | by round    |")
    print("|---|---|---|---|---|")
    for figure, row in table.items():
        low, high = row["ratio_range"]
        print(f"| {figure:28} | {row['pingti']:9.1f} | {row['llama.cpp']:9.1f} | {row['ratio']:5.2f} "
              f"| {low:.2f} - {high:.2f} |")
    return table


def cpu_list(text):
    return {int(part) for part in text.split(",")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-server", required=True, type=pathlib.Path)
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--bin", default=ROOT / "build/release/bin", type=pathlib.Path,
                        help="folder of pingti's programs")
    parser.add_argument("--cpus", default="0,1", type=cpu_list, help="of the servers")
    parser.add_argument("--client-cpus", type=cpu_list, help="of this client")
    parser.add_argument("--streams", default="1,8,32", type=lambda t: [int(s) for s in t.split(",")])
    parser.add_argument("--requests", default=2, type=int, help="per stream and round (1 stream: twice)")
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--llama-args", default="", help="further arguments of llama-server")
    parser.add_argument("--worker-args", default="", help="further arguments of pingti-worker")
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--json", type=pathlib.Path, help="file for all figures")
    options = parser.parse_args()
    if max(options.streams) > MAX_STREAMS:
        parser.error(f"at most {MAX_STREAMS} streams")
    os.sched_setaffinity(0, options.client_cpus or options.cpus)

    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            servers = [kind(name, options, pathlib.Path(folder))
                       for kind, name in ((Pingti, "pingti"), (Llama, "llama.cpp"))]
            figures = {}
            for server in servers if number % 2 == 0 else reversed(servers):
                try:
                    server.start()
                    figures[server.name] = asyncio.run(
                        measure(server, options, random.Random(options.seed + number)))
                finally:
                    server.stop()
                print(f"round {number + 1}, {server.name}: " + ", ".join(
                    f"{k} {v:.1f}" for k, v in figures[server.name].items()), file=sys.stderr)
            rounds.append(figures)
    table = report(rounds)
    if options.json:
        with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
            cpu = next((line.split(":")[1].strip() for line in cpuinfo if "model name" in line), "")
        version = subprocess.run([options.llama_server, "--version"], capture_output=True, text=True,
                                 check=False)
        options.json.write_text(json.dumps(
            {"cpu": cpu, "cpus": sorted(options.cpus), "model": options.model.name,
             "llama_version": (version.stdout + version.stderr).strip(), "table": table,
             "rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
