"""Checks of pushed templates: two at a time, with a deadline, and only while somebody waits."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from kled_coord.templates import pushes
from kled_coord.templates.service import Templates
from kled_wire.errors import InputError, LimitError, NotFoundError, UnavailableError

HANGING = {"main.tf": b"HANGING INIT"}


def deadline(world, check_deadline_s: float) -> Templates:
    services = world.services
    return Templates(
        store=services.store,
        clock=services.clock,
        ids=services.ids,
        audit=services.audit,
        check=world.terraform.check,
        check_deadline_s=check_deadline_s,
    )


async def test_a_hanging_check_lets_others_pass(lite_world, make_tar) -> None:
    admin = await lite_world.user("boss", "admin")
    templates, terraform = lite_world.services.templates, lite_world.terraform

    async def hang() -> None:
        await templates.push(admin, "slow", message="", upload=make_tar(HANGING))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang)
            await terraform.started.wait()
            pushed = await templates.push(
                admin, "fine", message="", upload=make_tar({"main.tf": b"x"})
            )
            assert (pushed.number, terraform.checking) == (1, 1)
            nursery.cancel_scope.cancel()
    with pytest.raises(NotFoundError):
        await templates.get(admin, "slow")


async def test_a_push_too_many_is_refused_and_others_pass(
    lite_world, make_tar, monkeypatch
) -> None:
    monkeypatch.setattr(pushes, "PER_USER", 1)
    admin, other = await lite_world.user("boss", "admin"), await lite_world.user("max", "admin")
    push, fine = lite_world.services.templates.push, make_tar({"main.tf": b"x"})
    hang = partial(push, admin, "slow", message="", upload=make_tar(HANGING))
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang)
            await lite_world.terraform.started.wait()
            with pytest.raises(LimitError):
                await push(admin, "fine", message="", upload=fine)
            assert (await push(other, "fine", message="", upload=fine)).number == 1
            nursery.cancel_scope.cancel()
    assert (await push(admin, "fine", message="", upload=fine)).number == 2


async def test_a_check_has_a_deadline_and_its_place_is_free_again(lite_world, make_tar) -> None:
    admin = await lite_world.user("boss", "admin")
    templates = deadline(lite_world, 0.05)
    for _ in range(3):
        with pytest.raises(UnavailableError) as caught:
            await templates.push(admin, "slow", message="", upload=make_tar(HANGING))
        assert caught.value.code == "template_check_timeout"
    assert lite_world.terraform.checking == 0
    assert await templates.list_all(admin) == []


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
    push = partial(lite_world.services.templates.push, admin, "plain", message="")
    with pytest.raises(InputError) as caught:
        await push(upload=make_tar({"main.tf": b"", "zzz_override.tf": backend}))
    assert (caught.value.code, "zzz_override.tf" in caught.value.message) == (
        "template_invalid",
        True,
    )
    # Ours is merged over it, as over one in the files themselves.
    await push(upload=make_tar({"main.tf": backend, "a_override.tf": backend}))
