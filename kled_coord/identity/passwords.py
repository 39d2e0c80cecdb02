"""Passwords: argon2id in a worker thread, two at a time, to bound memory and processor use.

One of the two, with a queue of its own, serves logins from known addresses: logins from other
addresses, however many, wait in the other queue or are refused with `Retry-After`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import trio
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from kled_wire.errors import InputError, LimitError

PASSWORD_MIN: Final = 8
PASSWORD_MAX: Final = 1024
# A check takes some 50 ms: nobody in the queue waits for more than about a second.
QUEUE_MAX: Final = 16
_BUSY_S: Final = 2.0

T = TypeVar("T")


class Passwords:
    """Hashes and checks passwords with the given argon2 parameters."""

    def __init__(self, hasher: PasswordHasher) -> None:
        self._hasher = hasher
        self._known = trio.CapacityLimiter(1)
        self._strangers = trio.CapacityLimiter(1)
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """Hash a new password. Raises InputError("password_invalid"), LimitError("login_busy")."""
        if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            raise InputError(
                "password_invalid",
                f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters",
            )
        return await _queued(self._known, lambda: self._hasher.hash(password))

    async def verify(self, password: str, password_hash: str | None, *, known: bool) -> bool:
        """Whether the password is right; takes as long when there is none (`None`).

        `known`: the user has logged in from there of late. Raises LimitError("login_busy").
        """
        if len(password) > PASSWORD_MAX:
            return False
        limiter = self._known if known else self._strangers
        return await _queued(limiter, lambda: self._check(password, password_hash))

    def _check(self, password: str, password_hash: str | None) -> bool:
        if password_hash is None:
            self._nobody = self._nobody or self._hasher.hash("nobody has this password")
        try:
            right = self._hasher.verify(password_hash or self._nobody or "", password)
        except (VerificationError, InvalidHashError):
            return False
        return right and password_hash is not None


async def _queued(limiter: trio.CapacityLimiter, work: Callable[[], T]) -> T:
    if limiter.statistics().tasks_waiting >= QUEUE_MAX:
        raise LimitError(
            "login_busy",
            f"too many people are logging in; try again in {_BUSY_S:.0f} s",
            retry_after_s=_BUSY_S,
        )
    return await trio.to_thread.run_sync(work, limiter=limiter)
