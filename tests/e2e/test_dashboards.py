"""Dashboards, rules and alerts against the real thing: a Prometheus scrapes a router and two workers
under load, and every query must find what it asks for."""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

import openai
import pytest
from conftest import MODEL_ID, ROOT, free_ports, http_get, program_env, wait_until

sys.path.insert(0, str(ROOT / "deploy/observability"))
import make_observability as make  # noqa: E402
import metric_names  # noqa: E402
import rules  # noqa: E402

SCRAPE_INTERVAL = "500ms"


def tool(name):
    """promtool's folder also has the server when it was taken out of the distribution's package."""
    beside = pathlib.Path(os.environ.get("PINGTI_PROMTOOL", "")).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    assert found, f"{name} is needed: scripts/fetch_promtool.sh fetches it"
    return found


def scrape_config(cluster):
    """Labels as Kubernetes service discovery would set them."""
    targets = {"router-0": cluster.router, "worker-0": cluster.workers[0],
               "worker-1": cluster.workers[1]}
    jobs = [{"targets": [f"127.0.0.1:{process.admin_port}"],
             "labels": {"namespace": "live", "pod": pod}} for pod, process in targets.items()]
    return {"global": {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL,
                       "evaluation_interval": "1s"},
            "rule_files": ["pingti.rules.yaml"],
            "scrape_configs": [{"job_name": "pingti", "static_configs": jobs}]}


class Prometheus:
    def __init__(self, folder, cluster):
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        config = folder / "prometheus.json"  # JSON is YAML
        config.write_text(json.dumps(scrape_config(cluster)))
        text = (ROOT / "deploy/prometheus/pingti.rules.yaml").read_text()
        # The recording rules are evaluated every second, so that the test need not wait for them.
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

    def values(self, query):
        """Values of an instant query, NaN left out."""
        return [float(s["value"][1]) for s in self.get("query", query=query)["result"]
                if s["value"][1] != "NaN"]

    def stop(self):
        self.popen.terminate()
        self.popen.wait(20)


def send_load(cluster):
    """Streams, whole answers, a shared prefix, mistakes: a little of all that is counted."""
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
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL_ID, messages=[{"role": "user", "content": "x"}],
                                       temperature=-1)


def filled_in(query):
    """A dashboard's query as Grafana sends it with every variable at All."""
    query = query.replace("$__rate_interval", "1m")
    return re.sub(r"\$(namespace|pod|model)\b", ".*", query)


@pytest.fixture(scope="module")
def prometheus(cluster, tmp_path_factory):
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), cluster)
    try:
        wait_until(server.is_ready, 30, "prometheus ready")
        wait_until(lambda: len(server.values("up == 1")) == 3, 20, "three targets scraped")
        # Counters are born with the first request, and a rate needs growth after that.
        for _ in range(2):
            send_load(cluster)
            seen = server.values("sum(pingti_router_requests_total)")[0:1]
            wait_until(lambda: server.values("sum(pingti_router_requests_total)")[0:1] != seen, 20,
                       "the load is in a scrape")
        wait_until(lambda: server.values("namespace:pingti_router_requests:rate5m > 0"), 20,
                   "the recording rules ran")
        yield server
    finally:
        server.stop()


def test_every_metric_that_is_declared_or_queried_is_scraped(prometheus):
    scraped = set(prometheus.get("label/__name__/values"))
    declared = {series for metric in metric_names.read_metrics().values() for series in metric.series()}
    queried = {name for _, query in make.queries() for name in metric_names.names_in(query)}
    assert sorted((declared | queried) - scraped) == []
    # And nothing is exported that the header does not declare.
    assert sorted(n for n in scraped - declared if re.match("(pingti|process)_", n)) == []


def test_every_panel_and_variable_finds_data(prometheus):
    empty = []
    for name, dashboard in make.dashboards.all_dashboards().items():
        for where, query in make.queries_of(dashboard):
            if query.startswith("label_values("):
                series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
                found = [s for s in prometheus.get("series", **{"match[]": series}) if s.get(label)]
            else:
                found = prometheus.values(filled_in(query))
            if not found:
                empty.append(f"{name}: {where}: {query}")
    # Quantiles and ratios of nothing would be NaN, which values() leaves out.
    assert empty == []


def test_recording_rules_have_values_and_no_rule_fails(prometheus):
    for rule in rules.recording_rules():
        assert prometheus.values(rule["record"]), rule["record"]
    groups = prometheus.get("rules")["groups"]
    bad = [(r["name"], r.get("lastError")) for g in groups for r in g["rules"] if r["health"] != "ok"]
    assert bad == []


def test_no_alert_fires_on_a_healthy_system(prometheus):
    firing = [(a["labels"]["alertname"]) for a in prometheus.get("alerts")["alerts"]
              if a["state"] == "firing"]
    assert firing == []
