"""POST /v1/responses with the official openai client, against real processes and the real model."""

import openai
import pytest

from conftest import MODEL_ID

QUESTION = "What is the capital of France, and what is it known for?"


def respond(client, text=QUESTION, **kwargs):
    kwargs = {"max_output_tokens": 48, "temperature": 0, **kwargs}
    return client.responses.create(model=MODEL_ID, input=text, **kwargs)


def test_the_answer_is_that_of_a_chat(client):
    answer = respond(client)
    chat = client.chat.completions.create(model=MODEL_ID, max_tokens=48, temperature=0,
                                          messages=[{"role": "user", "content": QUESTION}])
    assert answer.output_text == chat.choices[0].message.content
    assert "Paris" in answer.output_text
    assert answer.object == "response" and answer.id.startswith("resp_")
    assert answer.status == ("completed" if chat.choices[0].finish_reason == "stop" else "incomplete")
    assert answer.usage.input_tokens == chat.usage.prompt_tokens
    assert answer.usage.output_tokens == chat.usage.completion_tokens
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_a_stream_ends_with_the_whole_answer(client):
    whole = respond(client, max_output_tokens=1000)
    assert whole.status == "completed"
    with client.responses.stream(model=MODEL_ID, input=QUESTION, max_output_tokens=1000,
                                 temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_response()
    types = [event.type for event in events]
    assert types[:4] == ["response.created", "response.in_progress", "response.output_item.added",
                         "response.content_part.added"]
    assert types[-4:-1] == ["response.output_text.done", "response.content_part.done",
                            "response.output_item.done"]
    assert types.count("response.output_text.delta") > 5
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == final.output_text == whole.output_text
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.status == whole.status


def test_too_few_tokens_leave_an_answer_incomplete(client):
    answer = respond(client, max_output_tokens=3)
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output[0].status == "incomplete"
    assert answer.usage.output_tokens == 3


def test_instructions_and_earlier_turns_are_part_of_the_prompt(client):
    items = [{"role": "user", "content": "My name is Ada."},
             {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
              "content": [{"type": "output_text", "text": "Nice to meet you, Ada.", "annotations": []}]},
             {"role": "user", "content": [{"type": "input_text", "text": "What is my name?"}]}]
    answer = respond(client, items, instructions="You are a helpful assistant.")
    assert "Ada" in answer.output_text
    assert answer.instructions == "You are a helpful assistant."
    longer = answer.usage.input_tokens
    assert longer > respond(client, items).usage.input_tokens - 20


def test_an_answer_can_be_sent_back_as_it_came(client):
    first = respond(client, "Name one fruit.")
    items = [{"role": "user", "content": "Name one fruit."}]
    items += [item.model_dump(exclude_none=True) for item in first.output]
    items += [{"role": "user", "content": "Name another one."}]
    assert respond(client, items).output_text


def test_logprobs_come_when_they_are_included(client):
    answer = respond(client, include=["message.output_text.logprobs"], top_logprobs=2,
                     max_output_tokens=6)
    logprobs = answer.output[0].content[0].logprobs
    assert "".join(entry.token for entry in logprobs) == answer.output_text
    assert all(len(entry.top_logprobs) == 2 for entry in logprobs)


def test_nothing_is_stored_and_the_answer_says_so(client):
    answer = respond(client, max_output_tokens=2, metadata={"run": "7"})
    assert answer.model_dump()["store"] is False
    assert answer.metadata == {"run": "7"}
    assert answer.previous_response_id is None


@pytest.mark.parametrize("fields, param", [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"background": True}, "background"),
    ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"temperature": 5}, "temperature"),
    ({"input": []}, "input"),
    ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
     "input[0].content[0].type"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    ({"extra_body": {"tempreature": 1}}, "tempreature"),
])
def test_a_bad_field_is_refused_by_name(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**{"model": MODEL_ID, "input": "hi", **fields})
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_a_prompt_longer_than_the_context_is_refused_before_the_stream(client):
    with pytest.raises(openai.BadRequestError) as caught:
        respond(client, "word " * 9000, stream=True)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "input"
