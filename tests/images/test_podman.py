"""The rendered chart, run by podman from the real images: a router and two workers on pods of their
own, with the settings, Secrets, users and read-only roots that the chart gives them.

podman is no cluster. What a cluster does and podman cannot is done here, and only that: the pod of a
Deployment, names of Services (as host aliases), probes (asked from outside), a Secret's stringData in
base64 and in the environment. Made for scripts/test_images.sh.
"""

import base64
import json
import os
import pathlib
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
HELM = os.environ["PINGTI_HELM"]
MODEL = pathlib.Path(os.environ["PINGTI_TEST_MODEL"])
KEY = "sk-tester-0123456789"
GROUPS = ("a", "b")


def values():
    pod = {"resources": {"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}}}
    group = {"model": "smollm2", "batchSize": 8, "drainTimeoutSeconds": 2,
             "source": {"hostPath": {"path": str(MODEL.parent), "file": MODEL.name}},
             "config": {"threads": 1, "kv_memory": "256MiB"}, "pod": pod}
    return {"fullnameOverride": "pt", "image": {"registry": "localhost", "router": {"tag": "test"}, "worker": {"tag": "test"}},
            "router": {"replicas": 1, "drainDelaySeconds": 1, "drainTimeoutSeconds": 60, "pod": pod,
                       "config": {"stall_timeout": "2s"}},
            "workers": [{"name": name, **group} for name in GROUPS],
            "apiKeys": {"keys": [f"tester:{KEY}"]}}


def podman(*args, **kwargs):
    done = subprocess.run(["podman", *map(str, args)], capture_output=True, text=True, check=False, **kwargs)
    assert done.returncode == 0, f"podman {' '.join(map(str, args))}\n{done.stderr[-2000:]}"
    return done.stdout.strip()


def wait_until(condition, timeout_s, what):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def rendered():
    done = subprocess.run([HELM, "template", "pt", ROOT / "deploy/helm/pingti", "-f", "-"],
                          input=json.dumps(values()), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(done.stdout) if o}


def decode_secret(secret):
    """podman 4.3 mounts a Secret's base64 as it is; later ones what it stands for."""
    folder = pathlib.Path(podman("volume", "inspect", "--format", "{{.Mountpoint}}", secret["metadata"]["name"]))
    for key, text in secret["data"].items():
        if (folder / key).read_text() == text:
            (folder / key).write_bytes(base64.b64decode(text))


class Pods:
    """Plays objects of the chart; a pod has the name of its Deployment."""

    def __init__(self, folder):
        self.folder, self.objects, self.addresses, self.probes = folder, rendered(), {}, {}
        self.macs, self.started_s = {}, {}

    def play(self, kind, name):
        """Runs the pod of a Deployment, or that of `helm test`, with what it mounts."""
        thing = json.loads(json.dumps(self.objects[kind, name]))
        spec = thing["spec"]
        if kind == "Deployment":
            template = thing["spec"]["template"]
            spec = template["spec"]
            thing = {"apiVersion": "v1", "kind": "Pod", "spec": spec,
                     "metadata": {"name": name, "labels": template["metadata"]["labels"]}}
            container = spec["containers"][0]
            ports = {p["name"]: p["containerPort"] for p in container.pop("ports")}  # podman would open them on the host
            self.probes[name] = {key: (ports[probe["httpGet"]["port"]], probe["httpGet"]["path"])
                                 for key in ("startupProbe", "readinessProbe", "livenessProbe")
                                 for probe in [container.pop(key)]}
        spec["hostAliases"] = [{"ip": ip, "hostnames": self.services_of(other)}
                               for other, ip in self.addresses.items() if other != name]
        for container in spec["containers"]:
            for env in container.setdefault("env", []):  # podman 4.3 wants such a Secret in JSON
                if "secretKeyRef" in env.get("valueFrom", {}):
                    asked = env.pop("valueFrom")["secretKeyRef"]
                    env["value"] = self.objects["Secret", asked["name"]]["stringData"][asked["key"]]
            # A name may have several lines in /etc/hosts.
            container["env"].append({"name": "RESOLV_MULTI", "value": "on"})
        parts = []
        for volume in spec.get("volumes", ()):
            if "configMap" in volume:
                parts.append(self.objects["ConfigMap", volume["configMap"]["name"]])
            if "secret" in volume:
                volume["secret"]["optional"] = False  # its default; podman 4.3 crashes without it
                parts.append(self.secret(volume["secret"]["secretName"]))
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump_all([*parts, thing]))
        # A pod that comes again keeps both addresses, or the bridge looks for the old one for 30 s.
        fixed = (["--ip", self.addresses[name], "--mac-address", self.macs[name]]
                 if name in self.addresses else [])
        began = time.monotonic()
        podman("kube", "play", "--start=false", "--network", "podman", *fixed, file)
        for part in parts:
            if part["kind"] == "Secret":
                decode_secret(part)
        podman("pod", "start", name)
        if kind == "Deployment":
            infra = podman("pod", "inspect", "--format", "{{.InfraContainerID}}", name)
            network = json.loads(podman("inspect", infra))[0]["NetworkSettings"]["Networks"]["podman"]
            self.addresses[name], self.macs[name] = network["IPAddress"], network["MacAddress"]
            wait_until(lambda: self.probe(name, "readinessProbe"), 60, f"{name} ready")
            self.started_s.setdefault(name, time.monotonic() - began)

    def secret(self, name):
        """A Secret as the API server keeps it."""
        secret = dict(self.objects["Secret", name])
        secret["data"] = {key: base64.b64encode(text.encode()).decode()
                          for key, text in secret.pop("stringData").items()}
        return secret

    def services_of(self, deployment):
        """Names of the Services that select the pod of a Deployment."""
        labels = self.objects["Deployment", deployment]["spec"]["template"]["metadata"]["labels"]
        found = [name for (kind, name), one in self.objects.items()
                 if kind == "Service" and one["spec"]["selector"].items() <= labels.items()]
        return [full for name in found for full in (name, f"{name}.default.svc")]

    def probe(self, name, which):
        port, path = self.probes[name][which]
        try:
            with urllib.request.urlopen(f"http://{self.addresses[name]}:{port}{path}", timeout=3) as answer:
                return answer.status == 200
        except OSError:
            return False

    def container(self, name):
        return f"{name}-{'router' if 'router' in name else 'worker'}"

    def ask(self, max_tokens=8, key=KEY, stream=False):
        """Status and body; the body of a stream is read to its end."""
        body = {"model": "smollm2", "max_tokens": max_tokens, "temperature": 0, "stream": stream,
                "ignore_eos": True, "messages": [{"role": "user", "content": "Count from one to ten."}]}
        request = urllib.request.Request(
            f"http://{self.addresses['pt-router']}:8080/v1/chat/completions", json.dumps(body).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {key}"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def remove(self):
        for name in ("pt-ask", "pt-router", *(f"pt-worker-{g}" for g in GROUPS)):
            subprocess.run(["podman", "pod", "rm", "--force", "--time", "0", name], capture_output=True,
                           check=False)
        subprocess.run(["podman", "secret", "rm", "pt-api-keys"], capture_output=True, check=False)
        subprocess.run(["podman", "volume", "rm", "--force", "pt-api-keys", "pt-router",
                        *(f"pt-worker-{g}" for g in GROUPS)], capture_output=True, check=False)


@pytest.fixture(scope="module")
def pods(tmp_path_factory):
    running = Pods(tmp_path_factory.mktemp("pods"))
    running.remove()
    try:
        for group in GROUPS:
            running.play("Deployment", f"pt-worker-{group}")
        running.play("Deployment", "pt-router")
        wait_until(lambda: ready_workers(running) == 2, 30, "the router has both workers")
        yield running
        print("\nready after", {name: f"{s:.1f} s" for name, s in running.started_s.items()})
    finally:
        running.remove()


def ready_workers(pods):
    """Workers that the router counts as ready."""
    with urllib.request.urlopen(f"http://{pods.addresses['pt-router']}:9090/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("pingti_router_workers{") and 'state="ready"' in line:
                return int(float(line.split()[-1]))
    return 0


def test_every_probe_of_the_chart_is_answered(pods):
    for name, probes in pods.probes.items():
        for which in probes:
            assert pods.probe(name, which), f"{name}: {which}"


def test_processes_have_no_rights_to_spare(pods):
    for name in pods.addresses:
        facts = json.loads(podman("inspect", pods.container(name)))[0]
        assert facts["HostConfig"]["ReadonlyRootfs"] is True
        assert facts["Config"]["User"].split(":")[0] == "65532"
        assert not facts["EffectiveCaps"]
        status = pathlib.Path(f"/proc/{facts['State']['Pid']}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["NoNewPrivs"] == "1" and int(fields["CapEff"], 16) == 0
        assert fields["Uid"].split()[0] == "65532" and fields["Gid"].split()[0] == "65532"


def test_images_have_no_shell(pods):
    for name in pods.addresses:
        done = subprocess.run(["podman", "exec", pods.container(name), "/bin/sh", "-c", "true"],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 127 and "no such file" in done.stderr.lower(), done.stderr


def test_a_question_is_answered_and_a_wrong_key_is_not(pods):
    status, text = pods.ask()
    assert status == 200 and json.loads(text)["choices"][0]["message"]["content"].strip()
    assert pods.ask(key="sk-wrong")[0] == 401


def test_helm_test_gets_its_answer(pods):
    pods.play("Pod", "pt-ask")
    container = "pt-ask-ask"
    assert podman("wait", container) == "0", podman("logs", container)
    assert podman("logs", container)


def test_requests_after_a_worker_was_killed_are_answered(pods):
    answer = json.loads(pods.ask(24)[1])["choices"][0]["message"]["content"]
    lost = {}

    def ask_while_it_dies():
        lost["answer"] = pods.ask(24, stream=False)

    running = threading.Thread(target=ask_while_it_dies)
    running.start()
    podman("pod", "rm", "--force", "--time", "0", "pt-worker-a")
    for _ in range(4):
        status, text = pods.ask(24)
        assert status == 200, text
        assert json.loads(text)["choices"][0]["message"]["content"] == answer
    running.join()
    assert lost["answer"][0] == 200, lost
    assert json.loads(lost["answer"][1])["choices"][0]["message"]["content"] == answer
    pods.play("Deployment", "pt-worker-a")
    wait_until(lambda: ready_workers(pods) == 2, 60, "the router has the new worker")


def stop_while_it_answers(pods, name, max_tokens):
    """Sends SIGTERM as Kubernetes does while a stream runs: the stream's text, the exit status."""
    got = {}
    running = threading.Thread(target=lambda: got.update(answer=pods.ask(max_tokens, stream=True)))
    running.start()
    grace = pods.objects["Deployment", name]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    time.sleep(0.3)  # the request is under way; were it not, the router would refuse it
    podman("stop", "--time", grace, pods.container(name))
    running.join()
    return got["answer"], podman("inspect", "--format", "{{.State.ExitCode}}", pods.container(name))


def test_sigterm_lets_a_worker_hand_over_what_it_runs(pods):
    (status, text), exit_code = stop_while_it_answers(pods, "pt-worker-b", 150)
    assert status == 200 and text.rstrip().endswith("[DONE]") and "error" not in text
    assert exit_code == "0"


def test_sigterm_lets_a_router_end_its_streams(pods):
    (status, text), exit_code = stop_while_it_answers(pods, "pt-router", 150)
    assert status == 200 and text.rstrip().endswith("[DONE]") and "error" not in text
    assert exit_code == "0"
