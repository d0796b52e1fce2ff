"""Beams and best_of: a router and workers with the real model, against transformers' answers, and while
workers die. What may stand beside them field by field: tests/router/api/beams_test.cc."""

import concurrent.futures
import json
import re

import openai
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


def test_penalties_biases_and_stops_give_what_transformers_gives_with_the_models_own_logprobs(client):
    def ask(case):
        return client.chat.completions.create(
            model=MODEL_ID, messages=[{"role": "user", "content": GOLDEN["cases"][0]["prompt"]}], n=4,
            max_tokens=case["max_tokens"], stop=case["stop"], logit_bias=case["logit_bias"], logprobs=True,
            top_logprobs=2, extra_body={"num_beams": 4, "repetition_penalty": case["repetition_penalty"]})

    assert len(GOLDEN["adjusted"]) >= 3
    with concurrent.futures.ThreadPoolExecutor(len(GOLDEN["adjusted"])) as pool:
        answers = list(pool.map(ask, GOLDEN["adjusted"]))
    for case, answer in zip(GOLDEN["adjusted"], answers):
        assert [choice.message.content for choice in answer.choices] == case["texts"], case
        entries = answer.choices[0].logprobs.content
        # Tokens whose text was held back or is not shown have no entry.
        assert 0 < len(entries) <= len(case["logprobs"])
        assert [entry.logprob for entry in entries] == pytest.approx(case["logprobs"][:len(entries)], abs=2e-3)
        assert all(len(entry.top_logprobs) >= 2 for entry in entries)
        for choice in answer.choices:
            ended = choice.finish_reason == "stop"
            assert ended or choice.finish_reason == "length"


def test_beams_keep_to_a_form(client):
    """And several answers keep to it, the likeliest first."""
    messages = [{"role": "user", "content": "How many legs has a spider? Answer as JSON."}]
    schema = {"type": "object", "properties": {"legs": {"type": "integer", "minimum": 0, "maximum": 99}},
              "required": ["legs"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "legs", "schema": schema}}
    answer = client.chat.completions.create(model=MODEL_ID, messages=messages, max_tokens=24, n=3, logprobs=True,
                                            response_format=form, extra_body={"num_beams": 3})
    legs = [json.loads(choice.message.content)["legs"] for choice in answer.choices]
    assert all(0 <= number <= 99 for number in legs)
    sums = [sum(entry.logprob for entry in choice.logprobs.content) for choice in answer.choices]
    assert len(set(choice.message.content for choice in answer.choices)) > 1 and len(set(sums)) > 1
    again = client.completions.create(model=MODEL_ID, prompt="The year was", max_tokens=12, n=2,
                                      extra_body={"num_beams": 4, "guided_regex": " 1[0-9]{3}, a [a-z]+"})
    assert all(re.match(" 1[0-9]{3}, a [a-z]+", choice.text) for choice in again.choices)


@pytest.mark.parametrize("fields, param", [
    ({"temperature": 0.5}, "temperature"), ({"max_tokens": 0, "echo": True}, "max_tokens"),
    ({"n": 4}, "n"), ({"stop": ["a"] * 17}, "stop"), ({"extra_body": {"num_beams": 3, "guided_regex": "a("}}, None),
    ({"extra_body": {"num_beams": 3, "stop_token_ids": list(range(40))}}, None)])
def test_what_a_search_cannot_do_is_refused_by_name_and_hurts_nobody(client, fields, param):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(**{"model": MODEL_ID, "prompt": "Hello", "max_tokens": 4,
                                     "extra_body": {"num_beams": 3}, **fields})
    assert param is None or error.value.param == param
    assert error.value.body["message"]


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
    fields = {"model": MODEL_ID, "prompt": "Once upon a time", "max_tokens": 24, "n": 2, "logprobs": 1,
              "frequency_penalty": 0.5, "extra_body": {"num_beams": 3, "guided_regex": "[a-z ,.]{99,}"}}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(client.completions.create, **fields)
        kill_the_busy_worker(cluster)
        answer = future.result()
    assert metric(cluster, "pingti_router_restarted_searches_total") == 1
    assert metric(cluster, "pingti_router_resumed_sequences_total") == 0
    again = client.completions.create(**fields)
    assert [c.text for c in answer.choices] == [c.text for c in again.choices]
    assert [c.logprobs.token_logprobs for c in answer.choices] == [c.logprobs.token_logprobs for c in again.choices]
    assert answer.usage.completion_tokens == 48
