"""Sends requests to a coordinator's API, over httpx on Trio, and decodes the answers.

Every method raises the KledError the coordinator reports, UnavailableError when it cannot be
reached, and ProtocolError when something else answers.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from kled_client.api.failures import foreign, unreachable
from kled_client.api.lean_httpx import httpx
from kled_wire.errors import InputError, KledError, ProtocolError, decode_error

REQUEST_TIMEOUT_S = 30.0
# A build may be silent for long while Terraform waits for a cloud.
LOG_SILENCE_S = 3600.0


def path_of(*segments: str | int) -> str:
    """The path below /api/v1 of these segments, each of which may be a person's word.

    Raises InputError("name_invalid") for one that cannot be a segment (RFC 3986, section 3.3): dots
    lead elsewhere, and a slash, also when it is quoted, parts two.
    """
    for kind, segment in zip(("", *segments), segments, strict=False):
        if segment in {"", ".", ".."} or "/" in str(segment):
            raise InputError(
                "name_invalid",
                f"{str(segment)[:80]!r} cannot be a name among the {kind}",
                hint="a name has no slash and is neither empty nor dots",
            )
    return "".join(f"/{quote(str(segment), safe='')}" for segment in segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests to one coordinator, over the connections of `client`; paths are below /api/v1."""

    client: httpx.AsyncClient
    url: str

    async def json_lines(
        self, path: str, params: Mapping[str, str]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the objects of an NDJSON answer as they come, however long that takes."""
        async with self.answer("GET", f"/api/v1{path}", params=params) as response:
            async for line in response.aiter_lines():
                if line:
                    yield self._parse_line(line)

    @asynccontextmanager
    async def answer(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        """An answer while it comes, which may take long; `path` is whole, options are httpx's."""
        timeout = httpx.Timeout(REQUEST_TIMEOUT_S, read=LOG_SILENCE_S)
        with self._told():
            async with self.client.stream(method, path, timeout=timeout, **options) as response:
                if not response.is_success:
                    await response.aread()
                    raise self._error(response)
                yield response

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        timeout: float = REQUEST_TIMEOUT_S,  # noqa: ASYNC109  # httpx's own, not a cancel scope
    ) -> Any:
        """What the answer's JSON says; None where it has no body. `timeout` is in seconds."""
        response = await self.send(method, path, json=body, params=params, timeout=timeout)
        return self.decode(response)

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The whole answer to a request; options are httpx's."""
        with self._told():
            response = await self.client.request(method, f"/api/v1{path}", **options)
        if not response.is_success:
            raise self._error(response)
        return response

    def decode(self, response: httpx.Response) -> Any:
        """What an answer's JSON says; None where it has no body."""
        if response.status_code == 204:
            return None
        try:
            return response.json()
        except ValueError as exc:
            raise foreign(self.url, response) from exc

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except httpx.InvalidURL as exc:
            said = f"there is no such request: {str(exc)[:200]!a}"
            raise InputError("path_malformed", said) from exc
        except httpx.HTTPError as exc:
            raise unreachable(self.url, exc) from exc

    def _parse_line(self, line: str) -> dict[str, Any]:
        try:
            return cast("dict[str, Any]", json.loads(line))
        except ValueError as exc:
            raise ProtocolError(
                "answer_malformed", f"{self.url} sent a malformed log line"
            ) from exc

    def _error(self, response: httpx.Response) -> KledError:
        return decode_error(response.status_code, response.content) or foreign(self.url, response)
