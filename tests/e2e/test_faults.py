"""Killed, drained and interrupted processes: no request lost, no token twice, nothing left behind."""

import concurrent.futures
import re
import signal
import time

import openai
import pytest

from conftest import MODEL_ID, http_get, wait_until
from test_openai_client import PROMPTS, ask, streamed


def test_a_killed_worker_is_invisible_to_its_clients(own_cluster):
    cluster = own_cluster()
    client = cluster.router.client()
    long = {"max_tokens": 192, "extra_body": {"ignore_eos": True}}
    alone = [ask(client, p, **long).choices[0].message.content for p in PROMPTS[:8]]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(streamed, client, p, **long) for p in PROMPTS[:8]]
        busy = f"http://127.0.0.1:{cluster.workers[0].admin_port}/metrics"
        wait_until(lambda: re.search(r"^pingti_worker_running_sequences\S* [1-9]", http_get(busy)[1],
                                     re.MULTILINE), 10, "worker 0 has running sequences")
        cluster.workers[0].kill()
        together = [a.result()[0] for a in answers]
    assert together == alone
    assert re.search(r"^pingti_router_resumed_sequences_total\S* [1-9]", cluster.router.metrics(),
                     re.MULTILINE), "at least one sequence was resumed"
    # The dead worker is left out from here on.
    assert ask(client, PROMPTS[0], **long).choices[0].message.content == alone[0]


def test_without_workers_the_answer_is_503_until_one_returns(own_cluster):
    cluster = own_cluster(num_workers=1)
    client = cluster.router.client()
    cluster.workers[0].kill()
    admin = f"http://127.0.0.1:{cluster.router.admin_port}"
    wait_until(lambda: http_get(admin + "/readyz")[0] == 503, 60, "router not ready")
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, PROMPTS[0])
    assert caught.value.status_code == 503
    assert http_get(admin + "/healthz")[0] == 200


def test_sigterm_lets_a_worker_finish_what_it_has(own_cluster):
    cluster = own_cluster()
    client = cluster.router.client()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(streamed, client, p, max_tokens=48) for p in PROMPTS[:4]]
        time.sleep(0.3)
        assert cluster.workers[0].stop(signal.SIGTERM) == 0
        texts = [a.result()[0] for a in answers]
    assert texts == [ask(client, p).choices[0].message.content for p in PROMPTS[:4]]


def test_sigterm_lets_the_router_finish_its_streams(own_cluster):
    cluster = own_cluster(num_workers=1)
    client = cluster.router.client()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        stream = ask(client, PROMPTS[4], stream=True, max_tokens=64)
        first = next(iter(stream))
        rest = pool.submit(list, stream)
        assert cluster.router.stop(signal.SIGTERM) == 0
        chunks = [first, *rest.result()]
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_a_client_that_leaves_frees_its_sequence(own_cluster):
    cluster = own_cluster(num_workers=1)
    client = cluster.router.client()
    stream = ask(client, "Write a very long story.", stream=True, max_tokens=2000)
    next(iter(stream))
    stream.close()
    metrics = f"http://127.0.0.1:{cluster.workers[0].admin_port}/metrics"
    wait_until(lambda: re.search(r"^pingti_worker_running_sequences\S* 0", http_get(metrics)[1],
                                 re.MULTILINE), 5, "the sequence is cancelled at the worker")


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_idle_processes_cleanly(own_cluster, sig):
    cluster = own_cluster(num_workers=1)
    assert cluster.router.stop(sig) == 0
    assert cluster.workers[0].stop(sig) == 0
