"""Dashboards and rules are what their script makes, and promtool's unit tests of the rules pass.
Their queries run against a real Prometheus in tests/e2e/test_dashboards.py."""

import json
import os
import re
import subprocess

import yaml
from conftest import ROOT

import make_observability as observability
import rules

PROMETHEUS = ROOT / "deploy/prometheus"


def promtool(*args):
    tool = os.environ.get("PINGTI_PROMTOOL", "promtool")
    return subprocess.run([tool, *args], cwd=PROMETHEUS, capture_output=True, text=True, check=False)


def test_dashboards_and_rules_are_up_to_date():
    assert observability.check_names() == []
    stale = [str(path) for path, text in observability.outputs().items() if path.read_text() != text]
    assert stale == [], "run deploy/observability/make_observability.py"


def test_a_query_that_names_an_unknown_metric_is_noticed():
    metrics = observability.metric_names.read_metrics()
    query = "rate(pingti_router_requestz_total[1m]) / pingti_worker_kv_blocks"
    assert observability.metric_names.unknown_names(query, metrics) == ["pingti_router_requestz_total"]


def test_promtool_accepts_the_rules_and_their_unit_tests_pass():
    check = promtool("check", "rules", "--lint-fatal", "pingti.rules.yaml")
    assert check.returncode == 0, check.stdout + check.stderr
    tests = promtool("test", "rules", "pingti.rules_test.yaml")
    assert tests.returncode == 0, tests.stdout + tests.stderr


def test_every_alert_is_seen_firing_and_has_a_runbook():
    cases = yaml.safe_load((PROMETHEUS / "pingti.rules_test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in cases for case in test.get("alert_rule_test", ())
             if case["exp_alerts"]}
    names = {alert["alert"] for alert in rules.alerts()}
    assert fired == names
    names.add("PingtiModelMissing")  # the chart's own; test_rules_of_releases.py has it firing
    headings = re.findall(r"^#+ (Pingti\w+)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(names)


def test_every_dashboard_has_a_picture_in_the_runbook():
    text = (ROOT / "docs/operations.md").read_text()
    for name in observability.dashboards.all_dashboards():
        picture = ROOT / f"docs/images/dashboard-{name}.png"
        assert f"](images/{picture.name})" in text
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 300_000


def test_panels_have_descriptions_units_and_room():
    for dashboard in observability.dashboards.all_dashboards().values():
        taken = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
            taken |= cells
            if panel["type"] in ("row", "table"):
                continue
            assert panel["description"].endswith("."), panel["title"]
            unit = panel["fieldConfig"]["defaults"].get("unit") or panel["options"]["yAxis"]["unit"]
            assert unit, panel["title"]
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
        assert json.loads(json.dumps(dashboard)) == dashboard
