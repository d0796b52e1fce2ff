"""Writes template_families.json: templates/*.jinja over conversations, as jinja2 renders them. The
lines of all outputs stand once in "lines". A case, found under template, conversation and number of
the variant, is the list of its output's lines, or the error in words.

    TZ=UTC python make_template_families.py > template_families.json      (jinja2 3.1.6)

smollm2.jinja is the template inside SmolLM2-135M-Instruct's GGUF file (Apache-2.0); the others are
written for this test in the manner of the families they are named after.
"""
import json
import pathlib
import sys

from jinja_env import make_environment, render

HERE = pathlib.Path(__file__).parent

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Current weather of a place, \"as seen\" <outside>.",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": " The city "},
            "days": {"type": "integer", "description": "How many"},
            "tags": {"type": "array", "items": {"type": "string"}, "description": "T"},
            "either": {"type": ["string", "integer"], "description": "E"},
            "map": {"type": "object", "additionalProperties": {"type": "number"}, "description": "M"}},
            "required": ["city"]},
        "return": {"type": "object"}}},
    {"type": "function", "function": {
        "name": "add", "description": "\u52a0\u6cd5 adds two numbers and says what came out of it",
        "parameters": {"type": "object", "properties": {}, "required": []}}},
]


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def call(name, arguments, ident="abcdefghi"):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


SYSTEM = {"role": "system", "content": "  Be brief.\nAnd kind. "}
CONVERSATIONS = {
    "one_user": [user("Hi there")],
    "system_user": [SYSTEM, user("Was ist das? \u4f60\u597d \U0001f600")],
    "multi_turn": [SYSTEM, user(" a "), assistant("  b\n"), user("c"), assistant("d"), user("e")],
    "reasoning": [user("q"), assistant("<think>\nhm\n</think>\n\nanswer"), user("again"),
                  assistant("<think>x</think>y", reasoning_content="given")],
    "reasoning_last": [user("q"), assistant("text", reasoning_content="because\n")],
    "tool_round": [SYSTEM, user("Weather?"),
                   assistant("", tool_calls=[call("get_weather", {"city": "K\u00f6ln", "days": 2})]),
                   {"role": "tool", "content": "sunny\n20", "tool_call_id": "abcdefghi"},
                   assistant("Sunny."), user("thanks")],
    "two_calls": [user("both"),
                  assistant(None, tool_calls=[call("get_weather", {"city": "A"}), call("add", {})]),
                  {"role": "tool", "content": "1", "tool_call_id": "abcdefghi"},
                  {"role": "tool", "content": "{\"x\": 2}", "tool_call_id": "abcdefghi"}],
    "assistant_first": [assistant("me first"), user("ok")],
    "two_users": [user("a"), user("b")],
    "two_systems": [SYSTEM, {"role": "system", "content": "again"}, user("x")],
    "system_last": [user("x"), {"role": "system", "content": "late"}],
    "only_system": [SYSTEM],
    "tool_first": [{"role": "tool", "content": "1", "tool_call_id": "abcdefghi"}, user("x")],
    "assistant_last": [user("x"), assistant("y")],
    "empty": [],
    "odd_role": [{"role": "critic", "content": "?"}],
    "no_content": [{"role": "user"}],
    "null_content": [user(None)],
    "parts": [user([{"type": "text", "text": " look "}, {"type": "image"}])],
    "tricky_text": [user("{{ not_a_template }} {% if %} <|im_end|> \\n \u2028 \x00 'q' \"d\" </think>")],
    "empty_text": [user("")],
}
VARIANTS = [
    {"add_generation_prompt": True},
    {"add_generation_prompt": False, "tools": TOOLS},
    {"add_generation_prompt": True, "tools": TOOLS, "enable_thinking": False,
     "tools_in_user_message": False, "builtin_tools": ["code_interpreter", "get_weather"]},
]


def main():
    env = make_environment()
    lines = {}

    def case(source, messages, variant):
        context = {"bos_token": "<s>", "eos_token": "</s>", "messages": messages, **variant}
        result = render(env, source, context)
        if "error" in result:
            return result["error"]
        return [lines.setdefault(line, len(lines)) for line in result["output"].split("\n")]

    cases = {path.name: {name: [case(path.read_text(encoding="utf-8"), messages, variant)
                                for variant in VARIANTS]
                         for name, messages in CONVERSATIONS.items()}
             for path in sorted((HERE / "templates").glob("*.jinja"))}
    json.dump({"conversations": CONVERSATIONS, "variants": VARIANTS, "lines": list(lines), "cases": cases},
              sys.stdout, ensure_ascii=False, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
