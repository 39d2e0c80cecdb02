"""Runs of the real terraform, and what they tell."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from kled_coord.terraform.output.events import Event
from kled_coord.terraform.run import BuildInput, run_build
from kled_coord.terraform.session import Control
from kled_provider.serve import KLED

ROOT = Path(__file__).parents[3]
PROCESS = (ROOT / "templates/process/main.tf").read_text()


class Recorder:
    """Keeps the events of a build; `look` is called at each."""

    def __init__(self, look: Callable[[], Awaitable[None]] | None = None) -> None:
        self.events: list[Event] = []
        self._look = look

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self._look is not None:
            await self._look()


def fresh(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="run-", dir=parent))


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def build(
    store: Any, host: Any, binary: Any, tmp_path: Path, template: bytes, **more: Any
) -> tuple[Any, list[Event]]:
    directory = fresh(tmp_path)
    recorder = Recorder(more.pop("look", None))
    output = await run_build(
        BuildInput(
            template=template,
            transition=host.transition,
            backend=store.backend,
            variables=more.pop("variables", {}),
        ),
        binary=binary,
        host=host,
        directory=directory,
        on_event=recorder,
        providers=(KLED,),
        control=more.pop("control", Control(sandbox=store.sandbox)),
        **more,
    )
    return output, recorder.events
