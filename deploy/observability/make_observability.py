#!/usr/bin/env python3
"""Writes the dashboards and the rules from the code beside this file; a query that names a metric
which no program exports is refused.

    python3 deploy/observability/make_observability.py [--check]

The files lie in the chart, which can ship only what it contains; deploy/grafana and
deploy/prometheus point there. --check fails when they are not what it would write.
"""

import json
import sys

import dashboards
import metric_names
import rules

FILES = metric_names.ROOT / "deploy/helm/pingti/files"


def queries_of(dashboard):
    """(where, query) for every target and variable."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield f"{dashboard['title']}: {panel['title']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"{dashboard['title']}: ${variable['name']}", variable["definition"]


def queries():
    """(where, query) for everything that reads a metric."""
    for dashboard in dashboards.all_dashboards().values():
        yield from queries_of(dashboard)
    for group in rules.rule_file()["groups"]:
        for rule in group["rules"]:
            yield rule.get("record") or rule["alert"], rule["expr"]


def check_names():
    """One line per query that names what does not exist; metrics that nothing shows count too."""
    metrics = metric_names.read_metrics()
    named, problems = set(), []
    for where, query in queries():
        named |= metric_names.names_in(query)
        problems += [f"{where}: no program exports {name}"
                     for name in metric_names.unknown_names(query, metrics)]
    for metric in metrics.values():
        if not named & set(metric.series()):
            problems.append(f"no panel and no rule shows {metric.name}")
    return problems


def to_yaml(value, indent=0):
    """The YAML of nested dictionaries and lists; texts as JSON, which YAML contains."""
    pad = " " * indent
    if isinstance(value, dict):
        lines = []
        for key, inner in value.items():
            if isinstance(inner, (dict, list)):
                lines.append(f"{pad}{key}:\n{to_yaml(inner, indent + 2)}")
            else:
                lines.append(f"{pad}{key}: {json.dumps(inner, ensure_ascii=False)}")
        return "\n".join(lines)
    items = []
    for inner in value:
        items.append(pad + "- " + to_yaml(inner, indent + 2).lstrip())
    return "\n".join(items)


def outputs():
    """Contents by path."""
    made = {}
    for name, dashboard in dashboards.all_dashboards().items():
        made[FILES / "dashboards" / f"pingti-{name}.json"] = json.dumps(dashboard, indent=1) + "\n"
    made[FILES / "pingti.rules.yaml"] = (
        "# Made by deploy/observability/make_observability.py: change it there. Runbooks: docs/operations.md.\n" +
        to_yaml(rules.rule_file()) + "\n")
    return made


def main():
    problems = check_names()
    if problems:
        sys.exit("\n".join(problems))
    stale = [path for path, text in outputs().items()
             if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit("run deploy/observability/make_observability.py: stale are " +
                     ", ".join(str(path.relative_to(metric_names.ROOT)) for path in stale))
        return
    for path in stale:
        path.write_text(outputs()[path])


if __name__ == "__main__":
    main()
