"""Which trouble comes when, from a seed: a list made before anything starts."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Between two troubles of one thing, so that each is met by a system that works again. Seconds.
_REST_S = 3.0
_FIRST_S = 3.0
# A run as long as this begins with what leads: it has room for the longest of that, and for more.
_LEADS_FROM_S = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A sort of trouble: what it needs for itself, and how long it lasts in seconds.

    `alone_s` is how long where only this was asked for; `rest_s` how long what it needs is left
    alone afterwards. What `ends_streams` comes only where it was asked for: loads are judged in
    another way then. With `tls` it comes only where TLS ends at the coordinator. A run of 25 s
    or more begins with what has a `lead_s`, and leaves so long to it alone: later, other trouble
    may keep it from having any effect.
    """

    needs: frozenset[str]
    least_s: float = 0.0
    most_s: float = 0.0
    alone_s: float | None = None
    ends_streams: bool = False
    tls: bool = False
    rest_s: float = _REST_S
    lead_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One of them, `at_s` after the beginning; `pick` (0 to 1) chooses where there is a choice."""

    kind: str
    at_s: float
    for_s: float
    pick: float


def make_kind(
    needs: str,
    least_s: float = 0.0,
    most_s: float = 0.0,
    alone_s: float | None = None,
    *,
    tls: bool = False,
    lead_s: float = 0.0,
    rest_s: float = _REST_S,
) -> Kind:
    """One whose `needs` are written as words."""
    return Kind(
        needs=frozenset(needs.split()),
        least_s=least_s,
        most_s=most_s,
        alone_s=alone_s,
        tls=tls,
        lead_s=lead_s,
        rest_s=rest_s,
    )


KINDS = {
    "cut-client": make_kind("transports"),
    "cut-agent": make_kind("transports"),
    "kill-relay": make_kind("relay"),
    "freeze-relay": make_kind("relay", 1, 20),
    "kill-offload": make_kind("offload", tls=True),
    "freeze-offload": make_kind("offload", 1, 20, tls=True),
    "freeze-coordinator": make_kind("coordinator", 1, 20),
    "kill-coordinator": make_kind("coordinator relay offload", 0, 8),
    "restart-coordinator": make_kind("coordinator relay offload", 0, 5),
    "freeze-agent": make_kind("agent", 1, 20),
    "freeze-client": make_kind("client", 1, 20),
    "asleep": make_kind("client", 16, 25, 60),
    "loss": make_kind("link", 3, 15),
    "slow": make_kind("link", 3, 15),
    "link-down": make_kind("link", 2, 20),
    "agent-away": make_kind("agent", 2, 20, 300),
    "address": make_kind("address", 3, 12),
    # Where it leads to is said over the relay, which has to work for as long as that takes.
    "direct": make_kind("direct", 4, 20, lead_s=6),
    "restart-agent": Kind(needs=frozenset({"agent"}), most_s=8.0, ends_streams=True, rest_s=15.0),
}


def all_kinds(*, tls: bool) -> tuple[str, ...]:
    """What comes where nothing was asked for."""
    return tuple(n for n, kind in KINDS.items() if not kind.ends_streams and (tls or not kind.tls))


def make_plan(
    seed: int,
    seconds: float,
    only: Sequence[str],
    *,
    pace_s: float = 5.0,
    kinds: Mapping[str, Kind] = KINDS,
) -> list[Trouble]:
    """Every kind of `only` in turn, in an order of the seed's, as many as end within `seconds`.

    Several at a time, but never two that need the same thing. `kinds` says what each is.
    """
    chance = random.Random(seed)
    names = list(only)
    plan: list[Trouble] = []
    free_at: dict[str, float] = {}
    deck = chance.sample(names, len(names))
    if leads := seconds >= _LEADS_FROM_S:
        deck.sort(key=lambda name: kinds[name].lead_s)
    now = _FIRST_S
    while True:
        if not deck:
            deck = chance.sample(names, len(names))
        kind = kinds[name := deck.pop()]
        lasts_s = chance.uniform(kind.least_s, kind.most_s)
        if len(names) == 1 and kind.alone_s is not None:
            lasts_s = kind.alone_s
        lead_s = kind.lead_s if leads and not plan else 0.0
        lasts_s = max(lasts_s, lead_s)
        begins = max(now, *(free_at.get(need, 0.0) for need in kind.needs))
        if begins + lasts_s > seconds:
            return sorted(plan, key=lambda one: one.at_s)
        plan.append(Trouble(kind=name, at_s=begins, for_s=lasts_s, pick=chance.random()))
        for need in kind.needs:
            free_at[need] = begins + lasts_s + kind.rest_s
        now += max(lead_s, chance.uniform(0.2, 2 * pace_s))
