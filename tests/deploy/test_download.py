"""The init container's download script, run by a POSIX shell against a server that breaks off."""

import fcntl
import functools
import hashlib
import http.server
import os
import re
import signal
import subprocess
import threading
import time

import pytest
from conftest import CHART

BODY = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(BODY).hexdigest()
SCRIPT = (CHART / "files/download.sh").read_text()


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY with ranges; breaks off after `limit` bytes of each of the first `breaks` answers, or, with
    `hold`, says no more until the client is gone."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.limit, self.breaks, self.ranges, self.tokens = len(BODY), 0, [], []
        self.hold, self.holds = False, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/model"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        if self.path != "/model":
            self.send_error(404)
            return
        server.ranges.append(self.headers.get("Range"))
        server.tokens.append(self.headers.get("Authorization"))
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        if found:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.end_headers()
        end = len(BODY)
        if server.breaks > 0:
            server.breaks -= 1
            end = start + server.limit
        self.wfile.write(BODY[start:end])
        if server.hold and end < len(BODY):
            server.holds.set()
            self.connection.recv(1)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    one = Server()
    thread = threading.Thread(target=functools.partial(one.serve_forever, poll_interval=0.02))
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


def download(*files, **env):
    return subprocess.run(["sh", "-c", SCRIPT, "download", *map(str, files)], capture_output=True,
                          text=True, check=False, env={"PATH": os.environ["PATH"], **env}, timeout=60)


def test_a_file_is_fetched_checked_and_not_fetched_again(server, tmp_path):
    file = tmp_path / "deep/model"
    done = download(server.url, SHA256, file, TOKEN="s3cret")
    assert done.returncode == 0, done.stderr
    assert file.read_bytes() == BODY and not (tmp_path / "deep/model.part").exists()
    assert server.tokens == ["Bearer s3cret"]
    assert download(server.url, SHA256, file).returncode == 0
    assert len(server.ranges) == 1


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    server.limit, server.breaks = 300_000, 1
    file = tmp_path / "model"
    for _ in range(2):  # the container is started again when it fails
        done = download(server.url, SHA256, file)
        if done.returncode == 0:
            break
    assert file.read_bytes() == BODY, done.stderr
    assert server.ranges == [None, "bytes=300000-"]
    assert server.tokens == [None, None]


def test_a_part_that_was_complete_is_not_asked_for_again(server, tmp_path):
    (tmp_path / "model.part").write_bytes(BODY)
    assert download(server.url, SHA256, tmp_path / "model").returncode == 0
    assert (tmp_path / "model").read_bytes() == BODY and server.ranges == []


def test_a_wrong_checksum_is_told_and_leaves_nothing(server, tmp_path):
    done = download(server.url, "0" * 64, tmp_path / "model")
    assert done.returncode == 1
    assert "expected sha256 000000" in done.stderr and SHA256 in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == [".download.lock"]


def start(*files, **env):
    """As a container does: with a process group of its own."""
    return subprocess.Popen(["sh", "-c", SCRIPT, "download", *map(str, files)], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True, env={**os.environ, **env})


def expect_ended_at_once(pod, folder):
    begin = time.monotonic()
    pod.send_signal(signal.SIGTERM)
    said = pod.communicate(timeout=60)[0]  # until nobody has its output open any more
    assert time.monotonic() - begin < 5, said
    assert pod.returncode in (143, -signal.SIGTERM), said
    # Nobody goes on behind its back, holding the lock.
    assert subprocess.run(["flock", "-w", "5", folder / ".download.lock", "true"], check=False).returncode == 0


def test_pods_that_share_a_volume_fetch_a_file_once(server, tmp_path):
    pods = [start(server.url, SHA256, tmp_path / "model") for _ in range(4)]
    said = [pod.communicate(timeout=60)[0] for pod in pods]
    assert [pod.returncode for pod in pods] == [0] * 4, said
    assert (tmp_path / "model").read_bytes() == BODY and server.ranges == [None]


def test_a_pod_waits_while_another_one_fetches(server, tmp_path):
    with open(tmp_path / ".download.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pod = start(server.url, SHA256, tmp_path / "model")
        assert "another pod is fetching" in pod.stdout.readline()
        assert server.ranges == [] and not (tmp_path / "model.part").exists()
        (tmp_path / "model").write_bytes(BODY)
    assert "is there by now" in pod.communicate(timeout=60)[0] and pod.returncode == 0
    assert server.ranges == []


def test_a_pod_that_must_go_stops_fetching_and_the_next_one_goes_on(server, tmp_path):
    server.limit, server.breaks, server.hold = 300_000, 1, True
    pod = start(server.url, SHA256, tmp_path / "model")
    assert server.holds.wait(60)
    part, deadline = tmp_path / "model.part", time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 0):
        assert time.monotonic() < deadline, "nothing of what was sent is kept"
        time.sleep(0.01)
    expect_ended_at_once(pod, tmp_path)
    fetched = part.stat().st_size
    assert 0 < fetched <= 300_000 and not (tmp_path / "model").exists()
    assert download(server.url, SHA256, tmp_path / "model").returncode == 0
    assert (tmp_path / "model").read_bytes() == BODY
    assert server.ranges == [None, f"bytes={fetched}-"]


def test_a_pod_that_must_go_waits_for_no_other(server, tmp_path):
    with open(tmp_path / ".download.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pod = start(server.url, SHA256, tmp_path / "model")
        assert "another pod is fetching" in pod.stdout.readline()
        begin = time.monotonic()
        pod.send_signal(signal.SIGTERM)
        pod.communicate(timeout=60)
        assert time.monotonic() - begin < 5
    assert server.ranges == [] and not (tmp_path / "model.part").exists()


def test_a_pod_that_must_go_does_not_finish_a_checksum(server, tmp_path):
    tools, started = tmp_path / "tools", tmp_path / "started"
    tools.mkdir()
    os.mkfifo(started)
    slow = tools / "sha256sum"  # that of a model of many gigabytes
    slow.write_text(f"#!/bin/sh\necho > {started}\nexec sleep 3600\n")
    slow.chmod(0o755)
    pod = start(server.url, SHA256, tmp_path / "model", PATH=f"{tools}:{os.environ['PATH']}")
    started.read_text()
    expect_ended_at_once(pod, tmp_path)
    assert download(server.url, SHA256, tmp_path / "model").returncode == 0
    assert (tmp_path / "model").read_bytes() == BODY and server.ranges == [None]


def test_an_error_page_is_no_model(server, tmp_path):
    done = download(server.url + "-missing", SHA256, tmp_path / "model")
    assert done.returncode == 1 and "curl ended with 22" in done.stderr
    assert not (tmp_path / "model").exists()
