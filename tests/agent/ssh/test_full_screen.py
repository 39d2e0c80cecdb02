"""Full-screen programs in a named session, seen before detaching and after attaching again.

tmux is the terminal: OpenSSH runs in it, and `capture-pane` says what is to be seen.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import trio

from kled_agent.sessions.directory import SessionDirectory, SessionSettings
from kled_wire.eventlog import EventLog
from tests.agent.ssh.site import Site
from tests.kit.programs import need

pytestmark = pytest.mark.slow
STATE = "#{cursor_x},#{cursor_y} alt=#{alternate_on} mouse=#{mouse_any_flag} keypad=#{keypad_flag}"


@pytest.fixture
def named(site: Site, log: EventLog) -> Iterator[SessionDirectory]:
    settings = SessionSettings(directory=site.home / "state" / "sessions")
    directory = SessionDirectory(settings=settings, children=site.children, log=log)
    directory.open()
    host = site.host
    user = dataclasses.replace(host._defaults.user, shell="/bin/bash")
    host._defaults = dataclasses.replace(host._defaults, named=directory, user=user)
    yield directory
    directory.end_all()
    directory.close()


class Screen:
    """A terminal of 100 by 30, in a tmux of its own, that runs ssh to the session `main`."""

    def __init__(self, site: Site, name: str, *, rows: int = 30) -> None:
        need("tmux")
        self._tmux = ["tmux", "-L", f"kled-{os.getpid()}-{name}", "-f", "/dev/null"]
        self._rows = rows
        ssh = ["ssh", *site.options(), "-oSetEnv=KLED_CLIENT_SESSION=main", "-tt", "any@ws.kled"]
        self._ssh = shlex.join(ssh)

    async def __aenter__(self) -> Self:
        await self._do("new-session", "-d", "-x", "100", "-y", str(self._rows), self._ssh)
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):
            await self._do("kill-server")

    async def _do(self, *words: str) -> str:
        done = await trio.run_process(
            [*self._tmux, *words],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TMUX": ""},
        )
        return done.stdout.decode()

    async def type(self, *keys: str) -> None:
        await self._do("send-keys", *keys)

    async def text(self) -> str:
        return await self._do("capture-pane", "-p")

    async def picture(self) -> tuple[str, str]:
        """Text and state, once they have settled."""
        before: tuple[str, str] | None = None
        with trio.fail_after(30):
            while True:
                now = await self.text(), await self._do("display-message", "-p", STATE)
                if now == before:
                    return now
                before = now
                await trio.sleep(0.4)

    async def wait_for(self, wanted: str) -> None:
        with trio.fail_after(30):
            while wanted not in (seen := await self.text()):
                await trio.sleep(0.1)
        assert wanted in seen


async def start(screen: Screen, line: str, wanted: str) -> None:
    await screen.wait_for(":~")
    await screen.type("PS1='$ '; clear", "Enter")
    await screen.type("echo before-the-program", "Enter")
    await screen.type(line, "Enter")
    await screen.wait_for(wanted)


@pytest.fixture
def text_file(site: Site) -> Path:
    path = site.home / "lines"
    path.write_text("".join(f"{n} the quick brown fox — größer\n" for n in range(1, 400)))
    return path


async def test_vim_looks_the_same(site: Site, named: SessionDirectory, text_file: Path) -> None:
    need("vim")
    async with Screen(site, "vim1") as screen:
        options = "'+set mouse=a number' '+syntax off'"
        await start(screen, f"vim -u NONE {options} {text_file}", "quick brown")
        await screen.type("100G", "10j", "w", "w", "i", "typed here ")
        await screen.wait_for("typed here")
        before = await screen.picture()
    async with Screen(site, "vim2") as screen:
        await screen.wait_for("typed here")
        after = await screen.picture()
        assert after == before
        assert "alt=1 mouse=1" in after[1]
        await screen.type("more ", "Escape", ":q!", "Enter")
        await screen.wait_for("before-the-program")
        assert "alt=0 mouse=0" in (await screen.picture())[1]


async def test_less_looks_the_same(site: Site, named: SessionDirectory, text_file: Path) -> None:
    need("less")
    async with Screen(site, "less1") as screen:
        await start(screen, f"LESS= less {text_file}", "quick brown")
        await screen.type("Space", "Space", "j", "/", "150", "Enter")
        await screen.wait_for("150 the")
        before = await screen.picture()
    async with Screen(site, "less2") as screen:
        await screen.wait_for("150 the")
        assert await screen.picture() == before
        await screen.type("k")
        await screen.wait_for("149 the")
        await screen.type("q")
        await screen.wait_for("before-the-program")


async def test_tmux_looks_the_same(site: Site, named: SessionDirectory) -> None:
    need("tmux")
    socket = f"inner-{os.getpid()}"
    line = f"tmux -L {socket} -f /dev/null new -s inner 'PS1=% exec bash --norc'"
    try:
        async with Screen(site, "tmux1") as screen:
            await start(screen, line, "[inner]")
            await screen.type("seq 1 5; echo top-pane", "Enter")
            await screen.wait_for("\ntop-pane")
            await screen.type("C-b", '"')
            await screen.wait_for("──")
            await screen.type("echo bottom''-pane", "Enter")
            await screen.wait_for("bottom-pane")
            before = await screen.picture()
        async with Screen(site, "tmux2") as screen:
            await screen.wait_for("bottom-pane")
            after = await screen.picture()
            assert without_clock(after[0]) == without_clock(before[0])
            assert after[1] == before[1]
    finally:
        await trio.run_process(
            ["tmux", "-L", socket, "kill-server"], check=False, capture_stderr=True
        )


def without_clock(text: str) -> list[str]:
    return text.splitlines()[:-1]


async def test_htop_looks_the_same(site: Site, named: SessionDirectory) -> None:
    need("htop")
    async with Screen(site, "htop1") as screen:
        # Slow enough to stand still: what it shows is the machine's state.
        await start(screen, "htop -d 100 --no-mouse -s PID", "F10")
        before = await screen.picture()
    async with Screen(site, "htop2") as screen:
        await screen.wait_for("F10")
        after = await screen.picture()
        assert after[1] == before[1]
        shape_before, shape_after = (shape(p[0]) for p in (before, after))
        assert shape_after == shape_before
        await screen.type("q")
        await screen.wait_for("before-the-program")


def shape(text: str) -> list[str]:
    """The lines of htop that do not depend on the moment."""
    lines = text.splitlines()
    return [line for line in lines if line.startswith(("F1", "  PID")) or "Main" in line]


async def test_a_smaller_terminal_gets_the_program_redrawn(
    site: Site, named: SessionDirectory, text_file: Path
) -> None:
    need("vim")
    async with Screen(site, "small1") as screen:
        await start(screen, f"vim -u NONE '+set number' {text_file}", "quick brown")
        await screen.type("200G", "zz")
        await screen.wait_for("200 the")
    async with Screen(site, "small2", rows=18) as screen:
        await screen.wait_for("200 the")
        text, _ = await screen.picture()
        assert len(text.splitlines()) == 18
        assert [line for line in text.splitlines()[:17] if "quick brown" not in line] == []


async def test_a_shells_screen_scrollback_and_colours_come_back(
    site: Site, named: SessionDirectory
) -> None:
    async with Screen(site, "shell1") as screen:
        await start(screen, "seq 1 100; printf '\\033[31mred\\033[0m wide: 漢字 ✓\\n'", "wide:")
        await screen.type("echo half-typ")
        await screen.wait_for("half-typ")
        before = await screen.picture()
    async with Screen(site, "shell2") as screen:
        await screen.wait_for("half-typ")
        assert await screen.picture() == before
        assert "\x1b[31mred" in await screen._do("capture-pane", "-p", "-e")
        kept = (await screen._do("capture-pane", "-p", "-S", "-200")).split()
        assert {str(n) for n in range(1, 101)} <= set(kept)
        await screen.type("ed", "Enter")
        await screen.wait_for("\nhalf-typed")


async def test_a_program_that_draws_little_by_little_for_long_is_made_to_draw_again(
    site: Site, named: SessionDirectory
) -> None:
    """Its first drawing is no longer among what is played: SIGWINCH makes it draw all."""
    program = site.home / "draws.py"
    program.write_text(
        "import shutil, signal, sys\n"
        "def draw(*_):\n"
        "    rows = shutil.get_terminal_size().lines\n"
        "    sys.stdout.write('\\033[H\\033[2J' + f'first row\\r\\n{rows} rows')\n"
        "    sys.stdout.flush()\n"
        "signal.signal(signal.SIGWINCH, draw)\n"
        "sys.stdout.write('\\033[?1049h'); draw()\n"
        "for n in range(30000): sys.stdout.write(f'\\033[10;10Hcount {n} ')\n"
        "sys.stdout.flush()\n"
        "while True: signal.pause()\n"
    )
    async with Screen(site, "draws1") as screen:
        await start(screen, f"python3 {program}", "count 29999")
    async with Screen(site, "draws2") as screen:
        await screen.wait_for("first row\n30 rows")
