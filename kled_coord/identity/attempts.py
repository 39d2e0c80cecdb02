"""Limits on logins, by account and by address, counted before a password is checked. No clock.

An account has known addresses, from which its user has logged in of late. Each of them has a
count of its own, so that strangers who guess do not lock the user out. All other addresses share
one count for each account, and have one each for whatever account they try.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kled_coord.addresses import holder_of
from kled_coord.identity.throttle import Throttle
from kled_wire.errors import LimitError

WINDOW_S: Final = 300.0
# Wrong tries within the window: of one account, and from one address at any accounts.
ACCOUNT_MAX: Final = 5
ADDRESS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that has been counted."""

    counts: tuple[tuple[Throttle, str], ...]

    def forgive(self) -> None:
        """Take the count back: it was right, or was never checked."""
        for throttle, key in self.counts:
            throttle.give_back(key)


class Attempts:
    """Counts attempts to log in. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._accounts = Throttle(ACCOUNT_MAX, WINDOW_S)
        self._known = Throttle(ACCOUNT_MAX, WINDOW_S)
        self._addresses = Throttle(ADDRESS_MAX, WINDOW_S)

    def password(self, account: str, address: str, *, known: bool, now: float) -> Attempt:
        """Count a try of a password. Raises LimitError("login_throttled")."""
        holder = holder_of(address)
        if known:
            return _count(((self._known, f"{account[:64]} {holder}"),), now)
        return _count(((self._accounts, account[:64]), (self._addresses, holder)), now)

    def old_password(self, account: str, now: float) -> Attempt:
        """Count a try of a password by who has a token. Raises LimitError("login_throttled")."""
        return _count(((self._known, account),), now)

    def wrong_code(self, address: str, now: float) -> None:
        """Count a one-time code that was wrong. Raises LimitError("login_throttled")."""
        _count(((self._addresses, holder_of(address)),), now)


def _count(counts: tuple[tuple[Throttle, str], ...], now: float) -> Attempt:
    wait_s = max(throttle.wait_s(key, now) for throttle, key in counts)
    if wait_s > 0:
        raise LimitError(
            "login_throttled",
            f"too many failed logins; try again in {wait_s:.0f} s",
            hint="a one-time code works at once: kled-coord user reset-login NAME",
            retry_after_s=wait_s,
        )
    for throttle, key in counts:
        throttle.count(key, now)
    return Attempt(counts)
