#!/usr/bin/env python3
"""Question: N GPUs of one host serve one model: as one worker of N ranks, or as several of fewer?

For each number of ranks: `pingti profile` times a worker's own steps (milliseconds at each batch, what share
of them the sums over ranks take, prompt tokens/s), then as many workers as the cards allow stand behind a
router, and `pingti bench` keeps --streams requests at every worker: tokens/s in all and for each card.
Random weights of a config.json's shapes (`load_format: dummy`) unless --load-format auto. What does not fit
or fails is said in its row, and the rest goes on. Needs nothing but Python; --device cpu takes threads for
cards. With --enable-expert-parallel workers of several ranks hold whole experts.

    python3 bench/serving/compare_splits.py --bin build/cuda/bin --shape bench/backend/shapes/qwen2.5-72b \\
        --cards 8 --ranks 8,4,2 --dtype int8,bf16 --batch 1,8,32,64 --json result.json
"""

import argparse
import itertools
import json
import pathlib
import subprocess
import tempfile

import serve_random_model

PROFILE_TIMEOUT_S = 300


def numbers(text):
    return [int(part) for part in text.split(",")]


def profile(options, folder, ranks, dtype, batch):
    """{"step_ms", "sums", "prompt_tokens_per_s"}, or {"error"}."""
    command = [options.bin / "pingti", "profile", folder, f"--device={options.device}",
               f"--load-format={options.load_format}", f"--tensor-parallel={ranks}", f"--dtype={dtype}",
               f"--batch={batch}", f"--context={options.context}", "--json"]
    if options.enable_expert_parallel and ranks > 1:
        command.append("--enable-expert-parallel")
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False,
                              timeout=PROFILE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"error": f"no profile within {PROFILE_TIMEOUT_S} s"}
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1] if done.stderr else str(done.returncode)}
    phases = {phase["name"]: phase for phase in json.loads(done.stdout)["phases"]}
    decode = phases["decode"]
    sums = [stage["share"] for stage in decode["stages"] if stage["name"] == "sums"]
    return {"step_ms": 1e3 * decode["seconds"], "sums": sums[0] if sums else 0.0,
            "prompt_tokens_per_s": phases["prefill"]["tokens_per_second"]}


def serve(options, ranks, dtype):
    """{"ready_s", "tokens_per_s", "tokens_per_s_card", "tpot_ms", "failed", "mib"}, or {"error"}."""
    options.workers = options.cards // ranks
    options.worker = [f"tensor_parallel={ranks}", f"device={options.device}", f"dtype={dtype}",
                      f"max_batch_size={options.streams}", *options.setting]
    if options.enable_expert_parallel and ranks > 1:
        options.worker.append("enable_expert_parallel=true")
    streams = options.streams * options.workers
    load = (f"--concurrency {streams} --requests {streams * options.turns} "
            f"--input-tokens {options.tokens[0]} --output-tokens {options.tokens[1]} --temperature 0")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        serve_random_model.fill_folder(options, folder)
        servers = None
        try:
            servers = serve_random_model.Servers(options, folder)
            (run,) = serve_random_model.bench(options, servers, load)["runs"]
        except SystemExit as stopped:
            return {"error": str(stopped).strip().splitlines()[-1]}
        finally:
            mib = serve_random_model.device_mib()
            if servers is not None:
                servers.stop()
    return {"ready_s": servers.ready_s, "tokens_per_s": run["output_tokens_per_s"],
            "tokens_per_s_card": run["output_tokens_per_s"] / options.cards,
            "tpot_ms": run["tpot_ms"]["p50"], "failed": run["failed"], "mib": mib}


def print_steps(options, rows):
    print(f"\n{options.shape.name}, {options.cards} cards, context {options.context}: ms a step, and the sums' share")
    print("| workers x ranks | dtype | " + " | ".join(f"batch {b}" for b in options.batch) + " | prompt tok/s |")
    print("|" + "---|" * (3 + len(options.batch)))
    for row in rows:
        cells = [step.get("error") or f"{step['step_ms']:.2f} ({step['sums']:.0%})" for step in row["steps"]]
        speeds = [step["prompt_tokens_per_s"] for step in row["steps"] if "error" not in step]
        prompts = f"{max(speeds):,.0f}" if speeds else ""
        print(f"| {row['workers']} x {row['ranks']} | {row['dtype']} | {' | '.join(cells)} | {prompts} |")


def print_served(options, rows):
    print(f"\n{options.streams} streams a worker, {options.tokens[0]} tokens in, {options.tokens[1]} out")
    print("| workers x ranks | dtype | ready s | tok/s | tok/s a card | between tokens p50 ms | failed | MiB |")
    print("|" + "---|" * 8)
    for row in rows:
        served, name = row["served"], f"| {row['workers']} x {row['ranks']} | {row['dtype']} |"
        if "error" in served:
            print(f"{name} {served['error']} | | | | | |")
        else:
            print(f"{name} {served['ready_s']:.1f} | {served['tokens_per_s']:,.0f} | "
                  f"{served['tokens_per_s_card']:,.0f} | {served['tpot_ms']:.1f} | {served['failed']} | "
                  f"{served['mib']} |")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of the programs")
    parser.add_argument("--shape", type=pathlib.Path, required=True, help="folder with a config.json")
    parser.add_argument("--cards", type=int, required=True)
    parser.add_argument("--ranks", type=numbers, required=True, help="of a worker; each divides --cards")
    parser.add_argument("--dtype", default="int8", help="one or several, joined by commas")
    parser.add_argument("--batch", type=numbers, default=[1, 8, 32, 64])
    parser.add_argument("--context", type=int, default=512, help="tokens of a sequence whose step is timed")
    parser.add_argument("--streams", type=int, default=64, help="at each worker")
    parser.add_argument("--tokens", type=numbers, default=[1024, 1024], metavar="IN,OUT")
    parser.add_argument("--turns", type=int, default=2, help="requests of a stream, one after the other")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--load-format", default="dummy", help="auto: --shape is a whole checkpoint")
    parser.add_argument("--enable-expert-parallel", action="store_true")
    parser.add_argument("--setting", action="append", default=[], metavar="KEY=VALUE", help="of every worker")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    for ranks in options.ranks:
        if ranks < 1 or options.cards % ranks != 0:
            parser.error(f"--ranks {ranks} does not divide --cards {options.cards}")
    if len(options.tokens) != 2:
        parser.error("--tokens is IN,OUT")
    return options


def main():
    options = parse_arguments()
    rows = []
    for ranks, dtype in itertools.product(options.ranks, options.dtype.split(",")):
        row = {"workers": options.cards // ranks, "ranks": ranks, "dtype": dtype,
               "steps": [profile(options, options.shape, ranks, dtype, batch) for batch in options.batch],
               "served": serve(options, ranks, dtype)}
        rows.append(row)
        print(json.dumps(row), flush=True)
    print_steps(options, rows)
    print_served(options, rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
