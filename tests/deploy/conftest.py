"""What the tests of the chart share: chart.py renders it, this names the tools that judge it."""

import json
import os
import pathlib
import sys

import pytest
from chart import (CHART, MINIMAL, ROOT, Refused, helm, render, run_helm, settings_of,  # noqa: F401
                   values_of, with_values)

PROGRAMS = pathlib.Path(os.environ.get("PINGTI_BIN", ROOT / "build/release/bin"))
VALUES = sorted((CHART / "ci").glob("*-values.yaml")) + sorted((CHART / "examples").glob("*.yaml"))

for folder in ("deploy/observability", "deploy/helm"):
    sys.path.insert(0, str(ROOT / folder))


def pod_specs(objects):
    """(name, pod spec) of everything that runs."""
    for (kind, name), one in objects.items():
        if kind == "Pod":
            yield name, one["spec"]
        elif kind == "Deployment":
            yield name, one["spec"]["template"]["spec"]


@pytest.fixture(scope="session")
def schema():
    return json.loads((CHART / "values.schema.json").read_text())
