"""The metrics that the programs export, read from the one file that declares them.

Dashboards and rules are built against this, so a query that names a metric which does not exist is
refused when they are made, not found out by whoever is on call.
"""

import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = ROOT / "common/metrics/metrics.h"

_SPEC = re.compile(
    r"inline constexpr (Counter|Gauge|Histogram)Spec<\d+> k\w+\s*\{\s*"
    r'"(?P<name>\w+)",\s*(?P<help>(?:"(?:[^"\\]|\\.)*"\s*)+)(?P<rest>[^;]*)\};')
_NAME = re.compile(r"(?<![\w:])(?:pingti|process)_\w+(?![\w:]*:)")


@dataclasses.dataclass(frozen=True)
class Metric:
    name: str
    kind: str  # counter, gauge or histogram
    help: str
    labels: tuple

    def series(self):
        """The names under which Prometheus stores it."""
        if self.kind == "histogram":
            return [self.name + end for end in ("_bucket", "_sum", "_count")]
        return [self.name]


def read_metrics():
    """All metrics by name."""
    metrics = {}
    text = HEADER.read_text()
    for found in _SPEC.finditer(text):
        words = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', found["help"]))
        labels = re.search(r"\{([^{}]*)\}", found["rest"])
        names = tuple(re.findall(r'"(\w+)"', labels[1])) if labels else ()
        metrics[found["name"]] = Metric(found["name"], found[1].lower(), words, names)
    declared = len(re.findall(r"inline constexpr \w+Spec<", text))
    if declared != len(metrics):
        raise SystemExit(f"{HEADER}: {declared} metrics are declared, {len(metrics)} were understood")
    return metrics


def names_in(query):
    """The series of ours that a query reads; recording rules, which contain colons, are left out."""
    return set(_NAME.findall(query))


def unknown_names(query, metrics):
    """Those of names_in(query) that no program exports."""
    exported = {series for metric in metrics.values() for series in metric.series()}
    return sorted(names_in(query) - exported)
