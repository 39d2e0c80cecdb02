"""Plain ssh through several relay processes: what they outlive, and how fast they may be."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tests.kit.processes import has_ended
from tests.kit.programs import say
from tests.kit.site import Site
from tests.kit.waiting import wait_until

RATE = 1_000_000


@pytest.fixture
def served(site: Site) -> Iterator[Site]:
    """The site, served as it was when the test is over."""
    yield site
    site.stop_serving()
    site.serve()
    site.wait_connected("dev")


def has_relays(served: Site, count: int) -> bool:
    return len(served.relays()) == count


def test_all_relay_processes_outlive_a_coordinator_that_is_killed(served: Site, host: str) -> None:
    served.stop_serving()
    served.serve(KLED_COORD_RELAY_PROCESSES="3")
    served.wait_connected("dev")
    pipes = {"stdin": subprocess.PIPE, "bufsize": 0}
    with ExitStack() as stack:
        cats = []
        for number in range(3):
            cat = stack.enter_context(served.running(*served.ssh_words(), host, "cat", **pipes))
            assert say(cat, b"before") == b"before\n"
            cats.append(cat)
            # One always stands by.
            count = min(3, number + 2)
            wait_until("there is another", partial(has_relays, served, count))
        before = served.relays()
        served.stop_serving(signal.SIGKILL)
        assert [say(cat, b"after") for cat in cats] == [b"after\n"] * 3
        assert all(process.is_running() for process in before)
        for cat in cats:
            assert cat.stdin is not None
            cat.stdin.close()
            assert cat.wait(20) == 0
        for process in before:
            wait_until("it has ended", partial(has_ended, process.pid))
    served.serve()


def test_a_users_bandwidth_is_kept_to(served: Site, host: str) -> None:
    served.stop_serving()
    served.serve(KLED_COORD_BANDWIDTH_PER_USER=str(RATE), KLED_COORD_RELAY_PROCESSES="2")
    served.wait_connected("dev")
    began = time.monotonic()
    with ExitStack() as stack:
        both = [
            stack.enter_context(
                served.running(*served.ssh_words(), host, f"head -c {RATE} /dev/zero")
            )
            for _ in range(2)
        ]
        got = sum(len(process.communicate(timeout=60)[0]) for process in both)
    assert got == 2 * RATE
    # Two streams at once, one bucket: never sooner, however slow the machine.
    assert time.monotonic() - began > 1.8
