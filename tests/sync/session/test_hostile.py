"""A peer that means harm, on either side: refused, the session ended, nothing touched outside."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import cbor2
import pytest
import trio
from blake3 import blake3

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.operations import Do
from kled_sync.files.options import Options
from kled_sync.session.attributes.requests import ask_attributes
from kled_sync.session.kept import history, undo
from kled_sync.session.sides.peer import Peer
from kled_sync.session.sides.side import SideState
from kled_sync.tree.entry import make_directory, make_file
from kled_sync.tree.tree import Tree
from kled_sync.wire import blocks, contents, messages
from kled_wire.errors import KledError, ProtocolError
from tests.kit.endpoints import Pipes

FILE = make_file(0o644, 0, 4, blake3(b"evil").digest())


async def said_by_endpoint(tmp_path: Path, *data: bytes | memoryview) -> KledError:
    """What an endpoint with an open root answers to bytes of a session, and then ends."""
    pipes = Pipes()
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    error: list[KledError] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, pipes.serve, env)
        peer = Peer("far", pipes)

        async def read() -> None:
            try:
                await peer.run()
            except KledError as exc:
                error.append(exc)

        nursery.start_soon(read)
        side = SideState(peer, Tree())
        await side.open(os.fsencode(tmp_path / "root"), Options())
        for part in data:
            await pipes.send_all(part)
        await peer._ended.wait()
        await pipes.aclose()
    return error[0]


def message(value: object) -> bytes:
    return blocks.pack_message(blocks.Packer(), cbor2.dumps(value))


def place(path: bytes, do: int = Do.CONTENT, new: bytes | None = FILE) -> bytes:
    number = messages.TYPES.index(messages.PlaceJob)
    return message([number, 1, False, [[do, path, new, None, b""]]])


@pytest.mark.parametrize("path", [b"../out", b"/etc/x", b"a/../../out", b"a\0", b".kled-sync/x"])
async def test_a_path_that_leads_out_ends_the_session(tmp_path: Path, path: bytes) -> None:
    error = await said_by_endpoint(tmp_path, place(path))
    assert error.code == "sync_path_refused"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "data",
    [
        place(b"x", do=99),
        place(b"x", do=Do.REMOVE),
        place(b"", do=Do.REMOVE_DIRECTORY, new=None),
        place(b"x", new=b"short"),
        message([3, "no number", True, []]),
        message({"a": 1}),
        b"\xff" * 100,
        blocks.HEAD.pack(0, 1, 7, 4, 4) + b"data",
        blocks.HEAD.pack(1, 1, 7, 2**31, 5) + b"dense",
    ],
)
async def test_what_is_no_request_ends_the_session(tmp_path: Path, data: bytes) -> None:
    error = await said_by_endpoint(tmp_path, data)
    assert isinstance(error, ProtocolError), error


def place_filled(*names: object, do: int = Do.MAKE_DIRECTORY, size: object = 1) -> bytes:
    """A directory for each of `names`, which are those of the files that it comes with."""
    number = messages.TYPES.index(messages.PlaceJob)
    made = FILE if do == Do.CONTENT else make_directory(0o755)
    rows = [[do, b"d%d" % n, made, None, b"", some, size] for n, some in enumerate(names)]
    return message([number, 1, False, rows])


@pytest.mark.parametrize(
    "data",
    [
        place_filled(b"../out"),
        place_filled(b""),
        place_filled(7),
        place_filled(b"b/a"),
        place_filled(b"a", size=-1),
        place_filled(b"a", do=Do.CONTENT),
        place_filled(*[b"/".join(b"%03d" % n for n in range(600))] * 2),
    ],
)
async def test_files_that_no_new_directory_can_come_with_end_the_session(
    tmp_path: Path, data: bytes
) -> None:
    error = await said_by_endpoint(tmp_path, data)
    assert error.code == "sync_message_refused", error
    assert not (tmp_path / "root").exists()


async def test_contents_that_nobody_asked_for_end_the_session(tmp_path: Path) -> None:
    record = contents.encode_record(contents.WHOLE, 5, FILE + b"evil")
    data = blocks.Packer().pack(blocks.DATA, 1, record).encoded()
    error = await said_by_endpoint(tmp_path, place(b"x"), data)
    assert (error.code, "item 5" in error.message) == ("sync_record_refused", True)


@pytest.mark.parametrize("offset", [2**63, 2**64 - 1])
async def test_a_file_that_goes_on_where_none_can_ends_the_session(
    tmp_path: Path, offset: int
) -> None:
    record = contents.encode_record(contents.RESUME, 0, offset.to_bytes(8, "big"))
    data = blocks.Packer().pack(blocks.DATA, 1, record).encoded()
    error = await said_by_endpoint(tmp_path, place(b"x"), data)
    assert error.code == "sync_record_refused", error


async def test_damaged_contents_are_found(tmp_path: Path) -> None:
    pipes = Pipes()
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    (tmp_path / "root").mkdir()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, pipes.serve, env)
        peer = Peer("far", pipes)
        async with trio.open_nursery() as reading:
            reading.start_soon(peer.run)
            side = SideState(peer, Tree())
            await side.open(os.fsencode(tmp_path / "root"), Options())
            placed = side.expect(1, messages.JobPlaced)
            await pipes.send_all(place(b"x"))
            record = contents.encode_record(contents.WHOLE, 0, FILE + b"EVIL")
            await pipes.send_all(blocks.Packer().pack(blocks.DATA, 1, record).encoded())
            answer = await placed.got()
            reading.cancel_scope.cancel()
        await pipes.aclose()
    assert isinstance(answer, messages.JobPlaced)
    assert answer.failed[0][:2] == (0, "damaged")
    assert not (tmp_path / "root" / "x").exists()


class Said:
    """An endpoint that says what a test wants."""

    def __init__(self, *data: bytes) -> None:
        self._data = [blocks.MAGIC, *data]

    async def receive_into(self, space: memoryview) -> int:
        await trio.lowlevel.checkpoint()
        data = self._data.pop(0) if self._data else b""
        space[: len(data)] = data
        return len(data)

    async def send_all(self, _data: bytes | memoryview) -> None:
        await trio.lowlevel.checkpoint()


def listing(directory: bytes, names: list[bytes]) -> bytes:
    number = messages.TYPES.index(messages.Listing)
    return message([number, directory, [part for n in names for part in (n, bytes(FILE))]])


@pytest.mark.parametrize(
    "data",
    [
        listing(b"../x", [b"a"]),
        listing(b"", [b"../a"]),
        listing(b"", [b".."]),
        listing(b"/etc", [b"passwd"]),
        message([messages.TYPES.index(messages.RootIs), [[bytes(make_directory(0)), 1]]]),
        message([messages.TYPES.index(messages.RequestRefused),
                 0, 400, "x", "the far end gives up", ""]),
    ],
)  # fmt: skip
async def test_a_far_end_that_lies_is_left(data: bytes) -> None:
    peer = Peer("far", Said(data))
    SideState(peer, Tree())
    with pytest.raises(KledError) as caught:
        await peer.run()
    assert caught.value.code != "sync_connection_lost"


class Answering(Said):
    """Says it once it is asked, and nothing more."""

    def __init__(self, *data: bytes) -> None:
        super().__init__(*data)
        self._asked = trio.Event()

    async def receive_into(self, space: memoryview) -> int:
        await self._asked.wait()
        return await super().receive_into(space) or await trio.sleep_forever()

    async def send_all(self, data: bytes | memoryview) -> None:
        await super().send_all(data)
        self._asked.set()


@pytest.mark.parametrize(
    "ask",
    [
        lambda side: side.open(b"root", Options()),
        lambda side: side.scan(everywhere=True),
        lambda side: side.watch(),
        lambda side: side.hash([b"a"]),
        lambda side: history(side, b"a"),
        lambda side: undo(side, b"a", since_s=0.0),
        lambda side: ask_attributes(side, [b"a"], xattrs=False),
    ],
)
async def test_an_answer_to_another_question_is_refused(
    ask: Callable[[SideState], Awaitable[object]],
) -> None:
    answer = message([messages.TYPES.index(messages.AttributesSet), 1, []])
    peer = Peer("far", Answering(answer))
    with pytest.RaisesGroup(pytest.RaisesExc(ProtocolError, match="AttributesSet in place of")):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.run)
            await ask(SideState(peer, Tree()))


async def test_a_far_end_that_only_ends_is_named() -> None:
    peer = Peer(SyncSide.BETA.value, Said())
    with pytest.raises(KledError, match="the beta side of the sync ended"):
        await peer.run()
