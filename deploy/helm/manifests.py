"""Plain manifests for those without Helm: the chart, rendered. The routers and what else every
variant has in common are the base; the workers are an overlay: `kubectl apply -k k8s/overlays/cpu`."""

import subprocess

import yaml

NAMESPACE = "pingti"
HEAD = "# Made by deploy/helm/make_chart.py from the chart: change it there.\n"
HELM_LABELS = ("helm.sh/chart", "app.kubernetes.io/managed-by")


def _without_helm_labels(node):
    if isinstance(node, dict):
        return {key: _without_helm_labels(value) for key, value in node.items() if key not in HELM_LABELS}
    if isinstance(node, list):
        return [_without_helm_labels(item) for item in node]
    return node


def render(helm, chart, *args):
    """The chart's objects, without those of `helm test`."""
    done = subprocess.run([helm, "template", "pingti", chart, "--namespace", NAMESPACE, "--no-hooks", *args],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip())
    return [part for part in yaml.safe_load_all(done.stdout) if part]


def _is_workers(thing):
    return thing["metadata"]["labels"].get("app.kubernetes.io/component") == "worker"


def _text(value):
    return yaml.safe_dump(value, sort_keys=False, width=100)


def make_manifests(helm, chart, values_folder, out):
    """Contents by path, for every values file in `values_folder`."""
    variants = {file.stem: [_without_helm_labels(o) for o in render(helm, chart, "-f", file)]
                for file in sorted(values_folder.glob("*.yaml"))}
    first = next(iter(variants.values()))
    common = [o for o in first if not _is_workers(o) and all(o in objects for objects in variants.values())]
    made = {}

    def write(folder, objects, inside):
        resources = list(inside)
        for thing in objects:
            name = f"{thing['metadata']['name']}.{thing['kind'].lower()}.yaml"
            made[folder / name] = HEAD + _text(thing)
            resources.append(name)
        made[folder / "kustomization.yaml"] = HEAD + _text(
            {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
             "namespace": NAMESPACE, "resources": resources})

    made[out / "base" / "namespace.yaml"] = HEAD + _text(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
    write(out / "base", common, ["namespace.yaml"])
    for variant, objects in variants.items():
        write(out / "overlays" / variant, [o for o in objects if o not in common], ["../../base"])
    return made
