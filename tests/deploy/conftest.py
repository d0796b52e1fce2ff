"""What the tests of the chart share: chart.py renders it, this names the tools that judge it."""

import json
import os
import pathlib
import sys

import pytest
from api_server import ApiServer
from chart import (CHART, MINIMAL, ROOT, Refused, helm, render, run_helm, settings_of,  # noqa: F401
                   values_of, with_values)

PROGRAMS = pathlib.Path(os.environ.get("PINGTI_BIN", ROOT / "build/release/bin"))
VALUES = sorted((CHART / "ci").glob("*-values.yaml")) + sorted((CHART / "examples").glob("*.yaml"))

for folder in ("deploy/observability", "deploy/helm"):
    sys.path.insert(0, str(ROOT / folder))


def pod_templates(objects):
    """(name, pod template) of what keeps pods running; the followers of a group that spans pods bear the name of
    their LeaderWorkerSet and "-followers"."""
    for (kind, name), one in objects.items():
        if kind == "Deployment":
            yield name, one["spec"]["template"]
        elif kind == "LeaderWorkerSet":
            yield name, one["spec"]["leaderWorkerTemplate"]["leaderTemplate"]
            yield name + "-followers", one["spec"]["leaderWorkerTemplate"]["workerTemplate"]


def pod_specs(objects):
    """(name, pod spec) of everything that runs."""
    for (kind, name), one in objects.items():
        if kind == "Pod":
            yield name, one["spec"]
    for name, template in pod_templates(objects):
        yield name, template["spec"]


def replicas_after(values, running, kind="Deployment"):
    """By name, after an upgrade to `values` of a release of whose `kind` there are `running` by name."""
    owned = {"labels": {"app.kubernetes.io/managed-by": "Helm"},
             "annotations": {"meta.helm.sh/release-name": "demo", "meta.helm.sh/release-namespace": "prod"}}
    version = {"Deployment": "apps/v1", "LeaderWorkerSet": "leaderworkerset.x-k8s.io/v1"}[kind]
    there = [{"apiVersion": version, "kind": kind, "spec": {"replicas": count},
              "metadata": {"name": name, "namespace": "prod", **owned}} for name, count in running.items()]
    with ApiServer(there) as server:
        objects = render(values, "--dry-run=server", f"--kube-apiserver={server.url}",
                         "--disable-openapi-validation")
    return {name: one["spec"].get("replicas") for (kind, name), one in objects.items()
            if kind in ("Deployment", "LeaderWorkerSet")}


@pytest.fixture(scope="session")
def schema():
    return json.loads((CHART / "values.schema.json").read_text())
