"""Clients that people bring, with their own defaults, against a model that says chosen texts.

Each text comes in groups of tokens of several sizes, and what a client assembles of it, whole or streamed, is always the
same. The router is a real one; the worker is tests/testing/scripted_worker.py.
"""

import asyncio
import json
import urllib.request

import anthropic
import openai
import pydantic
import pytest

from conftest import ROOT, Router, wait_until
from scripted_worker import ScriptedWorker, load_protos

GROUPS = [1, 2, 3, 5, 8, 13, 64, 0]  # tokens per step; 0: all of them
MODEL = "scripted"
THOUGHT, WORDS = "Let me see.\n\nYes: é😀.", "The answer is\n\n42 — naïve."
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich\\n"}}\n</tool_call>'
ARGUMENTS = {"city": "Zürich\n"}
SAYS = f"<think>\n{THOUGHT}\n</think>\n\n{WORDS}"
CALLS = f"<think>\n{THOUGHT}\n</think>\n\n{WORDS}\n{CALL}"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
              "additionalProperties": False}


class Weather(pydantic.BaseModel):
    city: str
    degrees: int


WEATHER = '{"city": "Bern", "degrees": 7}'


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    protos = load_protos(ROOT, tmp_path_factory.mktemp("worker_stubs"))
    one = ScriptedWorker(protos)
    yield one
    one.close()


@pytest.fixture(scope="module")
def router(worker, tmp_path_factory):
    one = Router(tmp_path_factory.mktemp("router"), "router", [worker])
    try:
        wait_until(one.is_ready, 30, f"router ready\n{one.text()[-2000:]}")
        yield one
    finally:
        one.kill()


@pytest.fixture(params=GROUPS, ids=lambda group: f"by {group or 'all'}")
def says(request, worker):
    """says(text, ...): what the model answers to the next requests, in order."""
    def script(*texts):
        worker.group, worker.script = request.param, list(texts)
    return script


@pytest.fixture
def plans(worker):
    """The same for one size of groups, where an agent's loop is what is tried."""
    def script(*texts):
        worker.group, worker.script = 3, list(texts)
    return script


@pytest.fixture
def client(router):
    return openai.OpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0)


@pytest.fixture
def claude(router):
    return anthropic.Anthropic(base_url=router.url, api_key="none", max_retries=0)


TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS, "strict": True}}
QUESTION = [{"role": "user", "content": "Weather?"}]


# --- openai

def test_openai_chat_whole_and_streamed(client, says):
    says(CALLS, CALLS)
    fields = {"model": MODEL, "messages": QUESTION, "tools": [TOOL]}
    message = client.chat.completions.create(**fields).choices[0].message
    with client.chat.completions.stream(**fields) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_completion().choices[0]
    for one in (message, streamed.message):
        assert (one.content, one.reasoning_content) == (WORDS, THOUGHT)
        assert [call.function.name for call in one.tool_calls] == ["get_weather"]
        assert json.loads(one.tool_calls[0].function.arguments) == ARGUMENTS
    assert streamed.finish_reason == "tool_calls"


def test_openai_chat_takes_its_answer_back(client, plans, worker):
    plans(CALLS, SAYS)
    messages = list(QUESTION)
    message = client.chat.completions.parse(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message
    assert message.tool_calls[0].function.parsed_arguments == ARGUMENTS
    messages += [message.model_dump(), {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "7"}]
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages, tools=[TOOL])
    assert raw.parse().choices[0].message.content == WORDS
    assert '"Zürich\\n"' in worker.prompts[-1] and THOUGHT in worker.prompts[-1]
    assert "tool\n7<|im_end|>" in worker.prompts[-1]
    assert "messages[].parsed" not in raw.headers.get("x-pingti-ignored", "")


def test_openai_chat_parses_a_structured_answer(client, says):
    says(WEATHER)
    parsed = client.chat.completions.parse(model=MODEL, messages=QUESTION, response_format=Weather)
    assert parsed.choices[0].message.parsed == Weather(city="Bern", degrees=7)


def test_openai_responses_whole_and_streamed_and_back(client, says, worker):
    says(CALLS, CALLS, SAYS)
    tool = {"type": "function", "name": "get_weather", "parameters": PARAMETERS, "strict": True}
    fields = {"model": MODEL, "input": QUESTION, "tools": [tool], "store": True,
              "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low", "summary": "auto"}}
    whole = client.responses.create(**fields)
    with client.responses.stream(**fields) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_response()
    for one in (whole, streamed):
        assert [item.type for item in one.output] == ["reasoning", "message", "function_call"]
        assert one.output[0].content[0].text == THOUGHT and one.output_text == WORDS
        assert json.loads(one.output[2].arguments) == ARGUMENTS
    back = [*QUESTION, *(item.model_dump() for item in whole.output),
            {"type": "function_call_output", "call_id": whole.output[2].call_id, "output": "7"}]
    assert client.responses.create(**{**fields, "input": back}).output_text == WORDS
    assert THOUGHT in worker.prompts[-1] and "tool\n7<|im_end|>" in worker.prompts[-1]


# --- anthropic

CLAUDE_TOOL = {"name": "get_weather", "input_schema": PARAMETERS}


def test_anthropic_whole_and_streamed_and_back(claude, says, worker):
    says(CALLS, CALLS, SAYS)
    fields = {"model": MODEL, "max_tokens": 20_000, "messages": QUESTION, "tools": [CLAUDE_TOOL],
              "thinking": {"type": "enabled", "budget_tokens": 2048},
              "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]}
    whole = claude.messages.create(**fields)
    with claude.messages.stream(**fields) as stream:
        streamed = stream.get_final_message()
    for one in (whole, streamed):
        assert [block.type for block in one.content] == ["thinking", "text", "tool_use"]
        assert (one.content[0].thinking, one.content[1].text) == (THOUGHT, WORDS)
        assert one.content[2].input == ARGUMENTS and one.stop_reason == "tool_use"
    back = [*QUESTION, {"role": "assistant", "content": [block.model_dump() for block in whole.content]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": whole.content[2].id, "content": "7"},
                {"type": "text", "text": "So?", "cache_control": {"type": "ephemeral"}}]}]
    assert claude.messages.create(**{**fields, "messages": back}).content[-1].text == WORDS
    assert THOUGHT in worker.prompts[-1] and "tool\n7<|im_end|>" in worker.prompts[-1]


def test_anthropic_parses_a_structured_answer(claude, says):
    says(WEATHER)
    parsed = claude.messages.parse(model=MODEL, max_tokens=100, messages=QUESTION, output_format=Weather)
    assert parsed.parsed_output == Weather(city="Bern", degrees=7)


def test_anthropics_tool_runner_loops(claude, plans):
    plans(CALLS, CALLS, SAYS)
    asked = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather.

        Args:
            city: where
        """
        asked.append(city)
        return "7"

    last = claude.beta.messages.tool_runner(model=MODEL, max_tokens=500, messages=QUESTION,
                                            tools=[get_weather]).until_done()
    assert last.content[-1].text == WORDS
    assert asked == [ARGUMENTS["city"]] * 2


# --- agents

LOOP = [CALLS, CALLS, SAYS]


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("streamed", [False, True])
def test_openai_agents_loops(router, plans, api, streamed):
    agents = pytest.importorskip("agents")
    plans(*LOOP)
    agents.set_tracing_disabled(True)
    asked = []

    @agents.function_tool
    def get_weather(city: str) -> str:
        """The weather."""
        asked.append(city)
        return "7"

    own = openai.AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0)
    kind = agents.OpenAIChatCompletionsModel if api == "chat" else agents.OpenAIResponsesModel
    agent = agents.Agent(name="a", instructions="i", tools=[get_weather], model=kind(model=MODEL, openai_client=own))

    async def run():
        if not streamed:
            return await agents.Runner.run(agent, "Weather?")
        result = agents.Runner.run_streamed(agent, "Weather?")
        async for _ in result.stream_events():
            pass
        return result

    assert asyncio.run(run()).final_output == WORDS
    assert asked == [ARGUMENTS["city"]] * 2


@pytest.mark.parametrize("api", ["openai", "anthropic"])
def test_pydantic_ai_loops_and_gives_structured_answers(router, plans, api):
    pydantic_ai = pytest.importorskip("pydantic_ai")
    if api == "openai":
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider
        model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=router.url + "/v1", api_key="none"))
    else:
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider
        own = anthropic.AsyncAnthropic(base_url=router.url, api_key="none", max_retries=0)
        model = AnthropicModel(MODEL, provider=AnthropicProvider(anthropic_client=own))
    asked = []

    def get_weather(city: str) -> str:
        asked.append(city)
        return "7"

    # A final answer is a tool here, so that a call is forced, which a real worker holds to its form.
    final = '<tool_call>\n{"name": "final_result", "arguments": ' + WEATHER + "}\n</tool_call>"
    plans(*(f"<think>{THOUGHT}</think>\n\n{call}" for call in (CALL, CALL, final)))
    agent = pydantic_ai.Agent(model, tools=[get_weather], output_type=Weather)
    assert agent.run_sync("Weather?").output == Weather(city="Bern", degrees=7)
    assert asked == [ARGUMENTS["city"]] * 2


def test_langchain_binds_tools_and_takes_messages_back(router, says):
    langchain_openai = pytest.importorskip("langchain_openai")
    from langchain_core.messages import ToolMessage
    says(CALLS, CALLS, SAYS, WEATHER)
    model = langchain_openai.ChatOpenAI(model=MODEL, base_url=router.url + "/v1", api_key="none", max_retries=0)
    bound = model.bind_tools([TOOL["function"]], strict=True)
    whole = bound.invoke("Weather?")
    streamed = None
    for chunk in bound.stream("Weather?"):
        streamed = chunk if streamed is None else streamed + chunk
    for one in (whole, streamed):
        assert one.content == WORDS
        assert [(call["name"], call["args"]) for call in one.tool_calls] == [("get_weather", ARGUMENTS)]
    back = bound.invoke([("user", "Weather?"), whole, ToolMessage("7", tool_call_id=whole.tool_calls[0]["id"])])
    assert back.content == WORDS
    assert model.with_structured_output(Weather).invoke("Weather?") == Weather(city="Bern", degrees=7)


def test_litellm_whole_and_streamed_and_back(router, says, monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it asks the internet for prices
    litellm = pytest.importorskip("litellm")
    says(CALLS, CALLS, SAYS, WEATHER, CALLS)
    fields = {"model": f"openai/{MODEL}", "api_base": router.url + "/v1", "api_key": "none", "max_retries": 0}
    whole = litellm.completion(messages=QUESTION, tools=[TOOL], **fields).choices[0].message
    chunks = list(litellm.completion(messages=QUESTION, tools=[TOOL], stream=True, **fields))
    streamed = litellm.stream_chunk_builder(chunks).choices[0].message
    for one in (whole, streamed):
        assert (one.content, one.reasoning_content) == (WORDS, THOUGHT)
        (call,) = one.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", ARGUMENTS)
    result = {"role": "tool", "tool_call_id": whole.tool_calls[0].id, "content": "7"}
    back = litellm.completion(messages=[*QUESTION, whole.model_dump(), result], tools=[TOOL], **fields)
    assert back.choices[0].message.content == WORDS
    parsed = litellm.completion(messages=QUESTION, response_format=Weather, **fields)
    assert Weather.model_validate_json(parsed.choices[0].message.content) == Weather(city="Bern", degrees=7)
    claude = litellm.completion(model=f"anthropic/{MODEL}", api_base=router.url, api_key="none", max_retries=0,
                                messages=QUESTION, tools=[TOOL]).choices[0].message
    assert [call.function.name for call in claude.tool_calls] == ["get_weather"]


# --- bodies of coding agents, as their public sources make them

def bodies():
    return sorted((ROOT / "tests/golden/agents").glob("*.json"))


@pytest.mark.parametrize("path", bodies(), ids=lambda path: path.stem)
def test_the_body_of_a_coding_agent_is_served(router, plans, path):
    plans(CALLS)
    recorded = json.loads(path.read_text())
    request = urllib.request.Request(router.url + recorded["path"], data=json.dumps(recorded["body"]).encode(),
                                     headers={"content-type": "application/json", **recorded["headers"]})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
        ignored = answer.headers["x-pingti-ignored"]
    assert answer.status == 200
    assert ignored == recorded["ignored"]
    assert "get_weather" in text and "Zürich" in text
