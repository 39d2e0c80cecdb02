"""A lost session is named with the trouble before it."""

from __future__ import annotations

import pytest

from tests.e2e.chaos.report import Fate, Happened, Report


def test_a_loss_is_named_with_what_preceded_it() -> None:
    report = Report(
        seed=1,
        seconds=60,
        happened=[
            Happened(kind="loss", began_s=1, ended_s=5),
            Happened(kind="kill-relay", began_s=29, ended_s=29),
            Happened(kind="slow", began_s=50, ended_s=55),
        ],
        fates=[
            Fate(name="shell", bytes_total=1, checks=2, checked_s=60),
            Fate(name="sftp", bytes_total=1, checks=2, checked_s=30, lost="gone", lost_s=40),
        ],
    )
    assert [fate.name for fate in report.lost] == ["sftp"]
    named = "\n".join(report.lines()).partition("sftp, last well at 30.0 s: gone")[2]
    assert "kill-relay" in named
    assert "loss" not in named
    assert "slow" not in named
    assert named.endswith("sessions lost: 1")
    assert report.as_json()["lost"] == 1


@pytest.mark.parametrize(
    ("kinds", "moves", "said"),
    [
        (["direct", "loss"], 3, "moved to a direct path 3 times"),
        (["direct", "loss"], 0, "moved to a direct path never, though there was one"),
        (["loss"], 0, "moved to a direct path never, as there was none"),
    ],
)
def test_whether_streams_went_directly_and_could_have_is_said(
    kinds: list[str], moves: int, said: str
) -> None:
    happened = [Happened(kind=kind, began_s=1, ended_s=9) for kind in kinds]
    report = Report(seed=1, seconds=60, moves=moves, happened=happened)
    assert report.lines()[1].endswith(said)
