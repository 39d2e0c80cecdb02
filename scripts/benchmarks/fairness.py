"""One keystroke there and back beside a transfer of 1 GB in another stream, against an idle way.

The peer of each row is the same way unloaded. The bastion's rows are not judged: they say what the
machine itself makes of two ssh, the transfer's programs and the servers on its cores.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from benchmarks.echo import open_terminal, type_keys
from benchmarks.report import Row, percentile, progress
from benchmarks.world import World, open_bastion, open_world

BYTES = 1_000_000_000
ROUNDS = 5
UNLOADED_KEYS = 500
WARM_UP_KEYS = 50
# Whether the transfer still runs is looked at after so many.
KEYS_AT_ONCE = 10
OTHER = "other"
WANTED = 4.0


class Transfer(Protocol):
    """Runs a transfer of `size` bytes through an ssh command; under way inside the block."""

    def __call__(
        self, command: list[str], size: int
    ) -> AbstractContextManager[subprocess.Popen[bytes]]: ...


@dataclass(frozen=True, slots=True)
class Case:
    """Whose echo is measured beside what."""

    way: str
    label: str
    transfer: Transfer
    command: list[str]


def run(*, quick: bool) -> list[Row]:
    """Microseconds, medians of rounds: each path unloaded, then beside its transfers."""
    size = BYTES // 4 if quick else BYTES
    keys = UNLOADED_KEYS // 4 if quick else UNLOADED_KEYS
    taken: dict[str, list[list[float]]] = {}
    with ExitStack() as stack:
        world, bastion = stack.enter_context(open_world()), stack.enter_context(open_bastion())
        other = stack.enter_context(_other_workspace(world))
        ways = {"kled": world.ours, "bastion": bastion}
        terminals = {way: stack.enter_context(open_terminal(ssh)) for way, ssh in ways.items()}
        cases = [Case(way, "download", _down, ssh) for way, ssh in ways.items()]
        cases += [Case(way, "upload", _up, ssh) for way, ssh in ways.items()]
        cases.append(Case("kled", "download from another workspace", _down, other))
        for terminal in terminals.values():
            type_keys(terminal, WARM_UP_KEYS)
        for number in range(ROUNDS):
            progress(f"round {number + 1} of {ROUNDS}")
            for way, terminal in terminals.items():
                taken.setdefault(way, []).append(type_keys(terminal, keys))
            for case in cases:
                beside = _type_beside(terminals[case.way], case, size)
                taken.setdefault(case.way + case.label, []).append(beside)
    return [_row(case, share, taken) for share in (0.5, 0.99) for case in cases]


def _row(case: Case, share: float, taken: dict[str, list[list[float]]]) -> Row:
    def middle(name: str) -> float:
        return statistics.median(percentile(one, share) for one in taken[name])

    return Row(
        name=f"{case.way}, p{share * 100:g} beside a {case.label}",
        value=middle(case.way + case.label),
        unit="us",
        peer=middle(case.way),
        wanted=WANTED if case.way == "kled" and share > 0.5 else None,
    )


def _type_beside(terminal: int, case: Case, size: int) -> list[float]:
    taken: list[float] = []
    with case.transfer(case.command, size) as process:
        while process.poll() is None:
            taken += type_keys(terminal, KEYS_AT_ONCE)
    if process.returncode:
        raise RuntimeError(f"the {case.label} failed: {process.returncode}")
    return taken


@contextmanager
def _down(command: list[str], size: int) -> Iterator[subprocess.Popen[bytes]]:
    with _started(
        [*command, f"echo START >&2; head -c {size} /dev/zero"], subprocess.DEVNULL
    ) as process:
        yield process


@contextmanager
def _up(command: list[str], size: int) -> Iterator[subprocess.Popen[bytes]]:
    with (
        subprocess.Popen(["head", "-c", str(size), "/dev/zero"], stdout=subprocess.PIPE) as source,
        _started([*command, "echo START >&2; cat > /dev/null"], source.stdout) as process,
    ):
        yield process


@contextmanager
def _started(command: list[str], stdin: object) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(  # type: ignore[call-overload]
        command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        while b"START" not in process.stderr.readline():
            if process.poll() is not None:
                raise RuntimeError("the transfer did not start")
        yield process


@contextmanager
def _other_workspace(world: World) -> Iterator[list[str]]:
    world.kled("create", OTHER, "--template", "bench")
    try:
        yield [*world.ours[:-1], f"{OTHER}.kled"]
    finally:
        world.kled("delete", OTHER, "--yes")
