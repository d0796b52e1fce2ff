"""A worker from its start to its first answer: what its admin port says meanwhile, how it ends, and which
addresses are listened on."""

import pathlib
import re
import signal
import socket
import subprocess

import pytest

from conftest import BIN, Process, Router, Worker, free_ports, http_get, program_env, wait_until


def admin(process, path):
    return http_get(f"http://127.0.0.1:{process.admin_port}{path}")


def test_the_admin_port_is_open_while_the_model_loads(tmp_path):
    worker = Worker(tmp_path, "worker", "--dtype=f32")  # which takes a while longer than auto
    try:
        seen = []
        wait_until(lambda: seen.append((admin(worker, "/healthz")[0], *admin(worker, "/readyz"),
                                        admin(worker, "/metrics")[1])) or seen[-1][1] == 200, 120, "worker ready")
        loading = [one for one in seen if one[:2] == (200, 503)]
        assert loading and "the model is not loaded" in loading[0][2]
        assert re.search(r'^pingti_worker_loading\{model="SmolLM2-135M-Instruct"\} 1$', loading[0][3], re.MULTILINE)
    finally:
        worker.kill()


def blocks_signals(pid):
    """Whether the process has begun to wait for SIGTERM in its own way."""
    found = re.search(r"^SigBlk:\t(\w+)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_a_signal_while_the_model_loads_ends_the_worker_at_once(tmp_path):
    worker = Worker(tmp_path, "worker", "--dtype=f32")
    try:
        while not blocks_signals(worker.popen.pid):
            pass
        assert worker.stop(signal.SIGTERM) == 0
        assert "stopped while loading the model" in worker.text() and "draining" not in worker.text()
    finally:
        worker.kill()


def test_a_worker_that_serves_loads_no_more_and_drains_on_a_signal(tmp_path):
    worker = Worker(tmp_path, "worker")
    try:
        wait_until(worker.is_ready, 60, "worker ready")
        metrics = admin(worker, "/metrics")[1]
        assert 'pingti_worker_loading{model="SmolLM2-135M-Instruct"} 0' in metrics
        assert re.search(r'^pingti_worker_kv_blocks\{model="SmolLM2-135M-Instruct"\} [1-9]', metrics, re.MULTILINE)
        assert worker.stop(signal.SIGTERM) == 0
        assert "draining" in worker.text() and "stopped while loading" not in worker.text()
    finally:
        worker.kill()


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as one:
            one.bind(("::1", 0))
        return True
    except OSError:
        return False


def test_a_star_is_every_address(tmp_path):
    http_port, grpc_port, admin_port = free_ports(3)
    router = Process(tmp_path / "router.log", "pingti-router", "--workers=127.0.0.1:1", "--address=*", "--http-port",
                     http_port, "--grpc-port", grpc_port, "--admin-port", admin_port)
    hosts = ["127.0.0.1", *(["[::1]"] if has_ipv6() else [])]
    try:
        for host in hosts:
            for url in (f"http://{host}:{admin_port}/healthz", f"http://{host}:{http_port}/v1/models"):
                wait_until(lambda: http_get(url)[0] == 200, 20, f"{url} answers")
            with socket.create_connection((host.strip("[]"), grpc_port), timeout=5):
                pass
    finally:
        router.kill()


def test_keys_are_not_printed():
    done = subprocess.run([BIN / "pingti-router", "--workers=a:1", "--print-config"], capture_output=True, text=True,
                          check=True, env={**program_env(), "PINGTI_API_KEYS": "sk-very-secret"})
    assert "very-secret" not in done.stdout and "# api_keys: is set" in done.stdout


def test_new_keys_count_without_a_restart(tmp_path):
    keys = pathlib.Path(tmp_path / "keys")
    keys.write_text("alice:old\n")
    router = Router(tmp_path, "router", [], "--workers=127.0.0.1:1", f"--api-keys-file={keys}")

    def status(key):
        return subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Authorization: Bearer {key}",
                               f"{router.url}/v1/models"], capture_output=True, text=True, check=False).stdout

    try:
        wait_until(lambda: status("old") == "200", 20, "the first key counts")
        assert status("new") == "401"
        keys.write_text("")  # nobody is let in by a file that is written just now
        wait_until(lambda: "have changed and are not taken" in router.text(), 10, "an empty file is not taken")
        assert status("old") == "200" and status("") == "401"
        keys.write_text("alice:new\n")
        wait_until(lambda: status("new") == "200", 10, "the new key counts")
        assert status("old") == "401"
    finally:
        router.kill()
