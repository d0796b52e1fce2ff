"""docs/api.md against the parsers' tables, name by name, and against a running server."""

import json
import re
import urllib.error
import urllib.request

import pytest

from conftest import MODEL_ID, ROOT

CHAT, BOTH, COMPLETIONS = "Chat completions", "Sampling and format", "Completions"
RESPONSES, MESSAGES, COUNT = "Responses", "Messages", "Count tokens"
TOKENIZE, DETOKENIZE = "Tokenize", "Detokenize"
LOAD, UNLOAD = "Load adapter", "Unload adapter"

# The tables of router/api/field_tables.cc that each section of the page has.
TABLES = {
    CHAT: ["kChatPromptFields", "kChatFields"], BOTH: ["kCommonFields"], COMPLETIONS: ["kCompletionFields"],
    RESPONSES: ["kResponsesFields"], MESSAGES: ["kMessagesPromptFields", "kMessagesFields"],
    DETOKENIZE: ["kDetokenizeFields"], LOAD: ["kLoadAdapterFields"],
    UNLOAD: ["kUnloadAdapterFields"]}
# Those of which a section has the body's own members and says of the rest where it stands.
PROMPTS = {COUNT: ["kMessagesPromptFields"], TOKENIZE: ["kChatPromptFields", "kTokenizeFields"]}
IGNORED = {CHAT: "Ignored in a chat", BOTH: "Ignored in both", RESPONSES: "Ignored in Responses",
           MESSAGES: "Ignored in Messages"}
REFUSED = {CHAT: "Refused in a chat", BOTH: "Refused in both", RESPONSES: "Refused in Responses",
           MESSAGES: "Refused in Messages"}


def source(path):
    return (ROOT / path).read_text()


def constants(text):
    return dict(re.findall(r'constexpr std::string_view (k\w+) =\s*"([^"]*)";', text))


def source_rows(table):
    """Name, use, reason and neutral values of each row of a table of fields."""
    text = source("router/api/field_tables.cc")
    known = constants(text)
    (body,) = re.findall(r"constexpr FieldRow " + table + r"\[\] = \{(.*?)\};\n", text, re.DOTALL)
    string = r'(?:R"\((.*?)\)"|"([^"]*)"|(k\w+))'
    rows = []
    for row in re.finditer(r'\{"([^"]+)"(?:,\s*(k\w+))?(?:,\s*' + string + r")?(?:,\s*" + string + r")?\}", body):
        name, use, *texts = row.groups()
        why, neutral = (known[c] if c else a or b or "" for a, b, c in (texts[:3], texts[3:]))
        rows.append((name, use or "kUsed", why, json.loads(neutral or "[]")))
    assert len(rows) == body.count('{"'), table
    return rows


def source_fields(section, *uses):
    if section in PROMPTS:
        rows = [row for table in PROMPTS[section] for row in source_rows(table)]
        return [name for name, use, *_ in rows if use in uses and "." not in name]
    return [name for table in TABLES[section] for name, use, *_ in source_rows(table) if use in uses]


def source_refusals(section):
    return {name: why for table in TABLES[section] for name, use, why, _ in source_rows(table) if use == "kRefused"}


def page_tables():
    """Rows of the page's tables by section: cells, without the line that heads a table."""
    tables, section = {}, None
    for line in (ROOT / "docs/api.md").read_text().splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip("|"))
            tables.setdefault(section, []).append([cell.strip().replace("\\|", "|") for cell in cells])
    return tables


PAGE = page_tables()


def page_rows(section):
    """Names in the first cell, and the other cells, of the section's table of fields."""
    assert PAGE[section][0][0] == "field", section
    return [(re.findall(r"`([^`]+)`", row[0]), row[1:]) for row in PAGE[section][2:]]


def page_refusals(section):
    return {names[0]: cells[0] for names, cells in page_rows(REFUSED[section])}


def test_every_table_of_fields_has_its_place_on_the_page():
    tables = re.findall(r"constexpr FieldRow (k\w+)\[\]", source("router/api/field_tables.cc"))
    assert set(tables) == {table for names in [*TABLES.values(), *PROMPTS.values()] for table in names}


# What the sources had when this was written: an extraction that finds less is broken.
@pytest.mark.parametrize("section, at_least", [
    (CHAT, 40), (BOTH, 35), (COMPLETIONS, 4), (TOKENIZE, 13), (DETOKENIZE, 2), (RESPONSES, 55), (MESSAGES, 40),
    (COUNT, 7), (LOAD, 3), (UNLOAD, 2)])
def test_the_page_has_exactly_the_fields_that_are_used(section, at_least):
    used = source_fields(section, "kUsed", "kAsItIs")
    assert len(used) >= at_least
    written = [name for names, _ in page_rows(section) for name in names]
    assert sorted(written) == sorted(used)


@pytest.mark.parametrize("section, at_least", [(CHAT, 12), (BOTH, 14), (RESPONSES, 20), (MESSAGES, 15)])
def test_the_page_has_exactly_the_fields_that_are_ignored(section, at_least):
    ignored = source_fields(section, "kIgnored")
    assert len(ignored) >= at_least
    rows = [(re.findall(r"`([^`]+)`", row[0])[0], row[1]) for row in PAGE[IGNORED[section]][2:]]
    assert sorted(name for name, _ in rows) == sorted(ignored)
    assert all(why for _, why in rows)


@pytest.mark.parametrize("section, at_least", [(CHAT, 9), (BOTH, 1), (RESPONSES, 6), (MESSAGES, 2)])
def test_the_page_has_exactly_the_refusals_and_their_reasons(section, at_least):
    refused = source_refusals(section)
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
    thoughts = re.findall(r'ReasoningFormat::\w+,\s*\{"([^"]+)", "([^"]+)"\}', text)
    assert len(calls) >= 3 and len(thoughts) >= 3
    rows = [row[0] for row in PAGE["Formats"]]
    begin = rows.index("tool calls")
    assert [tuple(re.findall(r"`([^`]+)`", row)) for row in rows[2:begin]] == thoughts
    assert [row.strip("`") for row in rows[begin + 2:]] == calls


# A status that the router has and never sends: the client is gone.
NEVER_SENT = {"499"}


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


def ask(cluster, section, **fields):
    """Status, headers and body of the answer."""
    path, body = BODIES[section]
    body = {"model": MODEL_ID, **body, **fields}
    request = urllib.request.Request(cluster.router.url + path, data=json.dumps(body).encode(),
                                     headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read())


def post(cluster, section, **fields):
    status, _, body = ask(cluster, section, **fields)
    return status, body


@pytest.mark.parametrize("section, field, why", [
    (section, field, why) for section in REFUSED for field, why in page_refusals(section).items() if "." not in field])
def test_the_server_refuses_a_field_with_the_pages_words(cluster, section, field, why):
    status, body = post(cluster, section, **{field: {"a": 1}})
    assert status == 400
    assert body["error"]["message"] == f"'{field}' is not supported: {why}"
    if section != MESSAGES:
        assert (body["error"]["param"], body["error"]["code"]) == (field, "unsupported_parameter")


@pytest.mark.parametrize("section", IGNORED)
def test_the_server_ignores_and_names_the_pages_fields(cluster, section):
    fields = [name for name in source_fields(section, "kIgnored") if "." not in name]
    status, headers, body = ask(cluster, section, **{name: {"a": 1} for name in fields})
    assert status == 200, body
    assert headers["x-pingti-ignored"] == ", ".join(sorted(fields))


@pytest.mark.parametrize("section", TABLES.keys() & BODIES.keys())
def test_neutral_values_are_the_same_as_nothing(cluster, section):
    rows = [row for table in TABLES[section] for row in source_rows(table) if "." not in row[0]]
    for values in ({name: None for name, *_ in rows if name not in BODIES[section][1] and name != "model"},
                   {name: {} for name, use, *_ in rows if use in ("kIgnored", "kRefused")},
                   {name: neutral[0] for name, _, _, neutral in rows if neutral},
                   {name: neutral[-1] for name, _, _, neutral in rows if neutral}):
        status, headers, body = ask(cluster, section, **values)
        assert status == 200, body
        assert "x-pingti-ignored" not in headers


def page_ranges():
    ranges = []
    for section in (CHAT, BOTH, COMPLETIONS, RESPONSES):
        for names, cells in page_rows(section):
            match = re.match(r"(-?[\d.]+) to (-?[\d.]+)\b", cells[0])
            if match:
                ranges += [(section, name, json.loads(match[1]), json.loads(match[2])) for name in names]
    return ranges


def needed(section, name):
    return {(CHAT, "top_logprobs"): {"logprobs": True}, (BOTH, "length_penalty"): {"num_beams": 2}}.get((section, name), {})


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


@pytest.mark.parametrize("section", REFUSED)
def test_an_unknown_field_is_refused_by_name(cluster, section):
    status, body = post(cluster, section, tempreature=1)
    assert status == 400 and "tempreature" in body["error"]["message"]
