"""The programs' settings as JSON Schema, read from what `--print-config` prints: a comment with the
help, a default, a type with its range and the variables, then the key."""

import re

_BLOCK = re.compile(r"((?:^#(?! ---).*\n)+)^(?:# )?([a-z][a-z0-9_]*):", re.MULTILINE)
_FACTS = re.compile(r"(?:Default (?P<default>.*?); |Required; )(?P<type>.*?)\. Environment: .*\.$")
_DURATION = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"
_SIZE = r"^[0-9]+(\.[0-9]+)?(B|[KMGT]i?B?)?$"


def _range(text):
    found = re.findall(r"(?:in|range) \[(-?[0-9.]+), (-?[0-9.]+)\]", text)
    if not found:
        return {}
    least, most = (float(bound) for bound in found[-1])  # the narrower one comes last
    return {"minimum": int(least) if least.is_integer() else least,
            "maximum": int(most) if most.is_integer() else most}


def _type(text, where):
    if text.startswith("an integer"):
        return {"type": "integer", **_range(text)}
    if text.startswith("a number"):
        return {"type": "number", **_range(text)}
    if text.startswith("a duration"):
        return {"type": "string", "pattern": _DURATION}
    if text.startswith("a size"):
        return {"type": ["string", "integer"], "pattern": _SIZE}
    if text.startswith("one of "):
        return {"enum": text.removeprefix("one of ").split(", ")}
    if text.startswith("a list of texts"):
        return {"type": "array", "items": {"type": "string"}}
    if text == "text":
        return {"type": "string"}
    if text.startswith(("true or false", "a boolean", "a truth value")):
        return {"type": "boolean"}
    raise SystemExit(f"{where}: unknown type '{text}' in --print-config")


def read_settings(text):
    """Schema by setting, in the program's order."""
    settings = {}
    for comment, key in _BLOCK.findall(text):
        words = " ".join(line.lstrip("#").strip() for line in comment.splitlines())
        found = _FACTS.search(words)
        if not found:
            raise SystemExit(f"{key}: '{words}' is not what --print-config was known to print")
        settings[key] = {"description": words[: found.start()].strip(), **_type(found["type"], key)}
    keys = re.findall(r"^(?:# )?([a-z][a-z0-9_]*):(?: |$)", text, re.MULTILINE)
    if sorted(keys) != sorted(settings):
        raise SystemExit(f"not understood: {sorted(set(keys) ^ set(settings))}")
    return settings
