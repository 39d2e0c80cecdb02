"""What a state says that Terraform has made."""

from __future__ import annotations

from kled_coord.builds.states.resources import RESOURCES_MAX, applied_resources


def test_every_instance_is_listed_by_its_address_and_data_is_not() -> None:
    one, two = {"index_key": 0}, {"index_key": "a\x1bb"}
    gone = {"index_key": 1, "deposed": "x"}
    resources = [
        {"mode": "managed", "type": "b_two", "name": "it", "instances": [two, one, gone]},
        {"mode": "managed", "module": "module.m", "type": "a", "name": "x", "instances": [{}]},
        {"mode": "data", "type": "a", "name": "read", "instances": [{}]},
    ]
    assert applied_resources({"resources": resources}) == [
        {"address": 'b_two.it["a\\u001bb"]', "type": "b_two"},
        {"address": "b_two.it[0]", "type": "b_two"},
        {"address": "module.m.a.x", "type": "a"},
    ]
    assert applied_resources({}) == []
    many = [{"index_key": n} for n in range(RESOURCES_MAX + 1)]
    resources = [{"mode": "managed", "type": "a", "name": "x", "instances": many}]
    assert len(applied_resources({"resources": resources})) == RESOURCES_MAX
