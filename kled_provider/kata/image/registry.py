"""Pulls from registries by their HTTP API: manifests, and blobs that go on where they were cut off.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md; tokens as in
https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx

from kled_provider.containerd.types import ContentDescriptor
from kled_provider.host import HostError
from kled_provider.kata.image.manifest import INDEXES, MANIFESTS, MAX_DOCUMENT_BYTES
from kled_provider.kata.image.reference import ImageReference

_ACCEPT: Final = ", ".join((*MANIFESTS, *INDEXES))
_TIMEOUT: Final = httpx.Timeout(60.0, connect=15.0)
_TRIES: Final = 5  # of one blob, each from where the last ended
_MAX_TOKEN_BYTES: Final = 64 << 10
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_SHOWN = 200
# What httpx raises where there is no whole answer; a URL may come from the registry too.
_NO_ANSWER: Final = (httpx.RequestError, httpx.InvalidURL, ssl.SSLError)


class RegistryError(HostError):
    """A registry refused, or cannot be reached. `status` is HTTP's; 0: there was no answer."""

    def __init__(self, message: str, *, status: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLogin:
    """Who to be at a registry; nobody in particular where the name is empty."""

    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryReach:
    """How a registry is reached."""

    is_plain_http: bool = False
    ca_file: str | None = None


class RemoteRepository:
    """One repository at a registry: an ImageSource. `open_registry` makes it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        reference: ImageReference,
        login: RegistryLogin,
        scheme: str,
    ) -> None:
        self._client = client
        self._reference = reference
        self._login = login
        self._base = f"{scheme}://{reference.api_host}/v2/{reference.repository}"
        self._authorization = ""

    async def resolve(self) -> ContentDescriptor:
        """Ask what the reference stands for. Raises RegistryError."""
        wanted = self._reference.wanted
        async with self._get(f"{self._base}/manifests/{wanted}", {"accept": _ACCEPT}) as answer:
            data = await self._read(answer, MAX_DOCUMENT_BYTES)
            media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if self._reference.digest and digest != self._reference.digest:
            raise RegistryError(
                f"{self._reference.host} sent another manifest than {self._reference.digest}"
            )
        return ContentDescriptor(media_type=media_type, digest=digest, size=len(data))

    async def open_blob(self, blob: ContentDescriptor, offset: int) -> AsyncGenerator[bytes, None]:
        """Give a blob from a byte on; a line that is cut is dialled again."""
        kind = "manifests" if blob.media_type in (*MANIFESTS, *INDEXES) else "blobs"
        url = f"{self._base}/{kind}/{blob.digest}"
        for attempt in range(_TRIES):
            headers = {"accept": _ACCEPT if kind == "manifests" else "*/*"}
            # A compressed transfer has other offsets than the stored blob.
            headers["accept-encoding"] = "identity"
            if offset:
                headers["range"] = f"bytes={offset}-"
            try:
                async with self._get(url, headers) as answer:
                    # A registry that does not know ranges sends the whole blob again.
                    skip = 0 if answer.status_code == 206 else offset
                    async for piece in answer.aiter_raw():
                        fresh = piece[skip:]
                        skip -= len(piece) - len(fresh)
                        offset += len(fresh)
                        if fresh:
                            yield fresh
                return
            except httpx.TransportError as error:
                if attempt == _TRIES - 1:
                    raise self._unreachable(error) from error

    @asynccontextmanager
    async def _get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        for attempt in range(2):
            sent = dict(headers)
            if self._authorization:
                sent["authorization"] = self._authorization
            async with self._stream(url, sent) as answer:
                if answer.status_code == 401 and attempt == 0:
                    await self._authorize(answer.headers.get("www-authenticate", ""))
                    continue
                if answer.status_code not in (200, 206):
                    raise self._refused(answer.status_code, url)
                yield answer
                return

    @asynccontextmanager
    async def _stream(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """A request; where it cannot begin, a RegistryError."""
        request = self._client.build_request("GET", url, headers=headers)
        try:
            answer = await self._client.send(request, stream=True)
        except _NO_ANSWER as error:
            raise self._unreachable(error) from error
        try:
            yield answer
        finally:
            await answer.aclose()

    async def _authorize(self, challenge: str) -> None:
        """Get what a registry asks for that has refused. Raises RegistryError."""
        kind, _, rest = challenge.partition(" ")
        basic = httpx.BasicAuth(self._login.username, self._login.password)
        if kind.lower() == "basic":
            if not self._login.username:
                raise self._refused(401, self._base)
            request = httpx.Request("GET", self._base)
            self._authorization = next(basic.auth_flow(request)).headers["authorization"]
            return
        asked = dict(_PARAMETER.findall(rest))
        realm = asked.get("realm", "")
        if kind.lower() != "bearer" or not realm.startswith(("https://", "http://")):
            raise self._refused(401, self._base)
        if realm.startswith("http://") and not self._base.startswith("http://"):
            raise RegistryError(f"{self._reference.host} wants a password sent without TLS")
        parameters = {name: asked[name] for name in ("service", "scope") if name in asked}
        request = self._client.build_request("GET", realm, params=parameters)
        if self._login.username:
            request = next(basic.auth_flow(request))
        try:
            answer = await self._client.send(request, stream=True)
        except _NO_ANSWER as error:
            raise self._unreachable(error) from error
        try:
            if answer.status_code != 200:
                raise self._refused(answer.status_code, realm)
            await self._read(answer, _MAX_TOKEN_BYTES)
            token = _token(answer)
        finally:
            await answer.aclose()
        if not token:
            raise self._refused(401, realm)
        self._authorization = f"Bearer {token}"

    async def _read(self, answer: httpx.Response, most: int) -> bytes:
        """Read an answer that may have `most` bytes. Raises RegistryError."""
        found = bytearray()
        try:
            async for piece in answer.aiter_bytes():
                found += piece
                if len(found) > most:
                    raise RegistryError(f"{answer.url.host} answered more than {most} bytes")
        except _NO_ANSWER as error:
            raise self._unreachable(error) from error
        answer._content = bytes(found)  # noqa: SLF001 - what aread does, but bounded
        return bytes(found)

    def _refused(self, status: int, url: str) -> RegistryError:
        name = self._reference.name
        who = f"as {self._login.username!r}" if self._login.username else "without an account"
        if status in (401, 403):
            return RegistryError(
                f"{self._reference.host} refuses {name} {who} (HTTP {status})",
                status=status,
                hint="Set `credentials` to an account of the owner's file, or `username` and "
                "`password_wo`.",
            )
        if status == 404:
            return RegistryError(
                f"{self._reference.host} has no {name}" + self._pinned(),
                status=status,
                hint="Check the repository and the tag.",
            )
        return RegistryError(f"{url[:_SHOWN]} answered HTTP {status}", status=status)

    def _pinned(self) -> str:
        digest = self._reference.digest
        return f" of {digest}" if digest and digest not in self._reference.name else ""

    def _unreachable(self, error: Exception) -> RegistryError:
        why = str(error).rstrip(".") or type(error).__name__
        return RegistryError(
            f"{self._reference.host} cannot be reached: {why[:_SHOWN]}",
            hint="Check the name, and the proxy and certificates of this machine.",
        )


@asynccontextmanager
async def open_registry(
    reference: ImageReference, login: RegistryLogin, reach: RegistryReach
) -> AsyncIterator[RemoteRepository]:
    """RegistryReach a registry as long as the context lasts. Raises OSError for a CA file."""
    scheme = "http" if reach.is_plain_http else "https"
    verify: ssl.SSLContext | bool = True
    if reach.ca_file and scheme == "https":
        verify = ssl.create_default_context(cafile=reach.ca_file)
    # Blobs are often elsewhere; httpx takes the account out of a request to another host.
    async with httpx.AsyncClient(
        verify=verify, timeout=_TIMEOUT, follow_redirects=True, max_redirects=5
    ) as client:
        yield RemoteRepository(client, reference, login, scheme)


def _token(answer: httpx.Response) -> str:
    try:
        found = answer.json()
    except ValueError:
        return ""
    if not isinstance(found, dict):
        return ""
    token = found.get("token") or found.get("access_token")
    return token if isinstance(token, str) and token.isascii() and token.isprintable() else ""
