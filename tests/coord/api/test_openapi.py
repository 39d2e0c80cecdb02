"""Any request that the API describes, or nearly, has an answer, and none is a crash."""

from __future__ import annotations

import json
import random
from typing import Any

ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**31, 2**63, 1.5, 1e308, "", "x", "v1.2", "previous", "never", "default"),
    *("a" * 300, "\0", "ü", "stop", "plain", "main--dev", [], {}, [[]], {"p": 1}, {"a": "b"}),
)
IN_PATHS = (
    *("x", "1", "0", "v1.2", "plain", "dev", "dev.alice", "main--dev", "%00", "-1", "bld_x"),
    *("a" * 120, "99999999999999999999", "previous", "%F0%9F%98%80", "ws_00000000"),
)
# Not those that wait, or end the caller's own access.
LEFT_OUT = ("/wait", "/auth/logout", "/end-streams", "/scripts/log")
ROUNDS = 3


class Asker:
    """Makes bodies and paths of a description (OpenAPI 3.1)."""

    def __init__(self, document: dict[str, Any], seed: int) -> None:
        self.document = document
        self.random = random.Random(seed)  # the same requests each time

    def value(self, schema: dict[str, Any], depth: int = 0) -> Any:
        if depth > 4 or self.random.random() < 0.3:
            return self.random.choice(ODD)
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return self.value(self.document["components"]["schemas"][name], depth)
        if "anyOf" in schema:
            return self.value(self.random.choice(schema["anyOf"]), depth + 1)
        if "enum" in schema or "const" in schema:
            return self.random.choice(schema.get("enum") or [schema["const"]])
        if "properties" in schema:
            names = set(schema.get("required", ()))
            return {
                name: self.value(each, depth + 1)
                for name, each in schema["properties"].items()
                if name in names or self.random.random() < 0.5
            }
        kinds = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}
        return kinds.get(schema.get("type", ""), self.random.choice(("plain", "dev", "v1.2")))

    def request(self, path: str, operation: dict[str, Any]) -> tuple[str, dict[str, str], bytes]:
        query = {}
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", self.random.choice(IN_PATHS))
            elif parameter["name"] != "follow" and self.random.random() < 0.4:
                query[parameter["name"]] = str(self.random.choice(ODD))[:100]
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        body = b"" if content is None else json.dumps(self.value(content["schema"])).encode()
        return path, query, body


async def test_no_request_makes_it_crash(api, make_tar) -> None:
    admin, me = await api.login("boss", "admin"), await api.login("alice")
    tar = {**admin, "Content-Type": "application/x-tar"}
    upload = make_tar({"main.tf": b"x"})
    await api.client.post("/api/v1/templates/plain/versions", content=upload, headers=tar)
    made = {"name": "dev", "template": "plain"}
    await api.client.post("/api/v1/workspaces", json=made, headers=me)
    document = (await api.client.get("/api/openapi.json")).json()
    asker, crashed = Asker(document, seed=1), []
    routes = [
        (path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if not path.endswith(LEFT_OUT)
    ]
    for number, (path, method, operation) in enumerate(routes * ROUNDS):
        real, query, body = asker.request(path, operation)
        headers = {**(me, admin)[number % 2], "Content-Type": "application/json"}
        answer = await api.client.request(
            method.upper(), real, params=query, content=body, headers=headers
        )
        # 503: what it needs is not there, as an agent.
        if answer.status_code >= 500 and answer.status_code != 503:
            crashed.append((method, real, query, body, answer.text))
    assert not crashed
    for headers in (me, admin):  # they were not refused all the time
        assert (await api.client.get("/api/v1/users/me", headers=headers)).status_code == 200
    assert len(routes) > 50
