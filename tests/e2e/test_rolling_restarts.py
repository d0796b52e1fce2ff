"""Every worker ends and starts again, one after the other, under long answers: no client notices."""

import concurrent.futures
import re
import signal
import threading

from conftest import http_get, wait_until
from test_openai_client import PROMPTS, streamed

LONG = {"max_tokens": 128, "extra_body": {"ignore_eos": True}}
STREAMS = 4


def total(router, name):
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)", router.metrics(), re.MULTILINE))


def test_rolling_restarts_fail_no_request(own_cluster):
    # Workers give what they have back almost at once, rather than end it in their half minute.
    cluster = own_cluster(num_workers=4, worker_args=("--drain-timeout", "100ms"))
    client = cluster.router.client()
    with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
        alone = list(pool.map(lambda prompt: streamed(client, prompt, **LONG)[0], PROMPTS[:STREAMS]))
        done = threading.Event()

        def go_on(index):
            answers = []
            while not done.is_set():
                answers.append(streamed(client, PROMPTS[index], **LONG)[0])
            return answers

        streams = [pool.submit(go_on, index) for index in range(STREAMS)]
        try:
            for worker in cluster.workers * 2:
                running = f"http://127.0.0.1:{worker.admin_port}/metrics"
                wait_until(lambda: re.search(r"^pingti_worker_running_sequences\S* [1-9]", http_get(running)[1],
                                             re.MULTILINE), 20, "the worker has an answer under way")
                assert worker.stop(signal.SIGTERM) == 0
                worker.start()
                wait_until(worker.is_ready, 20, "the worker is back")
        finally:
            done.set()
        answers = [stream.result() for stream in streams]
    for index, mine in enumerate(answers):
        assert mine and set(mine) == {alone[index]}, PROMPTS[index]
    assert total(cluster.router, "pingti_router_resumed_sequences_total") >= 8
