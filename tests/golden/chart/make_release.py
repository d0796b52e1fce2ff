#!/usr/bin/env python3
"""Writes release.json: the values that the chart had examples of at a commit and the objects that it made of them,
without dashboards and rules. tests/deploy/test_upgrade_from_release.py upgrades from there.

    python3 tests/golden/chart/make_release.py --helm HELM COMMIT
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import yaml

HERE = pathlib.Path(__file__).resolve().parent
CASES = ("full", "gpu", "keda")


def is_kept(thing):
    return thing["kind"] != "PrometheusRule" and "-dashboard-" not in thing["metadata"]["name"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--helm", default="helm")
    parser.add_argument("commit")
    args = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", args.commit, "deploy/helm/pingti"], cwd=HERE.parents[2], check=True,
                                 capture_output=True).stdout
        subprocess.run(["tar", "x", "-C", folder], input=archive, check=True)
        chart = pathlib.Path(folder, "deploy/helm/pingti")
        for case in CASES:
            values = chart / "ci" / f"{case}-values.yaml"
            text = subprocess.run([args.helm, "template", "demo", chart, "--namespace", "prod", "-f", values],
                                  check=True, capture_output=True, text=True).stdout
            objects = [json.dumps(one) for one in yaml.safe_load_all(text) if one and is_kept(one)]
            lines.append(f'{json.dumps(case)}: {{"values": {json.dumps(yaml.safe_load(values.read_text()))},\n'
                         '"objects": [\n' + ",\n".join(objects) + "]}")
    (HERE / "release.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
