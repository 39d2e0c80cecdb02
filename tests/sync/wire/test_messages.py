"""Blocks, messages and contents: what goes in comes out, and garbage is one kind of error."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import suppress

import cbor2
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kled_sync.tree.entry import (
    DIGEST_BYTES,
    are_plain_entries,
    check_entry,
    make_directory,
    make_file,
    make_link,
)
from kled_sync.tree.paths import are_plain_names, check_name, check_path, is_below
from kled_sync.wire import blocks, codec, contents, messages
from kled_wire.errors import ProtocolError

NAMES = st.binary(min_size=1, max_size=20).filter(lambda n: b"/" not in n and b"\0" not in n)
GOOD = NAMES.filter(lambda n: n not in {b".", b"..", b".kled-sync"})
ENTRIES = st.one_of(
    st.builds(
        make_file,
        st.integers(0, 0o7777),
        st.integers(-(2**62), 2**62),
        st.integers(0, 2**63),
        st.sampled_from([b"", bytes(DIGEST_BYTES)]),
    ),
    st.builds(make_directory, st.integers(0, 0o7777)),
    st.builds(make_link, st.binary(min_size=1, max_size=50).filter(lambda t: b"\0" not in t)),
)


def _blocks(reader: blocks.BlockReader, data: bytes) -> Iterator[blocks.WireBlock]:
    """Each is valid until the next."""
    while data:
        space = reader.space()
        part, data = data[: len(space)], data[len(space) :]
        space[: len(part)] = part
        yield from reader.took(len(part))


@given(st.dictionaries(GOOD, ENTRIES, max_size=30), st.lists(GOOD, max_size=4))
def test_a_listing_survives_the_wire_cut_anywhere(
    entries: dict[bytes, bytes], parts: list[bytes]
) -> None:
    listing = messages.Listing(
        directory=b"/".join(parts),
        entries=messages.Named((n, check_entry(bytes(e))) for n, e in entries.items()),
    )
    data = blocks.MAGIC + blocks.pack_message(blocks.Packer(), codec.encode_message(listing))
    reader, assembler = blocks.BlockReader(), blocks.Assembler()
    found = [
        codec.decode_message(whole)
        for byte in data
        for block in _blocks(reader, bytes([byte]))
        if (whole := assembler.add(block)) is not None
    ]
    assert found == [listing]


def test_a_message_larger_than_a_block_comes_in_parts() -> None:
    entries = {b"%d" % n: make_file(0, n, n, random.Random(n).randbytes(32)) for n in range(60_000)}
    listing = messages.Listing(directory=b"", entries=messages.Named(entries))
    data = blocks.pack_message(blocks.Packer(), codec.encode_message(listing))
    assembler = blocks.Assembler()
    found = _blocks(blocks.BlockReader(), blocks.MAGIC + data)
    *rest, last = [assembler.add(block) for block in found]
    assert rest
    assert rest == [None] * len(rest)
    assert last is not None
    assert codec.decode_message(last) == listing


@given(st.binary(max_size=200))
def test_garbage_is_refused_as_what_it_is(data: bytes) -> None:
    for decode in (
        codec.decode_message,
        lambda d: list(_blocks(blocks.BlockReader(), blocks.MAGIC + d)),
        lambda d: [contents.split_chunks(r.body) for r in contents.records(d)],
        lambda d: contents.split_chunks(memoryview(d)),
        check_entry,
    ):
        with suppress(ProtocolError):
            decode(data)


@given(st.recursive(st.none() | st.integers() | st.binary() | st.text(), st.lists, max_leaves=12))
def test_cbor_that_is_no_message_is_refused(value: object) -> None:
    with suppress(ProtocolError):
        codec.decode_message(cbor2.dumps(value))


@pytest.mark.parametrize(
    "path",
    [b"/etc", b"../x", b"a/../b", b"a//b", b"a/", b"./a", b"a\0b", b"x" * 256, b"a/.kled-sync/b",
     b"/".join([b"a"] * 500), "text", None, 5],
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_refused(path: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_path(path)
    assert caught.value.code == "sync_path_refused"


def test_what_an_older_peer_does_not_know_is_left_out_where_it_is_not_used() -> None:
    def undo(until_s: float) -> messages.Undo:
        spared = messages.PathList()
        return messages.Undo(
            request=1, path=b"", since_s=2.0, purge=False, spared=spared, until_s=until_s
        )

    for until_s, count in ((0.0, 6), (3.0, 7)):
        data = codec.encode_message(undo(until_s))
        assert len(cbor2.loads(data)) == count
        assert codec.decode_message(data) == undo(until_s)
    with pytest.raises(ProtocolError, match="Undo with 4 fields"):
        codec.decode_message(cbor2.dumps(cbor2.loads(codec.encode_message(undo(0.0)))[:4]))


def test_names_and_places() -> None:
    assert check_path(b"a/b/..c") == b"a/b/..c"
    assert check_name(b"a\xff\n") == b"a\xff\n"
    assert is_below(b"a/b", b"a")
    assert not is_below(b"ab", b"a")
    assert is_below(b"a", b"")
    with pytest.raises(ProtocolError):
        check_name(b"a/b")


def test_a_block_is_opened_only_to_what_it_says() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    block = blocks.WireBlock(1, blocks.DATA, 1, 1000, bomb)
    with pytest.raises(ProtocolError, match="unpacks to 50000000"):
        blocks.Unpacker().unpack(block)
    with pytest.raises(ProtocolError, match="damaged"):
        blocks.Unpacker().unpack(block._replace(raw_bytes=50_000_000, payload=bomb[:-5]))


def test_a_peer_that_says_something_else_is_quoted() -> None:
    with pytest.raises(ProtocolError, match="bash: kled: command not found"):
        list(_blocks(blocks.BlockReader(), b"bash: kled: command not found\n"))


def test_endless_messages_end() -> None:
    assembler = blocks.Assembler()
    part = blocks.Packer().pack(blocks.CONTROL, 5, bytes(blocks.BLOCK_BYTES_MAX))
    for _ in range(blocks.MESSAGE_BYTES_MAX // blocks.BLOCK_BYTES_MAX):
        assembler.add(part)
    with pytest.raises(ProtocolError, match="and more"):
        assembler.add(part)


@given(st.lists(st.tuples(st.binary(min_size=20, max_size=20), st.binary(min_size=1)), max_size=5))
def test_chunks_come_out_as_they_went_in(chunks: list[tuple[bytes, bytes]]) -> None:
    views = [(digest, memoryview(data)) for digest, data in chunks]
    (record,) = contents.records(b"".join(contents.encode_chunks(7, views)))
    assert (record.kind, record.item) == (contents.CHUNKS, 7)
    rows, data = contents.split_chunks(record.body)
    assert rows == [(len(data), digest) for digest, data in chunks]
    assert data == b"".join(data for _, data in chunks)


@given(
    st.lists(st.binary(max_size=300), max_size=6),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_blocks_are_the_same_wherever_the_stream_is_cut(
    payloads: list[bytes], cuts: list[int]
) -> None:
    packer, reader = blocks.Packer(), blocks.BlockReader()
    sent = [packer.pack(blocks.DATA, n, payload) for n, payload in enumerate(payloads)]
    data = blocks.MAGIC + b"".join(block.encoded() for block in sent)
    found = []
    for cut in [*cuts, len(data)]:
        found += [
            block._replace(payload=bytes(block.payload), came=bytes(block.came))
            for block in _blocks(reader, data[:cut])
        ]
        data = data[cut:]
    assert [block._replace(came=b"") for block in found] == sent
    assert [block.encoded() for block in found] == [block.encoded() for block in sent]


@pytest.mark.parametrize("count", [1, 3, 5000])
def test_a_block_of_many_parts_is_written_by_one_call(count: int) -> None:
    parts: list[bytes | memoryview] = [b"%d " % number for number in range(count)]
    block = blocks.as_it_is(blocks.DATA, 7, parts, weighed=True)
    assert len(block.parts) + 1 < os.sysconf("SC_IOV_MAX")
    sent = b"".join([block.head, *block.parts])
    found = list(_blocks(blocks.BlockReader(), blocks.MAGIC + sent))
    assert [(b.job, bytes(b.payload)) for b in found] == [(7, b"".join(parts))]


def test_what_does_not_get_smaller_is_sent_as_it_is() -> None:
    assert blocks.will_shrink(b"text " * 1000)
    assert not blocks.will_shrink(os.urandom(64 * 1024))
    assert blocks.Packer().pack(blocks.DATA, 1, os.urandom(1000)).flags == 0


@given(
    st.lists(NAMES | st.sampled_from([b".", b"..", b"", b"a/b", b"a\0", b"x" * 256]), max_size=5),
    st.lists(ENTRIES.map(bytes) | st.binary(max_size=60), max_size=5),
)
def test_the_quick_look_at_a_directory_lets_nothing_through(
    names: list[object], entries: list[object]
) -> None:
    if are_plain_names(names):
        assert [check_name(name) for name in names] == names
    if are_plain_entries(entries):
        assert [check_entry(entry) for entry in entries] == entries
