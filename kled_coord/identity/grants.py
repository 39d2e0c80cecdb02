"""A grant as text: the user, the token, and how often the user's access has been ended.

It goes to the agent with each dial (`messages.Dial.grant`), and comes back as a question: does this
still hold? What ends all of a user's streams counts their `endings` up, so that it holds for those
too that nobody can be told of now. No I/O.
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
