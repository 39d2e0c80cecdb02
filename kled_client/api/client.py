"""The routes of the coordinator's REST API, typed. Each raises what `requests.py` says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import trio

from kled_client.account.http import tls_context
from kled_client.api.lean_httpx import httpx
from kled_client.api.models import (
    AuditEntry,
    Build,
    BuildStep,
    Connection,
    Login,
    ParameterForm,
    PingResult,
    PlannedChange,
    RegisteredKey,
    RenamedWorkspace,
    StateVersion,
    Template,
    Token,
    User,
    Version,
    Workspace,
)
from kled_client.api.requests import REQUEST_TIMEOUT_S, Requests, path_of
from kled_wire.errors import NotFoundError, UnavailableError
from kled_wire.transport.address import parse_url

# Terraform checks a template while the upload waits.
PUSH_TIMEOUT_S = 300.0
# Proxies end a request that has no answer within a minute (nginx: 60 s), so a long wait is several.
WAIT_SLICE_S = 25.0


@asynccontextmanager
async def open_api(
    url: str, token: str | None, *, ca_file: str | None = None
) -> AsyncIterator[Api]:
    """A client for the coordinator at `url`; connections are kept until the block ends."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = parse_url(url)
    verify = tls_context(ca_file) if address.tls else False
    async with httpx.AsyncClient(
        base_url=address.url, headers=headers, verify=verify, timeout=REQUEST_TIMEOUT_S
    ) as client:
        yield Api(client=client, url=url)


class Api(Requests):
    """The routes of one coordinator, as one user. Made by `open_api`."""

    __slots__ = ()

    async def version(self) -> dict[str, str]:
        return cast("dict[str, str]", await self.call("GET", "/version"))

    async def login(self, username: str, password: str, token_name: str) -> Login:
        body = {"username": username, "password": password, "token_name": token_name}
        return cast("Login", await self.call("POST", "/auth/login", body))

    async def exchange(self, code: str, password: str | None, token_name: str) -> Login:
        body = {"code": code, "token_name": token_name}
        if password is not None:
            body["password"] = password
        return cast("Login", await self.call("POST", "/auth/exchange", body))

    async def logout(self) -> None:
        await self.call("POST", "/auth/logout")

    async def whoami(self) -> User:
        return cast("User", await self.call("GET", "/users/me"))

    async def users(self) -> list[User]:
        return cast("list[User]", await self.call("GET", "/users"))

    async def create_user(self, body: Mapping[str, str]) -> dict[str, Any]:
        return cast("dict[str, Any]", await self.call("POST", "/users", body))

    async def user(self, name: str) -> User:
        return cast("User", await self.call("GET", path_of("users", name)))

    async def update_user(self, name: str, body: Mapping[str, Any]) -> User:
        return cast("User", await self.call("PATCH", path_of("users", name), body))

    async def delete_user(self, name: str) -> None:
        await self.call("DELETE", path_of("users", name))

    async def end_streams(self, name: str) -> None:
        await self.call("POST", path_of("users", name, "end-streams"))

    async def tokens(self) -> list[Token]:
        return cast("list[Token]", await self.call("GET", "/tokens"))

    async def create_token(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return cast("dict[str, Any]", await self.call("POST", "/tokens", body))

    async def revoke_token(self, token_id: str) -> None:
        await self.call("DELETE", path_of("tokens", token_id))

    async def keys(self) -> list[RegisteredKey]:
        return cast("list[RegisteredKey]", await self.call("GET", "/keys"))

    async def add_key(self, body: Mapping[str, Any]) -> RegisteredKey:
        return cast("RegisteredKey", await self.call("POST", "/keys", body))

    async def remove_key(self, key_id: str) -> RegisteredKey:
        return cast("RegisteredKey", await self.call("DELETE", path_of("keys", key_id)))

    async def templates(self) -> list[Template]:
        return cast("list[Template]", await self.call("GET", "/templates"))

    async def template(self, name: str) -> Template:
        return cast("Template", await self.call("GET", path_of("templates", name)))

    async def delete_template(self, name: str) -> None:
        await self.call("DELETE", path_of("templates", name))

    async def update_template(self, name: str, body: Mapping[str, Any]) -> Template:
        return cast("Template", await self.call("PATCH", path_of("templates", name), body))

    async def push_template(self, name: str, body: Mapping[str, Any]) -> Version:
        """Upload a template; refused as `template_invalid` when Terraform says so.

        `body` is that of docs/protocol.md: the archive in base64, values, a message, deadlines.
        """
        path = path_of("templates", name, "versions")
        return cast("Version", await self._upload(name, path, body))

    async def check_template(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Have a template checked as by a push; nothing is kept."""
        path = path_of("templates", name, "check")
        return cast("dict[str, Any]", await self._upload(name, path, body))

    async def _upload(self, name: str, path: str, body: Mapping[str, Any]) -> Any:
        deadline_s = body.get("check_deadline_s") or await self._check_deadline(name)
        timeout = PUSH_TIMEOUT_S + (deadline_s if isinstance(deadline_s, int) else 0)
        return await self.call("POST", path, body, timeout=timeout)

    async def template_version(self, name: str, version: int | str) -> Version:
        return cast(
            "Version", await self.call("GET", path_of("templates", name, "versions", version))
        )

    async def archive_version(self, name: str, version: int | str, *, archived: bool) -> Version:
        path = path_of("templates", name, "versions", version)
        return cast("Version", await self.call("PATCH", path, {"archived": archived}))

    async def pull_template(self, name: str, version: int | str) -> bytes:
        """The files of a version, as a tar."""
        path = path_of("templates", name, "versions", version, "archive")
        return (await self.send("GET", path, timeout=PUSH_TIMEOUT_S)).content

    async def evaluate(
        self, template: str, workspace: str | None, body: Mapping[str, Any]
    ) -> ParameterForm:
        """The parameters of a new workspace, or of the next start of one that is there."""
        whose = ("templates", template) if workspace is None else ("workspaces", workspace)
        path = path_of(*whose, "parameters", "evaluate")
        return cast("ParameterForm", await self.call("POST", path, body, timeout=PUSH_TIMEOUT_S))

    async def _check_deadline(self, name: str) -> int | None:
        """The template's own, if there is a template."""
        try:
            return (await self.template(name)).get("check_deadline_s")
        except NotFoundError:
            return None

    async def workspaces(
        self, owner: str | None = None, *, search: str = "", sort: str | None = None
    ) -> list[Workspace]:
        """The caller's own, those of `owner`, or everybody's for `*`; those that are searched."""
        asked = {"owner": owner, "q": search, "sort": sort}
        params = {name: value for name, value in asked.items() if value}
        return cast("list[Workspace]", await self.call("GET", "/workspaces", params=params))

    async def create_workspace(self, body: Mapping[str, Any]) -> Workspace:
        return cast("Workspace", await self.call("POST", "/workspaces", body))

    async def workspace(self, ref: str) -> Workspace:
        return cast("Workspace", await self.call("GET", path_of("workspaces", ref)))

    async def resources(self, ref: str) -> list[dict[str, str]]:
        """What Terraform has made for a workspace; an older coordinator does not tell."""
        try:
            found = await self.call("GET", path_of("workspaces", ref, "resources"))
        except NotFoundError:
            return []
        return cast("list[dict[str, str]]", found)

    async def wait_for_agent(self, ref: str, timeout_s: float) -> Workspace:
        """Return once the agent is connected; UnavailableError("agent_not_connected") if not."""
        deadline = trio.current_time() + timeout_s
        while True:
            began = trio.current_time()
            slice_s = max(0.0, min(WAIT_SLICE_S, deadline - began))
            try:
                answer = await self.call(
                    "GET",
                    path_of("workspaces", ref, "wait"),
                    params={"for": "agent", "timeout_s": str(slice_s)},
                    timeout=slice_s + REQUEST_TIMEOUT_S,
                )
            except UnavailableError as exc:
                now = trio.current_time()
                # Said early, it is not the wait that ended but the reason to wait.
                if exc.code != "agent_not_connected" or now - began < slice_s:
                    raise
                if now >= deadline:
                    # The coordinator only knows of the last slice.
                    raise UnavailableError(
                        exc.code,
                        f"the workspace's agent did not connect within {timeout_s:.0f} s",
                        hint=exc.hint,
                    ) from exc
            else:
                return cast("Workspace", answer)

    async def wait_until_ready(self, ref: str) -> Workspace:
        """Wait for a while; UnavailableError("agent_not_ready") says what is still waited for."""
        params = {"for": "ready", "timeout_s": str(WAIT_SLICE_S)}
        path = path_of("workspaces", ref, "wait")
        timeout_s = WAIT_SLICE_S + REQUEST_TIMEOUT_S
        return cast("Workspace", await self.call("GET", path, params=params, timeout=timeout_s))

    async def script_output(self, ref: str, agent: str, run: str) -> bytes:
        """What one run has printed, byte for byte."""
        path = path_of("workspaces", ref, "scripts", agent, run, "output")
        return (await self.send("GET", path)).content

    async def container_output(self, ref: str, name: str) -> bytes:
        """What a container has printed last, byte for byte."""
        path = path_of("workspaces", ref, "containers", name, "output")
        return (await self.send("GET", path)).content

    async def follow_container(self, ref: str, name: str) -> AsyncGenerator[bytes, None]:
        """Yield what a container has printed last, and then what it prints, until it goes."""
        path = path_of("workspaces", ref, "containers", name, "output")
        params = {"follow": "true"}
        async with self.answer("GET", f"/api/v1{path}", params=params) as response:
            async for piece in response.aiter_bytes():
                yield piece

    async def start_build(self, ref: str, body: Mapping[str, Any]) -> Build:
        return cast("Build", await self.call("POST", path_of("workspaces", ref, "builds"), body))

    async def plan(self, ref: str, body: Mapping[str, Any]) -> list[PlannedChange]:
        """What a build would change; nothing is built."""
        path = path_of("workspaces", ref, "plan")
        answer = await self.call("POST", path, body, timeout=PUSH_TIMEOUT_S)
        return cast("list[PlannedChange]", answer)

    async def drift(self, ref: str) -> list[PlannedChange]:
        """The resources that differ from the state."""
        answer = await self.call(
            "POST", path_of("workspaces", ref, "drift"), timeout=PUSH_TIMEOUT_S
        )
        return cast("list[PlannedChange]", answer)

    async def audit(self, filters: Mapping[str, str]) -> list[AuditEntry]:
        """The newest rows that fit, the newest first."""
        return cast("list[AuditEntry]", await self.call("GET", "/audit", params=dict(filters)))

    async def connections(self, filters: Mapping[str, str]) -> list[Connection]:
        """The newest streams to workspaces that fit, the newest first."""
        found = await self.call("GET", "/connections", params=dict(filters))
        return cast("list[Connection]", found)

    async def rename_workspace(self, ref: str, name: str) -> RenamedWorkspace:
        answer = await self.call(
            "PATCH", path_of("workspaces", ref), {"name": name}, timeout=PUSH_TIMEOUT_S
        )
        return cast("RenamedWorkspace", answer)

    async def states(self, ref: str) -> list[StateVersion]:
        """The versions of a workspace's state, the newest first."""
        return cast(
            "list[StateVersion]", await self.call("GET", path_of("workspaces", ref, "states"))
        )

    async def pull_state(self, ref: str, version: int | None) -> bytes:
        """A version of the state, byte for byte; None: the newest."""
        params = None if version is None else {"version": str(version)}
        path = path_of("workspaces", ref, "states", "content")
        return (await self.send("GET", path, params=params, timeout=PUSH_TIMEOUT_S)).content

    async def push_state(self, ref: str, content: bytes) -> dict[str, int]:
        path = path_of("workspaces", ref, "states", "content")
        answer = await self.send("POST", path, content=content, timeout=PUSH_TIMEOUT_S)
        return cast("dict[str, int]", self.decode(answer))

    async def ping(self, ref: str) -> PingResult:
        return cast("PingResult", await self.call("GET", path_of("workspaces", ref, "ping")))

    async def build(self, build_id: str) -> Build:
        return cast("Build", await self.call("GET", path_of("builds", build_id)))

    async def cancel_build(self, build_id: str, *, force: bool = False) -> Build:
        params = {"force": "true"} if force else None
        path = path_of("builds", build_id, "cancel")
        return cast("Build", await self.call("POST", path, params=params))

    async def retry_build(self, build_id: str) -> Build:
        return cast("Build", await self.call("POST", path_of("builds", build_id, "retry")))

    async def build_timings(self, build_id: str) -> list[BuildStep]:
        return cast(
            "list[BuildStep]", await self.call("GET", path_of("builds", build_id, "timings"))
        )

    async def builds(self, ref: str) -> list[Build]:
        """A workspace's builds, the newest first."""
        return cast("list[Build]", await self.call("GET", path_of("workspaces", ref, "builds")))

    async def agent_token(self, ref: str, name: str) -> dict[str, str]:
        path = path_of("workspaces", ref, "agents", name, "token")
        return cast("dict[str, str]", await self.call("POST", path))

    async def build_log(
        self, build_id: str, *, after: int = 0, follow: bool = True
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the objects of a build's NDJSON log, to its `end` or to a cut connection.

        Without `follow`, those that are there.
        """
        params = {"after": str(after), "follow": "true" if follow else "false"}
        async for item in self.json_lines(path_of("builds", build_id, "logs"), params):
            yield item

    async def script_log(
        self, ref: str, build: int, *, follow: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the objects of what the scripts of a build print."""
        params = {"build": str(build), "follow": "true" if follow else "false"}
        async for item in self.json_lines(path_of("workspaces", ref, "scripts", "log"), params):
            yield item
