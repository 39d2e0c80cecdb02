"""Where it happens: a site on a disk of its own, and ways to find out what is really there."""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, NullPool, create_engine, select

from kled_coord.store.engine import normal_url
from kled_coord.store.schema import agents, builds, state_locks
from kled_coord.store.sealing import Sealer, load_sealing_key
from kled_coord.store.states import newest_state
from tests.e2e.chaos.builds.truth import Facts, Told
from tests.kit.postgres import Postgres, open_postgres
from tests.kit.processes import environment_of
from tests.kit.site import Site, open_site
from tests.kit.small_disk import SmallDisk, small_disk

_MIB, _MIB_POSTGRES = 64, 256
# An agent and a helper for as long as the workspace runs, and two things elsewhere: one stays for
# as long as the workspace does. The sleeps are there to be killed in.
_TEMPLATE = """
terraform {
  required_providers {
    kled = { source = "kled/kled" }
  }
}
data "kled_workspace" "me" {}
resource "kled_agent" "main" {}
resource "terraform_data" "stays" {
  input = "%(cloud)s/${data.kled_workspace.me.id}"
  provisioner "local-exec" {
    command = "sleep 0.2 && mkdir -p ${self.input} && echo $KLED_RUN > ${self.input}/${self.id}"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "sleep 0.2 && %(remove)s"
  }
}
resource "kled_process" "agent" {
  count    = data.kled_workspace.me.start_count
  name     = "agent"
  agent_id = kled_agent.main.id
  env = {
    KLED_COORDINATOR_URL = data.kled_workspace.me.access_url
    KLED_CHAOS           = "agent"
  }
  env_sensitive = { KLED_AGENT_TOKEN = kled_agent.main.token }
}
resource "terraform_data" "comes_and_goes" {
  count = data.kled_workspace.me.start_count
  input = "%(cloud)s/${data.kled_workspace.me.id}"
  provisioner "local-exec" {
    command = "sleep 0.3 && mkdir -p ${self.input} && echo $KLED_RUN > ${self.input}/${self.id}"
  }
  provisioner "local-exec" {
    when    = destroy
    command = "sleep 0.3 && %(remove)s"
  }
  depends_on = [terraform_data.stays]
}
resource "kled_process" "helper" {
  count    = data.kled_workspace.me.start_count
  name     = "helper"
  agent_id = kled_agent.main.id
  command  = ["/bin/sleep", "100000"]
  env      = { KLED_CHAOS = "helper" }
}
"""


# Who removes a thing leaves word of it. The rename comes last, and removes it: a run that is
# interrupted in a destroy provisioner says that the thing is still there, and that must be so. An
# interrupt may reach the sleep before the shell, which goes no further then.
_REMOVE = "cd ${self.input} && echo $KLED_RUN > ${self.id} && mv ${self.id} ${self.id}.gone"
_GONE = ".gone"


@dataclass(kw_only=True)
class BuildWorld:
    """Made by `open_build_world`. `killed` are the builds whose Terraform was killed."""

    site: Site
    disk: SmallDisk
    cloud: Path
    postgres: Postgres | None = None
    killed: set[str] = field(default_factory=set)

    @property
    def runs(self) -> Path:
        """Where builds run."""
        return self.site.data / "runs"

    @contextlib.contextmanager
    def database_away(self) -> Iterator[None]:
        """Nobody can use the database in the block; SQLite's can be read but not written."""
        if self.postgres is not None:
            self.postgres.stop()
            try:
                yield
            finally:
                self.postgres.start()
            return
        with contextlib.closing(sqlite3.connect(self.site.data / "coord.sqlite3")) as other:
            other.isolation_level = None
            # Whoever is frozen in a transaction goes on some time.
            other.execute("PRAGMA busy_timeout = 120000")
            other.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                other.execute("ROLLBACK")

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Nobody can write a byte in the block; whoever gave up for that is started again."""
        with self.disk.full():
            yield
        if self.postgres is not None and not self.postgres.is_running():
            self.postgres.start()

    def engine(self) -> Engine:
        """The database, past the coordinator."""
        url = f"sqlite:///{self.site.data}/coord.sqlite3"
        return create_engine(
            normal_url(self.postgres.url if self.postgres else url), poolclass=NullPool
        )

    def facts(self, workspace_id: str, transition: str, build: Any, status: str | None) -> Facts:
        """All that is so of a workspace now. Raises SQLAlchemyError while the database is away."""
        with self.engine().connect() as connection:
            lock = connection.scalar(
                select(state_locks.c.build_id).where(state_locks.c.workspace_id == workspace_id)
            )
            going_on = connection.execute(
                select(builds.c.id)
                .where(builds.c.workspace_id == workspace_id)
                .where(builds.c.status.in_(("pending", "running", "canceling")))
            ).all()
            alive = connection.execute(
                select(agents.c.id)
                .where(agents.c.workspace_id == workspace_id)
                .where(agents.c.revoked_at.is_(None))
            ).all()
            version, sealed = newest_state(connection, workspace_id) or (0, None)
        told = Told()
        if sealed is not None:
            sealer = Sealer(load_sealing_key(self.site.data / "sealing.key"), secrets.token_bytes)
            told = read_state(sealer.open("state", f"{workspace_id}/{version}", sealed))
        things = self._things(workspace_id)
        return Facts(
            transition=transition,
            outcome=build,
            status=status,
            exists=self.processes(workspace_id),
            recorded=self._recorded(workspace_id),
            things=frozenset(name for name in things if not name.endswith(_GONE)),
            untold=frozenset(
                name.removesuffix(_GONE) for name, build in things.items() if build in self.killed
            ),
            told=told,
            agents=len(alive),
            lock=lock,
            active=len(going_on),
        )

    def processes(self, workspace_id: str) -> tuple[tuple[str, int], ...]:
        """The processes of a workspace that run: their names, and pids.

        Without those that they started: an agent makes its host key in a process of its own.
        """
        found: dict[int, tuple[str, int]] = {}
        for process in self.site.processes():
            environment = environment_of(process)
            name = environment.get("KLED_CHAOS")
            if name and environment.get("KLED_WORKSPACE_ID") == workspace_id:
                with contextlib.suppress(psutil.NoSuchProcess):
                    found[process.pid] = name, process.ppid()
        return tuple((name, pid) for pid, (name, parent) in found.items() if parent not in found)

    def _recorded(self, workspace_id: str) -> dict[str, int]:
        found = {}
        for path in (self.site.data / "processes" / workspace_id).glob("**/*.json"):
            with contextlib.suppress(ValueError, KeyError):
                found[path.stem] = int(json.loads(path.read_bytes())["pid"])
        return found

    def _things(self, workspace_id: str) -> dict[str, str]:
        """The things of a workspace and those that are gone, and the build that did it."""
        return {
            path.name: Path(path.read_text().strip()).name.partition(".")[0]
            for path in (self.cloud / workspace_id).glob("*")
        }


def read_state(content: bytes) -> Told:
    """What a Terraform state names."""
    by_type: dict[str, list[Any]] = {}
    for resource in json.loads(content).get("resources", []):
        if resource["mode"] == "managed":
            attributes = [instance["attributes"] for instance in resource["instances"]]
            by_type.setdefault(resource["type"], []).extend(attributes)
    return Told(
        processes={each["name"]: int(each["pid"]) for each in by_type.get("kled_process", [])},
        things=frozenset(each["id"] for each in by_type.get("terraform_data", [])),
        agents=len(by_type.get("kled_agent", [])),
    )


@contextlib.contextmanager
def open_build_world(*, postgres: bool) -> Iterator[BuildWorld]:
    """A coordinator with three workers, on SQLite or PostgreSQL; nothing of it stays."""
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(small_disk(_MIB_POSTGRES if postgres else _MIB))
        server = stack.enter_context(open_postgres(disk.root)) if postgres else None
        cloud = disk.root.with_name(f"{disk.root.name}-cloud")
        template = disk.root.with_name(f"{disk.root.name}-template")
        for each in (cloud, template):
            each.mkdir()
            stack.callback(_remove, each)
        (template / "main.tf").write_text(_TEMPLATE % {"cloud": cloud, "remove": _REMOVE})
        settings = {
            "KLED_COORD_DATA_DIR": str(disk.root / "data"),
            "KLED_COORD_WORKERS": "3",
            "KLED_COORD_BUILD_STOP_S": "10",
            **({"KLED_COORD_DATABASE_URL": server.url} if server else {}),
        }
        site = stack.enter_context(open_site(settings=settings, template=template, name="cloud"))
        yield BuildWorld(site=site, disk=disk, cloud=cloud, postgres=server)


def _remove(directory: Path) -> None:
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    directory.rmdir()
