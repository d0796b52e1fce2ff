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


@functools.lru_cache
def _template(values, args, namespace, release):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        done = run_helm("template", release, CHART, "--namespace", namespace, "-f", file.name, *args)
    if done.returncode != 0:
        raise Refused(done.stderr)
    return done.stdout


def render(values, *args, namespace="prod", release="demo"):
    """Objects by (kind, name); `values` is a dictionary."""
    return objects_in(_template(json.dumps(values), args, namespace, release))


def objects_in(text):
    """Objects by (kind, name)."""
    objects = {}
    for one in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if one:
            key = (one["kind"], one["metadata"]["name"])
            assert key not in objects, f"two objects are called {key}"
            objects[key] = one
    return objects


def values_of(name):
    return copy.deepcopy(yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text()))


MINIMAL = values_of("minimal")


def with_values(base, **changes):
    """`base` with values set by dotted path, such as router__replicas=3."""
    values = json.loads(json.dumps(base))
    for path, value in changes.items():
        node = values
        *folders, last = path.split("__")
        for folder in folders:
            node = node[int(folder)] if folder.isdigit() else node.setdefault(folder, {})
        node[last] = value
    return values


def settings_of(objects, name):
    """What is in the settings file of a router's or worker group's ConfigMap."""
    data = objects["ConfigMap", name]["data"]
    return yaml.safe_load(next(iter(data.values())))
