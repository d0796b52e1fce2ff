"""What a real cluster does with the chart's objects: evictions, rollouts, scaling, ways in."""

import json

import pytest
from conftest import CHART, MINIMAL, VALUES, Refused, pod_specs, render, run_helm, values_of, with_values
import yaml

FULL = values_of("full")


@pytest.mark.parametrize("file", VALUES, ids=lambda f: f.stem)
def test_pods_that_never_became_ready_hold_up_no_node(file):
    for (kind, name), one in render(yaml.safe_load(file.read_text())).items():
        if kind == "PodDisruptionBudget":
            assert one["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow", name


@pytest.mark.parametrize("budget, most", [(None, 1), ({}, 1), ({"maxUnavailable": 2}, 2), ({"enabled": True}, 1),
                                          ({"enabled": False, "maxUnavailable": 2}, None)])
def test_a_budget_is_there_unless_it_is_turned_off(budget, most):
    changes = {} if budget is None else {"workers__0__podDisruptionBudget": budget}
    found = render(with_values(MINIMAL, **changes)).get(("PodDisruptionBudget", "demo-pingti-worker-small"))
    assert (found and found["spec"]["maxUnavailable"]) == most


def test_rollouts_wait_for_the_slowest_worker_with_its_download():
    values = with_values(FULL, workers__0__startupSeconds=2400, workers__0__source__download__timeoutSeconds=5000)
    objects = render(values)
    deadline = {name: one["spec"]["progressDeadlineSeconds"] for (kind, name), one in objects.items()
                if kind == "Deployment"}
    assert deadline["live-router"] > 7400 and deadline["live-worker-big"] > 7400
    assert 900 < deadline["live-worker-small"] < 2400
    notes = run_helm("install", "demo", CHART, "--dry-run=client", "-f", CHART / "ci/download-values.yaml").stdout
    assert "--timeout=80m" in notes  # an hour to fetch, a quarter to load


@pytest.mark.parametrize("service", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_clients_do_not_reach_the_admin_port(service):
    objects = render(with_values(MINIMAL, router__service__type=service, metrics__monitor="service"))
    ports = {name: {port["name"] for port in one["spec"]["ports"]} for (kind, name), one in objects.items()
             if kind == "Service"}
    assert ports["demo-pingti-router"] == {"http", "grpc"}
    assert ports["demo-pingti-router-admin"] == {"admin"}
    assert objects["Service", "demo-pingti-router-admin"]["spec"]["clusterIP"] == "None"
    monitor = objects["ServiceMonitor", "demo-pingti"]["spec"]["selector"]
    scraped = [name for (kind, name), one in objects.items() if kind == "Service" and "admin" in ports[name]
               and monitor["matchLabels"].items() <= one["metadata"]["labels"].items()]
    assert sorted(scraped) == ["demo-pingti-router-admin", "demo-pingti-worker-small"]


def test_tls_says_so_to_whatever_connects():
    plain, full = render(with_values(FULL, tls={"enabled": False})), render(FULL)

    def protocol(objects):
        return {p["name"]: p["appProtocol"] for p in objects["Service", "live-router"]["spec"]["ports"]}

    assert protocol(plain) == {"http": "http", "grpc": "kubernetes.io/h2c"}
    assert protocol(full) == {"http": "https", "grpc": "https"}
    assert ("BackendTLSPolicy", "live-router") not in plain
    policy = full["BackendTLSPolicy", "live-router"]["spec"]
    assert policy["targetRefs"] == [{"group": "", "kind": "Service", "name": "live-router", "sectionName": "http"}]
    assert policy["validation"] == {"hostname": "live-router.prod.svc", "wellKnownCACertificates": "System"}
    names = full["Certificate", "live-tls"]["spec"]["dnsNames"]
    assert policy["validation"]["hostname"] in names and "live-router.prod.svc.cluster.local" in names


def test_the_policy_for_gateways_has_the_version_that_the_cluster_knows():
    old = render(FULL, "--api-versions=gateway.networking.k8s.io/v1alpha3/BackendTLSPolicy")
    assert old["BackendTLSPolicy", "live-router"]["apiVersion"] == "gateway.networking.k8s.io/v1alpha3"


def test_names_may_be_asked_for_on_the_ports_that_clusters_use():
    objects = render(FULL)
    for name in ("live-router", "live-worker"):
        ports = [(p["port"], p.get("protocol")) for rule in objects["NetworkPolicy", name]["spec"]["egress"]
                 for p in rule["ports"]]
        assert {(number, kind) for number in (53, 5353) for kind in ("UDP", "TCP")} <= set(ports)


def test_no_pod_spec_has_an_api_key():
    values = with_values(FULL, apiKeys={"keys": ["alice:sk-alice-0123456789 max_priority=3", "sk-b"]},
                         tls={"enabled": False})
    objects = render(values)
    for name, spec in pod_specs(objects):
        assert "sk-" not in json.dumps(spec), name
    (env,) = objects["Pod", "live-ask"]["spec"]["containers"][0]["env"]
    asked = env["valueFrom"]["secretKeyRef"]
    assert objects["Secret", asked["name"]]["stringData"][asked["key"]] == "sk-alice-0123456789"


@pytest.mark.parametrize("release", ["1st", "with.dot"])
def test_release_names_that_services_cannot_have_are_refused(release):
    with pytest.raises(Refused, match=f"objects would be called {release}-pingti-router"):
        render(MINIMAL, release=release)
    assert render({**MINIMAL, "fullnameOverride": "good"}, release=release)


@pytest.mark.parametrize("device, requests", [("cpu", {"cpu": "2", "memory": "4Gi"}),
                                              ("cuda", {"cpu": "4", "memory": "16Gi"})])
def test_every_container_asks_for_what_it_needs(device, requests):
    objects = render(with_values(values_of("download"), workers__0__device=device))
    for name, spec in pod_specs(objects):
        for container in spec["containers"] + spec.get("initContainers", []):
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
    (worker,) = [spec for name, spec in pod_specs(objects) if "-worker-" in name]
    assert worker["containers"][0]["resources"]["requests"] == requests


@pytest.mark.parametrize("file", VALUES, ids=lambda f: f.stem)
def test_pods_go_where_their_images_run(file):
    for name, spec in pod_specs(render(yaml.safe_load(file.read_text()))):
        assert spec["nodeSelector"]["kubernetes.io/arch"] == "amd64", name
    moved = render(with_values(MINIMAL, router__pod={"nodeSelector": {"kubernetes.io/arch": "arm64", "a": "b"}}))
    assert moved["Deployment", "demo-pingti-router"]["spec"]["template"]["spec"]["nodeSelector"] == {
        "a": "b", "kubernetes.io/arch": "arm64", "kubernetes.io/os": "linux"}
