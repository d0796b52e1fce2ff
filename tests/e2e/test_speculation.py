"""Proposed tokens with real processes: answers stay the same, and text that repeats is checked in fewer steps."""

import concurrent.futures
import re

import pytest

from conftest import MODEL_ID, http_get

LIST = "\n".join(f"{i}. The quick brown fox number {i} jumps over the lazy dog." for i in range(1, 7))
PROMPTS = [f"Repeat this list word for word:\n{LIST}",
           "Write a short story about a lighthouse.",
           f"Copy the last line of this list five times:\n{LIST}"]


def counted(worker, name):
    text = http_get(f"http://127.0.0.1:{worker.admin_port}/metrics")[1]
    return float(re.search(rf"^{name} (\S+)", text, re.MULTILINE)[1])


@pytest.fixture
def worker_cluster(own_cluster):
    return own_cluster(num_workers=1, worker_args=("--speculation", "ngram"))


def test_an_answer_is_the_same_with_and_without(worker_cluster):
    worker, client = worker_cluster.workers[0], worker_cluster.router.client()

    def ask(case):
        prompt, temperature, speculation = case
        return client.chat.completions.create(
            model=MODEL_ID, messages=[{"role": "user", "content": prompt}], max_tokens=96,
            temperature=temperature, seed=7, logprobs=True,
            extra_body={"speculation": speculation}).choices[0]

    cases = [(prompt, temperature) for prompt in PROMPTS for temperature in (0, 0.7)]
    plain = [ask((*case, False)) for case in cases]
    assert counted(worker, "pingti_worker_drafts_total") == 0
    steps = counted(worker, "pingti_worker_steps_total")
    alone = [ask((*case, True)) for case in cases]
    assert counted(worker, "pingti_worker_drafts_accepted_total") >= 50
    assert counted(worker, "pingti_worker_steps_total") < 1.9 * steps
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        together = list(pool.map(ask, [(*case, True) for case in cases]))
    for answers in (alone, together):
        for expected, answer in zip(plain, answers):
            assert answer.message.content == expected.message.content
            assert answer.finish_reason == expected.finish_reason
            assert [t.token for t in answer.logprobs.content] == [t.token for t in expected.logprobs.content]
