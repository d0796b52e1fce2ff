"""Checks who includes whom: the edges of docs/structure.md, and nothing else.

A file's unit is the longest key of EDGES that is a prefix of its path. It may include files of its
own unit and of the units listed. Also checked: includes are root-relative, and no two units include
each other in a circle.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

BASE = ["common/base"]
WORKER_TENSOR = BASE + ["worker/tensor"]
ROUTER_COMMON = BASE + ["common/config", "common/metrics", "common/net", "common/text",
                        "common/grammar"]
PROTO = ["proto"]  # wire types stop where the wire ends
TOOLS_WITH_A_MODEL = BASE + ["tools", "worker/tensor", "worker/weights", "worker/quant",
                             "worker/backend", "worker/backend/choose", "worker/comm",
                             "worker/layers", "worker/model"]
ROUTER_PARTS = ["router/openai", "router/responses", "router/anthropic",
                "router/http", "router/playground", "router/grpc", "router/pipeline", "router/admission",
                "router/queue", "router/policy", "router/registry", "router/discovery",
                "router/worker_link", "router/api"]

EDGES = {
    "common/base": [],
    "common/config": BASE,
    "common/metrics": BASE,
    "common/text": BASE,
    "common/grammar": BASE,
    "common/net": BASE + ["proto"],
    "kernels": [],
    "worker/tensor": BASE,
    "worker/backend/cpu": WORKER_TENSOR + ["worker/backend", "worker/quant"],
    "worker/backend/cuda": WORKER_TENSOR + ["worker/backend", "worker/quant", "kernels"],
    # The one place that knows all backends, for wiring alone.
    "worker/backend/choose": WORKER_TENSOR + ["worker/backend", "worker/backend/cpu",
                                              "worker/backend/cuda"],
    "worker/backend": WORKER_TENSOR,
    "worker/comm": WORKER_TENSOR,
    "worker/weights": WORKER_TENSOR,
    "worker/quant": WORKER_TENSOR,
    "worker/layers": WORKER_TENSOR + ["worker/backend", "worker/comm", "worker/quant"],
    "worker/model": WORKER_TENSOR + ["worker/backend", "worker/layers", "worker/weights",
                                     "worker/quant", "worker/comm"],
    "worker/cache": BASE,
    "worker/sampling": BASE + ["worker/backend"],
    # Needs each token's bytes, so it is the one place of the worker that knows tokenizers.
    "worker/grammar": BASE + ["common/grammar", "common/text", "worker/weights"],
    "worker/engine/scheduler": BASE + ["worker/cache", "worker/engine/sequence"],
    "worker/engine/sequence": BASE + ["worker/cache", "worker/sampling", "worker/backend"],
    "worker/engine": BASE + ["worker/cache", "worker/model", "worker/sampling", "worker/backend",
                             "worker/engine/scheduler", "worker/engine/sequence",
                             "worker/grammar", "common/grammar"],
    "worker/server": ROUTER_COMMON + PROTO + ["worker/engine", "worker/engine/scheduler",
                                      "worker/engine/sequence", "worker/cache", "worker/model",
                                      "worker/weights", "worker/sampling", "worker/backend"],
    "worker/main.cc": ROUTER_COMMON + PROTO + ["worker"],
    # Picks the device for main.cc.
    "worker/device": BASE + ["worker/backend", "worker/backend/choose", "worker/server"],
    "router/main.cc": ROUTER_COMMON + ["router"],
    "router/router_config": BASE + ["common/config", "router/policy/choose_policy"],
    # The places that know all policies and all orders, for wiring alone.
    "router/policy/choose_policy": BASE + ["router/policy"],
    "router/queue/choose_order": BASE + ["router/queue"],
    "tools": ROUTER_COMMON + PROTO + ["worker/weights", "worker/tensor"],
    "tools/device_flag": ["worker/backend"],
    # These run a model's layers in their own process: no server, no engine.
    "tools/quantize": TOOLS_WITH_A_MODEL,
    "tools/profile": TOOLS_WITH_A_MODEL,
    "bench": [""],
    "tests": [""],
}
for part in ROUTER_PARTS:
    EDGES[part] = ROUTER_COMMON + ROUTER_PARTS
for part in ("router/worker_link", "router/grpc"):
    EDGES[part] = EDGES[part] + PROTO

# Picking a backend or a policy is wiring: an edge to the folder above does not bring these, only
# their own names do.
PICKED = ("worker/backend/cpu", "worker/backend/cuda", "worker/backend/choose",
          "router/policy/choose_policy", "router/queue/choose_order")

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
OURS = ("common/", "router/", "worker/", "kernels/", "tools/", "proto/", "tests/", "bench/")


def unit_of(path):
    """The longest EDGES key that is a path prefix of `path` (scheduler.h belongs to .../scheduler)."""
    best = ""
    for key in EDGES:
        if len(key) > len(best) and (path == key or re.match(re.escape(key) + r"[/._]", path)):
            best = key
    return best


def allowed(target, edges):
    unit = unit_of(target)
    if unit in PICKED and not {"", "worker", "router"} & set(edges):
        return unit in edges
    return any(edge == "" or target == edge or target.startswith(edge + "/") or
               re.match(re.escape(edge) + r"[._]", target) for edge in edges)


def main():
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.h", "*.cc", "*.cu",
                            "*.cuh"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    problems = []
    checked = 0
    for path in files.split():
        if not (ROOT / path).exists():
            continue  # moved or deleted, and not yet committed
        unit = unit_of(path)
        if not unit:
            problems.append(f"{path}: in no folder that docs/structure.md knows")
            continue
        checked += 1
        for target in INCLUDE.findall((ROOT / path).read_text()):
            if not target.startswith(OURS):
                if (ROOT / pathlib.Path(path).parent / target).exists():
                    problems.append(f'{path}: "{target}" is not root-relative')
                continue
            same = target.startswith(unit + "/") or unit_of(target) == unit
            if not same and not allowed(target, EDGES[unit]):
                problems.append(f'{path}: {unit} may not include "{target}"')
    print("\n".join(problems), file=sys.stderr)
    print(f"{checked} files checked, {len(problems)} includes out of line")
    return 1 if problems or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
