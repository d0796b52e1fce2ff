"""Checks who includes whom: the edges of docs/structure.md, and nothing else.

A file's unit is the longest key of EDGES that is a prefix of its path, up to "/", "." or "_"
(worker/engine/scheduler_plan.cc belongs to worker/engine/scheduler). It may include files of its own
unit and of the units that EDGES lists for it; "X/*" stands for all units below X. Also checked:

- includes are root-relative;
- EDGES has no circle, so no two units can include each other, directly or through others.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

BASE = ["common/base"]
TENSOR = BASE + ["worker/tensor"]
# The router's transports: what they turn into a request, and where it goes.
API = BASE + ["router/api"]

EDGES = {
    "common/base": [],
    "common/config": BASE,
    "common/metrics": BASE,
    "common/grammar": BASE,
    "common/text/utf8": BASE,
    "common/text/jinja": BASE + ["common/text/utf8"],
    "common/text": BASE + ["common/text/jinja", "common/text/utf8"],
    "common/net": BASE + ["proto"],
    "proto": [],

    "kernels": [],

    "worker/tensor": BASE,
    "worker/quant": TENSOR,
    # What a decoder is made of, as plain data: seen by those who read it from files, those who make
    # blocks of it, and those who only count.
    "worker/spec": TENSOR,
    "worker/weights": TENSOR + ["worker/spec"],
    # Adapters' files, whose configurations hold regular expressions.
    "worker/adapters": TENSOR + ["common/text", "worker/weights"],
    "worker/comm": TENSOR + ["worker/backend"],
    # The one place that knows all communicators, for wiring alone.
    # Sums by our own kernels.
    "worker/comm/peer": TENSOR + ["worker/backend", "worker/backend/cuda/cuda_status",
                                  "worker/backend/cuda/kernel_params", "worker/comm", "kernels"],
    "worker/comm/choose": TENSOR + ["worker/backend", "worker/backend/choose", "worker/comm",
                                    "worker/comm/peer"],
    "worker/cache": BASE,
    "worker/backend": TENSOR,
    "worker/backend/cpu": TENSOR + ["worker/backend", "worker/quant"],
    "worker/backend/cuda/cuda_status": BASE,
    "worker/backend/cuda/kernel_params": TENSOR + ["worker/backend", "kernels"],
    "worker/backend/cuda": TENSOR + ["worker/backend", "worker/backend/cuda/cuda_status",
                                     "worker/backend/cuda/kernel_params",
                                     "worker/quant", "kernels"],
    # The one place that knows all backends, for wiring alone.
    "worker/backend/choose": TENSOR + ["worker/backend", "worker/backend/cpu", "worker/backend/cuda"],
    "worker/sampling": BASE + ["worker/backend"],
    # The one place of the worker that makes tokenizers and parses templates.
    "worker/text": BASE + ["common/text", "worker/weights"],
    # Needs each token's bytes.
    "worker/grammar": BASE + ["common/grammar", "common/text", "worker/text", "worker/weights"],
    "worker/layers": TENSOR + ["worker/spec", "worker/backend", "worker/comm", "worker/quant"],
    # A family's page describes; it sees neither blocks nor devices.
    "worker/model/families": TENSOR + ["worker/spec", "worker/weights"],
    "worker/model": TENSOR + ["worker/spec", "worker/backend", "worker/layers", "worker/weights",
                              "worker/model/families", "worker/quant", "worker/comm",
                              "worker/adapters"],
    "worker/group": BASE + ["common/net", "proto", "worker/model", "worker/backend",
                            "worker/tensor"],
    "worker/engine/sequence": BASE + ["worker/cache", "worker/sampling", "worker/backend"],
    "worker/engine/scheduler": BASE + ["worker/cache", "worker/engine/sequence"],
    "worker/engine": BASE + ["worker/adapters", "worker/cache", "worker/model", "worker/sampling", "worker/backend",
                             "worker/engine/scheduler", "worker/engine/sequence",
                             "worker/grammar", "common/grammar", "common/text"],
    "worker/speculation": BASE + ["worker/cache", "worker/engine", "worker/engine/sequence",
                                  "worker/model"],
    "worker/draft_model": BASE + ["common/grammar", "worker/backend/choose", "worker/engine",
                                  "worker/grammar", "worker/loaded_model", "worker/model",
                                  "worker/server", "worker/speculation", "worker/weights"],
    "worker/server": BASE + ["worker/adapters", "common/config", "common/metrics", "common/net", "proto",
                             "worker/engine", "worker/engine/scheduler", "worker/engine/sequence",
                             "worker/cache", "worker/model", "worker/spec", "worker/weights",
                             "worker/sampling", "worker/backend"],
    # Picks the device for main.cc.
    "worker/device": BASE + ["worker/backend", "worker/backend/choose", "worker/comm/choose",
                             "worker/server"],
    # Loads the model for main.cc.
    "worker/loaded_model": BASE + ["worker/adapters", "worker/device", "worker/group", "worker/model",
                                   "worker/server", "worker/spec", "worker/text", "worker/weights"],
    # What main.cc runs in a process that follows another.
    "worker/group_process": BASE + ["worker/group", "worker/loaded_model", "worker/server"],
    "worker/main.cc": ["common/*", "worker/*"],

    "router/api": BASE + ["common/grammar", "common/text", "common/text/utf8"],
    # Wire types stop here and at router/grpc.
    "router/worker_link": API + ["common/grammar", "common/net", "common/text", "proto"],
    # Where a worker is: what discovery finds and the registry takes.
    "router/registry/worker_address": [],
    "router/registry": BASE + ["common/metrics", "router/registry/worker_address",
                               "router/worker_link"],
    "router/policy": BASE + ["router/registry"],
    "router/queue": BASE + ["router/registry", "router/worker_link"],
    # The places that know all policies and all orders, for wiring alone.
    "router/policy/choose_policy": BASE + ["router/policy"],
    "router/queue/choose_order": BASE + ["router/queue"],
    "router/discovery": BASE + ["common/net", "router/registry/worker_address"],
    "router/playground": ["common/net"],
    "router/admission": API + ["router/admission/admission_options",
                               "router/admission/objectives"],
    "router/observer": API + ["common/metrics"],
    "router/pipeline": API + ["common/grammar", "common/text", "router/admission",
                              "router/observer", "router/pipeline/generation_options",
                              "router/policy", "router/queue", "router/registry",
                              "router/worker_link"],
    "router/openai": API + ["common/net"],
    "router/responses": API + ["common/net", "router/openai"],
    "router/anthropic": API + ["router/openai"],
    "router/http": API + ["common/net", "router/admission", "router/anthropic", "router/observer",
                          "router/openai", "router/pipeline", "router/responses"],
    "router/grpc": API + ["common/net", "common/text", "common/text/utf8", "proto", "router/admission",
                          "router/observer", "router/openai", "router/pipeline"],
    # Options that are settings as they stand.
    "router/admission/admission_options": ["router/admission/objectives"],
    "router/admission/objectives": BASE,
    "router/pipeline/generation_options": [],
    "router/router_config": BASE + ["common/config", "router/admission/admission_options",
                                    "router/pipeline/generation_options",
                                    "router/policy/choose_policy"],
    "router/reload": BASE + ["common/config", "router/router_config"],
    # The wiring that main.cc uses.
    "router/gauges": BASE + ["common/metrics", "router/admission", "router/pipeline",
                             "router/registry"],
    "router/part_options": BASE + ["common/metrics", "common/net", "router/discovery",
                                   "router/grpc", "router/http", "router/router_config",
                                   "router/worker_link"],
    "router/core": BASE + ["common/metrics", "router/admission", "router/gauges",
                           "router/observer", "router/part_options", "router/pipeline",
                           "router/policy", "router/policy/choose_policy", "router/queue",
                           "router/registry", "router/router_config", "router/worker_link"],
    "router/main.cc": ["common/*", "router/*"],

    "tools": BASE + ["common/net", "common/text", "common/text/utf8", "worker/tensor",
                     "worker/text", "worker/weights", "worker/backend"],
    # Reads what the blocks of a model declare, without weights or a device.
    "tools/inspect": TENSOR + ["tools", "worker/adapters", "worker/spec", "worker/text", "worker/weights",
                               "worker/model"],
    "tools/bench": BASE + ["common/net", "tools"],
    # These run a model's layers in their own process: no server, no engine.
    "tools/quantize": TENSOR + ["tools", "worker/backend", "worker/backend/choose", "worker/comm",
                                "worker/layers", "worker/model", "worker/quant", "worker/spec",
                                "worker/weights"],
    "tools/profile": TENSOR + ["tools", "worker/backend", "worker/backend/choose", "worker/comm",
                               "worker/comm/choose", "worker/model", "worker/spec", "worker/weights"],
    "tools/main.cc": ["common/*", "tools", "tools/*"],

    "bench": ["*"],
    "tests": ["*"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
OURS = ("common/", "router/", "worker/", "kernels/", "tools/", "proto/", "tests/", "bench/")


def unit_of(path):
    best = ""
    for key in EDGES:
        if len(key) > len(best) and (path == key or re.match(re.escape(key) + r"[/._]", path)):
            best = key
    return best


def reached(unit):
    """The units that files of `unit` may include, besides their own."""
    found = set()
    for edge in EDGES[unit]:
        if edge == "*":
            found |= set(EDGES)
        elif edge.endswith("/*"):
            found |= {key for key in EDGES if key.startswith(edge[:-1])}
        elif edge in EDGES:
            found.add(edge)
        else:
            sys.exit(f"EDGES[{unit!r}] names {edge!r}, which is no unit")
    return found - {unit}


def circle():
    """Units that include each other in a circle, as a path that ends where it began; or nothing."""
    finished = set()

    def walk(unit, path):
        if unit in path:
            return path[path.index(unit):] + [unit]
        if unit in finished:
            return None
        for other in sorted(reached(unit)):
            if found := walk(other, path + [unit]):
                return found
        finished.add(unit)
        return None

    # Tests and benches may include everything, each other's helpers too.
    finished |= {"tests", "bench"}
    return next(filter(None, (walk(unit, []) for unit in EDGES)), None)


def check_file(path, text):
    unit = unit_of(path)
    if not unit:
        yield f"{path}: in no folder that docs/structure.md knows"
        return
    may = reached(unit) | {unit}
    for target in INCLUDE.findall(text):
        if target.startswith("pingti/kernels/"):  # the kernels' public headers have their own root
            target = "kernels/include/" + target
        if not target.startswith(OURS):
            if (ROOT / pathlib.Path(path).parent / target).exists():
                yield f'{path}: "{target}" is not root-relative'
        elif unit_of(target) not in may:
            yield f'{path}: {unit} may not include "{target}"'


def main():
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.h", "*.cc", "*.cu",
                            "*.cuh"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    problems = []
    if found := circle():
        problems.append("the edges form a circle: " + " -> ".join(found))
    checked = 0
    for path in files.split():
        if (ROOT / path).exists():  # else moved or deleted, and not yet committed
            checked += 1
            problems.extend(check_file(path, (ROOT / path).read_text()))
    print("\n".join(problems), file=sys.stderr)
    print(f"{checked} files checked, {len(problems)} problems")
    return 1 if problems or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
