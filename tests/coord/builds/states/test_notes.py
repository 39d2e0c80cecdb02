"""What a template notes on its resources: kept, told, and nothing secret among it."""

from __future__ import annotations

from typing import Any

import pytest

from kled_coord.builds.states.notes import NOTES_BYTES_MAX, applied_notes, tell_notes


def resource(address: str, values: dict[str, Any], *sensitive: Any) -> dict[str, Any]:
    kind, name = address.split(".")
    instance = {"attributes": values, "sensitive_attributes": list(sensitive)}
    return {"mode": "managed", "type": kind, "name": name, "instances": [instance]}


def note(name: str, **values: Any) -> dict[str, Any]:
    return resource(f"coder_metadata.{name}", {"id": f"m-{name}", "resource_id": "c", **values})


def state(*notes: dict[str, Any]) -> dict[str, Any]:
    return {"resources": [resource("docker_container.dev", {"id": "c"}), *notes]}


def test_of_two_resources_of_one_id_the_note_is_on_the_one_that_it_refers_to() -> None:
    both = [resource(f"kubernetes_{kind}.dev", {"id": "ns/dev"}) for kind in ("pod", "service")]
    for each in both:
        each["module"] = 'module.a["x.y"]'
    for subject in both:
        on = note("a", resource_id="ns/dev", daily_cost=1)
        on["instances"][0]["dependencies"] = [f"module.a.{subject['type']}.dev", "data.other.x"]
        (found,) = applied_notes({"resources": [*both, on]})
        assert found["address"] == f'module.a["x.y"].{subject["type"]}.dev'


ITEMS = [
    {"key": "cpu", "value": "4", "sensitive": False},
    {"key": "password", "value": "hush", "sensitive": True},
    {"key": "red", "value": "\x1b[31m", "sensitive": None},
    {"key": "none", "value": None, "sensitive": False},
]


def test_notes_are_of_the_resource_that_they_are_on() -> None:
    found = applied_notes(
        state(
            note("a", item=ITEMS, daily_cost=3, icon="/icon/x.svg"),
            note("b", item=ITEMS[:1], hide=True, daily_cost=0.5),
            note("c", item=[]),
            note("d", item=ITEMS, resource_id="of nothing"),
        )
    )
    address, kind = "docker_container.dev", "docker_container"
    cpu = {"key": "cpu", "value": "4", "sensitive": False}
    common = {"address": address, "type": kind}
    assert found == [
        {
            **common,
            "icon": "/icon/x.svg",
            "hide": False,
            "daily_cost": 3,
            "items": [
                cpu,
                {"key": "password", "value": None, "sensitive": True},
                {"key": "red", "value": "", "sensitive": False},
                {"key": "none", "value": None, "sensitive": False},
            ],
        },
        {**common, "icon": "", "hide": True, "daily_cost": 0.5, "items": [cpu]},
        {**common, "icon": "", "hide": False, "daily_cost": 0, "items": []},
    ]
    told = "docker_container.dev: cpu 4, password (sensitive), red, none, costs 3 a day"
    assert [*tell_notes(found)] == [told]
    assert applied_notes({}) == []


def step(kind: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "value": value}


ITEM, FIRST = step("get_attr", "item"), step("index", {"value": 0, "type": "number"})


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ([ITEM], ["cpu", "password", "red", "none"]),
        ([ITEM, FIRST], ["cpu", "password"]),
        ([ITEM, FIRST, step("get_attr", "value")], ["cpu", "password"]),
        ([ITEM, FIRST, step("get_attr", "key")], ["***", "password"]),
        ([step("get_attr", "icon")], ["password"]),
    ],
)
def test_what_terraform_knows_to_be_secret_is_hidden(path: list[Any], hidden: list[str]) -> None:
    content = state(note("a", item=ITEMS))
    content["resources"][1]["instances"][0]["sensitive_attributes"] = [path]
    (found,) = applied_notes(content)
    assert [item["key"] for item in found["items"] if item["sensitive"]] == hidden
    assert all(item["value"] is None for item in found["items"] if item["sensitive"])


def test_all_notes_of_a_build_fit_in_its_row() -> None:
    long = [{"key": "k" * 999, "value": "\x01" * 5000, "sensitive": False}] * 200
    notes = [note(f"n{number}", item=long) for number in range(3)]
    assert applied_notes(state(*notes)) == []
    short = [{"key": "k", "value": "v" * 9000, "sensitive": False}]
    kept = applied_notes(state(*[note(f"n{number}", item=short) for number in range(99)]))
    assert NOTES_BYTES_MAX // 3000 < len(kept) < 99
