"""Beams and best_of: a router and workers with the real model, against transformers' answers, and while
workers die. What may stand beside them field by field: tests/router/api/beams_test.cc."""

import concurrent.futures
import json

import pytest

from conftest import MODEL_ID, ROOT, Cluster
from test_structured_output import kill_the_busy_worker

GOLDEN = json.loads((ROOT / "tests/golden/beam/smollm2_beams.json").read_text())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    # transformers computes in float32.
    cluster = Cluster(tmp_path_factory.mktemp("beams"), worker_args=("--dtype", "f32")).wait_ready()
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def client(cluster):
    return cluster.router.client()


def metric(cluster, name):
    (line,) = [line for line in cluster.router.metrics().splitlines() if line.startswith(name + " ")]
    return float(line.split()[1])


def search(client, case, **more):
    body = {"num_beams": GOLDEN["num_beams"], "length_penalty": case["length_penalty"],
            "early_stopping": case["early_stopping"]}
    return client.chat.completions.create(model=MODEL_ID, messages=[{"role": "user", "content": case["prompt"]}],
                                          max_tokens=case["max_tokens"], n=GOLDEN["num_beams"],
                                          extra_body=body, **more)


def test_searches_give_what_transformers_gives(client):
    """All at once, so that they share batches."""
    assert len(GOLDEN["cases"]) >= 3
    with concurrent.futures.ThreadPoolExecutor(len(GOLDEN["cases"])) as pool:
        answers = list(pool.map(lambda case: search(client, case), GOLDEN["cases"]))
    for case, answer in zip(GOLDEN["cases"], answers):
        assert [choice.message.content for choice in answer.choices] == case["texts"], case
        assert [choice.index for choice in answer.choices] == list(range(GOLDEN["num_beams"]))
        assert answer.usage.completion_tokens == case["tokens"]


def test_a_stream_brings_the_same_answers(client):
    case = GOLDEN["cases"][0]
    texts = [""] * GOLDEN["num_beams"]
    for chunk in search(client, case, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == case["texts"]


def test_the_older_words_of_vllm_ask_for_the_same(client):
    prompt = "The capital of France is"
    fields = {"use_beam_search": True, "early_stopping": True}
    old = client.completions.create(model=MODEL_ID, prompt=prompt, max_tokens=6, n=2, best_of=3, extra_body=fields)
    new = client.completions.create(model=MODEL_ID, prompt=prompt, max_tokens=6, n=2,
                                    extra_body={"num_beams": 3, "early_stopping": True})
    assert [c.text for c in old.choices] == [c.text for c in new.choices]


def test_the_likeliest_of_many_answers_is_returned(client):
    fields = {"model": MODEL_ID, "prompt": "The color of the sky is", "max_tokens": 6, "seed": 4, "logprobs": 0}
    drawn = client.completions.create(n=4, **fields)

    def mean(choice):
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    best = client.completions.create(n=2, best_of=4, **fields)
    expected = sorted(drawn.choices, key=mean, reverse=True)[:2]
    assert [c.text for c in best.choices] == [c.text for c in expected]
    assert best.usage.completion_tokens == drawn.usage.completion_tokens


def test_a_search_begins_again_when_its_worker_is_killed(cluster, client):
    """Last: one worker is gone behind it."""
    fields = {"model": MODEL_ID, "prompt": "Once upon a time", "max_tokens": 24, "n": 2,
              "extra_body": {"num_beams": 3, "ignore_eos": True}}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(client.completions.create, **fields)
        kill_the_busy_worker(cluster)
        answer = future.result()
    assert metric(cluster, "pingti_router_restarted_searches_total") == 1
    assert metric(cluster, "pingti_router_resumed_sequences_total") == 0
    again = client.completions.create(**fields)
    assert [c.text for c in answer.choices] == [c.text for c in again.choices]
    assert answer.usage.completion_tokens == 48
