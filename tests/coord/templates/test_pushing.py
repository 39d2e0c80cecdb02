"""Checks of pushed templates: two at a time, with a deadline, and only while somebody waits."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import pytest
import trio

from kled_coord.store.versions import version_fixed_sealed
from kled_coord.templates.fixing import ValuesFile
from kled_coord.templates.pushes import PER_USER
from kled_coord.templates.pushing import Pushing, PushValues
from kled_wire.errors import InputError, LimitError, NotFoundError, UnavailableError
from tests.coord.builds.steps import log_of, working

HANGING = {"main.tf": b"HANGING INIT"}


def deadline(world, check_deadline_s: float) -> Pushing:
    services = world.services
    return Pushing(
        store=services.store,
        clock=services.clock,
        ids=services.ids,
        audit=services.audit,
        sealer=services.sealer,
        access_url="http://127.0.0.1:1",
        check=world.terraform.check,
        check_deadline_s=check_deadline_s,
    )


async def test_a_hanging_check_lets_others_pass(lite_world, make_tar) -> None:
    admin = await lite_world.user("boss", "admin")
    pushing, terraform = lite_world.services.pushing, lite_world.terraform

    async def hang() -> None:
        await pushing.push(admin, "slow", message="", upload=make_tar(HANGING))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang)
            await terraform.started.wait()
            pushed = await pushing.push(
                admin, "fine", message="", upload=make_tar({"main.tf": b"x"})
            )
            assert (pushed.version.number, terraform.checking) == (1, 1)
            nursery.cancel_scope.cancel()
    with pytest.raises(NotFoundError):
        await lite_world.services.templates.get(admin, "slow")


async def test_a_push_too_many_is_refused_and_others_pass(lite_world, make_tar) -> None:
    admin, other = await lite_world.user("boss", "admin"), await lite_world.user("max", "admin")
    push, fine = lite_world.services.pushing.push, make_tar({"main.tf": b"x"})
    hang = partial(push, admin, "slow", message="", upload=make_tar(HANGING))
    with trio.fail_after(20), ExitStack() as others:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang)
            await lite_world.terraform.started.wait()
            for _ in range(PER_USER - 1):
                others.enter_context(lite_world.services.pushing._pushes.admitted(admin.user_id))
            with pytest.raises(LimitError):
                await push(admin, "fine", message="", upload=fine)
            assert (await push(other, "fine", message="", upload=fine)).version.number == 1
            nursery.cancel_scope.cancel()
    assert (await push(admin, "fine", message="", upload=fine)).version.number == 2


async def test_a_check_has_a_deadline_and_its_place_is_free_again(lite_world, make_tar) -> None:
    admin = await lite_world.user("boss", "admin")
    pushing = deadline(lite_world, 0.05)
    for _ in range(3):
        with pytest.raises(UnavailableError) as caught:
            await pushing.push(admin, "slow", message="", upload=make_tar(HANGING))
        assert caught.value.code == "template_check_timeout"
    assert lite_world.terraform.checking == 0
    assert await lite_world.services.templates.list_all(admin) == []


async def test_a_check_ends_when_its_client_leaves(api, make_tar) -> None:
    headers = await api.login("boss", "admin")
    upload, terraform = make_tar(HANGING), api.world.terraform
    stream = await trio.open_tcp_stream("127.0.0.1", api.port)
    head = (
        "POST /api/v1/templates/slow/versions HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {headers['Authorization']}\r\nContent-Length: {len(upload)}\r\n\r\n"
    )
    with trio.fail_after(20):
        await stream.send_all(head.encode() + upload)
        await terraform.started.wait()
        await stream.aclose()
        await terraform.check_ended.wait()
    assert terraform.checking == 0
    listed = await api.client.get("/api/v1/templates", headers=headers)
    assert listed.json() == []


async def test_a_template_may_not_keep_its_state_elsewhere(lite_world, make_tar) -> None:
    admin = await lite_world.user("boss", "admin")
    backend = b'terraform {\n  backend "local" {}\n}'
    push = partial(lite_world.services.pushing.push, admin, "plain", message="")
    with pytest.raises(InputError) as caught:
        await push(upload=make_tar({"main.tf": b"", "zzz_override.tf": backend}))
    assert (caught.value.code, "zzz_override.tf" in caught.value.message) == (
        "template_invalid",
        True,
    )
    # Ours is merged over it, as over one in the files themselves.
    await push(upload=make_tar({"main.tf": backend, "a_override.tf": backend}))


FIXED = b"""
variable "region" {}
variable "key" {
  sensitive = true
}
variable "zones" {
  type = list(string)
}
variable "left" {
  default = "x"
}
"""


async def test_values_are_fixed_for_a_version_and_sealed_where_sensitive(
    lite_world, make_tar, tmp_path
) -> None:
    world = lite_world
    admin = await world.user("boss", "admin")
    values = PushValues(
        variables={"region": 'e"u', "key": "s3cret"},
        files=[ValuesFile(name="a.tfvars", content='zones = ["a"]\nregion = "gone"\n')],
    )
    pushed = await world.services.pushing.push(
        admin, "plain", message="", upload=make_tar({"main.tf": FIXED}), values=values
    )
    version = pushed.version
    assert version.fixed == {"region": '"e\\"u"', "zones": '["a"]', "key": None}
    assert [v.name for v in version.open_variables] == ["left"]
    sealed = await world.services.store.read(version_fixed_sealed, version.id)
    assert b"s3cret" not in (sealed or b"s3cret")
    # The check has had all of them, and a build has.
    assert world.terraform.inquiries[-1].variables["key"].text == '"s3cret"'
    created = await world.services.workspaces.create(
        admin, name="dev", version=version, parameters={}
    )
    async with working(world, tmp_path):
        await log_of(world, admin, created.latest_build.id)
    given = world.terraform.jobs[-1].variables
    assert {name: value.text for name, value in given.items()} == {
        "region": '"e\\"u"',
        "key": '"s3cret"',
        "zones": '["a"]',
    }
    assert given["key"].is_secret
    with pytest.raises(InputError) as caught:
        await world.services.workspaces.create(
            admin, name="two", version=version, parameters={"region": "us"}
        )
    assert caught.value.code == "parameter_fixed"


async def test_what_needs_a_value_is_not_planned_without_it(lite_world, make_tar) -> None:
    admin, terraform = await lite_world.user("boss", "admin"), lite_world.terraform
    push = partial(
        lite_world.services.pushing.push,
        admin,
        "plain",
        message="",
        upload=make_tar({"main.tf": b'variable "size" {}'}),
    )
    await push()
    await push(values=PushValues(parameters={"size": "2"}))
    assert [each.is_planned for each in terraform.inquiries] == [False, True]
    assert [each.names for each in terraform.inquiries] == [["size"]] * 2
    assert terraform.inquiries[1].variables["size"].text == "2"


async def test_a_push_may_leave_the_active_version(lite_world, make_tar) -> None:
    admin = await lite_world.user("boss", "admin")
    push = partial(
        lite_world.services.pushing.push,
        admin,
        "plain",
        message="",
        upload=make_tar({"main.tf": b"#"}),
        activate=False,
    )
    assert [(await push()).version.number for _ in range(2)] == [1, 2]
    template, _ = await lite_world.services.templates.get(admin, "plain")
    assert template.active_version == 1  # the first is, whatever was said


async def test_a_check_keeps_nothing(lite_world, make_tar) -> None:
    admin = await lite_world.user("boss", "admin")
    checked = await lite_world.services.pushing.validate(
        admin, "plain", upload=make_tar({"main.tf": b"#"})
    )
    assert checked.changes == ()
    with pytest.raises(InputError):
        await lite_world.services.pushing.validate(
            admin, "plain", upload=make_tar({"main.tf": b"SYNTAX ERROR"})
        )
    assert await lite_world.services.templates.list_all(admin) == []
