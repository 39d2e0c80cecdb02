"""A grant as text: the user, the token, and how often the user's access has been ended.

Each dial has one (`messages.Dial.grant`), and the agent sends it back to ask whether it is still
valid. Whatever ends all streams of a user increments the user's `endings`, which also ends the
grants of agents that are not connected now. No I/O.
"""

from __future__ import annotations

from typing import Final

from kled_coord.policy.decide import Caller
from kled_coord.store.records import Grant

_PARTS: Final = 3


def grant_of(caller: Caller) -> Grant:
    """What the caller was let in with."""
    return Grant(user_id=caller.user_id, token_id=caller.token_id, endings=caller.endings)


def encode_grant(grant: Grant) -> str:
    """The word for it."""
    return f"{grant.user_id} {grant.token_id} {grant.endings}"


def decode_grant(text: str) -> Grant | None:
    """Read such a word; None for what we never wrote."""
    parts = text.split(" ")
    if len(parts) != _PARTS or not parts[2].isascii() or not parts[2].isdecimal():
        return None
    return Grant(user_id=parts[0], token_id=parts[1], endings=int(parts[2][:18]))
