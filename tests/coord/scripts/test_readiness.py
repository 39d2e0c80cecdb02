"""How an agent is, in every situation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.scripts.readiness import AgentStatus, Seen, decide_readiness
from kled_coord.store.records import ScriptRun
from kled_wire.control.agent_spec import AgentSpec, Script
from kled_wire.names import AgentId, BuildId

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
BEGAN = NOW - timedelta(seconds=60)
CLONE = Script(id="c", name="clone", script="", run_on_start=True, blocks_login=True)
CODE = Script(id="s", name="code-server", script="", run_on_start=True)
SPEC = AgentSpec(build_id="bld_1", scripts=(CLONE, CODE), troubleshooting_url="https://help")
SEEN = Seen(
    connected=True, last_seen_at=NOW, building=False, started_at=BEGAN - timedelta(seconds=5),
    began_at=BEGAN, told="bld_1",
)  # fmt: skip


def run(script: Script, state: str, exit_code: int | None = None, note: str = "") -> ScriptRun:
    return ScriptRun(
        agent_id=AgentId("agt_1"), run=script.id, build_id=BuildId("bld_1"), script=script.id,
        name=script.name, stage="start", state=state, exit_code=exit_code, note=note,
        blocks_login=script.blocks_login, position=0, started_at=None, duration_s=0.0,
    )  # fmt: skip


def decide(seen: Seen = SEEN, *runs: ScriptRun, spec: AgentSpec | None = SPEC) -> tuple[str, str]:
    found = decide_readiness(spec, seen, runs, NOW)
    return found.status.value, found.advice


@pytest.mark.parametrize(
    ("seen", "status", "said"),
    [
        ({"building": True, "began_at": None}, "connecting", "build goes on"),
        ({"last_seen_at": None}, "connecting", "has until 12:01:00 UTC"),
        ({"last_seen_at": BEGAN - timedelta(hours=1)}, "connecting", "its machine starts"),
        ({"last_seen_at": BEGAN}, "disconnected", "kled start NAME starts it again; see https"),
        ({"last_seen_at": BEGAN - timedelta(seconds=5)}, "disconnected", "was there"),
        ({"started_at": None, "began_at": None}, "disconnected", "kled start NAME"),
    ],
)
def test_an_agent_that_is_away(seen: dict[str, object], status: str, said: str) -> None:
    found = decide(replace(SEEN, connected=False, **seen))  # type: ignore[arg-type]  # by name
    assert found[0] == status
    assert said in found[1]


def test_one_that_does_not_come_in_its_time_has_timed_out() -> None:
    away = replace(SEEN, connected=False, last_seen_at=None)
    assert decide(replace(away, began_at=NOW - timedelta(seconds=120)))[0] == "timed_out"
    assert "https://help" in decide(replace(away, began_at=NOW - timedelta(seconds=120)))[1]
    slow = replace(SPEC, connection_timeout_s=1000)
    late = replace(away, began_at=NOW - timedelta(seconds=900))
    assert decide(late, spec=slow)[0] == "connecting"
    assert decide(late, spec=replace(SPEC, connection_timeout_s=0))[0] == "connecting"


def test_logins_wait_for_what_blocks_them_alone() -> None:
    assert decide(SEEN, run(CLONE, "running"), run(CODE, "failed"))[0] == "starting"
    assert "clone" in decide(SEEN, run(CLONE, "running"))[1]
    assert decide(SEEN)[0] == "starting", "told, and not begun"
    assert decide(SEEN, run(CLONE, "succeeded"), run(CODE, "running")) == ("ready", "")


def test_a_script_that_failed_is_named_with_how() -> None:
    failed = decide(SEEN, run(CLONE, "failed", 3), run(CODE, "running"))
    assert failed[0] == "start_failed"
    assert failed[1].startswith("clone ended with exit code 3; kled logs NAME")
    timed_out = decide(SEEN, run(CLONE, "timed_out", 129, "it took longer than 5 s"))
    assert timed_out[1].startswith("clone: it took longer than 5 s")


def test_a_spec_that_the_agent_has_not_taken_yet_is_waited_for() -> None:
    done = run(CLONE, "succeeded"), run(CODE, "succeeded")
    assert decide(replace(SEEN, told=None), *done)[0] == "starting"
    assert decide(replace(SEEN, told="bld_0"), *done)[0] == "starting"
    assert decide(replace(SEEN, told=None, takes_scripts=False))[0] == "connected"
    assert decide(SEEN, spec=None)[0] == "connected"
    assert decide(replace(SEEN, building=True), *done)[0] == "starting"
    assert decide(replace(SEEN, stopping=True), *done)[0] == "shutting_down"


@given(
    st.builds(
        Seen, connected=st.booleans(), last_seen_at=st.none() | st.just(NOW),
        building=st.booleans(), started_at=st.none() | st.just(BEGAN),
        began_at=st.none() | st.just(BEGAN), told=st.sampled_from([None, "bld_1"]),
    ),
    st.lists(
        st.builds(run, st.sampled_from([CLONE, CODE]),
                  st.sampled_from(["waiting", "running", "succeeded", "failed"]))
    ),
)  # fmt: skip
def test_who_waits_is_told_why_and_everything_else_is_settled(
    seen: Seen, runs: list[ScriptRun]
) -> None:
    found = decide_readiness(SPEC, seen, runs, NOW)
    assert found.advice or found.status in {AgentStatus.READY, AgentStatus.CONNECTED}
    away = {AgentStatus.CONNECTING, AgentStatus.TIMED_OUT, AgentStatus.DISCONNECTED}
    assert found.settled == (found.status not in {*away, AgentStatus.STARTING})
    assert (found.status in away) == (not seen.connected)
