"""The API as a client sees it, through the real server on loopback."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest
import trio

from kled_coord.api import guard
from kled_coord.builds.logs import LogWriter, MaskedReporter
from kled_coord.builds.transitions import BuildEvent
from kled_coord.store.builds import update_build
from kled_wire.limits import API_BODY_MAX_BYTES
from tests.coord.api.asking import code, workspace


async def test_login_whoami_logout(api) -> None:
    me = await api.login("alice")
    answer = await api.client.get("/api/v1/users/me", headers=me)
    assert answer.json()["name"] == "alice"
    assert answer.json()["created_at"] == "2026-01-02T03:04:05Z"
    assert (await api.client.post("/api/v1/auth/logout", headers=me)).status_code == 204
    answer = await api.client.get("/api/v1/users/me", headers=me)
    assert code(answer) == (401, "token_revoked")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "token_missing"),
        ({"Authorization": "Basic eDp5"}, "token_missing"),
        ({"Authorization": "Bearer"}, "token_missing"),
        ({"Authorization": "Bearer kled_aaaa"}, "token_unknown"),
        ({"Authorization": b"Bearer \xff\xfe"}, "token_unknown"),
    ],
)
async def test_no_or_a_wrong_token_is_401(api, headers, expected) -> None:
    answer = await api.client.get("/api/v1/workspaces", headers=headers)
    assert code(answer) == (401, expected)


async def test_every_route_but_a_few_needs_a_token(api) -> None:
    document = (await api.client.get("/api/openapi.json")).json()
    open_routes = {
        "/api/v1/version",
        "/api/v1/auth/login",
        "/api/v1/auth/exchange",
        "/healthz",
        "/readyz",
        "/metrics",
        "/icon/{name}",
        "/bin/{name}",
    }
    for path, operations in document["paths"].items():
        for method in operations:
            if path in open_routes:
                continue
            real = path.replace("{ref}", "dev").replace("{build_id}", "bld_x")
            real = real.replace("{name}", "x").replace("{token_id}", "tok_x")
            real = real.replace("{version}", "1")
            answer = await api.client.request(method, real, json={})
            assert code(answer) == (401, "token_missing"), f"{method} {path}"


async def test_every_route_says_how_it_refuses(api) -> None:
    document = (await api.client.get("/api/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status in ("401", "403", "404", "409", "422", "429", "503"):
                content = operation["responses"][status]["content"]
                schema = content["application/json"]["schema"]
                assert schema["$ref"].endswith("/ErrorAnswer"), f"{method} {path} {status}"


async def test_errors_have_one_shape(api) -> None:
    me = await api.login("alice")
    get, post = api.client.get, api.client.post
    assert code(await get("/nope")) == (404, "route_not_found")
    assert code(await post("/api/v1/version")) == (405, "method_not_allowed")
    answer = await post("/api/v1/workspaces", json={"name": "dev"}, headers=me)
    assert code(answer) == (422, "input_invalid")
    assert "template" in answer.json()["error"]["message"]
    answer = await post("/api/v1/workspaces", content=b"{nope", headers=me)
    assert code(answer) == (422, "input_invalid")
    answer = await get("/api/v1/workspaces/Not_A_Name", headers=me)
    assert code(answer) == (422, "name_invalid")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert code(await get("/api/v1/audit", headers=me)) == (403, "forbidden")


async def read_until(stream, end: bytes) -> bytes:
    got = b""
    while end not in got:
        more = await stream.receive_some(4096)
        assert more, got
        got += more
    return got


async def test_a_large_body_is_refused_with_and_without_a_length(api) -> None:
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\n"
    async with await trio.open_tcp_stream("127.0.0.1", api.port) as stream:
        await stream.send_all(head + b"Content-Length: %d\r\n\r\n" % (API_BODY_MAX_BYTES + 1))
        assert b"413" in (await read_until(stream, b"body_too_large")).split(b"\r\n")[0]
    async with await trio.open_tcp_stream("127.0.0.1", api.port) as stream:
        half = API_BODY_MAX_BYTES // 2
        chunk = b"%x\r\n" % half + b" " * half + b"\r\n"
        # It may be refused, and the connection closed, before all of it is sent.
        with suppress(trio.BrokenResourceError):
            await stream.send_all(head + b"Transfer-Encoding: chunked\r\n\r\n" + 3 * chunk)
        assert b"413" in (await read_until(stream, b"body_too_large")).split(b"\r\n")[0]


async def test_an_unexpected_error_is_500_with_an_id_and_no_detail(api, monkeypatch) -> None:
    me = await api.login("alice")

    async def crash(*_args: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(api.world.services.templates), "list_all", crash)
    answer = await api.client.get("/api/v1/templates", headers=me)
    assert code(answer) == (500, "internal")
    assert "err_" in answer.text
    assert "secret detail" not in answer.text
    assert (await api.client.get("/healthz")).status_code == 200


async def test_an_upgrade_on_a_later_request_is_426(api) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", api.port)
    async with stream:
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in (await read_until(stream, b"ok")).split(b"\r\n")[0]
        await stream.send_all(
            b"GET /api/v1/agent/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: kled-stream\r\n\r\n"
        )
        assert b"426" in (await read_until(stream, b"upgrade_refused")).split(b"\r\n")[0]


async def test_http2_is_not_spoken(api) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", api.port)
    async with stream:
        await stream.send_all(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        )
        assert b"426" in (await read_until(stream, b"upgrade_refused")).split(b"\r\n")[0]


async def test_a_template_is_pushed_listed_and_a_bad_one_changes_nothing(api, make_tar) -> None:
    admin = await api.login("boss", "admin")
    url = "/api/v1/templates/plain/versions"
    bad = make_tar({"main.tf": b"SYNTAX ERROR"})
    answer = await api.client.post(url, content=bad, headers=admin)
    assert code(answer) == (422, "template_invalid")
    assert (await api.client.get("/api/v1/templates", headers=admin)).json() == []
    for _ in range(2):
        good = make_tar({"main.tf": b"x"})
        assert (await api.client.post(url, content=good, headers=admin)).status_code == 201
    shown = (await api.client.get("/api/v1/templates/plain", headers=admin)).json()
    assert shown["active_version"] == 2
    assert [version["number"] for version in shown["versions"]] == [2, 1]
    member = await api.login("alice")
    assert code(await api.client.post(url, content=good, headers=member)) == (403, "forbidden")
    assert (await api.client.delete("/api/v1/templates/plain", headers=admin)).status_code == 204


@pytest.mark.parametrize("role", ["owner", "auditor", "member"])
async def test_of_a_workspace_that_is_not_there_everybody_is_told_so(api, role: str) -> None:
    """Also whoever may not enter those of others, but knows of all."""
    caller = await api.login("root", role)
    answer = await api.client.post(
        "/api/v1/workspaces/none.alice/agents/main/token", headers=caller
    )
    assert code(answer) == (404, "workspace_not_found")


async def test_a_workspace_is_made_once_and_hidden_from_others(api, make_tar) -> None:
    me, made = await workspace(api, make_tar)
    assert (made["status"], made["agent"], made["owner"]) == ("pending", None, "alice")
    assert made["latest_build"]["status"] == "pending"
    again = {"name": "dev", "template": "plain"}
    answer = await api.client.post("/api/v1/workspaces", json=again, headers=me)
    assert code(answer) == (409, "workspace_exists")
    other = await api.login("bob")
    for ref in ("dev.alice", made["id"]):
        answer = await api.client.get(f"/api/v1/workspaces/{ref}", headers=other)
        assert code(answer) == (404, "workspace_not_found")
    answer = await api.client.post(
        "/api/v1/workspaces/dev/builds", json={"transition": "stop"}, headers=me
    )
    assert code(answer) == (409, "build_active")
    answer = await api.client.get("/api/v1/workspaces/dev/ping", headers=me)
    assert code(answer) == (503, "agent_never_started")
    answer = await api.client.delete(
        "/api/v1/templates/plain", headers=await api.login("b2", "admin")
    )
    assert code(answer) == (409, "template_in_use")


async def test_notes_on_resources_are_shown_with_the_build_and_the_workspace(api, make_tar) -> None:
    me, made = await workspace(api, make_tar)
    secret = "hunter2"  # a parameter's
    item = {"key": "size", "value": f"of {secret}", "sensitive": False}
    other = {"type": "x_y", "icon": "", "hide": False}
    note = {"address": "x_y.z", **other, "daily_cost": 0.5, "items": [item]}
    build, store = made["latest_build"]["id"], api.world.services.store
    world = api.world.services
    writer = LogWriter(store=store, clock=world.clock, changes=world.changes, build_id=build)

    async def read() -> list[str]:
        return [secret]

    await MaskedReporter(writer, next_state=trio.Event, read=read).notes([note, note])
    await store.write(update_build, build, {"status": "succeeded"})
    expected = [{**note, "items": [{**item, "value": "of ***"}]}] * 2
    shown = (await api.client.get(f"/api/v1/builds/{build}", headers=me)).json()
    assert shown["notes"] == expected
    shown = (await api.client.get("/api/v1/workspaces/dev", headers=me)).json()
    assert (shown["notes"], shown["daily_cost"]) == (expected, 1.0)
    assert shown["latest_build"]["notes"] is None
    (shown,) = (await api.client.get("/api/v1/workspaces", headers=me)).json()
    assert (shown["notes"], shown["daily_cost"]) == (None, None)


async def test_a_log_is_streamed_while_it_grows(api, make_tar) -> None:
    me, made = await workspace(api, make_tar)
    services = api.world.services
    claimed = await services.queue.claim("w")
    url = f"/api/v1/builds/{claimed.build.id}/logs?follow=true"
    writer = LogWriter(
        store=services.store,
        clock=services.clock,
        changes=services.changes,
        build_id=claimed.build.id,
    )
    got = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        await writer.line("info", "héllo")
        async with api.client.stream("GET", url, headers=me) as answer:
            assert answer.headers["content-type"] == "application/x-ndjson"
            async for line in answer.aiter_lines():
                got.append(json.loads(line))
                if len(got) == 1:
                    await writer.progress(1, 2, "apply")
                elif len(got) == 2:
                    writer.close()
                    await services.queue.end(claimed.build.id, BuildEvent.SUCCEEDED, worker="w")
    assert got == [
        {"seq": 1, "at": "2026-01-02T03:04:05Z", "level": "info", "text": "héllo"},
        {"progress": {"done": 1, "total": 2, "message": "apply"}},
        {"end": {"status": "succeeded", "error": None}},
    ]
    assert made["id"] == claimed.build.workspace_id


async def test_terraforms_http_backend(api, make_tar) -> None:
    _, made = await workspace(api, make_tar)
    claimed = await api.world.services.queue.claim("w")
    url = f"/api/v1/tfstate/{made['id']}"
    pair = base64.b64encode(f"{claimed.build.id}:{claimed.secret}".encode()).decode()
    auth = {"Authorization": f"Basic {pair}"}
    call = api.client.request
    assert code(await call("GET", url)) == (401, "build_secret_missing")
    bad = {"Authorization": "Basic " + base64.b64encode(b"a:b").decode()}
    assert code(await call("GET", url, headers=bad)) == (401, "build_secret_invalid")
    assert (await call("GET", url, headers=auth)).status_code == 204
    assert (await call("LOCK", url, content='{"ID":"a"}', headers=auth)).status_code == 200
    answer = await call("LOCK", url, content='{"ID":"b"}', headers=auth)
    assert (answer.status_code, answer.json()) == (423, {"ID": "a"})
    answer = await call("POST", f"{url}?ID=b", content="{}", headers=auth)
    assert code(answer) == (409, "state_lock_mismatch")
    large = json.dumps({"x": "y" * (2 * API_BODY_MAX_BYTES)})
    assert (await call("POST", f"{url}?ID=a", content=large, headers=auth)).status_code == 200
    assert (await call("GET", url, headers=auth)).text == large
    assert (await call("UNLOCK", url, content='{"ID":"a"}', headers=auth)).status_code == 200
    assert (await call("DELETE", url, headers=auth)).status_code == 200
    assert (await call("GET", url, headers=auth)).status_code == 204


async def test_tokens_are_shown_once(api) -> None:
    me = await api.login("alice")
    answer = await api.client.post(
        "/api/v1/tokens", json={"name": "ci", "scopes": ["read"], "lifetime_s": 60}, headers=me
    )
    made = answer.json()
    assert made["token"].startswith("kled_")
    listed = (await api.client.get("/api/v1/tokens", headers=me)).json()
    assert all(token["token"] is None for token in listed)
    ci = {"Authorization": f"Bearer {made['token']}"}
    assert (await api.client.get("/api/v1/workspaces", headers=ci)).status_code == 200
    answer = await api.client.post("/api/v1/tokens", json={"name": "x"}, headers=ci)
    assert code(answer) == (403, "forbidden")
    api.world.clock.advance(61)
    assert code(await api.client.get("/api/v1/workspaces", headers=ci)) == (401, "token_expired")
    answer = await api.client.delete(f"/api/v1/tokens/{made['id']}", headers=me)
    assert answer.status_code == 204


async def test_metrics_are_for_those_who_may_read_them(api) -> None:
    def elsewhere(**headers: str) -> dict[str, str]:
        return {"X-Forwarded-For": "192.0.2.1", **headers}

    async def get(**headers: str) -> int:
        return (await api.client.get("/metrics", headers=headers)).status_code

    assert await get() == 200
    assert await get(Host="localhost:7080") == 200
    assert await get(Host="kled.example.com") == 401
    assert await get(Forwarded="for=192.0.2.1") == 401
    assert await get(**elsewhere()) == 401
    # What a proxy on this machine passes on, trusted or not, and whatever its client wrote.
    assert await get(**{"X-Forwarded-For": "127.0.0.1"}) == 401
    assert await get(**{"X-Forwarded-For": ""}) == 401
    member = await api.login("alice")
    assert await get(**elsewhere(**member)) == 403
    auditor = await api.login("log", "auditor")
    assert await get(**elsewhere(**auditor)) == 200
    rows = (await api.client.get("/api/v1/audit", headers=auditor)).json()
    refused = [row["user_name"] for row in rows if row["action"] == "metrics.read"]
    assert refused == ["alice"]
    app_services = api.world.services
    open_config = app_services.config.model_copy(update={"metrics_public": True})
    object.__setattr__(app_services, "config", open_config)
    assert await get(**elsewhere()) == 200


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("::ffff:192.0.2.1", False),
        ("192.0.2.1", False),
        ("", False),
        ("localhost.example.com", False),
        ("/run/kled.sock", False),
    ],
)
def test_what_is_loopback(host: str, local: bool) -> None:
    assert guard._is_loopback(host) is local


async def test_health_and_metrics(api) -> None:
    assert (await api.client.get("/healthz")).json() == {"status": "ok"}
    assert (await api.client.get("/readyz")).status_code == 200
    metrics = (await api.client.get("/metrics")).text
    assert 'kled_http_requests_total{route="/healthz",status="200"} 1.0' in metrics
    assert "https://" not in (await api.client.get("/api/docs")).text
    api.world.services.readiness.draining.set()
    assert code(await api.client.get("/readyz")) == (503, "not_ready")
