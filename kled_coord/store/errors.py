"""What can go wrong in the store, as errors a person can read."""

from __future__ import annotations

from typing import Final

from sqlalchemy import exc

from kled_wire.errors import ConflictError, InputError, KledError, UnavailableError

# SQLite says "database or disk is full"; PostgreSQL's class 53100 is disk_full.
_FULL_WORDS: Final = ("is full", "disk full", "no space left")


class StoreError(UnavailableError):
    """The database did not do what was asked; the transaction was rolled back."""


class DuplicateError(ConflictError):
    """A uniqueness rule of the schema was broken; the caller says what that means."""


def from_database(error: exc.SQLAlchemyError) -> KledError:
    """Turn a database error into ours: duplicate, input_invalid, store_full or store_failed."""
    if isinstance(error, exc.DataError):
        # PostgreSQL takes no NUL in a text; only something a stranger sent can have one.
        return InputError("input_invalid", "a value has a character or a size that cannot be kept")
    if isinstance(error, exc.IntegrityError):
        return DuplicateError("duplicate", "that exists already, or refers to something gone")
    words = str(getattr(error, "orig", error)).lower()
    code = getattr(getattr(error, "orig", None), "sqlstate", None)
    if code == "53100" or any(full in words for full in _FULL_WORDS):
        return StoreError(
            "store_full",
            "the coordinator's disk is full; nothing was changed",
            hint="free some space in the data directory, then try again",
        )
    return StoreError("store_failed", f"the coordinator's database failed: {words}")
