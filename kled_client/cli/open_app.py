"""`kled open app`: opens an app of the template's, wherever it is."""

from __future__ import annotations

import socket
import webbrowser
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import click
from click.shell_completion import CompletionItem

from kled_client.api.models import Workspace
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import answer, items, workspace_argument
from kled_wire.errors import InputError, NotFoundError
from kled_wire.names import WorkspaceRef

# The hosts by which an app's URL means the workspace itself.
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104  # compared with
_PORTS: Final = {"http": 80, "https": 443}


def _complete_app(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[Any]:
    ref = ctx.params.get("workspace")

    async def find(invocation: Invocation) -> list[str]:
        async with invocation.api() as api:
            return [found["slug"] for found in apps_of(await api.workspace(str(ref)))]

    found: list[CompletionItem[str]] = items(answer(ctx, find) if ref else [], incomplete)
    return found


@click.command()
@workspace_argument
@click.argument("slug", metavar="[APP]", required=False, shell_complete=_complete_app)
@pass_invocation
def app(invocation: Invocation, workspace: WorkspaceRef, slug: str | None) -> int:
    """Open an app of the template: in the browser, or, if it is a command, in this terminal.

    A page inside the workspace is forwarded to this machine until Ctrl-C. Without a browser the
    URL is printed. Without APP, which may be left out if there is only one, lists the apps.
    """
    found = invocation.call(lambda api: api.workspace(str(workspace)))
    apps = apps_of(found)
    if slug is None and len(apps) != 1:
        _list(invocation, workspace, apps)
        return 0
    chosen = [each for each in apps if slug in {None, each["slug"]}]
    if not chosen:
        hint = f"apps: {', '.join(each['slug'] for each in apps) or 'none'}"
        raise NotFoundError("app_not_found", f"{workspace} has no app {slug}", hint=hint)
    return _open(invocation, workspace, chosen[0])


def apps_of(found: Workspace) -> list[dict[str, Any]]:
    """The apps of all agents of a workspace that are not hidden, in the template's order."""
    agents = found.get("agents") or ()
    return [app for agent in agents for app in agent.get("apps") or () if not app["hidden"]]


def _list(invocation: Invocation, ref: WorkspaceRef, apps: list[dict[str, Any]]) -> None:
    columns = {
        "APP": [each["slug"] for each in apps],
        "NAME": [each["display_name"] for each in apps],
        "OPENS": [each["command"] or each["url"] or "-" for each in apps],
    }
    empty = f"{ref} has no apps; they come with a start of a template that has some"
    invocation.output.rows(apps, columns, empty)


def _open(invocation: Invocation, ref: WorkspaceRef, chosen: dict[str, Any]) -> int:
    # An editor is opened without all of these.
    from kled_client.cli.forward import hold, parse_all
    from kled_client.cli.shell import run_line
    from kled_client.forward.hold import ForwardPlan
    from kled_client.terminal.interrupt import run

    if command := chosen["command"]:
        return run(partial(run_line, invocation, ref, command, True, False))
    if not chosen["url"]:
        raise InputError("app_unreachable", f"the app {chosen['slug']} has no URL that you may see")
    url = urlsplit(chosen["url"])
    if chosen["external"] or url.hostname not in _LOCAL:
        _browse(invocation, chosen["url"])
        return 0
    port = url.port or _PORTS.get(url.scheme, 80)
    here = _free_port(port)
    plan = ForwardPlan(forwards=parse_all([f"{here}:{port}"], (), (), ()))
    page = url._replace(netloc=f"localhost:{here}").geturl()
    return run(partial(hold, invocation, ref, plan, on_ready=partial(_browse, invocation, page)))


def _browse(invocation: Invocation, url: str) -> None:
    """In the browser; its address is printed besides, for who has none."""
    if invocation.output.as_json:
        invocation.output.json_line({"event": "open", "url": url})
    else:
        invocation.output.line(url)
        invocation.output.flush()
    if urlsplit(url).scheme in _PORTS:
        webbrowser.open(url)


def _free_port(wanted: int) -> int:
    """The same as in the workspace where it is free here: some pages name their own port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted
