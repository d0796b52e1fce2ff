#!/usr/bin/env python3
"""Question: would the unit tests notice a small mistake? Run by hand, not in CI.

Makes one random change at a time to the .cc and .h files of a folder (a comparison, a boundary, a
logical operator, a truth value, a call that is left out), builds the tests and runs them. A mutant that
does not compile is not counted; one whose tests fail or do not end is noticed; the others are printed
with their lines, for somebody to look at: some change nothing that anybody could see.

    python3 tests/mutate.py --folder worker/cache --tests worker_cache_test --count 40

Works in the checkout it stands in, whose files it restores, also when it is ended: use one without changes.
"""

import argparse
import os
import pathlib
import random
import re
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

# A pattern within a line of code, and what it becomes.
OPERATORS = [(r" < ", " <= "), (r" <= ", " < "), (r" > ", " >= "), (r" >= ", " > "),
             (r" == ", " != "), (r" != ", " == "), (r" && ", " || "), (r" \|\| ", " && "),
             (r" \+ 1\b", ""), (r" - 1\b", ""), (r" \+ ", " - "), (r" - ", " + "),
             (r" \+= ", " -= "), (r" -= ", " += "), (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
             (r"std::min\b", "std::max"), (r"std::max\b", "std::min"), (r"\bif \(", "if (!("),
             (r"^(\s+)[\w.>\-]+\(.*\);$", r"\1"), (r"\bcontinue;", ";"), (r"\bbreak;", ";")]


def is_code(line):
    text = line.strip()
    return text and not text.startswith(("//", "#", "namespace", "using", "template", "LogInfo", "LogError",
                                         "LogWarning", "PINGTI_CHECK", "static_assert"))


def mutants_of(path):
    """(line number, new line) of every change to the file's code."""
    for number, line in enumerate(path.read_text().split("\n")):
        if not is_code(line):
            continue
        code = line.split("  // ")[0]
        for pattern, becomes in OPERATORS:
            for match in re.finditer(pattern, code):
                changed = code[:match.start()] + match.expand(becomes) + code[match.end():]
                if becomes == "if (!(":
                    if not code.rstrip().endswith((") {", ");", ";")) or code.count("(") != code.count(")"):
                        continue
                    close = matching_bracket(changed, match.start() + len("if (!"))
                    if close is None:
                        continue
                    changed = changed[:close] + ")" + changed[close:]
                yield number, changed


def matching_bracket(code, opening):
    depth = 0
    for i in range(opening, len(code)):
        depth += {"(": 1, ")": -1}.get(code[i], 0)
        if depth == 0:
            return i
    return None


def run(command, timeout_s):
    """Exit status; None: it did not end."""
    try:
        return subprocess.run(command, cwd=ROOT, timeout=timeout_s, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False,
                              env={"GTEST_FAIL_FAST": "1", **os.environ}).returncode
    except subprocess.TimeoutExpired:
        return None


def build_command(options):
    return ["ninja", "-C", options.build, f"-j{options.jobs}", *options.tests]


def verdict(path, number, changed, options):
    text = path.read_text()
    lines = text.split("\n")
    lines[number] = changed
    try:
        path.write_text("\n".join(lines))
        if run(build_command(options), options.build_timeout) != 0:
            return "does not compile"
        pattern = "^(" + "|".join(options.tests) + ")$"
        status = run(["ctest", "--test-dir", options.build, "-R", pattern, "--stop-on-failure",
                      "--timeout", str(options.timeout)], options.timeout * len(options.tests) + 60)
        return "survived" if status == 0 else "noticed"
    finally:
        path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, help="whose files are changed, as worker/cache")
    parser.add_argument("--tests", required=True, nargs="+", help="test programs that should notice")
    parser.add_argument("--count", default=30, type=int, help="mutants that compile")
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--build", default="build/release", help="a configured build folder")
    parser.add_argument("--jobs", default=1, type=int, help="compilers at a time")
    parser.add_argument("--timeout", default=120, type=int, help="seconds for a test program")
    parser.add_argument("--build-timeout", default=1200, type=int)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    if subprocess.run(["git", "diff", "--quiet", "--", options.folder], cwd=ROOT, check=False).returncode:
        sys.exit(f"{options.folder} has changes: commit them first")
    if run(build_command(options), options.build_timeout) != 0:
        sys.exit(f"{' '.join(options.tests)} cannot be built as they stand")

    files = sorted(p for p in (ROOT / options.folder).rglob("*") if p.suffix in (".cc", ".h"))
    mutants = [(path, *mutant) for path in files for mutant in mutants_of(path)]
    random.Random(options.seed).shuffle(mutants)
    counts = {"noticed": 0, "survived": 0, "does not compile": 0}
    try:
        for path, number, changed in mutants:
            if counts["noticed"] + counts["survived"] == options.count:
                break
            what = verdict(path, number, changed, options)
            counts[what] += 1
            if what == "survived":
                line = changed.strip() or "(left out)"
                print(f"survived: {path.relative_to(ROOT)}:{number + 1}: {line}", flush=True)
    finally:
        total = counts["noticed"] + counts["survived"]
        share = 100 * counts["noticed"] / total if total else 0
        print(f"{options.folder}: {counts['noticed']} of {total} noticed, {share:.0f} %; "
              f"{counts['does not compile']} did not compile", flush=True)


if __name__ == "__main__":
    main()
