"""Schemas as applications write them, for grammar_bench and throughput.py.

    python bench/grammar/schemas.py > schemas.json

Written for this bench after common uses: extraction, function arguments, records of business systems,
user interfaces, recursive trees. Output: a JSON array of [name, schema].
"""
import json
import sys


def obj(required=None, **properties):
    return {"type": "object", "properties": properties, "additionalProperties": False,
            "required": list(properties) if required is None else required}


def arr(items, low=0, high=None):
    schema = {"type": "array", "items": items, "minItems": low}
    return schema if high is None else {**schema, "maxItems": high}


def one_of(*values):
    return {"enum": list(values)}


def integer(low, high):
    return {"type": "integer", "minimum": low, "maximum": high}


TEXT = {"type": "string"}
SHORT = {"type": "string", "maxLength": 80}
NUMBER = {"type": "number"}
COUNT = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean"}
DATE = {"type": "string", "format": "date"}
STAMP = {"type": "string", "format": "date-time"}
EMAIL = {"type": "string", "format": "email"}
UUID = {"type": "string", "format": "uuid"}
PHONE = {"type": "string", "pattern": "^\\+[1-9][0-9]{6,14}$"}
ADDRESS = obj(street=TEXT, city=TEXT, zip={"type": "string", "pattern": "^[0-9]{5}(-[0-9]{4})?$"},
              country={"type": "string", "pattern": "^[A-Z]{2}$"})
MONEY = obj(amount={"type": "number", "minimum": 0}, currency=one_of("USD", "EUR", "GBP", "JPY", "CNY"))
NULLABLE = {"anyOf": [TEXT, {"type": "null"}]}

SCHEMAS = {
    "sentiment": obj(label=one_of("positive", "neutral", "negative"), score={"type": "number", "minimum": 0, "maximum": 1}),
    "classification": obj(labels=arr(one_of(*[f"topic_{i}" for i in range(40)]), 1, 5), why=TEXT),
    "entities": obj(entities=arr(obj(text=TEXT, kind=one_of("person", "place", "organisation", "date"), start=COUNT, end=COUNT))),
    "relations": obj(triples=arr(obj(subject=TEXT, predicate=TEXT, object=TEXT), 1, 50)),
    "summary": obj(title=SHORT, bullets=arr(SHORT, 3, 7), keywords=arr({"type": "string", "pattern": "^[a-z-]{2,20}$"}, 1, 10)),
    "translation": obj(source=one_of("en", "de", "fr", "zh"), target=one_of("en", "de", "fr", "zh"), text=TEXT),
    "question_answer": obj(answer=TEXT, confidence=NUMBER, sources=arr(obj(url={"type": "string", "format": "uri"}, quote=TEXT))),
    "steps": obj(steps=arr(obj(explanation=TEXT, output=TEXT)), final_answer=TEXT),
    "weather_call": obj(location=TEXT, unit=one_of("celsius", "fahrenheit"), days=integer(1, 14)),
    "search_call": obj(["query"], query=TEXT, limit=integer(1, 100), sort=one_of("date", "relevance"), after=DATE, safe=FLAG),
    "email_call": obj(["to", "subject", "body"], to=arr(EMAIL, 1, 20), cc=arr(EMAIL), subject=SHORT, body=TEXT, urgent=FLAG),
    "sql_call": obj(query=TEXT, parameters=arr({"type": ["string", "number", "boolean", "null"]}), timeout_ms=integer(1, 60000)),
    "calendar_event": obj(name=TEXT, start=STAMP, end=STAMP, attendees=arr(obj(email=EMAIL, optional=FLAG)), place=NULLABLE),
    "person": obj(name=TEXT, age=integer(0, 150), email=EMAIL, phone=PHONE, address=ADDRESS),
    "company": obj(name=TEXT, founded=integer(1600, 2100), offices=arr(ADDRESS), staff=COUNT, listed=FLAG),
    "invoice": obj(id={"type": "string", "pattern": "^INV-[0-9]{4,8}$"}, issued=DATE, due=DATE, seller=ADDRESS, buyer=ADDRESS,
                   lines=arr(obj(sku=TEXT, text=TEXT, quantity=integer(1, 9999), price=MONEY), 1), total=MONEY, paid=FLAG),
    "receipt": obj(shop=TEXT, at=STAMP, items=arr(obj(name=TEXT, price=NUMBER)), card={"type": "string", "pattern": "^[0-9]{4}$"}),
    "order": obj(order_id=UUID, customer=UUID, status=one_of("new", "paid", "sent", "returned"), items=arr(obj(id=UUID, n=integer(1, 99)), 1, 100), note=NULLABLE),
    "product": obj(id=COUNT, name=SHORT, tags=arr(SHORT), size=obj(w=NUMBER, h=NUMBER, d=NUMBER, unit=one_of("mm", "cm", "in")), price=MONEY, stock={"type": "object", "additionalProperties": COUNT}),
    "resume": obj(name=TEXT, skills=arr(SHORT), jobs=arr(obj(title=TEXT, company=TEXT, start={"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"}, end=NULLABLE, points=arr(TEXT, 0, 8))), schools=arr(obj(name=TEXT, degree=TEXT, year=integer(1950, 2100)))),
    "patient": obj(name=TEXT, birth=DATE, sex=one_of("f", "m", "x"), allergies=arr(TEXT), vitals=obj(pulse=integer(20, 250), temperature={"type": "number", "minimum": 30, "maximum": 45}, pressure=obj(high=integer(50, 260), low=integer(30, 160)))),
    "ticket": obj(title=SHORT, severity=one_of("low", "medium", "high", "critical"), component=one_of("ui", "api", "db", "auth"), steps=arr(TEXT, 1), reproducible=FLAG, assignee={"anyOf": [EMAIL, {"type": "null"}]}),
    "commit": obj(kind=one_of("feat", "fix", "docs", "test", "chore"), scope={"type": "string", "pattern": "^[a-z/-]{1,20}$"}, subject={"type": "string", "maxLength": 72}, breaking=FLAG),
    "code_review": obj(comments=arr(obj(file={"type": "string", "pattern": "^[A-Za-z0-9_./-]{1,120}$"}, line=integer(1, 100000), severity=one_of("nit", "warning", "error"), text=TEXT)), verdict=one_of("approve", "request_changes")),
    "server_config": obj(host={"type": "string", "format": "hostname"}, ip={"type": "string", "format": "ipv4"}, port=integer(1, 65535), tls=FLAG, paths=arr({"type": "string", "pattern": "^/[a-z0-9/_-]*$"})),
    "metrics": obj(series=arr(obj(name={"type": "string", "pattern": "^[a-z_]{1,60}$"}, points=arr({"type": "array", "prefixItems": [STAMP, NUMBER], "minItems": 2, "maxItems": 2}), labels={"type": "object", "additionalProperties": TEXT}))),
    "geo": obj(type=one_of("Feature"), geometry=obj(type=one_of("Point"), coordinates=arr(NUMBER, 2, 3)), properties={"type": "object"}),
    "recipe": obj(name=TEXT, serves=integer(1, 50), ingredients=arr(obj(name=TEXT, amount=NUMBER, unit=one_of("g", "ml", "tsp", "tbsp", "cup", "piece")), 1), steps=arr(TEXT, 1), minutes=integer(1, 1440)),
    "flight": obj(number={"type": "string", "pattern": "^[A-Z]{2}[0-9]{1,4}$"}, origin={"type": "string", "pattern": "^[A-Z]{3}$"}, destination={"type": "string", "pattern": "^[A-Z]{3}$"}, departs=STAMP, seats=arr({"type": "string", "pattern": "^[1-9][0-9]?[A-K]$"}), fare=MONEY),
    "quiz": obj(questions=arr(obj(text=TEXT, choices=arr(TEXT, 4, 4), correct=integer(0, 3)), 1, 20)),
    "game_move": obj(piece=one_of("K", "Q", "R", "B", "N", "P"), origin={"type": "string", "pattern": "^[a-h][1-8]$"}, to={"type": "string", "pattern": "^[a-h][1-8]$"}, promotes={"anyOf": [one_of("Q", "R", "B", "N"), {"type": "null"}]}),
    "shapes": {"type": "array", "items": {"anyOf": [obj(kind=one_of("circle"), r=NUMBER), obj(kind=one_of("box"), w=NUMBER, h=NUMBER), obj(kind=one_of("path"), points=arr(arr(NUMBER, 2, 2)))]}},
    "user_interface": {"$ref": "#/$defs/node", "$defs": {"node": obj(["type"], type=one_of("div", "button", "input", "text"), label=TEXT, children=arr({"$ref": "#/$defs/node"}), attributes=arr(obj(name=TEXT, value=TEXT)))}},
    "tree": {"$ref": "#/$defs/tree", "$defs": {"tree": obj(value={"type": "integer"}, left={"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}, right={"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]})}},
    "expression": {"$ref": "#/$defs/e", "$defs": {"e": {"anyOf": [NUMBER, {"type": "string", "pattern": "^[a-z]$"}, obj(op=one_of("+", "-", "*", "/"), a={"$ref": "#/$defs/e"}, b={"$ref": "#/$defs/e"})]}}},
    "any_object": {"type": "object"},
    "wide_record": obj(**{f"field_{i}": [TEXT, NUMBER, FLAG, DATE, COUNT][i % 5] for i in range(60)}),
    "optional_record": obj([], **{f"field_{i}": [TEXT, NUMBER, FLAG, DATE, COUNT][i % 5] for i in range(30)}),
    "large_enum": obj(code=one_of(*[f"{a}{b}-{n}" for a in "ABCDEF" for b in "XYZ" for n in range(30)])),
}

if __name__ == "__main__":
    json.dump(list(SCHEMAS.items()), sys.stdout)
