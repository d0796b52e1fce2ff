#!/usr/bin/env python3
"""Writes what follows from schema.yaml and from the programs' own settings: the chart's
values.schema.json, values.yaml and README.md, and the plain manifests in k8s/.

    python3 deploy/helm/make_chart.py --programs build/release/bin --helm HELM [--check]

--check fails when the files are not what it would write.
"""

import argparse
import copy
import json
import pathlib
import subprocess
import sys

import yaml
from manifests import make_manifests
from program_settings import read_settings

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHART = HERE / "pingti"


def load(name):
    return yaml.safe_load((HERE / name).read_text())


def expand(node, settings, reserved):
    """A node of schema.yaml as plain JSON Schema."""
    if isinstance(node, list):
        return [expand(item, settings, reserved) for item in node]
    if not isinstance(node, dict):
        return node
    if "$config" in node:
        program = node.pop("$config")
        unknown = sorted(set(reserved[program]) - set(settings[program]))
        if unknown:
            sys.exit(f"reserved.yaml: {program} has no setting {', '.join(unknown)}")
        free = {key: value for key, value in settings[program].items() if key not in reserved[program]}
        node = {"type": "object", "properties": free, **node}
    if "$choices" in node:
        program, key = node.pop("$choices").split(".")
        node = {"enum": settings[program][key]["enum"], **node}
    if "properties" in node and isinstance(node["properties"], dict):
        node = {"type": "object", **node}
        node.setdefault("additionalProperties", False)
        properties = {key: expand(value, settings, reserved)
                      for key, value in node["properties"].items()}
        rest = {key: expand(value, settings, reserved) for key, value in node.items()
                if key != "properties"}
        return {**rest, "properties": properties}
    return {key: expand(value, settings, reserved) for key, value in node.items()}


def make_schema(settings):
    """The chart's schema; Helm's own `global` is allowed, as it hands that to every chart."""
    schema = expand(copy.deepcopy(load("schema.yaml")), settings, load("reserved.yaml"))
    schema["properties"]["global"] = {"type": "object"}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of pingti", **schema}


def default_of(node):
    """The value of a node in values.yaml: its default, or those of its properties."""
    if "default" in node:
        return node["default"]
    inner = {key: default_of(value) for key, value in node.get("properties", {}).items()}
    return {key: value for key, value in inner.items() if value is not None} or None


def wrap(text, indent, width=96):
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) + 1 > width - indent - 2:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [" " * indent + "# " + text for text in [*lines, line]]


def values_lines(properties, indent=0):
    """values.yaml with each value's description above it."""
    for key, node in properties.items():
        if indent == 0:
            yield ""
        if "description" in node:
            yield from wrap(node["description"], indent)
        if "default" in node:
            value = json.dumps(node["default"], ensure_ascii=False)
            if isinstance(node["default"], dict) and node["default"]:
                yield f"{' ' * indent}{key}:"
                text = yaml.safe_dump(node["default"], sort_keys=False, default_flow_style=False)
                yield from (" " * (indent + 2) + line for line in text.splitlines())
            else:
                yield f"{' ' * indent}{key}: {value}"
        elif "properties" in node and "$ref" not in node:
            yield f"{' ' * indent}{key}:"
            yield from values_lines(node["properties"], indent + 2)
        else:
            yield f"{' ' * indent}# {key}:"


def make_values():
    head = ["# Values of the chart. Made from deploy/helm/schema.yaml: change it there.",
            "# `helm show values` prints this file; README.md has the same as a table, and the values",
            "# of a worker group, of which none is there by default."]
    return "\n".join([*head, *values_lines(load("schema.yaml")["properties"])]) + "\n"


def table_rows(path, node, schema):
    """Rows of the README for one value and those inside it."""
    definition = {}
    if "$ref" in node:
        definition = schema["definitions"][node["$ref"].rsplit("/", 1)[1]]
    whole = {**definition, **node}
    kind = whole.get("type") or ("object" if "properties" in whole else "")
    if "enum" in whole:
        kind = ", ".join(f"`{value}`" for value in whole["enum"])
    if "$choices" in whole:
        kind = "text"
    if "$config" in whole:
        kind = "settings"
    kind = {"string": "text", "array": "list"}.get(kind, kind)
    default = default_of(node)
    inner = whole.get("properties", {}) if "$config" not in whole else {}
    items = whole.get("items", {})
    group = items.get("$ref", "").endswith("/workerGroup")
    shown = "" if default is None or (inner and isinstance(default, dict)) else f"`{json.dumps(default)}`"
    yield f"| `{path}` | {kind} | {shown} | {whole.get('description', '').replace('|', ' or ')} |"
    for key, value in inner.items():
        value = dict(value)
        if isinstance(default, dict) and key in default:
            value["default"] = default[key]
        yield from table_rows(f"{path}.{key}", value, schema)
    if not group and items.get("properties"):
        for key, value in items["properties"].items():
            yield from table_rows(f"{path}[].{key}", value, schema)


def make_readme():
    schema = load("schema.yaml")
    rows = [row for key, node in schema["properties"].items() for row in table_rows(key, node, schema)]
    group = [row for key, node in schema["definitions"]["workerGroup"]["properties"].items()
             for row in table_rows(key, node, schema)]
    head = "| value | kind | default | |\n|---|---|---|---|\n"
    text = (HERE / "README.md.in").read_text()
    reserved = "\n".join(f"| `{key}` | {program} | {where} |"
                         for program, keys in load("reserved.yaml").items() for key, where in keys.items())
    return (text.replace("@VALUES@", head + "\n".join(rows)).replace("@GROUP@", head + "\n".join(group))
            .replace("@RESERVED@", "| setting | program | set from |\n|---|---|---|\n" + reserved))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--helm", default="helm")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    settings = {program: read_settings(subprocess.run(
        [args.programs / program, "--print-config"], check=True, capture_output=True, text=True,
        env={}).stdout)
        for program in ("pingti-router", "pingti-worker")}
    made = {CHART / "values.schema.json": json.dumps(make_schema(settings), indent=1) + "\n",
            CHART / "values.yaml": make_values(), CHART / "README.md": make_readme()}
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if not args.check:
        for path in stale:
            path.write_text(made[path])
    made_manifests = make_manifests(args.helm, CHART, HERE / "k8s-values", ROOT / "k8s")
    behind = [path for path, text in made_manifests.items()
              if not path.exists() or path.read_text() != text]
    behind += [path for path in (ROOT / "k8s").rglob("*.yaml") if path not in made_manifests]
    if not args.check:
        for path in behind:
            if path in made_manifests:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(made_manifests[path])
            else:
                path.unlink()
        return
    if stale + behind:
        sys.exit("run deploy/helm/make_chart.py: stale are " +
                 ", ".join(str(path.relative_to(ROOT)) for path in stale + behind))


if __name__ == "__main__":
    main()
