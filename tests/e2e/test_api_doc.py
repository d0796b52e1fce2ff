"""docs/api.md against the parsers' tables, name by name, and against a running server."""

import json
import re
import urllib.error
import urllib.request

import pytest

from conftest import MODEL_ID, ROOT

PARSERS = ["router/openai/parse.cc", "router/openai/parse_params.cc", "router/openai/chat_messages.cc",
           "router/openai/structured_output.cc", "router/openai/template_context.cc",
           "router/responses/parse.cc", "router/responses/input_items.cc",
           "router/anthropic/parse.cc", "router/anthropic/messages.cc"]

CHAT, BOTH, COMPLETIONS = "Chat completions", "Sampling and format", "Completions"
RESPONSES, MESSAGES, COUNT = "Responses", "Messages", "Count tokens"

# Where the page has the names of each list: (section, what stands before each name).
LISTS = {
    "router/openai/chat_messages.cc kMessageFields": [(CHAT, "messages[].")],
    "router/openai/chat_messages.cc kPartFields": [(CHAT, "messages[].content[].")],
    "router/openai/chat_messages.cc kCallFields": [(CHAT, "messages[].tool_calls[].")],
    "router/openai/chat_messages.cc kCallFunctionFields": [(CHAT, "messages[].tool_calls[].function.")],
    "router/openai/chat_messages.cc kToolFields": [(CHAT, "tools[].")],
    "router/openai/chat_messages.cc kFunctionFields": [(CHAT, "tools[].function.")],
    "router/openai/chat_messages.cc ParseToolChoice kKnown": [(CHAT, "tool_choice.")],
    "router/openai/chat_messages.cc ParseToolChoice kFunctionKnown": [(CHAT, "tool_choice.function.")],
    "router/openai/parse.cc ReadStreamOptions kKnown": [(BOTH, "stream_options.")],
    "router/openai/parse.cc ParseTokenizeRequest kKnown": [("Tokenize", "")],
    "router/openai/parse.cc ParseDetokenizeRequest kKnown": [("Detokenize", "")],
    "router/openai/structured_output.cc ReadJsonSchema kKnown": [
        (BOTH, "response_format.json_schema."), (RESPONSES, "text.format.")],
    "router/openai/structured_output.cc ReadResponseFormat kKnown": [(BOTH, "response_format.")],
    "router/responses/input_items.cc kMessageFields": [(RESPONSES, "input[].")],
    "router/responses/input_items.cc kCallFields": [(RESPONSES, "input[].")],
    "router/responses/input_items.cc kOutputFields": [(RESPONSES, "input[].")],
    "router/responses/input_items.cc kReasoningFields": [(RESPONSES, "input[].")],
    "router/responses/input_items.cc kPartFields": [(RESPONSES, "input[].content[].")],
    "router/responses/parse.cc kSameFields": [(RESPONSES, "")],
    "router/responses/parse.cc kReadHere": [(RESPONSES, "")],
    "router/responses/parse.cc ReadTools kKnown": [(RESPONSES, "tools[].")],
    "router/responses/parse.cc ReadToolChoice kKnown": [(RESPONSES, "tool_choice.")],
    "router/responses/parse.cc ReadText kKnown": [(RESPONSES, "text.")],
    "router/responses/parse.cc CheckSwitches kStreamOptions": [(RESPONSES, "stream_options.")],
    "router/anthropic/messages.cc kTurnFields": [(MESSAGES, "messages[].")],
    "router/anthropic/messages.cc kTextFields": [(MESSAGES, "messages[].content[].")],
    "router/anthropic/messages.cc kResultFields": [(MESSAGES, "messages[].content[].")],
    "router/anthropic/messages.cc kUseFields": [(MESSAGES, "messages[].content[].")],
    "router/anthropic/messages.cc kThinkingFields": [(MESSAGES, "messages[].content[].")],
    "router/anthropic/messages.cc CheckCacheControl kKnown": [(MESSAGES, "cache_control.")],
    "router/anthropic/parse.cc kSameFields": [(MESSAGES, "")],
    "router/anthropic/parse.cc kReadHere": [(MESSAGES, "")],
    "router/anthropic/parse.cc kForCounting": [(COUNT, "")],
    "router/anthropic/parse.cc ReadTool kKnown": [(MESSAGES, "tools[].")],
    "router/anthropic/parse.cc ReadToolChoice kKnown": [(MESSAGES, "tool_choice.")],
    "router/anthropic/parse.cc ReadThinking kKnown": [(MESSAGES, "thinking.")],
    "router/anthropic/parse.cc ReadOutputConfig kKnown": [(MESSAGES, "output_config.")],
    "router/anthropic/parse.cc ReadOutputConfig kFormatFields": [(MESSAGES, "output_config.format.")],
    "router/anthropic/parse.cc ReadMetadata kKnown": [(MESSAGES, "metadata.")],
    # Values rather than fields.
    "router/openai/template_context.cc kReservedTemplateNames": [],
    "router/responses/input_items.cc AddMessage kInputParts": [],
    "router/responses/input_items.cc AddCallOutput kParts": [],
    "router/responses/input_items.cc AddReasoning kParts": [],
    "router/responses/input_items.cc AddReasoning kSummaryParts": [],
    "router/anthropic/parse.cc kVersions": [],
}
# Read where the object's kind is decided, before its list of names applies.
READ_APART = {(RESPONSES, "text.format.type")}
TABLES = {"kCommonFields": BOTH, "kChatFields": CHAT, "kCompletionFields": COMPLETIONS}
REFUSED = {CHAT: "Refused in a chat", RESPONSES: "Refused in Responses", MESSAGES: "Refused in Messages"}


def source(path):
    return (ROOT / path).read_text()


def strings(text):
    return re.findall(r'"([^"]*)"', text)


def owner(text, at):
    """The function that a definition at `at` stands in, with a space behind it; empty at file level."""
    if text[text.rfind("\n", 0, at) + 1] != " ":
        return ""
    return re.findall(r"^[A-Za-z].*?\b(\w+)\(", text[:at], re.MULTILINE)[-1] + " "


def source_lists():
    """Every list of names in the parsers, by file, function and constant."""
    found = {}
    for path in PARSERS:
        text = source(path)
        for match in re.finditer(
                r"constexpr std::(?:array<std::string_view, \d+> (k\w+)|string_view (k\w+)\[\]) = \{(.*?)\};",
                text, re.DOTALL):
            key = f"{path} {owner(text, match.start())}{match[1] or match[2]}"
            assert key not in found, key
            found[key] = strings(match[3])
    return found


def constants(text):
    return dict(re.findall(r'constexpr std::string_view (k\w+) =\s*"([^"]*)";', text))


def rows_of(text, table):
    """Name and refusal of each row of a table of fields; the refusal is empty for a field that is read."""
    (body,) = re.findall(table + r"\[\] = \{\n(.*?)\n\};", text, re.DOTALL)
    known = constants(text)
    rows = []
    for row in re.findall(r"\{([^{}]*)\}", body):
        name, refusal = re.fullmatch(r'\s*"(\w+)",.*?("[^"]*"|k\w+)\s*', row, re.DOTALL).groups()
        rows.append((name, refusal[1:-1] if refusal.startswith('"') else known[refusal]))
    return rows


def source_fields():
    """The fields that are read, by the page's section."""
    fields = {}
    for section, name in READ_APART:
        fields.setdefault(section, set()).add(name)
    for key, names in source_lists().items():
        for section, prefix in LISTS.get(key, []):
            fields.setdefault(section, set()).update(prefix + name for name in names)
    for table, section in TABLES.items():
        fields.setdefault(section, set()).update(
            name for name, refusal in rows_of(source("router/openai/parse_params.cc"), table) if not refusal)
    return fields


def source_refusals():
    params = source("router/openai/parse_params.cc")
    refusals = {CHAT: {name: why for table in TABLES for name, why in rows_of(params, table) if why}}
    for section, path in [(RESPONSES, "router/responses/parse.cc"), (MESSAGES, "router/anthropic/parse.cc")]:
        refusals[section] = dict(rows_of(source(path), "constexpr Refusal kRefusals"))
    return refusals


def page_tables():
    """Rows of the page's tables by section: cells, without the line that heads a table."""
    tables, section = {}, None
    for line in (ROOT / "docs/api.md").read_text().splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("|"):
            tables.setdefault(section, []).append([cell.strip() for cell in line.strip("|").split("|")])
    return tables


PAGE = page_tables()


def page_rows(section):
    """Names in the first cell, and the other cells, of the section's table of fields."""
    assert PAGE[section][0][0] == "field", section
    return [(re.findall(r"`([^`]+)`", row[0]), row[1:]) for row in PAGE[section][2:]]


def page_refusals(section):
    return {names[0]: cells[0] for names, cells in page_rows(REFUSED[section])}


def test_every_list_in_the_parsers_has_its_place_on_the_page():
    assert source_lists().keys() == LISTS.keys()
    assert all(source_lists().values())


# What the sources had when this was written: an extraction that finds less is broken.
@pytest.mark.parametrize("section, at_least", [
    (CHAT, 36), (BOTH, 33), (COMPLETIONS, 6), ("Tokenize", 7), ("Detokenize", 2), (RESPONSES, 65),
    (MESSAGES, 45), (COUNT, 8)])
def test_the_page_has_exactly_the_fields_that_are_read(section, at_least):
    read = source_fields()[section]
    assert len(read) >= at_least
    written = [name for names, _ in page_rows(section) for name in names]
    assert sorted(written) == sorted(read)


@pytest.mark.parametrize("section, at_least", [(CHAT, 13), (RESPONSES, 11), (MESSAGES, 7)])
def test_the_page_has_exactly_the_refusals_and_their_reasons(section, at_least):
    refused = source_refusals()[section]
    assert len(refused) >= at_least
    assert page_refusals(section) == refused


def test_the_page_has_exactly_the_endpoints():
    served = {f"{method} {path}" for path, method in
              re.findall(r'\{"(/v1/[^"]+)", "([A-Z]+)"', source("router/http/api_handler.cc"))}
    assert len(served) >= 9
    assert {row[0].strip("`") for row in PAGE["The APIs"][2:]} == served


def last_arguments(text, function):
    """The last argument of every call of `function` in C++ text."""
    for match in re.finditer(r"\b" + function + r"\(", text):
        depth, begin, in_string, at = 1, match.end(), False, match.end()
        while depth > 0:
            char = text[at]
            if char == '"' and text[at - 1] != "\\":
                in_string = not in_string
            elif not in_string:
                depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(char, 0)
                if char == "," and depth == 1:
                    begin = at + 1
            at += 1
        yield text[begin:at - 1]


def test_the_page_has_exactly_the_codes_of_errors():
    used = set()
    for path in sorted((ROOT / "router").rglob("*.cc")):
        for argument in last_arguments(path.read_text(), "ApiError"):
            # Not the values that a code is chosen by.
            used.update(re.findall(r'(?<!== )"(\w+)"', argument))
    assert len(used) >= 19
    begin = next(i for i, row in enumerate(PAGE["Errors"]) if row[0] == "`code`")
    written = [code for row in PAGE["Errors"][begin + 2:] for code in re.findall(r"`(\w+)`", row[0])]
    assert sorted(written) == sorted(used)


def test_the_page_has_exactly_the_formats_of_thoughts_and_tool_calls():
    text = source("router/api/answer_format.cc")
    names = text[text.index("kToolCallFormats[]"):]
    calls = re.findall(r'\{"(\w+)", ToolCallFormat::', names[:names.index("};")])
    thoughts = re.findall(r'ReasoningFormat::\w+, \{"([^"]+)", "([^"]+)"\}', text)
    assert len(calls) >= 3 and len(thoughts) >= 3
    rows = [row[0] for row in PAGE["Formats"]]
    begin = rows.index("tool calls")
    assert [tuple(re.findall(r"`([^`]+)`", row)) for row in rows[2:begin]] == thoughts
    assert [row.strip("`") for row in rows[begin + 2:]] == calls


# Codes of status that the router has and never sends: the client of the one is gone.
NEVER_SENT = {"403", "499"}


def test_the_page_has_exactly_the_statuses_of_errors():
    types = dict(re.findall(r'return \{(\d+), "(\w+)"\}', source("router/api/api_error.cc")))
    assert len(types) >= 10
    protocol = set(re.findall(r"ProtocolError\((\d+),", "".join(
        source(path) for path in ["common/net/http_session.cc", "common/net/http_session_write.cc",
                                  "router/http/api_handler.cc"])))
    assert len(protocol) >= 10
    begin = next(i for i, row in enumerate(PAGE["Errors"]) if row[0] == "status")
    end = next(i for i, row in enumerate(PAGE["Errors"]) if row[0] == "`code`")
    rows = PAGE["Errors"][begin + 2:end]
    statuses = [status for row in rows for status in row[0].split(", ")]
    assert sorted(statuses) == sorted((types.keys() | protocol) - NEVER_SENT)
    for row in rows:
        if row[0] in types and row[1]:
            assert row[1] == f"`{types[row[0]]}`"


# --- the running server

BODIES = {
    CHAT: ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}),
    BOTH: ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}),
    COMPLETIONS: ("/v1/completions", {"prompt": "hi", "max_tokens": 1}),
    RESPONSES: ("/v1/responses", {"input": "hi", "max_output_tokens": 1}),
    MESSAGES: ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}),
}


def post(cluster, section, **fields):
    path, body = BODIES[section]
    body = {"model": MODEL_ID, **body, **fields}
    request = urllib.request.Request(cluster.router.url + path, data=json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize("section, field, why", [
    (section, field, why) for section in REFUSED for field, why in page_refusals(section).items()])
def test_the_server_refuses_a_field_with_the_pages_words(cluster, section, field, why):
    status, body = post(cluster, section, **{field: {}})
    assert status == 400
    assert body["error"]["message"] == f"'{field}' is not supported: {why}"
    if section != MESSAGES:
        assert (body["error"]["param"], body["error"]["code"]) == (field, "unsupported_parameter")


def page_ranges():
    ranges = []
    for section in (CHAT, BOTH, COMPLETIONS, RESPONSES):
        for names, cells in page_rows(section):
            match = re.match(r"(-?[\d.]+) to (-?[\d.]+)\b", cells[0])
            if match:
                ranges += [(section, name, json.loads(match[1]), json.loads(match[2])) for name in names]
    return ranges


def needed(section, name):
    return {"logprobs": True} if (section, name) == (CHAT, "top_logprobs") else {}


def test_the_page_states_ranges():
    assert len(page_ranges()) >= 11


@pytest.mark.parametrize("section, name, least, most", page_ranges())
def test_the_server_takes_the_pages_range_and_no_more(cluster, section, name, least, most):
    for good in (least, most):
        status, body = post(cluster, section, **{name: good}, **needed(section, name))
        assert status == 200, body
    for bad in (least - 1, most + 1):
        status, body = post(cluster, section, **{name: bad}, **needed(section, name))
        assert status == 400 and body["error"]["param"] == name, (bad, body)


ONLY = {"only false": (False, True), "only 1": (1, 2), "only null": (None, {})}


@pytest.mark.parametrize("section, name, good, bad", [
    (section, name, *ONLY[cells[0]])
    for section in (CHAT, COMPLETIONS, RESPONSES) for names, cells in page_rows(section) for name in names
    if cells[0] in ONLY and "." not in name])
def test_a_field_with_one_value_takes_no_other(cluster, section, name, good, bad):
    assert post(cluster, section, **{name: good})[0] == 200
    status, body = post(cluster, section, **{name: bad})
    assert (status, body["error"]["param"]) == (400, name)


@pytest.mark.parametrize("section", REFUSED)
def test_an_unknown_field_is_refused_by_name(cluster, section):
    status, body = post(cluster, section, tempreature=1)
    assert status == 400 and "tempreature" in body["error"]["message"]
