"""Proposed tokens with real processes: answers stay the same, and text that repeats is checked in fewer steps."""

import concurrent.futures
import re

from conftest import MODEL_ID, Worker, http_get, model_path, wait_until

LIST = "\n".join(f"{i}. The quick brown fox number {i} jumps over the lazy dog." for i in range(1, 7))
PROMPTS = [f"Repeat this list word for word:\n{LIST}",
           "Write a short story about a lighthouse.",
           f"Copy the last line of this list five times:\n{LIST}"]


def counted(worker, name):
    text = http_get(f"http://127.0.0.1:{worker.admin_port}/metrics")[1]
    return float(re.search(rf"^{name} (\S+)", text, re.MULTILINE)[1])


def ask_with(client, case):
    prompt, temperature, speculation = case
    return client.chat.completions.create(
        model=MODEL_ID, messages=[{"role": "user", "content": prompt}], max_tokens=64,
        temperature=temperature, seed=7, logprobs=True,
        extra_body={"speculation": speculation}).choices[0]


def expect_same(answers, plain):
    for expected, answer in zip(plain, answers):
        assert answer.message.content == expected.message.content
        assert answer.finish_reason == expected.finish_reason
        assert [t.token for t in answer.logprobs.content] == [t.token for t in expected.logprobs.content]


def test_prompt_lookup_changes_no_answer_and_saves_steps(own_cluster):
    cluster = own_cluster(num_workers=1, worker_args=("--speculation", "ngram"))
    worker, client = cluster.workers[0], cluster.router.client()
    cases = [(PROMPTS[0], 0), (PROMPTS[1], 0.7), (PROMPTS[2], 0.7)]
    plain = [ask_with(client, (*case, False)) for case in cases]
    assert counted(worker, "pingti_worker_drafts_total") == 0
    steps = counted(worker, "pingti_worker_steps_total")
    expect_same([ask_with(client, (*case, True)) for case in cases], plain)
    assert counted(worker, "pingti_worker_drafts_accepted_total") >= 20
    assert counted(worker, "pingti_worker_steps_total") < 1.9 * steps
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        expect_same(list(pool.map(lambda case: ask_with(client, (*case, True)), cases)), plain)


def test_drafts_of_the_same_model_stand(own_cluster):
    cluster = own_cluster(num_workers=1, worker_args=(
        "--speculation", "draft_model", "--draft-model", model_path(), "--draft-kv-memory", "64MiB"))
    worker, client = cluster.workers[0], cluster.router.client()
    cases = [(PROMPTS[1], 0.7)]
    plain = [ask_with(client, (*case, False)) for case in cases]
    expect_same([ask_with(client, (*case, True)) for case in cases], plain)
    checked = counted(worker, "pingti_worker_drafts_total")
    assert counted(worker, "pingti_worker_drafts_accepted_total") > 0.9 * checked > 0
    assert counted(worker, "pingti_worker_draft_seconds_total") > 0


def test_a_draft_model_that_is_not_there_is_named(tmp_path):
    worker = Worker(tmp_path, "worker", "--speculation", "draft_model", "--draft-model", "/no/such/model")
    wait_until(lambda: worker.popen.poll() is not None, 30, "the worker gives up")
    assert worker.popen.returncode != 0
    assert "/no/such/model" in worker.text()
