"""Templates once they are pushed: which version is active, which are archived, who uses them."""

from __future__ import annotations

from functools import partial

import pytest

from kled_coord.templates.edits import TemplateEdit
from kled_coord.workspaces.lifecycle import Transition
from kled_wire.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from kled_wire.names import parse_workspace_ref


@pytest.fixture
async def admin(lite_world, make_tar):
    boss = await lite_world.user("boss", "admin")
    for number in range(3):
        files = {"main.tf": b"#%d" % number, "README.md": b"# Read %d" % number}
        await lite_world.services.pushing.push(boss, "plain", message="", upload=make_tar(files))
    return boss


async def active(world, caller) -> int:
    template, _ = await world.services.templates.get(caller, "plain")
    return template.active_version


async def test_versions_are_promoted_and_rolled_back(lite_world, admin) -> None:
    edit = partial(lite_world.services.templates.edit, admin, "plain")
    assert await active(lite_world, admin) == 3
    await edit(TemplateEdit(active_version=1))
    assert await active(lite_world, admin) == 1
    with pytest.raises(NotFoundError) as caught:
        await edit(TemplateEdit(active_version="previous"))
    assert caught.value.code == "version_not_found"
    await edit(TemplateEdit(active_version=3))
    await lite_world.services.templates.archive(admin, "plain", 2, archived=True)
    await edit(TemplateEdit(active_version="previous"))
    assert await active(lite_world, admin) == 1  # 2 is archived
    with pytest.raises(NotFoundError):
        await edit(TemplateEdit(active_version=9))


async def test_nothing_new_is_made_of_an_archived_version(lite_world, admin) -> None:
    services = lite_world.services
    archive = partial(services.templates.archive, admin, "plain")
    first = await services.templates.version(admin, "plain", 1)
    await services.workspaces.create(admin, name="old", version=first, parameters={})
    with pytest.raises(ConflictError) as caught:
        await archive(3, archived=True)
    assert caught.value.code == "version_active"
    archived = await archive(1, archived=True)
    assert archived.archived_at is not None
    version = await services.templates.version(admin, "plain", 1)
    assert version == archived
    with pytest.raises(ConflictError) as caught:
        await services.workspaces.create(admin, name="new", version=version, parameters={})
    assert caught.value.code == "version_archived"
    with pytest.raises(ConflictError):
        await services.templates.edit(admin, "plain", TemplateEdit(active_version=1))
    await archive(2, archived=True)
    ref = parse_workspace_ref("old")
    queue = partial(services.builds.create, admin, ref, Transition.START, orphan=False)
    await services.builds.cancel(admin, (await services.builds.list_for(admin, ref))[0].id)
    with pytest.raises(ConflictError):
        await queue(version=2)
    assert (await queue(version=1)).status == "pending"  # it has this one already
    back = await archive(2, archived=False)
    assert back.archived_at is None


async def test_a_version_is_known_by_its_name_too(lite_world, admin, make_tar) -> None:
    services = lite_world.services
    templates, upload = services.templates, make_tar({"main.tf": b"#4"})
    push = partial(services.pushing.push, admin, "plain", message="", upload=upload)
    pushed = await push(version_name="v1.2", activate=False)
    assert (pushed.version.number, pushed.version.name) == (4, "v1.2")
    with pytest.raises(ConflictError) as caught:
        await push(version_name="v1.2")
    assert caught.value.code == "version_name_taken"
    assert "version 4 of plain is called v1.2" in caught.value.message
    for wrong in ("7", "previous", "-x", "a b", "x" * 41, ""):
        with pytest.raises(InputError):
            await push(version_name=wrong)
    await push()  # one without a name, twice
    await push()
    await templates.edit(admin, "plain", TemplateEdit(active_version="v1.2"))
    assert await active(lite_world, admin) == 4
    assert await templates.pull(admin, "plain", "v1.2") == await templates.pull(admin, "plain", 4)
    with pytest.raises(NotFoundError, match="has no version v9"):
        await templates.version(admin, "plain", "v9")
    first = await templates.version(admin, "plain", 1)
    await services.workspaces.create(admin, name="dev", version=first, parameters={})
    ref = parse_workspace_ref("dev")
    await services.builds.cancel(admin, (await services.builds.list_for(admin, ref))[0].id)
    await services.builds.create(admin, ref, Transition.START, orphan=False, version="v1.2")
    newest, _ = await services.builds.list_for(admin, ref)
    assert newest.version_id == pushed.version.id


async def test_a_template_may_be_for_those_alone_who_push(lite_world, admin) -> None:
    services = lite_world.services
    await services.templates.edit(admin, "plain", TemplateEdit(usable_by="template-admins"))
    alice = await lite_world.user("alice")
    version = await services.templates.version(alice, "plain", None)
    make = partial(services.workspaces.create, name="dev", version=version, parameters={})
    with pytest.raises(ForbiddenError) as caught:
        await make(alice)
    assert caught.value.code == "template_restricted"
    await make(admin)
    await services.templates.edit(admin, "plain", TemplateEdit(usable_by="everybody"))
    await make(alice)


async def test_texts_are_changed_one_by_one(lite_world, admin) -> None:
    templates = lite_world.services.templates
    await templates.edit(admin, "plain", TemplateEdit(display_name="Plain", description="Small"))
    changed = await templates.edit(admin, "plain", TemplateEdit(icon="/icon/x.svg"))
    assert (changed.display_name, changed.description, changed.icon) == (
        "Plain",
        "Small",
        "/icon/x.svg",
    )
    alice = await lite_world.user("alice")
    with pytest.raises(ForbiddenError):
        await templates.edit(alice, "plain", TemplateEdit(description="Mine"))
    with pytest.raises(ForbiddenError):
        await templates.pull(alice, "plain", 1)
    details = await templates.details(alice, "plain", 2)
    assert details.readme == "# Read 1"
    assert b"#1" in await templates.pull(admin, "plain", 2)


async def test_a_template_in_use_stays_and_says_by_whom(lite_world, admin) -> None:
    services = lite_world.services
    alice = await lite_world.user("alice")
    version = await services.templates.version(admin, "plain", None)
    for caller, name in ((alice, "web"), (admin, "dev")):
        await services.workspaces.create(caller, name=name, version=version, parameters={})
    with pytest.raises(ConflictError, match="alice/web, dev") as caught:
        await services.templates.delete(admin, "plain")
    assert caught.value.code == "template_in_use"
