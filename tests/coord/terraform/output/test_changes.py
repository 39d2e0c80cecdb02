"""The changes of a plan, read from what `terraform show -json` prints."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.terraform.output.changes import VALUE_MAX, PlannedChanges, parse_plan

SECRET = "hunter2-hunter2"


def change(address: str, *actions: str, mode: str = "managed", **of: Any) -> dict[str, Any]:
    return {"address": address, "mode": mode, "change": {"actions": list(actions), **of}}


def read(*changes: dict[str, Any], drift: tuple[dict[str, Any], ...] = ()) -> PlannedChanges:
    document = {"resource_changes": list(changes), "resource_drift": list(drift)}
    planned = parse_plan(json.dumps(document).encode(), ["given-secret"])
    assert planned is not None
    return planned


def test_actions_are_words_and_what_stays_is_left_out() -> None:
    planned = read(
        change("a.new", "create"),
        change("a.same", "no-op"),
        change("a.old", "delete"),
        change("a.other", "create", "delete"),
        change("data.a.read", "read", mode="data"),
        drift=(change("a.gone", "delete"),),
    )
    found = [(each.address, each.action) for each in planned.changes]
    assert found == [("a.new", "create"), ("a.old", "delete"), ("a.other", "replace")]
    assert planned.destroyed == ("a.old", "a.other")
    assert [each.address for each in planned.drift] == ["a.gone"]


def test_attributes_that_change_say_what_they_were_and_will_be() -> None:
    (found,) = read(
        change(
            "a.b",
            *("delete", "create"),
            before={"same": 1, "image": "debian:12", "size": [1], "id": "x"},
            after={"same": 1, "image": "debian:13", "size": [2]},
            after_unknown={"id": True, "size": [False]},
            replace_paths=[["image"], ["size", 0]],
        )
    ).changes
    told = [(a.name, a.before, a.after, a.unknown, a.replaces) for a in found.attributes]
    assert told == [
        ("id", "x", None, True, False),
        ("image", "debian:12", "debian:13", False, True),
        ("size", [1], [2], False, True),
    ]


def test_no_sensitive_value_is_shown_wherever_a_provider_puts_it() -> None:
    planned = read(
        change(
            "a.b",
            "update",
            before={"input": {"key": SECRET}, "output": f"x {SECRET}", "token": "t1"},
            after={"input": {"key": "new-secret-1"}, "output": "given-secret", "token": "t2"},
            before_sensitive={"input": {"key": True}, "token": True},
            after_sensitive={"input": {"key": True}, "token": True},
        ),
        change("a.c", "update", before={"x": SECRET}, after={"x": "new-secret-1"}),
    )
    assert SECRET not in repr(planned)
    assert "given-secret" not in repr(planned)
    assert "new-secret-1" not in repr(planned)
    hidden = {a.name: a.hidden for a in planned.changes[0].attributes}
    assert hidden == {"input": "sensitive", "output": None, "token": "sensitive"}


def test_a_long_value_is_not_shown() -> None:
    text = "x" * VALUE_MAX
    (found,) = read(change("a.b", "update", before={"x": text}, after={"x": "y"})).changes
    assert (found.attributes[0].hidden, found.attributes[0].after) == ("too long", None)


@pytest.mark.parametrize("document", [b"", b"[]", b"{", b'{"resource_changes": [1]}', b"[" * 9999])
def test_what_is_no_plan_is_none(document: bytes) -> None:
    assert parse_plan(document) is None


leaves = st.none() | st.booleans() | st.text(max_size=5) | st.floats(allow_nan=False)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(values, values, values)
def test_whatever_terraform_prints_nothing_but_none_or_a_plan(
    before: Any, after: Any, mark: Any
) -> None:
    found = change("a.b", "update", before=before, after=after, before_sensitive=mark)
    parse_plan(json.dumps({"resource_changes": [found, after]}).encode())
    parse_plan(json.dumps({"resource_changes": [found]}).encode())
