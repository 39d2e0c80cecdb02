"""Parameters: what a build gives to its template, what is kept of it, and who sees it."""

from __future__ import annotations

import gzip
import json

import pytest
from sqlalchemy import text

from kled_coord.api.answers import WorkspaceAnswer
from kled_coord.store.builds import build_secrets
from kled_coord.store.records import LogLine
from kled_coord.store.versions import change_version, version_archive
from kled_coord.store.workspaces import workspace_secrets
from kled_coord.templates.upgrade import list_old_variables
from kled_coord.workspaces.lifecycle import Transition
from kled_wire.errors import InputError, KledError
from kled_wire.names import parse_workspace_ref
from tests.coord.builds.steps import worker

ONE = b"""
variable "region" {}
variable "size" { default = "2" }
variable "password" {
  sensitive = true
  default   = ""
}
"""
# Another version of it: `size` is gone, `region` has become sensitive, `zone` is new.
TWO = b"""
variable "region" { sensitive = true }
variable "zone" {}
variable "password" {
  sensitive = true
  default   = ""
}
"""
SECRET = "hunter2 <&> \u00e9"
STATE = {"version": 4, "serial": 1, "lineage": "l", "resources": []}
THING = {"mode": "managed", "type": "terraform_data", "name": "a", "instances": [{}]}


class Site:
    """A world with a template, and alice who makes workspaces of it."""

    def __init__(self, world, make_tar, admin, alice) -> None:
        self.world, self.make_tar, self.admin, self.alice = world, make_tar, admin, alice
        self.services = world.services

    async def push(self, source: bytes):
        pushed = await self.services.pushing.push(
            self.admin, "plain", message="", upload=self.make_tar({"main.tf": source})
        )
        return pushed.version

    async def create(self, **parameters: str):
        version = await self.services.templates.version(self.alice, "plain", None)
        return await self.services.workspaces.create(
            self.alice, name="dev", version=version, parameters=parameters
        )

    async def queue(self, transition: str, version: int | None = None, **parameters: str):
        return await self.services.builds.create(
            self.alice,
            parse_workspace_ref("dev"),
            Transition(transition),
            version=version,
            orphan=False,
            parameters=parameters,
        )

    async def run(self) -> None:
        await worker(self.world, self.services.config.data_dir)._run(
            await self.services.queue.claim("w1")
        )

    async def workspace(self, made):
        return (await self.services.workspaces.get(made.workspace.id)).workspace

    async def keep_state(self, made, *resources) -> None:
        content = json.dumps({**STATE, "resources": resources}).encode()
        build_id = made.latest_build.id
        await self.services.states.adopt(made.workspace.id, build_id, content)

    def values(self) -> dict[str, str]:
        """What the last run gave to its template."""
        return {name: value.text for name, value in self.world.terraform.jobs[-1].variables.items()}


async def make_site(world, make_tar) -> Site:
    admin, alice = await world.user("boss", "admin"), await world.user("alice")
    site = Site(world, make_tar, admin, alice)
    await site.push(ONE)
    return site


@pytest.fixture
async def site(lite_world, make_tar) -> Site:
    return await make_site(lite_world, make_tar)


async def test_a_version_moves_only_when_it_is_applied(world, make_tar) -> None:
    site = await make_site(world, make_tar)
    made = await site.create(region="eu", size="4")
    await site.run()
    await site.push(TWO)
    world.terraform.error = KledError("terraform_failed", "it broke")
    await site.queue("start", version=2, zone="b")
    await site.run()
    canceled = await site.queue("start", version=2, zone="c")
    await site.services.builds.cancel(site.alice, canceled.id)
    found = await site.workspace(made)
    assert (found.template_version, found.parameters) == (1, {"region": "eu", "size": "4"})

    world.terraform.error = None
    for transition in ("stop", "start"):
        await site.queue(transition)
        await site.run()
        assert world.terraform.jobs[-1].workspace.template_version == 1
        assert site.values() == {"region": "eu", "size": "4"}

    await site.queue("start", version=2, zone="d")
    await site.run()
    assert world.terraform.jobs[-1].workspace.template_version == 2
    assert site.values() == {"region": "eu", "zone": "d"}
    found = await site.workspace(made)
    assert (found.template_version, found.parameters) == (2, {"region": None, "zone": "d"})
    await site.keep_state(made, THING)
    await site.queue("delete")
    await site.run()
    assert site.values() == {"region": "eu", "zone": "d"}


async def test_a_parameter_is_changed_by_a_start(site) -> None:
    made = await site.create(region="eu")
    await site.run()
    await site.queue("start", size="8")
    await site.run()
    assert site.values() == {"region": "eu", "size": "8"}
    assert (await site.workspace(made)).parameters == {"region": "eu", "size": "8"}


async def test_what_is_missing_or_unknown_is_refused_before_anything_is_made(site) -> None:
    for given, code, words in (
        ({}, "parameter_missing", "needs a value for region"),
        ({"regoin": "eu"}, "parameter_unknown", "'regoin'; did you mean region?"),
        ({"region": "eu", "": "x"}, "parameter_unknown", "has no parameter ''"),
        ({"region": "eu", "a\n\x1b[31m" * 99: "x"}, "parameter_unknown", r"'a\n\x1b[31m"),
        ({"region": "eu", "size": "a\0"}, "input_invalid", "no NUL"),
        ({"region": "eu", "size": "\ud800"}, "input_invalid", "'size'"),
        ({"region": "eu", "size": "x" * 9000}, "input_invalid", "at most 8192"),
        ({f"p{number}": "" for number in range(101)}, "input_invalid", "at most 100"),
    ):
        with pytest.raises(InputError) as caught:
            await site.create(**given)
        assert (caught.value.code, words in caught.value.message) == (code, True), given
        assert len(caught.value.message) < 300
        assert caught.value.message.isprintable()
    assert await site.services.workspaces.list_for(site.alice, None) == []
    await site.create(region="eu")
    await site.run()
    await site.push(TWO)
    with pytest.raises(InputError) as caught:
        await site.queue("start", version=2)
    assert caught.value.code == "parameter_missing"
    await site.queue("stop")


async def test_what_is_no_value_of_a_simple_type_is_refused_before_anything_is_made(site) -> None:
    await site.push(
        b"variable count { type = number }\nvariable flag { type = bool }\n"
        b"variable pin {\n  type = number\n  sensitive = true\n}\n"
        b"variable names { type = list(string) }\n"
    )
    right = {"count": "2", "flag": "true", "pin": "7", "names": "[]"}
    for given, words in (
        ({"count": "many"}, "parameter 'count': 'many' is not a number"),
        ({"count": ""}, "parameter 'count': '' is not a number"),
        ({"flag": "yes"}, "parameter 'flag': 'yes' is neither true nor false"),
        ({"pin": "hunter2"}, "parameter 'pin': its value is not a number"),
    ):
        with pytest.raises(InputError) as caught:
            await site.create(**{**right, **given})
        assert (caught.value.code, caught.value.message) == ("parameter_invalid", words)
    assert await site.services.workspaces.list_for(site.alice, None) == []
    # Of a list Terraform says in the build what is wrong.
    assert await site.create(count="-1.5e3", flag="0", pin="7", names="a, b")


async def test_a_template_without_parameters_says_so(site) -> None:
    await site.push(b"locals {}")
    with pytest.raises(InputError) as caught:
        await site.create(size="1")
    assert caught.value.hint == "it has none"


async def test_a_sensitive_value_is_nowhere_in_clear(world, make_tar) -> None:
    site = await make_site(world, make_tar)
    escaped = json.dumps(SECRET)
    world.terraform.error = KledError("terraform_failed", f"{SECRET} is bad", hint=escaped)
    made = await site.create(region="eu", password=SECRET)
    await site.run()
    job = world.terraform.jobs[-1]
    assert site.values()["password"] == SECRET
    assert SECRET not in repr(job)
    host = world.terraform.hosts[-1]
    assert (await host.workspace())["parameters"] == {"region": "eu"}

    details = await site.services.workspaces.get(made.workspace.id)
    assert details.latest_build.error == '*** is bad ("***")'
    views = await site.services.script_view.of([details])
    answer = WorkspaceAnswer.of(details, world.registry, 2, views)
    assert answer.parameters == {"region": "eu", "password": None}
    store = site.services.store
    with store.engine.connect() as connection:
        tables = connection.execute(text(_TABLES[store.engine.dialect.name])).scalars().all()
        found = [repr(connection.execute(text(f'SELECT * FROM "{t}"')).all()) for t in tables]
    assert len(found) > 10
    assert not [rows for rows in found if "hunter2" in rows]
    # What failed may be retried for as long as nothing else was queued.
    assert await store.read(build_secrets, made.latest_build.id) is not None
    assert await store.read(workspace_secrets, made.workspace.id) is not None
    await site.queue("delete")
    assert await store.read(build_secrets, made.latest_build.id) is None
    await site.run()
    assert await store.read(workspace_secrets, made.workspace.id) is None


_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
}


async def test_an_ephemeral_value_is_sealed_as_a_sensitive_one_is(site) -> None:
    await site.push(b'variable "region" {}\nvariable "once" { ephemeral = true }')
    made = await site.create(region="eu", once=SECRET)
    await site.run()
    assert site.values() == {"region": "eu", "once": SECRET}
    details = await site.services.workspaces.get(made.workspace.id)
    views = await site.services.script_view.of([details])
    assert WorkspaceAnswer.of(details, site.world.registry, 2, views).parameters["once"] is None


async def test_a_sensitive_value_does_not_reach_the_log(site) -> None:
    made = await site.create(region="eu", password=SECRET)
    site.world.terraform.says = [f"it is {SECRET}"]
    await site.run()
    log = await site.services.builds.log(site.alice, made.latest_build.id, after=0, follow=False)
    lines = [item.text async for item in log if isinstance(item, LogLine)]
    assert "it is ***" in lines
    assert not [line for line in lines if SECRET in line]


async def test_an_empty_state_is_deleted_without_terraform(site) -> None:
    made = await site.create(region="eu")
    site.world.terraform.error = KledError("terraform_failed", "no plan works")
    await site.run()
    await site.keep_state(made, {**THING, "mode": "data"}, {**THING, "instances": []})
    await site.queue("delete")
    await site.run()
    assert len(site.world.terraform.jobs) == 1
    assert (await site.workspace(made)).status == "deleted"


async def test_a_state_that_holds_something_needs_terraform(site) -> None:
    made = await site.create(region="eu")
    await site.run()
    await site.keep_state(made, THING)
    await site.queue("delete")
    await site.run()
    assert [job.build.transition for job in site.world.terraform.jobs] == ["start", "delete"]


async def test_what_an_older_release_kept_is_listed_and_sealed(world, make_tar) -> None:
    site = await make_site(world, make_tar)
    made = await site.create(region="eu", password=SECRET)
    store = site.services.store
    with store.engine.begin() as connection:
        version_id = made.workspace.version_id
        archive = version_archive(connection, version_id)
        # As strangers may have made it: compressed, or with headers that nobody wants to read.
        change_version(connection, version_id, {"archive": gzip.compress(archive)})
        connection.execute(text("UPDATE template_versions SET variables = NULL"))
        plain = json.dumps({"region": "eu", "password": SECRET})
        for table in ("workspaces", "builds"):
            statement = f"UPDATE {table} SET parameters = :plain, secrets_sealed = NULL"
            connection.execute(text(statement), {"plain": plain})
    await list_old_variables(store, site.services.sealer)
    version = await site.services.templates.version(site.alice, "plain", None)
    assert await store.read(version_archive, version_id) == archive
    assert [v.name for v in version.variables] == ["password", "region", "size"]
    assert (await site.workspace(made)).parameters == {"region": "eu", "password": None}
    await site.run()
    assert site.values() == {"region": "eu", "password": SECRET}
    assert await store.read(workspace_secrets, made.workspace.id) is not None


async def test_an_expression_and_a_text_are_told_apart(site) -> None:
    await site.push(
        b"variable a { type = list(string) }\nvariable b {}\nvariable c { type = bool }"
    )
    await site.create(a='["x"]', b="x", c="true")
    await site.run()
    values = site.world.terraform.jobs[-1].variables
    assert [values[name].is_expression for name in "abc"] == [True, False, False]
