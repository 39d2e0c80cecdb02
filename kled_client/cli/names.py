"""Argument types for names, of workspaces and others, and their shell completion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from kled_client.account import profile
from kled_client.cli.context import Invocation
from kled_wire.errors import KledError
from kled_wire.names import WorkspaceRef, parse_version, parse_workspace_ref

if TYPE_CHECKING:
    from kled_client.api.client import Api

# A person who presses Tab waits this long at most; the names of sessions take an SSH connection.
ANSWER_S = 1.5
Items = list[CompletionItem[str]]
Completer = Callable[[click.Context, click.Parameter, str], Items]


class RefType(click.ParamType[WorkspaceRef]):
    """`dev`, `alice/dev`, `dev.alice`, `dev.kled` or an id."""

    name = "workspace"

    def convert(
        self,
        value: str | WorkspaceRef,
        param: click.Parameter | None,  # noqa: ARG002  # click's signature
        ctx: click.Context | None,  # noqa: ARG002
    ) -> WorkspaceRef:
        return value if isinstance(value, WorkspaceRef) else parse_workspace_ref(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
        return complete_workspace(ctx, param, incomplete)


class VersionType(click.ParamType[int | str]):
    """A version of a template, by its number or by its name."""

    name = "version"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        del param, ctx
        return value if isinstance(value, int) else parse_version(value)


workspace_argument = click.argument("workspace", type=RefType(), metavar="WORKSPACE")
optional_workspace_argument = click.argument(
    "workspace", type=RefType(), metavar="[WORKSPACE]", required=False
)


def complete_workspace(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    """A workspace's name."""
    return items(workspace_names(ctx, incomplete), incomplete)


def workspace_names(ctx: click.Context, incomplete: str) -> list[str]:
    """One's own workspaces; after `alice/`, alice's."""
    owner, slash, _ = incomplete.partition("/")

    async def find(invocation: Invocation) -> list[str]:
        async with invocation.api() as api:
            found = await api.workspaces(owner if slash else None)
        return [f"{owner}{slash}{w['name']}" if slash else w["name"] for w in found]

    return answer(ctx, find)


def complete_place(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """A side of a copy: a local file, or `WORKSPACE:` and then nothing that is known here."""
    # bash breaks words at the colon.
    if ":" in incomplete or (ctx.params.get(param.name or "") or ())[-1:] == (":",):
        return []
    files = CompletionItem(incomplete, type="file")
    if "/" in incomplete or incomplete.startswith((".", "~")):
        return [files]
    places = [f"{name}:" for name in workspace_names(ctx, incomplete)]
    return [*items(places, incomplete), files]


def named_by(find: Callable[[Api], Awaitable[Iterable[str]]]) -> Completer:
    """A parameter's `shell_complete` that offers what `find` gets from the API."""

    async def ask(invocation: Invocation) -> list[str]:
        async with invocation.api() as api:
            return list(await find(api))

    return lambda ctx, _param, incomplete: items(answer(ctx, ask), incomplete)


def answer(ctx: click.Context, find: Callable[[Invocation], Awaitable[list[str]]]) -> list[str]:
    """What `find` finds within ANSWER_S; nothing where it cannot: a shell shows no errors."""
    import trio  # not for what only names its arguments' types

    options = ctx.find_root().params
    invocation = Invocation.from_options(profile=options.get("profile"), url=options.get("url"))
    found: list[str] = []

    async def ask() -> None:
        with trio.move_on_after(ANSWER_S):
            found.extend(await find(invocation))

    try:
        trio.run(ask)
    except* (KledError, OSError):
        found.clear()
    return found


def items(names: Iterable[str], incomplete: str) -> Items:
    """Those of `names` that go on from `incomplete`."""
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


async def _templates(api: Api) -> Iterable[str]:
    return [t["name"] for t in await api.templates()]


async def _users(api: Api) -> Iterable[str]:
    return [u["name"] for u in await api.users()]


complete_template = named_by(_templates)
complete_user = named_by(_users)


# The terms and columns of `kled list`; the coordinator names them too where it refuses another.
_STATUSES = [
    "running",
    "stopped",
    "starting",
    "stopping",
    "deleting",
    "pending",
    "failed",
    "canceled",
]
_SEARCHES = ("owner:me", "name:", "template:", "outdated:true", *(f"status:{s}" for s in _STATUSES))
_SORTS = ("name", "owner", "template", "status", "created", "used")


def complete_search(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    """A term of a search of workspaces."""
    return items(_SEARCHES, incomplete)


def complete_sort(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    """What workspaces can be sorted by."""
    return items((*_SORTS, *(f"-{name}" for name in _SORTS)), incomplete)


def complete_profile(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    """The profiles of this machine; nobody is asked."""

    async def find(invocation: Invocation) -> list[str]:
        return profile.names(invocation.env)

    return items(answer(ctx, find), incomplete)
