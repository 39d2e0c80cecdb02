"""What two states have in common."""

from __future__ import annotations

import pytest

from kled_coord.builds.states.file import is_successor, loses_nothing, managed_instances


def state(*resources, **more):
    return {"version": 4, "serial": 1, "lineage": "l", "resources": list(resources), **more}


def resource(name: str, *instances, mode: str = "managed", **more):
    return {"mode": mode, "type": "t", "name": name, "instances": list(instances), **more}


def one(identity: str, **more):
    return {"attributes": {"id": identity, **more}}


def test_only_what_terraform_made_counts() -> None:
    assert not managed_instances(state())
    assert not managed_instances({})
    assert not managed_instances(state(resource("a"), resource("b", one("1"), mode="data")))
    assert managed_instances(state(resource("a", one("1"))))


@pytest.mark.parametrize("odd", [{"resources": 1}, {"resources": [{}]}, {"resources": [1]}])
def test_what_is_not_understood_is_not_empty(odd) -> None:
    assert managed_instances(odd)


def test_a_thing_is_known_by_its_address_and_id() -> None:
    kept = state(resource("a", one("1", pid=7)), resource("b", {"attributes": {"x": 1}}))
    assert loses_nothing(kept, state(resource("a", one("1", pid=6))))
    assert loses_nothing(kept, state())
    for lost in (
        resource("a", one("2")),
        resource("c", one("1")),
        resource("a", one("1"), module="module.m"),
        resource("a", {**one("1"), "index_key": 0}),
        resource("a", {**one("1"), "deposed": "d"}),
        resource("b", {"attributes": {"x": 2}}),
    ):
        assert not loses_nothing(kept, state(lost)), lost


def test_a_successor_has_the_lineage_and_a_higher_serial() -> None:
    assert is_successor(state(), state(serial=2))
    assert not is_successor(state(), state())
    assert not is_successor(state(), state(serial=2, lineage="other"))
    assert not is_successor({}, state())
