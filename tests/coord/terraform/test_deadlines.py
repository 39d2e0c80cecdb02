"""Real Terraforms that make no progress, or do not stop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from kled_coord.terraform.checking import CheckInput, check_template
from kled_coord.terraform.output.errors import TerraformCanceledError, TerraformStalledError
from kled_coord.terraform.output.events import Event, StillWorking, parse_line
from kled_coord.terraform.process.runner import Interrupt, StopLimits
from kled_coord.terraform.run import BuildInput, run_build
from kled_coord.terraform.session import Control
from kled_provider.serve import KLED

pytestmark = pytest.mark.slow

PROCESS = (Path(__file__).parents[3] / "templates/process/main.tf").read_text()
# One resource is made; the next one's program ignores what Terraform sends it.
STUBBORN = """
resource "terraform_data" "done" {}
resource "terraform_data" "stubborn" {
  depends_on = [terraform_data.done]
  provisioner "local-exec" {
    command = "trap '' INT TERM; echo at-work; sleep 30 & wait; wait"
  }
}
"""


def build_input(store: Any, pack: Any, text: str) -> BuildInput:
    return BuildInput(template=pack({"a.tf": text}), transition="start", backend=store.backend)


def running_in(directory: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.cwd().startswith(str(directory)):
                found.append(process)
        except psutil.Error:
            continue
    return found


async def ignore(_event: Event) -> None:
    await trio.lowlevel.checkpoint()


async def run(build: BuildInput, binary: Any, host: Any, directory: Path, **more: Any) -> None:
    directory.mkdir()
    await run_build(build, binary=binary, host=host, directory=directory, providers=(KLED,), **more)


async def test_a_build_without_progress_is_stopped_and_keeps_its_state(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    control = Control(quiet_s=1, limits=StopLimits(interrupt_s=5))
    build = build_input(store, pack, STUBBORN)
    with trio.fail_after(30), pytest.raises(TerraformStalledError) as caught:
        await run(build, binary, host, tmp_path / "run", on_event=ignore, control=control)
    assert caught.value.stage == "apply"
    assert "apply (terraform_data.stubborn) showed no progress for 1 s" in caught.value.message
    assert "terraform_data.done" in store.addresses()


async def test_force_kills_and_keeps_what_was_written(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    interrupt = Interrupt()

    async def ignore_stop(_self: Any, name: str, _generation: str) -> dict[str, str]:
        interrupt.force()
        with trio.move_on_after(2.5, shield=True):
            await trio.sleep_forever()
        return {"id": name, "token": "secret"}

    monkeypatch.setattr(type(host), "ensure_agent", ignore_stop)
    text = (
        PROCESS.partition("data ")[0] + 'resource "terraform_data" "done" {}\n'
        'resource "kled_agent" "a" {\n  depends_on = [terraform_data.done]\n}\n'
    )
    control = Control(interrupt=interrupt, limits=StopLimits(interrupt_s=600, save_s=0.5))
    build = build_input(store, pack, text)
    with trio.fail_after(30), pytest.raises(TerraformCanceledError):
        await run(build, binary, host, tmp_path / "run", on_event=ignore, control=control)
    # Killed, or it had given its lock back; what it wrote at the SIGINT is there.
    assert store.lock is not None
    assert store.addresses() == ["terraform_data.done"]


async def test_a_check_that_waits_for_a_registry_can_be_ended(
    binary: Any, pack: Any, tmp_path: Path, nursery: trio.Nursery
) -> None:
    asked = trio.Event()

    async def never_answer(stream: trio.SocketStream) -> None:
        asked.set()
        await trio.sleep_forever()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, never_answer, [listener])
    port = listener.socket.getsockname()[1]
    text = (
        "terraform {\n  required_providers {\n"
        f'    x = {{ source = "127.0.0.1:{port}/a/x" }}\n  }}\n}}\n'
    )
    limits = StopLimits(interrupt_s=1, save_s=0)
    with trio.fail_after(30):
        async with trio.open_nursery() as checks:

            async def check() -> None:
                await check_template(
                    CheckInput(template=pack({"main.tf": text})),
                    binary=binary,
                    directory=tmp_path,
                    providers=(KLED,),
                    control=Control(limits=limits),
                )

            checks.start_soon(check)
            await asked.wait()
            checks.cancel_scope.cancel()
    assert running_in(tmp_path) == []


def test_that_a_resource_takes_its_time_is_no_progress() -> None:
    line = (
        b'{"@level":"info","@message":"a.b: Still creating... [10s elapsed]",'
        b'"type":"apply_progress","hook":{}}'
    )
    assert parse_line(line) == StillWorking("a.b: Still creating... [10s elapsed]")
