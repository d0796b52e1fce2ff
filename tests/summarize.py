"""Adds up the test reports in a folder and prints "N passed, N failed" (and skips) as the last line.

GoogleTest programs are counted by case from their own reports; a program that failed without saying
which case (a crash, a sanitizer, a time-out) counts as one failure. Exit status 1 when anything
failed or nothing ran.
"""

import pathlib
import sys
import xml.etree.ElementTree as ET


def count_cases(path):
    passed = failed = skipped = 0
    for case in ET.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main(results):
    total = [0, 0, 0]

    def add(counts):
        for i, value in enumerate(counts):
            total[i] += value

    ctest = results / "ctest.xml"
    pytest = sorted(results.glob("pytest-*.xml"))
    if not ctest.exists() and not pytest:
        sys.exit(f"no test report in {results}")
    programs = ET.parse(ctest).getroot().iter("testcase") if ctest.exists() else ()
    for program in programs:
        report = results / "gtest" / (program.get("name") + ".xml")
        broke = program.find("failure") is not None or program.get("status") == "fail"
        try:
            counts = count_cases(report)
        except (OSError, ET.ParseError):
            skipped = program.find("skipped") is not None
            counts = (0, 0, 1) if skipped else (0, 1, 0) if broke else (1, 0, 0)
        if broke and counts[1] == 0:
            counts = (counts[0], 1, counts[2])
        add(counts)
    for report in pytest:
        add(count_cases(report))

    passed, failed, skipped = total
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
