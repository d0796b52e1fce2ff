"""A small vocabulary for Grafana dashboards: panels, rows, variables, laid out from left to right."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GRID_COLUMNS = 24
GREEN, YELLOW, RED = "green", "orange", "red"


def target(query, legend="", ref="A", table=False):
    return {"datasource": DATASOURCE, "expr": query, "legendFormat": legend or "__auto", "refId": ref,
            **({"format": "table", "instant": True} if table else {})}


def _targets(queries):
    return [target(query, legend, chr(ord("A") + i)) for i, (legend, query) in enumerate(queries)]


def _thresholds(steps):
    colours = [{"color": GREEN, "value": None}]
    return {"mode": "absolute", "steps": colours + [{"color": c, "value": v} for v, c in steps]}


def stat(title, description, query, unit, thresholds=(), decimals=None):
    """One figure. `thresholds`: (value, colour) pairs, rising; green below the first."""
    defaults = {"unit": unit, "thresholds": _thresholds(thresholds), "noValue": "no data"}
    if decimals is not None:
        defaults["decimals"] = decimals
    return {"type": "stat", "title": title, "description": description, "width": 4, "height": 4,
            "targets": _targets([("", query)]),
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value",
                        "graphMode": "area", "textMode": "value"}}


def graph(title, description, queries, unit, thresholds=(), stacked=False, width=8, most=None):
    """Curves over time. `queries`: (legend, query) pairs; `most`: the top of the axis."""
    custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 25 if stacked else 5,
              "showPoints": "never", "stacking": {"mode": "normal" if stacked else "none"}}
    defaults = {"unit": unit, "min": 0, "custom": custom, "thresholds": _thresholds(thresholds)}
    if thresholds:
        custom["thresholdsStyle"] = {"mode": "dashed"}
    if most is not None:
        defaults["max"] = most
    return {"type": "timeseries", "title": title, "description": description, "width": width,
            "height": 8, "targets": _targets(queries),
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"},
                        "tooltip": {"mode": "multi", "sort": "desc"}}}


def heatmap(title, description, query, unit, width=8):
    """A histogram's buckets over time; `query` must keep the label le."""
    one = target(query, "{{le}}")
    one["format"] = "heatmap"
    return {"type": "heatmap", "title": title, "description": description, "width": width, "height": 8,
            "targets": [one], "fieldConfig": {"defaults": {}, "overrides": []},
            "options": {"calculate": False, "yAxis": {"unit": unit}, "cellGap": 1,
                        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                        "tooltip": {"mode": "single"}}}


def table(title, description, query, columns, width=8):
    """One row per series; `columns`: label names, in order."""
    return {"type": "table", "title": title, "description": description, "width": width, "height": 8,
            "targets": [target(query, table=True)],
            "fieldConfig": {"defaults": {}, "overrides": []},
            "transformations": [{"id": "filterFieldsByName", "options": {"include": {"names": columns}}}],
            "options": {"showHeader": True}}


def row(title, panels):
    return {"title": title, "panels": panels}


def variable(name, label, query):
    """A choice of label values. All is ".*", which also matches series without the label."""
    return {"name": name, "label": label, "type": "query", "datasource": DATASOURCE,
            "query": {"query": query, "refId": name}, "definition": query, "refresh": 2, "sort": 1,
            "multi": True, "includeAll": True, "allValue": ".*",
            "current": {"text": "All", "value": "$__all"}}


def _lay_out(rows):
    placed, y = [], 0
    for part in rows:
        placed.append({"type": "row", "title": part["title"], "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": GRID_COLUMNS, "h": 1}})
        y += 1
        x = tallest = 0
        for panel in part["panels"]:
            body = dict(panel)
            width, height = body.pop("width"), body.pop("height")
            if x + width > GRID_COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            body["gridPos"] = {"x": x, "y": y, "w": width, "h": height}
            body["datasource"] = DATASOURCE
            placed.append(body)
            x, tallest = x + width, max(tallest, height)
        y += tallest
    return [{"id": i + 1, **panel} for i, panel in enumerate(placed)]


def dashboard(uid, title, description, variables, rows):
    """Everything that Grafana's import and its sidecar take."""
    source = {"name": "datasource", "label": "Data source", "type": "datasource",
              "query": "prometheus"}
    return {"uid": uid, "title": title, "description": description, "tags": ["pingti"],
            "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1,
            "refresh": "30s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
            "templating": {"list": [source, *variables]}, "panels": _lay_out(rows),
            "links": [{"type": "dashboards", "tags": ["pingti"], "title": "pingti", "asDropdown": True,
                       "keepTime": True, "includeVars": True}]}
