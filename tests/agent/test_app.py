"""The whole agent as a process: what it has in memory, how it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import trio

from kled_agent.machine.inherited import for_sessions, read_environment
from kled_wire.control import messages
from kled_wire.control.agent_spec import AgentSpec, Script
from kled_wire.http.upgrade import RequestHead
from kled_wire.transport.prefixed import PrefixedStream
from tests.agent.control.coordinator import Answer, Peer, converse, say, serving
from tests.agent.ssh.site import Keys
from tests.agent.test_identity import ANSWER
from tests.kit.processes import command_line

ROOT = Path(__file__).parents[2]
_IDLE = """
import sys, kled_agent.app, kled_agent.cli
heavy = [m for m in sys.modules if m.split(".")[0] in {
    "asyncssh", "cryptography", "trio_asyncio", "asyncio", "httpx", "click", "rich", "keyring",
    "kled_sync", "blake3", "pyfastcdc", "zstandard"}]
print(",".join(sorted(heavy)))
"""


def test_an_idle_agent_has_nothing_that_only_a_session_or_a_sync_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IDLE], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == ""


def _environment(url: str, state: Path) -> dict[str, str]:
    return {
        **os.environ,
        "KLED_COORDINATOR_URL": url,
        "KLED_AGENT_TOKEN": "kled_agent_x",
        "KLED_AGENT_STATE_DIR": str(state),
        "PYTHONPATH": str(ROOT),
    }


def _coordinate(user_ca: str, spec: AgentSpec, up: trio.Event, down: trio.Event) -> Answer:
    """Enroll an agent and give it `spec`; `up` is set when it has it, `down` when it has left."""

    async def talk(peer: Peer) -> None:
        await peer.greet()
        await peer.say(messages.SetSpec(spec=spec))
        while not isinstance(await peer.hear(), messages.SpecSet):
            pass
        up.set()
        await peer.answer_pings()
        down.set()

    async def route(head: RequestHead, stream: PrefixedStream) -> None:
        if head.path.endswith("/enroll"):
            body = json.dumps({**ANSWER, "user_ca": user_ca}).encode()
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            await say(answer + body)(head, stream)
        else:
            await converse(talk)(head, stream)

    return route


async def test_sigterm_ends_the_agent_and_what_it_left_behind(tmp_path: Path) -> None:
    text = f"env >{tmp_path}/said"
    last = Script(id="last", name="last", script=text, run_on_stop=True)
    spec = AgentSpec(build_id="bld_1", scripts=(last,))
    user_ca = Keys.make(tmp_path).text("ca.pub").strip()
    up, down = trio.Event(), trio.Event()
    async with serving(_coordinate(user_ca, spec, up, down)) as coordinator:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "kled_agent", "run"],
            env={
                **_environment(coordinator.url, tmp_path / "state"),
                "TMPDIR": str(tmp_path),
                "KLED_AGENT_SESSION_ENVIRONMENT": "parent",
            },
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        with trio.fail_after(20):
            await up.wait()
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"kled_agent_x" not in shown
        began = trio.current_time()
        process.send_signal(signal.SIGTERM)
        log = b""
        with trio.fail_after(20):
            while data := await process.stderr.receive_some():
                log += data
            assert await process.wait() == 0
            await down.wait()
        assert trio.current_time() - began < 4
        await process.stderr.aclose()
    assert b"agent_stopping signal=SIGTERM" in log
    # The coordinator has not had the shutdown script run. It had what this process was given.
    said = (tmp_path / "said").read_text()
    given = for_sessions(read_environment(os.getpid()), "")
    assert given.keys() <= {line.partition("=")[0] for line in said.splitlines()}
    assert "kled_agent_x" not in said
    assert not [*tmp_path.glob("kled-*")]
    assert b"kled_agent_x" not in log
    lines = [" ".join(command_line(process)) for process in psutil.process_iter()]
    assert not [line for line in lines if str(tmp_path) in line]


def test_a_wrong_setting_is_one_line_and_its_exit_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kled_agent"],
        env=_environment("nonsense", tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("kled-agent: KLED_COORDINATOR_URL: 'nonsense'")
    assert len(done.stderr.splitlines()) == 1


def test_check_prints_the_settings_without_the_token(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kled_agent", "check"],
        env=_environment("https://h", tmp_path), capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown = json.loads(done.stdout)
    assert (shown["coordinator_url"], shown["token"]) == ("https://h", "***")
