"""Every value in the schema does something: each is changed alone, and what is rendered must differ
in the place named. A value that is added to the schema without a line here fails."""

import concurrent.futures
import copy
import json
import os

import pytest
from conftest import Refused, render, values_of

POD = {  # key below a pod: (new value, what the rendering then contains)
    "resources.requests": ({"cpu": "7"}, '"cpu": "7"'),
    "resources.limits": ({"memory": "7Gi"}, '"memory": "7Gi"'),
    "nodeSelector": ({"zone": "z7"}, '"kubernetes.io/os": "linux", "zone": "z7"}'),
    "tolerations": ([{"key": "t7", "operator": "Exists"}], '"tolerations": [{"key": "t7"'),
    "affinity": ({"podAntiAffinity": {}}, '"affinity": {"podAntiAffinity": {}}'),
    "topologySpreadConstraints": ([{"maxSkew": 7}], '"topologySpreadConstraints": [{"maxSkew": 7}]'),
    "priorityClassName": ("p7", '"priorityClassName": "p7"'),
    "runtimeClassName": ("r7", '"runtimeClassName": "r7"'),
    "labels": ({"l": "l7"}, '"l": "l7"'),
    "annotations": ({"a": "a7"}, '"a": "a7"'),
    "extraEnv": ([{"name": "E7", "value": "1"}], '{"name": "E7", "value": "1"}'),
    "extraArgs": (["--a7"], '"--a7"'),
    "extraVolumes": ([{"name": "v7", "emptyDir": {}}], '{"emptyDir": {}, "name": "v7"}'),
    "extraVolumeMounts": ([{"name": "v7", "mountPath": "/m7"}], '{"mountPath": "/m7", "name": "v7"}'),
}
BUDGET = {"enabled": (False, None), "maxUnavailable": (7, '"maxUnavailable": 7')}
DIGEST = "sha256:" + "7" * 64
FILE = {"url": "https://seven.example.com/a", "sha256": "7" * 64, "path": "seven"}

# value: (base, new value, what the rendering then contains; None: anything else than before)
CHANGES = {
    "nameOverride": ("minimal", "n7", '"app.kubernetes.io/name": "n7"'),
    "fullnameOverride": ("minimal", "f7", '"name": "f7-router"'),
    "clusterDomain": ("full", "c7.local", "live-router.prod.svc.c7.local"),
    "image.registry": ("full", "r7.example.com", "r7.example.com/pingti/router:0.1.0"),
    "image.router.repository": ("full", "r7", "registry.example.com/r7:0.1.0"),
    "image.router.tag": ("full", "t7", "pingti/router:t7"),
    "image.router.digest": ("full", DIGEST, "pingti/router@" + DIGEST),
    "image.worker.repository": ("full", "w7", "registry.example.com/w7@"),
    "image.worker.tag": ("minimal", "t7", "pingti-worker:t7"),
    "image.worker.digest": ("full", DIGEST, "pingti/worker@" + DIGEST),
    "image.cudaWorker.repository": ("gpu", "w7", "w7:1.2.3"),
    "image.cudaWorker.tag": ("gpu", "t7", "pingti-worker-cuda:t7"),
    "image.cudaWorker.digest": ("gpu", DIGEST, "pingti-worker-cuda@" + DIGEST),
    "image.pullPolicy": ("full", "Never", '"imagePullPolicy": "Never"'),
    "image.pullSecrets": ("full", ["s7"], '"imagePullSecrets": [{"name": "s7"}]'),
    "grpcMaxMessageLength": ("full", "7M", "grpc_max_message_length: 7M"),
    "router.replicas": ("minimal", 7, '"replicas": 7'),
    "router.discovery": ("full", "kubernetes", "kubernetes:live-workers:worker"),
    "router.config": ("full", {"stall_timeout": "7s"}, "stall_timeout: 7s"),
    "router.drainDelaySeconds": ("full", 7, "drain_delay: 7s"),
    "router.drainTimeoutSeconds": ("full", 7, "drain_timeout: 7s"),
    "router.terminationGracePeriodSeconds": ("full", 777, '"terminationGracePeriodSeconds": 777'),
    "router.autoscaling.kind": ("full", "none", '"replicas": 2'),
    "router.autoscaling.minReplicas": ("full", 3, '"minReplicas": 3'),
    "router.autoscaling.maxReplicas": ("full", 7, '"maxReplicas": 7'),
    "router.autoscaling.targetCpuPercent": ("full", 77, '"averageUtilization": 77'),
    "router.service.type": ("full", "NodePort", '"type": "NodePort"'),
    "router.service.httpPort": ("full", 7777, '"port": 7777'),
    "router.service.grpcPort": ("full", 7777, '"port": 7777'),
    "router.service.annotations": ("full", {"a": "a7"}, '"a": "a7"'),
    "workers[].name": ("full", "n7", '"name": "live-worker-n7"'),
    "workers[].model": ("full", "m7", "model_id: m7"),
    "workers[].aliases": ("full", ["a7"], "- a7"),
    "workers[].device": ("minimal", "cuda", '"limits": {"nvidia.com/gpu": 1}'),
    "workers[].tensorParallel": ("minimal", 7, "tensor_parallel: 7"),
    "workers[].podsPerReplica": ("group", 4, '"size": 4'),
    "workers[].quantization": ("full", "bf16", "dtype: bf16"),
    "workers[].replicas": ("minimal", 7, '"replicas": 7'),
    "workers[].batchSize": ("full", 7, '{"name": "BATCH_SIZE", "value": "7"}'),
    "workers[].gpuMemoryFraction": ("full", 0.7, '{"name": "GPU_MEMORY_FRACTION", "value": "0.7"}'),
    "workers[].config": ("full", {"max_batch_tokens": 777}, "max_batch_tokens: 777"),
    "workers[].startupSeconds": ("full", 770, '"failureThreshold": 154'),
    "workers[].drainTimeoutSeconds": ("full", 77, "drain_timeout: 77s"),
    "workers[].terminationGracePeriodSeconds": ("full", 777, '"terminationGracePeriodSeconds": 777'),
    "workers[].autoscaling.kind": ("keda-plain", "hpa", '"kind": "HorizontalPodAutoscaler"'),
    "workers[].autoscaling.minReplicas": ("full", 3, '"minReplicas": 3'),
    "workers[].autoscaling.maxReplicas": ("full", 7, '"maxReplicas": 7'),
    "workers[].autoscaling.queuePerPod": ("full", 7, '"averageValue": "7"'),
    "workers[].autoscaling.kvPercent": ("full", 77, '"averageValue": "770m"'),
    "workers[].autoscaling.prometheus": ("keda", "http://p7", '"serverAddress": "http://p7"'),
    "workers[].source.persistentVolumeClaim.claimName": ("minimal", "c7", '"claimName": "c7"'),
    "workers[].source.persistentVolumeClaim.path": ("minimal", "p7", "model: /models/p7"),
    "workers[].source.hostPath.path": ("host-path", "/p7", '"hostPath": {"path": "/p7"'),
    "workers[].source.hostPath.file": ("host-path", "f7", "model: /models/f7"),
    "workers[].source.image.reference": ("oci", "i:7", '"reference": "i:7"'),
    "workers[].source.image.path": ("oci", "p7", "model: /models/p7"),
    "workers[].source.image.pullPolicy": ("oci", "Never", '"pullPolicy": "Never"'),
    "workers[].source.download.image": ("full", "d:7", '"image": "d:7"'),
    "workers[].source.download.files": ("full", [FILE], '"/models/seven"'),
    "workers[].source.download.path": ("full", "p7", "model: /models/p7"),
    "workers[].source.download.tokenSecret.name": ("full", "t7", '"name": "t7"'),
    "workers[].source.download.tokenSecret.key": ("full", "k7", '"key": "k7"'),
    "workers[].source.download.claimName": ("full", "c7", '"claimName": "c7"'),
    "workers[].source.download.size": ("download", "7Gi", '"sizeLimit": "7Gi"'),
    "workers[].source.download.hubEndpoint": ("hub", "http://h7/", '"http://h7/owner/repo/resolve/main/a.gguf"'),
    "workers[].source.download.proxy.url": ("hub", "http://p7:7", '{"name": "https_proxy", "value": "http://p7:7"}'),
    "workers[].source.download.proxy.noProxy": ("hub", "n7", '{"name": "no_proxy", "value": "n7"}'),
    "workers[].source.download.caConfigMap.name": ("hub", "c7", '"configMap": {"items": [{"key": "bundle", "path": "ca.crt"}], "name": "c7"}'),
    "workers[].source.download.caConfigMap.key": ("hub", "k7", '{"key": "k7", "path": "ca.crt"}'),
    "workers[].source.download.timeoutSeconds": ("download", 7000, '"progressDeadlineSeconds": 8240'),
    "apiKeys.existingSecret": ("keda", "s7", '"secretName": "s7"'),
    "apiKeys.existingSecretKey": ("keda", "k7", '"items": [{"key": "k7"'),
    "apiKeys.keys": ("full", ["k7"], '"keys": "k7\\n"'),
    "tls.enabled": ("full", False, None),
    "tls.existingSecret": ("host-path", "s7", '"secretName": "s7"'),
    "tls.issuerRef.name": ("full", "i7", '"name": "i7"'),
    "tls.issuerRef.kind": ("full", "Issuer", '"kind": "Issuer"'),
    "tls.issuerRef.group": ("full", "g7", '"group": "g7"'),
    "tls.dnsNames": ("full", ["d7"], '"d7"'),
    "workerTls.enabled": ("full", False, None),
    "workerTls.existingSecret": ("host-path", "s7", '"secretName": "s7"'),
    "workerTls.issuerRef.name": ("full", "i7", '"name": "i7"'),
    "workerTls.issuerRef.kind": ("full", "Issuer", '"kind": "Issuer"'),
    "workerTls.issuerRef.group": ("full", "g7", '"group": "g7"'),
    "workerTls.serverName": ("full", "s7", "worker_tls_server_name: s7"),
    "ingress.enabled": ("full", False, None),
    "ingress.className": ("full", "c7", '"ingressClassName": "c7"'),
    "ingress.annotations": ("full", {"a": "a7"}, '"a": "a7"'),
    "ingress.hosts": ("full", ["h7"], '"host": "h7"'),
    "ingress.path": ("full", "/p7", '"path": "/p7"'),
    "ingress.tlsSecret": ("full", "s7", '"secretName": "s7"'),
    "httpRoute.enabled": ("full", False, None),
    "httpRoute.parentRefs": ("full", [{"name": "g7"}], '"parentRefs": [{"name": "g7"}]'),
    "httpRoute.hostnames": ("full", ["h7"], '"hostnames": ["h7"]'),
    "httpRoute.timeoutSeconds": ("full", 77, '"request": "77s"'),
    "httpRoute.backendTls.caConfigMap": ("full", "c7", '"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "c7"}]'),
    "httpRoute.backendTls.hostname": ("full", "h7", '"hostname": "h7"'),
    "networkPolicy.enabled": ("full", False, None),
    "networkPolicy.clients": ("full", [{"ipBlock": {"cidr": "10.7.0.0/16"}}], '"cidr": "10.7.0.0/16"'),
    "networkPolicy.monitoring": ("full", [{"ipBlock": {"cidr": "10.7.0.0/16"}}], '"cidr": "10.7.0.0/16"'),
    "networkPolicy.dnsPorts": ("full", [777], '{"port": 777, "protocol": "UDP"}'),
    "metrics.monitor": ("oci", "pod", '"kind": "PodMonitor"'),
    "metrics.interval": ("full", "7s", '"interval": "7s"'),
    "metrics.labels": ("full", {"l": "l7"}, '"l": "l7"'),
    "metrics.rules": ("full", False, None),
    "metrics.runbookBase": ("full", "https://r7", "https://r7#pingtinoreadyworker"),
    "metrics.dashboards": ("full", False, None),
    "metrics.dashboardLabels": ("full", {"l": "l7"}, '"l": "l7"'),
    "serviceAccount.create": ("full", False, None),
    "serviceAccount.name": ("full", "s7", '"serviceAccountName": "s7"'),
    "serviceAccount.annotations": ("full", {"a": "a7"}, '"a": "a7"'),
    "podSecurity.runAsUser": ("full", 7, '"runAsUser": 7'),
    "podSecurity.runAsGroup": ("full", 7, '"runAsGroup": 7'),
    "podSecurity.fsGroup": ("full", 7, '"fsGroup": 7'),
    "extraObjects": ("full", [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "{{ .Release.Name }}-7"}}],
                     '"name": "demo-7"'),
}
for _prefix in ("router.", "workers[]."):
    CHANGES |= {_prefix + "pod." + key: ("full", *change) for key, change in POD.items()}
    CHANGES |= {_prefix + "podDisruptionBudget." + key: ("full", *change) for key, change in BUDGET.items()}


def leaves(schema, node, path=""):
    """Paths of all values that have none below them; settings of the programs count as one."""
    if "$ref" in node:
        node = schema["definitions"][node["$ref"].rsplit("/", 1)[1]]
    items = node.get("items", {})
    if path.endswith(".config") or path.endswith(".files"):
        yield path
    elif "$ref" in items and items["$ref"].endswith("/workerGroup"):
        yield from leaves(schema, items, path + "[]")
    elif node.get("properties"):
        for key, value in node["properties"].items():
            if (path, key) != ("", "global"):
                yield from leaves(schema, value, f"{path}.{key}".lstrip("."))
    else:
        yield path


def base_values(name):
    if name == "keda-plain":  # whose model's name may be a label's value
        values = values_of("keda")
        values["workers"][0]["model"] = "Model-7B"
        return values
    if name != "oci":
        return values_of(name)
    values = values_of("full")
    values["workers"] = values["workers"][1:]
    return values


def changed(values, path, value):
    values = copy.deepcopy(values)
    node = values
    *folders, last = path.replace("[]", "").split(".")
    for folder in folders:
        node = node.setdefault(folder, {})
        node = node[0] if isinstance(node, list) else node
    node[last] = value
    return values


def rendered(values):
    return json.dumps(sorted(render(values).values(), key=json.dumps), sort_keys=True)


@pytest.fixture(scope="module")
def bases():
    return {name: rendered(base_values(name)) for name in {change[0] for change in CHANGES.values()}}


def test_every_value_of_the_schema_is_tried(schema):
    assert sorted(leaves(schema, schema)) == sorted(CHANGES)


def test_every_value_changes_what_is_rendered(bases):
    def problem(path):
        base, value, wanted = CHANGES[path]
        try:
            text = rendered(changed(base_values(base), path, value))
        except Refused as refusal:
            return f"{path}: {refusal}"
        if text == bases[base]:
            return f"{path}: nothing changed"
        if wanted and wanted in bases[base]:
            return f"{path}: {wanted} was there before"
        if wanted and wanted not in text:
            return f"{path}: {wanted} is not in the rendering"
        return None

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [line for line in pool.map(problem, CHANGES) if line]
    assert problems == []


def test_values_yaml_holds_every_default(schema):
    """An absent value and its default from values.yaml render the same."""
    import yaml
    from conftest import CHART
    values = values_of("minimal")
    full = {**yaml.safe_load((CHART / "values.yaml").read_text()), **values}
    assert rendered(values) == rendered(full)
