"""The client of containerd against a real one."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.caller import ContainerdCaller, ContainerdError
from kled_provider.containerd.images import ImageRecord
from kled_provider.containerd.tasks import TaskIo, TaskStatus
from kled_provider.containerd.types import ContentDescriptor
from tests.kit.oci import busybox_image, digest_of
from tests.kit.private_containerd import PrivateContainerd

pytestmark = pytest.mark.slow
_HELD_S = 1.5  # containerd 1.6 itself tries for a moment before it says that a write is locked


@asynccontextmanager
async def open_api(address: str, namespace: str = "kled") -> AsyncIterator[ContainerdApi]:
    caller = ContainerdCaller(address, namespace)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(caller.serve)
            yield ContainerdApi(caller, "overlayfs")
            nursery.cancel_scope.cancel()


async def test_it_says_who_it_is(containerd: PrivateContainerd) -> None:
    async with open_api(containerd.address) as api:
        assert (await api.daemon.version()).version in containerd.ctr("version").stdout
        plugins = {f"{p.type}.{p.id}": p.error for p in await api.daemon.plugins()}
        assert plugins["io.containerd.snapshotter.v1.overlayfs"] == ""


async def test_content_is_written_in_pieces_and_found_by_its_digest(
    containerd: PrivateContainerd,
) -> None:
    data = bytes(range(256)) * 8192
    digest = digest_of(data)
    async with open_api(containerd.address) as api:
        await api.daemon.ensure_namespace()
        await api.daemon.create_lease("writing", {"kled.dev/kind": "test"})
        assert [lease.id for lease in await api.daemon.leases()] == ["writing"]
        async with api.content.open_writer("ref", len(data), digest, lease="writing") as writer:
            await writer.write(data[: 1 << 20])
        async with api.content.open_writer("ref", len(data), digest, lease="writing") as writer:
            assert writer.offset == 1 << 20  # an interrupted write goes on
            await writer.write(data[1 << 20 :])
            await writer.commit({"kled.dev/kind": "test"})
        assert await api.content.read(digest) == data
        await api.content.set_labels(digest, {"kled.dev/more": "1"})
        assert await api.content.labels(digest) == {
            "kled.dev/kind": "test",
            "kled.dev/more": "1",
        }
        with pytest.raises(ContainerdError) as there:
            async with api.content.open_writer("again", len(data), digest, lease="writing"):
                pass
        assert there.value.is_there
        await api.daemon.delete_lease("writing")
        assert await api.content.labels(digest) is None, "nothing holds it any more"


async def test_a_write_waits_for_another_of_its_name(containerd: PrivateContainerd) -> None:
    """Two workspaces that pull the same layer: the second finds what the first has written."""
    data = b"shared by two" * 1000
    digest = digest_of(data)
    found: list[str] = []

    async def write(*, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with api.content.open_writer("one", len(data), digest, lease="two") as writer:
                task_status.started()
                await trio.sleep(_HELD_S)
                await writer.write(data)
                await writer.commit({})
                found.append("written")
        except ContainerdError as error:
            found.append("there" if error.is_there else str(error))

    async with open_api(containerd.address) as api:
        await api.daemon.create_lease("two", {})
        async with trio.open_nursery() as nursery:
            await nursery.start(write)
            nursery.start_soon(write)
        assert sorted(found) == ["there", "written"]  # whoever is told first
        await api.daemon.delete_lease("two")


async def test_content_of_another_digest_is_refused(containerd: PrivateContainerd) -> None:
    async with open_api(containerd.address) as api:
        await api.daemon.create_lease("wrong", {})
        wrong = digest_of(b"other")

        async def write() -> None:
            async with api.content.open_writer("wrong", 4, wrong, lease="wrong") as writer:
                await writer.write(b"data")
                await writer.commit({})

        with pytest.raises(ContainerdError, match="unexpected commit digest"):
            await write()
        await api.content.abort("wrong")
        await api.daemon.delete_lease("wrong")


async def test_what_is_not_there_is_none_and_its_removal_no_error(
    containerd: PrivateContainerd,
) -> None:
    async with open_api(containerd.address) as api:
        assert await api.images.find("none") is None
        assert await api.snapshots.find("none") is None
        assert await api.containers.find("none") is None
        assert await api.tasks.find("none") is None
        for remove in (
            api.images.delete,
            api.snapshots.remove,
            api.containers.delete,
            api.tasks.delete,
            api.daemon.delete_lease,
        ):
            await remove("none")


async def test_a_name_gets_another_target(containerd: PrivateContainerd) -> None:
    first, second = (
        ImageRecord(
            name="kled.test/x:1",
            target=ContentDescriptor(media_type="text/plain", digest=digest_of(text), size=1),
        )
        for text in (b"1", b"2")
    )
    async with open_api(containerd.address) as api:
        for image in (first, second):
            await api.images.put(image)
        assert await api.images.find("kled.test/x:1") == second
        assert second in await api.images.list('name=="kled.test/x:1"')
        await api.images.delete("kled.test/x:1")


async def test_where_there_is_none_the_socket_is_named(tmp_path: Path) -> None:
    address = f"{tmp_path}/none.sock"
    async with open_api(address) as api:
        with pytest.raises(ContainerdError) as caught:
            await api.daemon.version()
    assert caught.value.message == (
        f"There is no containerd at {address}: No such file or directory"
    )


async def test_a_containerd_that_was_restarted_is_found_again(
    containerd: PrivateContainerd,
) -> None:
    async with open_api(containerd.address) as api:
        before = await api.daemon.version()
        containerd.kill()
        containerd.start()
        assert await _until_answered(api) == before


async def _until_answered(api: ContainerdApi) -> object:
    """The first call may still go to the connection that has just ended."""
    try:
        return await api.daemon.version()
    except ContainerdError:
        return await api.daemon.version()


async def test_a_process_beside_the_first_is_started_ended_and_forgotten(
    containerd: PrivateContainerd, tmp_path: Path
) -> None:
    archive = busybox_image().save(tmp_path / "image.tar", "kled.test/exec:1")
    containerd.ctr("images", "import", str(archive))
    containerd.ctr("run", "-d", "kled.test/exec:1", "beside", "/bin/sleep", "1000")
    process = {"cwd": "/tmp", "env": ["PATH=/bin"], "user": {"uid": 1000, "gid": 1000}}
    async with open_api(containerd.address, containerd.namespace) as api:
        ends, sleeps = ["/bin/sh", "-c", "exit $(id -u | cut -c4)7"], ["/bin/sleep", "1000"]
        await api.tasks.exec("beside", "one", {**process, "args": ends}, TaskIo())
        pid = await api.tasks.start("beside", "one")
        assert pid > 0
        assert await api.tasks.wait("beside", "one") == 7  # the fourth digit of 1000 is 0
        await api.tasks.delete_exec("beside", "one")
        assert await api.tasks.find("beside", "one") is None
        await api.tasks.exec("beside", "two", {**process, "args": sleeps}, TaskIo())
        await api.tasks.start("beside", "two")
        await api.tasks.kill("beside", signal.SIGKILL, exec_id="two")
        assert await api.tasks.wait("beside", "two") == 128 + signal.SIGKILL
        first = await api.tasks.find("beside")
        assert first is not None
        assert first.status is TaskStatus.RUNNING
    containerd.clear()
