"""When a session is over, by a clock of the test's, and whose size counts."""

from __future__ import annotations

from kled_agent.sessions.holder.lifetime import Lifetime, Viewer, decide_size


def viewer(columns: int, rows: int, *, active: int = 0, read_only: bool = False) -> Viewer:
    return Viewer(columns=columns, rows=rows, active=active, read_only=read_only)


def test_an_unused_session_is_over_after_its_idle_limit() -> None:
    life = Lifetime(idle_s=60, orphan_s=0, now=1000)
    assert life.over(1059) == ""
    life.used(1059)
    assert life.over(1118) == ""
    assert "60 s" in life.over(1119)


def test_a_session_without_an_agent_is_over_after_its_limit() -> None:
    life = Lifetime(idle_s=0, orphan_s=3600, now=0)
    life.agent_seen(100)
    life.used(3699)
    assert life.over(3699) == ""
    assert "no agent" in life.over(3700)


def test_without_limits_nothing_is_ever_over() -> None:
    assert Lifetime(idle_s=0, orphan_s=0, now=0).over(1e12) == ""


def test_the_latest_or_the_smallest_size_counts() -> None:
    viewers = [viewer(80, 50, active=1), viewer(120, 30, active=2)]
    assert decide_size(viewers, "latest") == (120, 30)
    assert decide_size(viewers, "smallest") == (80, 30)


def test_watchers_and_unknown_sizes_do_not_count() -> None:
    viewers = [viewer(10, 5, active=9, read_only=True), viewer(0, 0, active=8)]
    assert decide_size(viewers, "latest") is None
    assert decide_size([*viewers, viewer(80, 24)], "smallest") == (80, 24)
