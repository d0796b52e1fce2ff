#!/usr/bin/env python3
"""Question: how fast is pingti beside vLLM, or any other server of OpenAI's API, on the same GPUs?

Asks two running servers, one after the other, for the same work with `pingti bench`: the same prompts,
lengths, streams and temperature. Give each the whole machine while it is asked: with --ours-command and
--theirs-command this script starts each server before its turn and ends it after, so that both may use
the same GPUs. Rounds alternate which goes first; the table holds medians over rounds and the ratio
pingti / other, larger is better for tokens and smaller for times. Baseline: the server at --theirs.

    python3 bench/serving/compare_vllm.py --bin build/release/bin --name vLLM \\
        --ours http://127.0.0.1:8080 --ours-command './serve_pingti.sh' \\
        --theirs http://127.0.0.1:8000 --theirs-command 'vllm serve MODEL --port 8000' \\
        --work 128:128:1,8,32,64 --work 512:128:256 --temperature 0 --json result.json

A --work is INPUT_TOKENS:OUTPUT_TOKENS:STREAMS[,STREAMS...]. Needs nothing but Python.
"""

import argparse
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import urllib.request

from processes import Processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_TIMEOUT_S, RUN_TIMEOUT_S = 900, 3600
FIGURES = {"tok/s": lambda run: run["output_tokens_per_s"],
           "first token ms, p50": lambda run: run["ttft_ms"]["p50"],
           "between tokens ms, p50": lambda run: run["itl_ms"]["p50"],
           "between tokens ms, p95": lambda run: run["itl_ms"]["p95"]}


def serves(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(json.load(answer)["data"])
    except (OSError, ValueError, KeyError):
        return False


class Server:
    """One of the two; its command, if there is one, runs between enter and exit."""

    def __init__(self, name, url, command, folder):
        """folder: for what the command writes; made if there is none."""
        self.name, self.url, self.command = name, url.rstrip("/"), command
        folder.mkdir(exist_ok=True)
        self.processes = Processes(folder, are_groups=True)

    def __enter__(self):
        models = f"{self.url}/v1/models"
        if self.command is None:
            if not serves(models):
                sys.exit(f"{self.name} does not answer at {models}")
            return self
        if serves(models):
            sys.exit(f"another server already answers at {self.url}")
        self.processes.spawn("server", shlex.split(self.command))
        self.processes.wait_ready(models, serves, START_TIMEOUT_S)
        return self

    def __exit__(self, *_):
        self.processes.stop()


def measure(server, work, options, seed, folder):
    """The figures of one --work at one server, by name."""
    out = folder / "bench.json"
    command = [options.bin / "pingti", "bench", "--url", server.url, "--endpoint", "completions",
               "--input-tokens", work["input"], "--output-tokens", work["output"],
               "--requests", options.requests, "--seed", seed, "--no-progress", "--json", out,
               "--concurrency", *work["streams"]]
    if options.temperature is not None:
        command += ["--temperature", options.temperature]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True,
                          timeout=RUN_TIMEOUT_S, check=False)
    if done.returncode != 0:
        sys.exit(f"{server.name}: pingti bench failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    figures = {}
    for run in json.loads(out.read_text())["runs"]:
        if run["failed"] or run["output_tokens_mean"] != work["output"]:
            sys.exit(f"{server.name}: {run['failed']} failed, {run['output_tokens_mean']} tokens out on "
                     f"average, expected {work['output']}: {run['errors']}")
        for figure, value in FIGURES.items():
            label = f"{work['input']} in, {work['output']} out, {run['concurrency']:g} streams, {figure}"
            figures[label] = value(run)
    return figures


def report(rounds, name):
    """Medians over rounds and their ratio."""
    table = {}
    print(f"| {'':56} | {'pingti':>9} | {name:>9} | ratio | by round    |")
    print("|---|---|---|---|---|")
    for figure in rounds[0]["pingti"]:
        ours, theirs = ([r[server][figure] for r in rounds] for server in ("pingti", name))
        ratios = sorted(a / b for a, b in zip(ours, theirs))
        row = {"pingti": statistics.median(ours), name: statistics.median(theirs),
               "ratio": statistics.median(ours) / statistics.median(theirs),
               "ratio_range": [ratios[0], ratios[-1]]}
        table[figure] = row
        print(f"| {figure:56} | {row['pingti']:9.1f} | {row[name]:9.1f} | {row['ratio']:5.2f} "
              f"| {ratios[0]:.2f} - {ratios[-1]:.2f} |")
    return table


def parse_work(text):
    try:
        lengths_in, lengths_out, streams = text.split(":")
        return {"input": int(lengths_in), "output": int(lengths_out),
                "streams": [int(s) for s in streams.split(",")]}
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}': expected INPUT:OUTPUT:STREAMS[,STREAMS...]") from None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=ROOT / "build/release/bin", type=pathlib.Path,
                        help="folder of pingti's programs")
    parser.add_argument("--name", default="vLLM", help="of the other server, for the table")
    parser.add_argument("--ours", required=True, help="pingti's address")
    parser.add_argument("--theirs", required=True, help="the other server's address")
    parser.add_argument("--ours-command", help="starts pingti; default: it runs")
    parser.add_argument("--theirs-command", help="starts the other server; default: it runs")
    parser.add_argument("--work", action="append", type=parse_work, required=True,
                        help="INPUT:OUTPUT:STREAMS[,STREAMS...]; may be given several times")
    parser.add_argument("--requests", default=64, type=int, help="of each run")
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--temperature", type=float, help="default: not sent, so the servers' own")
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--json", type=pathlib.Path, help="file for all figures")
    options = parser.parse_args()

    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        servers = [Server("pingti", options.ours, options.ours_command, folder / "ours"),
                   Server(options.name, options.theirs, options.theirs_command, folder / "theirs")]
        for number in range(options.rounds):
            figures = {}
            for server in servers if number % 2 == 0 else reversed(servers):
                with server:
                    figures[server.name] = {}
                    for work in options.work:
                        figures[server.name] |= measure(server, work, options,
                                                        options.seed + number, folder)
                print(f"round {number + 1}, {server.name}: done", file=sys.stderr)
            rounds.append(figures)
    sent = "not sent" if options.temperature is None else options.temperature
    print(f"temperature: {sent}")
    table = report(rounds, options.name)
    if options.json:
        options.json.write_text(json.dumps({"temperature": options.temperature, "table": table,
                                            "rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
