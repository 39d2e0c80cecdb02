"""Buckets and the fair queue: the limit holds, nobody starves, and whoever had least goes first."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.relay.splice.bandwidth import QUANTUM_BYTES, Bucket, Buckets, FairQueue, Share

RATE = st.integers(1, 10**9)
# What a stream has to send, and the pause before: a history of one bucket.
WANTS = st.lists(st.tuples(st.integers(1, 2**20), st.floats(0, 5)), min_size=1, max_size=40)


class Streams:
    """Streams that always want to send, each within its buckets, against a clock of our own."""

    def __init__(self, buckets: dict[str, tuple[Bucket, ...]]) -> None:
        self.buckets = buckets
        self.queue: FairQueue[str] = FairQueue()
        self.sent = dict.fromkeys(buckets, 0)
        self.log: list[tuple[float, str, int]] = []
        self.now = 0.0

    def run(self, turns: int, *, most: dict[str, int] | None = None) -> None:
        """So many turns are taken; a stream takes at most `most` bytes of each of its own."""
        for who, buckets in self.buckets.items():
            self.queue.wait(who, buckets, self.now)
        while turns:
            self.now = max(self.now, self.queue.ready_at())
            for who in self.queue.due(self.now):
                if amount := self.queue.amount(who, self.now):
                    amount = min(amount, (most or {}).get(who, amount))
                    self.queue.end(who, amount, self.now)
                    self.sent[who] += amount
                    self.log.append((self.now, who, amount))
                    self.queue.wait(who, self.buckets[who], self.now)
                    turns -= 1
                    if not turns:
                        break


def passed(log: list[tuple[float, str, int]], who: set[str], since: float, until: float) -> int:
    return sum(amount for at, name, amount in log if name in who and since <= at <= until)


@given(RATE, WANTS)
def test_never_more_than_rate_and_time_and_burst(rate: int, wants: list[tuple[int, float]]) -> None:
    bucket, queue, now = Bucket(rate, 0.0), FairQueue[str](), 0.0
    log: list[tuple[float, str, int]] = []
    for want, pause in wants:
        now += pause
        queue.wait("a", (bucket,), now)
        now = max(now, queue.ready_at())
        for who in queue.due(now):
            if amount := min(queue.amount(who, now), want):
                queue.end(who, amount, now)
                log.append((now, who, amount))
    for start, _, _ in log:
        for end, _, _ in log:
            if end >= start:
                allowed = rate * (end - start) + bucket.burst
                assert passed(log, {"a"}, start, end) <= allowed * (1 + 1e-9) + 1


@given(RATE, st.integers(1, 6), st.integers(20, 60))
def test_hungry_streams_share_a_bucket_evenly(rate: int, count: int, turns: int) -> None:
    bucket = Bucket(rate, 0.0)
    streams = Streams({f"s{n}": (bucket,) for n in range(count)})
    streams.run(turns)
    assert max(streams.sent.values()) - min(streams.sent.values()) <= QUANTUM_BYTES


@given(RATE, st.integers(1, 8))
def test_everybody_is_served_soon(rate: int, count: int) -> None:
    bucket = Bucket(rate, 0.0)
    bucket.spend(int(bucket.burst), 0.0)
    streams = Streams({f"s{n}": (bucket,) for n in range(count)})
    streams.run(count)
    assert all(streams.sent.values())
    assert streams.now <= count * (bucket.least / rate + 1e-3)


@given(st.integers(10_000, 10**9), st.integers(1, 6))
def test_a_keystroke_goes_before_the_next_turn_of_bulk_streams(rate: int, bulk: int) -> None:
    bucket = Bucket(rate, 0.0)
    streams = Streams({f"bulk{n}": (bucket,) for n in range(bulk)})
    streams.run(50)
    arrived = streams.now
    streams.queue.wait("key", (bucket,), arrived)
    streams.buckets = {**streams.buckets, "key": (bucket,)}
    streams.sent["key"] = 0
    streams.run(1, most={"key": 1})
    assert streams.sent["key"] == 1
    assert streams.now - arrived <= bucket.least / rate + 1e-3


@given(st.integers(100, 10**6), st.integers(2, 100))
def test_what_one_cannot_use_the_others_get(rate: int, times: int) -> None:
    narrow, wide = Bucket(rate, 0.0), Bucket(rate * times, 0.0)
    for bucket in (narrow, wide):
        bucket.spend(int(bucket.burst), 0.0)
    streams = Streams({"narrow": (wide, narrow), "free": (wide,)})
    streams.run(400)
    seconds = streams.now
    assert streams.sent["narrow"] <= rate * seconds + 1
    # Each has the half it may claim, and together they leave nothing over but a turn.
    share = min(rate, rate * times / 2) * seconds
    assert streams.sent["narrow"] >= share * 0.9 - 2 * narrow.least
    together = sum(streams.sent.values())
    assert together >= min(rate * times * seconds - wide.burst, together)
    assert together >= rate * times * seconds * 0.9 - wide.burst


def test_who_has_left_has_no_turn() -> None:
    queue, bucket = FairQueue[str](), Bucket(1000, 0.0)
    queue.wait("a", (bucket,), 0.0)
    queue.forget("a")
    assert queue.ready_at() == math.inf
    queue.wait("b", (bucket,), 0.0)
    (who,) = queue.due(0.0)
    queue.forget(who)
    assert queue.amount(who, 0.0) == 0


def test_streams_of_one_share_have_one_bucket_in_each_direction() -> None:
    buckets, shares = Buckets(), (Share(1, 1000), Share(2, 2000))
    first = buckets.take(shares, to_agent=True, now=0.0)
    assert [bucket.rate for bucket in first] == [1000, 2000]
    assert buckets.take(shares, to_agent=True, now=0.0) == first
    other_way = buckets.take(shares, to_agent=False, now=0.0)
    assert not set(map(id, first)) & set(map(id, other_way))


def test_opening_a_stream_anew_does_not_fill_its_bucket() -> None:
    buckets, shares = Buckets(), (Share(1, 1000),)
    (bucket,) = buckets.take(shares, to_agent=True, now=0.0)
    bucket.spend(int(bucket.burst), 0.0)
    buckets.give_back(shares, to_agent=True, now=0.0)
    (again,) = buckets.take(shares, to_agent=True, now=1.0)
    assert again.level(1.0) == pytest.approx(1000)
    buckets.give_back(shares, to_agent=True, now=1e6)
    (fresh,) = buckets.take(shares, to_agent=True, now=1e6)
    assert fresh is not bucket
