"""Checks comments for what clang-format leaves to people (.clang-format says why): no comment line is
longer than 100 columns, and none breaks off after a few words because text was once rewrapped, that
is, no short line stands between a full one and a deeper indent.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLUMNS = 100
FULL = 88  # columns: a line this long had no room for more words
SHORT = 28  # characters

COMMENT = re.compile(r"\s*//( +)(\S.*)$")


def check(path, lines):
    for number, line in enumerate(lines, 1):
        if COMMENT.match(line) and len(line) > COLUMNS and " " in line[COLUMNS - 30:COLUMNS]:
            yield f"{path}:{number}: {len(line)} columns, at most {COLUMNS} expected"
    for i in range(1, len(lines) - 1):
        before, here, after = (COMMENT.match(line) for line in lines[i - 1:i + 2])
        if before and here and after and len(lines[i - 1]) > FULL and len(here[2]) <= SHORT \
                and len(after[1]) > len(here[1]):
            yield f"{path}:{i + 1}: the comment breaks off: '{here[2]}'"


def main():
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.h", "*.cc", "*.cu",
                            "*.cuh"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    problems = [problem for path in files.split() if (ROOT / path).exists()
                for problem in check(path, (ROOT / path).read_text().split("\n"))]
    print("\n".join(problems), file=sys.stderr)
    print(f"{len(problems)} comments out of form")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
