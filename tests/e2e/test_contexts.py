"""Two workers of one build with different contexts: both serve, and answers go from one to the other."""

import concurrent.futures
import re

import pytest

from conftest import Router, Worker, http_get, wait_until
from test_openai_client import PROMPTS, ask, streamed

SMALL, LARGE = 192, 384


class Contexts:
    """A router over a worker with a small context and one with a large one."""

    def __init__(self, folder):
        self.small = Worker(folder, "small", "--max-context-tokens", SMALL)
        self.large = Worker(folder, "large", "--max-context-tokens", LARGE)
        self.router = Router(folder, "router", [self.small, self.large])
        for process in [self.small, self.large, self.router]:
            wait_until(process.is_ready, 60, f"ready\n{process.text()[-2000:]}")
        self.client = self.router.client()

    def given(self, worker):
        """Sequences that the router sent to it."""
        counted = re.search(rf'pingti_router_worker_dispatch_total\S*worker="{worker.address}"\S* (\d+)', self.router.metrics())
        return int(counted[1]) if counted else 0

    def close(self):
        for process in [self.router, self.small, self.large]:
            process.kill()


@pytest.fixture
def contexts(tmp_path):
    started = Contexts(tmp_path)
    yield started
    started.close()


def running(worker):
    text = http_get(f"http://127.0.0.1:{worker.admin_port}/metrics")[1]
    return re.search(r"^pingti_worker_running_sequences\S* [1-9]", text, re.MULTILINE)


def test_both_get_work_that_fits(contexts):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda p: ask(contexts.client, p, max_tokens=16), PROMPTS * 2))
    assert all(answer.choices[0].message.content for answer in answers)
    assert contexts.given(contexts.small) > 0 and contexts.given(contexts.large) > 0
    before = contexts.given(contexts.small)
    for _ in range(3):
        answer = ask(contexts.client, PROMPTS[0], max_tokens=SMALL, extra_body={"ignore_eos": True})
        assert answer.usage.completion_tokens == SMALL
    assert contexts.given(contexts.small) == before, "it has no room for these"


def test_an_answer_outgrows_the_small_context(contexts):
    # No max_tokens: up to the context's end, wherever it begins.
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda p: ask(contexts.client, p, max_tokens=None, extra_body={"ignore_eos": True}), PROMPTS[:4]))
    for answer in answers:
        assert answer.usage.total_tokens == LARGE and answer.choices[0].finish_reason == "length"
    assert contexts.given(contexts.small) > 0
    assert re.search(r"^pingti_router_resumed_sequences_total\S* [1-9]", contexts.router.metrics(), re.MULTILINE)
    contexts.small.kill()
    for prompt, answer in zip(PROMPTS[:4], answers):
        alone = ask(contexts.client, prompt, max_tokens=None, extra_body={"ignore_eos": True})
        assert alone.choices[0].message.content == answer.choices[0].message.content


@pytest.mark.parametrize("killed,left", [("small", "large"), ("large", "small")])
def test_a_killed_worker_hands_over_to_one_with_another_context(contexts, killed, left):
    long = {"max_tokens": 96, "extra_body": {"ignore_eos": True}}
    alone = [ask(contexts.client, p, **long).choices[0].message.content for p in PROMPTS[:6]]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(streamed, contexts.client, p, **long) for p in PROMPTS[:6]]
        wait_until(lambda: running(getattr(contexts, killed)), 20, "it has sequences")
        getattr(contexts, killed).kill()
        together = [answer.result()[0] for answer in answers]
    assert together == alone
    assert re.search(r"^pingti_router_resumed_sequences_total\S* [1-9]", contexts.router.metrics(), re.MULTILINE)
