"""As much of a Kubernetes API server as Helm asks when it renders for a cluster: versions, kinds, and the
objects that a template looks up."""

import functools
import http.server
import json
import threading

from crds import CUSTOM_OBJECTS

_VERSION = {"major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "", "goVersion": "", "compiler": "gc", "platform": "linux/amd64"}
_KINDS = {"v1": ["ConfigMap", "Pod", "Secret", "Service", "ServiceAccount"], "apps/v1": ["Deployment"],
          "autoscaling/v2": ["HorizontalPodAutoscaler"], "networking.k8s.io/v1": ["Ingress", "NetworkPolicy"],
          "policy/v1": ["PodDisruptionBudget"]}
for _version, _kind in CUSTOM_OBJECTS:
    _KINDS.setdefault(_version, []).append(_kind)


def _plural(kind):
    ending = "ies" if kind.endswith("y") else "es" if kind.endswith("s") else "s"
    return kind.lower().removesuffix("y") + ending


def _resources(version):
    def of(kind):
        return {"name": _plural(kind), "singularName": kind.lower(), "namespaced": True, "kind": kind,
                "verbs": ["get", "list"]}

    return {"kind": "APIResourceList", "groupVersion": version, "resources": [of(kind) for kind in _KINDS[version]]}


def _group(version):
    one = {"groupVersion": version, "version": version.split("/")[1]}
    return {"name": version.split("/")[0], "versions": [one], "preferredVersion": one}


def _path(thing):
    version = thing["apiVersion"]
    return (f"/{'apis' if '/' in version else 'api'}/{version}/namespaces/prod/{_plural(thing['kind'])}/"
            f"{thing['metadata']['name']}")


class ApiServer:
    """With `objects`, a list, in the namespace prod. A context manager."""

    def __init__(self, objects):
        self.answers = {
            "/version": _VERSION,
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1",
                      "groups": [_group(version) for version in _KINDS if "/" in version]},
            **{("/apis/" if "/" in version else "/api/") + version: _resources(version) for version in _KINDS},
            **{_path(one): one for one in objects}}
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self.answers))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        self.thread = threading.Thread(target=functools.partial(self.server.serve_forever, poll_interval=0.02))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, answers, *args):
        self.answers = answers
        super().__init__(*args)

    def do_GET(self):
        found = self.answers.get(self.path.partition("?")[0])
        body = json.dumps(found or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                                    "reason": "NotFound", "message": self.path}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
