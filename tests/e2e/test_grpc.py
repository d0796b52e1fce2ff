"""A gRPC stub made from the public proto, as an application service would make it."""

import json
import re
import sys

import grpc
import jsonschema
import pytest
from grpc_tools import protoc

from conftest import MODEL_ID, ROOT
from test_openai_client import ask
from test_structured_output import kill_the_busy_worker


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    out = tmp_path_factory.mktemp("stubs")
    proto = "proto/pingti/v1/inference.proto"
    assert protoc.main(["", f"-I{ROOT}", f"--python_out={out}", f"--grpc_python_out={out}", proto]) == 0
    sys.path.insert(0, str(out))
    from proto.pingti.v1 import inference_pb2, inference_pb2_grpc
    yield inference_pb2, inference_pb2_grpc
    sys.path.remove(str(out))


@pytest.fixture
def stub(stubs, cluster):
    with grpc.insecure_channel(f"127.0.0.1:{cluster.router.grpc_port}") as channel:
        yield stubs[1].InferenceStub(channel)


def chat_request(pb, text="What is the capital of France?", **params):
    params = {"max_tokens": 32, "temperature": 0, **params}
    return pb.ChatRequest(model=MODEL_ID, messages=[pb.Message(role="user", content=text)],
                          params=pb.GenerationParams(**params))


def test_beams_are_those_that_http_gives(stub, stubs, client):
    pb, _ = stubs
    request = chat_request(pb, max_tokens=8, n=2, num_beams=3, length_penalty=0.5,
                           early_stopping=pb.GenerationParams.EARLY_STOPPING_NEVER)
    texts = ["", ""]
    for response in stub.Chat(request):
        for delta in response.deltas:
            texts[delta.index] += delta.content
    answer = client.chat.completions.create(
        model=MODEL_ID, messages=[{"role": "user", "content": "What is the capital of France?"}], max_tokens=8, n=2,
        extra_body={"num_beams": 3, "length_penalty": 0.5, "early_stopping": "never"})
    assert texts == [choice.message.content for choice in answer.choices]


def test_chat_streams_the_answer_that_http_gives(stub, stubs, client):
    responses = list(stub.Chat(chat_request(stubs[0]), timeout=60))
    text = "".join(d.content for r in responses for d in r.deltas)
    assert len(responses) > 5
    whole = ask(client, "What is the capital of France?", max_tokens=32)
    assert text == whole.choices[0].message.content
    finish = [d.finish_reason for r in responses for d in r.deltas if d.finish_reason]
    assert finish == [whole.choices[0].finish_reason]
    assert responses[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert responses[-1].usage.prompt_tokens == whole.usage.prompt_tokens


@pytest.mark.parametrize("response_format, pattern", [
    ({"json_schema": '{"enum": ["yes", "no"]}'}, '"(yes|no)"'),
    ({"regex": "[a-f]{4}"}, "[a-f]{4}"),
    ({"grammar": 'root ::= "left" | "right"'}, "left|right"),
    ({"json_object": True}, r"\{.*"),
])
def test_an_answer_follows_its_format(stub, stubs, response_format, pattern):
    pb = stubs[0]
    request = chat_request(pb, response_format=pb.ResponseFormat(**response_format))
    text = "".join(d.content for r in stub.Chat(request, timeout=60) for d in r.deltas)
    assert re.fullmatch(pattern, text, re.DOTALL), text


WEATHER = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12},
                                            "unit": {"enum": ["celsius", "fahrenheit"]}},
           "required": ["city", "unit"], "additionalProperties": False}
CLOCK = {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"],
         "additionalProperties": False}
TOOLS = {"get_weather": WEATHER, "get_time": CLOCK}


@pytest.mark.parametrize("choice, names", [("required", set(TOOLS)), ("get_time", {"get_time"})])
def test_a_forced_call_follows_the_tools_schema(stub, stubs, choice, names):
    pb = stubs[0]
    request = chat_request(pb, max_tokens=200, temperature=1, seed=3)
    request.tools.extend(pb.Tool(name=name, parameters_json_schema=json.dumps(schema))
                         for name, schema in TOOLS.items())
    request.tool_choice = choice
    deltas = [d for r in stub.Chat(request, timeout=60) for d in r.deltas]
    calls = {}
    for call in (call for d in deltas for call in d.tool_calls):
        name, arguments = calls.get(call.index, ("", ""))
        calls[call.index] = (name + call.name, arguments + call.arguments_json)
    (finish,) = [d.finish_reason for d in deltas if d.finish_reason]
    whole = [calls[i] for i in sorted(calls)]
    if finish == "tool_calls":
        assert not "".join(d.content for d in deltas)
    else:
        assert finish == "length" and len(whole) > 1
        whole.pop()
    assert whole
    for name, arguments in whole:
        assert name in names
        jsonschema.validate(json.loads(arguments), TOOLS[name])


@pytest.mark.parametrize("response_format, word", [
    ({"json_schema": '{"not": {}}'}, "not"),
    ({"json_schema": "{"}, "response_format"),
    ({"regex": "a(b"}, "response_format"),
    ({"grammar": "root ::= other"}, "other"),
])
def test_a_format_that_cannot_be_followed_is_refused_by_name(stub, stubs, response_format, word):
    pb = stubs[0]
    request = chat_request(pb, response_format=pb.ResponseFormat(**response_format))
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Chat(request, timeout=10))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert word in caught.value.details()


def test_a_constrained_answer_goes_on_at_another_worker(own_cluster, stubs):
    cluster = own_cluster(num_workers=2)
    pb, pb_grpc = stubs
    request = chat_request(pb, max_tokens=900, temperature=1, seed=5,
                           response_format=pb.ResponseFormat(regex="([a-f]{4}-[0-9]{2};){24}end"))
    with grpc.insecure_channel(f"127.0.0.1:{cluster.router.grpc_port}") as channel:
        stub = pb_grpc.InferenceStub(channel)
        want = "".join(d.content for r in stub.Chat(request, timeout=60) for d in r.deltas)
        got = ""
        for response in stub.Chat(request, timeout=60):
            got += "".join(d.content for d in response.deltas)
            if len(got) > 40 and all(worker.popen.poll() is None for worker in cluster.workers):
                kill_the_busy_worker(cluster)
    assert any(worker.popen.poll() is not None for worker in cluster.workers)
    assert got == want
    assert re.fullmatch("([a-f]{4}-[0-9]{2};){24}end", got)


def test_models_are_listed(stub, stubs):
    models = stub.ListModels(stubs[0].ListModelsRequest(), timeout=10).models
    assert [(m.id, m.ready_workers, m.max_context_tokens) for m in models] == [(MODEL_ID, 2, 8192)]


def test_tokenize_and_back(stub, stubs):
    pb = stubs[0]
    text = "Grüße, 世界! 🦙 x = 10;"
    ids = stub.Tokenize(pb.TokenizeRequest(model=MODEL_ID, text=text), timeout=10).token_ids
    assert len(ids) > 5
    assert stub.Detokenize(pb.DetokenizeRequest(model=MODEL_ID, token_ids=ids), timeout=10).text == text


@pytest.mark.parametrize("change, code, named", [
    ({"model": "gpt-9"}, grpc.StatusCode.NOT_FOUND, "gpt-9"),
    ({"messages": []}, grpc.StatusCode.INVALID_ARGUMENT, "messages"),
    ({"temperature": 9}, grpc.StatusCode.INVALID_ARGUMENT, "temperature"),
])
def test_a_bad_request_names_its_field(stub, stubs, change, code, named):
    request = chat_request(stubs[0])
    if "model" in change:
        request.model = change["model"]
    elif "messages" in change:
        del request.messages[:]
    else:
        request.params.temperature = change["temperature"]
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Chat(request, timeout=10))
    assert caught.value.code() == code
    assert named in caught.value.details()


def test_a_deadline_ends_a_long_answer(stub, stubs):
    request = chat_request(stubs[0], "Write a very long story.", max_tokens=4000, ignore_eos=True)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Chat(request, timeout=1))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
