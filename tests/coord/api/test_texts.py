"""Texts in requests: all have an end, and none acts on the terminal of whoever reads it."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

ODD = ["a\0b", "\x1b]0;title\x07", "a\x9b31mb", "\u202eabc", "two\nlines", "\ud800", "x" * 300_000]
ODD_IDS = ["nul", "escape", "c1", "direction", "lines", "surrogate", "long"]

BODIES = [
    ("POST", "tokens", {"name": "{}"}),
    ("POST", "tokens", {"name": "a", "scopes": ["{}"]}),
    ("POST", "users", {"name": "{}"}),
    ("POST", "users", {"name": "carol", "email": "{}"}),
    ("PATCH", "users/boss", {"email": "{}"}),
    ("POST", "workspaces", {"name": "{}", "template": "plain"}),
    ("POST", "workspaces", {"name": "dev", "template": "{}"}),
    ("POST", "workspaces", {"name": "dev", "template": "plain", "parameters": {"{}": "{}"}}),
    ("POST", "workspaces", {"name": "dev", "template": "plain", "{}": 1}),
    ("POST", "keys", {"public_key": "{}"}),
    ("POST", "ssh/certificates", {"public_key": "{}"}),
]
PATHS = [
    ("GET", "users/{}"),
    ("GET", "templates/{}"),
    ("GET", "workspaces/{}"),
    ("GET", "workspaces?owner={}"),
    ("GET", "builds/{}"),
    ("DELETE", "tokens/{}"),
    ("DELETE", "keys/{}"),
]


def check(answer) -> None:
    assert answer.status_code in {404, 413, 422}, answer.text[:300]
    assert len(answer.content) < 5000
    error = answer.json()["error"]
    shown = "".join(text or "" for text in error.values())
    assert shown.replace("\n", "").isprintable(), error


@pytest.mark.parametrize("odd", ODD, ids=ODD_IDS)
async def test_an_odd_text_in_a_body_is_refused_in_a_short_answer(api, make_tar, odd) -> None:
    me = await api.login("boss", "owner")
    await api.client.post(
        "/api/v1/templates/plain/versions", content=make_tar({"main.tf": b"x"}), headers=me
    )
    for method, path, body in BODIES:
        content = json.dumps(body).replace('"{}"', json.dumps(odd))
        headers = {**me, "Content-Type": "application/json"}
        url = f"/api/v1/{path}"
        check(await api.client.request(method, url, content=content, headers=headers))


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd != "\ud800"])
async def test_an_odd_text_in_a_path_is_refused_in_a_short_answer(api, odd) -> None:
    me = await api.login("boss", "owner")
    word = quote(odd[:14_000].encode())
    for method, path in PATHS:
        check(await api.client.request(method, f"/api/v1/{path.format(word)}", headers=me))


@pytest.mark.parametrize("field", ["lifetime_s", "max_workspaces", "version"])
async def test_a_number_is_no_truth_value(api, field) -> None:
    me = await api.login("boss", "owner")
    method, path, body = {
        "lifetime_s": ("POST", "tokens", {"name": "a"}),
        "max_workspaces": ("PATCH", "users/boss", {}),
        "version": ("POST", "workspaces", {"name": "dev", "template": "plain"}),
    }[field]
    answer = await api.client.request(
        method, f"/api/v1/{path}", json={**body, field: True}, headers=me
    )
    assert answer.json()["error"]["code"] == "input_invalid", answer.text
