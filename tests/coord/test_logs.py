"""Secrets stay out of the log."""

from __future__ import annotations

import os

import pytest
import structlog

from kled_coord.identity.secrets import AGENT_TOKEN, API_TOKEN, ONE_TIME_CODE
from kled_coord.logs import mask, mask_secrets, set_up_logs
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


@pytest.mark.parametrize("form", ["console", "json"])
def test_the_text_of_an_exception_acts_on_no_terminal(capfd, form) -> None:
    bad = "\x1b]0;title\x07 kled_once_" + "a" * 52
    before = structlog.get_config()
    set_up_logs(form=form, level="info")
    try:
        structlog.get_logger().error("crashed", exc_info=ValueError(bad))
    finally:
        structlog.configure(**before)
    shown = capfd.readouterr().err
    assert "ValueError" in shown
    assert shown.replace("\n", "").replace("\t", "").isprintable()
    assert "aaaaaaaa" not in shown
