"""The chart as Helm renders it, and the tools that judge it. These tests need no cluster."""

import copy
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/pingti"
PROGRAMS = pathlib.Path(os.environ.get("PINGTI_BIN", ROOT / "build/release/bin"))
VALUES = sorted((CHART / "ci").glob("*-values.yaml")) + sorted((CHART / "examples").glob("*.yaml"))

for folder in ("deploy/observability", "deploy/helm"):
    sys.path.insert(0, str(ROOT / folder))


@functools.lru_cache
def helm():
    done = subprocess.run([ROOT / "scripts/fetch_helm.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run_helm(*args):
    return subprocess.run([helm(), *map(str, args)], capture_output=True, text=True, check=False)


class Refused(Exception):
    """Helm did not render; the text says why."""


def render(values, *args, namespace="prod", release="demo"):
    """Objects by (kind, name); `values` is a dictionary."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(json.dumps(values))
        file.flush()
        done = run_helm("template", release, CHART, "--namespace", namespace, "-f", file.name, *args)
    if done.returncode != 0:
        raise Refused(done.stderr)
    objects = {}
    for one in yaml.safe_load_all(done.stdout):
        if one:
            key = (one["kind"], one["metadata"]["name"])
            assert key not in objects, f"two objects are called {key}"
            objects[key] = one
    return objects


def values_of(name):
    return copy.deepcopy(yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text()))


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
