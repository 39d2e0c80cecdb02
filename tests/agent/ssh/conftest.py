from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kled_agent.machine.users import LocalUser, load_user
from kled_wire.eventlog import EventLog
from tests.agent.ssh.site import Keys, Site, serving


@pytest.fixture(scope="session")
def keys() -> Iterator[Keys]:
    with tempfile.TemporaryDirectory(prefix="kled") as folder:
        yield Keys.make(Path(folder))


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="kled") as folder:
        yield Path(folder)


@pytest.fixture
async def site(keys: Keys, user: LocalUser, home: Path, log: EventLog) -> AsyncIterator[Site]:
    async with serving(keys, dataclasses.replace(user, home=str(home)), log) as running:
        yield running


@pytest.fixture
async def other(keys: Keys, home: Path, log: EventLog) -> AsyncIterator[Site]:
    """A site whose sessions are nobody's, with `home` as theirs."""
    user = dataclasses.replace(load_user("nobody", shell="/bin/sh"), home=str(home))
    os.chown(home, user.uid, user.gid)
    async with serving(keys, user, log, reap=True) as running:
        yield running
