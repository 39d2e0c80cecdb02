"""Deadlines of one template: kept, changed, and used."""

from __future__ import annotations

import pytest

from kled_coord.templates.deadlines import Deadlines
from kled_coord.templates.edits import TemplateEdit
from kled_wire.errors import ForbiddenError, NotFoundError
from tests.coord.builds.steps import create, log_of, template, working


def test_a_change_writes_what_it_names() -> None:
    assert Deadlines().columns() == {}
    change = Deadlines(check_deadline_s="default", build_quiet_s=0)
    assert change.columns() == {"check_deadline_s": None, "build_quiet_s": 0}


def edit(build_quiet_s) -> TemplateEdit:
    return TemplateEdit(deadlines=Deadlines(build_quiet_s=build_quiet_s))


async def test_a_build_gets_what_its_template_says(lite_world, make_tar, tmp_path) -> None:
    world, templates = lite_world, lite_world.services.templates
    await template(world, make_tar)
    alice, root = await world.user("alice"), await world.user("root", "template-admin")
    with pytest.raises(ForbiddenError):
        await templates.edit(alice, "plain", edit(1))
    with pytest.raises(NotFoundError):
        await templates.edit(root, "none", edit(1))
    for wanted, given in ((7200, 7200), ("default", None), (0, 0)):
        await templates.edit(root, "plain", edit(wanted))
        created = await create(world, alice, f"ws{given}".lower())
        async with working(world, tmp_path):
            await log_of(world, alice, created.latest_build.id)
        assert world.terraform.jobs[-1].quiet_s == given
    assert (await templates.get(alice, "plain"))[0].build_quiet_s == 0


@pytest.mark.slow
async def test_deadlines_through_the_api(api, make_tar) -> None:
    headers, client = await api.login("boss", "admin"), api.client
    url = "/api/v1/templates/slow"
    push = f"{url}/versions?check_deadline_s=1"
    hanging = make_tar({"main.tf": b"HANGING INIT"})
    late = await client.post(push, content=hanging, headers=headers, timeout=20)
    assert (late.status_code, "within 1 s" in late.text) == (503, True)
    fine = make_tar({"main.tf": b"#"})
    assert (await client.post(push, content=fine, headers=headers)).status_code == 201
    found = (await client.get(url, headers=headers)).json()
    assert (found["check_deadline_s"], found["build_quiet_s"]) == (1, None)
    # It is this template's from then on.
    late = await client.post(f"{url}/versions", content=hanging, headers=headers, timeout=20)
    assert "within 1 s" in late.text
    body = {"check_deadline_s": "default", "build_quiet_s": 5}
    changed = (await client.patch(url, json=body, headers=headers)).json()
    assert (changed["check_deadline_s"], changed["build_quiet_s"]) == (None, 5)
    bad = await client.patch(url, json={"check_deadline_s": 0}, headers=headers)
    assert bad.status_code == 422
