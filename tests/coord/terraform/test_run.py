"""Whole builds with the real terraform, the `process` template and a state store over HTTP."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_coord.terraform.output.errors import (
    TemplateInvalidError,
    TerraformCanceledError,
    TerraformFailedError,
)
from kled_coord.terraform.output.events import (
    Event,
    ResourceDone,
    ResourceStarted,
    StageBegan,
    TerraformMessage,
)
from kled_coord.terraform.process.command import BACKEND_FILE, VALUES_FILE
from kled_coord.terraform.process.runner import Interrupt, StopLimits
from kled_coord.terraform.process.varfile import Value
from kled_coord.terraform.run import BuildInput, load_errored_state, run_build
from kled_coord.terraform.session import Control
from kled_provider.serve import KLED
from kled_wire.errors import KledError
from tests.coord.terraform.running import PROCESS, Recorder, build, files_in, fresh
from tests.kit.processes import is_alive

pytestmark = pytest.mark.slow

VALUES = """
variable "text" {}
variable "names" { type = list(string) }
variable "switch" { type = bool }
variable "once" {
  type      = string
  ephemeral = true
}
output "text" { value = var.text }
output "names" { value = var.names }
output "switch" { value = var.switch }
"""

SLOW = """
resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "exec sleep 60"
  }
}
"""


async def test_a_workspace_starts_stops_and_is_deleted(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    template = pack({"main.tf": PROCESS})
    output, events = await build(store, host, binary, tmp_path, template)
    assert [e.stage for e in events if isinstance(e, StageBegan)] == ["init", "plan", "apply"]
    assert (output.progress.done, output.progress.total) == (2, 2)
    assert store.addresses() == ["kled_agent.main", "kled_process.agent"]
    assert store.lock is None
    saved = json.loads(store.state)["resources"]
    pid = next(r for r in saved if r["type"] == "kled_process")["instances"][0]["attributes"]["pid"]
    os.kill(pid, 0)

    host.transition = "stop"
    await build(store, host, binary, tmp_path, template)
    assert store.addresses() == ["kled_agent.main"]

    host.transition = "delete"
    output, events = await build(store, host, binary, tmp_path, template)
    assert store.addresses() == []
    assert host.released == ["a-main"]
    steps = [e for e in events if isinstance(e, ResourceStarted | ResourceDone)]
    assert [(type(e), e.address) for e in steps if e.action == "delete"] == [
        (ResourceStarted, "kled_agent.main"),
        (ResourceDone, "kled_agent.main"),
    ]
    assert (output.progress.done, output.progress.total) == (1, 1)


async def test_the_password_is_nowhere_in_the_directory(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    await build(store, host, binary, tmp_path, pack({"main.tf": "locals {}\n"}))
    written = files_in(tmp_path)
    assert any(p.name == BACKEND_FILE for p in written)
    assert not [p for p in written if b"pa:ss" in p.read_bytes()]


@pytest.mark.parametrize("block", ['backend "s3" { bucket = "x" }', 'cloud { organization = "x" }'])
async def test_the_templates_own_backend_is_not_used(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path, block: str
) -> None:
    text = f'terraform {{\n  {block}\n}}\nresource "terraform_data" "a" {{}}\n'
    await build(store, host, binary, tmp_path, pack({"main.tf": text}))
    assert store.addresses() == ["terraform_data.a"]


async def test_an_override_of_our_backend_is_refused(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    files = {"main.tf": "", "zzz_override.tf": 'terraform {\n  backend "local" {}\n}\n'}
    with pytest.raises(TemplateInvalidError, match="where its state is stored"):
        await build(store, host, binary, tmp_path, pack(files))


async def test_variables_reach_the_template_and_outputs_come_back(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    template = pack(
        {
            "main.tf": 'variable "size" { type = number }\noutput "n" { value = var.size * 2 }\n'
            'output "s" {\n  value = "x"\n  sensitive = true\n}\n'
        }
    )
    values = {"size": Value(text="21")}
    output, _ = await build(store, host, binary, tmp_path, template, variables=values)
    assert output.outputs["n"].value == 42
    assert output.outputs["s"].value is None


async def test_the_owners_values_win_and_leave_no_file(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    """Whatever Terraform itself would take as a value: a text, an expression, an ephemeral one."""
    odd = '${a} %{b} $${c} "\\\n\u2028\u00e9'
    template = pack(
        {
            "main.tf": VALUES,
            "terraform.tfvars": 'text = "the template"\nnames = []\n',
            "z.auto.tfvars.json": '{"text": "the template"}',
            "kled.tfvars": "not read",
        }
    )
    values = {
        "text": Value(text=odd),
        "names": Value(text='["x", # one\n "y"] # two', is_expression=True),
        "once": Value(text="hunter2", is_ephemeral=True),
        "switch": Value(text="true"),
    }
    seen: list[tuple[str, int]] = []

    async def look(path: Path) -> None:
        found = [file for file in files_in(path) if file.name == VALUES_FILE]
        seen.extend((str(f.relative_to(path).parts[1:]), f.stat().st_mode & 0o777) for f in found)

    output, _ = await build(
        store, host, binary, tmp_path, template, variables=values, look=partial(look, tmp_path)
    )
    found = {name: each.value for name, each in output.outputs.items()}
    assert found == {"text": odd, "names": ["x", "y"], "switch": True}
    assert ("('kled.tfvars',)", 0o600) in seen
    assert not [file for file in files_in(tmp_path) if file.name == "kled.tfplan"]
    assert not [file for file in files_in(tmp_path) if b"hunter2" in file.read_bytes()]
    host.transition = "delete"
    await build(store, host, binary, tmp_path, template, variables=values)


async def test_a_failed_build_says_it_in_terraforms_words(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    text = 'resource "terraform_data" "a" {\n  provisioner "local-exec" {\n    command = "exit 3"\n'
    template = pack({"main.tf": text + "  }\n}\n"})
    with pytest.raises(TerraformFailedError) as caught:
        await build(store, host, binary, tmp_path, template)
    assert caught.value.code == "terraform_failed"
    assert caught.value.stage == "apply"
    assert caught.value.message.startswith("main.tf:2: local-exec provisioner error: ")
    assert "exit status 3" in caught.value.message
    assert store.lock is None
    assert store.addresses() == ["terraform_data.a"]


async def test_a_state_the_store_refused_is_left_in_the_runs_directory(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    store.refuses = True
    template = pack({"main.tf": 'resource "terraform_data" "a" {}\n'})
    with pytest.raises(TerraformFailedError):
        await build(store, host, binary, tmp_path, template)
    (left,) = tmp_path.rglob("errored.tfstate")
    state = load_errored_state(left.parent)
    assert state is not None
    assert json.loads(state)["resources"][0]["name"] == "a"


async def test_a_held_lock_fails_the_build(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    store.lock = json.dumps({"ID": "x", "Operation": "apply", "Who": "other"}).encode()
    with trio.fail_after(30), pytest.raises(TerraformFailedError, match="state lock"):
        await build(store, host, binary, tmp_path, pack({"main.tf": PROCESS}))


async def test_an_interrupt_saves_the_state_and_gives_the_lock_back(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    interrupt = Interrupt()

    class Asker(Recorder):
        async def __call__(self, event: Event) -> None:
            if isinstance(event, TerraformMessage) and "Executing" in event.text:
                interrupt.ask()

    directory = tmp_path / "run"
    directory.mkdir()
    text = SLOW + ('resource "terraform_data" "next" {\n  depends_on = [terraform_data.slow]\n}\n')
    with trio.fail_after(30), pytest.raises(TerraformCanceledError):
        await run_build(
            BuildInput(template=pack({"a.tf": text}), transition="start", backend=store.backend),
            binary=binary,
            host=host,
            directory=directory,
            on_event=Asker(),
            control=Control(interrupt=interrupt, sandbox=store.sandbox),
            providers=(KLED,),
        )
    assert store.lock is None
    assert store.addresses() == ["terraform_data.slow"]


@pytest.mark.parametrize("how", ["interrupt", "cancel"])
async def test_a_provider_that_hangs_is_stopped_too(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path, how: str
) -> None:
    interrupt = Interrupt()
    host.hangs = True
    ended = []

    async def run() -> None:
        try:
            template = pack({"main.tf": PROCESS})
            control = Control(interrupt=interrupt, sandbox=store.sandbox)
            await build(store, host, binary, tmp_path, template, control=control)
        except TerraformCanceledError as error:
            ended.append(error)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await host.hanging.wait()
            (interrupt.ask if how == "interrupt" else nursery.cancel_scope.cancel)()
    assert len(ended) == (how == "interrupt")
    assert store.lock is None
    assert store.addresses() == []
    host.hangs = False
    await build(store, host, binary, tmp_path, pack({"main.tf": PROCESS}))
    host.transition = "delete"
    await build(store, host, binary, tmp_path, pack({"main.tf": PROCESS}))


async def test_several_builds_run_at_once(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    """Each has its own sockets and its own host, so each gets its own agents."""
    head = PROCESS.partition("data ")[0]
    template = pack({"main.tf": head + 'resource "kled_agent" "a" { name = "x" }\n'})
    results = []

    async def run(number: int) -> None:
        mine = dataclasses.replace(store, log=[], state=None, lock=None)
        async with trio.open_nursery() as nursery:
            serve = functools.partial(trio.serve_tcp, mine.serve, 0, host="127.0.0.1")
            listeners = await nursery.start(serve)
            mine.port = listeners[0].socket.getsockname()[1]
            own = dataclasses.replace(host, prefix=f"w{number}")
            await build(mine, own, binary, tmp_path, template)
            results.append((number, json.loads(mine.state)["resources"][0]["instances"][0]))
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(run, number)
    assert {number: found["attributes"]["id"] for number, found in results} == {
        number: f"w{number}-x" for number in range(4)
    }


async def test_a_cancelled_build_winds_down_within_its_limits(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path
) -> None:
    limits = StopLimits(interrupt_s=0.5, save_s=2, kill_s=2)
    with trio.fail_after(20), trio.CancelScope() as scope:

        class Canceller(Recorder):
            async def __call__(self, event: Event) -> None:
                if isinstance(event, TerraformMessage) and "Executing" in event.text:
                    scope.cancel()

        directory = tmp_path / "run"
        directory.mkdir()
        await run_build(
            BuildInput(template=pack({"a.tf": SLOW}), transition="start", backend=store.backend),
            binary=binary,
            host=host,
            directory=directory,
            on_event=Canceller(),
            control=Control(limits=limits, sandbox=store.sandbox),
            providers=(KLED,),
        )
    assert scope.cancelled_caught
    assert store.lock is None


CUT = """
resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = <<-EOT
      setsid sleep 300 >/dev/null 2>&1 & echo "started $!"
      sleep 300 >/dev/null 2>&1 & echo "started $!"
      exec sleep 60
    EOT
  }
}
"""


@pytest.mark.parametrize("sandbox", ["alone"], indirect=True)  # in one, pids mean others
@pytest.mark.parametrize("how", ["cancel", "interrupt", "kill"])
async def test_what_a_provisioner_that_is_cut_off_started_ends_with_it(
    store: Any, host: Any, binary: Any, pack: Any, tmp_path: Path, how: str
) -> None:
    interrupt, scope, started = Interrupt(), trio.CancelScope(), []

    class Cutter(Recorder):
        async def __call__(self, event: Event) -> None:
            found = isinstance(event, TerraformMessage) and re.search(r"started (\d+)$", event.text)
            if not found:
                return
            started.append(int(found[1]))
            if len(started) == 2:
                if how == "interrupt":
                    interrupt.ask()
                elif how == "cancel":
                    scope.cancel()
                else:
                    os.kill(os.getpgid(started[1]), 9)

    directory = fresh(tmp_path)
    with trio.fail_after(30), scope, contextlib.suppress(KledError):
        await run_build(
            BuildInput(template=pack({"a.tf": CUT}), transition="start", backend=store.backend),
            binary=binary,
            host=host,
            directory=directory,
            on_event=Cutter(),
            control=Control(interrupt=interrupt),
            providers=(KLED,),
        )
    assert len(started) == 2
    assert not [pid for pid in started if is_alive(pid)]
