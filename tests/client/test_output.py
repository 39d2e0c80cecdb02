"""Tables in little room and in pipes, and times."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from kled_client.output import Output, ago, is_past
from kled_client.tables import fit_columns
from tests.client.conftest import Kled
from tests.client.fake import Fake

TOKEN_ID = "tok_0123456789abcdefghij"


def printed(columns: dict[str, list[str]], spare: tuple[str, ...], width: int | None) -> str:
    """What a terminal of `width` columns is sent, None: a pipe."""
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=width is not None, color_system=None, soft_wrap=True
    )
    Output(results=console).rows([1], columns, "", spare=spare)
    return file.getvalue()


cells = st.text("abc-_", min_size=1, max_size=40)


@given(
    st.integers(10, 200), st.lists(st.tuples(cells, cells, cells, cells), min_size=1, max_size=3)
)
def test_what_a_narrow_terminal_shows_is_whole(
    width: int, rows: list[tuple[str, str, str, str]]
) -> None:
    columns = dict(
        zip(("ID", "NAME", "USED", "STATE"), map(list, zip(*rows, strict=True)), strict=True)
    )
    shown = fit_columns(columns, ("USED", "NAME"), width)
    assert {"ID", "STATE"} <= set(shown)
    text = printed(columns, ("USED", "NAME"), width)
    assert "…" not in text
    for heading in [*shown][:-1]:
        assert all(cell in text for cell in shown[heading])
    if set(shown) - {"ID", "STATE"}:
        assert max(map(len, text.splitlines())) <= width


def test_spare_columns_go_first_and_only_as_needed() -> None:
    columns = {"ID": [TOKEN_ID], "NAME": ["n" * 20], "USED": ["3 min ago"], "STATE": ["valid"]}
    assert list(fit_columns(columns, ("USED", "NAME"), 80)) == ["ID", "NAME", "USED", "STATE"]
    assert list(fit_columns(columns, ("USED", "NAME"), 60)) == ["ID", "NAME", "STATE"]
    assert list(fit_columns(columns, ("USED", "NAME"), 20)) == ["ID", "STATE"]
    assert list(fit_columns(columns, ("USED", "NAME"), None)) == ["ID", "NAME", "USED", "STATE"]


def test_prose_at_the_end_goes_over_several_lines() -> None:
    prose = "a machine with everything that a person needs to build the firmware of the device"
    text = printed({"NAME": ["x" * 30], "DESCRIPTION": [prose]}, (), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert prose in " ".join(text.replace("x" * 30, "").split()[2:])


def test_a_pipe_gets_one_whole_line_a_row() -> None:
    columns = {"ID": [TOKEN_ID] * 2, "STATE": ["x" * 300] * 2}
    assert [line.split() for line in printed(columns, ("ID",), None).splitlines()] == [
        ["ID", "STATE"],
        *[[TOKEN_ID, "x" * 300]] * 2,
    ]


def after(**length: float) -> str:
    return (datetime.now(UTC) + timedelta(**length)).isoformat()


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        ({"days": 9.5}, "in 9 d"),
        ({"hours": 3.5}, "in 3 h"),
        ({"minutes": -5.5}, "5 min ago"),
        ({"days": -40.5}, "40 d ago"),
    ],
)
def test_times_are_for_people(length: dict[str, float], shown: str) -> None:
    assert ago(after(**length)) == shown
    assert is_past(after(**length)) is shown.endswith("ago")


def test_times_that_are_none() -> None:
    assert (ago(None), ago(None, "never"), ago("soon"), is_past(None)) == (
        "-",
        "never",
        "soon",
        False,
    )


def test_tokens_and_keys_that_have_ended_are_not_shown_as_valid(
    signed_in: Fake, kled: Kled
) -> None:
    token: dict[str, Any] = {
        "id": TOKEN_ID,
        "name": "ci",
        "scopes": ["all"],
        "created_at": after(days=-9.5),
    }
    token |= {"last_used_at": None, "revoked_at": None}
    ends = {"live": after(days=8.5), "old": after(days=-2.5), "for ever": None}
    signed_in.routes["GET", "/api/v1/tokens"] = (
        200,
        [{**token, "name": name, "expires_at": end} for name, end in ends.items()],
    )
    _, *lines = kled("token", "list").stdout.decode().splitlines()
    assert [line.split()[-1] for line in lines] == ["valid", "expired", "valid"]
    assert ["in 8 d" in lines[0], "2 d ago" in lines[1], "never" in lines[2]] == [True] * 3
    raw = json.loads(kled("token", "list", "-o", "json").stdout)
    assert [found["expires_at"] for found in raw] == list(ends.values())
    key = {
        "id": "key_1",
        "name": "k",
        "workspace": None,
        "last_used_at": None,
        "fingerprint": "SHA256:x",
    }
    key |= {"public_key": "ssh-ed25519 AAAA", "expires_at": after(days=-1)}
    signed_in.routes["GET", "/api/v1/keys"] = (200, [key])
    assert b"expired" in kled("key", "list").stdout


def test_without_a_terminal_notes_and_progress_do_without_rich() -> None:
    """Its import would hold up every command that a program runs."""
    code = (
        "import sys; from kled_client.output import Output; output = Output()\n"
        "with output.transfer('copying') as bar: bar.update(1, 2, 'x'); bar.log('a :smile: [b]')\n"
        "output.note('done'); sys.exit('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == "a :smile: [b]\ndone\n"
