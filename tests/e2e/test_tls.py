"""TLS on every port that carries requests: clients to the router, the router to its workers."""

import socket
import ssl
import subprocess

import grpc
import openai
import pytest

from conftest import BIN, Cluster, Router, Worker, http_get, program_env, wait_until
from test_openai_client import PROMPTS, ask, streamed


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


class Authority:
    """A certificate authority in a folder, and what it signs."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.ca = folder / "ca.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", folder / "ca.key", "-out", self.ca, "-days", 1, "-subj", "/CN=test-ca",
                "-addext", "basicConstraints=critical,CA:TRUE")

    def sign(self, name, alt_names="DNS:localhost,IP:127.0.0.1"):
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alt_names}\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                "-out", request, "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.folder / "ca.key",
                "-CAcreateserial", "-out", cert, "-days", 1, "-extfile", extensions)
        return cert, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


class TlsCluster(Cluster):
    """TLS between clients and router, and mutual TLS between router and worker."""

    def __init__(self, folder, authority):
        server, worker, client = (authority.sign(n) for n in ("router", "worker", "router-client"))
        self.cert, self.key = server
        self.workers = [Worker(folder, "worker", "--tls-cert-file", worker[0], "--tls-key-file", worker[1],
                               "--tls-client-ca-file", authority.ca)]
        self.router = Router(folder, "router", self.workers, "--tls-cert-file", self.cert,
                             "--tls-key-file", self.key, "--worker-tls=true",
                             "--worker-tls-ca-file", authority.ca,
                             "--worker-tls-cert-file", client[0], "--worker-tls-key-file", client[1])
        self.router.url = f"https://localhost:{self.router.http_port}"


@pytest.fixture(scope="module")
def tls_cluster(tmp_path_factory, authority):
    cluster = TlsCluster(tmp_path_factory.mktemp("tls-cluster"), authority)
    try:
        yield cluster.wait_ready()
    finally:
        cluster.close()


@pytest.fixture
def tls_client(tls_cluster, authority):
    context = ssl.create_default_context(cafile=authority.ca)
    return tls_cluster.router.client(http_client=openai.DefaultHttpx2Client(verify=context))


def test_the_openai_client_works_over_https(tls_client):
    whole = ask(tls_client, PROMPTS[0])
    assert whole.choices[0].message.content
    assert streamed(tls_client, PROMPTS[0])[0] == whole.choices[0].message.content


def test_a_client_that_does_not_know_the_authority_refuses(tls_cluster):
    with pytest.raises(openai.APIConnectionError):
        ask(tls_cluster.router.client(), PROMPTS[0])


def test_a_plain_client_is_told_what_the_port_speaks(tls_cluster):
    status, body = http_get(f"http://127.0.0.1:{tls_cluster.router.http_port}/v1/models")
    assert status == 400 and "https" in body


def test_grpc_speaks_tls_on_its_port(tls_cluster, authority):
    address = f"localhost:{tls_cluster.router.grpc_port}"
    credentials = grpc.ssl_channel_credentials(authority.ca.read_bytes())
    with grpc.secure_channel(address, credentials) as channel:
        grpc.channel_ready_future(channel).result(timeout=10)
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(timeout=1)


def shown_certificate(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        with context.wrap_socket(raw, server_hostname="localhost") as connection:
            return connection.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_taken_without_a_restart(tls_cluster, authority, tls_client):
    ports = [tls_cluster.router.http_port, tls_cluster.router.grpc_port]
    before = [shown_certificate(port) for port in ports]
    authority.sign("router")  # the same files
    for port, old in zip(ports, before):
        wait_until(lambda: shown_certificate(port) != old, 20, f"port {port} shows the new certificate")
    assert ask(tls_client, PROMPTS[0]).choices[0].message.content


def test_a_worker_turns_away_a_router_without_its_certificate(tls_cluster, authority, tmp_path):
    router = Router(tmp_path, "stranger", tls_cluster.workers, "--worker-tls=true",
                    "--worker-tls-ca-file", authority.ca, "--log-format=text")
    try:
        wait_until(lambda: "worker lost" in router.text(), 10, "the worker turned the router away")
        assert http_get(f"http://127.0.0.1:{router.admin_port}/readyz")[0] == 503
    finally:
        router.kill()


def test_a_worker_serves_routers_of_the_expected_names_alone(authority, tmp_path):
    cert, key = authority.sign("worker")
    worker = Worker(tmp_path, "worker", "--tls-cert-file", cert, "--tls-key-file", key, "--tls-client-ca-file",
                    authority.ca, "--tls-client-names=router.example,other.example")
    args = ["--worker-tls=true", "--worker-tls-ca-file", authority.ca, "--log-format=text"]
    routers = {}
    for name in ("router.example", "someone.example"):
        own = authority.sign(name, f"DNS:{name}")
        routers[name] = Router(tmp_path, name, [worker], *args, "--worker-tls-cert-file", own[0],
                               "--worker-tls-key-file", own[1])
    try:
        wait_until(worker.is_ready, 60, "worker ready")
        wait_until(routers["router.example"].is_ready, 10, "the router of the expected name is served")
        wait_until(lambda: "worker lost" in routers["someone.example"].text(), 10, "the other one is turned away")
        assert not routers["someone.example"].is_ready()
    finally:
        for process in (*routers.values(), worker):
            process.kill()


def test_a_worker_with_the_wrong_name_is_not_trusted(authority, tmp_path):
    cert, key = authority.sign("elsewhere", "DNS:worker.example")
    worker = Worker(tmp_path, "worker", "--tls-cert-file", cert, "--tls-key-file", key)
    args = ["--worker-tls=true", "--worker-tls-ca-file", authority.ca]
    doubting = Router(tmp_path, "doubting", [worker], *args)
    knowing = Router(tmp_path, "knowing", [worker], *args, "--worker-tls-server-name=worker.example")
    try:
        wait_until(worker.is_ready, 60, "worker ready")
        wait_until(knowing.is_ready, 10, "the router that knows the name is ready")
        assert not doubting.is_ready()
    finally:
        for process in (doubting, knowing, worker):
            process.kill()


@pytest.mark.parametrize("make_args, named", [
    (lambda a: ["--tls-cert-file=/nowhere.pem", f"--tls-key-file={a.sign('x')[1]}"], "/nowhere.pem"),
    (lambda a: [f"--tls-cert-file={a.sign('x')[0]}"], "without a key"),
    (lambda a: [f"--tls-cert-file={a.sign('x')[0]}", f"--tls-key-file={a.sign('y')[1]}"], "does not belong"),
    (lambda a: ["--worker-tls-ca-file=/x.pem"], "worker_tls is false"),
    (lambda a: ["--worker-tls=true", "--worker-tls-ca-file=/nowhere.pem"], "/nowhere.pem"),
])
def test_bad_files_stop_the_router_at_its_start(authority, make_args, named):
    result = subprocess.run([BIN / "pingti-router", "--workers=127.0.0.1:1", "--http-port=0",
                             "--grpc-port=0", "--admin-port=0", *make_args(authority)],
                            capture_output=True, text=True, timeout=10, check=False, env=program_env())
    assert result.returncode == 1
    assert named in result.stderr
