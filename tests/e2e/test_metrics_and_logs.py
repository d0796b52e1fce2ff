"""Every process tells what it does: metrics that promtool accepts, logs that parse."""

import json
import os
import re
import subprocess
import urllib.request

from conftest import MODEL_ID, http_get, wait_until
from test_openai_client import ask


def admin_urls(cluster):
    return [f"http://127.0.0.1:{p.admin_port}" for p in [cluster.router, *cluster.workers]]


def sample(text, name):
    """Sum of the samples of a metric over its labels."""
    values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    assert values, f"no metric {name}"
    return sum(map(float, values))


def test_promtool_accepts_every_process(client, cluster):
    promtool = os.environ.get("PINGTI_PROMTOOL", "promtool")
    ask(client, "Hello!")
    for url in admin_urls(cluster):
        status, text = http_get(url + "/metrics")
        assert status == 200
        check = subprocess.run([promtool, "check", "metrics"], input=text, text=True,
                               capture_output=True, check=False)
        assert check.returncode == 0 and not check.stdout + check.stderr, check.stdout + check.stderr


def test_requests_and_tokens_are_counted(client, cluster):
    before = cluster.router.metrics()
    answer = ask(client, "Name a colour.")
    after = cluster.router.metrics()

    def grew(name):
        return sample(after, name) - (sample(before, name) if name in before else 0)

    assert grew("pingti_router_requests_total") == 1
    assert grew("pingti_router_prompt_tokens_total") == answer.usage.prompt_tokens
    assert grew("pingti_router_output_tokens_total") == answer.usage.completion_tokens
    assert grew("pingti_router_time_to_first_token_seconds_count") == 1


def test_a_request_id_is_in_the_answer_and_in_the_logs(cluster):
    body = json.dumps({"model": MODEL_ID, "max_tokens": 4,
                       "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = urllib.request.Request(cluster.router.url + "/v1/chat/completions", data=body,
                                     headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        request_id = answer.headers["x-request-id"]
        answer.read()
    assert request_id

    def finished():
        lines = [json.loads(line) for line in cluster.router.text().splitlines()]
        return [line for line in lines if (line["msg"], line.get("request_id")) == ("request finished", request_id)]

    (line,) = wait_until(finished, 10, "the request is logged")
    assert line["worker"] in [worker.address for worker in cluster.workers]


def test_health_and_readiness(cluster):
    for url in admin_urls(cluster):
        assert http_get(url + "/healthz")[0] == 200
        assert http_get(url + "/readyz")[0] == 200
        assert http_get(url + "/nothing")[0] == 404
