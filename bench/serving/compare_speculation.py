#!/usr/bin/env python3
"""Question: how much faster are answers with speculation, where text is copied and where it is not?

Starts pingti on a CPU with and without `--speculation`, one after the other, and asks both with
`pingti bench` for the same two kinds of text at 1, 8 and 32 streams: lists to repeat word for word, and
stories. Every prompt is another. Rounds alternate which server goes first; the table holds medians over
rounds and the ratio with / without. Baseline: the same worker with `--speculation none`.

    python3 bench/serving/compare_speculation.py --model MODEL.gguf --cpus 0,1 --json result.json

Needs nothing but Python.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

from compare_llama_server import ROOT, Pingti, cpu_list

WORDS = ("amber basin cedar delta ember fjord grove harbor island jungle kettle lantern meadow north ocean "
         "pepper quartz river summit timber umbra valley willow yellow zephyr").split()
TOPICS = "lighthouse forest desert train library garden market storm bridge violin".split()


def copying(rng):
    lines = "\n".join(f"{i}. {' '.join(rng.choices(WORDS, k=8))}" for i in range(1, 9))
    return f"Repeat this list word for word, with its numbers:\n{lines}"


def chatting(rng):
    return f"Write a short story about a {rng.choice(TOPICS)} and the number {rng.randrange(10_000)}."


KINDS = {"copy": copying, "story": chatting}


def measure(server, options, seed, folder):
    """tok/s by kind and number of streams."""
    figures = {}
    for kind, prompt in KINDS.items():
        rng = random.Random(f"{kind} {seed}")
        for streams in options.streams:
            data, out = folder / "prompts.jsonl", folder / "bench.json"
            count = max(options.requests, streams)
            data.write_text("".join(json.dumps({"prompt": prompt(rng), "max_tokens": options.tokens}) + "\n"
                                    for _ in range(count)))
            done = subprocess.run(
                [str(c) for c in (options.bin / "pingti", "bench", "--url", f"http://127.0.0.1:{server.port}",
                                  "--endpoint", "chat", "--dataset", data, "--requests", count, "--concurrency",
                                  streams, "--temperature", options.temperature, "--no-progress", "--json", out)],
                capture_output=True, text=True, check=False)
            (run,) = json.loads(out.read_text())["runs"] if done.returncode == 0 else ({"failed": 1},)
            if run["failed"]:
                sys.exit(f"{server.name}: pingti bench failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
            figures[f"{kind}, {streams} streams"] = run["output_tokens_per_s"]
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--bin", default=ROOT / "build/release/bin", type=pathlib.Path)
    parser.add_argument("--speculation", default="ngram", help="what is compared with none")
    parser.add_argument("--worker-args", default="", help="further arguments of both workers")
    parser.add_argument("--cpus", default="0,1", type=cpu_list, help="of the servers")
    parser.add_argument("--streams", default="1,8,32", type=lambda t: [int(s) for s in t.split(",")])
    parser.add_argument("--requests", default=16, type=int, help="of a run; at least one per stream")
    parser.add_argument("--tokens", default=96, type=int, help="of an answer")
    parser.add_argument("--temperature", default=0.0, type=float)
    parser.add_argument("--rounds", default=2, type=int)
    parser.add_argument("--json", type=pathlib.Path, help="file for all figures")
    options = parser.parse_args()

    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for number in range(options.rounds):
            figures = {}
            for name in (("none", options.speculation), (options.speculation, "none"))[number % 2]:
                own = argparse.Namespace(**vars(options))
                own.worker_args = f"--speculation {name} {options.worker_args}"
                server = Pingti(name, own, folder)
                try:
                    server.start()
                    figures[name] = measure(server, own, number, folder)
                finally:
                    server.stop()
                print(f"round {number + 1}, {name}: done", file=sys.stderr)
            rounds.append(figures)
    table = {}
    print(f"temperature {options.temperature}, {options.tokens} tokens out, on {len(options.cpus)} CPUs")
    print(f"| {'tok/s':18} | {'none':>8} | {options.speculation:>8} | ratio | by round    |")
    print("|---|---|---|---|---|")
    for figure in rounds[0]["none"]:
        plain, drafted = ([r[name][figure] for r in rounds] for name in ("none", options.speculation))
        ratios = sorted(b / a for a, b in zip(plain, drafted))
        a, b = statistics.median(plain), statistics.median(drafted)
        table[figure] = {"none": a, options.speculation: b, "ratio": b / a, "ratio_range": [ratios[0], ratios[-1]]}
        print(f"| {figure:18} | {a:8.1f} | {b:8.1f} | {b / a:5.2f} | {ratios[0]:.2f} - {ratios[-1]:.2f} |")
    if options.json:
        options.json.write_text(json.dumps({"cpus": sorted(options.cpus), "load": os.getloadavg(), "table": table,
                                            "rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
