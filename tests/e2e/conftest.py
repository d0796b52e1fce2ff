"""Real processes on loopback: a router and workers, each ended by its own process id."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import openai
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "testing"))
from ports import free_ports  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("PINGTI_BIN", ROOT / "build/release/bin"))
MODEL_ID = "SmolLM2-135M-Instruct"

# A shell starts what runs in the background with SIGINT ignored, and children inherit that. With a
# handler here, they begin with the default: to end.
signal.signal(signal.SIGINT, signal.default_int_handler)


def model_path():
    path = os.environ.get("PINGTI_TEST_MODEL")
    assert path and os.path.exists(path), "PINGTI_TEST_MODEL must name the model file (make test sets it)"
    return path


def wait_until(condition, timeout_s, what):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def http_get(url, timeout_s=5):
    """Status and body, also of error answers; status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, urllib.error.URLError):
        return 0, ""


def program_env():
    """This process's environment without the tests' own PINGTI_ variables, which programs refuse."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PINGTI_")}


class Process:
    def __init__(self, log, program, *args):
        self.log = log
        self.command = [BIN / program, *map(str, args)]
        self.start("wb")

    def start(self, log_mode="ab"):
        """The same command, so the same ports; also to start again what has ended."""
        with open(self.log, log_mode) as sink:
            self.popen = subprocess.Popen(self.command, stdout=sink, stderr=sink, env=program_env())

    def text(self):
        return self.log.read_text(errors="replace")

    def stop(self, sig=signal.SIGTERM, timeout_s=20):
        """Sends `sig` if the process still runs; returns its exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(sig)
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise AssertionError(f"did not stop within {timeout_s} s:\n{self.text()[-2000:]}") from None

    def kill(self):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()


class Worker(Process):
    def __init__(self, folder, name, *args, model=None):
        self.port, self.admin_port = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        super().__init__(folder / f"{name}.log", "pingti-worker", "--model", model or model_path(), "--model-id", MODEL_ID,
                         "--port", self.port, "--admin-port", self.admin_port, "--threads", 1, *args)

    def is_ready(self):
        assert self.popen.poll() is None, f"the worker stopped:\n{self.text()[-2000:]}"
        return http_get(f"http://127.0.0.1:{self.admin_port}/readyz")[0] == 200


class Router(Process):
    def __init__(self, folder, name, workers, *args, source=""):
        """`source`: "dns:" has the workers' addresses asked for as names."""
        self.http_port, self.grpc_port, self.admin_port = free_ports(3)
        self.url = f"http://127.0.0.1:{self.http_port}"
        super().__init__(folder / f"{name}.log", "pingti-router", "--address", "127.0.0.1",
                         "--workers", ",".join(source + w.address for w in workers),
                         "--http-port", self.http_port, "--grpc-port", self.grpc_port,
                         "--admin-port", self.admin_port,
                         "--min-ready-workers", len(workers), *args)

    def is_ready(self):
        assert self.popen.poll() is None, f"the router stopped:\n{self.text()[-2000:]}"
        return http_get(f"http://127.0.0.1:{self.admin_port}/readyz")[0] == 200

    def client(self, **kwargs):
        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, timeout=120,
                             **kwargs)

    def metrics(self):
        return http_get(f"http://127.0.0.1:{self.admin_port}/metrics")[1]


class Cluster:
    """A router and its workers; workers can be killed and the rest looked at."""

    def __init__(self, folder, num_workers=2, router_args=(), worker_args=(), source=""):
        self.workers = [Worker(folder, f"worker-{i}", *worker_args) for i in range(num_workers)]
        self.router = Router(folder, "router", self.workers, *router_args, source=source)

    def wait_ready(self):
        for worker in self.workers:
            wait_until(worker.is_ready, 60, f"worker ready\n{worker.text()[-2000:]}")
        wait_until(self.router.is_ready, 30, f"router ready\n{self.router.text()[-2000:]}")
        return self

    def close(self):
        for process in [self.router, *self.workers]:
            process.kill()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Shared by the tests that leave it as they found it."""
    # With what is optional, so that all metrics are there.
    shared = Cluster(tmp_path_factory.mktemp("cluster"), source="dns:",
                     router_args=("--first-token-objectives", "default=60s"))
    try:
        yield shared.wait_ready()
    finally:
        shared.close()


@pytest.fixture
def own_cluster(tmp_path):
    """For tests that kill processes or need other settings: own_cluster(num_workers=..., ...)."""
    started = []

    def start(**kwargs):
        started.append(Cluster(tmp_path, **kwargs))
        return started[-1].wait_ready()

    yield start
    for one in started:
        one.close()


@pytest.fixture
def client(cluster):
    return cluster.router.client()
