"""Secrets stay out of the log."""

from __future__ import annotations

import os

from kled_coord.identity.secrets import AGENT_TOKEN, API_TOKEN, ONE_TIME_CODE
from kled_coord.logs import mask, mask_secrets
from kled_coord.sources import Ids

IDS = Ids(os.urandom)


def test_every_kind_of_secret_is_masked() -> None:
    for prefix in (API_TOKEN, AGENT_TOKEN, ONE_TIME_CODE):
        secret = IDS.secret(prefix)
        shown = mask(f"Bearer {secret}, he said")
        assert shown == f"Bearer {prefix}***, he said"
    assert mask("Kled-Ticket abc.def rest") == "Kled-Ticket *** rest"


def test_fields_named_like_secrets_are_masked() -> None:
    event = mask_secrets(None, "info", {"password": "x", "event": "logged_in", "seq": 1})
    assert event == {"password": "***", "event": "logged_in", "seq": 1}


def test_ids_are_twenty_characters_of_base32() -> None:
    prefix, _, rest = IDS.new("ws").partition("_")
    assert (prefix, len(rest)) == ("ws", 20)
    assert set(rest) <= set("abcdefghijklmnopqrstuvwxyz234567")
    assert IDS.new("ws") != IDS.new("ws")
