#!/usr/bin/env python3
"""Question: would the unit tests notice a small mistake? Run by hand, not in CI.

Makes random changes to the .cc and .h files of a folder, each to one place: a comparison, a boundary, a
logical operator, a truth value, a call that is left out. A function that is changed is compiled with a copy
of its body for each change, of which PINGTI_MUTANT chooses one; so all changes are built at once, and the
tests run once for each. One whose tests fail or do not end is noticed; the others are printed with their
lines, for somebody to look at: some change nothing that anybody could see. What stands outside the bodies
of functions is not changed.

    python3 tests/mutate.py --folder worker/cache --tests worker_cache_test --count 40

Works in the checkout it stands in, whose files it restores, also when it is ended: use one without changes.
"""

import argparse
import collections
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

CHOICE = """#ifndef PINGTI_MUTANT_CHOICE
#define PINGTI_MUTANT_CHOICE
#include <cstdlib>
inline const int pingti_mutant =
    std::getenv("PINGTI_MUTANT") == nullptr ? 0 : std::atoi(std::getenv("PINGTI_MUTANT"));
#endif"""

# The lines of a body, from `begin` up to `end`.
Body = collections.namedtuple("Body", "begin end")
# A change to the lines of one body of a file, with words that say which.
Mutant = collections.namedtuple("Mutant", "path body lines what")


def is_code(line):
    text = line.strip()
    return text and not text.startswith(("//", "#", "namespace", "using", "template", "LogInfo", "LogError",
                                         "LogWarning", "PINGTI_CHECK", "static_assert"))


def changes_of(line):
    """Every change to a line of code."""
    code = line.split("  // ")[0]
    for pattern, becomes in OPERATORS:
        for match in re.finditer(pattern, code):
            if code[:match.start()].replace('\\"', "").count('"') % 2 == 1:
                continue  # within a text: nothing is decided by it
            changed = code[:match.start()] + match.expand(becomes) + code[match.end():]
            if becomes == "if (!(":
                if not code.rstrip().endswith((") {", ");", ";")) or code.count("(") != code.count(")"):
                    continue
                close = matching_bracket(changed, match.start() + len("if (!"))
                if close is None:
                    continue
                changed = changed[:close] + ")" + changed[close:]
            yield changed


def is_statement(lines, number):
    """Whether a line that ends a statement also begins it."""
    before = lines[number - 1].split("  // ")[0].rstrip()
    return before.endswith((";", "{", "}", ":")) or before.lstrip().startswith("//")


def matching_bracket(code, opening):
    depth = 0
    for i in range(opening, len(code)):
        depth += {"(": 1, ")": -1}.get(code[i], 0)
        if depth == 0:
            return i
    return None


def bodies_of(lines):
    """Bodies of functions, as clang-format indents them: free ones, and those of classes."""
    taken = set()
    for indent in (0, 2):
        first = None  # of what has begun at this indent
        for number, line in enumerate(lines):
            if number in taken or not line.strip():
                continue
            depth = len(line) - len(line.lstrip())
            if depth == indent and line.strip() == "}" and first is not None:
                header = next((i for i in range(first, number) if lines[i].endswith("{")), number)
                text = " ".join(lines[first:header + 1])
                if header + 1 < number and "(" in text and "constexpr" not in text:
                    taken.update(range(first, number + 1))
                    yield Body(header + 1, number)
                first = None
            elif depth == indent and line.strip()[0] not in "}#/:" and not line.rstrip().endswith((";", ":")):
                if not re.match(r"\s*(namespace|class|struct|enum|union|extern)\b", line):
                    first = number


def mutants_of(path):
    """Every change to the file's functions."""
    lines = path.read_text().split("\n")
    for body in bodies_of(lines):
        for number in range(body.begin, body.end):
            if not is_code(lines[number]):
                continue
            for changed in changes_of(lines[number]):
                if not changed.strip() and not is_statement(lines, number):
                    continue
                copy = lines[body.begin:number] + [changed] + lines[number + 1:body.end]
                yield Mutant(path, body, copy,
                             f"{path.relative_to(ROOT)}:{number + 1}: {changed.strip() or '(left out)'}")


def with_mutants(lines, mutants):
    """A file's lines with a copy of a body for each of `mutants`, by number; and whose each line is."""
    by_body = collections.defaultdict(list)
    for number, mutant in mutants.items():
        by_body[mutant.body].append(number)
    out = [(line, None) for line in CHOICE.split("\n")]
    at = 0
    for body in sorted(by_body):
        out += [(line, None) for line in lines[at:body.begin]]
        for number in by_body[body]:
            out.append((f"if (pingti_mutant == {number}) {{", number))
            out += [(line, number) for line in mutants[number].lines]
            out.append(("} else", number))
        out.append(("{", None))
        out += [(line, None) for line in lines[body.begin:body.end]]
        out.append(("}", None))
        at = body.end
    out += [(line, None) for line in lines[at:]]
    return [line for line, _ in out], [whose for _, whose in out]


def run(command, timeout_s, mutant=0):
    """Exit status and output; None: it did not end."""
    environment = {"GTEST_FAIL_FAST": "1", **os.environ, "PINGTI_MUTANT": str(mutant)}
    try:
        done = subprocess.run(command, cwd=ROOT, timeout=timeout_s, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, env=environment, text=True, errors="replace")
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired:
        return None, ""


def build(mutants, options):
    """Builds all of `mutants` that compile; the others are taken out of it."""
    command = ["ninja", "-C", options.build, f"-j{options.jobs}", "-k0", *options.tests]
    originals = {mutant.path: mutant.path.read_text() for mutant in mutants.values()}
    whose = {}
    while True:
        for path, text in originals.items():
            own = {number: mutant for number, mutant in mutants.items() if mutant.path == path}
            lines, whose[path] = with_mutants(text.split("\n"), own)
            if path.read_text() != "\n".join(lines):
                path.write_text("\n".join(lines))
        status, output = run(command, options.build_timeout)
        if status == 0:
            return
        wrong = set()
        for path in originals:
            name = re.escape(str(path.relative_to(ROOT)))
            for line in re.findall(name + r":(\d+):\d+: (?:fatal )?error", output):
                wrong.add(whose[path][int(line) - 1])
        wrong -= {None}
        if not wrong:
            sys.exit(f"does not compile, for a reason that is no mutant's:\n{output[-3000:]}")
        for number in wrong:
            del mutants[number]


def is_noticed(number, options):
    pattern = "^(" + "|".join(options.tests) + ")$"
    status, _ = run(["ctest", "--test-dir", options.build, "-R", pattern, "--stop-on-failure",
                     "--timeout", str(options.timeout)], options.timeout * len(options.tests) + 60, number)
    return status != 0


def judge(mutants, options):
    """Builds the mutants, runs the tests of each and prints those that survive. Restores the files."""
    originals = {mutant.path: mutant.path.read_text() for mutant in mutants.values()}
    wanted = len(mutants)
    noticed = survived = 0
    try:
        build(mutants, options)
        if is_noticed(0, options):
            sys.exit(f"{' '.join(options.tests)} fail without a mistake")
        for number, mutant in mutants.items():
            if is_noticed(number, options):
                noticed += 1
            else:
                survived += 1
                print(f"survived: {mutant.what}", flush=True)
    finally:
        for path, text in originals.items():
            path.write_text(text)
        total = noticed + survived
        print(f"{noticed} of {total} noticed, {100 * noticed / max(total, 1):.0f} %; "
              f"{wanted - len(mutants)} did not compile", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, help="whose files are changed, as worker/cache")
    parser.add_argument("--tests", required=True, nargs="+", help="test programs that should notice")
    parser.add_argument("--count", default=30, type=int, help="mutants")
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--build", default="build/release", help="a configured build folder")
    parser.add_argument("--jobs", default=1, type=int, help="compilers at a time")
    parser.add_argument("--timeout", default=120, type=int, help="seconds for a test program")
    parser.add_argument("--build-timeout", default=3600, type=int)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    if subprocess.run(["git", "diff", "--quiet", "--", options.folder], cwd=ROOT, check=False).returncode:
        sys.exit(f"{options.folder} has changes: commit them first")
    files = sorted(p for p in (ROOT / options.folder).rglob("*") if p.suffix in (".cc", ".h"))
    mutants = [mutant for path in files for mutant in mutants_of(path)]
    random.Random(options.seed).shuffle(mutants)
    print(f"{options.folder}, seed {options.seed}, {len(mutants)} possible changes", flush=True)
    judge(dict(enumerate(mutants[:options.count], start=1)), options)


if __name__ == "__main__":
    main()
