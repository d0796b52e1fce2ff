"""Requests made to cost more than they should: each is refused for a reason, and others are served meanwhile."""

import json
import re
import socket
import time
import urllib.error
import urllib.request

import pytest

from conftest import MODEL_ID, Cluster, http_get, wait_until
from test_metrics_and_logs import sample

CHAT = "/v1/chat/completions"


def post(url, body, headers=None, timeout_s=60):
    """Status, headers and body; `body` is bytes, or an object to be written as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def ask(content="hi", **fields):
    return {"model": MODEL_ID, "max_tokens": 1, "messages": [{"role": "user", "content": content}], **fields}


def log_lines(router):
    return [json.loads(line) for line in router.text().splitlines() if line.startswith("{")]


def resident_bytes(process):
    with open(f"/proc/{process.popen.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024


def test_clients_that_post_megabytes_and_leave_hold_up_nobody(cluster):
    router = cluster.router
    medium = ask("word " * 9_000)  # goes over the pool as well, and is too long for the context in the end
    usual = time.monotonic()
    assert post(router.url + CHAT, medium)[0] == 400
    usual = time.monotonic() - usual
    body = json.dumps(ask(" " * 10_000_000)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    leavers = [socket.create_connection(("127.0.0.1", router.http_port)) for _ in range(6)]
    for leaver in leavers:
        leaver.sendall(head + body)
    for leaver in leavers:
        leaver.close()
    begin = time.monotonic()
    assert post(router.url + CHAT, medium)[0] == 400
    assert post(router.url + CHAT, ask())[0] == 200
    assert time.monotonic() - begin < 2 * usual + 2
    # And nothing of it is left: the same six, waiting for their answers, are refused in no time.
    begin = time.monotonic()
    status, _, answer = post(router.url + CHAT, body)
    assert status == 400 and json.loads(answer)["error"]["code"] == "context_length_exceeded"
    assert time.monotonic() - begin < 5


def test_long_stops_cost_nothing(cluster):
    post(cluster.router.url + CHAT, ask())
    before = resident_bytes(cluster.router)
    for _ in range(4):
        status, _, answer = post(cluster.router.url + CHAT, ask(n=16, stop="x" * 1_000_000))
        assert status == 400 and json.loads(answer)["error"]["param"] == "stop"
    assert resident_bytes(cluster.router) - before < 100 << 20
    # Right up to the limit they work, shared by all choices.
    status, _, _ = post(cluster.router.url + CHAT, ask(n=16, stop=["x" * 1_024] * 16))
    assert status == 200


def test_a_grammar_that_reads_text_in_too_many_ways_is_the_clients_error(cluster):
    before = cluster.router.metrics()
    begin = time.monotonic()
    status, _, answer = post(cluster.router.url + CHAT,
                             ask("aaaa", max_tokens=64, temperature=0, guided_regex="((a{0,57}){0,2}){3,5}"))
    assert status == 400, answer
    assert time.monotonic() - begin < 10
    sent = "pingti_router_worker_dispatch_total"
    after = cluster.router.metrics()
    assert sample(after, sent) - (sample(before, sent) if sent in before else 0) <= 1
    assert post(cluster.router.url + CHAT, ask())[0] == 200


def test_a_long_name_is_cut_in_the_log_and_in_the_answer(cluster):
    status, _, answer = post(cluster.router.url + CHAT, ask(model="m" * 10_000_000))
    assert status == 404 and len(answer) < 5_000
    status, _, answer = post(cluster.router.url + CHAT, ask(**{"f" * 1_000_000: 1}))
    assert status == 400 and len(answer) < 5_000
    assert max(map(len, cluster.router.text().splitlines())) < 10_000


def test_a_clients_ids_are_echoed_and_logged(cluster):
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    ids = {"x-request-id": "order-17", "traceparent": parent}
    for body, status in [(ask(), 200), (ask(temperature=9), 400)]:
        answered, headers, _ = post(cluster.router.url + CHAT, body, ids)
        assert answered == status
        assert headers["x-request-id"] == "order-17" and headers["traceparent"] == parent
    def logged():
        return [line for line in log_lines(cluster.router) if line.get("request_id") == "order-17"]
    wait_until(lambda: len(logged()) >= 2, 10, "both requests are logged")
    lines = logged()
    assert [(line["code"], line["traceparent"]) for line in lines] == [("200", parent), ("400", parent)]


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A router that asks for a key."""
    cluster = Cluster(tmp_path_factory.mktemp("locked"), 1, router_args=["--api-keys", "ann:good"])
    yield cluster.wait_ready()
    cluster.close()


def test_wrong_keys_are_counted_and_do_not_flood_the_log(locked):
    url = locked.router.url + CHAT
    for _ in range(300):
        assert post(url, ask(), {"authorization": "Bearer bad"})[0] == 401
    assert post(url, ask(), {"authorization": "Bearer good"})[0] == 200
    counted = re.search(r'pingti_router_requests_total\{code="401"[^}]*\} (\d+)', locked.router.metrics())
    assert int(counted[1]) == 300

    def told():
        lines = [line for line in log_lines(locked.router) if line["msg"] == "request without a valid key"]
        return lines if lines else None

    lines = wait_until(told, 60, "a line in the log")
    assert len(lines) + sum(line["not_logged_before"] for line in lines) <= 300
    seconds = {line["ts"][:19] for line in lines}
    assert len(lines) <= 10 * (len(seconds) + 1)
    assert http_get(f"http://127.0.0.1:{locked.router.admin_port}/healthz")[0] == 200
