"""Constrained answers through the official client: the schema holds whatever the model wants."""

import json
import re
import threading
import time
from typing import Literal, Optional

import anthropic
import jsonschema
import openai
import pytest
from pydantic import BaseModel

from conftest import MODEL_ID, http_get, wait_until


class Step(BaseModel):
    explanation: str
    done: bool


class Plan(BaseModel):
    title: Literal["short", "long"]
    count: int
    step: Step
    note: Optional[Literal["none", "some"]]


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20},
                           "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {
        "zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"], "additionalProperties": False}},
}
TOOLS = {"get_weather": WEATHER, "get_time": CLOCK}


def messages(text="Tell me about the plan."):
    return [{"role": "user", "content": text}]


def ask(client, text="Answer.", **fields):
    fields.setdefault("max_tokens", 200)
    return client.chat.completions.create(model=MODEL_ID, messages=messages(text), **fields)


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


BOUNDED = {"type": "object",
           "properties": {"id": {"type": "string", "pattern": "^[a-f]{4}-[0-9]{2}$"},
                          "n": {"type": "integer", "minimum": 3, "maximum": 40},
                          "tags": {"type": "array", "items": {"enum": ["a", "b"]},
                                   "minItems": 2, "maxItems": 3}},
           "required": ["id", "n", "tags"], "additionalProperties": False}


def test_parse_gives_an_object_of_the_clients_class(client):
    answer = client.chat.completions.parse(model=MODEL_ID, messages=messages(), max_tokens=400,
                                           temperature=0, response_format=Plan,
                                           frequency_penalty=1)
    assert answer.choices[0].finish_reason == "stop", answer.choices[0].message.content
    assert isinstance(answer.choices[0].message.parsed, Plan)


def test_responses_parse_gives_an_object_of_the_clients_class(client):
    class Verdict(BaseModel):
        verdict: Literal["yes", "no"]
        score: int

    answer = client.responses.parse(model=MODEL_ID, input="Is water wet?", max_output_tokens=200,
                                    text_format=Verdict)
    assert isinstance(answer.output_parsed, Verdict)


@pytest.mark.parametrize("seed", range(4))
def test_a_schema_holds_at_a_high_temperature_for_every_choice(client, seed):
    answer = ask(client, n=3, seed=seed, temperature=1.5, response_format=schema_format(BOUNDED))
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content), BOUNDED)


def test_streaming_gives_the_same_text(client):
    fields = {"seed": 5, "temperature": 1, "response_format": schema_format(BOUNDED)}
    whole = ask(client, **fields).choices[0].message.content
    pieces = [chunk.choices[0].delta.content or "" for chunk in ask(client, stream=True, **fields)
              if chunk.choices]
    assert "".join(pieces) == whole
    assert len(pieces) > 3


def test_json_object_is_one(client):
    answer = ask(client, "A JSON object with a name.", max_tokens=300, temperature=0.8, seed=3,
                 response_format={"type": "json_object"})
    content = answer.choices[0].message.content
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(content), dict)
    assert content.startswith("{")


@pytest.mark.parametrize("fields, pattern", [
    ({"guided_regex": "[A-F]{3}-[0-9]{4}"}, "[A-F]{3}-[0-9]{4}"),
    ({"guided_choice": ["alpha", "beta \"x\"", "gamma\\n"]}, "alpha|beta \"x\"|gamma\\\\n"),
    ({"guided_grammar": "root ::= word (\" \" word)*\nword ::= \"ab\" | \"cd\"\n"},
     "(ab|cd)( (ab|cd))*"),
    ({"guided_json": {"type": "integer", "minimum": 10, "maximum": 99}}, "[1-9][0-9]"),
])
def test_guided_fields_hold_on_both_endpoints(client, fields, pattern):
    chat = ask(client, max_tokens=60, temperature=1, seed=1, extra_body=fields).choices[0]
    completion = client.completions.create(model=MODEL_ID, prompt="The answer is: ", max_tokens=60,
                                           temperature=1, seed=1, extra_body=fields).choices[0]
    for reason, text in [(chat.finish_reason, chat.message.content),
                         (completion.finish_reason, completion.text)]:
        if reason == "stop":
            assert re.fullmatch(pattern, text), text
        else:
            assert reason == "length" and text


def check_calls(calls):
    assert calls
    for call in calls:
        jsonschema.validate(json.loads(call.function.arguments),
                            TOOLS[call.function.name]["function"]["parameters"])


def test_a_required_tool_call_follows_a_tools_schema(client):
    answer = ask(client, "What is the weather in Paris?", tools=[WEATHER, CLOCK], temperature=1,
                 seed=2, tool_choice="required", parallel_tool_calls=False).choices[0]
    assert answer.finish_reason == "tool_calls" and not answer.message.content
    assert len(answer.message.tool_calls) == 1
    check_calls(answer.message.tool_calls)


def test_parallel_required_calls_are_each_valid(client):
    answer = ask(client, "Weather?", tools=[CLOCK], temperature=1.2, seed=4, n=4, max_tokens=120,
                 tool_choice="required")
    for choice in answer.choices:
        calls = choice.message.tool_calls
        check_calls(calls if choice.finish_reason == "tool_calls" else calls[:-1] or calls[:1])
    assert max(len(choice.message.tool_calls) for choice in answer.choices) > 1


def test_a_custom_tools_text_follows_its_expression_whole_and_streamed(cluster, client):
    expression = "[a-z]{3}-[0-9]{2}\\n\"[xy]+\""
    form = {"type": "grammar", "syntax": "regex", "definition": expression}
    tool = {"type": "custom", "custom": {"name": "dial", "description": "Dials.", "format": {
        "type": "grammar", "grammar": {"syntax": "regex", "definition": expression}}}}
    allowed = {"mode": "required", "tools": [{"type": "custom", "custom": {"name": "dial"}}]}
    fields = {"tools": [tool, CLOCK], "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed},
              "parallel_tool_calls": False, "seed": 3, "temperature": 1}
    whole = ask(client, "Dial.", **fields).choices[0]
    (call,) = whole.message.tool_calls
    assert whole.finish_reason == "tool_calls" and call.type == "custom" and call.custom.name == "dial"
    assert re.fullmatch(expression, call.custom.input), call.custom.input
    with client.responses.stream(
            model=MODEL_ID, input="Dial.", temperature=1, parallel_tool_calls=False,
            tools=[{"type": "custom", "name": "dial", "description": "Dials.", "format": form}],
            tool_choice={"type": "custom", "name": "dial"}) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.custom_tool_call_input.delta")
        item = stream.get_final_response().output[-1]
    assert item.type == "custom_tool_call" and item.input == text
    assert re.fullmatch(expression, text), text


def test_a_named_tool_is_called_once_also_when_streamed(client):
    choice = {"type": "function", "function": {"name": "get_time"}}
    fields = {"tools": [WEATHER, CLOCK], "tool_choice": choice, "seed": 1, "temperature": 1}
    whole = ask(client, **fields).choices[0].message
    assert [call.function.name for call in whole.tool_calls] == ["get_time"]
    check_calls(whole.tool_calls)
    name, arguments = "", ""
    for chunk in ask(client, stream=True, **fields):
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert (name, arguments) == ("get_time", whole.tool_calls[0].function.arguments)


@pytest.mark.parametrize("fields, param, word", [
    ({"response_format": schema_format({"type": "object", "not": {}})}, "response_format", "not"),
    ({"response_format": schema_format({"type": "object", "properties": {
        "a": {"$ref": "#/nowhere"}}})}, "response_format", "#/properties/a"),
    ({"response_format": {"type": "yaml"}}, "response_format.type", "yaml"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "json_schema"),
    ({"extra_body": {"guided_regex": "a(b"}}, "guided_regex", "guided_regex"),
    ({"extra_body": {"guided_grammar": "root ::= other"}}, "guided_grammar", "other"),
    ({"extra_body": {"guided_choice": []}}, "guided_choice", "guided_choice"),
    ({"extra_body": {"guided_choice": ["a"], "guided_regex": "a"}}, "guided_regex", "guided_choice"),
    ({"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "no_such"}}},
     "tool_choice", "no_such"),
    ({"tools": [CLOCK], "tool_choice": "required", "response_format": {"type": "json_object"}},
     "response_format", "tool_choice"),
])
def test_what_cannot_be_followed_is_refused_by_name(client, fields, param, word):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **fields)
    assert caught.value.param == param
    assert word in str(caught.value)


def nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def doubling(levels):
    """Each level names the next one twice: 2^levels strings when written out."""
    definitions = {f"d{i}": {"type": "object", "properties": {
        "l": {"$ref": f"#/$defs/d{i + 1}"}, "r": {"$ref": f"#/$defs/d{i + 1}"}},
        "required": ["l", "r"]} for i in range(levels)}
    definitions[f"d{levels}"] = {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


HOSTILE = {
    "ten megabytes": {"enum": ["x" * 10_000_000]},
    "deep": nested(900),
    "exponential allOf": {"allOf": [{"anyOf": [{"minLength": i}, {"maxLength": 99 - i}]}
                                    for i in range(40)]},
    "huge repeat": {"type": "string", "pattern": "^((a{1,9999}){1,9999}){1,9999}$"},
    "many states": {"type": "array", "minItems": 3000, "items": {
        "type": "string", "pattern": "^(a|b)*a(a|b){40}$"}},
    "endless reference": {"$ref": "#"},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_costs_little_and_fails_alone(client, name):
    done = threading.Event()
    gaps = []

    def stream_on():
        last = None
        for _ in ask(client, "Tell a long story.", stream=True, max_tokens=120, seed=1,
                     extra_body={"ignore_eos": True}):
            now = time.monotonic()
            if last is not None:
                gaps.append(now - last)
            last = now
        done.set()

    other = threading.Thread(target=stream_on)
    other.start()
    begin = time.monotonic()
    try:
        ask(client, max_tokens=4, response_format=schema_format(HOSTILE[name]))
    except openai.APIStatusError as refused:
        assert refused.status_code in (400, 413), str(refused)[:300]
    assert time.monotonic() - begin < 15
    other.join(60)
    assert done.is_set() and max(gaps) < 5
    ask(client, max_tokens=40, response_format=schema_format({"enum": ["fine"]}))


def test_exponential_sharing_is_taken_and_followed(client):
    schema = doubling(3)
    answer = ask(client, response_format=schema_format(schema), max_tokens=600, temperature=1.2,
                 seed=1, presence_penalty=1)
    if answer.choices[0].finish_reason == "stop":
        jsonschema.validate(json.loads(answer.choices[0].message.content), schema)


CLAUDE_TOOLS = [{"name": name, "input_schema": tool["function"]["parameters"]}
                for name, tool in TOOLS.items()]


@pytest.mark.parametrize("choice, names", [
    ({"type": "any", "disable_parallel_tool_use": True}, {"get_weather", "get_time"}),
    ({"type": "tool", "name": "get_time"}, {"get_time"}),
])
def test_anthropics_forced_tools_are_called(cluster, choice, names):
    answer = claude_of(cluster).messages.create(model=MODEL_ID, messages=messages(), max_tokens=200,
                                                tools=CLAUDE_TOOLS, tool_choice=choice)
    assert answer.stop_reason == "tool_use"
    (block,) = answer.content
    assert block.type == "tool_use" and block.name in names
    jsonschema.validate(block.input, TOOLS[block.name]["function"]["parameters"])


def claude_of(cluster):
    return anthropic.Anthropic(base_url=cluster.router.url, api_key="none", max_retries=0)


def test_anthropics_output_format_holds_whole_and_streamed(cluster):
    fields = {"model": MODEL_ID, "messages": messages(), "max_tokens": 200,
              "output_config": {"format": {"type": "json_schema", "schema": BOUNDED}},
              "extra_body": {"temperature": 1.5}}
    whole = claude_of(cluster).messages.create(**fields)
    assert whole.stop_reason == "end_turn"
    jsonschema.validate(json.loads(whole.content[0].text), BOUNDED)
    with claude_of(cluster).messages.stream(**fields) as stream:
        pieces = list(stream.text_stream)
    assert len(pieces) > 3
    jsonschema.validate(json.loads("".join(pieces)), BOUNDED)


def test_anthropics_forced_tool_streams_its_input(cluster):
    pieces = []
    with claude_of(cluster).messages.stream(
            model=MODEL_ID, messages=messages(), max_tokens=200, tools=CLAUDE_TOOLS,
            tool_choice={"type": "tool", "name": "get_weather"}) as stream:
        for event in stream:
            if event.type == "input_json":
                pieces.append(event.partial_json)
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use" and len(pieces) > 1
    assert json.loads("".join(pieces)) == final.content[0].input
    jsonschema.validate(final.content[0].input, WEATHER["function"]["parameters"])


@pytest.mark.parametrize("fields, words", [
    ({"output_config": {"format": {"type": "json_schema", "schema": {"not": {}}}}}, "output_config.format"),
    ({"tools": [{"name": "f", "input_schema": {"type": "object", "not": {}}}],
      "tool_choice": {"type": "any"}}, "tools"),
    ({"tools": CLAUDE_TOOLS, "tool_choice": {"type": "tool", "name": "no_such"}}, "no_such"),
])
def test_anthropics_clients_are_told_what_cannot_be_followed(cluster, fields, words):
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude_of(cluster).messages.create(model=MODEL_ID, messages=messages(), max_tokens=20, **fields)
    assert words in caught.value.body["error"]["message"]


def test_anthropics_forced_call_goes_on_at_another_worker(own_cluster):
    cluster = own_cluster(num_workers=2)
    schema = {"type": "object", "properties": {"rows": {
        "type": "array", "items": BOUNDED, "minItems": 8, "maxItems": 12}}, "required": ["rows"],
        "additionalProperties": False}
    length = 0
    with claude_of(cluster).messages.stream(
            model=MODEL_ID, messages=messages(), max_tokens=1200,
            tools=[{"name": "save", "input_schema": schema}],
            tool_choice={"type": "tool", "name": "save"}) as stream:
        for event in stream:
            length += len(event.partial_json) if event.type == "input_json" else 0
            if length > 60 and all(worker.popen.poll() is None for worker in cluster.workers):
                kill_the_busy_worker(cluster)
        final = stream.get_final_message()
    assert any(worker.popen.poll() is not None for worker in cluster.workers)
    assert final.stop_reason == "tool_use"
    jsonschema.validate(final.content[0].input, schema)


def test_a_constrained_answer_goes_on_at_another_worker(own_cluster):
    cluster = own_cluster(num_workers=2)
    client = cluster.router.client()
    schema = {"type": "array", "items": BOUNDED, "minItems": 8, "maxItems": 12}
    fields = {"seed": 3, "temperature": 1, "max_tokens": 900,
              "response_format": schema_format(schema)}
    want = ask(client, **fields).choices[0].message.content
    got = ""
    for chunk in ask(client, stream=True, **fields):
        if not chunk.choices:
            continue
        got += chunk.choices[0].delta.content or ""
        if len(got) > 60 and all(worker.popen.poll() is None for worker in cluster.workers):
            kill_the_busy_worker(cluster)
    assert any(worker.popen.poll() is not None for worker in cluster.workers)
    assert got == want
    jsonschema.validate(json.loads(got), schema)


def kill_the_busy_worker(cluster):
    busy = wait_until(lambda: [w for w in cluster.workers if is_running(w)], 60, "one runs")
    busy[0].kill()


def is_running(worker):
    text = http_get(f"http://127.0.0.1:{worker.admin_port}/metrics")[1]
    found = re.search(r"^pingti_worker_running_sequences\S* (\S+)$", text, re.MULTILINE)
    return found is not None and float(found.group(1)) > 0
