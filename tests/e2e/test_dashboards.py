"""Dashboards, rules, alerts and autoscaling against the real thing: a Prometheus scrapes a router and
two workers under load, and every query must find what it asks for."""

import re
import sys
import threading

import openai
import pytest
import yaml
from conftest import MODEL_ID, ROOT, wait_until
from live_prometheus import GROUP, NAMESPACE, RELEASE, Prometheus, filled_in, pods_of, send_load

for folder in ("deploy/observability", "tests/deploy"):
    sys.path.insert(0, str(ROOT / folder))
import chart  # noqa: E402
import make_observability as make  # noqa: E402
import metric_names  # noqa: E402
import rules  # noqa: E402


def send_mistake(cluster):
    with pytest.raises(openai.BadRequestError):
        cluster.router.client().chat.completions.create(
            model=MODEL_ID, messages=[{"role": "user", "content": "x"}], temperature=-1)


@pytest.fixture(scope="module")
def prometheus(cluster, tmp_path_factory):
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), cluster)
    try:
        wait_until(server.is_ready, 30, "prometheus ready")
        wait_until(lambda: len(server.values("up == 1")) == 3, 20, "three targets scraped")
        # Counters are born with the first request, and a rate needs growth after that.
        for _ in range(2):
            send_load(cluster)
            send_mistake(cluster)
            seen = server.values("sum(pingti_router_requests_total)")[0:1]
            wait_until(lambda: server.values("sum(pingti_router_requests_total)")[0:1] != seen, 20,
                       "the load is in a scrape")
        wait_until(lambda: server.values("release:pingti_router_requests:rate5m > 0"), 20,
                   "the recording rules ran")
        yield server
    finally:
        server.stop()


@pytest.fixture
def under_load(cluster):
    """Requests are under way until the test ends."""
    over, failures = threading.Event(), []

    def ask_on():
        try:
            while not over.is_set():
                send_load(cluster)
        except Exception as error:
            failures.append(error)

    running = threading.Thread(target=ask_on)
    running.start()
    yield
    over.set()
    running.join()
    assert failures == []


def autoscaled(kind):
    """The chart's objects with worker pods scaled by `kind`, named as the pods that are scraped."""
    values = chart.values_of("keda")
    del values["fullnameOverride"]
    assert [group["name"] for group in values["workers"]] == [GROUP]
    values["metrics"] = {"monitor": "service", "rules": True}
    values["workers"][0]["model"] = MODEL_ID
    if kind == "hpa":
        values["workers"][0]["autoscaling"] = {"kind": "hpa", "maxReplicas": 6}
    return chart.render(values, namespace=NAMESPACE, release=RELEASE)


def adapter_queries(prometheus, scaler, pods):
    """What prometheus-adapter asks with deploy/prometheus/adapter-rules.yaml for the metrics of a
    HorizontalPodAutoscaler: (metric's name, query, how many values must come)."""
    adapter = yaml.safe_load((ROOT / "deploy/prometheus/adapter-rules.yaml").read_text())["rules"]
    by_name = {}
    for rule in adapter:
        series = re.match(r"\w+", rule["seriesQuery"])[0]
        by_name[rule.get("name", {}).get("as", series)] = (series, rule)
        # What discovery finds, and the labels that it makes Kubernetes objects of.
        found = prometheus.get("series", **{"match[]": rule["seriesQuery"]})
        assert found, rule["seriesQuery"]
        for label in rule["resources"]["overrides"]:
            assert all(one[label] for one in found), (label, rule["seriesQuery"])
    for metric in scaler["spec"]["metrics"]:
        if metric["type"] == "Object":
            asked = metric["object"]
            label, names = asked["describedObject"]["kind"].lower(), [asked["describedObject"]["name"]]
        else:
            assert metric["type"] == "Pods"
            asked, label, names = metric["pods"], "pod", pods
        series, rule = by_name[asked["metric"]["name"]]
        assert label in rule["resources"]["overrides"]
        chosen = asked["metric"].get("selector", {"matchLabels": {}})["matchLabels"]
        matchers = ",".join([f'namespace="{NAMESPACE}"', f'{label}=~"{"|".join(names)}"',
                             *(f'{key}="{value}"' for key, value in chosen.items())])
        query = rule["metricsQuery"]
        for name, value in (("Series", series), ("LabelMatchers", matchers), ("GroupBy", label)):
            query = query.replace(f"<<.{name}>>", value)
        yield asked["metric"]["name"], query, len(names)


def without_limits(alert):
    """An alert's expression without its comparisons: what it must find on a healthy system too."""
    return re.sub(r" (==|!=|>=|<=|>|<) [-+.\de]+", "", re.sub(r"absent\(([^()]*)\)", r"\1 > 0", alert))


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


def test_every_alert_of_the_chart_looks_at_series_that_exist(prometheus):
    made = autoscaled("keda")["PrometheusRule", RELEASE]["spec"]["groups"]
    alerts = {rule["alert"]: rule["expr"] for group in made for rule in group["rules"] if "alert" in rule}
    assert sorted(alerts) == sorted(["PingtiModelMissing", *(alert["alert"] for alert in rules.alerts())])
    assert [name for name, query in alerts.items() if without_limits(query) == query] == []
    assert [name for name, query in alerts.items() if not prometheus.values(without_limits(query))] == []


def test_keda_sees_the_queue_and_the_kv_cache(prometheus, cluster, under_load):
    scaler = autoscaled("keda")["ScaledObject", f"{RELEASE}-worker-{GROUP}"]
    queries = {trigger["name"]: trigger["metadata"]["query"] for trigger in scaler["spec"]["triggers"]}
    assert sorted(queries) == ["kv-cache", "queue"]
    for name, query in queries.items():
        assert len(prometheus.values(query)) == 1, f"{name}: one value is what KEDA takes: {query}"
    wait_until(lambda: prometheus.values(queries["kv-cache"]) > [0.0], 30, "sequences hold KV blocks")


def test_the_autoscaler_sees_the_queue_and_the_kv_cache(prometheus, cluster, under_load):
    scaler = autoscaled("hpa")["HorizontalPodAutoscaler", f"{RELEASE}-worker-{GROUP}"]
    pods = [pod for pod, service, _ in pods_of(cluster) if service == scaler["spec"]["scaleTargetRef"]["name"]]
    assert len(pods) == 2
    queries = {name: (query, count) for name, query, count in adapter_queries(prometheus, scaler, pods)}
    assert sorted(queries) == ["pingti_router_queued_requests", "pingti_worker_kv_cache_ratio"]
    for name, (query, count) in queries.items():
        assert len(prometheus.values(query)) == count, f"{name}: {query}"
    ratio = queries["pingti_worker_kv_cache_ratio"][0]
    wait_until(lambda: max(prometheus.values(ratio)) > 0, 30, "sequences hold KV blocks")
    assert max(prometheus.values(ratio)) <= 1
