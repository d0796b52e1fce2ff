"""One client cannot starve another: a real router and worker, and one that asks without end, by key or by address."""

import concurrent.futures
import http.client
import json
import threading
import time

import pytest

from conftest import MODEL_ID

KEYS = "greedy:key-g,modest:key-m"


def ask(cluster, key, source="127.0.0.1", **fields):
    """HTTP status and seconds of one completion, asked from an address of this machine."""
    body = {"model": MODEL_ID, "prompt": "Once upon a time", "max_tokens": 8, "ignore_eos": True, **fields}
    start = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", cluster.router.http_port, 60, source_address=(source, 0))
    try:
        connection.request("POST", "/v1/completions", json.dumps(body),
                           {"Content-Type": "application/json", "Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        json.loads(answer.read())
        return answer.status, time.monotonic() - start
    finally:
        connection.close()


@pytest.mark.parametrize("router_args,greedy_one,modest_one", [
    (("--api-keys", KEYS), {"key": "key-g"}, {"key": "key-m"}),
    ((), {"key": "", "source": "127.0.0.2"}, {"key": "", "source": "127.0.0.3"}),
], ids=["keys", "addresses"])
def test_who_asks_without_end_leaves_another_its_turns(own_cluster, router_args, greedy_one, modest_one):
    cluster = own_cluster(num_workers=1, worker_args=("--max-batch-size", 2),
                          router_args=(*router_args, "--max-queued-sequences", 12))
    assert ask(cluster, **modest_one)[0] == 200
    alone = max(ask(cluster, **modest_one)[1] for _ in range(3))
    done = threading.Event()
    greedy = []

    def go_on():
        while not done.is_set():
            status, _ = ask(cluster, **greedy_one, n=4)
            greedy.append(status)
            if status == 429:
                done.wait(0.05)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(go_on) for _ in range(16)]
        while 429 not in greedy and not all(client.done() for client in clients):
            done.wait(0.05)
        modest = [ask(cluster, **modest_one) for _ in range(10)]
        done.set()
    for client in clients:
        client.result()
    assert [status for status, _ in modest] == [200] * 10
    assert set(greedy) == {200, 429}
    # It waits for the two that run and its own turn, never for the twelve that wait.
    assert sorted(seconds for _, seconds in modest)[5] < 6 * alone + 0.5, (modest, alone)


def test_a_batch_of_many_samples_counts_as_many(own_cluster):
    cluster = own_cluster(num_workers=1, router_args=("--api-keys", KEYS, "--max-concurrent-per-key", 64))
    status, _ = ask(cluster, "key-g", prompt=["a", "b", "c"], n=32, max_tokens=1)
    assert status == 400
    status, _ = ask(cluster, "key-g", prompt=["a", "b"], n=4, max_tokens=1)
    assert status == 200


def test_priorities_have_a_ceiling(own_cluster, tmp_path):
    keys = tmp_path / "keys.txt"
    keys.write_text("greedy:key-g\nmodest:key-m max_priority=5\n")
    cluster = own_cluster(num_workers=1, router_args=("--api-keys-file", keys, "--max-priority", 0))
    assert ask(cluster, "key-g", priority=1)[0] == 400
    assert ask(cluster, "key-g", priority=0)[0] == 200
    assert ask(cluster, "key-m", priority=5)[0] == 200
