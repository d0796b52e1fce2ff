"""Bytes that never become a request: each attack is refused, the router's memory stays within a container's
1 GiB, and a normal request beside it is answered as usual."""

import json
import os
import re
import socket
import subprocess
import threading
import time

import pytest

from conftest import MODEL_ID, Cluster, Process, http_get, program_env, wait_until
from test_hostile_requests import CHAT, ask, post, resident_bytes
from test_metrics_and_logs import sample

MAX_RESIDENT = 768 << 20  # of the 1 GiB that the chart gives a router
MAX_AT_REST = 200 << 20
KEY = {"authorization": "Bearer good"}


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("locked"), 1, router_args=["--api-keys", "ann:good"])
    yield cluster.wait_ready()
    cluster.close()


def peak_bytes(router):
    with open(f"/proc/{router.popen.pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024


def flood(port, head, piece, limit):
    """Sends `piece` again and again, up to `limit` bytes; returns how many went and what was answered."""
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        try:
            peer.sendall(head)
            while sent < limit:
                peer.sendall(piece)
                sent += len(piece)
        except OSError:
            pass  # the router has had enough
        try:
            answer = peer.recv(4096)
        except OSError:
            pass
    return sent, answer


def beside(router, attack, count):
    """Runs `attack` in `count` threads, asks usual questions meanwhile, and returns the attacks' results."""
    post(router.url + CHAT, ask(), KEY)
    begin = time.monotonic()
    assert post(router.url + CHAT, ask(), KEY)[0] == 200
    usual = time.monotonic() - begin
    results = []
    threads = [threading.Thread(target=lambda: results.append(attack())) for _ in range(count)]
    for thread in threads:
        thread.start()
    slowest = 0
    while any(thread.is_alive() for thread in threads):
        begin = time.monotonic()
        assert post(router.url + CHAT, ask(), KEY)[0] == 200
        slowest = max(slowest, time.monotonic() - begin)
    for thread in threads:
        thread.join()
    # The attackers take processor time of the same machine.
    assert slowest < 2 * usual + 2
    return results


@pytest.mark.parametrize("name,head,piece", [
    ("extension", b"5;a=", b"b" * 65536),
    ("zeros", b"0", b"0" * 65536),
    ("trailers", b"1\r\nx\r\n0\r\n", b"a: b\r\n" * 10000),
])
@pytest.mark.parametrize("port", ["http_port", "admin_port"])
def test_a_body_that_is_all_framing_is_cut_off(locked, port, name, head, piece):
    router = locked.router
    lines = f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer good\r\nTransfer-Encoding: chunked\r\n\r\n"
    results = beside(router, lambda: flood(getattr(router, port), lines.encode() + head, piece, 100 << 20), 8)
    # What a client sends after the refusal is read and forgotten for a second, so that it gets to read it.
    for _, answer in results:
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert peak_bytes(router) < MAX_RESIDENT


def test_who_has_no_key_sends_no_body(locked):
    router = locked.router
    lines = f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer bad\r\nContent-Length: {90 << 20}\r\n"
    for sent, answer in beside(
            router, lambda: flood(router.http_port, (lines + "\r\n").encode(), b"x" * 65536, 90 << 20), 12):
        assert answer == b"" or answer.startswith(b"HTTP/1.1 401")
    with socket.create_connection(("127.0.0.1", router.http_port), timeout=20) as peer:
        peer.sendall((lines + "Expect: 100-continue\r\n\r\n").encode())
        assert peer.recv(4096).startswith(b"HTTP/1.1 401")
    assert peak_bytes(router) < MAX_RESIDENT


def test_bodies_share_what_there_is(locked):
    router = locked.router
    body = json.dumps(ask("x" * (90 << 20))).encode()
    lines = (f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer good\r\n"
             f"Content-Length: {len(body)}\r\n\r\n").encode()

    def upload():
        with socket.create_connection(("127.0.0.1", router.http_port), timeout=60) as peer:
            try:
                peer.sendall(lines + body)
            except OSError:
                pass  # refused on the way
            try:
                return peer.recv(4096)[9:12]
            except OSError:
                return b""

    statuses = beside(router, upload, 12)
    # At most one fits at a time; it is too long for the context. The others, or in lock step all of
    # them, are told to come again.
    assert set(statuses) <= {b"400", b"503", b""} and b"503" in statuses, statuses
    assert peak_bytes(router) < MAX_RESIDENT
    wait_until(lambda: sample(router.metrics(), "pingti_router_body_bytes") == 0, 10, "the budget is given back")
    assert upload() == b"400"


def test_a_body_of_many_small_values_is_refused(locked):
    router = locked.router
    for filling in [b"[" + b"0," * (40 << 20) + b"0]", b"[" + b"{}," * (20 << 20) + b"{}]"]:
        status, _, answer = post(router.url + CHAT, b'{"model":"m","messages":' + filling + b"}", KEY, 120)
        assert status == 400 and json.loads(answer)["error"]["code"] == "too_many_values"
    assert peak_bytes(router) < MAX_RESIDENT
    assert post(router.url + CHAT, ask(), KEY)[0] == 200


def test_memory_returns_after_large_bodies(locked):
    router = locked.router
    body = json.dumps(ask("x y " * (20 << 20))).encode()
    filling = b'{"model":"m","messages":[' + b"{}," * (10 << 20) + b"{}]}"
    for hostile in [body, filling, body, filling]:
        assert post(router.url + CHAT, hostile, KEY, 120)[0] == 400
    assert peak_bytes(router) > MAX_AT_REST
    wait_until(lambda: resident_bytes(router) < MAX_AT_REST, 20,
               f"the memory returns: {resident_bytes(router) >> 20} MiB are still there")


def test_a_client_that_has_only_closed_its_sending_side_is_answered(locked):
    body = json.dumps(ask()).encode()
    for stream in [False, True]:
        body = json.dumps(ask(stream=stream)).encode()
        with socket.create_connection(("127.0.0.1", locked.router.http_port), timeout=60) as peer:
            peer.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer good\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            peer.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := peer.recv(65536):
                answer += piece
        assert b"HTTP/1.1 200 OK" in answer and b"finish_reason" in answer


def test_a_reader_of_the_log_who_does_not_read_holds_up_nobody(tmp_path):
    cluster = Cluster(tmp_path, 1)
    try:
        cluster.wait_ready()
        router = cluster.router
        router.stop()
        read_end, write_end = os.pipe()
        router.popen = subprocess.Popen(router.command, stdout=write_end, stderr=write_end, env=program_env())
        os.close(write_end)
        wait_until(lambda: http_get(f"http://127.0.0.1:{router.admin_port}/readyz")[0] == 200, 30, "router ready")
        # Far more than a pipe holds.
        for _ in range(400):
            assert post(router.url + CHAT, ask(model="m" * 4000))[0] == 404
        for _ in range(3):
            assert post(router.url + CHAT, ask())[0] == 200
        assert http_get(f"http://127.0.0.1:{router.admin_port}/healthz")[0] == 200
        assert router.stop() == 0
        os.close(read_end)
    finally:
        cluster.close()


def test_a_switch_may_have_a_value_and_the_admin_port_an_address(tmp_path):
    class Plain(Process):
        pass

    printed = Plain(tmp_path / "printed.log", "pingti-router", "--worker-tls", "true", "--playground", "off",
                    "--print-config")
    assert printed.popen.wait(20) == 0
    assert "worker_tls: true" in printed.text() and "playground: false" in printed.text()
    cluster = Cluster(tmp_path, 1, router_args=["--admin-address", "127.0.0.2"])
    try:
        for worker in cluster.workers:
            wait_until(worker.is_ready, 60, "worker ready")
        port = cluster.router.admin_port
        wait_until(lambda: http_get(f"http://127.0.0.2:{port}/readyz")[0] == 200, 30, "router ready")
        assert http_get(f"http://127.0.0.1:{port}/readyz")[0] == 0
    finally:
        cluster.close()
