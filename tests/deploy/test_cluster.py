"""What a real cluster does with the chart's objects: evictions, rollouts, scaling, ways in."""

import json
import re

import pytest
import yaml
from conftest import (CHART, MINIMAL, VALUES, Refused, pod_specs, render, run_helm, settings_of, values_of,
                      with_values)

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


def test_the_hubs_files_are_fetched_through_the_proxy():
    objects = render(values_of("hub"))
    spec = objects["Deployment", "demo-pingti-worker-model"]["spec"]["template"]["spec"]
    (container,) = spec["initContainers"]
    assert container["args"][2::3] == ["https://huggingface.co/owner/repo/resolve/main/a.gguf",
                                       "https://huggingface.co/owner/repo/resolve/v1.5/folder/config.json"]
    env = {e["name"]: e["value"] for e in container["env"]}
    assert env == {"http_proxy": "http://proxy.example.com:3128", "https_proxy": "http://proxy.example.com:3128",
                   "no_proxy": ".svc,.cluster.local", "CURL_CA_BUNDLE": "/etc/pingti/download-ca/ca.crt"}
    assert {"name": "download-ca", "mountPath": "/etc/pingti/download-ca", "readOnly": True} in container["volumeMounts"]
    egress = objects["NetworkPolicy", "demo-pingti-worker"]["spec"]["egress"]
    assert {443, 3128} <= {p["port"] for rule in egress for p in rule["ports"]}


@pytest.mark.parametrize("url, port", [("https://[2001:db8::1]/a", 443), ("http://[2001:db8::1]:8080/a", 8080),
                                       ("http://mirror/a", 80)])
def test_a_downloads_port_is_allowed(url, port):
    objects = render(with_values(values_of("download"), workers__0__source__download__files__0__url=url))
    (rule,) = objects["NetworkPolicy", "demo-pingti-worker"]["spec"]["egress"]
    assert port in [p["port"] for p in rule["ports"]]


def test_workers_and_routers_ask_each_other_for_the_name():
    objects = render(FULL)
    assert settings_of(objects, "live-worker-big")["tls_client_names"] == ["workers"]
    assert settings_of(objects, "live-router")["worker_tls_server_name"] == "workers"
    assert "workers" in objects["Certificate", "live-worker-tls"]["spec"]["dnsNames"]


def test_pods_listen_on_every_address_of_ipv4_and_ipv6():
    objects = render(FULL)
    for name in ("live-router", "live-worker-big"):
        assert settings_of(objects, name)["address"] == "*"
    families = {name: one["spec"].get("ipFamilyPolicy") for (kind, name), one in objects.items() if kind == "Service"}
    assert families["live-router"] == "PreferDualStack" and families["live-workers"] is None


def test_a_pod_that_loads_is_alive_and_has_not_started():
    spec = render(MINIMAL)["Deployment", "demo-pingti-worker-small"]["spec"]["template"]["spec"]
    probes = {key: spec["containers"][0][key]["httpGet"]["path"]
              for key in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes == {"startupProbe": "/readyz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def pods_like(query):
    """The pattern of pods' names in each selector of a query."""
    return [re.compile(pattern) for pattern in re.findall(r'pod=~"([^"]*)"', query)]


def test_autoscaling_counts_the_pods_of_one_group_and_the_queue_of_its_model():
    group = values_of("keda")["workers"][0]
    values = {"fullnameOverride": "live", "workers": [{**group, "name": name, "model": f"owner/{name}"}
                                                      for name in ("big", "big-long")]}
    objects = render(values)
    own = "live-worker-big-7c9d5b8f6-x2k4q"
    others = ["live-worker-big-long-7c9d5b8f6-x2k4q", "live-worker-bigger-7c9d5b8f6-x2k4q",
              "other-live-worker-big-7c9d5b8f6-x2k4q", "live-worker-big-long-0", "live-worker-big-0-1"]
    for trigger in objects["ScaledObject", "live-worker-big"]["spec"]["triggers"]:
        query = trigger["metadata"]["query"]
        workers = pods_like(query)[-1]
        assert workers.fullmatch(own) and not any(workers.fullmatch(pod) for pod in others), query
        assert query.count('model="owner/big"') == 2 and query.count('namespace="prod"') == 2
        if trigger["name"] == "queue":
            assert pods_like(query)[0].fullmatch("live-router-7c9d5b8f6-x2k4q")
    scaler = render(with_values(FULL, workers__0__model="m.1"))["HorizontalPodAutoscaler", "live-worker-big"]["spec"]
    queue = scaler["metrics"][0]["object"]
    assert queue["describedObject"]["name"] == "live-router-admin"
    assert queue["metric"] == {"name": "pingti_router_queued_requests", "selector": {"matchLabels": {"model": "m.1"}}}


def test_routers_ask_kubernetes_only_when_they_find_workers_by_it():
    plain, watching = render(FULL), render(with_values(FULL, router__discovery="kubernetes"))
    assert not [name for kind, name in plain if kind in ("Role", "RoleBinding")]
    role, binding = watching["Role", "live-router"], watching["RoleBinding", "live-router"]
    assert role["rules"] == [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"],
                              "verbs": ["get", "list", "watch"]}]
    assert binding["roleRef"]["name"] == "live-router"
    pod = watching["Deployment", "live-router"]["spec"]["template"]["spec"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": pod["serviceAccountName"], "namespace": "prod"}]
    mounted = {name: one["spec"]["template"]["spec"]["automountServiceAccountToken"]
               for (kind, name), one in watching.items() if kind == "Deployment"}
    assert mounted.pop("live-router") and not any(mounted.values()), mounted
    assert pod["containers"][0]["env"][0]["name"] == "PINGTI_ZONE"
    allowed = [port["port"] for rule in watching["NetworkPolicy", "live-router"]["spec"]["egress"]
               for port in rule["ports"]]
    assert 443 in allowed and 6443 in allowed
    assert settings_of(watching, "live-router")["workers"] == ["kubernetes:live-workers:worker"]
