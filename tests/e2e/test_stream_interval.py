"""stream_interval: workers report several steps' tokens at once; answers stay what they are."""

import concurrent.futures
import re
import signal

import pytest

from conftest import Router, http_get, wait_until
from test_openai_client import PROMPTS, ask, streamed

LONG = {"max_tokens": 160, "extra_body": {"ignore_eos": True}}


@pytest.fixture
def two_routers(own_cluster, tmp_path):
    """Clients of two routers over the same workers: every token an event, and an interval."""
    cluster = own_cluster()
    slow = Router(tmp_path, "slow-router", cluster.workers, "--stream-interval", "200ms")
    try:
        wait_until(slow.is_ready, 30, "router ready")
        yield cluster.router.client(), slow.client()
    finally:
        slow.kill()


def scores(chunks):
    choices = [choice for chunk in chunks for choice in chunk.choices]
    return [(entry.token, entry.logprob) for choice in choices if choice.logprobs
            for entry in choice.logprobs.content]


def test_few_events_bring_the_same_answers(two_routers):
    options = {**LONG, "logprobs": True, "top_logprobs": 2,
               "stream_options": {"include_usage": True}}
    text, chunks = streamed(two_routers[0], PROMPTS[4], **options)
    slow_text, slow_chunks = streamed(two_routers[1], PROMPTS[4], **options)
    assert slow_text == text
    assert scores(slow_chunks) == scores(chunks) and len(scores(chunks)) == 160
    assert slow_chunks[-1].usage.completion_tokens == chunks[-1].usage.completion_tokens == 160
    assert len(slow_chunks) < len(chunks) / 2


@pytest.mark.parametrize("options", [
    {"stop": ["the", "."]}, {"n": 3, "temperature": 1.0, "seed": 5},
    {"max_tokens": 1}, {"max_tokens": 2},
    {"extra_body": {"num_beams": 3, "n": 3}},
    {"extra_body": {"best_of": 3}, "temperature": 1.0, "seed": 6},
    {"extra_body": {"speculation": False}},
    {"response_format": {"type": "json_object"}, "max_tokens": 64},
], ids=str)
def test_whole_answers_are_the_same(two_routers, options):
    answers = [ask(client, PROMPTS[2], **options) for client in two_routers]
    told = [[(c.message.content, c.finish_reason) for c in answer.choices] for answer in answers]
    assert told[0] == told[1]
    assert answers[0].usage.completion_tokens == answers[1].usage.completion_tokens


def test_a_stop_string_ends_a_stream_where_it_did(two_routers):
    texts = [streamed(client, PROMPTS[4], stop=["and"])[0] for client in two_routers]
    assert texts[0] == texts[1] and "and" not in texts[0]


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_freezes_takes_nothing_with_it(own_cluster, sig):
    # Longer silences than the router lets pass: load reports come in between.
    cluster = own_cluster(router_args=("--stream-interval", "1s", "--stall-timeout", "900ms"))
    client = cluster.router.client()
    long = {"max_tokens": 256, "extra_body": {"ignore_eos": True}}
    alone = [ask(client, prompt, **long).choices[0].message.content for prompt in PROMPTS[:8]]
    assert "the worker sent nothing" not in cluster.router.text()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(streamed, client, prompt, **long) for prompt in PROMPTS[:4]]
        answers += [pool.submit(ask, client, prompt, **long) for prompt in PROMPTS[4:8]]
        busy = f"http://127.0.0.1:{cluster.workers[0].admin_port}/metrics"
        running = re.compile(r"^pingti_worker_running_sequences\S* [1-9]", re.MULTILINE)
        wait_until(lambda: running.search(http_get(busy)[1]), 10, "worker 0 has running sequences")
        cluster.workers[0].popen.send_signal(sig)
        together = [answer.result() for answer in answers]
    texts = [answer[0] for answer in together[:4]]
    texts += [answer.choices[0].message.content for answer in together[4:]]
    assert texts == alone
    resumed = re.compile(r"^pingti_router_resumed_sequences_total\S* [1-9]", re.MULTILINE)
    assert resumed.search(cluster.router.metrics())
    assert ("the worker sent nothing" in cluster.router.text()) == (sig == signal.SIGSTOP)
