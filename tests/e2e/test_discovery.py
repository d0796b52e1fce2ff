"""Workers join and leave by Kubernetes' word, under load, and no client notices.

The API server here speaks plain HTTP and knows one Service; TLS, tokens and all that may go wrong on the way are held in
tests/router/discovery.
"""

import http.server
import json
import re
import signal
import threading

from conftest import Router, Worker, wait_until
from test_rolling_restarts import endless_streams, total

LONG = {"max_tokens": 64, "extra_body": {"ignore_eos": True}}
STREAMS = 3


class ApiServer:
    """Lists and watches the EndpointSlices of one Service: a slice per worker, since ports differ here."""

    def __init__(self):
        self.changed = threading.Condition()
        self.version, self.slices, self.events = 1, {}, []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, worker, **conditions):
        with self.changed:
            self.version += 1
            one = {"metadata": {"name": f"slice-{worker.port}", "resourceVersion": str(self.version)},
                   "addressType": "IPv4", "ports": [{"name": "worker", "port": worker.port}],
                   "endpoints": [{"addresses": ["127.0.0.1"], "conditions": conditions}]}
            kind = "MODIFIED" if worker.port in self.slices else "ADDED"
            self.slices[worker.port] = one
            self.tell(kind, one)

    def remove(self, worker):
        with self.changed:
            self.version += 1
            one = self.slices.pop(worker.port)
            one["metadata"]["resourceVersion"] = str(self.version)
            self.tell("DELETED", one)

    def tell(self, kind, one):
        self.events.append((self.version, json.dumps({"type": kind, "object": one}) + "\n"))
        self.changed.notify_all()

    def handler(server):  # noqa: N805: the handler below has a self of its own
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                if "watch=1" in self.path:
                    return self.watch(int(re.search(r"resourceVersion=(\d+)", self.path)[1]))
                with server.changed:
                    body = json.dumps({"metadata": {"resourceVersion": str(server.version)},
                                       "items": list(server.slices.values())}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def watch(self, version):
                self.send_response(200)
                self.end_headers()
                while True:
                    with server.changed:
                        server.changed.wait_for(lambda: server.version > version)
                        news = [text for at, text in server.events if at > version]
                        version = server.version
                    try:
                        self.wfile.write("".join(news).encode())
                        self.wfile.flush()
                    except OSError:
                        return

        return Handler

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def test_workers_join_and_leave_under_load_and_no_request_notices(tmp_path):
    (tmp_path / "token").write_text("token")
    api = ApiServer()
    workers = [Worker(tmp_path, f"worker-{i}", "--drain-timeout", "100ms") for i in range(2)]
    for worker in workers:
        wait_until(worker.is_ready, 60, f"worker ready\n{worker.text()[-2000:]}")
    api.put(workers[0], ready=True)
    router = Router(tmp_path, "router", [], "--workers", "kubernetes:prod/workers:worker", "--kubernetes-api", api.url,
                    "--kubernetes-token-file", tmp_path / "token")

    def has_ready(count):
        return re.search(rf'^pingti_router_workers{{state="ready"}} {count}$', router.metrics(), re.MULTILINE)

    try:
        wait_until(lambda: has_ready(1), 30, f"a worker is found\n{router.text()[-2000:]}")
        with endless_streams(router.client(), STREAMS, LONG) as answers:
            for first, second in (workers, workers[::-1]):
                api.put(second, ready=True)
                wait_until(lambda: has_ready(2), 20, "the second worker joined")
                sent = f'pingti_router_worker_dispatch_total{{worker="{second.address}"}}'
                wait_until(lambda: sent in router.metrics(), 20, "the second worker has work")
                # As Kubernetes does: told first, then the signal, and the endpoint goes when the pod is gone.
                api.put(first, ready=False, serving=True, terminating=True)
                assert first.stop(signal.SIGTERM) == 0
                api.remove(first)
                wait_until(lambda: has_ready(1), 20, "the first worker left")
                first.start()
                wait_until(first.is_ready, 20, "the worker is back")
        assert total(router, "pingti_router_requests_total") == sum(map(len, answers)) + STREAMS
    finally:
        for process in [router, *workers]:
            process.kill()
        api.close()
