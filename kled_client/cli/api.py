"""`kled api METHOD PATH`: one request of the API as you, for what has no command."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import click

from kled_client.api.client import Api
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.files import read_file
from kled_wire.errors import InputError

_METHODS: Final = ("GET", "POST", "PATCH", "PUT", "DELETE")
_PREFIX: Final = "/api/v1"


@click.command()
@click.argument("method", type=click.Choice(_METHODS, case_sensitive=False))
@click.argument("path")
@click.option(
    "--field", "-f", "fields", multiple=True, metavar="NAME=VALUE",
    help="A field of the JSON body; VALUE is JSON, or text.",
)  # fmt: skip
@click.option(
    "--query", "-q", "queries", multiple=True, metavar="NAME=VALUE", help="Add to the query."
)
@click.option(
    "--input", "file", metavar="FILE", type=click.Path(), help="Send a file; -: standard input."
)
@pass_invocation
def api(
    invocation: Invocation,
    method: str,
    path: str,
    fields: tuple[str, ...],
    queries: tuple[str, ...],
    file: str | None,
) -> None:
    """Send one request to the coordinator's API and print the answer as it comes.

    PATH is as in docs/protocol.md, for instance /workspaces or /api/v1/workspaces. An answer that
    is an error is reported like any other, with its exit status.
    """
    if fields and file is not None:
        raise InputError("usage", "--field and --input exclude each other")
    options: dict[str, Any] = {"params": [_pair(word) for word in queries]} if queries else {}
    if fields:
        options["json"] = {name: _value(text) for name, text in map(_pair, fields)}
    elif file is not None:
        options["content"] = read_file(file)
        options["headers"] = {"Content-Type": "application/json"}

    async def work(client: Api) -> None:
        async with client.answer(method.upper(), full_path(path), **options) as response:
            async for piece in response.aiter_bytes():
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()

    invocation.call(work)


def full_path(path: str) -> str:
    """The path within the API, never elsewhere: the token goes with the request.

    Raises InputError.
    """
    dots = {".", ".."} & set(path.partition("?")[0].split("/"))
    if not path.startswith("/") or path.startswith("//") or "#" in path or dots:
        raise InputError("path_malformed", f"{path[:80]!r} is no path", hint="/workspaces")
    return path if f"{path}/".startswith(f"{_PREFIX}/") else f"{_PREFIX}{path}"


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (name and equals):
        raise InputError("field_malformed", f"{word[:40]!r} is not NAME=VALUE")
    return name, value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
