"""Renders a folder of chat templates (*.jinja) with pingti's engine and with jinja2 as transformers sets it
up, over fixed conversations, and says where they differ. Run by hand: collections of templates that
others wrote are not part of this repository.

    TZ=UTC python compare_templates.py FOLDER --render build/release/bin/render_templates

Equal means: the same text, or both refuse; and where a template refuses with raise_exception, for the
same reason. Needs jinja2 3.1.6.
"""
import argparse
import collections
import json
import pathlib
import subprocess
import sys

from jinja_env import make_environment
from make_template_families import CONVERSATIONS, SYSTEM, TOOLS, assistant, call, user

PARTS = [{"type": "text", "text": "What is this? "}, {"type": "image"},
         {"type": "image_url", "image_url": {"url": "http://localhost/a.png"}}, {"type": "video"},
         {"type": "audio", "audio": "a.wav"}, {"type": "text", "text": "and that?"}]
RESULT = {"role": "tool", "name": "get_weather", "content": "{\"sky\": \"clear\"}",
          "tool_call_id": "abcdefghi"}
MORE_CONVERSATIONS = {
    "media": [SYSTEM, user(PARTS), assistant([{"type": "text", "text": "A cat."}]), user("sure?")],
    "system_parts": [{"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
                     user([{"type": "text", "text": "Hi"}])],
    "developer": [{"role": "developer", "content": "Be brief."}, user("Hi")],
    "thinking": [user("q"), assistant("a", thinking="t1"), user("r"), assistant("b", reasoning="t2"),
                 user("s")],
    "thought_calls": [
        user("Weather?"),
        assistant("I look.", reasoning_content="hm\nhm", tool_calls=[call("get_weather", {"city": "A"})]),
        RESULT, assistant("", reasoning_content="more", tool_calls=[call("add", {"a": 1.5, "b": [None]})]),
        {**RESULT, "name": "add", "content": "4"}, assistant("Done.", reasoning_content="ok"), user("!")],
    "arguments_as_text": [user("x"), assistant("", tool_calls=[call("add", "{\"a\": 1}")]), RESULT],
    "empty_calls": [user("x"), assistant("y", tool_calls=[]), user("z")],
    "result_parts": [user("x"), assistant(None, tool_calls=[call("add", {})]),
                     {**RESULT, "content": [{"type": "text", "text": "4"}]}, user("y")],
    "result_last": [user("x"), assistant("", tool_calls=[call("get_weather", {"days": 3})]), RESULT],
    "many_turns": [SYSTEM] + [turn for i in range(4) for turn in (user(f"q{i}"), assistant(f"a{i}"))]
    + [user("last")],
}
MESSAGES = {**CONVERSATIONS, **MORE_CONVERSATIONS}
DOCUMENTS = [{"title": "T", "text": "body", "doc_id": 1}]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
VARIANTS = [
    {"add_generation_prompt": True},
    {"add_generation_prompt": True, "tools": None, "documents": None},
    {"add_generation_prompt": False, "tools": TOOLS, "documents": None},
    {"add_generation_prompt": True, "tools": TOOLS, "enable_thinking": False, "thinking": False},
    {"add_generation_prompt": True, "tools": TOOLS[:1], "documents": DOCUMENTS, "enable_thinking": True,
     "thinking": True, "reasoning_effort": "high"},
]


class Engine:
    """Our engine, a process that answers a line with a line."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def render(self, source, context):
        line = json.dumps({"template": source, "context": context})
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


class Reference:
    """jinja2, which says what was raised by the template's own words."""

    def __init__(self):
        self.env = make_environment()
        self.raised = False
        raise_exception = self.env.globals["raise_exception"]

        def noted(message):
            self.raised = True
            raise_exception(message)

        self.env.globals["raise_exception"] = noted

    def parse(self, source):
        """A function of the context that gives {"output": text} or {"error": message}."""
        try:
            template = self.env.from_string(source)
        except Exception as error:  # what a template does wrong comes in many classes
            refusal = {"error": str(error)}
            return lambda context: refusal

        def render(context):
            self.raised = False
            try:
                return {"output": template.render(**context)}
            except Exception as error:
                return {"error": str(error)}

        return render


def difference(ours, theirs, raised):
    """Empty when they agree; else a word for the kind of difference."""
    if "output" in ours and "output" in theirs:
        return "" if ours["output"] == theirs["output"] else "other text"
    if "output" in ours:
        return "ours renders"
    if "output" in theirs:
        return "ours refuses"
    return "other reason" if raised and theirs["error"] not in ours["error"] else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--render", required=True, help="the program render_templates of the tests")
    options = parser.parse_args()

    engine, reference = Engine(options.render), Reference()
    counts, differing = collections.Counter(), set()
    templates = sorted(options.folder.glob("**/*.jinja"))
    for path in templates:
        source = path.read_bytes().decode("utf-8")
        render = reference.parse(source)
        for name, messages in MESSAGES.items():
            for number, variant in enumerate(VARIANTS):
                context = {**TOKENS, "messages": messages, **variant}
                theirs, ours = render(context), engine.render(source, context)
                kind = difference(ours, theirs, reference.raised)
                counts[kind or ("text" if "output" in theirs else "refused by both")] += 1
                if kind:
                    differing.add(path)
                    print(json.dumps({"template": path.name, "conversation": name, "variant": number,
                                      "kind": kind, "jinja2": theirs, "pingti": ours}))
    print(f"{len(templates)} templates, {sum(counts.values())} renderings: {dict(counts)}; "
          f"templates that differ: {len(differing)}", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
