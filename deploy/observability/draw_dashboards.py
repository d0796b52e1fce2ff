#!/usr/bin/env python3
"""Draws docs/images/dashboard-*.png from the real thing: a router and two workers under load, one of
which is killed and comes back, scraped by a real Prometheus that is asked every panel's query.

    pip install -r tests/requirements.txt -r deploy/observability/requirements.txt
    PINGTI_TEST_MODEL=$(scripts/fetch_model.sh) PINGTI_PROMTOOL=$(scripts/fetch_promtool.sh) \
      python3 deploy/observability/draw_dashboards.py [--out FOLDER] [--seconds N]

Takes --seconds (150) and a little more; fails when a panel stays empty.
"""

import argparse
import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile
import time

import dashboards
import numpy as np
import pictures
from metric_names import ROOT

sys.path.insert(0, str(ROOT / "tests/e2e"))
import openai  # noqa: E402
from conftest import BIN, MODEL_ID, Cluster, program_env, wait_until  # noqa: E402
from live_prometheus import Prometheus, filled_in  # noqa: E402

STEP_S, RATE_INTERVAL = 1, "10s"
# Small, so that queues and a full KV cache are seen on a small machine.
WORKER_ARGS = ("--max-batch-size", 8, "--kv-memory", "48MiB")
ROUTER_ARGS = ("--max-queued-sequences", 24, "--stall-timeout", "5s")


def bench(cluster, rate, seconds, *args):
    """`pingti bench` in the background: prompts with a common beginning, an even rate."""
    return subprocess.Popen(
        [BIN / "pingti", "bench", "--url", cluster.router.url, "--rate", str(rate), "--duration",
         str(int(seconds)), "--requests", "100000", "--shared-prefix", "48", "--no-progress", *args],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=program_env())


def misbehave(cluster, until):
    """Clients as they are: one sends a mistake now and then, one does not wait for its answer."""
    client = cluster.router.client()
    say = {"model": MODEL_ID, "messages": [{"role": "user", "content": "Tell me a long story."}]}
    while time.time() < until:
        try:
            client.chat.completions.create(**say, temperature=-1)
        except openai.BadRequestError:
            pass
        try:
            stream = client.chat.completions.create(**say, max_tokens=64, stream=True)
            next(iter(stream))
            stream.close()
        except openai.RateLimitError:
            pass
        time.sleep(3)


def run_load(cluster, seconds):
    """Steady load, a burst in the middle of which a worker is killed, its return. Returns when what
    happened, as (time, words)."""
    began, marks = time.time(), []

    def wait_for(share):
        time.sleep(max(0, began + share * seconds - time.time()))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        rude = pool.submit(misbehave, cluster, began + seconds)
        running = [bench(cluster, 1.5, seconds, "--input-tokens", "64-128", "--output-tokens", "16-48")]
        wait_for(0.3)
        running.append(bench(cluster, 7, 0.3 * seconds, "--input-tokens", "64-256", "--output-tokens", "24-64",
                             "--seed", "2"))
        wait_for(0.45)
        cluster.workers[1].kill()
        marks.append((time.time(), "worker killed"))
        wait_for(0.65)
        cluster.workers[1].start()
        marks.append((time.time(), "back"))
        rude.result()
    for one in running:
        _, errors = one.communicate(timeout=300)
        if one.returncode not in (0, 1):  # 1: some requests were refused, as they should be
            sys.exit(f"pingti bench ended with {one.returncode}: {errors.decode()[-500:]}")
    return marks


def data_between(prometheus, began, ended, marks):
    times = np.arange(round(began), round(ended) + 1, STEP_S, dtype=float)

    def over_time(query):
        answer = prometheus.get("query_range", query=filled_in(query, RATE_INTERVAL), start=times[0],
                                end=times[-1], step=STEP_S)
        curves = []
        for series in answer["result"]:
            values = np.full(len(times), np.nan)
            for at, value in series["values"]:
                values[round((at - times[0]) / STEP_S)] = float(value)
            if not np.isnan(values).all():
                curves.append(pictures.Curve(series["metric"], values))
        return curves

    def now(query):
        return prometheus.series(filled_in(query, RATE_INTERVAL), time=times[-1])

    return pictures.Data(times, over_time, now, marks)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/images")
    parser.add_argument("--seconds", type=int, default=150)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        cluster = Cluster(folder, router_args=ROUTER_ARGS, worker_args=WORKER_ARGS)
        prometheus = Prometheus(folder, cluster, f"{STEP_S}s")
        try:
            cluster.wait_ready()
            wait_until(lambda: prometheus.is_ready() and len(prometheus.values("up == 1")) == 3, 30,
                       "Prometheus scrapes all three")
            began = time.time()
            marks = run_load(cluster, args.seconds)
            data = data_between(prometheus, began, time.time(), marks)
            empty = []
            for kind, dashboard in dashboards.all_dashboards().items():
                path = args.out / f"dashboard-{kind}.png"
                empty += pictures.draw(dashboard, data, path)
                print(f"{path}: {path.stat().st_size} bytes")
        finally:
            prometheus.stop()
            cluster.close()
    if empty:
        sys.exit("no data for " + "; ".join(empty))


if __name__ == "__main__":
    main()
