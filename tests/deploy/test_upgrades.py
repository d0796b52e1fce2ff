"""What an upgrade does to what runs: which pods it replaces, how many it leaves. Pods are replaced when
their template changes; the replicas are asked of the cluster, which tests/deploy/api_server.py stands for."""

import pytest
from conftest import MINIMAL, render, replicas_after, values_of, with_values

FULL = values_of("full")
HPA = {"kind": "hpa", "minReplicas": 2, "maxReplicas": 9}
ROUTER, BIG, SMALL = "live-router", "live-worker-big", "live-worker-small"


def templates(objects):
    return {name: one["spec"]["template"] for (kind, name), one in objects.items() if kind == "Deployment"}


def rolled(before, after):
    """Deployments that both have and whose pods the upgrade replaces."""
    old, new = templates(render(before)), templates(render(after))
    return {name for name in old if name in new and old[name] != new[name]}


@pytest.mark.parametrize("change, replaced", [
    ({}, set()),
    ({"workers__0__config": {"max_batch_tokens": 777}}, {BIG}),
    ({"workers__1__batchSize": 7}, {SMALL}),
    ({"workers__1__replicas": 7}, set()),
    ({"workers__1__podDisruptionBudget": {"maxUnavailable": 2}}, set()),
    ({"workers__0__autoscaling": {"kind": "keda", "maxReplicas": 7, "prometheus": "http://p"}}, set()),
    ({"workers": FULL["workers"][:1]}, set()),
    ({"workers": [*FULL["workers"], {**FULL["workers"][1], "name": "more"}]}, set()),
    ({"router__config": {"stall_timeout": "3s"}}, {ROUTER}),
    ({"router__service__type": "ClusterIP"}, set()),
    ({"metrics__monitor": "none"}, set()),
    ({"apiKeys__keys": ["another"]}, set()),  # read again by the routers that run
    ({"grpcMaxMessageLength": "300M"}, {ROUTER, BIG, SMALL}),
])
def test_only_pods_whose_settings_change_are_replaced(change, replaced):
    assert rolled(FULL, with_values(FULL, **change)) == replaced


@pytest.mark.parametrize("running, kept", [(1, 2), (5, 5), (9, 9)])
def test_turning_autoscaling_on_keeps_the_pods_that_run(running, kept):
    values = with_values(MINIMAL, router__autoscaling=HPA, workers__0__autoscaling=HPA, workers__0__model="m")
    names = ("demo-pingti-router", "demo-pingti-worker-small")
    assert replicas_after(values, dict.fromkeys(names, running)) == dict.fromkeys(names, kept)
    values |= {"workers": [{**values["workers"][0], "tensorParallel": 2, "podsPerReplica": 2}]}
    assert replicas_after(values, {names[1]: running}, kind="LeaderWorkerSet")[names[1]] == kept


def test_what_autoscaling_starts_with_is_left_to_it():
    values = with_values(MINIMAL, router__autoscaling=HPA, workers__0__autoscaling=HPA, workers__0__model="m")
    assert replicas_after(values, {}) == {"demo-pingti-router": None, "demo-pingti-worker-small": None}


def test_without_autoscaling_the_values_say_how_many_pods_there_are():
    values = with_values(MINIMAL, router__replicas=4, workers__0__replicas=3)
    assert replicas_after(values, {"demo-pingti-router": 7, "demo-pingti-worker-small": 7}) == {
        "demo-pingti-router": 4, "demo-pingti-worker-small": 3}
