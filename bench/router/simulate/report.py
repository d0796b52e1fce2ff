"""Runs the simulations of docs/routing.md: its tables, as Markdown, and its pictures.

    python bench/router/simulate/report.py --program build/release/bench/router_simulate \
        --traces FOLDER --pictures docs/routing

FOLDER has Mooncake's mooncake_conversation.jsonl and mooncake_synthetic.jsonl (kvcache-ai/Mooncake,
FAST25-release/traces, Apache License 2.0), unpacked. Needs matplotlib (3.10.7 was used).
"""

import argparse
import csv
import io
import pathlib
import subprocess

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "routing"
import matplotlib.pyplot as plt  # noqa: E402  (after the backend)

POLICIES = ["prefix_affinity", "llm_d/early", "sglang/early", "session_hash", "least_loaded", "power_of_two",
            "round_robin/early", "random/early"]
COLOURS = dict(zip(POLICIES, ["#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22"]))
# Of each case: its name, the requests that it has, and how they are served.
CASES = [
    ("chat, 1 router", "--workload chat --rate 20 --requests 6000"),
    ("chat, 4 routers", "--workload chat --rate 24 --requests 6000 --routers 4"),
    ("shared prompts, 1 router", "--workload shared_prompts --rate 30 --requests 6000"),
    ("shared prompts, 4 routers", "--workload shared_prompts --rate 30 --requests 6000 --routers 4"),
    ("long context, 1 router", "--workload long_context --rate 6 --requests 4000"),
    ("long context, 4 routers", "--workload long_context --rate 6 --requests 4000 --routers 4"),
    ("bursts, 1 router", "--workload bursts --rate 12 --requests 4000"),
    ("bursts, 4 routers", "--workload bursts --rate 12 --requests 4000 --routers 4"),
    ("tenants, 1 router", "--workload tenants --rate 11 --requests 4000"),
    ("Mooncake conversation, 8 × 7B, 4 ×", "--model 7b --workload trace:{traces}/mooncake_conversation.jsonl --speed 4"),
    ("Mooncake conversation, 24 × 72B",
     "--workers 24 --workload trace:{traces}/mooncake_conversation.jsonl"),
    ("Mooncake synthetic, 4 × 7B, 2.5 ×",
     "--model 7b --workers 4 --workload trace:{traces}/mooncake_synthetic.jsonl --speed 2.5"),
    ("Mooncake synthetic, 4 × 7B, 3.5 ×, 4 routers",
     "--model 7b --workers 4 --routers 4 --workload trace:{traces}/mooncake_synthetic.jsonl --speed 3.5"),
]


class Simulations:
    def __init__(self, program, traces):
        self.program = program
        self.traces = traces

    def run(self, arguments, policies):
        """Rows of numbers by policy."""
        command = [self.program, "--csv", "--policies", ",".join(policies)]
        command += arguments.format(traces=self.traces).split()
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return {row["policy"]: row for row in csv.DictReader(io.StringIO(text))}


def seconds(text):
    value = float(text)
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def print_cases(simulations):
    print("| case | policy | first token p50 | p95 | p99, s | between tokens p95, ms | hits | in time | Jain |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = {}
    for name, arguments in CASES:
        rows[name] = simulations.run(arguments, POLICIES)
        for i, policy in enumerate(POLICIES):
            row = rows[name][policy]
            print(f"| {name if i == 0 else ''} | {policy} | {seconds(row['ttft_p50'])} | {seconds(row['ttft_p95'])} "
                  f"| {seconds(row['ttft_p99'])} | {1000 * float(row['tpot_p95']):.0f} | {float(row['hits']):.2f} "
                  f"| {100 * float(row['goodput']):.1f} % | {float(row['jain']):.3f} |")
    return rows


def draw_cases(rows, path):
    figure, axes = plt.subplots(figsize=(9, 7.5))
    for j, policy in enumerate(POLICIES):
        ratios = [float(row[policy]["ttft_p95"]) / float(row["prefix_affinity"]["ttft_p95"]) for row in rows.values()]
        places = [i + (j - len(POLICIES) / 2) * 0.1 for i in range(len(rows))]
        axes.barh(places, ratios, height=0.1, color=COLOURS[policy], label=policy)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.7)
    axes.set_xlabel("p95 of the first token, as a multiple of prefix_affinity's")
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def print_scale(simulations):
    print("\n| workers | routers | " + " | ".join(POLICIES[:5]) + " |")
    print("|---|---|" + "---|" * 5)
    for workers in (4, 16, 64, 256):
        for routers in (1, 8):
            rows = simulations.run(f"--workload chat --rate {2.5 * workers} --requests {400 * workers} "
                                   f"--workers {workers} --routers {routers}", POLICIES[:5])
            print(f"| {workers} | {routers} | " + " | ".join(
                f"{seconds(row['ttft_p50'])} / {seconds(row['ttft_p95'])}" for row in rows.values()) + " |")


def draw_load(simulations, path):
    policies = POLICIES[:5] + ["round_robin/early"]
    rates = [4, 8, 12, 16, 20, 24, 28, 32]
    results = [simulations.run(f"--workload chat --rate {rate} --requests 5000 --routers 2", policies) for rate in rates]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
    for policy in policies:
        left.plot(rates, [float(row[policy]["ttft_p95"]) for row in results], color=COLOURS[policy], label=policy)
        right.plot(rates, [float(row[policy]["hits"]) for row in results], color=COLOURS[policy])
    left.set_yscale("log")
    left.set_ylabel("first token, p95, s")
    left.legend(fontsize=8)
    right.set_ylabel("prompt tokens from a cache")
    for axes in (left, right):
        axes.set_xlabel("requests per second, 8 workers")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def print_late_binding(simulations):
    print("\n| case | bound | first token p50 / p95, s | hits | in time | Jain |")
    print("|---|---|---|---|---|---|")
    cases = [("tenants, 11 req/s", "--workload tenants --rate 11 --requests 4000"),
             ("long context, 4 routers", "--workload long_context --rate 6 --requests 4000 --routers 4"),
             ("bursts", "--workload bursts --rate 12 --requests 4000")]
    for name, arguments in cases:
        for how, policy, more in (("on arrival", "prefix_affinity/early", ""),
                                  ("credit 131,072", "prefix_affinity", "--credit-tokens 131072"),
                                  ("credit 32,768", "prefix_affinity", "--credit-tokens 32768"),
                                  ("credit 8,192", "prefix_affinity", "--credit-tokens 8192"),
                                  ("credit 8,192, fifo", "prefix_affinity", "--credit-tokens 8192 --order fifo")):
            row = simulations.run(f"{arguments} {more}", [policy])[policy]
            print(f"| {name} | {how} | {seconds(row['ttft_p50'])} / {seconds(row['ttft_p95'])} "
                  f"| {float(row['hits']):.2f} | {100 * float(row['goodput']):.1f} % | {float(row['jain']):.3f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bench/router_simulate")
    parser.add_argument("--traces", required=True, type=pathlib.Path)
    parser.add_argument("--pictures", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.pictures.mkdir(exist_ok=True)
    simulations = Simulations(arguments.program, arguments.traces)
    rows = print_cases(simulations)
    draw_cases(rows, arguments.pictures / "policies.svg")
    print_scale(simulations)
    draw_load(simulations, arguments.pictures / "load.svg")
    print_late_binding(simulations)


if __name__ == "__main__":
    main()
