"""The one tree of errors: each has a stable code for programs and a sentence for people.

`code` is snake_case and never renamed once released (docs/errors.md lists them). `message` says
what went wrong and where. `hint` says what to do next, often the command to type.
"""

from __future__ import annotations

import json
from typing import ClassVar


class KledError(Exception):
    """An error a person is meant to read. `str(error)` is the message without the hint."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def line(self) -> str:
        """One line: the message, then the hint."""
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def shown(self) -> str:
        """`line` for a terminal, which words of a server must not steer."""
        line = " ".join(self.line().split())
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


class InputError(KledError):
    """The person or program asked for something malformed; nothing was changed."""

    status = 422
    exit_code = 2


class ConfigError(InputError):
    """A setting is wrong; names the setting and where it came from."""


class ProtocolError(KledError):
    """The peer sent bytes that are not our protocol; the connection is closed with this reason."""

    status = 400


class UnauthenticatedError(KledError):
    """No token, or one that is wrong, expired or revoked (the code says which)."""

    status = 401
    exit_code = 3


class ForbiddenError(KledError):
    """Authenticated, but the policy says no."""

    status = 403
    exit_code = 3


class NotFoundError(KledError):
    """No such thing, or not one this caller may know of."""

    status = 404
    exit_code = 4


class ConflictError(KledError):
    """The request contradicts what is already there."""

    status = 409
    exit_code = 5


class LimitError(KledError):
    """A stated limit was reached; the message gives the figure.

    After `retry_after_s` seconds it may be worth another try.
    """

    status = 429
    exit_code = 6

    def __init__(
        self, code: str, message: str, *, hint: str | None = None, retry_after_s: float = 30.0
    ) -> None:
        super().__init__(code, message, hint=hint)
        self.retry_after_s = retry_after_s


class UpgradeRequiredError(KledError):
    """An upgrade is missing, or one that is not taken here was asked for."""

    status = 426


class UnavailableError(KledError):
    """The other side cannot be reached, or is not ready; trying again later may help."""

    status = 503
    exit_code = 7


BY_STATUS: dict[int, type[KledError]] = {
    kind.status: kind
    for kind in (
        KledError,
        InputError,
        ProtocolError,
        UnauthenticatedError,
        ForbiddenError,
        NotFoundError,
        ConflictError,
        LimitError,
        UpgradeRequiredError,
        UnavailableError,
    )
}


def from_status(status: int, code: str, message: str, hint: str | None = None) -> KledError:
    """Rebuild the error another part reported over HTTP; unknown statuses become KledError."""
    return BY_STATUS.get(status, KledError)(code, message, hint=hint)


def encode_error_body(error: KledError) -> bytes:
    """The one JSON shape of an error (docs/protocol.md)."""
    shape = {"code": error.code, "message": error.message, "hint": error.hint}
    return json.dumps({"error": shape}).encode()


def decode_error(status: int, body: bytes | str) -> KledError | None:
    """The error that a body in that shape tells of; None where it is something else."""
    try:
        return from_shape(status, json.loads(body)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def from_shape(status: int, shape: object) -> KledError | None:
    """As `decode_error`, of the object that holds `code`, `message` and perhaps `hint`."""
    if not isinstance(shape, dict) or not {"code", "message"} <= shape.keys():
        return None
    hint = shape.get("hint")
    words = str(shape["code"]), str(shape["message"])
    return from_status(status, *words, hint if isinstance(hint, str) else None)
