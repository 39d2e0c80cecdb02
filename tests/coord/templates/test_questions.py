"""Questions before a build: answered one at a time for each user, and refused with their words."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from kled_coord.builds.runner import Inquiry, TemplateForm
from kled_coord.store.template_records import TemplatePreset
from kled_coord.templates.choosing import evaluate_new
from kled_coord.templates.pushing import PushValues
from kled_coord.templates.questions import WAITING_MAX, Questions
from kled_wire.errors import InputError, LimitError, NotFoundError
from tests.coord.builds.steps import log_of, working
from tests.coord.templates.asked import parameter

BIG = TemplatePreset(name="Big", description="", icon="", default=True, parameters={"size": "9"})
RED = TemplatePreset(
    name="Red", description="", icon="", default=False, parameters={"size": "9", "colour": "red"}
)


def answer(inquiry: Inquiry) -> TemplateForm:
    """A size, and a colour where the size is 9; once for one build, once for good."""
    given = inquiry.workspace["parameters"]
    size = given.get("size", "1")
    error = None if size.isdigit() else "Sizes are numbers"
    found = [parameter("size", default="1", value=size, error=error)]
    if size == "9":
        missing = None if "colour" in given else "needs a value"
        found.append(
            parameter("colour", value=given.get("colour", ""), error=missing, mutable=True)
        )
    found.append(
        parameter("once", default="no", value=given.get("once", "no"), mutable=True, ephemeral=True)
    )
    return TemplateForm(parameters=tuple(found), presets=(BIG, RED))


@pytest.fixture
async def admin(lite_world, make_tar):
    boss = await lite_world.user("boss", "admin")
    lite_world.terraform.answer = answer
    await lite_world.services.pushing.push(
        boss,
        "plain",
        message="",
        upload=make_tar({"main.tf": b'variable "zone" {}\nvariable "k" {\n  sensitive = true\n}'}),
        values=PushValues(variables={"k": "hush"}, parameters={"zone": "a"}),
    )
    return boss


async def create(world, caller, name: str = "dev", **asked):
    services = world.services
    version = await services.templates.version(caller, "plain", None)
    given = asked.pop("given", {})
    evaluation, kept = await evaluate_new(
        services.questions, services.workspaces, caller, version, given=given, **asked
    )
    return await services.workspaces.create(
        caller,
        name=name,
        version=version,
        parameters=evaluation.given,
        kept=kept,
        asked=evaluation.parameters,
    )


async def test_a_workspace_keeps_what_was_evaluated(lite_world, admin) -> None:
    made = await create(lite_world, admin, given={"zone": "b", "once": "yes"})
    assert made.workspace.parameters == {"zone": "b", "size": "1"}
    assert made.latest_build.parameters == {"zone": "b", "size": "1", "once": "yes"}
    inquiry = lite_world.terraform.inquiries[-1]
    assert inquiry.variables["k"].text == '"hush"'
    assert inquiry.workspace["owner"] == "boss"


@pytest.mark.parametrize(
    ("given", "code", "word"),
    [
        ({"zone": "b", "size": "x"}, "parameter_invalid", "size': Sizes are numbers"),
        ({"zone": "b", "size": "9"}, "parameter_missing", "colour"),
        ({"zone": "b", "sice": "9"}, "parameter_unknown", "did you mean size?"),
        ({"size": "2"}, "parameter_missing", "zone"),
        ({"zone": "b", "k": "x"}, "parameter_fixed", "k"),
    ],
)
async def test_what_does_not_fit_is_refused_before_there_is_a_build(
    lite_world, admin, given, code, word
) -> None:
    with pytest.raises(InputError) as caught:
        await create(lite_world, admin, given=given)
    assert caught.value.code == code
    assert word in caught.value.message
    assert await lite_world.services.workspaces.list_for(admin, None) == []


async def test_a_preset_and_a_copy_are_below_what_is_given(lite_world, admin) -> None:
    made = await create(lite_world, admin, given={"zone": "b", "colour": "red"}, preset="Big")
    assert made.workspace.parameters == {"zone": "b", "size": "9", "colour": "red"}
    copy = await create(lite_world, admin, "two", given={"colour": "blue"}, copy_from="dev")
    assert copy.workspace.parameters == {"zone": "b", "size": "9", "colour": "blue"}
    with pytest.raises(NotFoundError, match="no preset 'Small'"):
        await create(lite_world, admin, "three", given={"zone": "b"}, preset="Small")
    stranger = await lite_world.user("eve")
    with pytest.raises(NotFoundError):
        await create(lite_world, stranger, "three", copy_from="boss/dev")


async def test_a_preset_sets_only_what_exists_beside_what_was_chosen(lite_world, admin) -> None:
    made = await create(lite_world, admin, given={"zone": "b", "size": "2"}, preset="Red")
    assert made.workspace.parameters == {"zone": "b", "size": "2"}
    made = await create(lite_world, admin, "two", given={"zone": "b"}, preset="Red")
    assert made.workspace.parameters == {"zone": "b", "size": "9", "colour": "red"}


async def test_a_default_that_does_not_fit_is_said_to_be_what_is_wrong(lite_world, admin) -> None:
    size = parameter("size", default="20", value="20", error="20 is more than 10.")
    lite_world.terraform.answer = lambda _: TemplateForm(parameters=(size,), presets=())
    with pytest.raises(InputError, match="default of size does not fit: 20 is more"):
        await create(lite_world, admin, given={"zone": "b"})


async def test_one_question_at_a_time_for_each_user(lite_world, admin) -> None:
    services = lite_world.services
    version = await services.templates.version(admin, "plain", None)
    other = await lite_world.user("max")
    began: list[str] = []
    go_on = trio.Event()

    async def slow(inquiry: Inquiry) -> TemplateForm:
        began.append(inquiry.workspace["owner"])
        await go_on.wait()
        return answer(inquiry)

    questions = Questions(
        store=services.store, sealer=services.sealer, ask=slow, deadline_s=30, access_url="http://k"
    )
    ask = partial(evaluate_new, questions, services.workspaces)
    given = {"zone": "a"}
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for caller in (*[admin] * WAITING_MAX, other):
                nursery.start_soon(partial(ask, caller, version, given=given))
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert sorted(began) == ["boss", "max"]
            with pytest.raises(LimitError):
                await ask(admin, version, given=given)
            go_on.set()
    await ask(admin, version, given=given)


async def test_an_imagined_workspace_says_all_that_a_builds_does(
    lite_world, admin, tmp_path
) -> None:
    made = await create(lite_world, admin, given={"zone": "b"})
    async with working(lite_world, tmp_path):
        await log_of(lite_world, admin, made.latest_build.id)
    real = await lite_world.terraform.hosts[-1].workspace()
    assert lite_world.terraform.inquiries[-1].workspace.keys() == real.keys()
