#!/usr/bin/env python3
"""Question: what keeps each kernel from its bound? Profiles one launch of each with Nsight Compute.

    bench/kernels/profile.py BUILD [TEXT]      BUILD: of kernels/; only rows whose name has TEXT

Prints one Markdown row a kernel. The caches are flushed before every pass and the clock is left
alone, so times are a little above those of the benches. Stalls: of the cycles a warp waits between
two instructions, the share by reason, the largest first.
"""

import csv
import io
import subprocess
import sys

# Name, bench and its arguments, kernel, launches of that kernel to skip.
LAUNCHES = [
    ("W4A16 o, m = 16", "gemm/bench_gemm_w4a16 --no-baseline --shape o 16", "GemmW4A16Kernel", 0),
    ("W4A16 gate_up, m = 16", "gemm/bench_gemm_w4a16 --no-baseline --shape gate_up 16",
     "GemmW4A16Kernel", 0),
    ("W4A16 gate_up, m = 1", "gemm/bench_gemm_w4a16 --no-baseline --shape gate_up 1",
     "GemmW4A16Kernel", 0),
    ("W4A16 gate_up, m = 64", "gemm/bench_gemm_w4a16 --no-baseline --shape gate_up 64",
     "GemmW4A16Kernel", 0),
    ("W8A16 gate_up, m = 16", "gemm/bench_gemm_w4a16 --no-baseline --w8 --shape gate_up 16",
     "GemmW4A16Kernel", 0),
    ("decode 32 x 4k, bf16 KV", "attention/decode/bench_decode --no-check 32x4096",
     "DecodeKernel", 0),
    ("decode 32 x 4k, int8 KV", "attention/decode/bench_decode --no-check --int8 32x4096",
     "DecodeKernel", 0),
    ("decode 128 x 1k, int8 KV", "attention/decode/bench_decode --no-check --int8 128x1024",
     "DecodeKernel", 0),
    ("decode 1 x 4k, bf16 KV", "attention/decode/bench_decode --no-check 1x4096",
     "DecodeKernel", 0),
    ("residual + RMS norm + int8, 8,192 tokens",
     "fused/bench_fused --only int8 8192", "RmsNormKernel", 0),
    ("SwiGLU + int8, 8,192 tokens", "fused/bench_fused --only swiglu 8192",
     "SwiGluQuantizeKernel", 0),
    ("bias + q/k norm + RoPE + KV, 8,192 tokens", "fused/bench_fused --only rope 8192",
     "RopeKvKernel", 0),
    ("the same + int8 KV", "fused/bench_fused --only int8 8192", "RopeKvKernel", 0),
    ("sampling, top_k 40 and top_p 0.95, 32 rows", "sampling/bench_sample --only temperature, 32",
     "SampleKernel", 0),
    ("sampling, flat logits, 32 rows", "sampling/bench_sample --only flat 32", "SampleKernel", 0),
]

STALL = "smsp__average_warps_issue_stalled_"
COLUMNS = [
    ("us", "gpu__time_duration.sum"),
    ("DRAM %", "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed"),
    ("L2 %", "lts__throughput.avg.pct_of_peak_sustained_elapsed"),
    ("L1 and shared %", "l1tex__throughput.avg.pct_of_peak_sustained_active"),
    ("issue slots %", "smsp__issue_active.avg.pct_of_peak_sustained_active"),
    ("warps of 64", "sm__warps_active.avg.per_cycle_active"),
    ("L2 hits %", "lts__t_sector_hit_rate.pct"),
]
SECTIONS = ["SpeedOfLight", "MemoryWorkloadAnalysis", "WarpStateStats", "SchedulerStats",
            "Occupancy"]


def profile(build, command, kernel, skip):
    ncu = ["ncu", "--clock-control", "none", "--csv", "--page", "raw", "--kernel-name",
           f"regex:{kernel}", "--launch-skip", str(skip), "--launch-count", "1", "--kill", "yes",
           "--metrics", ",".join(metric for _, metric in COLUMNS)]
    for section in SECTIONS:
        ncu += ["--section", section]
    program, *arguments = command.split()
    done = subprocess.run([*ncu, f"{build}/bench/{program}", *arguments], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        sys.exit(f"ncu said nothing of {kernel} in '{command}':\n{done.stdout[-2000:]}")
    names, units, values = list(csv.reader(io.StringIO("\n".join(lines[start:]))))[:3]
    return dict(zip(names, values)), dict(zip(names, units))


def number(text):
    return float(text.replace(",", "")) if text else float("nan")


def microseconds(value, unit):
    return value * {"ns": 1e-3, "nsecond": 1e-3, "us": 1.0, "usecond": 1.0, "ms": 1e3,
                    "msecond": 1e3}[unit]


def stalls(values):
    parts = {}
    for name, value in values.items():
        if name.startswith(STALL) and name.endswith("_per_issue_active.ratio"):
            reason = name[len(STALL):-len("_per_issue_active.ratio")]
            if not reason.endswith("not_issued") and reason != "selected":
                parts[reason.replace("_", " ")] = number(value)
    total = sum(parts.values())
    largest = sorted(parts.items(), key=lambda part: -part[1])[:3]
    return ", ".join(f"{reason} {100 * value / total:.0f}" for reason, value in largest)


def main():
    build = sys.argv[1]
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    titles = ["kernel", *(title for title, _ in COLUMNS), "stalls %"]
    print("| " + " | ".join(titles) + " |\n|" + "---|" * len(titles), flush=True)
    for name, command, kernel, skip in LAUNCHES:
        if wanted not in name:
            continue
        values, units = profile(build, command, kernel, skip)
        cells = []
        for _, metric in COLUMNS:
            value = number(values[metric])
            if metric.startswith("gpu__time"):
                value = microseconds(value, units[metric])
            cells.append(f"{value:.1f}" if value < 100 else f"{value:.0f}")
        print("| " + " | ".join([name, *cells, stalls(values)]) + " |", flush=True)


if __name__ == "__main__":
    main()
