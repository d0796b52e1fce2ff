"""gRPC calls made to hold what others need: memory, turns, connections. The router stays small and others are served."""

import concurrent.futures
import time

import grpc
import pytest

from conftest import MODEL_ID, Cluster, wait_until
from http2_peer import Http2Peer
from test_grpc import chat_request, stubs  # noqa: F401: a fixture
from test_hostile_bytes import MAX_RESIDENT, peak_bytes

CHAT = "/pingti.v1.Inference/Chat"
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
GOOD_KEY = [("authorization", "Bearer good")]


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("locked"), 1, router_args=["--api-keys", "ann:good"])
    yield cluster.wait_ready()
    cluster.close()


@pytest.fixture
def ask(locked, stubs):  # noqa: F811
    """Asks a usual question over a connection of its own; the seconds that it took."""

    def ask_now():
        begin = time.monotonic()
        with grpc.insecure_channel(f"127.0.0.1:{locked.router.grpc_port}", options=OWN_CONNECTION) as channel:
            call = stubs[1].InferenceStub(channel).Chat(chat_request(stubs[0], max_tokens=4), timeout=60, metadata=GOOD_KEY)
            assert list(call)
        return time.monotonic() - begin

    return ask_now


def send_bytes(port, body, metadata=GOOD_KEY, compression=None):
    """The status of a chat whose message is `body`."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)]) as channel:
        try:
            list(channel.unary_stream(CHAT)(body, timeout=60, metadata=metadata, compression=compression))
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_messages_of_many_empty_parts_take_no_memory(locked, ask):
    before = peak_bytes(locked.router)
    body = b"\x12\0" * (4 << 20)  # an empty chat message each
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: send_bytes(locked.router.grpc_port, body), range(16)))
    assert set(codes) == {grpc.StatusCode.INVALID_ARGUMENT}
    # The bytes themselves, and nothing that was made of them.
    assert peak_bytes(locked.router) - before < 200 << 20
    ask()


def test_a_compressed_message_does_not_unfold(locked, ask):
    before = peak_bytes(locked.router)
    code = send_bytes(locked.router.grpc_port, bytes(400 << 20), compression=grpc.Compression.Gzip)
    assert code == grpc.StatusCode.UNIMPLEMENTED
    assert peak_bytes(locked.router) - before < 100 << 20
    ask()


def test_who_has_no_key_sends_no_message(locked, ask):
    peer = Http2Peer(locked.router.grpc_port)
    peer.call(1, CHAT, [("authorization", "Bearer bad")])
    wait_until(lambda: 1 in peer.closed, 20, "the call is refused")
    assert peer.data(1, bytes(1 << 20)) == 0
    peer.close()
    ask()


def test_messages_that_do_not_end_leave_others_their_turns(locked, ask):
    ask()
    usual = ask()
    peers = [Http2Peer(locked.router.grpc_port) for _ in range(20)]
    streams = range(1, 80, 2)
    for peer in peers:
        for stream in streams:
            peer.call(stream, CHAT, GOOD_KEY)
            peer.message_head(stream, 8 << 20)
    slowest, sent, piece = 0, 0, bytes(256 << 10)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        sent += sum(peer.data(stream, piece) for peer in peers for stream in streams if sent < 1 << 30)
        slowest = max(slowest, ask())
    # Each waits for at most a message that is cut off after a second, and the turns of twenty connections.
    assert slowest < 2 * usual + 8, (slowest, usual)
    assert peak_bytes(locked.router) < MAX_RESIDENT
    for peer in peers:
        peer.close()
    wait_until(lambda: ask() < 2 * usual + 2, 30, "all is as it was")


def test_connections_that_are_held_leave_the_http_port_its_own(tmp_path):
    cluster = Cluster(tmp_path, 1, router_args=["--grpc-max-connections", "20"])
    try:
        cluster.wait_ready()
        port = cluster.router.grpc_port
        held = [Http2Peer(port) for _ in range(60)]
        wait_until(lambda: sum(peer.ended for peer in held) == 40, 20, "those beyond the limit are closed")
        assert cluster.router.client().completions.create(model=MODEL_ID, prompt="hi", max_tokens=1).choices
        for peer in held:
            peer.close()

        def serves_again():
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=OWN_CONNECTION) as channel:
                try:
                    channel.unary_unary("/pingti.v1.Inference/ListModels")(b"", timeout=5)
                    return True
                except grpc.RpcError:
                    return False

        wait_until(serves_again, 20, "a connection is taken again")
    finally:
        cluster.close()
