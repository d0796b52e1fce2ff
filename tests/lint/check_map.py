"""Checks that docs/structure.md and the tree name the same folders.

A path is on the map where it begins a line of the map's code block, or stands first in a cell of its
tables, in backquotes. Every path on the map exists. Every top-level folder is on it, itself or by
what is below it; and where one folder's child is on the map, all its children are.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def on_the_map(text):
    """The paths that the map names, without a slash at the end."""
    block = re.search(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE).group(1)
    paths = set(re.findall(r"^([\w./-]+)/\s", block, re.MULTILINE))
    for row in re.findall(r"^\|.*\|$", text, re.MULTILINE):
        for cell in row.strip("|").split("|"):
            named = re.match(r"\s*((?:`[\w./-]+`(?:, )?)+)\s*$", cell)
            if named:
                paths |= set(re.findall(r"`([\w./-]+)`", named.group(1)))
    return {path for path in paths if not path.endswith(".md")}


def folders():
    """Every folder that holds a file of the repository."""
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.splitlines()
    return {str(parent) for file in files if (ROOT / file).exists()
            for parent in pathlib.PurePosixPath(file).parents} - {"."}


def main():
    named = on_the_map((ROOT / "docs/structure.md").read_text())
    tree = folders()
    problems = [f"docs/structure.md names {path}, which does not exist"
                for path in sorted(named) if not (ROOT / path).exists()]
    for folder in sorted(tree):
        parent = folder.rpartition("/")[0]
        if not parent:
            missing = not any(path == folder or path.startswith(folder + "/") for path in named)
        else:
            shown = any(path.startswith(parent + "/") for path in named & tree)
            missing = shown and not any(path == folder or path.startswith(folder + "/")
                                        for path in named)
        if missing and not folder.startswith("."):
            problems.append(f"docs/structure.md does not name {folder}")
    print("\n".join(problems), file=sys.stderr)
    print(f"{len(named)} paths on the map, {len(problems)} problems")
    return 1 if problems or not named else 0


if __name__ == "__main__":
    sys.exit(main())
