"""The chart as Helm renders it. Needs no cluster; also for tests outside this folder."""

import copy
import functools
import json
import pathlib
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/pingti"


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
