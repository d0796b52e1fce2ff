"""Every field of every request with values that are much too large, too many or no numbers at all.

The fields are those of docs/api.md (which test_api_doc.py holds against the parsers) and of the proto's descriptors.
Whatever a field says: the answer is a refusal, or a normal one where the value is legal, it comes at once, and the
programs stay small.
"""

import copy
import http.client
import json
import math
import time

import grpc
import pytest

from conftest import MODEL_ID
from test_api_doc import BOTH, CHAT, COMPLETIONS, COUNT, MESSAGES, RESPONSES, page_rows
from test_grpc import stubs  # noqa: F401: a fixture
from test_hostile_requests import ask, post, resident_bytes

MAX_SECONDS = 3  # on two cores that build and test other things as well
MAX_GROWTH_BYTES = 160 << 20  # of each program's resident memory at its highest

LONG_TEXT_BYTES = 1_000_000
MANY = 100_000

STOPS = ["a", "e", "i", "o", "t", " "]  # whatever is asked for, an answer ends after a token or two
SCHEMA = {"type": "object"}
FUNCTION = {"name": "f", "description": "d", "parameters": SCHEMA}


def json_values():
    """Texts of JSON values by name."""
    numbers = ["-1", "2147483648", "4294967295", "9223372036854775808", "18446744073709551616", "-9223372036854775809",
               "1e308", "-1e308", "1e-320", "1e999", "9" * 1000, "NaN", "Infinity"]
    lists = {"numbers": "7", "texts": '"x"', "objects": "{}", "lists": "[7]"}
    return {
        **{number[:24]: number for number in numbers},
        "text of no number": '"NaN"',
        "long text": json.dumps("x y " * (LONG_TEXT_BYTES // 4)),
        **{f"many {name}": f"[{','.join([item] * MANY)}]" for name, item in lists.items()},
        "many members": "{" + ",".join(f'"{i}":1' for i in range(MANY)) + "}",
        "deep list": "[" * MANY + "]" * MANY,
    }


CHAT_BODY = {
    "model": MODEL_ID, "max_tokens": 1, "temperature": 0, "stop": STOPS, "tools": [{"type": "function", "function": FUNCTION}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ]}
CLAUDE_TOOL = {"name": "f", "description": "d", "input_schema": SCHEMA}
CLAUDE_BODY = {
    "model": MODEL_ID, "tools": [CLAUDE_TOOL],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "1"}]},
    ]}
# Path and a legal body of each section of the page.
BODIES = {
    CHAT: ("/v1/chat/completions", CHAT_BODY),
    BOTH: ("/v1/chat/completions", CHAT_BODY),
    COMPLETIONS: ("/v1/completions", {"model": MODEL_ID, "prompt": "hi", "max_tokens": 1, "temperature": 0, "stop": STOPS}),
    "Tokenize": ("/tokenize", {"model": MODEL_ID, "prompt": "hi"}),
    "Detokenize": ("/detokenize", {"model": MODEL_ID, "tokens": [1]}),
    RESPONSES: ("/v1/responses", {
        "model": MODEL_ID, "max_output_tokens": 1, "temperature": 0, "stop": STOPS, "tools": [{"type": "function", **FUNCTION}],
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
        ]}),
    MESSAGES: ("/v1/messages", {**CLAUDE_BODY, "max_tokens": 1, "temperature": 0, "stop_sequences": STOPS}),
    COUNT: ("/v1/messages/count_tokens", CLAUDE_BODY),
}
# Objects that are in the body only where one of their fields is in question.
CHAT_COMPANIONS = {
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
    "stream_options": {},
}
COMPANIONS = {
    CHAT: CHAT_COMPANIONS,
    BOTH: CHAT_COMPANIONS,
    RESPONSES: {
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}},
        "stream_options": {},
    },
    MESSAGES: {
        "tool_choice": {"type": "tool", "name": "f"},
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        "cache_control": {"type": "ephemeral"},
        "thinking": {"type": "disabled"},
    },
}
HOLE = "\0hole"


def place(where, steps):
    """Puts the hole at `steps`: into every object of a list that has the field, or else into the first.

    Returns what was there."""
    step, *rest = steps
    name = step.removesuffix("[]")
    if not rest:
        was, where[name] = where.get(name), HOLE
        return was
    if not step.endswith("[]"):
        return place(where.setdefault(name, {}), rest)
    if not isinstance(where.get(name), list):
        where[name] = [{}]
    inner = rest[0].removesuffix("[]")
    having = [item for item in where[name] if inner in item and (len(rest) == 1 or isinstance(item[inner], (dict, list)))]
    return [place(item, rest) for item in having or where[name][:1]][0]


def holed(section, field):
    """The section's body as text with a hole at the field, and what else to put there."""
    body = copy.deepcopy(BODIES[section][1])
    first = field.split(".")[0]
    if "." in field and first in COMPANIONS.get(section, {}):
        body[first] = copy.deepcopy(COMPANIONS[section][first])
        if first == "stream_options":
            body["stream"] = True
    was = place(body, field.split("."))
    copies = {"many copies": f"[{','.join([json.dumps(was[0])] * MANY)}]"} if isinstance(was, list) else {}
    return json.dumps(body), copies


def peak_bytes(process):
    with open(f"/proc/{process.popen.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


class Growth:
    """The programs' highest memory within the block, against that at its beginning."""

    def __init__(self, cluster):
        self.processes = [cluster.router, *cluster.workers]

    def __enter__(self):
        for process in self.processes:
            with open(f"/proc/{process.popen.pid}/clear_refs", "w") as clear:
                clear.write("5")  # the highest is from now on
        self.before = [resident_bytes(process) for process in self.processes]
        return self

    def __exit__(self, failed, *_):
        self.grown = [peak_bytes(process) - before for process, before in zip(self.processes, self.before)]
        if not failed:
            assert max(self.grown) < MAX_GROWTH_BYTES, self.grown


@pytest.mark.parametrize("section", BODIES)
def test_no_value_of_a_field_costs_more_than_its_refusal(cluster, section):
    path, body = BODIES[section]
    fields = [name for names, _ in page_rows(section) for name in names]
    assert post(cluster.router.url + path, body)[0] == 200, "the body is legal without a hole"
    values = json_values()
    wrong = []
    connection = http.client.HTTPConnection("127.0.0.1", cluster.router.http_port, timeout=60)
    with Growth(cluster):
        for field in fields:
            text, copies = holed(section, field)
            for name, value in {**values, **copies}.items():
                begin = time.monotonic()
                connection.request("POST", path, text.replace(json.dumps(HOLE), value))
                answer = connection.getresponse()
                said = answer.read()
                took = time.monotonic() - begin
                if not (answer.status == 200 or 400 <= answer.status < 500) or took > MAX_SECONDS:
                    wrong.append((field, name, answer.status, round(took, 2), said[:200]))
    assert not wrong, "\n".join(map(str, wrong))
    assert post(cluster.router.url + "/v1/chat/completions", ask())[0] == 200


# --- gRPC: the fields that the descriptors have

RANGES = {"uint32": (0, 2**32 - 1), "int32": (-2**31, 2**31 - 1), "uint64": (0, 2**64 - 1), "int64": (-2**63, 2**63 - 1)}
NUMBERS = [-2**63, -2**31, -1, 0, 100_000, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
FLOATS = [math.nan, math.inf, -math.inf, 3e38, -3e38, 1e-40]


def type_name(field):
    return next(name.removeprefix("TYPE_").lower() for name, number in vars(type(field)).items()
                if name.startswith("TYPE_") and number == field.type)


def scalars(field):
    kind = type_name(field)
    if kind in ("float", "double"):
        return FLOATS
    if kind in RANGES:
        low, high = RANGES[kind]
        return [number for number in NUMBERS if low <= number <= high]
    if kind in ("string", "bytes"):
        return ["x y " * (LONG_TEXT_BYTES // 4)]
    if kind == "enum":  # proto3 takes numbers that have no name, too
        return [value.number for value in field.enum_type.values] + [77, -1]
    assert kind == "bool", kind
    return [True]


def is_map(field):
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def variants(message, path=""):
    """Copies of `message`, each with one field at any depth set to one value, and what was set."""
    for field in message.DESCRIPTOR.fields:
        name = path + field.name
        if is_map(field):
            changed = copy.deepcopy(message)
            for key in range(MANY):
                getattr(changed, field.name)[key] = 1
            yield name, "many", changed
        elif field.message_type is not None:
            yield from message_variants(message, field, name)
        elif field.is_repeated:
            short = {"string": "x", "bytes": b"x"}.get(type_name(field), 7)
            for what, values in [("many", [short] * MANY), *((str(v)[:24], [v]) for v in scalars(field))]:
                changed = copy.deepcopy(message)
                changed.ClearField(field.name)
                getattr(changed, field.name).extend(values)
                yield name, what, changed
        else:
            for value in scalars(field):
                changed = copy.deepcopy(message)
                setattr(changed, field.name, value)
                yield name, str(value)[:24], changed


def message_variants(message, field, name):
    if field.is_repeated:
        changed = copy.deepcopy(message)
        for _ in range(MANY):
            getattr(changed, field.name).add()
        yield name, "many", changed
        if not getattr(message, field.name):
            message = copy.deepcopy(message)
            getattr(message, field.name).add()
        parts = range(len(getattr(message, field.name)))
        for part in parts:
            for inner, what, changed_part in variants(getattr(message, field.name)[part], f"{name}[{part}]."):
                changed = copy.deepcopy(message)
                getattr(changed, field.name)[part].CopyFrom(changed_part)
                yield inner, what, changed
        return
    for inner, what, changed_part in variants(getattr(message, field.name), name + "."):
        changed = copy.deepcopy(message)
        getattr(changed, field.name).CopyFrom(changed_part)
        yield inner, what, changed


def grpc_requests(pb):
    params = pb.GenerationParams(max_tokens=1, temperature=0, stop=STOPS)
    chat = pb.ChatRequest(model=MODEL_ID, params=params, tools=[pb.Tool(name="f", parameters_json_schema="{}")],
                          messages=[pb.Message(role="user", content="hi"),
                                    pb.Message(role="assistant", tool_calls=[pb.ToolCall(id="c", name="f", arguments_json="{}")]),
                                    pb.Message(role="tool", tool_call_id="c", content="1")])
    return {
        "Chat": chat,
        "Complete": pb.CompleteRequest(model=MODEL_ID, text="hi", params=params),
        "Tokenize": pb.TokenizeRequest(model=MODEL_ID, chat=chat),
        "Detokenize": pb.DetokenizeRequest(model=MODEL_ID, token_ids=[1]),
    }


REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_the_methods_that_take_fields_are_all_swept(stubs):  # noqa: F811
    pb = stubs[0]
    service = pb.DESCRIPTOR.services_by_name["Inference"]
    assert {m.name for m in service.methods if m.input_type.fields} == grpc_requests(pb).keys()


@pytest.mark.parametrize("method", ["Chat", "Complete", "Tokenize", "Detokenize"])
def test_no_value_of_a_grpc_field_costs_more_than_its_refusal(cluster, stubs, method):  # noqa: F811
    pb, pb_grpc = stubs
    request = grpc_requests(pb)[method]
    wrong = []
    with grpc.insecure_channel(f"127.0.0.1:{cluster.router.grpc_port}") as channel, Growth(cluster):
        call = getattr(pb_grpc.InferenceStub(channel), method)
        streams = method in ("Chat", "Complete")

        def code_of(one):
            try:
                answer = call(one, timeout=60)
                if streams:  # a limit of tokens may be legal however large it is
                    next(answer)
                    answer.cancel()
                return grpc.StatusCode.OK, ""
            except grpc.RpcError as error:
                return error.code(), error.details()

        assert code_of(request)[0] == grpc.StatusCode.OK, "the request is legal as it is"
        count = 0
        for field, what, changed in variants(request):
            begin = time.monotonic()
            code, details = code_of(changed)
            took = time.monotonic() - begin
            count += 1
            if code != grpc.StatusCode.OK and code not in REFUSALS or took > MAX_SECONDS:
                wrong.append((field, what, code, round(took, 2), details[:200]))
        assert count >= len(request.DESCRIPTOR.fields)
    assert not wrong, "\n".join(map(str, wrong))
    assert post(cluster.router.url + "/v1/chat/completions", ask())[0] == 200
