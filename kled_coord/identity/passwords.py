"""Passwords: argon2id in a worker thread, two at a time, so that logins cannot eat the machine."""

from __future__ import annotations

from typing import Final

import trio
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from kled_wire.errors import InputError

PASSWORD_MIN: Final = 8
PASSWORD_MAX: Final = 1024
_AT_ONCE: Final = 2


class Passwords:
    """Hashes and checks passwords with the given argon2 parameters."""

    def __init__(self, hasher: PasswordHasher) -> None:
        self._hasher = hasher
        self._limiter = trio.CapacityLimiter(_AT_ONCE)
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """Hash a new password. Raises InputError("password_invalid")."""
        if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            raise InputError(
                "password_invalid",
                f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters",
            )
        return await trio.to_thread.run_sync(self._hasher.hash, password, limiter=self._limiter)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is right; takes as long when there is none (`None`)."""
        if len(password) > PASSWORD_MAX:
            return False
        if password_hash is None:
            if self._nobody is None:
                self._nobody = await self.hash("nobody has this password")
            await self._check(password, self._nobody)
            return False
        return await self._check(password, password_hash)

    async def _check(self, password: str, password_hash: str) -> bool:
        def check() -> bool:
            try:
                return self._hasher.verify(password_hash, password)
            except (VerificationError, InvalidHashError):
                return False

        return await trio.to_thread.run_sync(check, limiter=self._limiter)
