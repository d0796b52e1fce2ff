"""What the chart renders: valid for the API, restricted, coherent."""

import json
import re
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml
from conftest import (CHART, MINIMAL, PROGRAMS, ROOT, VALUES, Refused, helm, pod_specs, pod_templates, render,
                      run_helm, settings_of, values_of, with_values)
from crds import CUSTOM_OBJECTS, check_custom_object

KUBERNETES = ("1.27", "1.33", "1.37")


@pytest.mark.parametrize("file", VALUES, ids=lambda f: f.stem)
def test_lint_is_clean(file):
    done = run_helm("lint", "--strict", CHART, "-f", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("file", VALUES, ids=lambda f: f.stem)
def test_every_object_is_valid_for_the_api(file, version):
    values = yaml.safe_load(file.read_text())
    images = [g for g in values["workers"] if "image" in g["source"]]
    if images and version < "1.33":
        with pytest.raises(Refused, match="needs Kubernetes 1.33"):
            render(values, "--kube-version", version)
        for group in images:
            group["source"] = MINIMAL["workers"][0]["source"]
    objects = render(values, "--kube-version", version)
    for (kind, name), one in objects.items():
        if (one["apiVersion"], kind) in CUSTOM_OBJECTS:
            check_custom_object(one)
        else:
            kubernetes_validate.validate(one, version, strict=True)
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= 63, (kind, name)
    for name, template in pod_templates(objects):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template["metadata"]},
               "spec": template["spec"]}
        kubernetes_validate.validate(pod, version, strict=True)


@pytest.mark.parametrize("file", VALUES, ids=lambda f: f.stem)
def test_pods_meet_the_restricted_profile_and_our_policies(file):
    objects = render(yaml.safe_load(file.read_text()))
    allowed = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "image", "projected"}
    if "hostPath" in json.dumps(yaml.safe_load(file.read_text())["workers"]):
        allowed.add("hostPath")  # the one source that restricted refuses, as its description says
    for name, spec in pod_specs(objects):
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        context = spec["securityContext"]
        assert context["runAsNonRoot"] and context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in spec.get("volumes", ()):
            assert set(volume) - {"name"} <= allowed, (name, volume)
        for container in spec["containers"] + spec.get("initContainers", []):
            mine = container["securityContext"]
            assert mine == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}}, name
            assert re.search(r"(:[^/:]+|@sha256:[0-9a-f]{64})$", container["image"]), container["image"]
            assert not container["image"].endswith(":latest")
            if file.parent.name == "examples" or container["name"] != "worker":
                assert "memory" in container["resources"]["limits"], name


@pytest.mark.parametrize("file", VALUES, ids=lambda f: f.stem)
def test_services_budgets_and_policies_select_the_pods_they_are_for(file):
    objects = render(yaml.safe_load(file.read_text()))
    pods, specs = dict(pod_templates(objects)), dict(pod_specs(objects))

    def selected(selector):
        wanted = {key: [value] for key, value in selector.get("matchLabels", {}).items()}
        wanted |= {one["key"]: one["values"] for one in selector.get("matchExpressions", ())}
        return {name for name, pod in pods.items()
                if all(pod["metadata"]["labels"].get(key) in values for key, values in wanted.items())}

    def group(name):
        return {name, name + "-followers"} & set(pods)

    for (kind, name), one in objects.items():
        spec = one.get("spec")
        if kind == "Deployment":
            assert selected(spec["selector"]) == {name}
            assert "helm.sh/chart" not in spec["selector"]["matchLabels"]
        elif kind == "Service":
            found = selected({"matchLabels": spec["selector"]})
            served = {n for n in pods if "-worker-" in n and not n.endswith("-followers")}
            assert found == (served if name.endswith("-workers") else group(name.removesuffix("-admin")))
            for pod in found:
                ports = {p["name"] for p in specs[pod]["containers"][0]["ports"]}
                assert {port["targetPort"] for port in spec["ports"]} - ports <= (
                    {"worker"} if pod.endswith("-followers") else set())
        elif kind == "PodDisruptionBudget":
            assert selected(spec["selector"]) == group(name)
        elif kind == "NetworkPolicy":
            wanted = {n for n in pods if ("-worker" in n) == ("-worker" in name)}
            assert selected(spec["podSelector"]) == (group(name) or wanted)
        elif kind in ("ScaledObject", "HorizontalPodAutoscaler"):
            target = spec["scaleTargetRef"]
            assert (target["kind"], target["name"]) in objects and target["name"] in pods
            assert "replicas" not in objects[target["kind"], name]["spec"]
        elif kind == "Ingress":
            for rule in spec["rules"]:
                for path in rule["http"]["paths"]:
                    assert ("Service", path["backend"]["service"]["name"]) in objects
        elif kind == "HTTPRoute":
            (backend,) = spec["rules"][0]["backendRefs"]
            ports = objects["Service", backend["name"]]["spec"]["ports"]
            assert backend["port"] in [port["port"] for port in ports]


@pytest.mark.parametrize("file", VALUES, ids=lambda f: f.stem)
def test_the_programs_accept_the_settings(file, tmp_path):
    objects = render(yaml.safe_load(file.read_text()))
    for (kind, name), one in objects.items():
        if kind != "ConfigMap" or not set(one["data"]) & {"router.yaml", "worker.yaml"}:
            continue
        (key, text), = one["data"].items()
        (tmp_path / key).write_text(text)
        program = PROGRAMS / ("pingti-" + key.removesuffix(".yaml"))
        container = dict(pod_specs(objects))[name]["containers"][0]
        env = {e["name"]: e.get("value", "pod-1") for e in container.get("env", ())}
        args = [a for a in container["args"] if not a.startswith("--config=")]
        done = subprocess.run([program, f"--config={tmp_path / key}", *args, "--print-config"],
                              env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed = yaml.safe_load(done.stdout)
        for setting, value in yaml.safe_load(text).items():
            shown = printed[setting]
            if not isinstance(value, (bool, int, list)) and re.match(r"\d", str(value)):
                continue  # sizes and durations are printed in the program's own unit
            assert shown == value, (setting, shown, value)


def test_routers_find_the_workers_of_every_group():
    objects = render(values_of("full"))
    assert settings_of(objects, "live-router")["workers"] == ["dns:live-workers.prod.svc:9001"]
    spec = objects["Service", "live-workers"]["spec"]
    assert spec["clusterIP"] == "None" and spec["publishNotReadyAddresses"] is True


def test_probes_leave_time_for_the_weights():
    objects = render(with_values(MINIMAL, workers__0__startupSeconds=1201))
    spec = objects["Deployment", "demo-pingti-worker-small"]["spec"]
    probe = spec["template"]["spec"]["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 1201
    assert spec["progressDeadlineSeconds"] > 1201


@pytest.mark.parametrize("path, grace, fits", [
    ("router", 65, False), ("router", 66, True), ("workers__0", 30, False), ("workers__0", 31, True)])
def test_a_grace_period_that_draining_does_not_fit_into_is_refused(path, grace, fits):
    values = with_values(MINIMAL, **{path + "__terminationGracePeriodSeconds": grace})
    if fits:
        seconds = {s["terminationGracePeriodSeconds"] for _, s in pod_specs(render(values))
                   if "terminationGracePeriodSeconds" in s}
        assert grace in seconds
    else:
        with pytest.raises(Refused, match=f"terminationGracePeriodSeconds is {grace}"):
            render(values)


@pytest.mark.parametrize("change, complaint", [
    ({"router__replicas": "two"}, "/router/replicas"),
    ({"router__replica": 2}, "replica"),
    ({"router__config": {"stall_timeuot": "1s"}}, "stall_timeuot"),
    ({"router__config": {"stall_timeout": 5}}, "/router/config/stall_timeout"),
    ({"router__config": {"http_threads": 100}}, "/router/config/http_threads"),
    ({"router__config": {"workers": []}}, "workers"),
    ({"workers": []}, "/workers"),
    ({"workers__0__source": {}}, "/workers/0/source"),
    ({"workers__0__source__hostPath": {"path": "/m"}}, "/workers/0/source"),
    ({"workers__0__name": "Not A Name"}, "/workers/0/name"),
    ({"workers__0__quantization": "int3"}, "/workers/0/quantization"),
    ({"image__router__tag": "latest"}, "/image/router/tag"),
    ({"metrics__monitor": "both"}, "/metrics/monitor"),
    ({"metrics__runbookBase": "docs/operations.md"}, "/metrics/runbookBase"),
    ({"workers__0__source": {"download": {"image": "i:1", "files": [
        {"url": "hf://owner/a.gguf", "sha256": "0" * 64, "path": "a.gguf"}]}}}, "/workers/0/source/download/files/0/url"),
    ({"grpcMaxMessageLength": "lots"}, "/grpcMaxMessageLength"),
    ({"workers__0__source": {"persistentVolumeClaim": {"claimName": "c", "path": "../x"}}}, "path"),
    ({"nameOverride": "Not_A_Name"}, "/nameOverride"),
    ({"fullnameOverride": "ends-with-"}, "/fullnameOverride"),
    ({"fullnameOverride": "1st"}, "/fullnameOverride"),
    ({"networkPolicy__dnsPorts": [0]}, "/networkPolicy/dnsPorts/0"),
])
def test_a_wrong_value_is_refused_with_its_path(change, complaint):
    with pytest.raises(Refused) as refusal:
        render(with_values(MINIMAL, **change))
    assert complaint in str(refusal.value).replace("'", "/").replace("//", "/")


@pytest.mark.parametrize("change, complaint", [
    ({"apiKeys": {"keys": ["a"], "existingSecret": "b"}}, "either keys or existingSecret"),
    ({"tls": {"enabled": True}}, "tls.enabled needs existingSecret or issuerRef"),
    ({"workerTls": {"enabled": True, "existingSecret": "a", "issuerRef": {"name": "b"}}}, "workerTls: give either"),
    ({"ingress": {"enabled": True}}, "ingress.hosts"),
    ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs"),
    ({"workers__0__autoscaling": {"kind": "hpa", "maxReplicas": 2}}, "autoscaling needs model"),
    ({"workers__0__autoscaling": {"kind": "hpa", "maxReplicas": 2}, "workers__0__model": "owner/m"},
     "owner/m cannot be a label's value"),
    ({"workers__0__autoscaling": {"kind": "keda", "maxReplicas": 2, "prometheus": "http://p"},
      "workers__0__model": "m", "fullnameOverride": "f" * 40}, "expected at most 46 characters, got 53"),
    ({"workers__0__autoscaling": {"kind": "keda", "maxReplicas": 2}, "workers__0__model": "m"},
     "autoscaling.prometheus is needed"),
    ({"workers__0__autoscaling": {"kind": "hpa", "minReplicas": 3, "maxReplicas": 2}, "workers__0__model": "m"},
     "minReplicas 3 is more"),
    ({"workers__0__autoscaling": {"kind": "hpa", "maxReplicas": 2}, "workers__0__model": "m",
      "metrics": {"monitor": "pod"}},
     "metrics.monitor pod does not give"),
    ({"workers": MINIMAL["workers"] * 2}, "two groups are called small"),
    ({"router__autoscaling": {"kind": "hpa", "minReplicas": 3, "maxReplicas": 2}},
     "router.autoscaling: minReplicas 3 is more"),
    ({"fullnameOverride": "f" * 40, "workers__0__name": "w" * 30}, "has 78 characters: expected at most 63"),
    ({"workers__0__device": "cuda", "workers__0__pod": {"resources": {"limits": {"nvidia.com/gpu": 2}}}},
     "limits has 2 devices of nvidia.com, but a worker uses tensorParallel of them, 1"),
    ({"workers__0__device": "cuda", "workers__0__tensorParallel": 4,
      "workers__0__pod": {"resources": {"limits": {"nvidia.com/gpu": 2}}}},
     "limits has 2 devices of nvidia.com, but a worker uses tensorParallel of them, 4"),
    ({"workers__0__device": "cuda", "workers__0__pod": {"resources": {"limits": {
        "nvidia.com/gpu": "1", "nvidia.com/mig-1g.10gb": 1}}}}, "limits has 2 devices of nvidia.com"),
    ({"workers__0__device": "cuda", "workers__0__pod": {"resources": {"requests": {
        "nvidia.com/mig-1g.10gb": 1}}}}, "requests has nvidia.com/mig-1g.10gb: 1; expected the same under limits"),
    ({"workers__0__pod": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}, "but device is cpu"),
])
def test_what_cannot_work_together_is_refused(change, complaint):
    with pytest.raises(Refused, match=complaint):
        render(with_values(MINIMAL, **change))


def worker_pod(**changes):
    [pod] = [spec for name, spec in pod_specs(render(with_values(MINIMAL, **changes)))
             if spec["containers"][0]["name"] == "worker"]
    return pod


@pytest.mark.parametrize("limits", [{}, {"nvidia.com/gpu": 4}, {"memory": "64Gi"}])
def test_tensor_parallel_takes_as_many_gpus_and_shared_memory_for_them(limits):
    pod = worker_pod(workers__0__device="cuda", workers__0__tensorParallel=4,
                     workers__0__pod={"resources": {"limits": limits}})
    [container] = pod["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 4} | limits
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}} in pod["volumes"]
    objects = render(with_values(MINIMAL, workers__0__device="cuda", workers__0__tensorParallel=4))
    settings = [settings_of(objects, name) for kind, name in objects if kind == "ConfigMap"]
    assert [one["tensor_parallel"] for one in settings if "tensor_parallel" in one] == [4]


@pytest.mark.parametrize("changes", [{}, {"workers__0__device": "cuda"},
                                     {"workers__0__tensorParallel": 2}])
def test_one_gpu_or_none_needs_no_shared_memory(changes):
    pod = worker_pod(**changes)
    assert "shm" not in [volume["name"] for volume in pod["volumes"]]
    assert pod["containers"][0]["resources"].get("limits", {}) == (
        {"nvidia.com/gpu": 1} if "workers__0__device" in changes else {})


def test_generated_files_are_up_to_date():
    done = subprocess.run([sys.executable, ROOT / "deploy/helm/make_chart.py", "--programs", PROGRAMS,
                           "--helm", helm(), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_notes_say_what_to_do_next():
    done = run_helm("install", "demo", CHART, "-n", "prod", "-f", CHART / "ci/minimal-values.yaml",
                    "--dry-run=client")
    assert done.returncode == 0, done.stderr
    notes = done.stdout[done.stdout.index("NOTES:"):]
    assert "rollout status deployment/demo-pingti-router --timeout=20m" in notes
    assert "helm -n prod test demo" in notes and "No API keys are set" in notes


def test_high_availability_values_add_to_any_groups(tmp_path):
    groups = tmp_path / "groups.yaml"
    groups.write_text(json.dumps(MINIMAL))
    done = run_helm("template", "demo", CHART, "-f", CHART / "values-ha.yaml", "-f", groups)
    assert done.returncode == 0, done.stderr
    kinds = [one["kind"] for one in yaml.safe_load_all(done.stdout) if one]
    assert "HorizontalPodAutoscaler" in kinds and "PrometheusRule" in kinds
