"""One-time dial tickets."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from kled_coord.relay.rendezvous.tickets import Tickets


def test_a_ticket_admits_once() -> None:
    tickets: Tickets[str] = Tickets(os.urandom)
    ticket = tickets.issue("meeting")
    assert tickets.redeem(ticket) == "meeting"
    assert tickets.redeem(ticket) is None


def test_a_withdrawn_ticket_admits_nobody() -> None:
    tickets: Tickets[str] = Tickets(os.urandom)
    ticket = tickets.issue("meeting")
    tickets.withdraw(ticket)
    tickets.withdraw(ticket)
    assert tickets.redeem(ticket) is None
    assert len(tickets) == 0


@given(st.text())
def test_a_guess_admits_nobody_and_uses_nothing_up(guess: str) -> None:
    tickets: Tickets[str] = Tickets(os.urandom)
    tickets.issue("meeting")
    assert tickets.redeem(guess) is None
    assert len(tickets) == 1
