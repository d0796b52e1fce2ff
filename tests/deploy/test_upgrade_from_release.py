"""An upgrade from the chart as it was (tests/golden/chart/release.json) with the values of then: the API server takes
it, pods of both charts work beside each other while the old ones are replaced, and none is lost."""

import json

import pytest
import yaml
from conftest import ROOT, Refused, render, replicas_after

RELEASE = json.loads((ROOT / "tests/golden/chart/release.json").read_text())
CASES = ["full", "gpu"]


def before(case):
    return {(one["kind"], one["metadata"]["name"]): one for one in RELEASE[case]["objects"]}


@pytest.fixture(scope="module")
def upgraded():
    return {case: render(RELEASE[case]["values"]) for case in CASES}


def pods_of(objects):
    return {name: one["spec"]["template"] for (kind, name), one in objects.items() if kind == "Deployment"}


def selects(selector, pod):
    labels = pod["metadata"]["labels"]
    expressions = selector.get("matchExpressions", ())
    return (selector.get("matchLabels", {}).items() <= labels.items() and
            all(labels.get(one["key"]) in one["values"] for one in expressions))


@pytest.mark.parametrize("case", CASES)
def test_fields_that_cannot_be_changed_are_as_they_were(upgraded, case):
    old, new = before(case), upgraded[case]
    assert set(old) <= set(new)
    for key, one in old.items():
        assert new[key]["apiVersion"] == one["apiVersion"], key
        fixed = {"Deployment": ["selector"], "Service": ["clusterIP", "type"]}.get(key[0], [])
        for field in fixed:
            assert new[key]["spec"].get(field) == one["spec"].get(field), (key, field)
        if key[0] == "Secret":
            assert new[key]["type"] == one["type"]


@pytest.mark.parametrize("case", CASES)
def test_pods_that_are_not_replaced_yet_are_served_guarded_and_counted(upgraded, case):
    old, new = pods_of(before(case)), pods_of(upgraded[case])
    for (kind, name), one in upgraded[case].items():
        selector = {"Service": lambda spec: {"matchLabels": spec["selector"]},
                    "NetworkPolicy": lambda spec: spec["podSelector"],
                    "PodDisruptionBudget": lambda spec: spec["selector"]}.get(kind)
        if selector is None:
            continue
        wanted = {pod for pod in old if selects(selector(one["spec"]), new[pod])}
        assert {pod for pod in old if selects(selector(one["spec"]), old[pod])} == wanted, (kind, name)


@pytest.mark.parametrize("case", CASES)
def test_what_pods_of_before_use_is_there_until_they_are_gone(upgraded, case):
    old, new = before(case), upgraded[case]
    made = {name for kind, name in old if kind in ("ConfigMap", "Secret")}
    for pod in pods_of(old).values():
        for volume in pod["spec"]["volumes"]:
            for kind, name in (("ConfigMap", volume.get("configMap", {}).get("name")),
                               ("Secret", volume.get("secret", {}).get("secretName"))):
                assert name not in made or (kind, name) in new
    (settings,) = [yaml.safe_load(one["data"]["router.yaml"]) for (kind, _), one in old.items()
                   if kind == "ConfigMap" and "router.yaml" in one["data"]]
    assert settings["workers"]
    for address in settings["workers"]:  # dns:SERVICE.NAMESPACE.svc:PORT
        host, port = address.removeprefix("dns:").split(":")
        service = new["Service", host.split(".")[0]]["spec"]
        assert service["clusterIP"] == "None" and int(port) in [one["port"] for one in service["ports"]]


def test_everything_is_replaced_without_a_router_less_and_one_worker_at_a_time(upgraded):
    """Addresses, probes and the nodes' labels have changed since, so no pod stays."""
    old, new = pods_of(before("full")), pods_of(upgraded["full"])
    assert {name for name in old if old[name] != new[name]} == {"live-router", "live-worker-big", "live-worker-small"}
    ways = {name: one["spec"]["strategy"]["rollingUpdate"] for (kind, name), one in upgraded["full"].items()
            if kind == "Deployment"}
    assert ways == {"live-router": {"maxSurge": 1, "maxUnavailable": 0},
                    "live-worker-big": {"maxSurge": 0, "maxUnavailable": 1},
                    "live-worker-small": {"maxSurge": 0, "maxUnavailable": 1}}


def test_what_is_scaled_stays_as_it_is_and_the_rest_as_the_values_say():
    running = {"live-router": 4, "live-worker-big": 3, "live-worker-small": 7}
    assert replicas_after(RELEASE["full"]["values"], running) == {
        "live-router": 4, "live-worker-big": 3, "live-worker-small": 3}


def test_values_that_are_no_longer_enough_are_refused_with_what_to_add():
    values = RELEASE["keda"]["values"]
    with pytest.raises(Refused, match=r"workers\[model\].autoscaling needs model"):
        render(values)
    values["workers"][0]["model"] = "model"
    old, new = before("keda"), render(values)
    assert set(old) <= set(new)
    assert new["ScaledObject", "live-worker-model"]["spec"]["scaleTargetRef"] == (
        old["ScaledObject", "live-worker-model"]["spec"]["scaleTargetRef"])
