"""The official openai client against real processes and the real model."""

import concurrent.futures
import json
import urllib.request

import openai
import pytest

from conftest import MODEL_ID, http_get

PROMPTS = [
    "What is the capital of France?", "Name three primary colours.", "Write a haiku about rain.",
    "What is 7 times 8?", "Explain gravity to a child.", "List four fruits.", "Who wrote Hamlet?",
    "What does a router do?", "Give me a word that rhymes with cat.", "What is photosynthesis?",
    "Count from one to ten.", "Translate 'good morning' into French.", "What is the largest planet?",
    "Tell me a short joke.", "How do bees make honey?", "What day comes after Monday?",
]


def ask(client, prompt, **kwargs):
    kwargs = {"max_tokens": 48, "temperature": 0, **kwargs}
    return client.chat.completions.create(
        model=MODEL_ID, messages=[{"role": "user", "content": prompt}], **kwargs)


def streamed(client, prompt, **kwargs):
    chunks = list(ask(client, prompt, stream=True, **kwargs))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    return text, chunks


def test_the_model_answers_sensibly(client):
    answer = ask(client, "What is the capital of France, and what is it known for?")
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].message.role == "assistant"
    assert answer.model == MODEL_ID
    usage = answer.usage
    assert usage.prompt_tokens > 10 and usage.completion_tokens > 3
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_streamed_answer_equals_the_whole_one(client):
    whole = ask(client, PROMPTS[1])
    text, chunks = streamed(client, PROMPTS[1], stream_options={"include_usage": True})
    assert text == whole.choices[0].message.content
    assert len(chunks) > 5, "the answer should come in pieces"
    assert chunks[0].choices[0].delta.role == "assistant"
    finish = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert finish == [whole.choices[0].finish_reason]
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert not chunks[-1].choices


def test_sixteen_clients_get_what_each_gets_alone(client):
    alone = [ask(client, prompt).choices[0].message.content for prompt in PROMPTS]
    with concurrent.futures.ThreadPoolExecutor(len(PROMPTS)) as pool:
        together = list(pool.map(lambda p: streamed(client, p)[0], PROMPTS))
    assert together == alone


def test_a_seed_repeats_a_sampled_answer(client):
    first, second, other = (ask(client, PROMPTS[2], temperature=1.0, seed=seed).choices[0].message.content
                            for seed in (7, 7, 8))
    assert first == second
    assert first != other


def test_n_gives_different_choices(client):
    answer = ask(client, PROMPTS[2], temperature=1.0, seed=3, n=3)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert len({c.message.content for c in answer.choices}) == 3


def test_max_tokens_and_stop_end_an_answer(client):
    short = ask(client, PROMPTS[10], max_tokens=5)
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 5
    whole = ask(client, PROMPTS[10]).choices[0].message.content
    stop = whole[20:24]
    stopped = ask(client, PROMPTS[10], stop=[stop]).choices[0]
    assert stopped.finish_reason == "stop"
    assert stopped.message.content == whole[:whole.index(stop)]


def test_history_is_part_of_the_prompt(client):
    history = [{"role": "user", "content": "My name is Ada."},
               {"role": "assistant", "content": "Nice to meet you, Ada."}]
    question = [{"role": "user", "content": "What is my name?"}]
    alone, after = (client.chat.completions.create(model=MODEL_ID, temperature=0, max_tokens=32,
                                                   messages=messages)
                    for messages in (question, history + question))
    # A dozen words, and what the template puts around two messages.
    assert after.usage.prompt_tokens >= alone.usage.prompt_tokens + 16
    # What so small a model makes of it is its own affair (in float32 it forgets the name), but it is
    # something else.
    assert after.choices[0].message.content != alone.choices[0].message.content


def test_logprobs_belong_to_the_tokens(client):
    answer = ask(client, PROMPTS[0], logprobs=True, top_logprobs=3, max_tokens=6)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    assert "".join(t.token for t in content) == answer.choices[0].message.content
    for token in content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob, abs=1e-4), "greedy"
        assert bytes(token.bytes).decode() == token.token


def test_a_completion_continues_its_prompt(client):
    whole = client.completions.create(model=MODEL_ID, prompt="One, two, three,", max_tokens=12, temperature=0)
    assert "four" in whole.choices[0].text
    pieces = list(client.completions.create(model=MODEL_ID, prompt="One, two, three,", max_tokens=12,
                                            temperature=0, stream=True))
    assert "".join(p.choices[0].text for p in pieces if p.choices) == whole.choices[0].text
    several = client.completions.create(model=MODEL_ID, prompt=["One, two, three,", "A, B, C,"], n=2,
                                        max_tokens=4, temperature=0)
    assert [c.index for c in several.choices] == [0, 1, 2, 3]
    assert several.choices[0].text == several.choices[1].text != several.choices[2].text


def test_max_tokens_zero_scores_the_prompt(client):
    prompt = "The capital of France is Paris"
    scored = client.completions.create(model=MODEL_ID, prompt=prompt, max_tokens=0, echo=True, logprobs=1)
    choice = scored.choices[0]
    assert choice.text == prompt and choice.finish_reason == "length"
    assert scored.usage.completion_tokens == 0
    assert "".join(choice.logprobs.tokens) == prompt
    assert len(choice.logprobs.tokens) == scored.usage.prompt_tokens
    assert choice.logprobs.token_logprobs[0] is None
    assert all(p < 0 for p in choice.logprobs.token_logprobs[1:])
    other = client.completions.create(model=MODEL_ID, prompt="The capital of France is Banana", max_tokens=0,
                                      echo=True, logprobs=1).choices[0]
    assert choice.logprobs.token_logprobs[-1] > other.logprobs.token_logprobs[-1]


@pytest.mark.parametrize("fields, param", [
    ({"suffix": "x"}, "suffix"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"best_of": 2, "n": 3}, "best_of"),
    ({"logprobs": 99}, "logprobs"),
])
def test_a_bad_field_of_a_completion_is_refused_by_name(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL_ID, prompt="hi", **fields)
    assert caught.value.param == param


def test_deepseeks_base_url_works_as_well(cluster):
    client = openai.OpenAI(base_url=cluster.router.url, api_key="none", max_retries=0)
    answer = ask(client, PROMPTS[0], max_tokens=4)
    usage = answer.usage
    assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == usage.prompt_tokens


def test_models_are_listed_with_and_without_v1(client, cluster):
    assert MODEL_ID in [m.id for m in client.models.list()]
    assert client.models.retrieve(MODEL_ID).id == MODEL_ID
    status, body = http_get(cluster.router.url + "/models")
    assert status == 200 and json.loads(body)["object"] == "list"


@pytest.mark.parametrize("fields, param", [
    ({"temperature": 5}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"top_p": 2}, "top_p"),
    ({"n": 0}, "n"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"extra_body": {"tempreature": 1}}, "tempreature"),
])
def test_a_bad_field_is_refused_by_name(client, fields, param):
    body = {"model": MODEL_ID, "messages": [{"role": "user", "content": "hi"}], **fields}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**body)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "hi"}])
    assert caught.value.code == "model_not_found"
    assert "gpt-9" in str(caught.value)


def test_a_prompt_longer_than_the_context_is_refused(client):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "word " * 9000)
    assert caught.value.code == "context_length_exceeded"


def test_garbage_gets_an_answer_and_stops_nothing(client, cluster):
    url = cluster.router.url + "/v1/chat/completions"
    for body in [b"", b"{", b"[]", b"\xff\xfe", b'{"model": 3}', b"null"]:
        request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        assert caught.value.code == 400
        assert json.loads(caught.value.read())["error"]["message"]
    assert http_get(cluster.router.url + "/nowhere")[0] == 404
    assert ask(client, PROMPTS[0]).choices[0].message.content
