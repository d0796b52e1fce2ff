"""Writes schema_cases.json: small JSON Schemas, and texts that their grammars accept and refuse.

    python make_schema_cases.py > schema_cases.json      (jsonschema 4.26.0)

A text is accepted when jsonschema calls it valid and it has the form that common/grammar/json_schema.h
describes: has_form says whether it has. Schemas and texts are drawn at random: a text is what a schema
asks for, often with a small change, which mostly makes it wrong. oneOf stands for anyOf, as in our grammars.
Each schema has texts of both sorts; one that no text has been found for is left out.
"""
import copy
import json
import random
import re
import sys

from jsonschema import Draft202012Validator

SCHEMAS = 500
NAMES = ["a", "b", "ab", "c", "é", "q\"", "x/~"]
STRINGS = ["", "a", "b", "ab", "ba", "aab", "abc", "é", "\né", "a\"b", "\\", "aaaa", "zz"]
NUMBERS = [-12, -3, -1, 0, 1, 2, 3, 7, 12, 99, 100, -0.5, 0.25, 0.5, 1.5, 2.75, -1.25]
PATTERNS = ["^[ab]+$", "^a", "b$", "^(ab|c)?$", "^[^a]$", "a.b", "^a{2,3}$", "^ab|z$", "\\\\"]
LEAVES = ["", 0, 5, 1.5, True, False, None, [], {}, [1], {"a": 1}, "ab", "zzz", -7, [None, "a"], {"zz": [True]}]
IMPLIED = {"properties": "object", "required": "object", "additionalProperties": "object", "items": "array",
           "prefixItems": "array", "minItems": "array", "maxItems": "array", "pattern": "string",
           "minLength": "string", "maxLength": "string", "minimum": "number", "maximum": "number",
           "exclusiveMinimum": "number", "exclusiveMaximum": "number"}
# Beside those that are drawn.
FIXED = [
    {"type": "array", "items": {"$ref": "#"}},
    {"type": "object", "properties": {"v": {"type": "integer"}, "n": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
     "required": ["v", "n"]},
    {"type": "object", "properties": {"v": {"const": 1}}, "additionalProperties": {"$ref": "#"}},
    {"properties": {"a/b~": {"type": "integer"}, "c": {"$ref": "#/properties/a~1b~0"}}, "required": ["c"]},
    {"prefixItems": [{"enum": ["x", 1]}, {"$ref": "#/prefixItems/0"}, {"$ref": "#/items"}], "items": {"type": "null"}},
    {"$defs": {"0": {"type": "string", "maxLength": 1}, "~1": {"type": "boolean"}},
     "prefixItems": [{"$ref": "#/$defs/0"}, {"$ref": "#/$defs/~01"}]},
    {"$defs": {"tree": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/tree"},
                                                                  "maxItems": 2}}, "additionalProperties": False}},
     "$ref": "#/$defs/tree"},
    {"anyOf": [{"type": "array", "items": {"$ref": "#"}, "minItems": 1}, {"type": "integer", "minimum": 3}]},
    {"enum": [1e20, 123456789012345678, 18446744073709551615, -0.5, "\t\x01\x7f\\/", {"k\n": [None, {}]}]},
    {"pattern": "^[\\u0061-c\\d]+$", "minLength": 3},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 30, "maxItems": 33},
    {"type": "string", "minLength": 40, "maxLength": 42},
]
BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}


def dump(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# What a text must be beyond valid.

def parts_of(schema, root):
    """What must hold together, in the order in which it is combined."""
    if schema is False:
        return [False]
    if schema is True:
        return []
    own = {key: value for key, value in schema.items() if key not in ("$ref", "allOf", "$defs")}
    below = [target_of(schema["$ref"], root)] if "$ref" in schema else []
    return [own] + [part for other in below + schema.get("allOf", []) for part in parts_of(other, root)]


def target_of(reference, root):
    target = root
    for part in reference.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        target = target[int(part) if isinstance(target, list) else part]
    return target


def together(schemas):
    return schemas[0] if len(schemas) == 1 else {"allOf": schemas}


def is_valid(value, schema, root):
    return Draft202012Validator(root).evolve(schema=schema).is_valid(value)


def has_form(value, schema, root):
    """Whether a valid value is one that the schema's grammar writes."""
    parts = parts_of(schema, root)
    if False in parts:
        return False
    keys = {key for part in parts for key in part}
    for keyword in ("anyOf", "oneOf"):
        if keyword not in keys:
            continue
        base = [{k: v for k, v in part.items() if k != keyword} for part in parts]
        (options,) = [part[keyword] for part in parts if keyword in part]
        chosen = [together([part for part in base if part] + [option]) for option in options]
        return any(is_valid(value, one, root) and has_form(value, one, root) for one in chosen)
    for keyword in ("enum", "const"):
        if keyword in keys:
            listed = [part[keyword] for part in parts if keyword in part]
            return all(dump(value) in [dump(v) for v in (one if keyword == "enum" else [one])] for one in listed)
    types = [part["type"] for part in parts if "type" in part]
    if not types:
        types = [[IMPLIED[key] for key in keys if key in IMPLIED]]
        if not types[0]:
            return True
    types = [[one] if isinstance(one, str) else one for one in types]
    for kind, test in (("object", dict), ("array", list), ("string", str), ("boolean", bool)):
        if isinstance(value, test):
            return all(kind in one for one in types) and {
                "object": object_has_form, "array": array_has_form}.get(kind, lambda *_: True)(value, parts, root)
    if value is None:
        return all("null" in one for one in types)
    if isinstance(value, int):
        return all("integer" in one or "number" in one for one in types)
    return all("number" in one for one in types)


def object_has_form(value, parts, root):
    properties, required, additional = {}, [], None
    for part in parts:
        for name, schema in part.get("properties", {}).items():
            properties.setdefault(name, []).append(schema)
        required += [name for name in part.get("required", []) if name not in required]
        additional = part.get("additionalProperties", additional)
    order = list(properties) + [name for name in required if name not in properties]
    if not order and additional in (None, True):
        return True
    place = [order.index(name) if name in order else len(order) for name in value]
    if place != sorted(place) or (additional is None and len(order) in place):
        return False
    rest = True if additional is None else additional
    # Names beside the declared ones are written without escapes.
    return all(has_form(one, together(properties.get(name, [rest])), root) and
               (name in order or dump(name) == f'"{name}"') for name, one in value.items())


def array_has_form(value, parts, root):
    def described(at):
        return [part["prefixItems"][at] if at < len(part.get("prefixItems", [])) else part.get("items", True)
                for part in parts]

    first = max(len(part.get("prefixItems", [])) for part in parts)
    least = max(part.get("minItems", 0) for part in parts)
    is_open = first == 0 or any("items" in part for part in parts)
    if not is_open and len(value) > max(first, least):
        return False
    return all(has_form(one, together(described(i)), root) for i, one in enumerate(value))


# Schemas.

class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, one_in):
        return self.random.randrange(one_in) == 0

    def pick(self, choices):
        return copy.deepcopy(self.random.choice(choices))

    def root(self):
        self.defs = {}
        schema = self.schema(2)
        if self.defs:
            schema["$defs"] = self.defs
        return schema

    def schema(self, depth):
        kinds = [self.string, self.number, self.pattern, self.constant, self.types]
        if depth > 0:
            kinds += [self.object, self.array] * 3 + [self.alternatives, self.merged, self.reference]
        return self.random.choice(kinds)(depth)

    def range(self, schema, low, high, values):
        ends = sorted(self.random.sample(values, 2))
        if not self.chance(3):
            schema[low] = ends[0]
        if not self.chance(3):
            schema[high] = ends[1]
        return schema

    def string(self, _):
        schema = self.range({} if self.chance(4) else {"type": "string"}, "minLength", "maxLength", range(4))
        return schema if schema else {"type": "string"}

    def pattern(self, _):
        schema = {"pattern": self.pick(PATTERNS)}
        if schema["pattern"] == "^[ab]+$":
            self.range(schema, "minLength", "maxLength", range(1, 5))
        if not self.chance(3):
            schema["type"] = "string"
        return schema

    def number(self, _):
        schema = {"type": self.pick(["integer", "number", ["number", "integer"]])}
        low = self.pick(["minimum", "exclusiveMinimum"])
        high = self.pick(["maximum", "exclusiveMaximum"])
        self.range(schema, low, high, NUMBERS)
        if self.chance(5):  # both bounds of an end: the tighter one decides
            both = {"minimum": "exclusiveMinimum", "exclusiveMinimum": "minimum",
                    "maximum": "exclusiveMaximum", "exclusiveMaximum": "maximum"}
            for keyword in sorted(BOUNDS & set(schema)):
                schema[both[keyword]] = schema[keyword] + self.pick([-1, 0, 0, 1])
        return schema

    def constant(self, _):
        if self.chance(3):
            return {"const": self.pick(LEAVES)}
        schema = {"enum": self.random.sample(LEAVES, self.random.randint(1, 4))}
        if self.chance(3):
            schema["const"] = self.pick(schema["enum"])
        if self.chance(2):
            types = self.pick(["string", "integer", "number", ["null", "boolean"], ["object", "array"]])
            if is_valid(schema.get("const", None), {"type": types}, True) or "const" not in schema:
                schema["type"] = types
                schema["enum"] += ["x", 3, None, []]  # of each of these one at least
        return schema

    def types(self, _):
        every = ["null", "boolean", "string", "integer", "number", "object", "array"]
        if self.chance(3):
            return {"type": self.random.sample(every, self.random.randint(1, 3))}
        return self.pick([{}, {"type": "boolean"}, {"type": "null"}, {"type": "object"}, {"type": "array"},
                          {"title": "x", "default": 1}, {"type": "integer"}])

    def object(self, depth):
        names = self.random.sample(NAMES, self.random.randint(0, 3))
        schema = {} if self.chance(4) else {"type": "object"}
        if names:
            schema["properties"] = {name: self.below(depth) for name in names}
        if not self.chance(3):
            schema["required"] = [name for name in names if self.chance(2)]
        if self.chance(3):
            schema["additionalProperties"] = self.pick([True, False, self.schema(0)])
        elif self.chance(4):
            schema.setdefault("required", []).append(self.pick([name for name in NAMES if name not in names]))
        return schema or {"type": "object"}

    def below(self, depth):
        return True if self.chance(8) else self.schema(depth - 1)

    def array(self, depth):
        schema = {} if self.chance(4) else {"type": "array"}
        if self.chance(2):
            schema["prefixItems"] = [self.below(depth) for _ in range(self.random.randint(0, 3))]
        if not self.chance(3):
            schema["items"] = self.pick([False, True]) if self.chance(4) else self.below(depth)
        if not self.chance(3):
            most = len(schema.get("prefixItems", [])) if schema.get("items") is False else 4
            self.range(schema, "minItems", "maxItems", range(max(2, most + 1)))
        return schema or {"type": "array"}

    def alternatives(self, depth):
        keyword = self.pick(["anyOf", "anyOf", "oneOf"])
        if self.chance(2):
            return {keyword: [self.below(depth) for _ in range(self.random.randint(1, 3))]}
        schema = {"type": "object", "properties": {"a": self.types(0)}}
        options = [{"required": ["a"]}, {"properties": {"a": {"type": ["integer", "string"]}}}, False,
                   {"properties": {"b": self.schema(0)}, "required": ["b"]}, {"required": ["b"]}]
        schema[keyword] = self.random.sample(options, self.random.randint(1, 3))
        if self.chance(3):
            schema["required"] = ["a"]
        return schema

    def merged(self, depth):
        """Schemas that must hold together, and can."""
        kind = self.random.randrange(6)
        if kind == 0:
            parts = [self.number(0), self.number(0)]
        elif kind == 1:
            parts = [self.string(0), self.string(0)]
        elif kind <= 3:
            lengths = [{"minLength": 1}, {"maxLength": 2}, {"type": "string"}]
            prefix = {"prefixItems": [self.pick(lengths), self.below(1)]}
            one = {**self.pick([{}, prefix]), "items": self.pick(lengths)}
            other = {**prefix, "items": True} if "prefixItems" in one else {"items": self.pick(lengths)}
            parts = self.pick([[prefix, {"items": True}], [one, other], [prefix]]) + [{"minItems": 1}, {"maxItems": 3}]
        else:
            parts = [self.object(depth), {"properties": {"a": self.schema(0)}}, {"required": ["b"]}]
            parts[0].pop("additionalProperties", None)
        self.random.shuffle(parts)
        parts = parts[:self.random.randint(1, len(parts))]
        own = parts.pop() if parts and self.chance(2) else {}
        return {**own, "allOf": parts + ([True] if self.chance(6) or not parts else [])}

    def reference(self, depth):
        if not self.defs or self.chance(2):
            self.defs["d" + str(len(self.defs))] = self.schema(depth - 1)
        schema = {"$ref": "#/$defs/" + self.pick(sorted(self.defs))}
        if self.chance(3):
            schema["required" if self.chance(2) else "properties"] = ["c"] if "required" in schema else {"c": True}
            schema = {"$ref": schema["$ref"], "type": self.pick(["object", "array", "string", "integer"])}
        return schema

    # Values.

    def value(self, schema, root, depth=0):
        """Roughly what a schema asks for."""
        if schema is True or schema is False or depth > 6 or self.chance(25):
            return self.pick(LEAVES)
        merged = {}
        for part in parts_of(schema, root):
            for key, one in (part or {}).items():
                if key == "properties":
                    merged.setdefault(key, {}).update(one)
                elif key == "required":
                    merged[key] = merged.get(key, []) + one
                else:
                    merged[key] = one
        for keyword in ("anyOf", "oneOf"):
            if keyword in merged:
                option = self.pick(merged.pop(keyword))
                return self.value({"allOf": [merged, option]}, root, depth + 1)
        if "const" in merged or "enum" in merged:
            return self.pick([merged["const"]] if "const" in merged else merged["enum"])
        kinds = merged.get("type", [IMPLIED[key] for key in merged if key in IMPLIED] or [""])
        kind = kinds if isinstance(kinds, str) else self.pick(kinds)
        if kind == "object":
            properties = merged.get("properties", {})
            required = merged.get("required", [])
            names = [n for n in properties if n in required or self.chance(2)]
            names += [n for n in dict.fromkeys(required) if n not in properties]
            if self.chance(2) and merged.get("additionalProperties") is not False:
                names.append(self.pick(NAMES + ["zz"]))
            rest = merged.get("additionalProperties", True)
            return {name: self.value(properties.get(name, rest), root, depth + 1) for name in dict.fromkeys(names)}
        if kind == "array":
            least = merged.get("minItems", 0)
            count = self.random.randint(least, max(merged.get("maxItems", 3), least))
            first = merged.get("prefixItems", [])
            return [self.value(first[i] if i < len(first) else merged.get("items", True), root, depth + 1)
                    for i in range(count)]
        if kind == "string" and merged.get("minLength", 0) > 3:
            count = self.random.randint(merged["minLength"] - 1, merged["maxLength"] + 1)
            return "".join(self.pick("abé") for _ in range(count))
        choices = {"string": STRINGS, "number": NUMBERS, "integer": [n for n in NUMBERS if isinstance(n, int)],
                   "boolean": [True, False], "null": [None]}.get(kind, LEAVES)
        return self.pick(choices)

    def changed(self, value):
        """A value that differs from another in one place."""
        value = copy.deepcopy(value)
        if isinstance(value, dict) and value and not self.chance(4):
            name = self.pick(list(value))
            what = self.random.randrange(4)
            if what == 0:
                del value[name]
            elif what == 1:
                value[name] = self.changed(value[name])
            elif what == 2:
                value[self.pick(NAMES)] = self.pick(LEAVES)
            else:
                value = dict(self.random.sample(list(value.items()), len(value)))
            return value
        if isinstance(value, list) and value and not self.chance(4):
            at = self.random.randrange(len(value))
            what = self.random.randrange(3)
            if what == 0:
                del value[at]
            elif what == 1:
                value[at] = self.changed(value[at])
            else:
                value.append(self.pick(LEAVES))
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not self.chance(4):
            return value + self.pick([-1, 1, 0.25, 10, -0.5])
        if isinstance(value, str) and not self.chance(4):
            return self.pick([value + "a", value[1:], value + "b", "b" + value])
        return self.pick(LEAVES)


def is_outside_texts(text, place):
    return all(place <= span.start() or place >= span.end() for span in re.finditer(r'"([^"\\]|\\.)*"', text))


def as_any_of(schema):
    """The schema with anyOf for oneOf."""
    if isinstance(schema, dict):
        return {("anyOf" if key == "oneOf" else key): as_any_of(value) for key, value in schema.items()}
    return [as_any_of(one) for one in schema] if isinstance(schema, list) else schema


def space_is_allowed(text, place):
    """Whether a space may stand before text[place]: it follows '[', '{', ',' or ':' or precedes '}' or ']'."""
    return text[place - 1:place] in tuple("[{,:") or text[place:place + 1] in tuple("]}")


def texts_of(maker, schema):
    """Texts, and whether the schema's grammar accepts them."""
    root = as_any_of(schema)
    texts = {}
    for _ in range(40):
        value = maker.value(root, root)
        if maker.chance(2):
            value = maker.changed(value)
        accepted = is_valid(value, root, root) and has_form(value, root, root)
        texts[dump(value)] = accepted
    yes = sorted((t for t in texts if texts[t]), key=lambda t: (-len(t), t))[:6]
    no = [t for t in texts if not texts[t]][:7]
    if not yes or not no:
        return None
    # White space and cut texts, of the longest.
    places = [i for i in range(len(yes[0]) + 1) if is_outside_texts(yes[0], i)]
    place = maker.pick(places)
    spaced = yes[0][:place] + " " + yes[0][place:]
    if not re.fullmatch("[-0-9.]+", yes[0]):
        (yes if space_is_allowed(yes[0], place) else no).append(spaced)
        no.append(yes[0][:-1])
    return yes, list(dict.fromkeys(no))


def main():
    cases = []
    seen = set()
    seed = 0
    while len(cases) < SCHEMAS:
        maker = Maker(seed)
        schema = FIXED[seed] if seed < len(FIXED) else maker.root()
        seed += 1
        if dump(schema) in seen:
            continue
        seen.add(dump(schema))
        found = texts_of(maker, schema)
        if schema in FIXED:
            assert found, schema
        if found:
            cases.append({"schema": schema, "yes": found[0], "no": found[1]})
    sys.stdout.write("[\n" + ",\n".join(dump(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
