"""When which direct path is tried, and what is said of it."""

from __future__ import annotations

import errno
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.resume.direct.offer import Candidate, Offer, encode_offer
from kled_wire.resume.direct.paths import (
    BACKOFF,
    FLAP_S,
    NETWORK_PACE_S,
    OFFER_PACE_S,
    SETTLE_S,
    Paths,
    describe,
)

LAN, SIX = Candidate("10.0.0.5", 40022), Candidate("fd00::5", 40022)
OFFER = encode_offer(Offer((LAN, SIX), "there"))
OTHER = encode_offer(Offer((SIX,), "there"))


def made(**options: str) -> Paths:
    return Paths(lambda: "here", lambda: 1.0, **options)


def test_an_offer_is_tried_at_once() -> None:
    paths = made()
    assert paths.try_at == math.inf
    paths.offered(OFFER, 5.0)
    assert paths.try_at == 5.0
    assert paths.begin(5.0) == (LAN, SIX)
    assert paths.try_at == math.inf


def test_what_fails_is_tried_again_ever_more_slowly_and_said() -> None:
    paths, now, waits = made(), 0.0, []
    paths.offered(OFFER, now)
    for _ in range(9):
        now = paths.try_at
        paths.begin(now)
        paths.failed({LAN: "no route"}, now)
        waits.append(paths.try_at - now)
    assert waits == sorted(waits)
    assert waits[0] == BACKOFF.first_s
    assert waits[-1] == BACKOFF.cap_s
    assert str(paths.report()) == (
        "relay (direct 10.0.0.5:40022: no route; [fd00::5]:40022: timed out)"
    )


def test_a_path_that_is_in_use_is_reported_and_nothing_else_tried() -> None:
    paths = made()
    paths.offered(OFFER, 0.0)
    paths.begin(0.0)
    assert not paths.settled
    paths.moved(SIX, 0.0004, 0.1)
    assert paths.settled
    assert paths.try_at == math.inf
    assert str(paths.report()) == "direct [fd00::5]:40022 (0.4 ms)"
    paths.network_changed(1.0)
    assert paths.try_at == math.inf


def test_a_path_that_was_good_and_is_lost_is_tried_again_soon() -> None:
    paths = made()
    paths.offered(OFFER, 0.0)
    paths.begin(0.0)
    paths.moved(LAN, 0.001, 0.0)
    paths.lost("silent", FLAP_S + 1)
    assert paths.try_at == FLAP_S + 1 + BACKOFF.first_s
    assert str(paths.report()) == "relay (direct 10.0.0.5:40022: lost: silent)"


def test_a_path_that_comes_and_goes_is_tried_less_and_less() -> None:
    paths, now, waits = made(), 0.0, []
    paths.offered(OFFER, now)
    for _ in range(6):
        now = paths.try_at
        paths.begin(now)
        paths.moved(LAN, 0.001, now)
        paths.lost("reset", now + 1)
        paths.offered(OFFER, now + 1.1)  # the relay is back, and says the same
        waits.append(paths.try_at - now - 1)
    assert waits == sorted(waits)
    assert waits[-1] == BACKOFF.cap_s


def test_a_new_network_is_a_reason_to_try_soon_but_not_all_the_time() -> None:
    paths, now = made(), 0.0
    paths.offered(OFFER, now)
    for _ in range(8):
        now = paths.try_at
        paths.begin(now)
        paths.failed({}, now)
    later = now + 20
    paths.network_changed(later)
    assert paths.try_at == later + SETTLE_S
    paths.begin(later)
    paths.failed({}, later)
    paths.network_changed(later)
    assert paths.try_at == later + NETWORK_PACE_S


def test_the_same_offer_again_says_nothing_and_another_is_held_to_a_pace() -> None:
    paths = made()
    paths.offered(OFFER, 0.0)
    paths.begin(0.0)
    paths.failed({}, 1.0)
    before = paths.try_at
    paths.offered(OFFER, 1.0)
    assert paths.try_at == before
    paths.offered(OTHER, 1.0)
    assert paths.try_at == OFFER_PACE_S
    assert paths.begin(OFFER_PACE_S) == (SIX,)


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from([OFFER, OTHER, b"", b"off"]))))
def test_an_agent_that_offers_all_the_time_does_not_keep_a_client_busy(
    offers: list[tuple[float, bytes]],
) -> None:
    paths, now, tried, fresh, latest, changed = made(), 0.0, [], [], b"nothing yet", False
    for wait, offer in offers:
        now += wait
        paths.offered(offer, now)
        latest, changed = offer, changed or offer != latest
        if paths.try_at <= now:
            paths.begin(now)
            tried.append(now)
            if changed:
                fresh.append(now)
            changed = False
            paths.moved(LAN, 0.0, now)
            paths.lost("closed", now)
    # Sums of floats are not exact.
    assert all(later - before > OFFER_PACE_S - 1e-6 for before, later in pairwise(fresh))
    # A path that came and went is tried again after a while even where nothing else is new.
    again = [pair for pair in pairwise(tried) if pair[1] not in fresh]
    assert all(later - before > BACKOFF.ceiling(3) - 1e-6 for before, later in again)


def dialling_where_it_was() -> Paths:
    """At 20.2 s, as the network has changed: at what was offered, and tried, at 0 s."""
    paths = made()
    paths.offered(OTHER, 0.0)
    paths.begin(0.0)
    paths.failed({SIX: "no route"}, 0.0)
    paths.network_changed(20.0)
    paths.begin(20.2)
    return paths


def test_an_offer_need_not_wait_where_the_network_made_us_try_another() -> None:
    """Where both ends get a link at once, the agent's news are a moment late."""
    paths = dialling_where_it_was()
    paths.failed({SIX: "no route"}, 20.2)
    paths.offered(OFFER, 20.3)
    assert paths.try_at == 20.3


def test_an_offer_that_comes_during_an_attempt_is_tried_instead() -> None:
    paths = dialling_where_it_was()
    paths.offered(OFFER, 20.3)
    assert paths.try_at == 20.3
    # Nobody has dialled these addresses yet.
    paths.failed({}, 20.3)
    assert not paths.settled
    assert paths.try_at == 20.3
    assert paths.begin(20.3) == (LAN, SIX)
    assert paths.try_at == math.inf


def test_a_network_that_changes_during_an_attempt_is_tried_instead() -> None:
    paths = made()
    paths.offered(OFFER, 0.0)
    paths.begin(0.0)
    paths.network_changed(0.3)
    assert paths.try_at == NETWORK_PACE_S
    paths.failed({}, 0.4)
    assert paths.try_at == NETWORK_PACE_S


@pytest.mark.parametrize(
    ("offer", "why"),
    [
        (None, "relay (the agent has not said whether there is a direct path)"),
        (b"off direct_listen is off", "relay (the agent offers no direct path: direct_listen is "),
        (b"nonsense", "relay (the agent's offer cannot be read"),
        (b"at - 127.0.0.1:4000", "relay (the agent offers no address that can be reached from"),
        (OFFER, "relay (trying 10.0.0.5:40022, [fd00::5]:40022)"),
    ],
)
def test_why_there_is_no_direct_path_is_said(offer: bytes | None, why: str) -> None:
    paths = made()
    if offer is not None:
        paths.offered(offer, 0.0)
    assert str(paths.report()).startswith(why)
    assert paths.settled == (offer != OFFER)


def test_a_client_that_wants_none_tries_none() -> None:
    paths = made(disabled="KLED_DIRECT is off")
    paths.offered(OFFER, 0.0)
    assert paths.try_at == math.inf
    assert paths.settled
    assert str(paths.report()) == "relay (KLED_DIRECT is off)"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EHOSTUNREACH, "x"), "no route"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "refused"),
        (TimeoutError(), "timed out"),
        (OSError(errno.EMFILE, "x"), "Too many open files"),
        (ProtocolError("proof_wrong", "x"), "not the agent of this stream"),
        (UnavailableError("resume_only", "a sentence"), "a sentence"),
        (EOFError(), "closed"),
    ],
)
def test_a_failure_is_a_word_or_two(error: BaseException, words: str) -> None:
    assert describe(error) == words


EVENT = st.sampled_from(["offer", "other", "nothing", "network", "begin", "fail", "move", "lose"])


@given(st.lists(st.tuples(EVENT, st.floats(0, 100)), max_size=40))
def test_whatever_happens_one_thing_is_tried_at_a_time(events: list[tuple[str, float]]) -> None:
    paths, now, trying, on, news = made(), 0.0, False, False, False
    for event, wait in events:
        now += wait
        if event in {"offer", "other", "nothing"}:
            paths.offered({"offer": OFFER, "other": OTHER, "nothing": b"off x"}[event], now)
            news = True
        elif event == "network":
            paths.network_changed(now)
            news = True
        elif event == "begin" and paths.try_at < math.inf:
            assert paths.begin(now)
            trying, news = True, False
        elif event == "fail" and trying:
            paths.failed({LAN: "refused"}, now)
            trying = False
        elif event == "move" and trying:
            paths.moved(LAN, 0.001, now)
            trying, on = False, True
        elif event == "lose" and on:
            paths.lost("closed", now)
            on = False
        assert (paths.report().kind == "direct") is on
        if on or (trying and not news):
            assert paths.try_at == math.inf
        elif paths.try_at < math.inf:
            assert paths.try_at <= now + max(BACKOFF.cap_s, OFFER_PACE_S)
