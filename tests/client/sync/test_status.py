"""What `kled sync status` and `undo` print."""

from __future__ import annotations

import os
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from kled_client.cli import sync
from kled_client.cli.context import Invocation
from kled_client.output import Output
from kled_client.sync.sessions import SyncSession
from kled_wire.errors import NotFoundError
from tests.client.sync.conftest import Env, running


async def test_hard_links_are_told_once_where_there_are_some(
    env: Env, session: SyncSession, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    (here / "sub").mkdir()
    async with running(env) as asked:
        await asked("start", session=asdict(session))
        await asked("flush", name="s")
        assert "hard links" not in shown(await asked("status", name="s"))
        os.link(here / "a", here / "sub" / "b")
        await asked("flush", name="s")
        text = shown(await asked("status", name="s"))
    words = "1 file with several names, each of which becomes a file of its own"
    assert [line for line in text.splitlines() if line.startswith("hard")] == [
        f"hard links  {words}"
    ]


def shown(found: dict[str, object]) -> str:
    """The status as a person sees it."""
    text = StringIO()
    console = Console(file=text, width=200)
    output = Output(results=console)
    sync._show(Invocation(env=os.environ, profile_name=None, output=output, verbose=False), found)
    return text.getvalue()


def test_an_undo_calls_the_root_by_a_dot(capsys: pytest.CaptureFixture[str]) -> None:
    invocation = Invocation(env=os.environ, profile_name=None, output=Output(), verbose=False)
    undone = {"undone": {"alpha": ["", "a"], "beta": []}}
    sync._show_undone(invocation, undone, "", since_s=1.0, purge=False)
    assert capsys.readouterr().out == "alpha: .\nalpha: a\n"
    with pytest.raises(NotFoundError, match=r"version of \. is kept"):
        sync._show_undone(invocation, {"undone": {}}, "", since_s=0.0, purge=False)
