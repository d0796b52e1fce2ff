"""Rules as the chart ships them: each release looks at itself alone. promtool evaluates what is rendered."""

import os
import subprocess

import yaml
from conftest import MINIMAL, render, with_values


def groups(values, **kwargs):
    objects = render(values, **kwargs)
    return objects["PrometheusRule", f"{kwargs['release']}-pingti"]["spec"]["groups"]


def check(folder, rules, tests):
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": rules}))
    (folder / "tests.yaml").write_text(yaml.safe_dump(
        {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([os.environ.get("PINGTI_PROMTOOL", "promtool"), "test", "rules", "tests.yaml"], cwd=folder,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


VALUES = with_values(MINIMAL, metrics={"monitor": "service", "rules": True,
                                       "runbookBase": "https://docs.example.com/operations.md"})


def firing(alert, *labels):
    return {"expr": f'count by (namespace, release, model) (ALERTS{{alertname="{alert}",alertstate="firing"}})',
            "eval_time": "30m", "exp_samples": [{"labels": one, "value": 1} for one in labels]}


def test_a_release_is_not_told_of_the_troubles_of_others(tmp_path):
    mine, own = 'namespace="prod",release="mine"', '{namespace="prod", release="mine"}'
    series = []
    for labels, failing in ((mine, 0), ('namespace="prod",release="theirs"', 20), ('namespace="test",release="mine"', 20)):
        series += [{"series": f'pingti_router_requests_total{{{labels},code="200"}}', "values": "0+100x480"},
                   {"series": f'pingti_router_requests_total{{{labels},code="500"}}', "values": f"0+{failing}x480"},
                   {"series": f'pingti_router_workers{{{labels},state="ready"}}', "values": f"{int(failing == 0)}x480"},
                   {"series": f"pingti_router_requests_in_flight{{{labels}}}", "values": "1x480"}]
    quiet = {"interval": "1m", "input_series": series, "promql_expr_test": [
        {"expr": "ALERTS", "eval_time": "7h", "exp_samples": []},
        {"expr": "release:pingti_router_failed_requests:ratio_rate1h", "eval_time": "7h",
         "exp_samples": [{"labels": "release:pingti_router_failed_requests:ratio_rate1h" + own, "value": 0}]}]}
    theirs = [{**one, "series": one["series"].replace("theirs", "x").replace("mine", "theirs").replace('"x"', '"mine"')}
              for one in series]
    loud = {"interval": "1m", "input_series": theirs, "promql_expr_test": [
        firing("PingtiNoReadyWorker", own), firing("PingtiErrorsFastBurn", own)]}
    check(tmp_path, groups(VALUES, release="mine"), [quiet, loud])


def test_without_the_charts_monitor_the_namespace_tells_releases_apart(tmp_path):
    rules = groups(with_values(VALUES, metrics__monitor="none"), release="mine")
    series = [{"series": f'pingti_router_workers{{namespace="{name}",state="ready"}}', "values": "0x60"}
              for name in ("prod", "test")]
    check(tmp_path, rules, [{"interval": "1m", "input_series": series,
                             "promql_expr_test": [firing("PingtiNoReadyWorker", '{namespace="prod"}')]}])


def test_a_model_of_the_values_that_no_router_knows_is_told_of(tmp_path):
    rules = groups(with_values(VALUES, workers__0__model="owner/m", workers__0__replicas=2), release="mine")
    own = 'namespace="prod",release="mine"'
    told = firing("PingtiModelMissing", f'{{{own.replace(",", ", ")}, model="owner/m"}}')
    silent = firing("PingtiModelMissing")
    known = {"series": f'pingti_router_ready_workers{{{own},model="owner/m"}}', "values": "0x60"}
    other = {"series": f'pingti_router_ready_workers{{{own},model="other"}}', "values": "1x60"}
    loading = {"series": f'pingti_worker_loading{{{own},model="owner/m"}}', "values": "1x60"}
    check(tmp_path, rules, [{"interval": "1m", "input_series": series, "promql_expr_test": [expected]}
                            for series, expected in (([other], told), ([other, known], silent), ([loading], silent))])


def test_a_group_without_pods_is_not_missed():
    rules = groups(with_values(VALUES, workers__0__model="m", workers__0__replicas=0), release="mine")
    assert "PingtiModelMissing" not in str(rules)


def test_links_to_runbooks_are_absolute_or_none():
    def annotations(values):
        return [rule["annotations"] for group in groups(with_values(values, workers__0__model="m"), release="mine")
                for rule in group["rules"] if "alert" in rule]

    for one in annotations(VALUES):
        assert one["runbook_url"].startswith("https://docs.example.com/operations.md#pingti") and "runbook" not in one
    for one in annotations(with_values(VALUES, metrics__runbookBase="")):
        assert "runbook_url" not in one and one["runbook"].startswith("docs/operations.md#pingti")
