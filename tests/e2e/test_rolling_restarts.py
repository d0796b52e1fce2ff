"""Every worker ends and starts again, one after the other, under long answers: no client notices."""

import concurrent.futures
import contextlib
import re
import signal
import threading

from conftest import http_get, wait_until
from test_openai_client import PROMPTS, streamed

LONG = {"max_tokens": 128, "extra_body": {"ignore_eos": True}}
STREAMS = 4


def total(router, name):
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)", router.metrics(), re.MULTILINE))


@contextlib.contextmanager
def endless_streams(client, count, fields):
    """Until the block ends, `count` clients ask for the same long answers again and again; each answer must be as it was
    before. Yields the lists that the answers go to."""
    answers = [[] for _ in range(count)]
    done = threading.Event()

    def go_on(index):
        while not done.is_set():
            answers[index].append(streamed(client, PROMPTS[index], **fields)[0])

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        alone = list(pool.map(lambda prompt: streamed(client, prompt, **fields)[0], PROMPTS[:count]))
        streams = [pool.submit(go_on, index) for index in range(count)]
        try:
            yield answers
        finally:
            done.set()
        for stream in streams:
            stream.result()
    for index, mine in enumerate(answers):
        assert mine and set(mine) == {alone[index]}, PROMPTS[index]


def test_rolling_restarts_fail_no_request(own_cluster):
    # Workers give what they have back almost at once, rather than end it in their half minute.
    cluster = own_cluster(num_workers=4, worker_args=("--drain-timeout", "100ms"))
    with endless_streams(cluster.router.client(), STREAMS, LONG):
        for worker in cluster.workers * 2:
            running = f"http://127.0.0.1:{worker.admin_port}/metrics"
            wait_until(lambda: re.search(r"^pingti_worker_running_sequences\S* [1-9]", http_get(running)[1],
                                         re.MULTILINE), 20, "the worker has an answer under way")
            assert worker.stop(signal.SIGTERM) == 0
            worker.start()
            wait_until(worker.is_ready, 20, "the worker is back")
    assert total(cluster.router, "pingti_router_resumed_sequences_total") >= 8
