"""Answers in Harmony's messages, in the tokens of gpt-oss, against OpenAI's own parser of them."""

import json
import random

import anthropic
import pytest

from conftest import MODEL_ID, ROOT, Router, wait_until
import harmony_tokenizer
from scripted_worker import ScriptedWorker, load_protos
from tiny_gpt_oss import CALL, END_OF_TEXT, RETURN, TEMPLATE, TOOLS

RANKS = harmony_tokenizer.find_ranks()
pytestmark = pytest.mark.skipif(
    RANKS is None,
    reason="no package here carries o200k_base's ranks; litellm of tests/requirements.txt does",
)
harmony = pytest.importorskip(
    "openai_harmony", reason="openai-harmony of tests/requirements.txt is not installed"
)
QUESTION = [{"role": "user", "content": "q"}]


@pytest.fixture(scope="module")
def encoding(tmp_path_factory):
    return harmony_tokenizer.openai_encoding(RANKS, tmp_path_factory.mktemp("encodings"))


class HarmonyWorker(ScriptedWorker):
    """Says lists of token ids."""

    def __init__(self, protos, tokenizer):
        super().__init__(protos, MODEL_ID)
        self.tokenizer = tokenizer
        self.prompt = []  # of the last sequence, as token ids

    def GetModelCard(self, request, context):
        card = super().GetModelCard(request, context)
        card.vocab_size = harmony_tokenizer.VOCAB_SIZE
        card.chat_template = TEMPLATE
        card.tool_call_format = "harmony"
        card.reasoning_start = "<|channel|>analysis<|message|>"
        card.reasoning_end = "<|end|><|start|>assistant<|channel|>final<|message|>"
        card.eos_token_ids[:] = [RETURN, END_OF_TEXT, CALL]
        card.tokenizer.format = self.pb.Asset.FORMAT_TOKENIZER_JSON
        return card

    def GetModelAsset(self, request, context):
        for at in range(0, len(self.tokenizer), 1 << 20):
            yield self.pb.AssetChunk(data=self.tokenizer[at : at + (1 << 20)])

    def answer(self, sequence):
        self.prompt = list(sequence.prompt_token_ids)
        tokens = self.script.pop(0)
        for at in range(0, len(tokens), self.group):
            output = self.pb.SequenceOutput(
                sequence_id=sequence.sequence_id, token_ids=tokens[at : at + self.group]
            )
            if at + self.group >= len(tokens):
                output.finish.CopyFrom(
                    self.pb.Finish(
                        reason=self.pb.Finish.REASON_STOP_TOKEN, stop_token_id=tokens[-1]
                    )
                )
            yield self.pb.SessionResponse(
                step_output=self.pb.StepOutput(step=at + 1, outputs=[output])
            )


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    tokenizer = harmony_tokenizer.tokenizer_bytes(RANKS)
    worker = HarmonyWorker(load_protos(ROOT, tmp_path_factory.mktemp("stubs")), tokenizer)
    router = Router(tmp_path_factory.mktemp("scripted"), "router", [worker])
    try:
        wait_until(router.is_ready, 60, f"router ready\n{router.text()[-2000:]}")
        yield worker, router
    finally:
        router.kill()
        worker.close()


TEXTS = [
    "2 + 2 is 4.",
    "Zürich 😀\n\n",
    ' {"a": 1} ',
    "f <| x |> y",
    "The token <|end|> ends a message, <|call|> a call.",
    "to=functions.now",
    "<|channel|>commentary to=functions.now<|message|>{}<|call|>",
]
HEADERS = [
    "<|channel|>commentary to=functions.{} <|constrain|>json<|message|>",
    "<|channel|>commentary to=functions.{}<|message|>",
    " to=functions.{}<|channel|>commentary <|constrain|>json<|message|>",
    "<|channel|>analysis to=functions.{} code<|message|>",
]


def draw_answer(rng, encoding):
    """Tokens of thoughts, preambles and words, and a call at the end or none."""

    def marks(text):
        return encoding.encode(text, allowed_special="all")

    def plain(text):
        return encoding.encode(text, disallowed_special=())

    tokens = []
    for _ in range(rng.randrange(4)):
        channel = rng.choice(["analysis", "analysis", "commentary", "final"])
        tokens += (
            marks(f"<|channel|>{channel}<|message|>")
            + plain(rng.choice(TEXTS))
            + marks("<|end|><|start|>assistant")
        )
    if rng.random() < 0.5:
        arguments = json.dumps(
            {"city": rng.choice(TEXTS), "days": rng.randrange(9)}, ensure_ascii=False
        )
        return tokens + marks(rng.choice(HEADERS).format("get_weather")) + plain(arguments) + [CALL]
    return tokens + marks("<|channel|>final<|message|>") + plain(rng.choice(TEXTS)) + [RETURN]


def as_openai_reads(encoding, tokens):
    """Thoughts, words and calls."""
    messages = encoding.parse_messages_from_completion_tokens(tokens, harmony.Role.ASSISTANT)
    text = {id(m): m.content[0].text for m in messages}
    calls = [m for m in messages if m.recipient not in (None, "assistant", "all")]
    words = [m for m in messages if m not in calls]
    return (
        "\n".join(text[id(m)] for m in words if m.channel == "analysis"),
        "\n".join(text[id(m)] for m in words if m.channel != "analysis"),
        [(m.recipient.removeprefix("functions."), json.loads(text[id(m)])) for m in calls],
    )


@pytest.mark.parametrize("group", [1, 3, 1000])
def test_answers_are_read_as_openai_reads_them(scripted, encoding, group):
    worker, client = scripted[0], scripted[1].client()
    worker.group = group
    rng = random.Random(17)
    for i in range(60):
        tokens = draw_answer(rng, encoding)
        thoughts, words, calls = as_openai_reads(encoding, tokens)
        if calls:
            words = words.rstrip()  # white space before a call is left out, as in every syntax
        worker.script = [tokens, tokens]
        fields = {"model": MODEL_ID, "messages": QUESTION, "tools": TOOLS}
        choice = client.chat.completions.create(**fields).choices[0]
        message = choice.message
        said = [
            (c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or []
        ]
        where = f"answer {i}: {encoding.decode(tokens)!r}"
        assert (getattr(message, "reasoning_content", None) or "") == thoughts, where
        assert (message.content or "") == words, where
        assert said == calls, where
        assert choice.finish_reason == ("tool_calls" if calls else "stop"), where
        streamed = {"reasoning_content": "", "content": "", "arguments": ""}
        for chunk in client.chat.completions.create(stream=True, **fields):
            delta = chunk.choices[0].delta
            streamed["reasoning_content"] += getattr(delta, "reasoning_content", None) or ""
            streamed["content"] += delta.content or ""
            streamed["arguments"] += "".join(
                c.function.arguments or "" for c in delta.tool_calls or []
            )
        assert streamed["reasoning_content"] == thoughts and streamed["content"] == words, where
        assert (
            [json.loads(streamed["arguments"])] == [a for _, a in calls]
            if calls
            else streamed["arguments"] == ""
        ), where


def test_a_stop_string_ends_words_and_no_thought(scripted, encoding):
    worker, client = scripted[0], scripted[1].client()
    worker.group = 1
    text = (
        "<|channel|>analysis<|message|>It is 4.<|end|><|start|>assistant"
        "<|channel|>final<|message|>It is 4.<|return|>"
    )
    worker.script = [encoding.encode(text, allowed_special="all")]
    choice = client.chat.completions.create(model=MODEL_ID, messages=QUESTION, stop=["is"]).choices[
        0
    ]
    assert choice.message.reasoning_content == "It is 4."
    assert (choice.message.content, choice.finish_reason) == ("It ", "stop")


# A thought, a call, its result and the words, as a client of each API goes on with what it got.
THOUGHT, ARGUMENTS, RESULT, WORDS = "I look.", '{"city": "Zürich"}', "sunny", "It is sunny."
CALLS = (
    f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant"
    "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
    f"{ARGUMENTS}<|call|>"
)
ANSWERS = f"<|channel|>final<|message|>{WORDS}<|return|>"
SECOND_PROMPT_ENDS = (
    f"<|start|>user<|message|>Weather?<|end|>"
    f"<|start|>assistant<|channel|>analysis<|message|>{THOUGHT}<|end|>"
    "<|start|>assistant to=functions.get_weather<|channel|>commentary <|constrain|>json<|message|>"
    f"{ARGUMENTS}<|call|>"
    "<|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>"
    f"{RESULT}<|end|><|start|>assistant"
)
FUNCTION = TOOLS[0]["function"]


def go_on_in_chat(router):
    client, messages = router.client(), [{"role": "user", "content": "Weather?"}]
    fields = {"model": MODEL_ID, "tools": TOOLS}
    first = client.chat.completions.create(messages=messages, **fields).choices[0].message
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": RESULT}
    messages += [first.model_dump(exclude_none=True), result]
    return client.chat.completions.create(messages=messages, **fields).choices[0].message.content


def go_on_in_responses(router):
    client, items = router.client(), [{"role": "user", "content": "Weather?"}]
    fields = {"model": MODEL_ID, "tools": [{"type": "function", **FUNCTION}]}
    first = client.responses.create(input=items, **fields)
    items += [item.model_dump(exclude_none=True) for item in first.output]
    items.append(
        {"type": "function_call_output", "call_id": first.output[-1].call_id, "output": RESULT}
    )
    return client.responses.create(input=items, **fields).output_text


def go_on_in_messages(router):
    client = anthropic.Anthropic(base_url=router.url, api_key="none", max_retries=0)
    messages = [{"role": "user", "content": "Weather?"}]
    tool = {"name": FUNCTION["name"], "description": FUNCTION["description"]}
    fields = {
        "model": MODEL_ID,
        "max_tokens": 100,
        "tools": [{**tool, "input_schema": FUNCTION["parameters"]}],
    }
    first = client.messages.create(messages=messages, **fields)
    result = {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": RESULT}
    messages += [
        {"role": "assistant", "content": [block.model_dump() for block in first.content]},
        {"role": "user", "content": [result]},
    ]
    return client.messages.create(messages=messages, **fields).content[-1].text


@pytest.mark.parametrize("go_on", [go_on_in_chat, go_on_in_responses, go_on_in_messages])
def test_a_client_goes_on_behind_a_call(scripted, encoding, go_on):
    worker, router = scripted
    worker.group = 1
    worker.script = [encoding.encode(text, allowed_special="all") for text in (CALLS, ANSWERS)]
    assert go_on(router) == WORDS
    assert encoding.decode(worker.prompt).endswith(SECOND_PROMPT_ENDS)
    ends = encoding.encode(SECOND_PROMPT_ENDS, allowed_special="all")
    assert worker.prompt[-len(ends) :] == ends
