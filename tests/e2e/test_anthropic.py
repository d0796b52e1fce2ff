"""POST /v1/messages with the official anthropic client, against real processes and the real model."""

import json
import urllib.error
import urllib.request

import anthropic
import pytest

from conftest import MODEL_ID

QUESTION = [{"role": "user", "content": "What is the capital of France, and what is it known for?"}]


@pytest.fixture
def claude(cluster):
    return anthropic.Anthropic(base_url=cluster.router.url, api_key="none", max_retries=0, timeout=120)


# The client has no argument for it, but sends it as it is.
GREEDY = {"temperature": 0}


def ask(client, messages=QUESTION, **kwargs):
    kwargs = {"max_tokens": 48, "extra_body": GREEDY, "messages": messages, **kwargs}
    return client.messages.create(model=MODEL_ID, **kwargs)


def test_the_answer_is_that_of_a_chat(claude, client):
    answer = ask(claude)
    chat = client.chat.completions.create(model=MODEL_ID, max_tokens=48, temperature=0,
                                          messages=QUESTION)
    assert [block.type for block in answer.content] == ["text"]
    assert answer.content[0].text == chat.choices[0].message.content
    assert answer.role == "assistant" and answer.type == "message" and answer.id.startswith("msg_")
    assert answer.stop_reason == ("end_turn" if chat.choices[0].finish_reason == "stop" else "max_tokens")
    usage = answer.usage
    assert (usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
            == chat.usage.prompt_tokens)
    assert usage.output_tokens == chat.usage.completion_tokens


def test_a_stream_ends_with_the_whole_answer(claude):
    whole = ask(claude)
    with claude.messages.stream(model=MODEL_ID, messages=QUESTION, max_tokens=48,
                                extra_body=GREEDY) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 5
    assert "".join(pieces) == final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert (final.usage.input_tokens + final.usage.cache_read_input_tokens
            == whole.usage.input_tokens + whole.usage.cache_read_input_tokens)


def test_the_events_come_in_the_references_order(claude):
    types = [event.type for event in ask(claude, stream=True, max_tokens=4)]
    deltas = types.count("content_block_delta")
    assert 1 <= deltas <= 4, "tokens that come together share one event"
    assert types == (["message_start", "content_block_start"] + ["content_block_delta"] * deltas
                     + ["content_block_stop", "message_delta", "message_stop"])


def test_a_stop_sequence_is_named(claude):
    whole = ask(claude).content[0].text
    stop = whole[20:24]
    answer = ask(claude, stop_sequences=["never this", stop])
    assert answer.stop_reason == "stop_sequence"
    assert answer.stop_sequence == stop
    assert answer.content[0].text == whole[:whole.index(stop)]


def test_system_and_earlier_turns_are_part_of_the_prompt(claude, client):
    answer = ask(claude, [{"role": "user", "content": "My name is Ada."},
                          {"role": "assistant", "content": [{"type": "text", "text": "Hello, Ada."}]},
                          {"role": "user", "content": [{"type": "text", "text": "What is my name?",
                                                        "cache_control": {"type": "ephemeral"}}]}],
                 system="You are a helpful assistant.")
    chat = client.chat.completions.create(
        model=MODEL_ID, max_tokens=48, temperature=0,
        messages=[{"role": "system", "content": "You are a helpful assistant."},
                  {"role": "user", "content": "My name is Ada."},
                  {"role": "assistant", "content": "Hello, Ada."},
                  {"role": "user", "content": "What is my name?"}])
    assert answer.content[0].text == chat.choices[0].message.content


def test_tokens_are_counted_as_the_answer_counts_them(claude):
    count = claude.messages.count_tokens(model=MODEL_ID, messages=QUESTION, system="Be brief.")
    usage = ask(claude, system="Be brief.", max_tokens=1).usage
    assert count.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


@pytest.mark.parametrize("fields, name", [
    ({"max_tokens": 0}, "max_tokens"),
    ({"extra_body": {"temperature": 5}}, "temperature"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
     "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
     "messages[1].role"),
    ({"stop_sequences": [""]}, "stop_sequences"),
    ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "thinking.budget_tokens"),
    ({"extra_body": {"tempreature": 1}}, "tempreature"),
    ({"extra_body": {"inference_geo": "eu"}}, "inference_geo"),
    ({"extra_headers": {"anthropic-version": "2020-01-01"}}, "anthropic-version"),
])
def test_a_bad_field_is_refused_by_name(claude, fields, name):
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(claude, **fields)
    assert caught.value.body["error"]["type"] == "invalid_request_error"
    assert name in caught.value.body["error"]["message"]
    assert caught.value.body["request_id"] == caught.value.response.headers["request-id"]


def test_an_unknown_model_is_not_found(claude):
    with pytest.raises(anthropic.NotFoundError) as caught:
        claude.messages.create(model="claude-9", messages=QUESTION, max_tokens=4)
    assert caught.value.body["error"]["type"] == "not_found_error"


def test_garbage_gets_this_apis_error(cluster):
    for body in [b"", b"{", b"[]", b"\xff\xfe", b'{"model": 3}', b"null"]:
        request = urllib.request.Request(cluster.router.url + "/v1/messages", data=body)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        assert caught.value.code == 400
        error = json.loads(caught.value.read())
        assert error["type"] == "error" and error["error"]["message"]


def test_a_key_is_taken_in_both_headers(own_cluster):
    router = own_cluster(num_workers=1, router_args=("--api-keys", "ada:secret")).router
    with pytest.raises(anthropic.AuthenticationError) as caught:
        ask(anthropic.Anthropic(base_url=router.url, api_key="wrong", max_retries=0))
    assert caught.value.body["error"]["type"] == "authentication_error"
    for kwargs in ({"api_key": "secret"}, {"auth_token": "secret"}):
        assert ask(anthropic.Anthropic(base_url=router.url, max_retries=0, **kwargs), max_tokens=2)
