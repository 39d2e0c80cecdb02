"""Requests made at random from an OpenAPI document: some as it says, some not at all."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

# What people and programs get wrong.
_ODD: Final[tuple[Any, ...]] = (
    *("", " ", "\0", "\ud800", "../..", "%00", "a" * 300, "-1", "é", "\u202e", "{}", "null"),
    *(None, True, -1, 0, 2**31, 2**63, 2**70, 1e308, [], {}, [[]], {"a": {"b": []}}),
)


@dataclass(frozen=True, kw_only=True)
class OddRequest:
    """A request to send. `content` None: without a body."""

    method: str
    target: str
    content: bytes | None = field(repr=False)


def requests_of(
    document: Mapping[str, Any], chance: random.Random, known: Mapping[str, str], times: int
) -> Iterator[OddRequest]:
    """`times` requests for each operation; `known` are values for parameters of these names."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for _ in range(times):
                yield _request(document, chance, known, path, method, operation)


def _request(
    document: Mapping[str, Any],
    chance: random.Random,
    known: Mapping[str, str],
    path: str,
    method: str,
    operation: Mapping[str, Any],
) -> OddRequest:
    target, query = path, []
    for parameter in operation.get("parameters", ()):
        name, is_in_path = parameter["name"], parameter["in"] == "path"
        if not is_in_path and (not parameter.get("required") and chance.random() < 0.5):
            continue
        value = known.get(name)
        if value is None or chance.random() < 0.2:
            value = _text(_value(document, chance, parameter["schema"]))
        if is_in_path:
            target = target.replace(f"{{{name}}}", quote(value, safe="", errors="replace") or "-")
        else:
            query.append(f"{name}={quote(value, safe='', errors='replace')}")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    content = None if body is None else _body(document, chance, body["schema"])
    return OddRequest(
        method=method.upper(),
        target=target + ("?" + "&".join(query) if query else ""),
        content=content,
    )


def _body(document: Mapping[str, Any], chance: random.Random, schema: Mapping[str, Any]) -> bytes:
    value = _value(document, chance, schema)
    text = json.dumps(value).encode()
    if chance.random() < 0.1:
        return text[: chance.randrange(len(text) + 1)]
    return text


def _value(document: Mapping[str, Any], chance: random.Random, schema: Mapping[str, Any]) -> Any:
    """Of the schema nine times in ten, else something odd."""
    if chance.random() < 0.1:
        return chance.choice(_ODD)
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return _value(document, chance, found)
    if "const" in schema:
        return schema["const"]
    if choices := schema.get("enum"):
        return chance.choice(choices)
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        return _value(document, chance, chance.choice(branches))
    return _of_type(document, chance, schema)


def _of_type(document: Mapping[str, Any], chance: random.Random, schema: Mapping[str, Any]) -> Any:
    match schema.get("type"):
        case "object":
            wanted = set(schema.get("required", ()))
            found = {
                name: _value(document, chance, its)
                for name, its in schema.get("properties", {}).items()
                if name in wanted or chance.random() < 0.5
            }
            if isinstance(more := schema.get("additionalProperties"), dict):
                found["size"] = _value(document, chance, more)
            return found
        case "array":
            return [_value(document, chance, schema["items"]) for _ in range(chance.randrange(3))]
        case "integer" | "number":
            return chance.choice([0, 1, 2, 50, schema.get("maximum", 7), schema.get("minimum", 7)])
        case "boolean":
            return chance.random() < 0.5
        case "null":
            return None
        case _:
            return chance.choice(["dev", "plain", "x", "1", "a b", "é", "A" * 64])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
