"""What is kept of a script's output, against all of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kled_agent.scripts.output import RunOutput

HEAD, TAIL = 20, 8


@given(st.lists(st.tuples(st.binary(max_size=30), st.integers(0, 12)), max_size=12))
def test_what_is_told_is_what_was_printed_and_the_head_is_whole(
    steps: list[tuple[bytes, int]],
) -> None:
    output, all_of_it = RunOutput(head_bytes=HEAD, tail_bytes=TAIL), b""
    told: dict[int, int] = {}
    for data, chunk in [*steps, *[(b"", 5)] * 20]:
        output.write(data)
        all_of_it += data
        if chunk and (found := output.next_chunk(chunk)) is not None:
            assert output.next_chunk(chunk) == found, "told again until it is taken"
            offset, part = found
            assert all_of_it[offset : offset + len(part)] == part
            told.update(enumerate(part, offset))
            output.taken(offset + len(part))
    assert output.next_chunk(1) is None
    kept = bytes(told[i] for i in sorted(told))
    assert kept.startswith(all_of_it[:HEAD])
    assert kept.endswith(all_of_it[max(len(all_of_it) - TAIL, HEAD) :] or b"")
    assert output.written == len(all_of_it)


def test_a_flood_costs_head_and_tail_only() -> None:
    output = RunOutput(head_bytes=HEAD, tail_bytes=TAIL)
    for _ in range(1000):
        output.write(b"y\n" * 500)
    first = output.next_chunk(HEAD)
    assert first == (0, b"y\n" * 10)
    output.taken(HEAD)
    assert output.next_chunk(100) == (1_000_000 - TAIL, b"y\n" * 4)


def test_a_coordinator_that_has_more_than_was_written_changes_nothing() -> None:
    output = RunOutput()
    output.write(b"abc")
    output.taken(10**9)
    output.write(b"def")
    assert output.next_chunk(10) == (3, b"def")
