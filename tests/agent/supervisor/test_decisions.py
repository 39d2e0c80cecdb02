"""The life of a container: what it lives as long as, and when its agent is started again."""

from __future__ import annotations

import signal

from hypothesis import given
from hypothesis import strategies as st

from kled_agent.supervisor.decisions import (
    LONG_RUN_S,
    MOST_WAIT_S,
    ContainerState,
    EndContainer,
    ProgramRole,
    Restart,
    exit_code,
    forwarded,
)


def test_the_container_ends_with_its_command_and_with_its_code() -> None:
    state = ContainerState(has_command=True)
    assert state.lead is ProgramRole.COMMAND
    assert state.ended(ProgramRole.COMMAND, 3 << 8, 0) == EndContainer(3)


def test_without_a_command_it_ends_with_the_agent() -> None:
    assert ContainerState(has_command=False).ended(
        ProgramRole.AGENT, signal.SIGKILL, 0
    ) == EndContainer(137)


def test_a_dead_agent_is_started_again_ever_later_and_soon_after_a_long_run() -> None:
    state, now, waits = ContainerState(has_command=True), 100.0, []
    for number in range(1, 2000):
        state.agent_started(now)
        decision = state.ended(ProgramRole.AGENT, 3 << 8, now)
        assert isinstance(decision, Restart)
        assert (decision.code, decision.ends) == (3, number)
        waits.append(decision.wait_s)
        now += decision.wait_s
    assert waits[:7] == [1, 2, 4, 8, 16, 30, MOST_WAIT_S]
    assert waits[-1] == MOST_WAIT_S
    state.agent_started(now)
    assert state.ended(ProgramRole.AGENT, 0, now + LONG_RUN_S) == Restart(1, 0, 1)


def test_what_cannot_be_started_counts_as_one_that_ended() -> None:
    assert ContainerState(has_command=True).not_started(
        ProgramRole.COMMAND, 127, 0
    ) == EndContainer(127)
    assert isinstance(
        ContainerState(has_command=True).not_started(ProgramRole.AGENT, 127, 0), Restart
    )


@given(st.integers(0, 255), st.integers(1, 64))
def test_exit_codes_are_those_of_shells(code: int, number: int) -> None:
    assert exit_code(code << 8) == code
    assert exit_code(number) == 128 + number
    assert exit_code(number | 0x80) == 128 + number, "with a core"


def test_signals_that_are_for_this_process_alone_are_not_passed_on() -> None:
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1} <= forwarded()
    assert not {signal.SIGKILL, signal.SIGCHLD, signal.SIGSEGV} & forwarded()
