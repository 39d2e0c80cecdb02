"""Bundles over HTTP, as a machine fetches them that has not signed in."""

from __future__ import annotations

import trio
import trio.testing

from kled_coord.bundles.store import BundleStore
from kled_coord.front.bundles import BundlePlane
from kled_coord.front.head import decide_route
from kled_coord.front.listener import Arrival
from kled_wire.http.upgrade import parse_request
from kled_wire.transport.prefixed import PrefixedStream
from tests.coord.bundles.little import launcher, write_bundle


async def ask(plane: BundlePlane, request: str) -> tuple[bytes, bytes]:
    """The head and the body of the answer to one request."""
    raw = f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    head = parse_request(raw)
    ours, theirs = trio.testing.memory_stream_pair()
    arrival = Arrival(
        stream=PrefixedStream(b"", theirs),
        head=head,
        raw_head=raw,
        route=decide_route(head),
        address="192.0.2.1",
        place=None,
    )
    got = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plane.serve, arrival)
        with trio.fail_after(10):
            await ours.send_eof()
            while data := await ours.receive_some():
                got += data
    answer, _, body = bytes(got).partition(b"\r\n\r\n")
    return answer, body


async def test_a_bundle_is_what_was_added_and_never_changes(tmp_path) -> None:
    bundles = BundleStore(tmp_path / "bundles")
    added = bundles.add(
        write_bundle(
            tmp_path / "b", "amd64", **{"bin/kled-agent": launcher("amd64") + bytes(700_000)}
        )
    )
    plane = BundlePlane(bundles, "https://kled.example")
    head, body = await ask(plane, f"GET /bin/{added.digest}")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"immutable" in head
    assert body == added.path.read_bytes()
    head, body = await ask(plane, f"HEAD /bin/{added.digest}")
    assert (f"Content-Length: {added.size}".encode() in head, body) == (True, b"")


async def test_the_script_for_people_names_the_newest(tmp_path) -> None:
    bundles = BundleStore(tmp_path / "bundles")
    digest = bundles.add(write_bundle(tmp_path / "b", "arm64")).digest
    head, body = await ask(BundlePlane(bundles, "https://kled.example"), "GET /bin/agent.sh")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert digest.encode() in body
    assert b'"https://kled.example"' in body


async def test_what_is_not_there(tmp_path) -> None:
    plane = BundlePlane(BundleStore(tmp_path / "bundles"), "https://kled.example")
    for name in ("a" * 64, "../sealing.key", "%2e%2e/x", ""):
        head, body = await ask(plane, f"GET /bin/{name}")
        assert head.startswith(b"HTTP/1.1 404 ")
        assert b"bundle_unknown" in body
