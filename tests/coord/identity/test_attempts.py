"""Who may try to log in: by account, by address, and from where the user is known."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.identity.attempts import ACCOUNT_MAX, ADDRESS_MAX, WINDOW_S, Attempts
from kled_wire.errors import LimitError


def test_an_account_is_closed_to_strangers_after_a_few_wrong_tries_from_anywhere() -> None:
    attempts = Attempts()
    for number in range(ACCOUNT_MAX):
        attempts.password("alice", f"192.0.2.{number}", known=False, now=number)
    with pytest.raises(LimitError) as caught:
        attempts.password("alice", "192.0.2.99", known=False, now=10)
    assert caught.value.retry_after_s == WINDOW_S - 10
    attempts.password("bob", "192.0.2.99", known=False, now=10)
    attempts.password("alice", "192.0.2.99", known=False, now=WINDOW_S)


def test_an_address_is_closed_to_all_accounts_but_those_known_there() -> None:
    attempts = Attempts()
    for number in range(ADDRESS_MAX):
        attempts.password(f"user{number}", f"2001:db8::{number}", known=False, now=0)
    for account in ("alice", "bob"):
        with pytest.raises(LimitError):
            attempts.password(account, "2001:db8::ffff", known=False, now=0)
    attempts.password("alice", "2001:db8::ffff", known=True, now=0)
    with pytest.raises(LimitError):
        attempts.wrong_code("2001:db8::1", 0)


def test_a_known_address_has_a_limit_too() -> None:
    attempts = Attempts()
    for _ in range(ACCOUNT_MAX):
        attempts.password("alice", "192.0.2.1", known=True, now=0)
    with pytest.raises(LimitError):
        attempts.password("alice", "192.0.2.1", known=True, now=0)
    attempts.password("alice", "192.0.2.2", known=True, now=0)


def test_a_right_password_takes_back_its_own_count_and_no_other() -> None:
    attempts = Attempts()
    for _ in range(ACCOUNT_MAX - 1):
        attempts.password("alice", "192.0.2.1", known=False, now=0)
    for _ in range(3):
        attempts.password("alice", "192.0.2.1", known=False, now=0).forgive()
    attempts.password("alice", "192.0.2.1", known=False, now=0)
    with pytest.raises(LimitError):
        attempts.password("alice", "192.0.2.1", known=False, now=0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=80))
def test_strangers_never_close_an_account_where_it_is_known(tries) -> None:
    attempts = Attempts()
    for account, address in tries:
        with suppress(LimitError):
            attempts.password(account, f"192.0.2.{address}", known=False, now=0)
    for address in range(4):
        attempts.password("a", f"192.0.2.{address}", known=True, now=0)
