"""The targets of `scripts/fuzz`, a few seconds of each, so that they cannot rot."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit.examples import examples
from tests.kit.fuzzing import TARGETS, Target, seeds

SLOW = {
    *("websocket-stream", "resume-client", "resume-agent", "tls-layer"),
    *("offload-connection", "direct-admission"),
}


# Its good inputs are long, and each beginning runs an agent's port by a virtual clock.
SLOWEST = pytest.param("direct-admission", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [*(n for n in TARGETS if n not in SLOWEST.values), SLOWEST])
def test_good_input_and_all_of_its_beginnings_are_no_finding(name: str) -> None:
    for seed in seeds()[name]:
        step = 10 if name in SLOW else 1
        for end in range(0, len(seed) + step, step):
            TARGETS[name](seed[:end])


def damaged(good: list[bytes]) -> st.SearchStrategy[bytes]:
    """Pieces of good inputs with garbage between them."""
    part = st.sampled_from(good).flatmap(
        lambda whole: st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole))).map(
            lambda cut: whole[min(cut) : max(cut)]
        )
    )
    return st.lists(part | st.binary(max_size=40), max_size=6).map(b"".join)


@pytest.mark.parametrize("name", TARGETS)
def test_garbage_is_no_finding(name: str) -> None:
    target: Target = TARGETS[name]

    @settings(
        deadline=None,
        max_examples=examples(40 if name in SLOW else 150),
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(damaged(seeds()[name]) | st.binary(max_size=2000))
    def check(data: bytes) -> None:
        target(data)

    check()
