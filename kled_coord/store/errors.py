"""The errors of the store, as sentences for users."""

from __future__ import annotations

from typing import Final

import structlog
from sqlalchemy import exc

from kled_wire.errors import ConflictError, InputError, KledError, UnavailableError

# SQLite says "database or disk is full"; PostgreSQL's class 53100 is disk_full.
_FULL_WORDS: Final = ("is full", "disk full", "no space left")
log = structlog.get_logger(__name__)

# SQLITE_CORRUPT and SQLITE_NOTADB, the primary result codes (https://sqlite.org/rescode.html);
# PostgreSQL's XX001 and XX002 are data_corrupted and index_corrupted.
_DAMAGED_CODES: Final = (11, 26)
_DAMAGED_STATES: Final = ("XX001", "XX002")


class StoreError(UnavailableError):
    """The database did not do what was asked; the transaction was rolled back."""


class DuplicateError(ConflictError):
    """A uniqueness rule of the schema was broken; the caller says what that means."""


def from_database(error: exc.SQLAlchemyError) -> KledError:
    """Turn a database error into ours; the words of one that is not expected are logged.

    The codes are duplicate, input_invalid, store_damaged, store_full and store_failed.
    """
    if isinstance(error, exc.DataError):
        # PostgreSQL takes no NUL in a text; only something a stranger sent can have one.
        return InputError(
            "input_invalid", "a value has a character or a size that cannot be stored"
        )
    if isinstance(error, exc.IntegrityError):
        return DuplicateError(
            "duplicate", "it exists already, or refers to something that was deleted"
        )
    orig = getattr(error, "orig", None)
    words = str(orig or error).lower()
    code = getattr(orig, "sqlstate", None)
    if code in _DAMAGED_STATES or getattr(orig, "sqlite_errorcode", 0) & 0xFF in _DAMAGED_CODES:
        return damaged(words)
    if code == "53100" or any(full in words for full in _FULL_WORDS):
        return StoreError(
            "store_full",
            "the coordinator's disk is full; nothing was changed",
            hint="free some space in the data directory, then try again",
        )
    # The words may name the database's host, which is nobody's matter but the operator's.
    log.warning("database_failed", reason=words)
    return StoreError(
        "store_failed",
        "the coordinator's database failed; nothing was changed",
        hint="see the coordinator's log",
    )


def damaged(words: str) -> StoreError:
    """What is said of a database that does not hold what was written to it."""
    return StoreError(
        "store_damaged",
        f"the coordinator's database is damaged: {words}",
        hint="stop the coordinator and restore a backup: docs/operations.md",
    )
