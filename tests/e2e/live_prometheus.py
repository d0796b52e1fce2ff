"""A real Prometheus that scrapes a cluster of conftest.py. Its series have the labels that the chart's
ServiceMonitor gives pods in Kubernetes, so that queries which select by them can be tried.
Used by test_dashboards.py and by deploy/observability/draw_dashboards.py."""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.parse

from conftest import MODEL_ID, ROOT, free_ports, http_get, program_env

NAMESPACE, RELEASE, GROUP = "live", "pingti", "model"


def tool(name):
    """promtool's folder also has the server when it was taken out of the distribution's package."""
    beside = pathlib.Path(os.environ.get("PINGTI_PROMTOOL", "")).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    assert found, f"{name} is needed: scripts/fetch_promtool.sh fetches it"
    return found


def pods_of(cluster):
    """(pod, service, process) of everything that runs, with the names that the chart would give."""
    yield f"{RELEASE}-router-7c9d5b8f6-x2k4q", f"{RELEASE}-router-admin", cluster.router
    for i, worker in enumerate(cluster.workers):
        yield f"{RELEASE}-worker-{GROUP}-6f4d9c7b8-zt5v{i}", f"{RELEASE}-worker-{GROUP}", worker


def scrape_config(cluster, interval):
    jobs = [{"targets": [f"127.0.0.1:{process.admin_port}"],
             "labels": {"namespace": NAMESPACE, "pod": pod, "service": service, "release": RELEASE}}
            for pod, service, process in pods_of(cluster)]
    return {"global": {"scrape_interval": interval, "scrape_timeout": interval,
                       "evaluation_interval": "1s"},
            "rule_files": ["pingti.rules.yaml"],
            "scrape_configs": [{"job_name": "pingti", "static_configs": jobs}]}


class Prometheus:
    def __init__(self, folder, cluster, interval="500ms"):
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        config = folder / "prometheus.json"  # JSON is YAML
        config.write_text(json.dumps(scrape_config(cluster, interval)))
        text = (ROOT / "deploy/prometheus/pingti.rules.yaml").read_text()
        # The recording rules are evaluated every second, so that nobody need wait for them.
        (folder / "pingti.rules.yaml").write_text(text.replace('interval: "30s"', 'interval: "1s"'))
        self.log = folder / "prometheus.log"
        with open(self.log, "wb") as sink:
            self.popen = subprocess.Popen(
                [tool("prometheus"), f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
                 f"--storage.tsdb.path={folder / 'data'}"], stdout=sink, stderr=sink, env=program_env())

    def get(self, path, **query):
        status, text = http_get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        answer = json.loads(text) if status else {"status": "unreachable"}
        assert answer["status"] == "success", f"{query}: {text}"
        return answer["data"]

    def is_ready(self):
        assert self.popen.poll() is None, self.log.read_text()[-2000:]
        return http_get(self.url + "/-/ready")[0] == 200

    def series(self, query, **when):
        """Labels and value of each series of an instant query, NaN left out."""
        return [(s["metric"], float(s["value"][1]))
                for s in self.get("query", query=query, **when)["result"] if s["value"][1] != "NaN"]

    def values(self, query):
        return [value for _, value in self.series(query)]

    def stop(self):
        self.popen.terminate()
        self.popen.wait(20)


def filled_in(query, rate_interval="1m"):
    """A dashboard's query as Grafana sends it with every variable at All."""
    query = query.replace("$__rate_interval", rate_interval)
    return re.sub(r"\$(namespace|pod|model)\b", ".*", query)


def send_load(cluster):
    """Streams, whole answers, a shared prefix: a little of all that is counted but mistakes."""
    client = cluster.router.client()

    def ask(i):
        words = [{"role": "system", "content": "You answer in one short sentence. " * 4},
                 {"role": "user", "content": f"Name a river, number {i % 3}."}]
        stream = client.chat.completions.create(model=MODEL_ID, messages=words, max_tokens=12,
                                                stream=i % 2 == 0)
        if i % 2 == 0:
            for _ in stream:
                pass

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(8)))
