"""The object that every command gets: environment, profile, API and SSH connection."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

from kled_client.account import credentials, profile
from kled_client.account.profile import Profile
from kled_client.output import Output
from kled_wire.errors import UnauthenticatedError
from kled_wire.names import WorkspaceRef

if TYPE_CHECKING:
    import asyncssh

    from kled_client.api.client import Api
    from kled_wire.resume.direct.seeker import DirectSeeker

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One run of `kled`. Made by `cli/main.py`, passed to commands as click's object."""

    env: Mapping[str, str]
    profile_name: str | None
    output: Output
    verbose: bool

    @classmethod
    def from_options(
        cls,
        *,
        profile: str | None,
        url: str | None,
        as_json: bool = False,
        verbose: bool = False,
    ) -> Invocation:
        """With the options that stand before a command, and this process's environment."""
        env = {**os.environ, **({"KLED_URL": url} if url else {})}
        output = Output(as_json=as_json)
        return cls(env=env, profile_name=profile, output=output, verbose=verbose)

    def command(self) -> list[str]:
        """What starts this same program, with the same profile."""
        options = ["--profile", self.profile_name] if self.profile_name else []
        return [sys.executable, "-m", "kled_client", *options]

    def profile(self) -> Profile:
        """Raises UnauthenticatedError("not_logged_in") and ConfigError."""
        return profile.load(self.env, self.profile_name)

    def token(self) -> str:
        """The bearer token of the profile. Raises as `profile`."""
        return credentials.load_token(self.env, self.profile())

    @asynccontextmanager
    async def api(self) -> AsyncIterator[Api]:
        """The API as the profile's user, or as KLED_TOKEN's."""
        # httpx is a third of a command's start-up; help and completion do without.
        from kled_client.api.client import open_api

        used = self.profile()
        try:
            async with open_api(used.url, self.token(), ca_file=used.ca_file) as api:
                yield api
        except UnauthenticatedError as exc:
            if not self.env.get("KLED_TOKEN"):
                raise
            raise UnauthenticatedError(
                exc.code,
                f"KLED_TOKEN: {exc.message}",
                hint="kled token create makes one; unset KLED_TOKEN to use the stored one",
            ) from exc

    def call(self, work: Callable[[Api], Awaitable[T]]) -> T:
        """Run `work` with the API on a fresh Trio loop."""
        import trio  # nearly half of what a command imports: see `sync push`

        async def main() -> T:
            async with self.api() as api:
                return await work(api)

        return trio.run(main)

    @asynccontextmanager
    async def ssh(
        self,
        ref: WorkspaceRef,
        *,
        forward_agent: bool = False,
        on_change: Callable[[str], None] = lambda _reason: None,
        direct: DirectSeeker | None = None,
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """An SSH connection to the workspace; `on_change`, `direct` as `open_ssh` says."""
        from kled_client.ssh.opening import open_ssh

        named = await self._named(ref)
        async with open_ssh(
            self.env,
            self.profile(),
            self.token(),
            named,
            forward_agent=forward_agent,
            on_change=on_change,
            direct=direct,
        ) as connection:
            yield connection

    async def _named(self, ref: WorkspaceRef) -> WorkspaceRef:
        """Host certificates hold names, so an id is looked up first."""
        if ref.id is None:
            return ref
        async with self.api() as api:
            workspace = await api.workspace(str(ref))
        return WorkspaceRef(name=workspace["name"], owner=workspace["owner"])


pass_invocation = click.make_pass_decorator(Invocation)
